"""From a specification to a picture and the exact places of its parts."""

import numpy as np
from numpy.typing import NDArray

from .backgrounds import vignette
from .bird import draw_bird
from .canvas import Array, Canvas
from .flower import draw_flower
from .specs import Bird, Spec

MIN_SIZE, MAX_SIZE = 16, 1024


def draw(spec: Spec, size: int) -> tuple[NDArray[np.uint8], dict[str, Array]]:
    """Paint a bird or a flower.

    The same specification is the same picture at every size.

    Args:
        spec: what is in it.
        size: pixels a side, 16 to 1024.

    Returns:
        (3, S, S) uint8 RGB, and for each part that shows (S, S) float32 in [0, 1], the share of
        each pixel that it covers.

    Raises:
        ValueError: the size is out of range.
    """
    canvas = _painted(spec, size, track=True)
    return _finished(canvas), canvas.parts


def picture(spec: Spec, size: int) -> NDArray[np.uint8]:
    """The picture alone, as `draw` paints it, in less time.

    Args:
        spec: what is in it.
        size: pixels a side, 16 to 1024.

    Returns:
        (3, S, S) uint8 RGB.

    Raises:
        ValueError: the size is out of range.
    """
    return _finished(_painted(spec, size, track=False))


def _painted(spec: Spec, size: int, track: bool) -> Canvas:
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size must be {MIN_SIZE} to {MAX_SIZE} pixels a side, got {size}")
    if isinstance(spec, Bird):
        return draw_bird(spec, size, track)
    return draw_flower(spec, size, track)


def _finished(canvas: Canvas) -> NDArray[np.uint8]:
    values = canvas.image * (vignette(canvas.size) * np.float32(255)) + np.float32(0.5)
    return np.clip(values, 0, 255).astype(np.uint8)
