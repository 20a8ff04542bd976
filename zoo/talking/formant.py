"""A small formant synthesiser: English without a library, and with the truth of every phoneme.

A voice with a pitch contour and breath go through five resonators, the vocal tract; the noise of
fricatives and bursts goes past it; closures pass a murmur of the voice or nothing. All of it moves
between the targets of `phones` in steps of 5 ms, slowly for the tract, quickly for the lips and
tongue that open and close. After Klatt, "Software for a cascade/parallel formant synthesizer",
JASA 67 (1980); the voice's pulse is that of Klatt and Klatt, JASA 87 (1990).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .mfcc import SAMPLE_RATE
from .phones import BANDWIDTHS, NOISES, UPPER, Piece, pieces
from .pronounce import PAUSE, pronounce, spell
from .spoken import SILENCE, VOWELS, Span, Spoken

LEAD = 0.2
"""Seconds of silence before and after the speech."""

_STEP = 80  # samples, 5 ms
_STEPS_PER_SECOND = SAMPLE_RATE / _STEP
_STOP = 0.25  # seconds of a pause
_GLIDE = 0.06  # seconds that the tract takes from one target to the next
_SNAP = 0.015  # seconds that a source takes to start or end
_PEAK = 0.5
_FINAL = 1.35  # how much longer the word before a pause is
_CLIPPED = 0.75  # how much shorter a vowel is before an unvoiced consonant
_UNVOICED = frozenset(("P", "T", "K", "CH", "F", "TH", "S", "SH"))
_OPEN = frozenset((*VOWELS, "W", "Y", "R", "L"))
_FLOAT = NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """Who speaks.

    Attributes:
        pitch: mean of the fundamental frequency, hertz, 85 to 240.
        tract: factor on all formants; short tracts have high ones; 0.92 to 1.2.
        pace: factor on the speed, 0.85 to 1.2.
        breath: amplitude of noise in the voice, 0.01 to 0.06.
        tilt: share of the sample before in each sample of the voice; a soft voice has more high
            ones less; 0.1 to 0.5.
        open: share of a period in which the glottis is open, 0.5 to 0.7.
        swing: how lively the pitch is, 0.6 to 1.4.
    """

    pitch: float
    tract: float
    pace: float
    breath: float
    tilt: float
    open: float
    swing: float


class _Part(NamedTuple):
    """A piece of a phoneme with its time in steps and the phoneme it belongs to."""

    piece: Piece
    start: int
    end: int
    phoneme: int


def draw_voice(seed: int) -> Voice:
    """Draw a voice: half are women's, with higher pitch and shorter tracts.

    Args:
        seed: >= 0; the same seed is the same voice.
    """
    rng = np.random.default_rng(seed)
    woman = rng.random() < 0.5
    return Voice(
        pitch=float(rng.uniform(165, 240) if woman else rng.uniform(85, 150)),
        tract=float(rng.uniform(1.1, 1.2) if woman else rng.uniform(0.92, 1.05)),
        pace=float(rng.uniform(0.85, 1.2)),
        breath=float(rng.uniform(0.01, 0.06)),
        tilt=float(rng.uniform(0.1, 0.5)),
        open=float(rng.uniform(0.5, 0.7)),
        swing=float(rng.uniform(0.6, 1.4)),
    )


def speak(text: str, voice: int = 0) -> Spoken:
    """Say a text; the same text and voice give the same sound.

    Args:
        text: see `pronounce.spell`.
        voice: seed of the speaker, see `draw_voice`.

    Returns:
        The sound, peak 0.5, with `LEAD` seconds of silence before and after.

    Raises:
        ValueError: a negative voice, or a text that `spell` refuses.
    """
    if voice < 0:
        raise ValueError(f"voice {voice}: a seed is 0 or more")
    speaker = draw_voice(voice)
    phonemes, words = _schedule(spell(text), speaker.pace)
    rng = np.random.default_rng([voice, *text.encode()])
    samples = _synthesise(phonemes, words, speaker, rng)
    return Spoken(
        samples,
        tuple(_seconds(span) for span in phonemes),
        tuple(_seconds(span) for span in words),
    )


class _Steps(NamedTuple):
    text: str
    start: int
    end: int


def _seconds(span: _Steps) -> Span:
    return Span(span.text, span.start / _STEPS_PER_SECOND, span.end / _STEPS_PER_SECOND)


def _schedule(tokens: Sequence[str], pace: float) -> tuple[list[_Steps], list[_Steps]]:
    """Times of all phonemes, pauses included, and of the words."""
    lead = round(LEAD * _STEPS_PER_SECOND)
    phonemes = [_Steps(SILENCE, 0, lead)]
    words = []
    for index, token in enumerate(tokens):
        start = phonemes[-1].end
        if token == PAUSE:
            phonemes.append(_Steps(SILENCE, start, start + round(_STOP * _STEPS_PER_SECOND)))
            continue
        final = index + 1 == len(tokens) or tokens[index + 1] == PAUSE
        sounds = pronounce(token)
        for place, sound in enumerate(sounds):
            scale = 1 / pace
            if sound in VOWELS:
                scale *= _FINAL if final else 1
                follower = sounds[place + 1] if place + 1 < len(sounds) else ""
                scale *= _CLIPPED if follower in _UNVOICED else 1
            seconds = sum(piece.seconds for piece in pieces(sound)) * scale
            begin = phonemes[-1].end
            # a step at least for each piece
            steps = max(len(pieces(sound)), round(seconds * _STEPS_PER_SECOND))
            phonemes.append(_Steps(sound, begin, begin + steps))
        words.append(_Steps(token, start, phonemes[-1].end))
    phonemes.append(_Steps(SILENCE, phonemes[-1].end, phonemes[-1].end + lead))
    return phonemes, words


def _parts(phonemes: Sequence[_Steps]) -> list[_Part]:
    """Cut the phonemes into their pieces; of a stop, the closure takes up what is left over."""
    parts = []
    for index, span in enumerate(phonemes):
        group = pieces(span.text)
        total = sum(piece.seconds for piece in group) or 1.0
        length = span.end - span.start
        inner = [max(1, round(piece.seconds / total * length)) for piece in group[1:]]
        end = span.start + max(1, length - sum(inner))
        start = span.start
        for place, piece in enumerate(group):
            if place:
                start, end = end, end + inner[place - 1]
            parts.append(_Part(piece, start, min(end, span.end), index))
    return parts


def _synthesise(
    phonemes: Sequence[_Steps],
    words: Sequence[_Steps],
    voice: Voice,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The sound of a schedule, (80 x steps,) float32."""
    parts = _parts(phonemes)
    formants = _formant_tracks(parts, phonemes)
    damping = _smooth(_track(parts, [part.piece.damping for part in parts]), _SNAP)
    voiced = _source(parts, [part.piece.voice for part in parts], _SNAP)
    bar = _source(parts, [part.piece.bar for part in parts], _SNAP)
    breath = _source(parts, [part.piece.breath for part in parts], _SNAP)

    phase = np.cumsum(_pitch(phonemes, words, voice, rng)) / SAMPLE_RATE % 1
    noise = rng.standard_normal(len(phase))
    source = voiced * (_pulses(phase, voice) + voice.breath * noise) + breath * noise
    sound = _tract(source, formants, damping, voice.tract)
    sound += 0.5 * bar * (np.sin(2 * np.pi * phase) + 0.3 * np.sin(4 * np.pi * phase))

    # The flow of a voiced fricative comes and goes with the voice.
    gate = 1 + np.minimum(2 * bar, 0.7) * np.sin(2 * np.pi * phase)
    for name, band in NOISES.items():
        levels = [part.piece.hiss * (part.piece.noise == name) for part in parts]
        if any(levels):
            sound += _source(parts, levels, 0.01) * gate * _band(rng, len(sound), band)
    result: NDArray[np.float32] = (sound * (_PEAK / np.abs(sound).max())).astype(np.float32)
    return result


