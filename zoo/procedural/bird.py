"""A songbird in side view, drawn from its attributes."""

from math import cos, sin

import numpy as np

from .backgrounds import paint_background
from .canvas import (
    Array,
    Canvas,
    Frame,
    Mask,
    Place,
    Points,
    clipped,
    ellipse,
    ink,
    part_of,
    smooth,
    stroke,
    toned,
)
from .colours import Colour, varied
from .perch import paint_perch
from .specs import BEAK_COLOURS, Bird

_BEAKS = {"orange": (230, 126, 38), "yellow": (240, 204, 66), "black": (46, 44, 46)}

# The bird looks to the right; one unit is about half its length without the tail.
_BODY = smooth(
    (
        (0.44, -0.40),  # forehead
        (0.36, -0.50),
        (0.22, -0.51),  # crown
        (0.10, -0.42),
        (0.03, -0.28),  # nape
        (-0.10, -0.14),
        (-0.30, 0.02),  # back
        (-0.47, 0.19),  # rump
        (-0.46, 0.28),
        (-0.30, 0.36),  # vent
        (-0.05, 0.41),  # belly
        (0.20, 0.34),
        (0.36, 0.15),  # breast
        (0.41, -0.05),
        (0.41, -0.19),  # throat
        (0.45, -0.28),  # chin
    )
)
_BACK = smooth(
    (
        (-0.10, -0.42),
        (0.05, -0.30),
        (0.09, -0.19),
        (0.12, -0.05),
        (-0.16, 0.10),
        (-0.42, 0.24),
        (-0.62, 0.30),
        (-0.60, 0.00),
        (-0.30, -0.25),
    )
)
_CROWN = smooth(
    (
        (0.52, -0.375),
        (0.40, -0.385),
        (0.26, -0.36),
        (0.13, -0.31),
        (0.04, -0.20),
        (-0.05, -0.30),
        (0.05, -0.62),
        (0.36, -0.66),
        (0.55, -0.50),
    )
)
_WING = smooth(
    (
        (0.19, -0.06),  # shoulder
        (0.08, -0.17),
        (-0.10, -0.13),
        (-0.32, 0.03),
        (-0.50, 0.17),
        (-0.63, 0.29),  # tip
        (-0.44, 0.28),
        (-0.22, 0.27),
        (0.00, 0.22),
        (0.14, 0.10),
    )
)


def _scallops(start: tuple[float, float], end: tuple[float, float], count: int) -> Points:
    """A row of feather tips: (count, 7, 2) arcs from start to end."""
    row = np.array(end) - start
    turn = np.linspace(0, np.pi, 7)
    along = (np.arange(count)[:, None] + (1 - np.cos(turn)) / 2) / count
    sag = np.sin(turn)[:, None] * (-0.035, 0.045)
    return np.array(start) + along[:, :, None] * row + sag


_COVERTS = np.concatenate(
    [_scallops((0.13, 0.08), (-0.12, -0.10), 4), _scallops((0.02, 0.17), (-0.28, 0.03), 5)]
)
_FLIGHT = np.array(
    [
        [(-0.27 * i, 0.19 - 0.13 * i), (-0.50 - 0.06 * i, 0.275 - 0.02 * i)]
        for i in (0, 1 / 3, 2 / 3, 1)
    ]
)
_BAR = np.array([(0.06, 0.15), (-0.06, 0.12), (-0.16, 0.05), (-0.24, -0.02)])


