"""SVG: the strokes of a drawing as vector curves, for any size.

A stroke is the union of discs of radius r(t) around Q(t). Its outline is the envelope of these
discs: where the curve runs in direction T with speed s and the radius grows at rate r', the disc
touches the outline at Q + r n with n . T = -r' / s, once on each side. Both sides are fitted with
cubic Beziers and joined by arcs. Where that fails (the curve bends more sharply than the stroke
is thick, or a disc swallows its neighbours because s <= |r'|), the stroke is drawn as discs and
the convex hulls of neighbours instead, which is right for any curve but takes more bytes.

The one approximation: opacity that changes along t is a linear gradient from P0 to P2, with stops
where the curve is, so points beside a bent curve get the opacity of the nearest point of the
chord, not of the curve. Colours are rounded to 8 bits.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from .drawing import Drawing
from .stroke import HALF_PIXEL

Array = NDArray[np.float64]

TOLERANCE = 0.03  # pixels of the painted canvas between the outline and its fit
_MAX_SIDE = 65536
_MAX_SLOPE = 0.95  # |r'| / s above which the envelope is too close to its end to be fitted
_NESTED = 1.001  # hulls of discs nearer than this share of |r1 - r0| are the larger disc
_MIN_SPEED = 1e-3  # pixels per unit of t; below, the direction is lost
_CHECKS = np.linspace(0, 1, 65)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_svg(drawing: Drawing, *, height: float | None = None, width: float | None = None) -> str:
    """Render a drawing as SVG.

    Args:
        drawing: what to render.
        height: of the picture in CSS pixels; from the width and the canvas if None.
        width: likewise. The canvas's own size if both are None; if both are given the picture
            fills them, stretched where the proportions differ.

    Returns:
        An SVG 1.1 document; its user unit is a hundredth of a pixel of the painted canvas (a
        thousandth if that is smaller than 64 pixels).

    Raises:
        ValueError: a side is not between 0 and 65536.
    """
    rows, columns = drawing.height, drawing.width
    if height is None:
        height = rows if width is None else width * rows / columns
    if width is None:
        width = height * columns / rows
    if not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise ValueError(f"{width}x{height}: both sides must lie between 0 and {_MAX_SIDE} pixels")
    # Whole numbers of a fine unit: shorter than decimals, and viewers that turn arcs into cubics
    # with an error of so many units stay exact.
    unit = 100 if min(rows, columns) >= 64 else 1000
    title = f"{drawing.source or 'Painting'}, {len(drawing)} strokes"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.10g}" height="{height:.10g}" '
        f'viewBox="0 0 {columns * unit} {rows * unit}" preserveAspectRatio="none">',
        f"<title>{escape(_NOT_XML.sub('?', title))}</title>",
        f'<rect width="100%" height="100%" fill="{_hex(drawing.background)}"/>',
    ]
    for index, stroke in enumerate(drawing.strokes.astype(np.float64)):
        shape = _to_pixels(stroke, drawing)
        lines.append(_element(shape, f"g{index}", unit))
    return "\n".join([*(line for line in lines if line), "</svg>", ""])


@dataclass(frozen=True)
class _Shape:
    """One stroke in pixels of the painted canvas; points are (2,): x, y."""

    p0: Array
    p1: Array
    p2: Array
    r0: float
    r1: float
    v0: float
    v1: float
    colour: str

    def point(self, t: Array) -> Array:
        """Q(t), thesis Eq 6.2: (T,) -> (T, 2)."""
        t = t[:, None]
        return (1 - t) ** 2 * self.p0 + 2 * (1 - t) * t * self.p1 + t**2 * self.p2

    def radius(self, t: Array) -> Array:
        return self.r0 + (self.r1 - self.r0) * t


@dataclass(frozen=True)
class _Envelope:
    """Both sides of the outline at parameters t.

    Attributes:
        sides: (2, T, 2): left and right points of the outline.
        slopes: (2, T, 2): their derivatives in t.
        forwards: (2, T): how far the slopes run along the curve.
    """

    sides: Array
    slopes: Array
    forwards: Array


def _to_pixels(stroke: Array, drawing: Drawing) -> _Shape:
    canvas = np.array([drawing.width, drawing.height], np.float64)
    p0, middle, p2 = stroke[0:2] * canvas, stroke[2:4], stroke[4:6] * canvas
    p1 = p0 + (p2 - p0) * middle if drawing.control == "relative" else middle * canvas
    scale = min(drawing.height, drawing.width) / 4
    z0, v0, z1, v1 = (float(value) for value in stroke[6:10])
    colour = _hex((float(stroke[10]), float(stroke[11]), float(stroke[12])))
    return _Shape(p0, p1, p2, z0 * scale + HALF_PIXEL, z1 * scale + HALF_PIXEL, v0, v1, colour)


def _element(shape: _Shape, name: str, unit: int) -> str:
    """The path of a stroke, with its gradient if it needs one; "" for an invisible stroke."""
    pen = _Pen(unit)
    if _is_regular(shape):
        _draw_outline(pen, shape)
        swallowed = False
    else:
        swallowed = _draw_hulls(pen, shape)
    path = f'<path d="{pen.text()}" '
    if swallowed or _share(shape.v0) == _share(shape.v1):
        opacity = _share(shape.v0 if shape.r0 > shape.r1 else shape.v1)  # of the larger disc
        extra = "" if opacity == "1" else f' fill-opacity="{opacity}"'
        return "" if opacity == "0" else f'{path}fill="{shape.colour}"{extra}/>'
    return f'{_gradient(shape, name, unit)}\n{path}fill="url(#{name})"/>'


def _derivatives(shape: _Shape, t: Array) -> tuple[Array, Array]:
    """Q'(t), (T, 2), and the constant Q'', (2,)."""
    legs = shape.p1 - shape.p0, shape.p2 - shape.p1
    return 2 * ((1 - t[:, None]) * legs[0] + t[:, None] * legs[1]), 2 * (legs[1] - legs[0])


