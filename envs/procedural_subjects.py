"""Random faces and birds with the exact masks of their subjects, drawn from nothing but a seed.

They stand in for photos of faces and birds where none are at hand. Places and sizes are in units of
the picture's shorter side, so the same draw gives the same picture at every resolution.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .procedural import Image, edge, gradient, span, uniform, waves

Point = tuple[float, float]
Colour = NDArray[np.float32]

SKINS = ((0.98, 0.85, 0.76), (0.91, 0.72, 0.58), (0.76, 0.55, 0.4), (0.55, 0.36, 0.25))
HAIRS = (
    (0.08, 0.07, 0.07),
    (0.25, 0.15, 0.1),
    (0.45, 0.28, 0.16),
    (0.8, 0.65, 0.4),
    (0.6, 0.26, 0.13),
    (0.72, 0.71, 0.7),
)
IRISES = ((0.25, 0.14, 0.08), (0.4, 0.3, 0.15), (0.25, 0.4, 0.6), (0.3, 0.45, 0.3))
PLUMAGES = (
    ((0.1, 0.11, 0.15), (0.2, 0.2, 0.28)),
    ((0.15, 0.35, 0.7), (0.8, 0.75, 0.7)),
    ((0.7, 0.15, 0.1), (0.75, 0.35, 0.3)),
    ((0.75, 0.65, 0.15), (0.9, 0.85, 0.5)),
    ((0.4, 0.3, 0.2), (0.85, 0.78, 0.68)),
    ((0.3, 0.45, 0.2), (0.75, 0.75, 0.45)),
    ((0.5, 0.5, 0.52), (0.9, 0.9, 0.9)),
)
"""Back and belly."""


class Picture(NamedTuple):
    """A picture and where its subject is.

    Attributes:
        image: (H, W, 3) float32 in [0, 1].
        mask: (H, W) float32 in [0, 1], the share of the subject in each pixel.
    """

    image: Image
    mask: Image


def face(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Draw the head and shoulders of a person.

    Args:
        rng: the only source of randomness.
        height: rows.
        width: columns.

    Returns:
        The picture; its subject is head, hair and neck, not the clothes.
    """
    draw = _Drawing(rng, height, width, scale=_between(rng, 1.05, 1.5), tilt=0.12)
    tone = _mixed(rng, SKINS)
    shade, dark = tone * 0.8, tone * 0.55
    hair = _varied(rng, HAIRS)
    light = int(rng.integers(2)) * 2 - 1  # the side that the light comes from
    wide, jaw = _between(rng, 0.19, 0.225), _between(rng, 0.13, 0.17)

    # From back to front.
    volume, length = _between(rng, 0.015, 0.06), _between(rng, -0.1, 0.45)
    draw.ellipse((0, -0.06), (wide + volume, 0.26 + volume), hair)
    for side in (-1, 1):
        if length > 0.05:
            draw.taper((side * wide, -0.02), (side * (wide + 0.02), length), 0.07, 0.06, hair * 0.9)
    clothes = uniform(rng, 0.1, 0.9, 3)
    draw.ellipse((0, 0.66), (0.46, 0.27), clothes, clothes * 0.7, subject=False)
    draw.taper((0, 0.15), (0, 0.42), 0.105, 0.12, shade)
    draw.ellipse((0, 0.41), (0.13, 0.06), shade)
    for side in (-1, 1):
        draw.ellipse((side * (wide + 0.005), 0.0), (0.03, 0.055), shade)
    lit, unlit = (tone, shade) if light < 0 else (shade, tone)
    draw.ellipse((0, -0.03), (wide, 0.235), lit, unlit)
    draw.ellipse((0, 0.1), (jaw + 0.02, 0.175), lit, unlit)
    for side in (-1, 1):
        draw.glow((side * 0.115, 0.075), (0.05, 0.04), np.array([0.85, 0.4, 0.35]), 0.25)
    _eyes(rng, draw, hair, tone)
    # Nose
    draw.glow((-light * 0.022, 0.03), (0.014, 0.075), dark, 0.5)
    draw.glow((light * 0.006, 0.04), (0.012, 0.05), tone * 0.4 + 0.6, 0.5)
    for side in (-1, 1):
        draw.ellipse((side * 0.019, 0.085), (0.011, 0.006), dark)
    _mouth(rng, draw, tone)
    if rng.random() < 0.25:
        for side in (-1, 1):
            draw.glow((side * 0.06, 0.2), (0.07, 0.05), hair, 0.8)
        draw.glow((0, 0.235), (0.07, 0.035), hair, 0.8)
    # The fringe: what of the hair lies in front of the forehead.
    line, parting = _between(rng, -0.2, -0.13), _between(rng, -0.12, 0.12)
    draw.ellipse((0, -0.13), (wide + 0.012, 0.165 + volume / 2), hair, hair * 1.25, above=line)
    for side in (-1, 1):
        end = (side * (wide + 0.008), _between(rng, -0.1, 0.0))
        draw.taper((parting, line - 0.05), (side * wide * 0.8, line + 0.01), 0.06, 0.03, hair)
        draw.taper((side * wide * 0.8, line), end, 0.032, 0.012, hair)
    return draw.finish()


