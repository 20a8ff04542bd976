"""The built-in voice: its words and times, and whether its sounds are those of English."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuralpaint.zoo.talking import grammar, speech
from neuralpaint.zoo.talking.formant import draw_voice
from neuralpaint.zoo.talking.mfcc import SAMPLE_RATE, mfcc
from neuralpaint.zoo.talking.phones import pieces
from neuralpaint.zoo.talking.pronounce import PAUSE, pronounce, spell
from neuralpaint.zoo.talking.speech import Span, Spoken, say

DIGITS = grammar.SLOTS[4]


def stretch(spoken: Spoken, span: Span, trim: float = 0.0) -> NDArray[np.float32]:
    """The samples of a span, without a share of it at both ends."""
    cut = trim * (span.end - span.start)
    return spoken.samples[
        round((span.start + cut) * SAMPLE_RATE) : round((span.end - cut) * SAMPLE_RATE)
    ]


def phoneme(spoken: Spoken, text: str) -> Span:
    return next(span for span in spoken.phonemes if span.text == text)


def level(samples: NDArray[np.float32]) -> float:
    """RMS."""
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))


def power_above(samples: NDArray[np.float32], hertz: float) -> float:
    """Share of the power."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return float(power[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > hertz].sum() / power.sum())


def formants(samples: NDArray[np.float32]) -> list[float]:
    """Hertz, by linear prediction (order 14) of the pre-emphasised sound."""
    x = np.append(samples[:1], samples[1:] - 0.9 * samples[:-1]) * np.hamming(len(samples))
    lags = np.correlate(x, x, "full")[len(x) - 1 : len(x) + 14]
    matrix = lags[np.abs(np.subtract.outer(np.arange(14), np.arange(14)))]
    roots = np.roots(np.append(1, -np.linalg.solve(matrix, lags[1:])))
    roots = roots[(roots.imag > 0) & (-np.log(np.abs(roots)) * SAMPLE_RATE / np.pi < 500)]
    hertz = np.sort(np.angle(roots) * SAMPLE_RATE / (2 * np.pi))
    return [float(value) for value in hertz if value > 150]


def test_the_grammar_of_grid() -> None:
    assert len(grammar.WORDS) == len(set(grammar.WORDS)) == 51
    assert "w" not in grammar.WORDS
    assert list(grammar.WORDS) == sorted(grammar.WORDS)
    rng = np.random.default_rng(0)
    sentences = [grammar.sentence(rng) for _ in range(400)]
    for slot, words in zip(grammar.SLOTS, zip(*sentences, strict=True), strict=True):
        assert set(words) == set(slot)


def test_spelling_out() -> None:
    assert spell("Bin BLUE at f2, now!") == ("bin", "blue", "at", "f", "two", PAUSE, "now")
    assert spell("...It’s -- (done)...") == ("it's", "done")


@pytest.mark.parametrize(
    ("text", "message"), [("", "no words"), ("?! ü", "no words"), ("a " * 2501, "at most 5000")]
)
def test_texts_that_cannot_be_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        say(text)


@pytest.mark.parametrize(
    ("word", "phonemes"),
    [
        ("blue", "B L UW"), ("seven", "S EH V AX N"), ("z", "Z EH D"), ("h", "EY CH"),
        ("night", "N AY T"), ("station", "S T EY SH AX N"), ("make", "M EY K"),
        ("thinking", "TH IH NG K IH NG"), ("judge", "JH AH JH"), ("boxes", "B AO K S IH Z"),
        ("knee", "N IY"), ("phone", "F OW N"), ("little", "L IH T AX L"), ("tv", "T IY V IY"),
        ("painting", "P EY N T IH NG"), ("running", "R AH N IH NG"), ("happy", "HH AE P IY"),
        ("liked", "L AY K T"), ("queen", "K W IY N"), ("card", "K AA D"), ("sky", "S K AY"),
    ],
)  # fmt: skip
def test_pronunciations(word: str, phonemes: str) -> None:
    assert pronounce(word) == tuple(phonemes.split())


@given(st.from_regex(r"[a-z]{1,12}('[a-z]{1,3})?", fullmatch=True))
def test_any_letters_can_be_said(word: str) -> None:
    sounds = pronounce(word)
    assert sounds
    assert set(sounds) <= set(speech.PHONEMES) - {speech.SILENCE}


def test_every_phoneme_has_a_sound() -> None:
    assert {len(pieces(sound)) for sound in speech.PHONEMES} == {1, 2, 3}
    with pytest.raises(ValueError, match="unknown phoneme 'XX'"):
        pieces("XX")


@pytest.mark.parametrize("voice", [0, 1, 2])
def test_times_of_phonemes_and_words(voice: int) -> None:
    spoken = say("Place green with q, seven please", voice=voice)
    assert spoken.samples.dtype == np.float32
    assert spoken.phonemes[0].start == 0
    assert spoken.phonemes[-1].end == len(spoken.samples) / SAMPLE_RATE
    assert all(a.end == b.start for a, b in pairwise(spoken.phonemes))
    assert all(span.end > span.start for span in spoken.phonemes)
    assert [word.text for word in spoken.words] == list(spell("place green with q seven please"))
    for word in spoken.words:
        inside = [p.text for p in spoken.phonemes if word.start <= p.start < word.end]
        assert tuple(inside) == pronounce(word.text)
    silences = [span for span in spoken.phonemes if span.text == speech.SILENCE]
    assert len(silences) == 3  # before, at the comma, after
    for silence in silences:
        assert level(stretch(spoken, silence, 0.2)) < 0.003
    assert all(level(stretch(spoken, word)) > 0.02 for word in spoken.words)


