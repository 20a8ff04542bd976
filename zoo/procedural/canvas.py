"""A small painter's canvas: smooth shapes with soft edges, soft light, and the parts they make.

Places are in units of the picture's side, x to the right and y down, so that the same shapes give
the same picture at every size. The light comes from the upper left.
"""

from collections.abc import Sequence
from math import ceil, cos, floor, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .colours import Colour

Array = NDArray[np.float32]
Points = NDArray[np.float64]
"""(..., 2) places."""
Place = tuple[float, float]

SHADOW = np.array([1.0, 0.97, 0.9], np.float32)
"""How much of each channel shade takes away: shadows lean to blue, as under an open sky."""
DARKEST = np.float32(-0.42)
"""The deepest shade, as a change of brightness: no part loses its colour."""
LIGHT = (-0.5, -0.85)
"""Where the light comes from in the picture's plane."""


class Mask(NamedTuple):
    """What a shape covers.

    Attributes:
        rows: of the canvas.
        columns: of the canvas.
        cover: (h, w) float32 in [0, 1], the covered share of each pixel there.
    """

    rows: slice
    columns: slice
    cover: Array


class Canvas:
    """A square picture in the making.

    Args:
        background: (3, S, S) float32 in [0, 1]; painted over.

    Attributes:
        image: (3, S, S) float32.
        parts: name -> (S, S) float32 in [0, 1], how much of each pixel shows that part; what is
            painted later takes away from what lies below it.
    """

    def __init__(self, background: Array, track: bool = True) -> None:
        self.image = background
        self.size = background.shape[1]
        self.parts: dict[str, Array] = {}
        self._track = track
        self._fine = max(2, min(8, -(-320 // self.size)))  # sub-pixels a side

    def mask(self, *shapes: Points) -> Mask:
        """The union of some polygons.

        Args:
            shapes: the corners of one polygon each, (N, 2), or of several alike, (M, N, 2).

        Returns:
            What they cover; possibly nothing, as a mask of no pixels.
        """
        flat = [shape.reshape(-1, 2) for shape in shapes]
        corners = flat[0] if len(flat) == 1 else np.concatenate(flat)
        (x0, y0), (x1, y1) = corners.min(0).tolist(), corners.max(0).tolist()
        size, fine = self.size, self._fine
        left, right = max(floor(x0 * size) - 1, 0), min(ceil(x1 * size) + 1, size)
        top, bottom = max(floor(y0 * size) - 1, 0), min(ceil(y1 * size) + 1, size)
        if left >= right or top >= bottom:
            return Mask(slice(0, 0), slice(0, 0), np.zeros((0, 0), np.float32))
        width, height = right - left, bottom - top
        plane = Image.new("L", (width * fine, height * fine))
        pen = ImageDraw.Draw(plane)
        places = (corners * (size * fine) - (left * fine + 0.5, top * fine + 0.5)).ravel().tolist()
        place = 0
        for shape in shapes:
            step = 2 * shape.shape[-2]
            for _ in range(shape.size // step):
                pen.polygon(places[place : place + step], fill=255)
                place += step
        bytes_ = np.frombuffer(plane.reduce(fine).tobytes(), np.uint8).reshape(height, width)
        cover = bytes_ * np.float32(1 / 255)
        return Mask(slice(top, bottom), slice(left, right), cover)

    def paint(
        self,
        mask: Mask,
        colour: Colour,
        light: Array | None = None,
        alpha: float = 1.0,
        part: str | None = None,
    ) -> None:
        """Lay a colour over the picture.

        Args:
            mask: where.
            colour: (3,) RGB in [0, 1].
            light: (h, w) brightness, see `lit`.
            alpha: opacity.
            part: the name under which `parts` keeps the place; without one the paint is a marking
                on the parts that lie below.
        """
        rows, columns, cover = mask
        if not cover.size:
            return
        paint = colour[:, None, None] if light is None else lit(colour, light)
        opaque = cover if alpha == 1 else cover * np.float32(alpha)
        below = self.image[:, rows, columns]
        below += (paint - below) * opaque
        if self._track and part is not None:
            for plane in self.parts.values():
                plane[rows, columns] *= 1 - cover
            plane = self.parts.setdefault(part, np.zeros((self.size, self.size), np.float32))
            plane[rows, columns] += cover

    def volume(self, mask: Mask, depth: float, strength: float = 0.3) -> Array:
        """Light on a shape that is round at its edges, for `paint`.

        The blurred shape is taken for a height, and lit as a surface of that height.

        Args:
            mask: the shape.
            depth: how far from its edges it bends, in sides of the picture.
            strength: the difference that the light makes.

        Returns:
            (h, w) float32 about 1.
        """
        cover = mask.cover
        if min(cover.shape) < 2:
            return np.ones_like(cover)
        reach = max(depth * self.size, 0.75)
        pad = int(reach) + 2
        plane = Image.fromarray(np.pad(cover * 255, pad).astype(np.uint8))
        soft = plane.filter(ImageFilter.BoxBlur(reach / 2)).filter(ImageFilter.BoxBlur(reach / 2))
        height = np.asarray(soft, np.float32)[pad - 1 : 1 - pad, pad - 1 : 1 - pad]
        scale = np.float32(strength * reach / 255)
        right = (height[1:-1, 2:] - height[1:-1, :-2]) * (-LIGHT[0] * scale)
        down = (height[2:, 1:-1] - height[:-2, 1:-1]) * (-LIGHT[1] * scale)
        bent: Array = 1 + right + down
        return bent


def clipped(mask: Mask, within: Mask) -> Mask:
    """What two masks share.

    Args:
        mask: the one whose place the result has.
        within: another of the same canvas.

    Returns:
        The product of both.
    """
    cover = np.zeros_like(mask.cover)
    top, bottom = max(mask.rows.start, within.rows.start), min(mask.rows.stop, within.rows.stop)
    left = max(mask.columns.start, within.columns.start)
    right = min(mask.columns.stop, within.columns.stop)
    if top < bottom and left < right:
        inner = (
            slice(top - mask.rows.start, bottom - mask.rows.start),
            slice(left - mask.columns.start, right - mask.columns.start),
        )
        outer = (
            slice(top - within.rows.start, bottom - within.rows.start),
            slice(left - within.columns.start, right - within.columns.start),
        )
        cover[inner] = mask.cover[inner] * within.cover[outer]
    return Mask(mask.rows, mask.columns, cover)


def part_of(values: Array, whole: Mask, mask: Mask) -> Array:
    """The values of a whole shape at the place of a mask that lies within its bounds or beyond.

    Args:
        values: (h, w) over `whole`.
        whole: the shape they belong to.
        mask: the place.

    Returns:
        Values over `mask`, 1 beyond the whole.
    """
    result = np.ones_like(mask.cover)
    top, bottom = max(mask.rows.start, whole.rows.start), min(mask.rows.stop, whole.rows.stop)
    left = max(mask.columns.start, whole.columns.start)
    right = min(mask.columns.stop, whole.columns.stop)
    if top < bottom and left < right:
        result[
            top - mask.rows.start : bottom - mask.rows.start,
            left - mask.columns.start : right - mask.columns.start,
        ] = values[
            top - whole.rows.start : bottom - whole.rows.start,
            left - whole.columns.start : right - whole.columns.start,
        ]
    return result


def lit(colour: Colour, light: Array) -> Array:
    """A colour in light and shade.

    Args:
        colour: (3,) RGB in [0, 1].
        light: (h, w): below 1 is shade, above 1 turns to white.

    Returns:
        (3, h, w) float32 in [0, 1].
    """
    base = colour[:, None, None]
    shade = np.minimum(light, 1)
    shade -= 1  # -1 to 0
    shade = np.maximum(shade, DARKEST)
    shine = np.clip(light, 1, 1.8)
    shine -= 1
    shine *= np.float32(0.45)
    # dark + (1 - dark) * shine, where dark = base * (1 + SHADOW * shade)
    result = (base * SHADOW[:, None, None]) * shade
    result += base
    result *= 1 - shine
    result += shine
    return result


def toned(colour: Colour, light: float) -> Colour:
    """`lit` for one brightness: (3,) RGB."""
    result: Colour = lit(colour, np.full((1, 1), light, np.float32))[:, 0, 0]
    return result


def ink(colour: Colour) -> Colour:
    """The (3,) colour of lines on a part: darker than it, or lighter where it is nearly black."""
    return toned(colour, 0.6 if colour.max() > 0.3 else 1.45)


# --- shapes --------------------------------------------------------------------------------------

_STEPS = np.linspace(0, 1, 7)[:-1, None]
_BASIS = 0.5 * np.concatenate(
    [
        -_STEPS + 2 * _STEPS**2 - _STEPS**3,
        2 - 5 * _STEPS**2 + 3 * _STEPS**3,
        _STEPS + 4 * _STEPS**2 - 3 * _STEPS**3,
        -(_STEPS**2) + _STEPS**3,
    ],
    axis=1,
)
"""(6, 4) weights of four neighbours in a uniform Catmull-Rom spline."""


def smooth(points: Sequence[Place] | Points) -> Points:
    """A closed smooth curve through some points (Catmull and Rom 1974, uniform).

    Args:
        points: (N, 2), N >= 3.

    Returns:
        (6 N, 2) places on the curve.
    """
    given = np.asarray(points, np.float64)
    around = np.concatenate([given[-1:], given, given[:2]])
    near = np.stack([around[i : i + len(given)] for i in range(4)], axis=1)
    curve: Points = (_BASIS @ near).reshape(-1, 2)
    return curve


_TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)


def ellipse(x: float, y: float, a: float, b: float, angle: float = 0.0) -> Points:
    """An ellipse of half axes a and b, turned by an angle in radians, as 28 corners."""
    c, s = cos(angle), sin(angle)
    turned: Points = _CIRCLE @ np.array([[a * c, a * s], [-b * s, b * c]]) + (x, y)
    return turned


def stroke(
    points: Sequence[Place] | Sequence[tuple[Place, Place]] | Points, start: float, end: float
) -> Points:
    """Lines that get thinner or thicker along their way.

    Args:
        points: (N, 2) or, for several lines, (M, N, 2), N >= 2, no two neighbours alike.
        start: width at the first point, in sides of the picture.
        end: width at the last point.

    Returns:
        Their outlines, (2 N, 2) or (M, 2 N, 2).
    """
    path = np.asarray(points, np.float64)
    steps = path[..., 1:, :] - path[..., :-1, :]
    ways = np.concatenate([steps[..., :1, :], steps], axis=-2)
    ways[..., 1:-1, :] += steps[..., 1:, :]  # a bend is cut across its middle
    lengths = np.sqrt((ways * ways).sum(-1, keepdims=True)) + 1e-12
    count = path.shape[-2]
    half = start / 2 + (end - start) / 2 * np.arange(count)[:, None] / (count - 1)
    aside = ways[..., ::-1] * ((-1.0, 1.0) * half) / lengths
    return np.concatenate([path + aside, (path - aside)[..., ::-1, :]], axis=-2)


class Frame:
    """Where a drawing made about (0, 0) comes to lie: turned, scaled, mirrored, moved.

    Args:
        x: of the drawing's origin.
        y: of the drawing's origin.
        scale: of the drawing's unit.
        angle: in radians, clockwise, before mirroring.
        mirror: swap left and right.
    """

    def __init__(
        self, x: float, y: float, scale: float, angle: float = 0.0, mirror: bool = False
    ) -> None:
        c, s = cos(angle) * scale, sin(angle) * scale
        side = -1.0 if mirror else 1.0
        self._turn = np.array([[side * c, s], [-side * s, c]])
        self._place = np.array([x, y])
        self.scale = scale

    def __call__(self, points: Sequence[Place] | Points) -> Points:
        """Map (..., 2) points of the drawing to the picture."""
        mapped: Points = np.asarray(points, np.float64) @ self._turn + self._place
        return mapped
