"""What a generator is tried on: prompts, the real pictures that they describe, and what they claim.

None of it is trained on, neither by the generator nor by the judges.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...backend import device as devices
from ..data.captioned import Captioned
from ..procedural import COLOURS, VALUES, asserted, make
from .judges import CLASS, class_of

JUDGES_SEED = 1_000_003
"""Of the procedural pictures that judges learn from."""
JUDGES_COUNT = 6000
MOST_CLASSES = 1000
"""COCO has no classes: there each picture counts as one of its own."""

Report = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, of how much)."""


@dataclass(frozen=True, eq=False)
class Trial:
    """See the module.

    Attributes:
        name: of the set, for tables.
        prompts: N sentences.
        labels: (N,) int64, classes of the prompts: sentences of one class may fit each other's
            pictures.
        real: (N, 3, S, S) uint8, the picture that each prompt describes.
        another: (M, 3, S, S) uint8, other real pictures of the same kind.
        truth: by attribute of `classes`, (N,) int64, what `real` shows; -1: does not apply.
        claims: N, by attribute what each prompt says; empty where no grammar reads it back.
        colours: the attributes that are colours, out of eight.
        classes: number of values by attribute, `judges.CLASS` among them; empty where there are
            none that a classifier could learn.
        train: gives the pictures that judges learn from.
        key: JSON values that tell those from others.
        notes: what a reader should know.
    """

    name: str
    prompts: tuple[str, ...]
    labels: Tensor
    real: Tensor
    another: Tensor
    truth: Mapping[str, Tensor]
    claims: tuple[Mapping[str, int], ...]
    colours: tuple[str, ...]
    classes: dict[str, int]
    train: Callable[[], Captioned]
    key: dict[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)


def procedural_trial(
    count: int,
    size: int,
    seed: int = 0,
    *,
    held_out: bool = True,
    judged_at: int = 64,
    judges_count: int = JUDGES_COUNT,
    workers: int = 1,
    report: Report = lambda stage, done, total: None,
) -> Trial:
    """Prompts about drawn birds and flowers, with exact truth.

    The judges learn from drawn pictures of all pairs of colours, those held out from generators
    included, by a seed of their own: a judge must know what a generator has to work out.

    Args:
        count: N.
        size: S, side of the generated images.
        seed: of prompts and pictures.
        held_out: pairs of colours that generators do not train on, or those they do.
        judged_at: side that judges look at.
        judges_count: pictures for the judges to learn from.
        workers: processes that draw.
        report: called as pictures are drawn.

    Returns:
        The trial.

    Raises:
        ValueError: a count or size is out of range.
    """

    def drawn(stage: str, which: int) -> Captioned:
        own = devices.spawn(seed, which)
        return make(count, size, own, held_out, workers, lambda d, t: report(stage, d, t))

    def train() -> Captioned:
        return make(
            judges_count,
            judged_at,
            JUDGES_SEED,
            None,
            workers,
            lambda done, total: report("draw for the judges", done, total),
        )

    real = drawn("draw real pictures", 0)
    prompts = _choose(real, seed)
    values = {name: len(names) for name, names in VALUES.items()}
    # A few of its pictures tell one version of the drawing from another.
    fingerprint = make(16, judged_at, JUDGES_SEED).checksum
    which = "held out" if held_out else "trained on"
    return Trial(
        name=f"{real.name}, pairs of colours {which}",
        prompts=prompts,
        labels=real.labels,
        real=real.images,
        another=drawn("draw other real pictures", 1).images,
        truth={CLASS: class_of(real), **real.attributes},
        claims=tuple(asserted(prompt) for prompt in prompts),
        colours=tuple(name for name, names in VALUES.items() if names == tuple(COLOURS)),
        classes={CLASS: 2 * len(COLOURS), **values},
        train=train,
        key={"set": real.name, "count": judges_count, "fingerprint": fingerprint},
    )


def captioned_trial(data: Captioned, count: int, seed: int = 0) -> Trial:
    """Captions of the held-out pictures of a data set; judges learn from the others.

    Args:
        data: photographs with captions, at the size of the generated images.
        count: N, at most; as many pictures again are the other real ones, so no more than half of
            those held out.
        seed: of the choice.

    Returns:
        The trial.

    Raises:
        ValueError: nothing is held out, or fewer than four pictures.
    """
    test, train = data.part(held_out=True), data.part(held_out=False)
    if len(test) < 4:
        raise ValueError(f"{data.name}: {len(test)} pictures held out; 4 or more are needed")
    number = min(count, len(test) // 2)
    notes = []
    if number < count:
        notes.append(
            f"{count} images were asked for; {len(test)} pictures are held out, and half of them "
            f"serve as other real pictures, so there are {number}"
        )
    kinds = len(data.species)
    if kinds > MOST_CLASSES:
        notes.append(f"{kinds} classes of {len(data)} pictures: no classifier can learn them")
    if data.generated_captions:
        notes.append("captions of this set were written by a program, wholly or in part")
    generator = devices.generator(devices.spawn(seed, 0))
    order = torch.randperm(len(test), generator=generator)
    first, second = order[:number], order[number : 2 * number]
    groups = [test.captions[index] for index in first.tolist()]
    picks = torch.rand(number, generator=generator).tolist()
    prompts = tuple(g[int(p * len(g))] for g, p in zip(groups, picks, strict=True))
    return Trial(
        name=f"{data.name}, held-out pictures",
        prompts=prompts,
        labels=test.labels[first],
        real=test.images[first],
        another=test.images[second],
        truth={CLASS: test.labels[first]},
        claims=tuple({} for _ in prompts),
        colours=(),
        classes={CLASS: kinds} if kinds <= MOST_CLASSES else {},
        train=lambda: train,
        key={"set": data.name, "checksum": train.checksum},
        notes=tuple(notes),
    )


def _choose(data: Captioned, seed: int) -> tuple[str, ...]:
    """One caption of each picture."""
    draws = torch.rand(len(data), generator=devices.generator(devices.spawn(seed, 2))).tolist()
    pairs = zip(data.captions, draws, strict=True)
    return tuple(group[int(draw * len(group))] for group, draw in pairs)
