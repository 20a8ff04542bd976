"""The lines that age draws on a face, each at its own time of life."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..procedural.canvas import Points
from .ageing import Ageing, ramp
from .shape import Shape, View, xy
from .specs import Person

WIDTH = 0.017
"""Of a deep line, in a face's unit."""


class Line(NamedTuple):
    """A wrinkle on the face, not yet turned.

    Attributes:
        path: (N, 2).
        depth: 0 to 1.
        width: in a face's unit.
    """

    path: Points
    depth: float
    width: float


def lines(person: Person, state: Ageing, shape: Shape, smile: float) -> list[Line]:
    """The wrinkles of a person.

    Which lines somebody has, and how they run, is for life; age makes them longer and deeper.

    Args:
        person: who.
        state: at what age.
        shape: the head on which they lie.
        smile: 0 to 1; deepens the folds beside the mouth and the eyes.

    Returns:
        Those that show.
    """
    rng = np.random.default_rng((person.style, 1))
    points, found = shape.points, []
    ripple = rng.uniform(-1, 1, (40, 3))

    def add(
        path: Sequence[Sequence[float]] | Points,
        onset: float,
        full: float,
        number: int,
        width: float = 1.0,
        least: float = 0.0,
    ) -> None:
        depth = max(ramp(state.wrinkles, onset, 1.0) ** 0.8 * full, least)
        if depth < 0.02:
            return
        way = np.asarray(path, np.float64)
        wave = ripple[number % 40]
        way = way + 0.006 * np.stack([wave[0] * np.ones(len(way)), np.resize(wave, len(way))], -1)
        found.append(Line(way, depth, WIDTH * width * (0.55 + 0.45 * min(depth * 1.5, 1))))

    middle = 0.5 * (points[19] + points[24])
    rise = 0.9 + 0.1 * person.forehead
    for i, (up, onset) in enumerate(((0.1, 0.14), (0.055, 0.28), (0.15, 0.06), (0.2, 0.38))):
        reach = (0.2 + 0.05 * ripple[i, 0]) * (0.6 + 0.4 * ramp(state.wrinkles, onset, 0.9))
        x = np.linspace(-reach, reach, 7) + 0.02 * ripple[i, 1]
        sway = 0.012 * np.sin(x * 14 + 3 * ripple[i, 2])
        y = middle[1] - up * rise + 0.35 * x * x + sway
        add(np.stack([x, y], -1), onset, 0.8, i)
    for side, brow in ((-1.0, points[21]), (1.0, points[22])):
        x = brow[0] - side * (0.035 + 0.008 * ripple[5, 0])
        y = brow[1]
        add(
            [(x, y + 0.045), (x - side * 0.004, y + 0.01), (x + side * 0.006, y - 0.035)],
            0.2,
            0.75,
            6,
        )

    for side, corner, low in ((-1.0, points[36], points[41]), (1.0, points[45], points[46])):
        number = 10 if side < 0 else 20
        for i, (slope, onset) in enumerate(((0.0, 0.08), (0.4, 0.16), (-0.45, 0.26), (0.8, 0.4))):
            begin = corner + xy(side * 0.022, 0.012 + 0.012 * i - 0.02 * (slope < 0))
            length = (0.055 + 0.03 * ramp(state.wrinkles, onset, 1)) * (1 + 0.2 * ripple[i + 7, 0])
            end = begin + xy(side * length, slope * length)
            bend = 0.5 * (begin + end) + xy(0, -0.006 + 0.004 * i)
            add([begin, bend, end], onset, 0.7, number + i, least=0.12 * smile * state.puberty)
        inner = points[39] if side < 0 else points[42]
        for i, (drop, onset, full) in enumerate(((0.045, 0.03, 0.8), (0.075, 0.25, 0.6))):
            way = np.array([0.1, 0.35, 0.65, 0.95])
            x = inner[0] + (corner[0] - inner[0]) * way
            y = low[1] + drop * np.array([0.55, 0.95, 1.0, 0.65])
            add(np.stack([x, y], -1), onset, full, number + 4 + i, width=1.1, least=0.08)
        wing, mouth = points[31 if side < 0 else 35], points[48 if side < 0 else 54]
        chin = points[8]
        fold = np.array(
            [
                wing + xy(side * 0.022, -0.028),
                wing + xy(side * 0.055, 0.018),
                0.5 * (wing + mouth) + xy(side * 0.065, 0.012),
                mouth + xy(side * 0.042, -0.008),
                mouth + xy(side * 0.046, 0.03),
            ]
        )
        shown = 5 if state.wrinkles > 0.35 else 4
        add(fold[:shown], 0.0, 1.0, number + 6, width=1.5, least=0.08 + 0.2 * smile)
        droop = np.array(
            [
                mouth + xy(side * 0.014, 0.014),
                mouth + xy(side * 0.03, 0.06),
                mouth + xy(side * 0.03, 0.115),
            ]
        )
        add(droop, 0.25, 0.9, number + 7, width=1.3)
        cheek = mouth + xy(side * 0.1, -0.09)
        for i, onset in enumerate((0.5, 0.62, 0.74)):
            begin = cheek + xy(side * 0.045 * i, -0.03 * i)
            add(
                [begin, begin + xy(side * 0.028, 0.07), begin + xy(side * 0.022, 0.15)],
                onset,
                0.75,
                number + 8 + i,
            )
        top = points[50 if side < 0 else 52]
        for i, onset in enumerate((0.5, 0.58, 0.66)):
            x = top[0] + side * (0.035 * i - 0.01)
            add(
                [(x, top[1] + 0.004 * i - 0.004), (x + side * 0.008, top[1] - 0.035)],
                onset,
                0.6,
                30 + i,
                width=0.8,
            )
        add(
            [(side * 0.02, chin[1] - 0.12), (side * 0.075, chin[1] - 0.105)],
            0.3,
            0.5,
            34,
            width=1.4,
        )
    return found


