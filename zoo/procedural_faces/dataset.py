"""The procedural faces as a data set: any number of people at any age, on any number of processes.

A person is a number: the same seed and number are the same person everywhere, and every eighth
number is held out, so no call can show to training whom another one tests on.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..ages import COUNT, FIRST
from ..data.faces import Faces
from .draw import MAX_SIZE, MIN_SIZE, picture
from .specs import FRAMINGS, OLDEST, FaceSpec, sample_person, sample_scene

NAME = "procedural faces"
CHUNK = 128
"""Pictures that a process makes at a time."""
MAX_COUNT = 2**22
HELD_OUT = 8
"""One person in so many is never trained on."""

Report = Callable[[int, int], None]


class _Row(NamedTuple):
    identity: int
    view: int
    age: int


class _Task(NamedTuple):
    rows: list[_Row]
    size: int
    seed: int
    framing: str


def is_held_out(identity: int) -> bool:
    """Whether a person is kept from training: the same answer for every seed."""
    return identity % HELD_OUT == HELD_OUT - 1


def face(identity: int, seed: int = 0, view: int = 0, framing: str = FRAMINGS[0]) -> FaceSpec:
    """The person of a number, in one of their scenes.

    Args:
        identity: the person's number, at least 0.
        seed: of the population, at least 0.
        view: number of the scene, at least 0.
        framing: one of `specs.FRAMINGS`.

    Returns:
        What `draw` paints at any age.

    Raises:
        ValueError: an argument is out of range.
    """
    if min(identity, seed, view) < 0:
        raise ValueError(
            f"identity, seed and view must be at least 0, got {identity}, {seed} and {view}"
        )
    person = sample_person(np.random.default_rng((seed, identity, 0)))
    scene = sample_scene(np.random.default_rng((seed, identity, 1, view)), framing)
    return FaceSpec(person, scene)


def make_faces(
    count: int,
    size: int = 128,
    seed: int = 0,
    *,
    ages: Sequence[int] | None = None,
    per_person: int = 4,
    redraw: bool = True,
    held_out: bool | None = None,
    framing: str = FRAMINGS[0],
    workers: int = 1,
    report: Report = lambda done, total: None,
) -> Faces:
    """Draw people at several ages each, with exact landmarks and identities.

    Args:
        count: pictures, at least 1; each takes 3 * size**2 bytes.
        size: pixels a side, 32 to 1024.
        seed: of the population, at least 0.
        ages: those to choose from, 0 to 100; None = the ten groups of `ages.GROUPS` alike, any
            year of a group alike.
        per_person: pictures of each person; without `ages`, their groups differ as long as they
            last.
        redraw: a pose, a light and a background of its own for each picture of a person; False
            keeps those of the first, so that pictures of one person differ by age alone.
        held_out: True or False draws only people who are, or are not, kept from training; None
            draws both, the last eighth of the people held out.
        framing: one of `specs.FRAMINGS`.
        workers: processes that draw. More than one needs the `if __name__ == "__main__":` that
            Python's multiprocessing asks of the program's main file.
        report: called after each chunk with how many are done, of how many.

    Returns:
        The set, the same for any number of workers; those held out come last.

    Raises:
        ValueError: an argument is out of range.
        RuntimeError: a drawing process died.
    """
    _check(count, size, seed, workers, framing)
    if per_person < 1:
        raise ValueError(f"per_person must be at least 1, got {per_person}")
    choice = None if ages is None else _checked_ages(ages)
    rows: list[_Row] = []
    for identity in people(-(-count // per_person), held_out):
        years = _years(identity, seed, per_person, choice)
        rows += [_Row(identity, i if redraw else 0, age) for i, age in enumerate(years)]
    return _drawn(rows[:count], size, seed, framing, workers, report)


def series(
    identity: int,
    ages: Sequence[int],
    size: int = 128,
    seed: int = 0,
    *,
    view: int = 0,
    redraw: bool = False,
    framing: str = FRAMINGS[0],
) -> Faces:
    """One person through life.

    Args:
        identity: the person's number, at least 0.
        ages: years, 0 to 100, in the order of the result.
        size: pixels a side, 32 to 1024.
        seed: of the population, as in `make_faces`.
        view: number of the scene; the views of `make_faces` count from 0.
        redraw: each age in a scene of its own, counted from `view`; False keeps one scene, so that
            the pictures differ by age alone.
        framing: one of `specs.FRAMINGS`.

    Returns:
        As many faces as ages.

    Raises:
        ValueError: an argument is out of range.
    """
    years = _checked_ages(ages)
    face(identity, seed, view, framing)  # raises for what is out of range
    rows = [_Row(identity, view + i if redraw else view, age) for i, age in enumerate(years)]
    _check(len(rows), size, seed, 1, framing)
    return _drawn(rows, size, seed, framing, 1, lambda done, total: None)


def pairs(
    count: int,
    size: int = 128,
    seed: int = 0,
    *,
    apart: int = 1,
    held_out: bool | None = None,
    framing: str = FRAMINGS[0],
    workers: int = 1,
    report: Report = lambda done, total: None,
) -> tuple[Faces, Faces]:
    """Paired truth: people at one age, and the same pictures of them at another.

    Args:
        count: pairs, each of another person, at least 1.
        size: pixels a side, 32 to 1024.
        seed: of the population, as in `make_faces`.
        apart: how many age groups the two ages are apart at least, 1 to 9.
        held_out: as in `make_faces`.
        framing: one of `specs.FRAMINGS`.
        workers: processes that draw, as in `make_faces`.
        report: as in `make_faces`; a pair counts twice.

    Returns:
        Sources and targets: row i of both is one person in one scene.

    Raises:
        ValueError: an argument is out of range.
        RuntimeError: a drawing process died.
    """
    _check(2 * count, size, seed, workers, framing)
    if not 1 <= apart < COUNT:
        raise ValueError(f"apart must be 1 to {COUNT - 1} groups, got {apart}")
    choices = [(i, j) for i in range(COUNT) for j in range(COUNT) if abs(i - j) >= apart]
    sources, targets = [], []
    for identity in people(count, held_out):
        rng = np.random.default_rng((seed, identity, 3))
        first, second = choices[int(rng.integers(len(choices)))]
        sources.append(_Row(identity, 0, _year(first, rng)))
        targets.append(_Row(identity, 0, _year(second, rng)))
    both = _drawn([*sources, *targets], size, seed, framing, workers, report)
    return _slice(both, slice(0, count)), _slice(both, slice(count, None))


# --- who and when --------------------------------------------------------------------------------


def people(count: int, held_out: bool | None) -> list[int]:
    """Numbers of people, those held out last.

    Args:
        count: how many.
        held_out: True or False for those only; None for both, an eighth of them held out.

    Returns:
        `count` numbers, each once.
    """
    kept = count - count // HELD_OUT if held_out is None else 0 if held_out else count
    trained = [i + i // (HELD_OUT - 1) for i in range(kept)]
    return trained + [HELD_OUT * i + HELD_OUT - 1 for i in range(count - kept)]


def _years(identity: int, seed: int, count: int, choice: list[int] | None) -> list[int]:
    rng = np.random.default_rng((seed, identity, 2))
    if choice is not None:
        return [choice[int(i)] for i in rng.integers(len(choice), size=count)]
    rounds = [rng.permutation(COUNT) for _ in range(-(-count // COUNT))]
    return [_year(int(group), rng) for group in np.concatenate(rounds)[:count]]


def _year(group: int, rng: np.random.Generator) -> int:
    """Any year of an age group alike."""
    beyond = FIRST[group + 1] if group + 1 < COUNT else OLDEST + 1
    return int(rng.integers(FIRST[group], beyond))


def _checked_ages(ages: Sequence[int]) -> list[int]:
    years = [int(age) for age in ages]
    if not years:
        raise ValueError("no ages: give at least one")
    for age, year in zip(ages, years, strict=True):
        if age != year or not 0 <= year <= OLDEST:
            raise ValueError(f"ages must be whole years, 0 to {OLDEST}, got {age}")
    return years


def _check(count: int, size: int, seed: int, workers: int, framing: str) -> None:
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"count must be 1 to {MAX_COUNT}, got {count}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size must be {MIN_SIZE} to {MAX_SIZE} pixels a side, got {size}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if framing not in FRAMINGS:
        raise ValueError(f"unknown framing {framing!r}: use one of {', '.join(FRAMINGS)}")


# --- drawing -------------------------------------------------------------------------------------


def _drawn(
    rows: list[_Row], size: int, seed: int, framing: str, workers: int, report: Report
) -> Faces:
    count = len(rows)
    chunk = min(CHUNK, -(-count // workers))
    tasks = [
        _Task(rows[first : first + chunk], size, seed, framing) for first in range(0, count, chunk)
    ]
    images = torch.empty((count, 3, size, size), dtype=torch.uint8)
    points = torch.empty((count, 136), dtype=torch.float32)
    done = 0
    for drawn, places in _chunks(tasks, workers):
        images[done : done + len(drawn)] = torch.from_numpy(drawn)
        points[done : done + len(drawn)] = torch.from_numpy(places)
        done += len(drawn)
        report(done, count)
    return Faces(
        name=NAME,
        images=images,
        ages=torch.tensor([row.age for row in rows], dtype=torch.int64),
        landmarks=points,
        identity=torch.tensor([row.identity for row in rows], dtype=torch.int64),
        held_out=torch.tensor([is_held_out(row.identity) for row in rows]),
    )


_Chunk = tuple[NDArray[np.uint8], NDArray[np.float32]]


def _chunks(tasks: list[_Task], workers: int) -> Iterator[_Chunk]:
    if workers == 1 or len(tasks) == 1:
        yield from map(_chunk, tasks)
        return
    # Spawned, not forked: the caller may hold threads or a GPU, neither of which survives a fork.
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(tasks)), context) as pool:
            yield from pool.map(_chunk, tasks)
    except BrokenProcessPool:
        raise RuntimeError(
            f"one of {workers} drawing processes died: give the main file its "
            'if __name__ == "__main__": guard, or use workers=1'
        ) from None


def _chunk(task: _Task) -> _Chunk:
    images = np.empty((len(task.rows), 3, task.size, task.size), np.uint8)
    points = np.empty((len(task.rows), 136), np.float32)
    for i, (identity, view, age) in enumerate(task.rows):
        spec = face(identity, task.seed, view, task.framing)
        images[i], places = picture(spec, age, task.size)
        points[i] = places.reshape(-1)
    return images, points


def _slice(faces: Faces, where: slice) -> Faces:
    """Some of the faces, which share their memory with all."""
    return Faces(
        name=faces.name,
        images=faces.images[where],
        ages=faces.ages[where],
        landmarks=faces.landmarks[where],
        identity=faces.identity[where],
        held_out=faces.held_out[where],
    )
