"""The inside of an open mouth: teeth in their jaws, the tongue, and the dark behind them."""

import numpy as np

from ..procedural.canvas import Canvas, Points, clipped, ellipse, smooth, stroke
from .ageing import Ageing
from .expression import CHIN, Expression, gap
from .shape import Shape, View
from .tones import blend, rgb

LEAST = 0.002
"""Lips that are less apart than at rest and this, in a face's unit, show only the line between."""
EDGE = 0.016
"""How far the upper teeth reach below the line where closed lips meet."""
UPPER_HALF, LOWER_HALF = 0.118, 0.1
"""Half of the breadth of the rows of teeth."""


def closed(shape: Shape) -> float:
    """How much the line between the lips shows: 1 for closed lips, 0 for well parted ones."""
    return float(np.clip(1 - _parted(shape) / 0.016, 0, 1))


def paint_inside(
    canvas: Canvas, view: View, state: Ageing, shape: Shape, expression: Expression
) -> None:
    """What parted lips show; part: mouth. After the light on the skin, which does not fall here.

    Args:
        canvas: painted on.
        view: from the face to the picture.
        state: of the person; teeth yellow with age.
        shape: of the head, with the expression's points.
        expression: where jaw and tongue are.
    """
    apart = _parted(shape)
    if apart < LEAST:
        return
    inner = smooth(shape.points[60:68])
    opening = canvas.mask(view(inner))
    fade = min(1.0, (apart - LEAST) / 0.01)
    canvas.paint(opening, rgb(52, 17, 18), alpha=fade, part="mouth")

    # At rest the upper teeth bite a little over the lower ones. Round lips stand before both.
    upper = shape.line + EDGE - 0.03 * expression.round
    lower = shape.line + EDGE - 0.004 + 0.92 * CHIN * expression.jaw + 0.016 * expression.round
    flesh, ivory = rgb(186, 92, 92), blend(rgb(240, 233, 218), rgb(212, 192, 150), state.spots)
    narrow = 1 - 0.3 * expression.round
    tongue = ellipse(0.0, lower + 0.012, 0.085 * narrow, 0.036)
    canvas.paint(clipped(canvas.mask(view(tongue)), opening), flesh, alpha=0.62 * fade)
    below = _row(lower, LOWER_HALF * narrow, 0.045, 0.35)
    canvas.paint(clipped(canvas.mask(view(below)), opening), ivory, alpha=0.74 * fade)
    above = _row(upper, UPPER_HALF * narrow, -0.07, 0.25)
    canvas.paint(clipped(canvas.mask(view(above)), opening), ivory, alpha=0.95 * fade)
    if expression.tongue > 0.02:
        tip = ellipse(0.0, upper + 0.016, 0.068, 0.024)
        mask = clipped(canvas.mask(view(tip)), opening)
        canvas.paint(mask, rgb(214, 112, 110), alpha=min(1.0, 1.2 * expression.tongue))
    # The upper lip throws its shade on the teeth.
    edge = view(inner[:25])
    shade = canvas.mask(stroke(edge, 0.014 * view.scale, 0.014 * view.scale))
    canvas.paint(clipped(shade, opening), rgb(40, 14, 14), alpha=0.4 * fade)


def _parted(shape: Shape) -> float:
    """How much farther the lips are apart in their middle than at rest."""
    return gap(shape.points) - shape.gap


def _row(edge: float, half: float, tall: float, bend: float) -> Points:
    """A row of teeth from its biting edge: the arch recedes, so that it bends away at its ends."""
    x = np.linspace(-half, half, 9)
    curve = bend * x * x / half * np.sign(tall)
    ends = np.array([half, -half])
    return np.concatenate(
        [
            np.stack([x, edge + curve], -1),
            np.stack([ends, np.full(2, edge + tall)], -1),
        ]
    )
