"""Talking faces drawn by rules as a data set: any number of clips, on any number of processes.

People are those of `procedural_faces`: a number and a seed make a person, and every eighth number
is held out. A person keeps an age, a voice and a way of moving the mouth; each clip has a sentence,
a light and a background of its own.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.talking import (
    SAMPLES_PER_FRAME,
    SILENCE,
    Clips,
    WordSpan,
    offsets,
    to_int16,
)
from ..procedural_faces import MAX_SIZE, MIN_SIZE, FaceSpec, face, is_held_out, people
from ..talking.grammar import sentence
from ..talking.mfcc import COEFFICIENTS, FPS, ROWS, SAMPLE_RATE, windows
from ..talking.speech import Engine, Span, Spoken, say
from ..talking.spoken import SILENCE as PAUSE
from .film import blinks, expressions, film
from .framing import framed

NAME = "procedural talking faces"
YOUNGEST, OLDEST = 18, 70
"""Years of those who talk."""
MAX_COUNT = 2**17
MAX_SECONDS = 60.0
_TRIES = 8
_ROOM = 2e-4  # RMS of the noise where nothing is said, as `speech.say` has it

Report = Callable[[int, int], None]


class Take(NamedTuple):
    """One clip: its truth first, then what it shows and how it sounds.

    Attributes:
        frames: (T, 3, S, S) uint8 RGB.
        landmarks: (T, 136) float32, as in `Clips`.
        samples: (T * 640,) float32 in [-1, 1].
        words: the sentence and the silence around it, in frames.
        phonemes: in seconds, gapless over the whole clip.
        name: of the clip.
    """

    frames: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    samples: NDArray[np.float32]
    words: tuple[WordSpan, ...]
    phonemes: tuple[Span, ...]
    name: str


class _Task(NamedTuple):
    identity: int
    number: int
    size: int
    seed: int
    frames: int
    engine: Engine


def make_clips(
    count: int,
    size: int = 128,
    seed: int = 0,
    *,
    seconds: float = 3.0,
    engine: Engine = "formant",
    per_person: int = 2,
    held_out: bool | None = None,
    workers: int = 1,
    report: Report = lambda done, total: None,
) -> Clips:
    """Draw people who say sentences of GRID's grammar, with exact landmarks and word times.

    Args:
        count: clips, at least 1; each takes 3.7 MB at 3 s and 128 pixels.
        size: pixels a side, 32 to 1024.
        seed: of the population, at least 0.
        seconds: of each clip, 1 to 60, rounded to frames; 3 s are 75 frames, as in GRID.
        engine: who speaks, see `talking.speech.say`.
        per_person: clips of each person.
        held_out: True or False draws only people who are, or are not, kept from training; None
            draws both, the last eighth of the people held out (none, if they are fewer).
        workers: processes that draw. More than one needs the `if __name__ == "__main__":` that
            Python's multiprocessing asks of the program's main file.
        report: called after each clip with how many are done, of how many.

    Returns:
        The set, the same for any number of workers; those held out come last.

    Raises:
        ValueError: an argument is out of range, or no sentence fits into the seconds.
        ImportError: engine "espeak" without its library.
        RuntimeError: a drawing process died.
    """
    length = _checked(count, size, seed, seconds, per_person, workers)
    tasks = [
        _Task(identity, number, size, seed, length, engine)
        for identity in people(-(-count // per_person), held_out)
        for number in range(per_person)
    ][:count]
    frames = torch.empty((count * length, 3, size, size), dtype=torch.uint8)
    landmarks = torch.empty((count * length, 136))
    seen = torch.empty((count * length, ROWS, COEFFICIENTS))
    sounds = torch.empty(count * length * SAMPLES_PER_FRAME, dtype=torch.int16)
    words, names = [], []
    for done, clip in enumerate(_takes(tasks, workers)):
        rows = slice(done * length, (done + 1) * length)
        frames[rows] = torch.from_numpy(clip.frames)
        landmarks[rows] = torch.from_numpy(clip.landmarks)
        sound = to_int16(clip.samples)
        sounds[rows.start * SAMPLES_PER_FRAME : rows.stop * SAMPLES_PER_FRAME] = sound
        # Of the sound that is kept, so that whoever plays it back computes the same.
        seen[rows] = torch.from_numpy(windows(sound.numpy().astype(np.float32) / 32768))
        words.append(clip.words)
        names.append(clip.name)
        report(done + 1, count)
    return Clips(
        name=NAME if engine == "formant" else f"{NAME} ({engine})",
        frames=frames,
        first=offsets([length] * count),
        landmarks=landmarks,
        windows=seen,
        words=tuple(words),
        speakers=torch.tensor([task.identity for task in tasks], dtype=torch.int64),
        names=tuple(names),
        held_out=torch.tensor([is_held_out(task.identity) for task in tasks]),
        sounds=sounds,
        sound_first=offsets([length * SAMPLES_PER_FRAME] * count),
    )


def take(
    identity: int,
    number: int = 0,
    size: int = 128,
    seed: int = 0,
    *,
    seconds: float = 3.0,
    engine: Engine = "formant",
) -> Take:
    """One clip of `make_clips`, with what is known about it beyond `Clips`.

    Args:
        identity: the person's number, at least 0.
        number: of their clip, at least 0.
        size: pixels a side.
        seed: of the population.
        seconds: 1 to 60.
        engine: who speaks.

    Returns:
        The clip.

    Raises:
        ValueError: an argument is out of range, or no sentence fits into the seconds.
        ImportError: engine "espeak" without its library.
    """
    length = _checked(1, size, seed, seconds, 1, 1)
    return _take(_Task(identity, number, size, seed, length, engine))


def speaker(identity: int, seed: int = 0, view: int = 0) -> tuple[FaceSpec, int]:
    """Who talks in a clip, framed as the crop is.

    Args:
        identity: the person's number, at least 0.
        seed: of the population, at least 0.
        view: number of the scene, at least 0.

    Returns:
        The face and the age in years.

    Raises:
        ValueError: an argument is out of range.
    """
    spec = face(identity, seed, view)
    age = int(np.random.default_rng((seed, identity, 4)).integers(YOUNGEST, OLDEST + 1))
    # Who speaks smiles less than for a photo.
    calm = replace(spec.scene, smile=0.4 * spec.scene.smile)
    return framed(FaceSpec(spec.person, calm), age), age


def _take(task: _Task) -> Take:
    identity, number, size, seed, length, engine = task
    spec, age = speaker(identity, seed, number)
    own = np.random.default_rng((seed, identity, 5))
    voice, effort = int(own.integers(2**31)), float(own.uniform(0.8, 1.1))
    rng = np.random.default_rng((seed, identity, 6, number))
    spoken = _fitting(rng, length, engine, voice)
    free = length * SAMPLES_PER_FRAME - len(spoken.samples)
    before = int(rng.integers(free + 1))
    samples = (_ROOM * rng.standard_normal(length * SAMPLES_PER_FRAME)).astype(np.float32)
    samples[before : before + len(spoken.samples)] = spoken.samples
    samples *= np.float32(rng.uniform(0.5, 1.6))  # near and far from the microphone
    start, seconds = before / SAMPLE_RATE, length / FPS
    phonemes = _spread(spoken.phonemes, start, seconds, PAUSE)
    moves = expressions(phonemes, length, effort=effort, blinks=blinks(rng, seconds))
    frames, points = film(spec, age, moves, size)
    spans = _spread(spoken.words, start, seconds, SILENCE)
    words = tuple(WordSpan(word, begin * FPS, end * FPS) for word, begin, end in spans)
    said = "-".join(span.text for span in spoken.words)
    return Take(frames, points, samples, words, phonemes, f"{identity:06d}-{number}-{said}")


def _fitting(rng: np.random.Generator, length: int, engine: Engine, voice: int) -> Spoken:
    """A sentence that is over before the clip is."""
    for _ in range(_TRIES):
        spoken = say(" ".join(sentence(rng)), engine=engine, voice=voice)
        if len(spoken.samples) <= length * SAMPLES_PER_FRAME:
            return spoken
    raise ValueError(f"{length / FPS:g} seconds are too short for a sentence: use 3 or more")


def _spread(
    spans: tuple[Span, ...], start: float, seconds: float, silence: str
) -> tuple[Span, ...]:
    """Spans moved by `start`, and what lies before, between and after them filled with silence."""
    filled: list[Span] = []
    place = 0.0
    for text, begin, end in (*spans, Span("", seconds - start, seconds - start)):
        if begin + start > place + 1e-6:
            filled.append(Span(silence, place, begin + start))
        if text:
            filled.append(Span(text, begin + start, end + start))
        place = end + start
    return tuple(filled)


def _takes(tasks: list[_Task], workers: int) -> Iterator[Take]:
    if workers == 1 or len(tasks) == 1:
        yield from map(_take, tasks)
        return
    # Spawned, not forked: the caller may hold threads or a GPU, neither of which survives a fork.
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(tasks)), context) as pool:
            yield from pool.map(_take, tasks)
    except BrokenProcessPool:
        raise RuntimeError(
            f"one of {workers} drawing processes died: give the main file its "
            'if __name__ == "__main__": guard, or use workers=1'
        ) from None


def _checked(
    count: int, size: int, seed: int, seconds: float, per_person: int, workers: int
) -> int:
    """The frames of a clip, after a look at all arguments."""
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"count must be 1 to {MAX_COUNT}, got {count}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size must be {MIN_SIZE} to {MAX_SIZE} pixels a side, got {size}")
    if not 1 <= seconds <= MAX_SECONDS:
        raise ValueError(f"seconds must be 1 to {MAX_SECONDS:g}, got {seconds}")
    for name, value, least in (("seed", seed, 0), ("per_person", per_person, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    return round(seconds * FPS)
