"""A single flower on its stem, drawn from its attributes."""

from math import cos, pi, sin

import numpy as np

from .backgrounds import paint_background
from .canvas import Array, Canvas, Frame, Mask, Points, clipped, ellipse, ink, smooth, stroke, toned
from .colours import Colour, varied
from .specs import PETAL_COUNTS, Flower


def _petal(half: tuple[tuple[float, float], ...]) -> Points:
    """The outline whose one half is given, along the x axis from the centre outward."""
    return smooth((*half, *((x, -y) for x, y in half[-2::-1])))


# y is in units of a petal's half width, x of its length.
_ROUND = _petal(((0.0, -0.2), (0.35, -0.7), (0.7, -1.0), (0.93, -0.68), (1.0, 0.0)))
_POINTED = _petal(((0.0, -0.2), (0.3, -0.85), (0.52, -1.0), (0.8, -0.55), (0.96, -0.12), (1.03, 0)))
_VEINS = np.array([[(0.3, y * 0.3), (0.6, y * 0.8), (0.84, y)] for y in (-0.42, 0.0, 0.42)])
_HALF_WIDTHS = ((0.47, 0.36, 0.27), (0.40, 0.31, 0.235))
"""Of a round and a pointed petal, in radii of the flower, for each count of petals."""
_LAYERS = (
    ((0, 2), (1, 3), (4,)),
    ((0, 2, 4, 6), (1, 3, 5, 7)),
    ((0, 2, 4, 6, 8, 10), (1, 3, 5, 7, 9, 11)),
)
"""Petals from back to front, for each count: no two neighbours lie in one layer."""
_GOLDEN = 2.399963
"""Florets stand a golden angle apart, as in a sunflower (Vogel 1979)."""
_FLORETS = 34


def draw_flower(spec: Flower, size: int, track: bool) -> Canvas:
    """Paint a flower.

    Args:
        spec: what it looks like.
        size: pixels a side.
        track: keep account of the parts: petal, centre, stem.

    Returns:
        The finished canvas.
    """
    rng = np.random.default_rng(spec.style)
    canvas = paint_background(spec.background, size, rng, track)
    petal, centre = varied(spec.petal, rng), varied(spec.centre, rng)
    # Seen a little from the side: a circle is a turned ellipse.
    x, y, radius, squash, turn = rng.uniform(
        (0.44, 0.37, 0.30, 0.84, -0.25), (0.56, 0.45, 0.35, 1.0, 0.25)
    ).tolist()
    press = np.array([[1, 0], [0, squash]]) @ [[cos(turn), sin(turn)], [-sin(turn), cos(turn)]]
    _stem(canvas, x, y, spec.stem, rng)
    _petals(canvas, spec, (x, y), radius, press, petal, rng)
    _centre(canvas, (x, y), radius * float(rng.uniform(0.33, 0.38)), squash, turn, centre)
    return canvas


def _stem(canvas: Canvas, x: float, y: float, leafy: int, rng: np.random.Generator) -> None:
    tone, lean, bow = rng.uniform((0.85, -0.14, -0.06), (1.1, 0.14, 0.06)).tolist()
    green = np.array([0.36, 0.54, 0.28], np.float32) * np.float32(tone)
    share = np.linspace(0, 1, 9)[:, None]
    bend = np.array([x + lean / 2 + bow, (y + 1.05) / 2])
    path = (1 - share) ** 2 * (x, y) + 2 * share * (1 - share) * bend + share**2 * (x + lean, 1.05)
    stem = canvas.mask(stroke(path, 0.032, 0.042))
    canvas.paint(stem, green, canvas.volume(stem, 0.02, 0.5), part="stem")
    if not leafy:
        return
    ribs = []
    for side, (where, open_, length) in zip(
        (-1.0, 1.0), rng.uniform((6, 0.5, 0.28), (8, 0.95, 0.36), (2, 3)).tolist(), strict=True
    ):
        root = path[int(where)]
        leaf = Frame(float(root[0]), float(root[1]), length, side * open_ - pi / 2)
        c = side * 0.06
        shape = canvas.mask(
            leaf(
                smooth(
                    (
                        (0, 0),
                        (0.3, -0.2 + c),
                        (0.7, -0.16 + c),
                        (1, 2 * c),
                        (0.7, 0.16 + c),
                        (0.3, 0.2 + c),
                    )
                )
            )
        )
        canvas.paint(shape, green, canvas.volume(shape, 0.05, 0.45), part="stem")
        ribs.append(leaf(((0, 0), (0.5, c * 0.8), (0.95, c * 1.9))))
    canvas.paint(canvas.mask(stroke(np.array(ribs), 0.012, 0.004)), toned(green, 1.4), alpha=0.6)


