"""Distances of pictures, one number for each of a batch.

The sums run in an order that does not depend on the batch, so a painting is rewarded alike whether
it is painted alone or with others.
"""

import torch
from torch import Tensor

from ..renderers.bezier_cpu import squared_error


def image_mean(values: Tensor) -> Tensor:
    """Mean over channels, rows and columns, the same number whatever the batch.

    One axis at a time: a single reduction over all three is split differently for one painting
    and for many, so that a batch of N would differ from N batches of one in the last bit.

    Args:
        values: (B, C, H, W).

    Returns:
        (B,).
    """
    return values.mean(-1).mean(-1).mean(-1)


def squared_distance(canvas: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of each canvas to its target.

    Args:
        canvas: (B, C, H, W) float32.
        target: the same shape.

    Returns:
        (B,) float32, the same numbers whatever the batch.
    """
    if canvas.is_cuda or canvas.requires_grad or target.requires_grad:
        return image_mean((canvas - target).square())
    # Without gradients in one pass: on a CPU the memory of a batch-sized temporary costs several
    # times more than the arithmetic.
    canvases, targets = canvas.detach().numpy(), target.detach().numpy()
    size, height = canvases[0].size, canvases.shape[2]
    pairs = zip(canvases, targets, strict=True)
    distances = [squared_error(a, b, 0, height) / size for a, b in pairs]
    return torch.tensor(distances, dtype=torch.float32)


def clipped_difference(canvas: Tensor, target: Tensor, limit: float) -> Tensor:
    """min(|C - I|, lambda), the pixel term of thesis Eq 6.4 and 6.6.

    Reading: an element-wise minimum, the only one that types.

    Args:
        canvas: (B, C, H, W).
        target: the same shape.
        limit: lambda, in (0, 1]; 1 is the plain absolute difference.

    Returns:
        (B, C, H, W) in [0, limit], differentiable below the limit.
    """
    return (canvas - target).abs().clamp(max=limit)
