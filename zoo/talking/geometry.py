"""The crop that talking faces are seen in: the head held still, so that only expression moves.

The thesis crops its videos "to 128x128 by aligning to the landmarks" (Sec 5.4). Here each frame is
brought by a similarity to one template, after what speech does not move in a face. Pixel
coordinates are as in `face_geometry`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from .. import face_template
from ..face_geometry import POINTS, Pixels, Points, Similarity, checked, fit

SIZE = 128
"""Pixels a side of the crop."""
SHRINK, RIGHT, DOWN = 0.71, 0.152, 0.157
"""Where a crop of `face_geometry.align` comes to lie in this one: x' = SHRINK x + RIGHT, in shares.

Measured on speaker s1 of GRID (Cooke et al. 2006) in crops around its detected face: 0.69, 0.16 and
0.18. A little larger, so that the borders of such crops stay outside while the head moves; the
speaker's chin, lower than the average one's, has room to open the mouth.
"""
TEMPLATE: NDArray[np.float64] = SHRINK * face_template.TEMPLATE + (RIGHT, DOWN)
"""(68, 2) where the average face is, as shares of the crop's side."""
TEMPLATE.flags.writeable = False

STEADY = (0, 1, 2, 14, 15, 16, *range(27, 36), 36, 39, 42, 45)
"""Landmarks that neither speech nor blinking moves: nose, corners of the eyes, sides of the face.

With the sides, which the usual eyes and nose lack, a head that turns a little stays in its place:
in four clips of GRID they take a quarter off what is left of the movement of the whole frame.
"""
MOUTH = tuple(range(48, 68))
"""Landmarks of the lips, outer then inner edge."""
STILL = 2.0
"""Frames, standard deviation of the Gaussian weights that smooth the movement of a head."""

_SHARP = 0.75
"""Down to this scale bicubic interpolation serves; below, several samples to a pixel are taken."""


class Box(NamedTuple):
    """A part of the crop, as shares of its side; right and bottom are just outside."""

    left: float
    top: float
    right: float
    bottom: float


def place(image: Pixels, landmarks: ArrayLike, size: int = SIZE) -> tuple[Pixels, Similarity]:
    """Cut one face out as the frames of a clip are: `stabilise` of a single frame.

    Args:
        image: (H, W, 3) uint8, such as a photo.
        landmarks: (68, 2) pixels of the image.
        size: pixels a side of the crop.

    Returns:
        (size, size, 3) uint8, and the mapping from the image to it.

    Raises:
        ValueError: landmarks of another shape, not finite, or all the same point.
    """
    transform = towards(landmarks, size).inverse()
    return sharp_warp(image, transform, size), transform


def towards(landmarks: ArrayLike, size: int = SIZE) -> Similarity:
    """The mapping from the crop to a picture with a face.

    Fitted in this direction, since it is then linear in the landmarks: to smooth it is to smooth
    them.

    Args:
        landmarks: (68, 2) pixels of the picture.
        size: pixels a side of the crop.

    Returns:
        From pixels of the crop to those of the picture.

    Raises:
        ValueError: landmarks of another shape, not finite, or with the eyes and nose in one point.
    """
    points = checked(landmarks)[STEADY, :]
    if np.ptp(points, axis=0).max() < 1e-6:
        raise ValueError("landmarks whose eyes and nose are one point cannot be aligned")
    return fit(TEMPLATE[STEADY, :] * size, points)


