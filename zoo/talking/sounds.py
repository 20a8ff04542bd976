"""Sound as mono samples at 16 kHz, from files of any common format, arrays, blocks, or a text."""

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from math import gcd
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...backend.ffmpeg import decoded
from ...backend.files import MediaError, input_file
from ...backend.sound import MAX_SECONDS, read_sound
from .mfcc import SAMPLE_RATE
from .speech import say

Samples: TypeAlias = NDArray[np.float32]
Engine = Literal["auto", "formant", "espeak"]

AUDIO = "pip install 'neuralpaint[audio]'"
BLOCK = SAMPLE_RATE
"""Samples that are read at a time: a second."""
SILENT = 1e-4
"""Peak below which sound counts as silence: -80 dB, three steps of 16 bits."""
CLIPPED, CLIPPED_SHARE = 0.999, 0.001
"""Sound counts as clipped if more than this share of its samples reaches full scale."""
SHORT = 0.28
"""Seconds of a window of sound: shorter sounds hold hardly a syllable."""
LOUDEST = 4.0
"""Peak beyond which numbers are no samples in [-1, 1]; lossy formats exceed 1 slightly."""
RATES = (4000, 384_000)


@dataclass(frozen=True, eq=False)
class Sound:
    """Sound in memory.

    Attributes:
        name: of it, in messages.
        samples: (N,) float32 at `SAMPLE_RATE`, N >= 1.
        notes: what the user should know.
        origin: what it is, for the provenance: keyword -> value.
    """

    name: str
    samples: Samples
    notes: tuple[str, ...]
    origin: dict[str, str]


SoundLike: TypeAlias = (
    str
    | os.PathLike[str]
    | Sound
    | NDArray[Any]
    | tuple[NDArray[Any], int]
    | Iterable[NDArray[Any]]
)
"""A file, samples at `SAMPLE_RATE`, samples and their rate, or (to stream) blocks of samples."""


class Listener:
    """Watches sound that goes by, for what the user should know.

    Args:
        name: of the sound.
    """

    def __init__(self, name: str) -> None:
        self.name, self.count, self._peak, self._full = name, 0, 0.0, 0

    def hear(self, samples: Samples) -> None:
        """Take note of a block (n,)."""
        loud = np.abs(samples)
        self.count += len(samples)
        self._peak = max(self._peak, float(loud.max(initial=0)))
        self._full += int((loud >= CLIPPED).sum())

    @property
    def notes(self) -> tuple[str, ...]:
        """On the sound up to now."""
        if not self.count:
            return ()
        notes = []
        if self._peak < SILENT:
            notes.append(f"{self.name}: is silent; the face has nothing to say")
        elif self._full > CLIPPED_SHARE * self.count:
            notes.append(
                f"{self.name}: clipped ({self._full / self.count:.1%} of its samples are at full "
                "scale); take a copy that is less loud if there is one"
            )
        if self.count < SHORT * SAMPLE_RATE:
            notes.append(
                f"{self.name}: {1000 * self.count / SAMPLE_RATE:.0f} ms long, less than a syllable"
            )
        return tuple(notes)


def read_whole(
    sound: SoundLike, *, name: str = "the sound", max_seconds: float = MAX_SECONDS
) -> Sound:
    """Read a sound.

    Args:
        sound: see `SoundLike`.
        name: what to call it if it has no name of its own.
        max_seconds: refuse longer ones.

    Returns:
        The sound with notes on it.

    Raises:
        TypeError: something else.
        MediaError: it cannot be read, is empty, damaged or too long (names it).
    """
    name = name_of(sound, name)
    if isinstance(sound, Sound):
        return sound
    if isinstance(sound, (str, os.PathLike)):
        samples = read_sound(sound, SAMPLE_RATE, max_seconds=max_seconds)
    else:
        pieces, most = list[Samples](), max_seconds * SAMPLE_RATE
        for piece in blocks(sound, name):
            pieces.append(piece)
            most -= len(piece)
            if most < 0:
                raise MediaError(f"{name}: longer than {max_seconds:g} seconds; stream it")
        samples = np.concatenate(pieces)
    listener = Listener(name)
    listener.hear(samples)
    return Sound(name, samples, listener.notes, {"Sound": name})


def speak(text: str, engine: Engine = "auto", voice: int = 0) -> Sound:
    """Have a text spoken.

    Args:
        text: in English.
        engine: "espeak" (eSpeak NG of the `audio` extra), "formant" (built in), or "auto": the
            first where it is installed, else the second.
        voice: seed of the voice.

    Returns:
        The sound; its notes say who speaks.

    Raises:
        TypeError: no text.
        ValueError: nothing that can be spoken, or no such engine.
        ImportError: eSpeak NG is asked for and not installed (says how to get it).
    """
    if not isinstance(text, str):
        raise TypeError(f"a text to be spoken is a str, not {type(text).__name__}")
    if not text.strip():
        raise ValueError("the text is empty: give words to say")
    if engine not in ("auto", "formant", "espeak"):
        raise ValueError(f"engine {engine!r:.40} is unknown; known: auto, formant, espeak")
    name = f"the text {text[:40]!r}"
    chosen: Literal["formant", "espeak"] = "formant"
    if engine == "espeak" or (engine == "auto" and has_espeak()):
        chosen = "espeak"
    spoken = say(text, engine=chosen, voice=voice)
    who = "eSpeak NG" if chosen == "espeak" else "the built-in formant synthesiser"
    hint = "" if engine != "auto" or chosen == "espeak" else f"; for clearer speech: {AUDIO}"
    origin = {"Text": text, "Voice": f"{who}, voice {voice}"}
    return Sound(name, spoken.samples, (f"{name}: spoken by {who}{hint}",), origin)


