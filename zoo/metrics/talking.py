"""Figures of talking faces, from frames and landmarks alone (Sec 5.4, evaluation metrics).

| figure                  | floor                     | ceiling                                  |
|-------------------------|---------------------------|------------------------------------------|
| SSIM, PSNR              | the first frame, repeated | 1; 58.9 dB, the rounding of 8 bits       |
| landmark distance (LMD) | the first frame, repeated | the real frames, found a second time     |
| jitter                  |                           | neither: as in the real video            |
| mouth's opening         | 0, by chance              | 1, it opens and closes with the real one |

Most of a face keeps still while it talks, so that a picture which does not move is already near to
the truth: each figure is taken of the whole frame and of the mouth alone. Frame 0 is what the model
is given, and is not measured.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..talking.geometry import MOUTH, mouth_box
from .ageing import landmark_error
from .pixels import WINDOW, ssim

INNER_UPPER, INNER_LOWER = (61, 62, 63), (67, 66, 65)
"""Edges of the opening, the points above and those below them."""
ROUNDING = 1 / (12 * 255**2)
"""Mean square that rounding to 8 bits leaves: frames cannot be told to be nearer than that."""
_PART = 32  # frames at a time: float64 takes eight times the memory
_STILL = 1e-9  # sides, length of a course that does not change


class Region(NamedTuple):
    """Some rows and columns of a picture, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, frames: Tensor) -> Tensor:
        """That part of pictures (..., S, S)."""
        return frames[..., self.top : self.bottom, self.left : self.right]


def mouth_region(landmarks: Tensor, size: int) -> Region:
    """One box for a whole clip, about everywhere that its lips come to.

    Args:
        landmarks: (T, 136) of the real video, x0, y0, x1, y1, ... in sides.
        size: S, pixels a side.

    Returns:
        The box, at least 11 pixels a side (the window of SSIM), within the picture.
    """
    box = mouth_box(landmarks.numpy())

    def ends(first: float, last: float) -> tuple[int, int]:
        start, end = round(first * size), round(last * size)
        start = min(max(0, min(start, (start + end - WINDOW) // 2)), size - WINDOW)
        return start, max(start + WINDOW, min(size, end))

    return Region(*ends(box.top, box.bottom), *ends(box.left, box.right))


def square_error(frames: Tensor, real: Tensor) -> Tensor:
    """Mean square difference of frames.

    Args:
        frames: (T, 3, H, W) uint8.
        real: as `frames`.

    Returns:
        (T,) float64, for pixels in [0, 1].

    Raises:
        ValueError: other shapes or kinds.
    """
    _check(frames, real)
    return ((frames.double() - real.double()) / 255).square().mean((1, 2, 3)).cpu()


def decibels(square: Tensor) -> Tensor:
    """PSNR (Eq 2.10) of mean squares, no more than 58.9 dB: that of rounding to 8 bits.

    Without this end one frame that equals its target would make a mean infinite.
    """
    found: Tensor = -10 * torch.log10(square.clamp(min=ROUNDING))
    return found


def similarity(frames: Tensor, real: Tensor) -> Tensor:
    """SSIM of frames, see `pixels.ssim`.

    Args:
        frames: (T, 3, H, W) uint8.
        real: as `frames`.

    Returns:
        (T,) float64.

    Raises:
        ValueError: other shapes or kinds.
    """
    _check(frames, real)
    pairs = zip(frames.split(_PART), real.split(_PART), strict=True)
    return torch.cat([ssim(a.double() / 255, b.double() / 255).cpu() for a, b in pairs])


def mouth_of(landmarks: Tensor) -> Tensor:
    """The lips (T, 40) of landmarks (T, 136)."""
    lips: Tensor = landmarks.unflatten(1, (-1, 2))[:, list(MOUTH)].flatten(1)
    return lips


def distance(landmarks: Tensor, real: Tensor, size: int) -> Tensor:
    """LMD of each frame: mean Euclidean distance of the points (Chen et al. 2018).

    Args:
        landmarks: (T, 2 K), in sides.
        real: as `landmarks`.
        size: S, pixels a side.

    Returns:
        (T,) float64, in pixels; NaN where either is unknown.
    """
    return landmark_error(landmarks, real, size)


def jitter(landmarks: Tensor, size: int) -> Tensor:
    """Second differences in time: how much points change their speed from frame to frame.

    Args:
        landmarks: (T, 2 K), in sides.
        size: S, pixels a side.

    Returns:
        (T - 2,) float64, mean lengths in pixels; none of fewer than three frames.
    """
    if len(landmarks) < 3:
        return torch.zeros(0, dtype=torch.float64)
    points = landmarks.double().unflatten(1, (-1, 2))
    bends = points[2:] - 2 * points[1:-1] + points[:-2]
    lengths: Tensor = bends.norm(dim=2).mean(1) * size
    return lengths


def opening(landmarks: Tensor) -> Tensor:
    """How far the lips are apart, from the inner edge of one to that of the other.

    Args:
        landmarks: (T, 136), in sides.

    Returns:
        (T,) float64, in sides.
    """
    points = landmarks.double().unflatten(1, (-1, 2))
    apart = points[:, list(INNER_LOWER)] - points[:, list(INNER_UPPER)]
    lengths: Tensor = apart.norm(dim=2).mean(1)
    return lengths


def correlation(values: Tensor, real: Tensor) -> Tensor:
    """Pearson's correlation of two courses.

    Args:
        values: (T,).
        real: (T,).

    Returns:
        () float64 in [-1, 1]; 0 for values that do not change, as they tell nothing; NaN where the
        real ones do not.
    """
    one, two = values.double() - values.double().mean(), real.double() - real.double().mean()
    lengths = one.norm() * two.norm()
    if two.norm() <= _STILL:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return (one @ two) / lengths if one.norm() > _STILL else torch.zeros((), dtype=torch.float64)


def _check(frames: Tensor, real: Tensor) -> None:
    if frames.shape != real.shape or frames.dim() != 4:
        raise ValueError(
            f"frames of shape {tuple(frames.shape)} and {tuple(real.shape)}: expected (T, 3, H, W) "
            "for both"
        )
    if frames.dtype != torch.uint8 or real.dtype != torch.uint8:
        raise ValueError(f"frames must be uint8, got {frames.dtype} and {real.dtype}")