def stabilise(
    frames: NDArray[np.uint8], landmarks: ArrayLike, size: int = SIZE, still: float = STILL
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Take the movement of the head out of a clip.

    Where the crop reaches over the border of a frame, the border's pixels are repeated.

    Args:
        frames: (T, H, W, 3) uint8.
        landmarks: (T, 68, 2) pixels of the frames.
        size: pixels a side of the crop.
        still: frames, how much the movement is smoothed; 0 follows each frame's landmarks, and
            their errors with them.

    Returns:
        (T, size, size, 3) uint8, and the landmarks in them, (T, 136) float32, as shares of the
        side.

    Raises:
        ValueError: shapes that do not belong together, or landmarks that cannot be aligned.
    """
    points = np.asarray(landmarks, np.float64)
    if frames.ndim != 4 or frames.shape[3] != 3 or points.shape != (len(frames), POINTS, 2):
        raise ValueError(
            f"frames {frames.shape} and landmarks {points.shape}: expected (T, H, W, 3) and "
            f"(T, {POINTS}, 2)"
        )
    crops = np.empty((len(frames), size, size, 3), np.uint8)
    moved = np.empty((len(frames), 2 * POINTS), np.float32)
    for row, transform in enumerate(transforms(points, size, still)):
        crops[row] = sharp_warp(frames[row], transform, size)
        moved[row] = transform(points[row]).ravel() / size
    return crops, moved


def transforms(landmarks: Points, size: int = SIZE, still: float = STILL) -> list[Similarity]:
    """The mapping from each frame of a clip to the crop, smoothed over time.

    Args:
        landmarks: (T, 68, 2) pixels of the frames, T >= 1.
        size: pixels a side of the crop.
        still: see `stabilise`.

    Returns:
        T mappings.

    Raises:
        ValueError: landmarks that cannot be aligned.
    """
    ways = [towards(points, size) for points in landmarks]
    values = np.array([(way.a, way.b, way.right, way.down) for way in ways])
    if still > 0 and len(values) > 1:
        values = _smoother(len(values), still) @ values
    return [Similarity(*row).inverse() for row in values.tolist()]


def _smoother(count: int, width: float) -> NDArray[np.float64]:
    """(T, T) local linear regression with Gaussian weights (Cleveland 1979).

    Away from the ends it is the Gaussian filter; at the ends, where that would lag behind, it still
    keeps even movement as it is.
    """
    apart = np.arange(count) - np.arange(count)[:, None]
    weight = np.exp(-0.5 * (apart / width) ** 2)
    zeroth, first, second = ((weight * apart**power).sum(1, keepdims=True) for power in range(3))
    smoother: NDArray[np.float64] = weight * (second - first * apart) / (zeroth * second - first**2)
    return smoother


def sharp_warp(image: Pixels, transform: Similarity, size: int, sharp: bool = True) -> Pixels:
    """Map an image with bicubic interpolation, which keeps fine detail that a linear one blurs.

    Args:
        image: (H, W, 3) uint8; its border is repeated outside.
        transform: from its pixels to those of the result.
        size: pixels a side of the result.
        sharp: False interpolates linearly, faster and a little coarser.

    Returns:
        (size, size, 3) uint8.
    """
    # What is far too large is averaged in blocks first, the rest by several samples to a pixel.
    block = max(1, int(0.5 / transform.scale))
    samples = 1 if transform.scale * block >= _SHARP else 2
    back = transform.inverse()
    corners = back(np.array([(0, 0), (size, 0), (0, size), (size, size)]))
    margin = 3 * block
    left, top = (np.floor(corners.min(0)) - margin).astype(int).tolist()
    right, bottom = (np.ceil(corners.max(0)) + margin).astype(int).tolist()
    # Rows and columns by their nearest inside: what is needed is cut out and bordered in one step.
    rows = np.arange(top, bottom).clip(0, image.shape[0] - 1)
    columns = np.arange(left, right).clip(0, image.shape[1] - 1)
    part = image[rows[:, None], columns]
    here = back.then(-left, -top)
    matrix = np.array([here.a, -here.b, here.right, here.b, here.a, here.down]) / block
    matrix[[0, 1, 3, 4]] /= samples
    coefficients = tuple(matrix.tolist())
    if not sharp:
        return np.asarray(_warped(part, coefficients, size, block, samples))
    # By channels in floats: with bytes Pillow cuts fractions off, half a step of grey on average.
    planes = part.astype(np.float32)
    channels = [
        np.asarray(_warped(planes[:, :, channel], coefficients, size, block, samples))
        for channel in range(3)
    ]
    return np.asarray(np.rint(np.dstack(channels).clip(0, 255)), np.uint8)


def _warped(
    part: NDArray[np.generic],
    coefficients: tuple[float, ...],
    size: int,
    block: int,
    samples: int,
) -> Image.Image:
    """Floats are interpolated bicubically, bytes linearly."""
    image = Image.fromarray(part)
    if block > 1:
        image = image.reduce(block)
    warped = image.transform(
        (size * samples, size * samples),
        Image.Transform.AFFINE,
        coefficients,
        Image.Resampling.BICUBIC if image.mode == "F" else Image.Resampling.BILINEAR,
    )
    return warped.reduce(samples) if samples > 1 else warped


def mouth_box(landmarks: ArrayLike, margin: float = 0.25) -> Box:
    """Where the mouth is.

    Args:
        landmarks: (136,) as shares of the crop's side, or (T, 136): of all of a clip's frames.
        margin: added on each side, as a share of the mouth's width.

    Returns:
        The smallest box around the lips and the margin, cut at the borders of the crop.

    Raises:
        ValueError: not (..., 136).
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape[-1:] != (2 * POINTS,):
        raise ValueError(f"landmarks {points.shape}: expected (..., {2 * POINTS})")
    lips = points.reshape(-1, POINTS, 2)[:, MOUTH].reshape(-1, 2)
    low, high = lips.min(0), lips.max(0)
    edge = margin * float(high[0] - low[0])
    (left, top), (right, bottom) = np.clip([low - edge, high + edge], 0, 1).tolist()
    return Box(left, top, right, bottom)


def opening(landmarks: Tensor) -> Tensor:
    """How far the lips are apart, (..., 136) to (...,), a share of the side (points 62 and 66)."""
    points = landmarks.unflatten(-1, (POINTS, 2))
    gap: Tensor = points[..., 66, 1] - points[..., 62, 1]
    return gap
