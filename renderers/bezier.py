"""The exact renderer: anti-aliased Bezier strokes with exact gradients to all 13 parameters.

It is the real environment `env` of thesis Fig 6.2. The definition stands in reference.py; this
file dispatches to the compiled CPU kernel or the fused GPU kernel, which agree with it.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backend import workers
from . import bezier_cpu
from .stroke import STROKE_SIZE, Control, to_pixels

ROWS_PER_BAND = 16
MAX_BANDS = 8


def paint(
    canvas: Tensor, strokes: Tensor, *, control: Control = "relative", softness: float = 0.5
) -> Tensor:
    """Paint strokes in order: C' = a_c + (1 - a_r) C for each (thesis Sec 6.3.2).

    Args:
        canvas: (B, C, H, W) float32, C in {1, 3} (of a stroke's r, g, b the first C are used).
        strokes: (B, K, 13) float32 in [0, 1], Eq 6.1.
        control: how the middle control point is read.
        softness: half the width in pixels of the anti-aliased edge.

    Returns:
        (B, C, H, W), a new tensor, differentiable in canvas and strokes.

    Raises:
        ValueError: shapes that do not fit together, or a softness that is not positive.
    """
    fits = canvas.dim() == 4 and strokes.dim() == 3 and canvas.shape[0] == strokes.shape[0]
    if not fits or canvas.shape[1] not in (1, 3) or strokes.shape[2] != STROKE_SIZE:
        raise ValueError(
            "paint wants a canvas (B, 1 or 3, H, W) and strokes (B, K, 13), "
            f"got {tuple(canvas.shape)} and {tuple(strokes.shape)}"
        )
    if not softness > 0:
        raise ValueError(f"softness must be positive, got {softness}")
    geometry = to_pixels(strokes.float(), canvas.shape[2], canvas.shape[3], control)
    return paint_geometry(canvas.float(), geometry, softness)


def alpha(
    strokes: Tensor,
    height: int,
    width: int,
    *,
    control: Control = "relative",
    softness: float = 0.5,
) -> Tensor:
    """The alpha matte a_r of single strokes.

    Args:
        strokes: (N, 13) in [0, 1]; colours are ignored.
        height: canvas rows.
        width: canvas columns.
        control: how the middle control point is read.
        softness: half the width in pixels of the anti-aliased edge.

    Returns:
        (N, H, W) float32 in [0, 1], differentiable in the strokes.
    """
    # White on black is alpha itself.
    white = torch.cat([strokes[:, :10], torch.ones_like(strokes[:, 10:])], -1)
    black = strokes.new_zeros(len(strokes), 1, height, width)
    return paint(black, white[:, None], control=control, softness=softness)[:, 0]


def paint_geometry(canvas: Tensor, geometry: Tensor, softness: float = 0.5) -> Tensor:
    """`paint` for strokes already in pixels.

    Args:
        canvas: (B, C, H, W) float32.
        geometry: (B, K, 13) float32 from `stroke.to_pixels`.
        softness: half the width in pixels of the anti-aliased edge.

    Returns:
        (B, C, H, W), a new tensor.
    """
    if canvas.is_cuda:
        from . import bezier_gpu  # needs Triton, which only CUDA builds of torch bring along

        return bezier_gpu.paint_geometry(canvas, geometry, softness)
    result: Tensor = _PaintCPU.apply(canvas, geometry, softness)  # type: ignore[no-untyped-call]
    return result


def bands(height: int, images: int) -> list[tuple[int, int]]:
    """Rows to hand out as tasks; they depend on the shape alone, never on the machine."""
    count = 1 if images >= MAX_BANDS else max(1, min(MAX_BANDS, height // ROWS_PER_BAND))
    edges = [height * i // count for i in range(count + 1)]
    return list(pairwise(edges))


class _PaintCPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, canvas: Tensor, geometry: Tensor, softness: float) -> Tensor:
        out = torch.empty_like(canvas, memory_format=torch.contiguous_format)
        before, image = canvas.detach().numpy(), out.numpy()
        strokes = geometry.detach().contiguous().numpy()
        jobs = [(b, *rows) for b in range(len(image)) for rows in bands(*_shape(image))]
        keep = any(ctx.needs_input_grad)
        tasks = [(before[b], image[b], strokes[b], *rows, softness, keep) for b, *rows in jobs]
        ctx.records = workers.run(_paint, tasks)
        ctx.jobs, ctx.strokes, ctx.softness = jobs, strokes, softness
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_canvas = grads[0].float().clone(memory_format=torch.contiguous_format)
        image, strokes = grad_canvas.numpy(), ctx.strokes
        parts = workers.run(
            _backward,
            [
                (strokes[job[0]], record, ctx.softness, image[job[0]])
                for job, record in zip(ctx.jobs, ctx.records, strict=True)
            ],
        )
        grad = np.zeros(strokes.shape, np.float64)
        for (b, _, _), part in zip(ctx.jobs, parts, strict=True):
            grad[b] += part
        return grad_canvas, torch.from_numpy(grad.astype(np.float32)), None


def _shape(image: np.ndarray) -> tuple[int, int]:
    return image.shape[2], image.shape[0]


Record = tuple[np.ndarray, int, np.ndarray]


def _paint(
    before: np.ndarray,
    image: np.ndarray,
    strokes: np.ndarray,
    top: int,
    bottom: int,
    softness: float,
    keep: bool,
) -> Record | None:
    """Paint some rows; with `keep`, return what `_backward` needs."""
    # Copied here and not all at once, so that the rows are still in the processor's cache.
    image[:, top:bottom] = before[:, top:bottom]
    if not keep:
        bezier_cpu.paint_rows(strokes, image, top, bottom, softness)
        return None
    rows, pixels = bezier_cpu.record_size(strokes, image.shape[2], top, bottom, softness)
    spans = np.empty((rows, 4), np.int64)
    data = np.empty((2 + len(image), pixels), np.float32)
    count = bezier_cpu.record_rows(strokes, image, top, bottom, softness, spans, data)
    return spans, count, data


def _backward(
    strokes: np.ndarray, record: Record, softness: float, grad_canvas: np.ndarray
) -> np.ndarray:
    grad = np.zeros(strokes.shape, np.float64)
    bezier_cpu.backward_rows(strokes, *record, softness, grad_canvas, grad)
    return grad
