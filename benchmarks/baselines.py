"""What we compare with, rebuilt from published facts: the renderers of Learning to Paint.

Source of the facts: Huang, Heng, Zhou, "Learning to Paint with Model-based Deep Reinforcement
Learning", ICCV 2019, and the behaviour of its public code.
"""

import cv2
import numpy as np
from torch import Tensor, nn

STAMPS = 100


class FullyConvolutionalRenderer(nn.Module):
    """Their neural renderer: four linear layers, then three stages of two 3x3 convolutions.

    11.04 M parameters, 128 x 128 pixels only. Like the original it sees the ten numbers of shape
    and opacity; unlike it, it returns alpha rather than one minus alpha, and reads Eq 6.1's order.
    """

    def __init__(self) -> None:
        super().__init__()
        linear: list[nn.Module] = []
        for wide, wider in ((10, 512), (512, 1024), (1024, 2048), (2048, 4096)):
            linear += [nn.Linear(wide, wider), nn.ReLU()]
        convolutions: list[nn.Module] = []
        for inputs, hidden, outputs in ((16, 32, 32), (8, 16, 16), (4, 8, 4)):
            convolutions += [
                nn.Conv2d(inputs, hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden, outputs, 3, padding=1),
                nn.PixelShuffle(2),
            ]
        self.layers = nn.Sequential(
            *linear, nn.Unflatten(1, (16, 16, 16)), *convolutions, nn.Sigmoid()
        )

    def forward(self, strokes: Tensor, height: int = 128, width: int = 128) -> Tensor:
        """Strokes (N, 13) of Eq 6.1 to alphas (N, 128, 128)."""
        if (height, width) != (128, 128):
            raise ValueError(f"this renderer draws 128 x 128 only, asked for {height} x {width}")
        result: Tensor = self.layers(strokes[:, :10])[:, 0]
        return result


def stamp_alpha(stroke: np.ndarray, size: int = 128) -> np.ndarray:
    """Their exact rasteriser: 100 filled circles on a canvas of twice the size, area-resized.

    Args:
        stroke: (13,) of Eq 6.1, relative control point.
        size: canvas side in pixels.

    Returns:
        (size, size) float32 in [0, 1]; later stamps overwrite earlier ones.
    """
    x0, y0, x1, y1, x2, y2, z0, v0, z1, v1 = stroke[:10].tolist()
    x1, y1 = x0 + (x2 - x0) * x1, y0 + (y2 - y0) * y1
    big = 2 * size
    canvas = np.zeros((big, big), np.float32)
    for i in range(STAMPS):
        t = i / STAMPS
        s = 1 - t
        x = int((s * s * x0 + 2 * s * t * x1 + t * t * x2) * (big - 1) + 0.5)
        y = int((s * s * y0 + 2 * s * t * y1 + t * t * y2) * (big - 1) + 0.5)
        radius = int(1 + (s * z0 + t * z1) * size / 2)
        cv2.circle(canvas, (x, y), radius, s * v0 + t * v1, -1)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