def has_espeak() -> bool:
    """Whether the `audio` extra is installed; nothing is loaded."""
    return find_spec("espeakng_loader") is not None


def name_of(sound: object, name: str = "the sound") -> str:
    """What to call a sound: by its own name if it has one, else `name`."""
    if isinstance(sound, Sound):
        return sound.name
    return Path(sound).name if isinstance(sound, (str, os.PathLike)) else name


def blocks(sound: SoundLike, name: str = "the sound") -> Iterator[Samples]:
    """Read sound block by block.

    Args:
        sound: see `SoundLike`; of a file no more than a block is in memory. What can be refused at
            once is refused by this call, the rest as it is met.
        name: what to call it if it has no name of its own.

    Returns:
        Its samples, (n,) float32 at `SAMPLE_RATE`, n >= 1; in all at least one.

    Raises:
        TypeError: something else.
        MediaError: it cannot be read, is empty or damaged (names it).
    """
    if isinstance(sound, (str, os.PathLike)):
        return _file_blocks(input_file(sound, MediaError))
    if isinstance(sound, Sound):
        return _pieces(sound.samples)
    if isinstance(sound, np.ndarray):
        return _pieces(_mono(sound, name))
    if isinstance(sound, tuple) and len(sound) == 2 and isinstance(sound[1], (int, np.integer)):
        return _pieces(_resampled(_mono(sound[0], name), int(sound[1]), name))
    if isinstance(sound, Iterable) and not isinstance(sound, (bytes, bytearray)):
        return _given_blocks(sound, name)
    raise TypeError(
        f"a sound is a path, an array at {SAMPLE_RATE} Hz, (array, rate) or blocks of samples, not "
        f"{type(sound).__name__}"
    )


def _pieces(samples: Samples) -> Iterator[Samples]:
    return (samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK))


def _file_blocks(file: Path) -> Iterator[Samples]:
    """As `sound.read_sound`: AU says how many channels there are, which are averaged."""
    options = ["-ar", str(SAMPLE_RATE), "-c:a", "pcm_f32be", "-f", "au"]
    with decoded(file, "sound", options) as stream:
        head = stream.read(24)
        channels = 0
        if len(head) == 24:
            _, start, _, _, _, channels = struct.unpack(">4s5I", head)
            stream.read(start - 24)
        empty = True
        while block := stream.read(BLOCK * channels * 4) if channels else b"":
            values = np.frombuffer(block[: len(block) // 4 * 4], ">f4")
            mono = values[: len(values) // channels * channels].reshape(-1, channels).mean(1)
            if len(mono):
                empty = False
                yield mono.astype(np.float32)
    if empty:
        raise MediaError(f"{file}: no sound in it; give a file with a sound track")


def _given_blocks(sound: Iterable[Any], name: str) -> Iterator[Samples]:
    empty = True
    for block in sound:
        if not isinstance(block, np.ndarray):
            raise TypeError(f"{name}: a block is {type(block).__name__}, not an array of samples")
        if block.size:
            empty = False
            yield _mono(block, name)
    if empty:
        raise MediaError(f"{name}: is empty; give at least one sample")


def _mono(values: NDArray[Any], name: str) -> Samples:
    """Samples (N,) or (N, C), floats in [-1, 1] or 16-bit integers, as (N,) float32."""
    if not isinstance(values, np.ndarray) or values.ndim not in (1, 2) or not values.size:
        shape = getattr(values, "shape", type(values).__name__)
        raise MediaError(f"{name}: {shape}; samples are (N,) or (N, channels) with N >= 1")
    if values.dtype == np.int16:
        samples = values.astype(np.float32) / 32768
    elif np.issubdtype(values.dtype, np.floating):
        samples = values.astype(np.float32)
    else:
        raise MediaError(f"{name}: {values.dtype} samples; give floats in [-1, 1] or int16")
    if not np.isfinite(samples).all():
        raise MediaError(f"{name}: NaN or infinity among the samples")
    peak = float(np.abs(samples).max())
    if peak > LOUDEST:
        raise MediaError(f"{name}: peak {peak:.3g}; samples must lie in [-1, 1], scale them")
    if samples.ndim == 2:
        if samples.shape[1] > 32:
            raise MediaError(f"{name}: {samples.shape}; samples are (N, channels), turn it")
        samples = samples.mean(1, dtype=np.float32)
    return np.ascontiguousarray(samples)


def _resampled(samples: Samples, rate: int, name: str) -> Samples:
    from scipy.signal import resample_poly

    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"{name}: {rate} samples a second; must be {RATES[0]} to {RATES[1]}")
    common = gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // common, rate // common
    if max(up, down) > SAMPLE_RATE:
        raise MediaError(f"{name}: {rate} samples a second cannot be brought to {SAMPLE_RATE}")
    changed: Samples = samples
    if up != down:
        changed = resample_poly(samples, up, down).astype(np.float32)
    return changed