def _petals(
    canvas: Canvas,
    spec: Flower,
    middle: tuple[float, float],
    radius: float,
    press: Points,
    colour: Colour,
    rng: np.random.Generator,
) -> None:
    count = PETAL_COUNTS[spec.petal_count]
    width = (
        radius * _HALF_WIDTHS[spec.petal_shape][spec.petal_count] * float(rng.uniform(0.95, 1.05))
    )
    curve = _POINTED if spec.petal_shape else _ROUND
    angles = (np.arange(count) + rng.uniform(-0.07, 0.07, count)) * (2 * pi / count)
    angles += rng.uniform(0, 2 * pi)
    c, s = np.cos(angles), np.sin(angles)
    long = radius * rng.uniform(0.94, 1.04, count)
    # (count, 2, 2): one petal in the picture, as row vectors times a matrix.
    turns = np.stack([c * long, s * long, -s * width, c * width], axis=1).reshape(count, 2, 2)
    turns = turns @ press
    outlines = curve @ turns + middle
    veins = stroke((_VEINS[None] @ turns[:, None]).reshape(-1, 3, 2) + middle, 0.01, 0.003)
    veins = veins.reshape(count, 3, 6, 2)
    dark = ink(colour)
    shade = (curve * (1.02, 1.14)) @ turns + middle + (0.004, 0.009)
    below: Mask | None = None
    for layer in _LAYERS[spec.petal_count]:
        rows = list(layer)
        shape = canvas.mask(outlines[rows])
        if below is not None:
            shadow = clipped(canvas.mask(shade[rows]), below)
            canvas.paint(shadow, np.zeros(3, np.float32), alpha=0.28)
        light = canvas.volume(shape, width * 0.5, 0.4)
        light += _radial(canvas, shape, middle, radius)
        canvas.paint(shape, colour, light, part="petal")
        canvas.paint(clipped(canvas.mask(veins[rows]), shape), dark, alpha=0.35)
        below = shape


def _radial(canvas: Canvas, mask: Mask, middle: tuple[float, float], radius: float) -> Array:
    """Petals are deeper in colour about the centre and paler at their tips."""
    y = np.arange(mask.rows.start, mask.rows.stop, dtype=np.float32) / canvas.size - middle[1]
    x = np.arange(mask.columns.start, mask.columns.stop, dtype=np.float32) / canvas.size - middle[0]
    away = (x * x)[None] + (y * y)[:, None]
    away *= np.float32(1 / radius**2)
    result: Array = np.minimum(away, 1) * np.float32(0.28) - np.float32(0.17)
    return result


def _centre(
    canvas: Canvas,
    middle: tuple[float, float],
    wide: float,
    squash: float,
    turn: float,
    colour: Colour,
) -> None:
    x, y = middle
    shadow = canvas.mask(ellipse(x + 0.004, y + 0.01, wide * 1.1, wide * 1.1 * squash, turn))
    canvas.paint(shadow, np.zeros(3, np.float32), alpha=0.3)
    disc = canvas.mask(ellipse(x, y, wide, wide * squash, turn))
    canvas.paint(disc, colour, canvas.volume(disc, wide * 0.9, 0.4), part="centre")
    index = np.arange(_FLORETS) + 0.5
    away, angle = wide * 0.88 * np.sqrt(index / _FLORETS), index * _GOLDEN
    places = np.stack([away * np.cos(angle), away * np.sin(angle) * squash], axis=1)
    dot = ellipse(x, y, wide * 0.075, wide * 0.075)[::4]
    florets = places[:, None] + dot
    dark = ink(colour)
    canvas.paint(canvas.mask(florets[::2]), dark, alpha=0.45)
    canvas.paint(canvas.mask(florets[1::2]), toned(colour, 1.5), alpha=0.45)