def _formant_tracks(parts: Sequence[_Part], phonemes: Sequence[_Steps]) -> _FLOAT:
    """The first three formants, (steps, 3) hertz, of a tract that moves without jumps."""
    targets: list[_FLOAT | None] = []
    for part in parts:
        if phonemes[part.phoneme].text == SILENCE:
            targets.append(None)
            continue
        own = np.array(part.piece.formants, float)
        near = _neighbour(phonemes, part.phoneme)
        if near is not None:
            # Breath alone is made in a tract that waits for the vowel; else only F2 leans.
            whole = part.piece.lean == 1
            own += (near - own) * part.piece.lean * np.array([whole, True, whole])
        targets.append(own)
    # In a pause the tract is already, or still, at its neighbour's place.
    said = [target for target in targets if target is not None]
    for index, target in enumerate(targets):
        if target is None:
            later = [other for other in targets[index:] if other is not None]
            targets[index] = later[0] if later else said[-1]
    steps = np.concatenate(
        [
            np.tile(np.log(target), (part.end - part.start, 1))
            for part, target in zip(parts, targets, strict=True)
            if target is not None
        ]
    )
    return np.exp(np.stack([_smooth(column, _GLIDE) for column in steps.T], 1))


def _neighbour(phonemes: Sequence[_Steps], index: int) -> _FLOAT | None:
    """The formants of the vowel or glide after a phoneme, else of the one before it."""
    for place, piece in ((index + 1, 0), (index - 1, -1)):
        if 0 <= place < len(phonemes) and phonemes[place].text in _OPEN:
            return np.array(pieces(phonemes[place].text)[piece].formants, float)
    return None


