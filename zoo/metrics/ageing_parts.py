"""What the parts of an evaluation of face ageing share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...backend.buckets import Batch
from ..face_judges import AgeRegressor
from ..inception import InceptionV3
from .ageing import over_groups
from .ageing_trials import AgeingTrial
from .measures import Evaluation, Figure, Measure, text
from .retrieval import others

PART = 16
"""Faces, at ten ages each, of one call of the model."""
LOOK = 64
SHEET_FACES = 8
PASTED = 16
FOUND = 200
"""Pairs in which landmarks are looked for, at most."""
FAR = 2
"""Groups from the input's from which on a picture must be nearer to the truth than the input."""
OLD = 6
"""Table 4.3's 51+ begins with this group."""

GENERATED = "generated"
COPY, TRUTH, WRONG = "copy of the input", "the person at that age", "another person"
REAL, OWN, NOISE = "other real faces", "real faces, at their own ages", "noise"
UP_TO_20, ALL = "inputs up to 20", "inputs of all other groups"


class Ager(Protocol):
    """What is needed of a model; `LdcGan` has it."""

    @property
    def title(self) -> str:
        """Name and weights."""

    def run(self, requests: Sequence[Batch], progress: Callable[[int, int], None]) -> list[Batch]:
        """Age aligned faces.

        Args:
            requests: "image" (3, S, S) in [-1, 1], "landmarks" (136,) in sides, "group" ().
            progress: called with how many are done, of how many.

        Returns:
            Of each "image" (3, S, S) in [0, 1], "mask" (S, S) in [0, 1], "landmarks" (136,).
        """


@dataclass(frozen=True)
class FaceJudges:
    """Who judges faces; none of them may have been in a loss.

    Attributes:
        regressor: of ages, trained on faces of the same kind.
        embed: (N, 3, S, S) uint8 to (N, D) float, near for one person; None leaves identity out.
        find: (N, 3, S, S) uint8 to landmarks (N, 136) in sides, NaN where none are found; None
            leaves out landmarks as they are found in the pictures.
        inception: a second network for FID; None: the regressor alone.
        name: of `embed` and `find`.
        notes: what is left out and why, sentences.
    """

    regressor: AgeRegressor
    embed: Callable[[Tensor], Tensor] | None = None
    find: Callable[[Tensor], Tensor] | None = None
    inception: InceptionV3 | None = None
    name: str = "dlib"
    notes: tuple[str, ...] = ()


class AgedFaces(NamedTuple):
    """What a model makes of N faces, at all ten groups.

    Attributes:
        images: (N, 10, 3, S, S) uint8.
        masks: (N, 10, S, S) float16, change masks.
        landmarks: (N, 10, 136) float32, those that the model aimed at.
    """

    images: Tensor
    masks: Tensor
    landmarks: Tensor


class Pairs(NamedTuple):
    """Inputs at ages of other groups than their own: which input, and which group."""

    person: Tensor
    group: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Those of (N, 10, ...)."""
        return values[self.person, self.group]

    def where(self, rows: Tensor) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.person[rows], self.group[rows])

    def over(self, values: Tensor, against: Tensor | None = None) -> Measure:
        """See `ageing.over_groups`."""
        return over_groups(values, self.group, self.person, against)


def spread(trial: AgeingTrial, most: int) -> Tensor:
    """Rows of inputs of all ages, in the order of their ages."""
    order = trial.sources.ages.argsort(stable=True)
    count = min(most, len(order))
    return order[(torch.arange(count) * len(order)) // count]


def shuffled(pairs: Pairs, seed: int) -> Pairs | None:
    """The wrong-person control: the same groups of another person each, who is drawn, not next."""
    # None where there is no other
    people, place = pairs.person.unique(return_inverse=True)
    if len(people) < 2:
        return None
    return Pairs(people[others(len(people), seed)][place], pairs.group)


class Table(NamedTuple):
    """A table of a report.

    Attributes:
        title: what it shows.
        header: of the columns.
        rows: texts, numbers, or None where there is none.
    """

    title: str
    header: tuple[str, ...]
    rows: list[list[Any]]


Found = tuple[list[Figure], list[Table], list[str]]
"""Figures, tables and notes."""
Look = Callable[[Tensor], Tensor]
"""From (N, 3, S, S) uint8 to features (N, F)."""


def numbers(values: Tensor) -> list[float | None]:
    """Cells of (K,)."""
    return [finite(value) for value in values.tolist()]


def finite(value: float) -> float | None:
    """A cell; None for NaN and infinity, which JSON does not know."""
    return round(value, 3) if abs(value) < float("inf") else None


def mean_or_none(values: Tensor) -> float | None:
    """A cell, the mean of (P,); None where P is 0."""
    return finite(values.mean().item()) if len(values) else None


def significant(value: float) -> float:
    """Two digits of a p value."""
    return float(f"{value:.2g}")


def page(evaluation: Evaluation) -> str:
    """Figures and tables in Markdown.

    Args:
        evaluation: of `evaluate_ldcgan`.

    Returns:
        Lines, the last one ended.
    """
    facts = evaluation.facts
    learned = facts.get("trained_on")
    lines = [
        f"{facts['model']}{f', trained on {learned}' if learned else ''}: {facts['count']} inputs "
        f"of {facts['set']}, each at ten ages, {facts['size']} pixels a side, beside "
        f"{facts['real']} other real faces. In brackets 95 % intervals, of drawing other people.",
        "",
        "| figure | generated | floor | real faces |",
        "|---|---|---|---|",
    ]
    for figure in evaluation.figures:
        floors, ceilings = (
            "; ".join(f"{text(m, figure.unit)} ({name})" for name, m in measures.items())
            for measures in (figure.floors, figure.ceilings)
        )
        name = figure.name if figure.higher else f"{figure.name}, lower is better"
        lines.append(f"| {name} | {text(figure.generated, figure.unit)} | {floors} | {ceilings} |")
    for table in facts["tables"]:
        lines += ["", f"{table['title']}:", "", f"| {' | '.join(table['header'])} |"]
        lines.append("|---" * len(table["header"]) + "|")
        lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in table["rows"]]
    lines += ["", *(f"- {note}" for note in evaluation.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 0.005 or not value else f"{value:.1g}"
    return str(value).replace("    ", "&nbsp;&nbsp;")
