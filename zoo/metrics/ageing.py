"""Figures of face ageing, from ages, distances and pictures alone (Sec 4.4.3).

| figure                  | floor                     | ceiling                                    |
|-------------------------|---------------------------|--------------------------------------------|
| age gap, age error      | the input, copied         | other real faces, whose gap is by chance   |
| equivalence             | p = 1 for a shift of more | p = 0 for many faces of one distribution   |
|                         | than the margin           |                                            |
| verification            | generated of other people | the input, copied: 100 %                   |
| pixel, landmark error   | the input, copied         | 0, the same person at the target age       |
| change outside the face | another face              | 0, the input, copied                       |

A person is generated at many ages, and such pictures are no independent draws: all intervals are of
drawing other people.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..ages import COUNT
from .measures import Measure

MARGIN = 3.0
"""Years: mean ages that are less apart count as equivalent."""
_SURE = 1.96


# --- ages ----------------------------------------------------------------------------------------


def group_means(values: Tensor, groups: Tensor) -> Tensor:
    """Mean of each age group.

    Args:
        values: (P,).
        groups: (P,) int64, 0 to 9.

    Returns:
        (10,) float64; NaN where there is none.
    """
    sums = torch.zeros(COUNT, dtype=torch.float64).index_add_(0, groups, values.double())
    means: Tensor = sums / torch.bincount(groups, minlength=COUNT)
    return means


def over_groups(
    values: Tensor, groups: Tensor, people: Tensor, against: Tensor | None = None
) -> Measure:
    """Mean over the age groups, each counting alike, of their means, or of these means' gaps.

    Args:
        values: (P,), of pictures.
        groups: (P,) int64, 0 to 9; groups without pictures are left out.
        people: (P,) int64, whose each picture is.
        against: (10,), what the mean of each group is compared with: the measure is then of the
            absolute differences, as Table 4.2 has them in brackets. NaN leaves a group out.

    Returns:
        The measure; its interval is by the jackknife that leaves out one person at a time.

    Raises:
        ValueError: no picture is left.
    """
    _, who = people.unique(return_inverse=True)
    number = int(who.max()) + 1 if len(who) else 0
    sums = torch.zeros(number, COUNT, dtype=torch.float64)
    counts = torch.zeros(number, COUNT, dtype=torch.float64)
    sums.index_put_((who, groups), values.double(), accumulate=True)
    counts.index_put_((who, groups), torch.ones(len(who), dtype=torch.float64), accumulate=True)

    def of(total: Tensor, count: Tensor) -> Tensor:
        means = total / count  # NaN for 0 / 0
        if against is not None:
            means = (means - against.double()).abs()
        return means.nanmean(-1)

    value = of(sums.sum(0), counts.sum(0))
    if value.isnan():
        raise ValueError("there is no picture in any age group that could be measured")
    without = of(sums.sum(0) - sums, counts.sum(0) - counts)
    without = without[~without.isnan()]
    if len(without) < 2:
        return Measure(value.item(), -math.inf, math.inf)  # nothing is known of it
    spread = ((without - without.mean()) ** 2).mean() * (len(without) - 1)
    half = _SURE * math.sqrt(spread.item())
    low = value.item() - half
    # A gap is never below 0.
    return Measure(value.item(), low if against is None else max(0.0, low), value.item() + half)


class Comparison(NamedTuple):
    """Two sets of estimated ages (Fig 4.12).

    A large p alone proves nothing: of a few faces it is always large. So the size of the difference
    and a test of equivalence stand beside it.

    Attributes:
        difference: of the means, second less first, in years.
        low: lower end of its 90 % interval, which lies within the margin where `equivalent` < 0.05.
        high: upper end.
        effect: the difference in pooled standard deviations (Cohen's d).
        p: of such a difference or a larger one, if the means were equal (Welch 1947).
        equivalent: p of two one-sided tests (Schuirmann 1987), of means that are so near if they
            were `MARGIN` or more apart; below 0.05 they are equivalent.
    """

    difference: float
    low: float
    high: float
    effect: float
    p: float
    equivalent: float


def compare(first: Tensor, second: Tensor, margin: float = MARGIN) -> Comparison:
    """Are the means of two independent samples different, and are they equivalent?

    Args:
        first: (N,), N >= 2.
        second: (M,), M >= 2.
        margin: largest difference that does not matter, in the unit of the samples.

    Returns:
        See `Comparison`.

    Raises:
        ValueError: fewer than two values, or a margin that is not positive.
    """
    if min(len(first), len(second)) < 2 or not margin > 0:
        raise ValueError(
            f"cannot compare {len(first)} and {len(second)} ages with a margin of {margin:g}; two "
            "of each or more, and a positive margin, are needed"
        )
    from scipy.special import stdtr, stdtrit  # here: they take a third of a second to import

    one, two = first.double(), second.double()
    difference = (two.mean() - one.mean()).item()
    parts = [(values.var() / len(values)).item() for values in (one, two)]
    error = math.sqrt(sum(parts))
    degrees = len(one) + len(two) - 2
    pooled = math.sqrt(((len(one) - 1) * one.var() + (len(two) - 1) * two.var()).item() / degrees)
    effect = difference / pooled if pooled else math.copysign(math.inf, difference)
    effect = effect if difference else 0.0
    if not error:  # constants: certainty
        near = 0.0 if abs(difference) < margin else 1.0
        return Comparison(difference, difference, difference, effect, float(not difference), near)
    sizes = (len(one) - 1, len(two) - 1)
    freedom = error**4 / sum(part**2 / size for part, size in zip(parts, sizes, strict=True))
    half = float(stdtrit(freedom, 0.95)) * error
    above = float(stdtr(freedom, (-margin - difference) / error))
    below = float(stdtr(freedom, (difference - margin) / error))
    return Comparison(
        difference,
        difference - half,
        difference + half,
        effect,
        2 * float(stdtr(freedom, -abs(difference) / error)),
        max(above, below),
    )


# --- people --------------------------------------------------------------------------------------


def share_of_people(hits: Tensor, people: Tensor) -> Measure:
    """Share of pictures that something is true of, with an interval for so many people.

    Args:
        hits: (P,) bool.
        people: (P,) int64, whose each picture is.

    Returns:
        The measure; Wilson's interval (1927) as if all pictures of a person were one, which is as
        wide as it can be.
    """
    count = len(people.unique())
    share = hits.double().mean().item()
    spread = _SURE**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = _SURE * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return Measure(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


# --- pictures ------------------------------------------------------------------------------------


def pixel_error(images: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of pictures.

    Args:
        images: (N, 3, S, S) uint8.
        truth: as `images`.

    Returns:
        (N,) float64, in levels, 0 to 255.

    Raises:
        ValueError: other shapes or kinds.
    """
    return _difference(images, truth).mean((1, 2))


def landmark_error(points: Tensor, truth: Tensor, size: int) -> Tensor:
    """Mean distance of the 68 landmarks.

    Args:
        points: (N, 136), x0, y0, x1, y1, ... in sides of the picture.
        truth: as `points`.
        size: S, pixels a side.

    Returns:
        (N,) float64, in pixels; NaN where either is unknown.
    """
    apart = (points.double() - truth.double()).unflatten(1, (-1, 2))
    errors: Tensor = apart.norm(dim=2).mean(1) * size
    return errors


def change(before: Tensor, after: Tensor, where: Tensor) -> Tensor:
    """Mean absolute change of some pixels.

    Args:
        before: (N, 3, S, S) uint8.
        after: as `before`.
        where: (N, S, S) bool, the pixels.

    Returns:
        (N,) float64, in levels, 0 to 255; NaN where there is no such pixel.

    Raises:
        ValueError: other shapes or kinds.
    """
    return (_difference(before, after) * where).sum((1, 2)) / where.sum((1, 2))


def _difference(first: Tensor, second: Tensor) -> Tensor:
    """(N, S, S) float64, mean over the channels of absolute differences."""
    if first.shape != second.shape or first.dim() != 4 or not first.dtype == second.dtype:
        raise ValueError(
            f"pictures of shape {tuple(first.shape)}, {first.dtype}, and {tuple(second.shape)}, "
            f"{second.dtype}: expected (N, 3, S, S) uint8 for both"
        )
    if first.dtype != torch.uint8:
        raise ValueError(f"pictures must be uint8, got {first.dtype}")
    return (first.short() - second.short()).abs().double().mean(1)
