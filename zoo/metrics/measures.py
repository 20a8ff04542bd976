"""What an evaluation reports: figures with 95 % intervals, beside their floors and ceilings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor

_SURE = 1.96

Unit = Literal["%", "cos", "score"]


class Measure(NamedTuple):
    """A figure of one set of pictures.

    Attributes:
        value: the figure; a share is in [0, 1].
        low: lower end of its 95 % interval.
        high: upper end.
        sd: standard deviation over pictures (VS similarity) or parts (Inception Score), as the
            literature prints; None for other figures.
    """

    value: float
    low: float
    high: float
    sd: float | None = None


def mean_of(values: Tensor, *, with_sd: bool = False) -> Measure:
    """Mean over pictures, with the normal interval.

    Args:
        values: (N,), one for each picture.
        with_sd: report their standard deviation too.

    Returns:
        The measure; of a single picture, or of equal values, the interval is a point.
    """
    numbers = values.double()
    mean = numbers.mean().item()
    sd = numbers.std().item() if len(numbers) > 1 else 0.0
    half = _SURE * sd / math.sqrt(len(numbers))
    return Measure(mean, mean - half, mean + half, sd if with_sd else None)


def share_of(hits: Tensor) -> Measure:
    """Share of the pictures that something is true of, with Wilson's interval (1927).

    Args:
        hits: (N,) bool.

    Returns:
        The measure; even at 0 or 1 its interval is no point.
    """
    count = len(hits)
    share = hits.double().mean().item()
    spread = _SURE**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = _SURE * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # Rounding must not put the share itself outside.
    return Measure(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def score_of(mean: float, sd: float, parts: int) -> Measure:
    """Mean of equal parts of a set, with Student's interval.

    Args:
        mean: over the parts.
        sd: population standard deviation over the parts.
        parts: how many, at least 2.
    """
    from scipy.special import stdtrit  # here: it takes a third of a second to import

    half = float(stdtrit(parts - 1, 0.975)) * sd / math.sqrt(parts - 1)
    return Measure(mean, mean - half, mean + half, sd)


@dataclass(frozen=True)
class Figure:
    """One line of an evaluation.

    Attributes:
        name: what was measured, with the network that judged: "FID(classifier)".
        unit: "%" for shares, "cos" for cosines, "score" for others.
        generated: of the generated pictures.
        floors: what a generator that learnt nothing gets, by what stands in for it.
        ceilings: what real pictures get, by what they were.
        higher: whether higher is better.
        count: of the pictures that it was measured on.
        chance: of a guess, where it is known.
    """

    name: str
    unit: Unit
    generated: Measure
    floors: Mapping[str, Measure]
    ceilings: Mapping[str, Measure]
    higher: bool = True
    count: int = 0
    chance: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name,
            "unit": self.unit,
            "higher_is_better": self.higher,
            "count": self.count,
            "chance": self.chance,
            "generated": _plain(self.generated),
            "floors": {name: _plain(measure) for name, measure in self.floors.items()},
            "ceilings": {name: _plain(measure) for name, measure in self.ceilings.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """All that was measured of a model.

    Attributes:
        facts: JSON values: the model, the set, counts, seeds, judges, seconds.
        figures: see `Figure`.
        notes: what a reader should know, sentences.
    """

    facts: dict[str, Any]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Figure:
        for figure in self.figures:
            if figure.name == name:
                return figure
        known = ", ".join(figure.name for figure in self.figures)
        raise KeyError(f"no figure {name!r:.60}; there are {known}")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        figures = [figure.to_json() for figure in self.figures]
        return {**self.facts, "notes": list(self.notes), "figures": figures}


def table(evaluation: Evaluation) -> str:
    """A Markdown table of an evaluation, with what it was measured on above and notes below.

    Args:
        evaluation: see `Evaluation`.

    Returns:
        Lines, the last one ended.
    """
    facts = evaluation.facts
    lines = [
        f"{facts['model']}: {facts['count']} images of {facts['size']} pixels, one for each "
        f"prompt of {facts['set']}; judged at {facts['judged_at']} pixels. "
        "In brackets 95 % intervals.",
        "",
        "| figure | generated | floor | real pictures |",
        "|---|---|---|---|",
    ]
    for figure in evaluation.figures:
        floors = [f"{text(m, figure.unit)} ({name})" for name, m in figure.floors.items()]
        if figure.chance is not None:
            floors.append(f"chance {100 * figure.chance:.1f} %")
        ceilings = [f"{text(m, figure.unit)} ({name})" for name, m in figure.ceilings.items()]
        name = figure.name if figure.higher else f"{figure.name}, lower is better"
        cells = (name, text(figure.generated, figure.unit), "; ".join(floors), "; ".join(ceilings))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {note}" for note in evaluation.notes)]
    return "\n".join(lines).rstrip() + "\n"


def text(measure: Measure, unit: Unit) -> str:
    """A measure as people write it.

    Args:
        measure: see `Measure`.
        unit: see `Figure`.
    """
    scale, digits = (100, 1) if unit == "%" else (1, 3 if unit == "cos" else 2)
    value, low, high = (f"{scale * number:.{digits}f}" for number in measure[:3])
    sd = "" if measure.sd is None else f", sd {scale * measure.sd:.{digits}f}"
    return f"{value}{' %' if unit == '%' else ''} [{low}, {high}]{sd}"


def _plain(measure: Measure) -> dict[str, float | None]:
    # JSON knows no infinity: an end that nothing is known of is null
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in zip(Measure._fields, measure, strict=True)
    }