def energy(found: Sequence[Line]) -> float:
    """Length times depth of all wrinkles, in a face's unit."""
    return sum(
        line.depth * float(np.sqrt((np.diff(line.path, axis=0) ** 2).sum(-1)).sum())
        for line in found
    )


def outlines(found: Sequence[Line], view: View) -> Points:
    """Wrinkles in the picture, thin at both ends, for `relief.grooves`: (M, 2 * PLACES, 2)."""
    if not found:
        return np.zeros((0, 2 * PLACES, 2))
    way = view(np.stack([_even(line.path) for line in found]))
    step = np.empty_like(way)
    step[:, 1:-1] = way[:, 2:] - way[:, :-2]
    step[:, 0], step[:, -1] = way[:, 1] - way[:, 0], way[:, -1] - way[:, -2]
    step /= np.sqrt((step * step).sum(-1, keepdims=True)) + 1e-12
    widths = np.array([line.width for line in found]) * (0.5 * view.scale)
    aside = step[..., ::-1] * (-1.0, 1.0) * widths[:, None, None] * _TAPER
    return np.concatenate([way + aside, (way - aside)[:, ::-1]], axis=1)


PLACES = 7
_TAPER = np.array([0.2, 0.6, 0.9, 1.0, 0.9, 0.6, 0.2])[:, None]


def _even(path: Points) -> Points:
    """A way with `PLACES` places, rounded between the given ones."""
    count = len(path)
    if count == PLACES:
        return path
    curve: Points = _BLENDS[count] @ path
    return curve


def _blend(count: int) -> Points:
    """(PLACES, count) weights: linear along the way, then bends are cut."""
    where = np.linspace(0, count - 1, PLACES)
    weights = np.maximum(1 - np.abs(where[:, None] - np.arange(count)), 0)
    rounded: Points = weights.copy()
    rounded[1:-1] += 0.25 * (weights[:-2] - 2 * weights[1:-1] + weights[2:])
    return rounded


_BLENDS = {count: _blend(count) for count in range(2, PLACES)}
