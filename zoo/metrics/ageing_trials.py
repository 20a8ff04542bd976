"""What a model that ages faces is tried on: held-out faces and, of drawn ones, their whole life.

Drawn faces and photographs are trials of their own, so that their figures cannot be mixed.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import torch
from torch import Tensor

from ...backend import device as devices
from ..ages import CENTRES, COUNT, FIRST, GROUPS, groups_of
from ..data.faces import Faces
from ..procedural_faces import FRAMINGS, OLDEST, make_faces, series
from ..procedural_faces.dataset import HELD_OUT

YOUNG = 2
"""The age group whose faces Table 4.3 ages: 11-20."""
MORE_YOUNG = 4
"""It has so many times as many inputs as each other group."""
REAL_PER_GROUP = 30
"""Other real faces of each group, or twice as many as there are inputs if that is more."""
LEAST = 2
"""Inputs and other real faces that a group must have."""
MIDDLES = tuple(
    (FIRST[group] + (FIRST[group + 1] - 1 if group + 1 < COUNT else OLDEST)) // 2
    for group in range(COUNT)
)
"""Ages that drawn people are shown at: the middle of each group, whose years are drawn alike."""

Report = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, of how much)."""


@dataclass(frozen=True, eq=False)
class AgeingTrial:
    """See the module.

    Attributes:
        name: of the set, for tables.
        sources: N inputs, all with landmarks.
        real: M other held-out faces, of all age groups.
        targets: (10,) float64, the age in years that stands for each group.
        truth: (N, 10, 3, S, S) uint8, the input's person in the same scene at each of `targets`;
            None: nobody knows.
        truth_landmarks: (N, 10, 136) float32; None as `truth`.
        notes: what a reader should know.
    """

    name: str
    sources: Faces
    real: Faces
    targets: Tensor
    truth: Tensor | None = None
    truth_landmarks: Tensor | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            ValueError: inputs without landmarks, other sizes, too few faces, or truth of another
                shape.
        """
        count, size = len(self.sources), self.sources.size
        if not self.sources.has_landmarks.all():
            raise ValueError(f"{self.name}: an input has no landmarks; leave it out")
        if self.real.size != size:
            raise ValueError(f"{self.name}: faces of {size} and {self.real.size} pixels a side")
        if min(count, len(self.real)) < LEAST:
            raise ValueError(
                f"{self.name}: {count} inputs and {len(self.real)} other faces; {LEAST} of each "
                "are needed"
            )
        if self.truth is not None:
            if self.truth.shape != (count, COUNT, 3, size, size):
                raise ValueError(f"{self.name}: truth of shape {tuple(self.truth.shape)}")
            if self.truth_landmarks is None or self.truth_landmarks.shape[:2] != (count, COUNT):
                raise ValueError(f"{self.name}: pictures of the truth without their landmarks")

    def __len__(self) -> int:
        return len(self.sources)


def photo_trial(data: Faces, per_group: int, seed: int = 0) -> AgeingTrial:
    """Held-out photographs.

    Args:
        data: faces, with landmarks.
        per_group: inputs of each age group, at most, and `MORE_YOUNG` times as many of 11-20; half
            of a group's faces at most, as the others stand for real ones.
        seed: of the choice.

    Returns:
        The trial.

    Raises:
        ValueError: nothing is held out, or too little of any group.
    """
    _check(per_group)
    held = data.part(held_out=True)
    groups = groups_of(held.ages)
    generator = devices.generator(devices.spawn(seed, 0))
    order = torch.randperm(len(held), generator=generator)
    sources, real, short = [], [], []
    for group in range(COUNT):
        rows = order[groups[order] == group]
        known = rows[held.has_landmarks[rows]]
        wanted = per_group * (MORE_YOUNG if group == YOUNG else 1)
        number = min(wanted, len(known), len(rows) // 2)
        if number < wanted:
            short.append(f"{number} of {GROUPS[group]}")
        sources.append(known[:number])
        left = rows[~torch.isin(rows, known[:number])]
        real.append(left[: max(REAL_PER_GROUP, 2 * per_group)])
    notes = []
    if bare := int((~held.has_landmarks).sum()):
        notes.append(f"{bare} held-out faces in which no landmarks are found are no inputs")
    if short:
        notes.append(
            f"fewer inputs than asked for, as few faces are held out: {', '.join(short)} years"
        )
    if not any(map(len, sources)):
        raise ValueError(f"{data.name}: too few held-out faces with landmarks in each age group")
    return AgeingTrial(
        name=f"{data.name}, held-out faces",
        sources=_rows(held, torch.cat(sources)),
        real=_rows(held, torch.cat(real)),
        targets=torch.tensor(CENTRES, dtype=torch.float64),
        notes=tuple(notes),
    )


def drawn_trial(
    per_group: int,
    size: int,
    seed: int = 0,
    *,
    framing: str = FRAMINGS[0],
    workers: int = 1,
    report: Report = lambda stage, done, total: None,
) -> AgeingTrial:
    """Drawn people who are held out from training, each at one age and, as truth, at all ten.

    Args:
        per_group: inputs of each age group, and `MORE_YOUNG` times as many of 11-20.
        size: S, side of the faces.
        seed: of the population.
        framing: one of `procedural_faces.FRAMINGS`.
        workers: processes that draw.
        report: called as faces are drawn.

    Returns:
        The trial.

    Raises:
        ValueError: an argument is out of range.
        RuntimeError: a drawing process died.
    """
    _check(per_group)
    own = [
        group
        for group in range(COUNT)
        for _ in range(per_group * (MORE_YOUNG if group == YOUNG else 1))
    ]
    draws = torch.rand(len(own), generator=devices.generator(devices.spawn(seed, 1))).tolist()
    beyond = (*FIRST[1:], OLDEST + 1)
    tasks = [
        (HELD_OUT * index + HELD_OUT - 1, FIRST[group] + int(u * (beyond[group] - FIRST[group])))
        for index, (group, u) in enumerate(zip(own, draws, strict=True))
    ]
    lives = list[Faces]()
    for life in _lives(tasks, size, seed, framing, workers):
        lives.append(life)
        report("draw people at all ages", len(lives), len(tasks))
    real = make_faces(
        COUNT * max(REAL_PER_GROUP, 2 * per_group),
        size,
        seed + 1,
        per_person=1,
        held_out=True,
        framing=framing,
        workers=workers,
        report=lambda done, total: report("draw other people", done, total),
    )
    return AgeingTrial(
        name=f"{real.name} ({framing}), held-out people",
        sources=_first(lives),
        real=real,
        targets=torch.tensor(MIDDLES, dtype=torch.float64),
        truth=torch.stack([life.images[1:] for life in lives]),
        truth_landmarks=torch.stack([life.landmarks[1:] for life in lives]),
    )


def _check(per_group: int) -> None:
    if per_group < 1:
        raise ValueError(f"per_group must be at least 1, got {per_group}")


def _lives(
    tasks: list[tuple[int, int]], size: int, seed: int, framing: str, workers: int
) -> Iterator[Faces]:
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    draw = partial(_life, size=size, seed=seed, framing=framing)
    if workers == 1:
        yield from map(draw, tasks)
        return
    # Spawned, not forked: the caller may hold threads or a GPU, neither of which survives a fork.
    try:
        with ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn")) as pool:
            yield from pool.map(draw, tasks, chunksize=4)
    except BrokenProcessPool:
        raise RuntimeError(
            f"one of {workers} drawing processes died: give the main file its "
            'if __name__ == "__main__": guard, or use workers=1'
        ) from None


def _life(task: tuple[int, int], size: int, seed: int, framing: str) -> Faces:
    """A person at their own age and at `MIDDLES`."""
    identity, age = task
    return series(identity, (age, *MIDDLES), size, seed, framing=framing)


def _first(lives: list[Faces]) -> Faces:
    """Everyone at their own age."""
    return Faces(
        name=lives[0].name,
        images=torch.stack([life.images[0] for life in lives]),
        ages=torch.stack([life.ages[0] for life in lives]),
        landmarks=torch.stack([life.landmarks[0] for life in lives]),
        identity=torch.stack([life.identity[0] for life in lives]),
        held_out=torch.stack([life.held_out[0] for life in lives]),
    )


def _rows(faces: Faces, rows: Tensor) -> Faces:
    return replace(
        faces,
        images=faces.images[rows],
        ages=faces.ages[rows],
        landmarks=faces.landmarks[rows],
        identity=faces.identity[rows],
        held_out=faces.held_out[rows],
    )