def _is_regular(shape: _Shape) -> bool:
    """Whether the outline can be drawn as the two sides of the envelope and two arcs."""
    start, second = _derivatives(shape, np.zeros(1))
    # The curve is slowest, and bends most, at the vertex of its parabola.
    square = float(second @ second)
    vertex = min(max(-float(start[0] @ second) / square, 0.0), 1.0) if square else 0.0
    slowest = float(np.hypot(*_derivatives(shape, np.array([vertex]))[0][0]))
    if slowest < _MIN_SPEED or slowest * _MAX_SLOPE <= abs(shape.r1 - shape.r0):
        return False
    # A side that runs backwards means that the curve bends more sharply than it is thick.
    return bool((_envelope(shape, np.append(_CHECKS, vertex)).forwards > 0).all())


def _envelope(shape: _Shape, t: Array) -> _Envelope:
    """The envelope and its derivative, by differentiating Q + r n.

    With T the unit tangent, N its left normal, w = dT/dt . N the turning rate,
    c = -r' / s and q = sqrt(1 - c^2):  n = c T +- q N.
    """
    first, second = _derivatives(shape, t)
    rate = shape.r1 - shape.r0
    speed = np.hypot(first[:, 0], first[:, 1])
    tangent = first / speed[:, None]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    turning = (normal @ second / speed)[:, None]
    c = (-rate / speed)[:, None]
    c_slope = (rate * (tangent @ second) / speed**2)[:, None]
    q = np.sqrt(1 - c**2)
    q_slope = -c * c_slope / q
    radius = shape.radius(t)[:, None]
    sides, slopes = [], []
    for sign in (1, -1):
        n = c * tangent + sign * q * normal
        n_slope = c_slope * tangent + c * turning * normal
        n_slope += sign * (q_slope * normal - q * turning * tangent)
        sides.append(shape.point(t) + radius * n)
        slopes.append(first + rate * n + radius * n_slope)
    forwards = [(slope * tangent).sum(1) for slope in slopes]
    return _Envelope(np.stack(sides), np.stack(slopes), np.stack(forwards))


def _draw_outline(pen: "_Pen", shape: _Shape) -> None:
    left = _fit(shape, 0, 0.0, 1.0)
    right = [cubic[::-1] for cubic in reversed(_fit(shape, 1, 0.0, 1.0))]
    first, _ = _derivatives(shape, np.array([0.0, 1.0]))
    heading = np.arctan2(first[:, 1], first[:, 0])
    # Half the angle that the last disc shows: more than a quarter turn if the discs grow.
    half = np.arccos(-(shape.r1 - shape.r0) / np.hypot(first[:, 0], first[:, 1]))
    pen.move(left[0][0])
    for cubic in left:
        pen.cubic(cubic)
    pen.arc(shape.p2, shape.r1, heading[1] + half[1], 2 * half[1])
    for cubic in right:
        pen.cubic(cubic)
    pen.arc(shape.p0, shape.r0, heading[0] - half[0], 2 * (math.pi - half[0]))
    pen.close()


def _fit(shape: _Shape, side: int, start: float, end: float) -> list[Array]:
    """Cubics (4, 2) that follow one side of the outline, split until they are near enough."""
    t = np.linspace(start, end, 5)
    envelope = _envelope(shape, t)
    curve, slope = envelope.sides[side], envelope.slopes[side]
    third = (end - start) / 3
    cubic = np.stack([curve[0], curve[0] + third * slope[0], curve[4] - third * slope[4], curve[4]])
    u = np.array([0.25, 0.5, 0.75])[:, None]
    fitted = (
        (1 - u) ** 3 * cubic[0]
        + 3 * (1 - u) ** 2 * u * cubic[1]
        + 3 * (1 - u) * u**2 * cubic[2]
        + u**3 * cubic[3]
    )
    if np.abs(fitted - curve[1:4]).max() <= TOLERANCE or end - start < 1 / 64:
        return [cubic]
    middle = (start + end) / 2
    return _fit(shape, side, start, middle) + _fit(shape, side, middle, end)