def draw_bird(spec: Bird, size: int, track: bool) -> Canvas:
    """Paint a bird.

    Args:
        spec: what it looks like.
        size: pixels a side.
        track: keep account of the parts: breast, back, wing, crown, beak, tail, eye, legs, perch.

    Returns:
        The finished canvas.
    """
    rng = np.random.default_rng(spec.style)
    canvas = paint_background(spec.background, size, rng, track)
    breast, wing, crown = (varied(i, rng) for i in (spec.breast, spec.wing, spec.crown))
    if spec.crown == spec.wing:
        crown = wing
    elif spec.crown == spec.breast:
        crown = breast
    mirror = spec.facing == 0
    scale, lean, shift, y, plump, legs = rng.uniform(
        (0.48, -0.30, -0.02, 0.49, 0.92, 0.55), (0.57, 0.12, 0.04, 0.53, 1.06, 0.63)
    ).tolist()
    side = -1.0 if mirror else 1.0
    x = 0.5 + side * (shift + 0.05 * spec.tail)
    frame = Frame(x, y, scale, lean, mirror)
    stretch = np.array([1, plump])  # slimmer or rounder than the next bird

    ground = y + scale * legs
    paint_perch(canvas, spec.pose, ground, rng)
    _legs(canvas, frame, ground, side)
    _tail(canvas, frame, wing, spec.tail, rng)

    body = canvas.mask(frame(_BODY * stretch))
    light = canvas.volume(body, 0.22 * scale, 0.45)
    light += _fall(body, size, y, scale)
    canvas.paint(body, breast, light, part="breast")
    _plumage(canvas, frame, body, breast, rng)
    back = clipped(canvas.mask(frame(_BACK * stretch)), body)
    canvas.paint(back, wing, part_of(light, body, back) - np.float32(0.06), part="back")
    cap = clipped(canvas.mask(frame(_CROWN * stretch)), body)
    canvas.paint(cap, crown, part_of(light, body, cap), part="crown")
    _beak(canvas, frame, spec, plump, rng)
    _eye(canvas, frame, plump)
    _wing(canvas, frame, stretch, body, wing, rng.random() < 0.35)
    return canvas


def _fall(mask: Mask, size: int, y: float, scale: float) -> Array:
    """Light from above: (h, 1), brighter at the top of a shape and darker at its bottom."""
    rows = np.arange(mask.rows.start, mask.rows.stop, dtype=np.float32)
    fall: Array = (rows * (-0.16 / (size * scale)) + 0.16 * y / scale).astype(np.float32)[:, None]
    return fall


def _legs(canvas: Canvas, frame: Frame, ground: float, side: float) -> None:
    horn = np.array([0.42, 0.32, 0.27], np.float32)
    width = 0.03 * frame.scale
    legs: list[tuple[Place, Place]] = []
    toes: list[tuple[Place, Place]] = []
    hips = frame(((-0.10, 0.36), (0.07, 0.36))).tolist()
    for (x, y), step in zip(hips, (0.03, 0.05), strict=True):
        foot = x + side * step * frame.scale, ground + 0.012
        legs.append(((x, y), foot))
        for reach in (-0.07, 0.07, 0.12):
            toes.append((foot, (foot[0] + side * reach * frame.scale, foot[1] + 0.012)))
    lines = canvas.mask(stroke(legs, width * 1.3, width), stroke(toes, width, width * 0.6))
    canvas.paint(lines, horn, part="legs")


def _tail(canvas: Canvas, frame: Frame, wing: Colour, long: int, rng: np.random.Generator) -> None:
    short, far, down, spread = rng.uniform(
        (0.17, 0.44, 0.40, 0.03), (0.22, 0.52, 0.75, 0.055)
    ).tolist()
    end = (far if long else short) + 0.12
    # The tail lies along the x axis of its own frame, which starts at the rump.
    turn = np.array([[-cos(down), sin(down)], [sin(down), cos(down)]])
    root = (-0.36, 0.19)
    half = 0.075 + spread
    outline = np.array(
        [
            (0, -0.075),
            (end * 0.6, -half),
            (end - 0.02, -half),
            (end - 0.01, -0.03),
            (end - 0.05, 0.0),
            (end - 0.01, 0.03),
            (end - 0.02, half),
            (end * 0.6, half),
            (0, 0.075),
        ]
    )
    shape = canvas.mask(frame(outline @ turn + root))
    light = canvas.volume(shape, 0.1 * frame.scale, 0.4) - np.float32(0.1)
    canvas.paint(shape, wing, light, part="tail")
    quills = np.array([[(0.08, i * 0.4 * half), (end - 0.03, i * 0.65 * half)] for i in (-1, 0, 1)])
    lines = stroke(frame(quills @ turn + root), 0.012 * frame.scale, 0.024 * frame.scale)
    canvas.paint(clipped(canvas.mask(lines), shape), ink(wing), alpha=0.5)


