"""Soft blending of a bundle of strokes (thesis Sec 6.3.2), plain torch, differentiable."""

from torch import Tensor


def compose(canvas: Tensor, colours: Tensor, alphas: Tensor) -> Tensor:
    """C_{t+1} = a_c + (1 - a_r) C_t for each stroke of the bundle in order.

    Args:
        canvas: (B, C, H, W).
        colours: a_c, (B, K, C, H, W), already multiplied by their alpha.
        alphas: a_r, (B, K, H, W) in [0, 1].

    Returns:
        (B, C, H, W), a new tensor.
    """
    for colour, alpha in zip(colours.unbind(1), alphas.unbind(1), strict=True):
        canvas = colour + (1 - alpha[:, None]) * canvas
    return canvas


def bundle(alphas: Tensor, strokes: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """One a_c and one a_r that paint a whole bundle at once: C' = a_c + (1 - a_r) C.

    Args:
        alphas: (B, K, H, W) in [0, 1].
        strokes: (B, K, 13); their colours are used.
        channels: how many of r, g, b.

    Returns:
        a_c (B, C, H, W) and a_r (B, H, W) of the K strokes on top of each other.
    """
    batch, _, height, width = alphas.shape
    colour = strokes[:, :, 10 : 10 + channels, None, None]
    premultiplied = alphas[:, :, None] * colour
    total = compose(alphas.new_zeros(batch, channels, height, width), premultiplied, alphas)
    keep = (1 - alphas).prod(1)
    return total, 1 - keep