def _eyes(rng: np.random.Generator, draw: "_Drawing", hair: Colour, tone: Colour) -> None:
    apart, open_ = _between(rng, 0.08, 0.095), _between(rng, 0.015, 0.024)
    brow, slant = _between(rng, 0.045, 0.065), _between(rng, -0.012, 0.012)
    iris = _varied(rng, IRISES)
    gaze = _between(rng, -0.01, 0.01)
    glasses = rng.random() < 0.2
    black, white = np.full(3, 0.05, np.float32), np.full(3, 0.95, np.float32)
    for side in (-1, 1):
        eye = (side * apart, -0.03)
        draw.glow(eye, (0.05, 0.035), tone * 0.6, 0.5)
        draw.ellipse((eye[0], eye[1] - 0.004), (0.043, open_ + 0.005), tone * 0.3)
        draw.ellipse(eye, (0.041, open_), white * 0.95)
        draw.ellipse((eye[0] + gaze, eye[1]), (open_ * 0.95, open_ * 0.95), iris, iris * 1.4)
        draw.ellipse((eye[0] + gaze, eye[1]), (open_ * 0.45, open_ * 0.45), black)
        draw.ellipse((eye[0] + gaze + 0.006, eye[1] - 0.006), (0.004, 0.004), white)
        inner = (side * (apart - 0.042), eye[1] - brow + slant)
        outer = (side * (apart + 0.045), eye[1] - brow + 0.004)
        draw.taper(inner, outer, 0.009, 0.004, hair * 0.8)
        if glasses:
            for start, end in (((-1, -1), (1, -1)), ((1, -1), (1, 1)), ((1, 1), (-1, 1))):
                corner = (eye[0] + start[0] * 0.058, eye[1] + 0.005 + start[1] * 0.035)
                other = (eye[0] + end[0] * 0.058, eye[1] + 0.005 + end[1] * 0.035)
                draw.taper(corner, other, 0.004, 0.004, black)
            draw.taper((eye[0] - side * 0.058, -0.03), (0, -0.035), 0.004, 0.004, black)
            draw.taper((eye[0] + side * 0.058, -0.03), (side * 0.2, -0.03), 0.004, 0.004, black)
            draw.taper((eye[0] - 0.058, 0.01), (eye[0] - 0.058, -0.06), 0.004, 0.004, black)