def _plumage(
    canvas: Canvas, frame: Frame, body: Mask, breast: Colour, rng: np.random.Generator
) -> None:
    """Short strokes that make the breast look soft."""
    starts = rng.uniform((-0.2, 0.0), (0.38, 0.38), (14, 1, 2))
    ends = np.concatenate([starts, starts + np.array((-0.055, 0.05))], axis=1)
    lines = stroke(frame(ends), 0.022 * frame.scale, 0.004)
    canvas.paint(clipped(canvas.mask(lines), body), ink(breast), alpha=0.22)


def _beak(canvas: Canvas, frame: Frame, spec: Bird, plump: float, rng: np.random.Generator) -> None:
    horn = np.array(_BEAKS[BEAK_COLOURS[spec.beak_colour]], np.float32) * np.float32(1 / 255)
    low, high = ((0.30, 0.02, 0.065), (0.37, 0.09, 0.08))
    if not spec.beak:
        low, high = ((0.12, 0.02, 0.085), (0.15, 0.04, 0.1))
    length, drop, thick = rng.uniform(low, high).tolist()
    x, y = 0.415, -0.325 * plump
    tip = x + length, y + drop
    outline = (
        (x - 0.03, y - thick),
        (x + length * 0.5, y - thick * 0.62 + drop * 0.15),
        tip,
        (x + length * 0.5, y + thick * 0.42 + drop * 0.3),
        (x - 0.03, y + thick * 0.85),
    )
    shape = canvas.mask(frame(outline))
    canvas.paint(shape, horn, canvas.volume(shape, 0.06 * frame.scale, 0.35), part="beak")
    cut = ((x - 0.02, y + thick * 0.1), (x + length * 0.5, y + drop * 0.2), tip)
    line = canvas.mask(stroke(frame(cut), 0.022 * frame.scale, 0.006 * frame.scale))
    canvas.paint(clipped(line, shape), ink(horn), alpha=0.7)


def _eye(canvas: Canvas, frame: Frame, plump: float) -> None:
    ((x, y),) = frame(((0.31, -0.345 * plump),)).tolist()
    radius = 0.058 * frame.scale
    black, white = np.full(3, 0.05, np.float32), np.full(3, 0.97, np.float32)
    ring = canvas.mask(ellipse(x, y, radius * 1.35, radius * 1.35))
    canvas.paint(ring, np.array([0.86, 0.84, 0.78], np.float32), part="eye")
    canvas.paint(canvas.mask(ellipse(x, y, radius, radius)), black)
    glint = ellipse(x - radius * 0.3, y - radius * 0.4, radius * 0.36, radius * 0.36)
    canvas.paint(canvas.mask(glint), white)


def _wing(
    canvas: Canvas, frame: Frame, stretch: Points, body: Mask, wing: Colour, barred: bool
) -> None:
    outline = frame(_WING * stretch)
    shadow = canvas.mask(outline + np.array((0.0, 0.035 * frame.scale)))
    canvas.paint(clipped(shadow, body), np.zeros(3, np.float32), alpha=0.2)
    shape = canvas.mask(outline)
    canvas.paint(shape, wing, canvas.volume(shape, 0.12 * frame.scale, 0.4), part="wing")
    # Two rows of coverts, scalloped; then the flight feathers, which run to the tip.
    tips = stroke(frame(_COVERTS * stretch), 0.02 * frame.scale, 0.02 * frame.scale)
    vanes = stroke(frame(_FLIGHT * stretch), 0.016 * frame.scale, 0.012 * frame.scale)
    canvas.paint(clipped(canvas.mask(tips, vanes), shape), ink(wing), alpha=0.55)
    if barred:
        bar = stroke(frame(_BAR * stretch), 0.05 * frame.scale, 0.035 * frame.scale)
        pale = toned(wing, 1.7 if wing.min() < 0.8 else 0.75)
        canvas.paint(clipped(canvas.mask(bar), shape), pale, alpha=0.7)
