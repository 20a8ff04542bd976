"""The procedural captioned set: any number of pictures from a seed, on any number of processes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.captioned import Captioned
from .captions import asserted, captions
from .draw import MAX_SIZE, MIN_SIZE, picture
from .specs import VALUES, attributes, label, sample, species

CAPTIONS = 5
"""Sentences for each picture."""
NAME = "procedural birds and flowers"
CHUNK = 128
"""Pictures that a process makes at a time."""
MAX_COUNT = 2**22


class Prompt(NamedTuple):
    """A sentence to generate from.

    Attributes:
        text: the sentence.
        asserted: what it claims, see `captions.asserted`.
    """

    text: str
    asserted: dict[str, int]


class _Chunk(NamedTuple):
    images: NDArray[np.uint8]
    captions: list[tuple[str, ...]]
    labels: list[int]
    truth: list[list[int]]


def make(
    count: int,
    size: int,
    seed: int = 0,
    held_out: bool | None = None,
    workers: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Captioned:
    """Draw birds and flowers with captions and exact truth.

    Picture i depends on the seed, on i and on its side of the split, and on nothing else.

    Args:
        count: pictures, at least 1; each takes 3 * size**2 bytes.
        size: pixels a side, 16 to 1024.
        seed: at least 0. Training and test sets need seeds of their own, unless `held_out` parts
            them.
        held_out: True or False makes only pictures whose pair of colours is, or is not, kept from
            training (`specs.is_held_out`); None makes both, the last eighth held out.
        workers: processes that draw. More than one needs the `if __name__ == "__main__":` that
            Python's multiprocessing asks of the program's main file.
        report: called after each chunk with how many are done, of how many.

    Returns:
        The set, the same for any number of workers.

    Raises:
        ValueError: an argument is out of range.
        RuntimeError: a drawing process died.
    """
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"count must be 1 to {MAX_COUNT}, got {count}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size must be {MIN_SIZE} to {MAX_SIZE} pixels a side, got {size}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    kept = count - count // 8 if held_out is None else 0 if held_out else count
    chunk = min(CHUNK, -(-count // workers))
    tasks = [
        (seed, first, min(chunk, count - first), size, kept) for first in range(0, count, chunk)
    ]
    images = torch.empty((count, 3, size, size), dtype=torch.uint8)
    texts: list[tuple[str, ...]] = []
    labels: list[int] = []
    truth: list[list[int]] = []
    for done in _chunks(tasks, workers):
        images[len(texts) : len(texts) + len(done.captions)] = torch.from_numpy(done.images)
        texts += done.captions
        labels += done.labels
        truth += done.truth
        report(len(texts), count)
    columns = torch.tensor(truth, dtype=torch.int64)
    return Captioned(
        name=NAME,
        images=images,
        captions=tuple(texts),
        labels=torch.tensor(labels, dtype=torch.int64),
        held_out=torch.arange(count) >= kept,
        species=species(),
        generated_captions=True,
        attributes={name: columns[:, i].contiguous() for i, name in enumerate(VALUES)},
    )


def _chunks(tasks: list[tuple[int, int, int, int, int]], workers: int) -> Iterator[_Chunk]:
    if workers == 1 or len(tasks) == 1:
        yield from map(_drawn, tasks)
        return
    # Spawned, not forked: the caller may hold threads or a GPU, neither of which survives a fork.
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(tasks)), context) as pool:
            yield from pool.map(_drawn, tasks)
    except BrokenProcessPool:
        raise RuntimeError(
            f"one of {workers} drawing processes died: give the main file its "
            'if __name__ == "__main__": guard, or use workers=1'
        ) from None


def _drawn(task: tuple[int, int, int, int, int]) -> _Chunk:
    seed, first, count, size, kept = task
    images = np.empty((count, 3, size, size), np.uint8)
    chunk = _Chunk(images, [], [], [])
    for i in range(count):
        index = first + i
        rng = _generator(seed, index, index >= kept)
        spec = sample(rng, held_out=index >= kept)
        images[i] = picture(spec, size)
        chunk.captions.append(captions(spec, CAPTIONS, rng))
        chunk.labels.append(label(spec))
        chunk.truth.append(list(attributes(spec).values()))
    return chunk


def _generator(seed: int, index: int, held_out: bool) -> np.random.Generator:
    return np.random.default_rng((seed, index, int(held_out)))


def prompts(count: int, seed: int = 0, held_out: bool = True) -> tuple[Prompt, ...]:
    """Sentences to generate from, with what they claim.

    They are captions of pictures that are not drawn, and that `make` does not draw.

    Args:
        count: how many, at least 1.
        seed: at least 0.
        held_out: of pairs of colours that are kept from training, or of the others.

    Returns:
        As many prompts.

    Raises:
        ValueError: count or seed is out of range.
    """
    if count < 1 or seed < 0:
        raise ValueError(f"count must be at least 1 and seed 0, got {count} and {seed}")
    made = []
    for index in range(count):
        rng = np.random.default_rng((seed, index, int(held_out), 1))
        (text,) = captions(sample(rng, held_out), 1, rng)
        made.append(Prompt(text, asserted(text)))
    return tuple(made)
