"""Renderers: the exact Bezier rasteriser, its neural imitation H_r, and vector output.

`get("bezier")` and `get("neural")` return a function of a canvas and strokes that paints.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Paint = Callable[[Tensor, Tensor], Tensor]
"""paint(canvas (B, C, H, W), strokes (B, K, 13)) -> new canvas (B, C, H, W), differentiable."""

RENDERERS = ("bezier", "neural")


def get(name: str, device: torch.device | str = "cpu") -> Paint:
    """A renderer by name.

    Args:
        name: "bezier", the exact rasteriser, or "neural", H_r with its shipped weights.
        device: where the canvas and the strokes will be.

    Returns:
        `Paint`: canvas (B, C, H, W) and strokes (B, K, 13) to a new canvas.

    Raises:
        ValueError: an unknown name.
    """
    if name == "bezier":
        from .bezier import paint  # compiles kernels at its first call, so not at import

        return paint
    if name == "neural":
        from .neural import load_weights

        return load_weights().to(device).paint
    raise ValueError(f"renderer {name!r} is unknown; known: {', '.join(RENDERERS)}")
