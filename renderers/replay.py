"""Paint a drawing again, at any size, stroke by stroke."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from . import bezier
from .drawing import Drawing
from .stroke import rescale


def canvases(
    drawing: Drawing,
    counts: Iterable[int],
    *,
    height: int | None = None,
    width: int | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[NDArray[np.float32]]:
    """The canvas after certain numbers of strokes.

    Args:
        drawing: what to paint.
        counts: numbers of strokes, rising, each 0 to len(drawing).
        height: rows of the result; None: as painted.
        width: columns of the result; None: as painted.
        device: where to render.

    Yields:
        (height, width, 3) float32 RGB in [0, 1], one for each count.

    Raises:
        ValueError: counts that fall, or more strokes than the drawing has.
    """
    height, width = height or drawing.height, width or drawing.width
    strokes = torch.tensor(np.array(drawing.strokes), device=device)
    painted, shown = min(drawing.height, drawing.width), min(height, width)
    strokes = rescale(strokes, painted, shown)
    paper = torch.tensor(drawing.background, device=device)[None, :, None, None]
    canvas = paper.expand(1, 3, height, width).contiguous()
    done = 0
    for count in counts:
        if not done <= count <= len(drawing):
            raise ValueError(
                f"{count} strokes after {done}: counts must rise and the drawing has {len(drawing)}"
            )
        if count > done:
            canvas = bezier.paint(canvas, strokes[None, done:count], control=drawing.control)
        done = count
        yield canvas[0].permute(1, 2, 0).cpu().numpy().copy()


def fit_size(drawing: Drawing, side: int) -> tuple[int, int]:
    """Rows and columns of a drawing shown with a given shorter side in pixels."""
    scale = side / min(drawing.height, drawing.width)
    return max(1, round(drawing.height * scale)), max(1, round(drawing.width * scale))
