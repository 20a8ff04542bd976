"""From speech sounds to the frames of a drawn face that says them, with the landmarks of each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..procedural_faces import Expression, FaceSpec, Kept, picture
from ..talking.mfcc import FPS
from ..talking.spoken import Span
from .visemes import NUMBERS, tracks

_CLOSING, _OPENING = 0.06, 0.11
"""Seconds that lids take to shut, and to open again."""
_PAUSE = (1.5, 5.0)
"""Seconds between two blinks: 12 to 40 a minute."""
_EFFORT = np.array([float(name in ("jaw", "open", "wide", "round")) for name in NUMBERS])
_DIGITS = 3
"""Decimals of what speech drives: a thousandth moves no point by a fiftieth of a pixel at 128, and
a mouth at rest keeps still instead of creeping nearer to its rest."""
_LEAST = np.array([-1.0 if name == "wide" else 0.0 for name in NUMBERS])


def expressions(
    phonemes: Sequence[Span], count: int, *, effort: float = 1.0, blinks: Sequence[float] = ()
) -> list[Expression]:
    """What a face does while it says something.

    Frame i shows the middle of its time, (i + 0.5) / 25 seconds, as `talking.mfcc.windows` centres
    the sound of frame i there.

    Args:
        phonemes: in the order of time; before the first and after the last the mouth rests.
        count: frames, T.
        effort: factor on how far mouth and jaw move: below 1 mumbles.
        blinks: seconds at which the lids are shut.

    Returns:
        T expressions.

    Raises:
        ValueError: no phoneme, or one without a mouth shape.
    """
    times = (np.arange(count) + 0.5) / FPS
    moved = tracks(phonemes, times)
    moved *= 1 + (effort - 1) * _EFFORT
    moved = moved.clip(_LEAST, 1).round(_DIGITS)
    shut = np.zeros(count)
    for moment in blinks:
        away = times - moment
        shut = np.maximum(shut, 1 - np.where(away < 0, -away / _CLOSING, away / _OPENING))
    return [Expression(*row) for row in np.column_stack([moved, shut]).tolist()]


def blinks(rng: np.random.Generator, seconds: float) -> list[float]:
    """Moments at which somebody blinks, which have nothing to do with what they say.

    Args:
        rng: the only source of randomness.
        seconds: how long they are looked at.

    Returns:
        Seconds, rising.
    """
    moments = []
    moment = float(rng.uniform(0, _PAUSE[1]))
    while moment < seconds:
        moments.append(moment)
        moment += float(rng.uniform(*_PAUSE))
    return moments


def film(
    spec: FaceSpec, age: float, moves: Sequence[Expression], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw a face in motion; what does not move is painted once.

    Args:
        spec: who, and how they are seen.
        age: years.
        moves: of each frame, T.
        size: pixels a side.

    Returns:
        (T, 3, S, S) uint8 RGB, and landmarks (T, 136) float32, x0, y0, x1, ... in sides of the
        frame.

    Raises:
        ValueError: age or size is out of range.
    """
    kept = Kept()
    frames = np.empty((len(moves), 3, size, size), np.uint8)
    points = np.empty((len(moves), 136), np.float32)
    for i, move in enumerate(moves):
        if i and move == moves[i - 1]:
            frames[i], points[i] = frames[i - 1], points[i - 1]
            continue
        frames[i], places = picture(spec, age, size, move, kept)
        points[i] = places.ravel()
    return frames, points