def _pitch(
    phonemes: Sequence[_Steps],
    words: Sequence[_Steps],
    voice: Voice,
    rng: np.random.Generator,
) -> _FLOAT:
    """Fundamental frequency, (samples,) hertz: falls, rises on words, falls at the end, wavers."""
    steps = phonemes[-1].end
    time = np.arange(steps) / _STEPS_PER_SECOND
    first, last = words[0].start, words[-1].end
    share = np.clip((np.arange(steps) - first) / (last - first), 0, 1)
    contour = 0.1 - 0.2 * share - 0.1 * np.clip(share * 6 - 5, 0, 1)
    vowels = [span for span in phonemes if span.text in VOWELS]
    for word in words:
        stressed = next((v for v in vowels if word.start <= v.start < word.end), word)
        middle = (stressed.start + stressed.end) / 2 / _STEPS_PER_SECOND
        contour += rng.uniform(0.05, 0.18) * np.exp(-(((time - middle) / 0.09) ** 2))
    contour = voice.swing * contour + 0.02 * _smooth(rng.standard_normal(steps), 0.04)
    return voice.pitch * np.exp(_samples(contour))


def _pulses(phase: _FLOAT, voice: Voice) -> _FLOAT:
    """The derivative of the glottal flow, which radiates: slow opening, abrupt closing."""
    from scipy.signal import lfilter

    opened = phase / voice.open
    flow = np.where(opened < 1, 2 * opened - 3 * opened**2, 0.0)
    return np.asarray(lfilter([1 - voice.tilt], [1, -voice.tilt], flow))


def _tract(source: _FLOAT, formants: _FLOAT, damping: _FLOAT, scale: float) -> _FLOAT:
    """Five resonators one after the other, new ones every 5 ms; each passes 0 Hz unchanged."""
    from scipy.signal import sosfilt

    upper = np.tile(np.array(UPPER), (len(formants), 1))
    centres = scale * np.concatenate([formants, upper], 1)
    widths = np.array(BANDWIDTHS) * damping[:, None]
    radius = np.exp(-np.pi * widths / SAMPLE_RATE)
    first = -2 * radius * np.cos(2 * np.pi * centres / SAMPLE_RATE)
    gain = 1 + first + radius**2
    zero, one = np.zeros_like(gain), np.ones_like(gain)
    sections = np.stack([gain, zero, zero, one, first, radius**2], -1)  # (steps, 5, 6)
    result = np.empty_like(source)
    state = np.zeros((len(BANDWIDTHS), 2))
    for step, section in enumerate(sections):
        block = slice(step * _STEP, (step + 1) * _STEP)
        result[block], state = sosfilt(section, source[block], zi=state)
    return result


def _band(rng: np.random.Generator, count: int, band: tuple[float, float]) -> _FLOAT:
    """Noise of RMS 1 within a band of frequencies, (count,)."""
    from scipy.signal import butter, sosfilt

    sections = butter(2, band, "bandpass", fs=SAMPLE_RATE, output="sos")
    noise = np.asarray(sosfilt(sections, rng.standard_normal(count)))
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _track(parts: Sequence[_Part], values: Sequence[float]) -> _FLOAT:
    """(steps,): the value of each part as long as it lasts."""
    return np.repeat(np.array(values), [part.end - part.start for part in parts])


def _source(parts: Sequence[_Part], values: Sequence[float], seconds: float) -> _FLOAT:
    """(samples,): an amplitude that starts and ends within some seconds."""
    return _samples(_smooth(_track(parts, values), seconds))


def _smooth(track: _FLOAT, seconds: float) -> _FLOAT:
    """Average over a raised cosine; the ends are held."""
    half = max(1, round(seconds * _STEPS_PER_SECOND / 2))
    kernel = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(track, half, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), "valid")


def _samples(track: _FLOAT) -> _FLOAT:
    """(steps,) to (80 x steps,), in straight lines between the middles of the steps."""
    middles = (np.arange(len(track)) + 0.5) * _STEP
    return np.interp(np.arange(len(track) * _STEP), middles, track)
