"""What a talking face does with its mouth: a few numbers, and how they move the 68 points."""

from dataclasses import dataclass, fields
from math import isfinite

import numpy as np

from ..procedural.canvas import Points

CHIN = 0.105
"""How far the chin drops at `Expression.jaw` 1, in a face's unit."""
APERTURE = 0.12
"""How far the lips part in their middle at `Expression.open` 1, in a face's unit."""
UPPER = 0.2
"""Share of the opening that the upper lip makes; the rest is the lower lip's."""

_SIGNED = "wide"
_DROPS = np.array([0, 0, 0, 0, 0.2, 0.48, 0.76, 0.94, 1])
_DROPS = np.concatenate([_DROPS, _DROPS[-2::-1]])
"""(17,) how much each point of the jaw takes part in its drop: it turns about the ears."""
_OUTER_UPPER, _OUTER_LOWER = slice(48, 55), slice(55, 60)
_INNER_UPPER, _INNER_LOWER = slice(61, 64), slice(65, 68)
_INNER_PAIRS = ((61, 67), (62, 66), (63, 65))
_LOWER_PAIRS = ((57, 66), (56, 65), (58, 67))
_CORNERS = [48, 54, 60, 64]
_LIPS = slice(48, 68)
_UPPER_LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
"""Upper lids with the lower ones that they meet."""


@dataclass(frozen=True)
class Expression:
    """How a face differs from its rest: every number is 0 to 1, 0 at rest, unless said otherwise.

    Teeth have no number: they sit in the jaws, and show where the lips leave them free.
    """

    jaw: float = 0.0
    """How far the lower jaw is down."""
    open: float = 0.0
    """How far the lips are apart."""
    wide: float = 0.0
    """-1 to 1: narrow to spread."""
    round: float = 0.0
    """Lips drawn together and forward, as for "oo"."""
    press: float = 0.0
    """Lips pressed upon each other, as for "m"."""
    bite: float = 0.0
    """The lower lip under the upper teeth, as for "f"."""
    tongue: float = 0.0
    """The tip of the tongue at the upper teeth, as for "th"."""
    blink: float = 0.0
    """How far the lids are shut; last, since it is no part of speech."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of its range (names the field)."""
        for field in fields(self):
            value, low = getattr(self, field.name), -1 if field.name == _SIGNED else 0
            if not (isfinite(value) and low <= value <= 1):
                raise ValueError(f"{field.name} must be {low} to 1, got {value}")


def express(rest: Points, expression: Expression) -> Points:
    """The points of a face that moves.

    Args:
        rest: (68, 2) of the face at rest, not yet turned, in a face's unit.
        expression: what it does.

    Returns:
        (68, 2), a new array. Nose and brows stay where they are; so do the lids without a blink.
    """
    points = rest.copy()
    jaw = points[:17]
    jaw[:, 1] += CHIN * expression.jaw * _DROPS
    jaw[:, 0] *= 1 - 0.07 * expression.jaw * _DROPS
    _lips(points, expression)
    for upper, lower in _UPPER_LIDS:
        way = rest[lower] - rest[upper]
        points[upper] += 0.84 * expression.blink * way
        points[lower] -= 0.12 * expression.blink * way
    return points


def parting(rest: Points) -> float:
    """The height at which closed lips meet, (68, 2) points of a face at rest -> y."""
    return float(rest[62, 1] + rest[66, 1]) / 2


def gap(points: Points) -> float:
    """How far the lips are apart in their middle, in the unit of the (68, 2) points."""
    return float(points[66, 1] - points[62, 1])


def _lips(points: Points, e: Expression) -> None:
    line, half = parting(points), float(points[54, 0] - points[48, 0]) / 2
    x, y = points[:, 0], points[:, 1]
    share = np.abs(x) / half  # 0 in the middle, 1 in the corners
    # Lips get thin under pressure and full when they are drawn together.
    for lip, thick in (
        (_OUTER_UPPER, 1 - 0.5 * e.press + 0.4 * e.round - 0.12 * max(e.wide, 0)),
        (_OUTER_LOWER, 1 - 0.5 * e.press + 0.25 * e.round - 0.12 * max(e.wide, 0) - 0.45 * e.bite),
    ):
        inside = 1 - share[lip] ** 2
        # Never thinner than the inner edges come together under pressure.
        y[lip] += (y[lip] - line) * (max(thick, 0.2) - 1) * inside
    # Closed lips leave no room between the points of their inner edges.
    for lip in (_INNER_UPPER, _INNER_LOWER):
        y[lip] += (line - y[lip]) * 0.8 * e.press
    apart, tucked = APERTURE * e.open * (1 - 0.9 * e.press), e.bite * (1 - e.press)
    bow = 1 - np.minimum(share, 1) ** (2 + 2 * e.round)
    bow[_CORNERS] = 0
    lift = UPPER * apart + 0.008 * tucked
    for lip in (_OUTER_UPPER, _INNER_UPPER):
        y[lip] -= lift * bow[lip]
    for lip in (_OUTER_LOWER, _INNER_LOWER):
        y[lip] += ((1 - UPPER) * apart - 0.012 * tucked) * bow[lip]
    for upper, lower in _INNER_PAIRS:  # thin lips cannot be tucked in as far as full ones
        y[lower] = max(y[lower], y[upper])
    for outer, inner in _LOWER_PAIRS:
        y[outer] = max(y[outer], y[inner])
    # What the lips do not give way to the jaw stretches the lower one.
    pull = max(0.0, CHIN * e.jaw - apart)
    y[_OUTER_LOWER] += 0.3 * pull * bow[_OUTER_LOWER]
    y[_LIPS] += 0.2 * CHIN * e.jaw
    x[_LIPS] *= 1 + 0.17 * e.wide - 0.4 * e.round - 0.07 * e.jaw * (1 - e.round)
    # In round lips the corners of the opening come nearer to the middle than those of the lips.
    x[[60, 64]] *= 1 - 0.12 * e.round