def _mouth(rng: np.random.Generator, draw: "_Drawing", tone: Colour) -> None:
    lips = tone * np.array([0.85, 0.5, 0.5], np.float32)
    half, smile = _between(rng, 0.055, 0.085), _between(rng, -0.006, 0.022)
    gape = max(0.0, _between(rng, -0.015, 0.018))
    middle = 0.152
    draw.glow((0, middle + 0.04), (0.05, 0.012), tone * 0.55, 0.6)
    for side in (-1, 1):
        corner = (side * half, middle - smile)
        draw.taper((side * 0.012, middle - 0.006 - gape), corner, 0.011, 0.003, lips)
        draw.taper((0, middle + 0.008 + gape), corner, 0.014, 0.003, lips * 1.1)
    if gape > 0.004:
        draw.ellipse((0, middle), (half * 0.75, gape), np.full(3, 0.93, np.float32))
    else:
        for side in (-1, 1):
            draw.taper((0, middle), (side * half, middle - smile), 0.0035, 0.002, lips * 0.45)


def bird(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Draw a bird on a branch.

    Args:
        rng: the only source of randomness.
        height: rows.
        width: columns.

    Returns:
        The picture; its subject is the bird, not the branch.
    """
    draw = _Drawing(rng, height, width, scale=_between(rng, 0.85, 1.25), tilt=0.2, mirror=True)
    back, belly = (
        np.clip(np.array(part, np.float32) + uniform(rng, -0.08, 0.08, 3), 0, 1)
        for part in PLUMAGES[rng.integers(len(PLUMAGES))]
    )
    black, white = np.full(3, 0.04, np.float32), np.full(3, 0.95, np.float32)
    # The bird looks to the right. From back to front; leaves behind it are out of focus.
    for _ in range(rng.integers(2, 6)):
        place = uniform(rng, -0.5, 0.5, 2)
        green = np.array([0.25, 0.4, 0.15], np.float32) + uniform(rng, -0.15, 0.2, 3)
        size = _between(rng, 0.08, 0.25)
        draw.glow((float(place[0]), float(place[1])), (size, size), green, 0.5)
    bark = np.array([0.4, 0.3, 0.22], np.float32) * _between(rng, 0.6, 1.3)
    lean = _between(rng, -0.12, 0.12)
    draw.taper((-0.9, 0.25 - lean), (0.9, 0.25 + lean), 0.035, 0.022, bark, subject=False)
    draw.taper((-0.9, 0.24 - lean), (0.9, 0.24 + lean), 0.01, 0.006, bark * 1.4, subject=False)
    twig = _between(rng, -0.4, 0.4)
    draw.taper((twig, 0.25), (twig + 0.2, 0.05), 0.012, 0.004, bark, subject=False)

    upright = _between(rng, 0.2, 0.9)  # the body's slope
    along = np.array([np.cos(upright), -np.sin(upright)], np.float32)  # from tail to head
    across = np.array([along[1], -along[0]], np.float32)  # to the back

    def at(forward: float, outward: float) -> Point:
        place = along * forward + across * outward
        return float(place[0]), float(place[1])

    plump, tail = _between(rng, 0.1, 0.14), _between(rng, 0.2, 0.34)
    for spread in (-0.02, 0.0, 0.02):
        draw.taper(at(-0.15, 0.03), at(-0.17 - tail, 0.03 + spread), 0.03, 0.02, back * 0.8)
    legs = np.array([0.35, 0.25, 0.2], np.float32)
    for forward in (-0.05, 0.02):
        hip = at(forward, -plump * 0.8)
        draw.taper(hip, (hip[0] + 0.015, 0.24), 0.01, 0.008, legs)
    draw.ellipse((0, 0), (0.21, plump), belly, back, angle=upright, across=True)
    draw.ellipse(at(0.11, 0.0), (0.12, plump * 0.85), belly, back, angle=upright, across=True)
    head = at(0.225, 0.05)
    skull = _between(rng, 0.075, 0.095)
    bill = _between(rng, 0.07, 0.14)
    horn = np.array([0.25, 0.22, 0.2], np.float32) + uniform(rng, 0, 0.5, 3) * (
        np.array([1, 0.7, 0.1], np.float32)
    )
    tip = (head[0] + skull + bill, head[1] + 0.02)
    draw.taper((head[0] + skull * 0.7, head[1] + 0.012), tip, 0.028, 0.003, horn, horn * 0.7)
    cap = back if rng.random() < 0.6 else uniform(rng, 0.1, 0.9, 3)
    if rng.random() < 0.3:
        crest = (head[0] - 0.09, head[1] - 0.13)
        draw.taper((head[0], head[1] - 0.04), crest, 0.04, 0.005, cap)
    draw.ellipse(head, (skull, skull * 0.95), belly * 0.5 + cap * 0.5, cap, angle=0.3, across=True)
    # Wing with feathers, folded along the body.
    draw.ellipse(at(-0.04, 0.035), (0.18, plump * 0.6), back * 0.85, angle=upright + 0.12)
    feathers = int(rng.integers(4, 8))
    bar = white if rng.random() < 0.3 else back * 0.5
    for number in range(feathers):
        share = number / feathers
        root, end = at(0.06 - 0.05 * share, 0.07 - 0.1 * share), at(-0.21, 0.045 - 0.045 * share)
        draw.taper(root, end, 0.009, 0.005, bar if number % 2 else back * 1.25)
    eye = (head[0] + skull * 0.35, head[1] - skull * 0.15)
    draw.ellipse(eye, (0.02, 0.02), horn * 0.6 + 0.3)
    draw.ellipse(eye, (0.015, 0.015), black)
    draw.ellipse((eye[0] + 0.005, eye[1] - 0.005), (0.005, 0.005), white)
    return draw.finish()


class _Drawing:
    """Shapes laid over a blurred background; x to the right and y down from about the centre."""

    def __init__(
        self,
        rng: np.random.Generator,
        height: int,
        width: int,
        scale: float,
        tilt: float,
        mirror: bool = False,
    ) -> None:
        short = min(height, width)
        self.pixel = 1 / short
        self.y = ((np.arange(height) + 0.5) / short).astype(np.float32)
        self.x = ((np.arange(width) + 0.5) / short).astype(np.float32)
        rows, columns = self.y[:, None], self.x[None, :]
        frame = np.array([height / short, width / short], dtype=np.float32)
        self.image = gradient(rng, rows / frame[0], columns / frame[1])
        self.image += waves(rng, rows, columns)
        # Behind most subjects lie duller colours than their own.
        gray = self.image.mean(-1, keepdims=True)
        self.image = gray + (self.image - gray) * np.float32(_between(rng, 0.1, 0.7))
        np.clip(self.image, 0, 1, out=self.image)
        self.mask = np.zeros((height, width), dtype=np.float32)
        self.scale = scale
        self.angle = _between(rng, -tilt, tilt)
        self.side = -1 if mirror and rng.random() < 0.5 else 1
        shift = uniform(rng, -0.05, 0.05, 2)
        self.centre = (width / short / 2 + float(shift[0]), height / short / 2 + float(shift[1]))

    def ellipse(
        self,
        centre: Point,
        radii: Point,
        colour: Colour,
        other: Colour | None = None,
        *,
        angle: float = 0.0,
        across: bool = False,
        above: float | None = None,
        subject: bool = True,
    ) -> None:
        """An ellipse, turned to the left by `angle`, that blends from one colour to another.

        Along its first axis, or if `across` from bottom to top; only the part over the row `above`.
        """
        x, y = self._place(centre)
        across_radius = max(radii) * self.scale + self.pixel
        rows, columns = span(self.y, y, across_radius), span(self.x, x, across_radius)
        turn = self.side * (self.angle - angle)
        u, v = self._axes(rows, columns, (x, y), turn)
        u, v = u / (radii[0] * self.scale), v / (radii[1] * self.scale)
        sharpness = np.float32(min(radii) * self.scale / self.pixel)
        cover = edge(1 - np.sqrt(u * u + v * v), sharpness)
        if above is not None:
            _, down = self._axes(rows, columns, self._place((0, above)), self.side * self.angle)
            cover = cover * edge(-down, np.float32(1 / self.pixel))
        if other is None:
            self._blend(rows, columns, cover, colour, subject)
        else:
            share = np.clip(0.5 - 0.5 * v if across else 0.5 + 0.5 * u * self.side, 0, 1)
            fill = colour + (other - colour) * share[..., None]
            self._blend(rows, columns, cover, fill, subject)

    def taper(
        self,
        start: Point,
        end: Point,
        first: float,
        last: float,
        colour: Colour,
        other: Colour | None = None,
        *,
        subject: bool = True,
    ) -> None:
        """A line with round ends whose radius goes from `first` to `last`."""
        x0, y0 = self._place(start)
        x1, y1 = self._place(end)
        reach = float(np.hypot(x1 - x0, y1 - y0)) / 2 + max(first, last) * self.scale + self.pixel
        rows = span(self.y, (y0 + y1) / 2, reach)
        columns = span(self.x, (x0 + x1) / 2, reach)
        dx, dy = self._axes(rows, columns, (x0, y0), 0.0)
        along, down = np.float32(x1 - x0), np.float32(y1 - y0)
        length = np.float32(max(float(along * along + down * down), 1e-12))
        t: Image = np.clip((dx * along + dy * down) / length, 0, 1)
        radius = np.float32(first * self.scale) + np.float32((last - first) * self.scale) * t
        distance: Image = np.hypot(dx - t * along, dy - t * down)
        cover = edge(radius - distance, np.float32(1 / self.pixel))
        fill: Image = colour if other is None else colour + (other - colour) * t[..., None]
        self._blend(rows, columns, cover, fill, subject)

    def glow(self, centre: Point, radii: Point, colour: Colour, opacity: float) -> None:
        """A soft spot that tints what is there and leaves the mask alone."""
        x, y = self._place(centre)
        reach = 2 * max(radii) * self.scale
        rows, columns = span(self.y, y, reach), span(self.x, x, reach)
        u, v = self._axes(rows, columns, (x, y), self.side * self.angle)
        u, v = u / np.float32(radii[0] * self.scale), v / np.float32(radii[1] * self.scale)
        cover = np.float32(opacity) * np.exp(np.float32(-1.5) * (u * u + v * v))
        self._blend(rows, columns, cover, colour, None)

    def finish(self) -> Picture:
        """The picture and its mask."""
        return Picture(np.clip(self.image, 0, 1), np.clip(self.mask, 0, 1))

    def _place(self, point: Point) -> Point:
        """From the drawing's own axes to the picture's."""
        x, y = point[0] * self.scale * self.side, point[1] * self.scale
        cos, sin = float(np.cos(self.angle)), self.side * float(np.sin(self.angle))
        return self.centre[0] + x * cos - y * sin, self.centre[1] + x * sin + y * cos

    def _axes(self, rows: slice, columns: slice, centre: Point, turn: float) -> tuple[Image, Image]:
        """Distances of pixels from a centre along axes that are turned to the right."""
        dx = self.x[columns][None, :] - np.float32(centre[0])
        dy = self.y[rows][:, None] - np.float32(centre[1])
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        return dx * cos + dy * sin, dy * cos - dx * sin

    def _blend(
        self, rows: slice, columns: slice, cover: Image, fill: Colour, subject: bool | None
    ) -> None:
        part = self.image[rows, columns]
        part += cover[..., None] * (fill - part)
        if subject is not None:
            mask = self.mask[rows, columns]
            mask += cover * (np.float32(subject) - mask)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def _mixed(rng: np.random.Generator, colours: tuple[tuple[float, ...], ...]) -> Colour:
    """A colour between two neighbours of a scale."""
    place = _between(rng, 0, len(colours) - 1)
    table = np.array(colours, dtype=np.float32)
    first = min(int(place), len(colours) - 2)
    mixed: Colour = table[first] + (table[first + 1] - table[first]) * np.float32(place - first)
    return mixed


def _varied(rng: np.random.Generator, colours: tuple[tuple[float, ...], ...]) -> Colour:
    """One of some colours, a little darker or lighter."""
    colour = np.array(colours[rng.integers(len(colours))], dtype=np.float32)
    varied: Colour = np.clip(colour * np.float32(_between(rng, 0.8, 1.2)), 0, 1)
    return varied