def test_the_length_is_that_of_speech() -> None:
    rng = np.random.default_rng(1)
    for voice in range(5):
        words = say(" ".join(grammar.sentence(rng)), voice=voice).words
        assert 1.2 < words[-1].end - words[0].start < 2.8  # GRID's speakers take 1.5 to 2.5


def test_the_same_is_the_same_and_voices_differ() -> None:
    first = say("set red", voice=5)
    again = say("set red", voice=5)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.phonemes == again.phonemes
    assert len({len(say("set red", voice=voice).samples) for voice in range(6)}) > 3


def test_voices_are_those_of_people() -> None:
    voices = [draw_voice(seed) for seed in range(200)]
    assert all(85 <= voice.pitch <= 240 for voice in voices)
    women = [voice for voice in voices if voice.pitch > 160]
    assert 70 < len(women) < 130
    assert all((voice.tract > 1.07) == (voice.pitch > 160) for voice in voices)


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="voice -1"):
        say("now", voice=-1)
    with pytest.raises(ValueError, match="choose formant or espeak"):
        say("now", engine="other")  # type: ignore[arg-type]


# Peterson and Barney (1952), table II, men.
VOWELS = [
    ("e", "IY", 270, 2290), ("set", "EH", 530, 1840), ("at", "AE", 660, 1720),
    ("r", "AA", 730, 1090), ("two", "UW", 300, 870), ("four", "AO", 570, 840),
]  # fmt: skip


@pytest.mark.parametrize("voice", [1, 4, 5])  # low voices: harmonics close enough to measure
@pytest.mark.parametrize(("word", "vowel", "first", "second"), VOWELS)
def test_vowels_have_their_formants(
    voice: int, word: str, vowel: str, first: float, second: float
) -> None:
    spoken = say(word, voice=voice)
    measured = formants(stretch(spoken, phoneme(spoken, vowel), 0.3))
    tract = draw_voice(voice).tract
    assert measured[0] == pytest.approx(first * tract, abs=75)
    assert measured[1] == pytest.approx(second * tract, rel=0.06)


@pytest.mark.parametrize("voice", range(4))
def test_the_pitch_is_the_voices(voice: int) -> None:
    spoken = say("e, e, e, e", voice=voice)
    periods = []
    for span in spoken.phonemes:
        if span.text == "IY":
            x = stretch(spoken, span, 0.2)
            lags = np.correlate(x, x, "full")[len(x) - 1 :]
            periods.append(40 + int(np.argmax(lags[40:250])))
    pitches = SAMPLE_RATE / np.array(periods)
    assert np.mean(pitches) == pytest.approx(draw_voice(voice).pitch, rel=0.25)
    assert pitches[0] > pitches[-1]  # it falls


def test_consonants_are_made_as_in_the_mouth() -> None:
    spoken = say("as so fee she zoo met at ebb")
    vowel = level(stretch(spoken, phoneme(spoken, "AE"), 0.2))

    def middle(text: str) -> NDArray[np.float32]:
        return stretch(spoken, phoneme(spoken, text), 0.25)

    assert power_above(middle("S"), 3000) > 0.9
    assert power_above(middle("SH"), 1800) > 0.6
    assert power_above(middle("SH"), 3500) < power_above(middle("S"), 3500)
    assert level(middle("F")) < level(middle("S"))
    assert power_above(stretch(spoken, phoneme(spoken, "OW"), 0.2), 3000) < 0.02
    assert power_above(middle("M"), 600) < 0.1
    assert level(middle("M")) < vowel
    # a voiced fricative has both the murmur and the hiss
    assert 0.05 < power_above(middle("Z"), 2500) < 0.9
    # closures: silence before the burst of a t, the voice alone before that of a b
    t, b = phoneme(spoken, "T"), phoneme(spoken, "B")
    closed = stretch(spoken, Span("T", t.start + 0.015, t.start + 0.035))
    assert level(closed) < 0.05 * level(stretch(spoken, t))
    closed = stretch(spoken, Span("B", b.start + 0.015, b.start + 0.045))
    assert level(closed) > 0.1 * vowel
    assert power_above(closed, 800) < 0.01


def test_words_can_be_told_apart_by_their_mfcc_across_voices() -> None:
    """Nearest mean of the other voices' digits, in four stretches: chance is 10 %."""

    def heard(word: str, voice: int) -> NDArray[np.float32]:
        spoken = say(word, voice=voice)
        rows = mfcc(stretch(spoken, spoken.words[0]))[:, 1:]
        return np.concatenate([part.mean(0) for part in np.array_split(rows, 4)])

    data = np.array([[heard(word, voice) for word in DIGITS] for voice in range(6)])
    right = 0
    for voice in range(6):
        means = np.delete(data, voice, 0).mean(0)
        distances = np.linalg.norm(data[voice][:, None] - means, axis=-1)
        right += int((distances.argmin(1) == np.arange(10)).sum())
    assert right >= 45  # of 60
