"""The other engine: what its marks become, with and without the library."""

# ruff: noqa: RUF001  signs of the phonetic alphabet look like letters

import importlib.util
import sys
from itertools import pairwise

import numpy as np
import pytest

from neuralpaint.zoo.talking import espeak
from neuralpaint.zoo.talking.mfcc import SAMPLE_RATE
from neuralpaint.zoo.talking.speech import PHONEMES, SILENCE, Spoken, say

RATE = 22050
needs_library = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="neuralpaint[audio] is missing"
)


def marks(*events: tuple[str | None, int, int]) -> list[espeak._Mark]:
    return [espeak._Mark(*event) for event in events]


def speak(
    monkeypatch: pytest.MonkeyPatch, text: str, events: list[espeak._Mark], samples: int
) -> Spoken:
    """`espeak.speak` with a library that marks what a real one once did."""
    tone = (8000 * np.sin(np.arange(samples) / 10)).astype(np.int16)
    monkeypatch.setattr(espeak, "_synthesise", lambda text, voice: (tone, events, RATE))
    return espeak.speak(text)


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"espeak-ng: pip install 'neuralpaint\[audio\]'"):
        say("now", engine="espeak")


def test_the_text_for_the_library() -> None:
    written, places = espeak._written(["at", "a", "two", ",", "now"])
    assert written == "at [[eI]] two, now"
    assert places == [1, 4, 11, 16]
    assert [written[place - 1] for place in places] == ["a", "[", "t", "n"]


def test_marks_become_phonemes_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop owns the closure before its burst, at the start of a word and inside it."""
    events = marks(
        (None, 1, 0), ("ɹ", 1, 0), ("ˈɛ", 1, 2000), ("d", 1, 6000),
        (None, 5, 7000), ("t", 5, 8000), ("ˈuː", 5, 9000), ("", 8, 13000), ("", 8, 14000),
    )  # fmt: skip
    spoken = speak(monkeypatch, "red two", events, 15000)
    assert len(spoken.samples) == round(0.4 * SAMPLE_RATE) + -(-15000 * 320 // 441)
    lead = 0.2
    expected = [("R", 0), ("EH", 2000), ("D", 6000 - 992), ("T", 7000), ("UW", 9000)]
    expected += [(SILENCE, 13000)]
    assert spoken.phonemes[0] == (SILENCE, 0, lead)
    for span, (text, sample) in zip(spoken.phonemes[1:], expected, strict=True):
        assert span.text == text
        assert span.start == pytest.approx(lead + sample / RATE)
    assert spoken.phonemes[-1].end == pytest.approx(len(spoken.samples) / SAMPLE_RATE)
    times = [(lead, lead + 7000 / RATE), (lead + 7000 / RATE, lead + 13000 / RATE)]
    assert [word.text for word in spoken.words] == ["red", "two"]
    for word, (start, end) in zip(spoken.words, times, strict=True):
        assert word[1:] == pytest.approx((start, end))


def test_words_said_as_one_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    events = marks(
        (None, 1, 0), ("ɒ", 1, 0), ("v", 1, 1408), ("ð", 1, 2752), ("ɪ", 1, 3776),
        (None, 8, 5000), ("ˈɛ", 8, 5000), ("n", 8, 7000),
    )  # fmt: skip
    words = speak(monkeypatch, "of the en", events, 9000).words
    assert [word.text for word in words] == ["of", "the", "en"]
    assert words[0].end == words[1].start == pytest.approx(0.2 + 2000 / RATE)  # 2 letters of 5
    assert words[1].end == pytest.approx(0.2 + 5000 / RATE)


def test_signs_of_two_sounds_are_halved_and_unknown_ones_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoken = speak(monkeypatch, "ear", marks((None, 1, 0), ("ˈiə", 1, 0)), 4000)
    assert [span.text for span in spoken.phonemes] == [SILENCE, "IY", "AX", SILENCE]
    assert spoken.phonemes[1].end == pytest.approx(0.2 + 2000 / RATE)
    with pytest.raises(RuntimeError, match="said 'ʘ'"):
        speak(monkeypatch, "ear", marks((None, 1, 0), ("ʘ", 1, 0)), 4000)


def test_every_sign_is_of_the_alphabet() -> None:
    for sounds in espeak._IPA.values():
        assert set(sounds.split()) <= set(PHONEMES) - {SILENCE}


@needs_library
def test_the_library_speaks() -> None:
    spoken = say("Bin blue at a two, of the z now", engine="espeak", voice=3)
    names = [word.text for word in spoken.words]
    assert names == ["bin", "blue", "at", "a", "two", "of", "the", "z", "now"]
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(spoken.words))
    assert all(a.end == b.start for a, b in pairwise(spoken.phonemes))
    assert spoken.phonemes[-1].end == len(spoken.samples) / SAMPLE_RATE
    a = next(word for word in spoken.words if word.text == "a")
    assert [p.text for p in spoken.phonemes if a.start <= p.start < a.end] == ["EY"]
    assert 0.45 < np.abs(spoken.samples).max() < 0.52
    vowel = next(p for p in spoken.phonemes if p.text == "AW")
    loud = spoken.samples[round(vowel.start * SAMPLE_RATE) : round(vowel.end * SAMPLE_RATE)]
    quiet = spoken.samples[: round(0.19 * SAMPLE_RATE)]
    assert np.sqrt(np.mean(loud**2)) > 50 * np.sqrt(np.mean(quiet**2))


@needs_library
def test_the_library_says_the_same_again_whatever_it_said_between() -> None:
    first = say("set white", engine="espeak", voice=1)
    other = say("soon", engine="espeak", voice=2)
    again = say("set white", engine="espeak", voice=1)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.phonemes == again.phonemes
    assert len(other.samples) != len(again.samples)