def _draw_hulls(pen: "_Pen", shape: _Shape) -> bool:
    """Draw discs, and between neighbours the trapezoid that completes their convex hull.

    All wind the same way, so they add up to their union.

    Returns:
        Whether one disc is the whole stroke.
    """
    bend = float(np.hypot(*(shape.p0 - 2 * shape.p1 + shape.p2)))
    count = math.ceil(math.sqrt(bend / (4 * TOLERANCE))) or 1  # chords leave Q by bend / 4 n^2
    t = np.linspace(0, 1, count + 1)
    centres, radii = shape.point(t), shape.radius(t)
    shown = np.zeros(count + 1, bool)
    # A nested disc lies inside its larger neighbour; the largest lies in no other.
    shown[count if shape.r1 > shape.r0 else 0] = True
    for i in range(count):
        step = centres[i + 1] - centres[i]
        distance, growth = float(np.hypot(*step)), float(radii[i + 1] - radii[i])
        if distance <= _NESTED * abs(growth):
            continue
        shown[i : i + 2] = True
        heading, half = math.atan2(step[1], step[0]), math.acos(-growth / distance)
        side = np.array([math.cos(heading + half), math.sin(heading + half)])
        other = np.array([math.cos(heading - half), math.sin(heading - half)])
        pen.move(centres[i] + radii[i] * side)
        pen.line(centres[i + 1] + radii[i + 1] * side)
        pen.line(centres[i + 1] + radii[i + 1] * other)
        pen.line(centres[i] + radii[i] * other)
        pen.close()
    for centre, radius in zip(centres[shown], radii[shown], strict=True):
        pen.circle(centre, float(radius))
    return int(shown.sum()) == 1


def _gradient(shape: _Shape, name: str, unit: int) -> str:
    ends = " ".join(
        f'{key}="{round(float(value) * unit)}"'
        for key, value in zip(("x1", "y1", "x2", "y2"), [*shape.p0, *shape.p2], strict=True)
    )
    chord = shape.p2 - shape.p0
    length = float(chord @ chord)
    t = np.linspace(0, 1, 5)
    # Where Q(t) lies along the chord; equal to t when the middle point is half way.
    offset = (shape.point(t) - shape.p0) @ chord / length if length else t
    offset = np.maximum.accumulate(offset.clip(0, 1))
    if np.abs(offset - t).max() * abs(shape.v1 - shape.v0) < 0.01:  # not to be seen
        t = offset = np.array([0.0, 1.0])
    stops = "".join(
        f'<stop offset="{_share(place)}" stop-color="{shape.colour}" '
        f'stop-opacity="{_share(shape.v0 + (shape.v1 - shape.v0) * at)}"/>'
        for place, at in zip(offset, t, strict=True)
    )
    head = f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" {ends}>'
    return f"{head}{stops}</linearGradient>"


class _Pen:
    """Writes path data, relative and rounded without letting the rounding add up.

    Args:
        unit: how many user units make a pixel.
    """

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._parts: list[str] = []
        self._at = (0, 0)  # where a reader of the rounded text is, in user units

    def text(self) -> str:
        return "".join(self._parts)

    def move(self, to: Array) -> None:
        self._at = self._round(to)
        self._parts.append(f"M{_join(self._at)}")

    def line(self, to: Array) -> None:
        self._parts.append(f"l{self._relative([to])}")

    def cubic(self, points: Array) -> None:
        self._parts.append(f"c{self._relative(list(points[1:]))}")

    def arc(self, centre: Array, radius: float, start: float, span: float) -> None:
        """Continue along a circle from angle `start` to `start - span` (x towards y is positive).

        In pieces of at most a third of a turn: a reader finds the centre from the end points,
        and near half a turn their rounding would move it by the root of the radius.
        """
        size = round(radius * self._unit)
        pieces = math.ceil(span / (2 * math.pi / 3))
        for piece in range(1, pieces + 1):
            angle = start - span * piece / pieces
            to = centre + radius * np.array([math.cos(angle), math.sin(angle)])
            self._parts.append(f"a{size} {size} 0 0 0 {self._relative([to])}")

    def circle(self, centre: Array, radius: float) -> None:
        x, y = self._round(centre)
        size = round(radius * self._unit)
        # Two halves are exact here, since their ends are a whole diameter apart.
        arcs = f"a{size} {size} 0 0 0-{2 * size} 0a{size} {size} 0 0 0 {2 * size} 0z"
        self._parts.append(f"M{_join((x + size, y))}{arcs}")

    def close(self) -> None:
        self._parts.append("z")

    def _round(self, point: Array) -> tuple[int, int]:
        return round(float(point[0]) * self._unit), round(float(point[1]) * self._unit)

    def _relative(self, points: list[Array]) -> str:
        x, y = self._at
        rounded = [self._round(point) for point in points]
        self._at = rounded[-1]
        return _join([value for px, py in rounded for value in (px - x, py - y)])


def _join(values: Sequence[int]) -> str:
    return " ".join(str(value) for value in values).replace(" -", "-")


def _share(value: float) -> str:
    """A number in [0, 1] to three decimals, at its shortest (.5)."""
    return f"{value:.3f}".rstrip("0").rstrip(".").removeprefix("0") or "0"


def _hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(value * 255):02x}" for value in colour)
