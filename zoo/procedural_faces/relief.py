"""Light on a face: its form as a sum of soft bumps, and how a lamp shows it.

A bump is a Gaussian whose axes lie along the picture's, so that the sum of a hundred of them is one
product of two small matrices.
"""

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
from PIL import Image, ImageDraw

from ..procedural.canvas import Array, Mask, Points
from .specs import Scene

WARM_SHADE = np.array([0.82, 1.0, 1.06], np.float32)[:, None, None]
"""Shade takes less of red: light wanders through skin."""
FINEST = 0.4
"""Pixels: no bump is narrower, so that it is seen alike at every size."""


def bumps(places: Points, widths: Points, heights: Points, window: Mask, size: int) -> Array:
    """The sum of some Gaussians.

    Args:
        places: (K, 2) of their tops in the picture.
        widths: (K, 2) standard deviations across and down, in sides of the picture.
        heights: (K,) in any unit.
        window: the part of the picture that is wanted.
        size: pixels a side of the whole picture.

    Returns:
        (h, w) float32.
    """
    sigma = np.sqrt((widths * size) ** 2 + FINEST**2)
    # A bump that had to be widened keeps its volume.
    peaks = heights * np.prod(widths * size / sigma, axis=-1)
    x = np.arange(window.columns.start, window.columns.stop) + 0.5
    y = np.arange(window.rows.start, window.rows.stop) + 0.5
    across = (x - places[:, :1] * size) / sigma[:, :1]
    down = (y - places[:, 1:] * size) / sigma[:, 1:]
    columns = np.exp((-0.5 * across * across).astype(np.float32))
    rows = np.exp((-0.5 * down * down).astype(np.float32)) * peaks.astype(np.float32)[:, None]
    total: Array = rows.T @ columns
    return total


def blurred(plane: Array, radius: float) -> Array:
    """A plane under a Gaussian; what lies at its borders goes on beyond them.

    Args:
        plane: (h, w).
        radius: standard deviation in pixels.

    Returns:
        (h, w) float32.
    """
    down, across = (_gaussian(length, max(radius, 0.3)) for length in plane.shape)
    rows: Array = down @ plane
    soft: Array = rows @ across.T
    return soft


def feathered(mask: Mask, radius: float, size: int) -> Mask:
    """A mask with soft edges, which reach beyond its own.

    Args:
        mask: of the shape.
        radius: of the blur, in sides of the picture.
        size: pixels a side of the whole picture.

    Returns:
        A mask on a larger part of the picture.
    """
    if not mask.cover.size:
        return mask
    pad = ceil(4 * radius * size)
    rows = slice(max(mask.rows.start - pad, 0), min(mask.rows.stop + pad, size))
    columns = slice(max(mask.columns.start - pad, 0), min(mask.columns.stop + pad, size))
    cover = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    top, left = mask.rows.start - rows.start, mask.columns.start - columns.start
    cover[top : top + mask.cover.shape[0], left : left + mask.cover.shape[1]] = mask.cover
    return Mask(rows, columns, np.minimum(blurred(cover, radius * size), 1))


def _gaussian(length: int, radius: float) -> Array:
    steps = np.arange(length, dtype=np.float32)
    away = steps - steps[:, None]
    reach = ceil(4 * radius)  # a blur ends somewhere: beyond it a picture stays as it is
    half_bell = np.exp(np.arange(reach + 1) ** 2 * (-0.5 / radius**2))
    weights: Array = np.exp(away * away * np.float32(-0.5 / radius**2))
    weights *= np.float32(1 / (2 * half_bell.sum() - 1))
    weights *= np.abs(away) <= reach
    beyond = 1 - weights.sum(1)
    beyond *= beyond > 1e-5
    half = length // 2
    weights[:half, 0] += beyond[:half]
    weights[half:, -1] += beyond[half:]
    return weights


def grooves(outlines: Points, depths: Sequence[float], window: Mask, size: int) -> Array:
    """Thin lines, each of its own depth.

    Args:
        outlines: (M, N, 2) of the lines in the picture.
        depths: M from 0 to 1; where lines cross, the deeper one shows.
        window: the part of the picture that is wanted.
        size: pixels a side of the whole picture.

    Returns:
        (h, w) float32, 0 to 1, soft at the edges.
    """
    height, width = window.cover.shape
    fine = max(2, min(8, ceil(384 / size)))
    plane = Image.new("L", (width * fine, height * fine))
    pen = ImageDraw.Draw(plane)
    corner = (window.columns.start * fine + 0.5, window.rows.start * fine + 0.5)
    corners = (outlines * (size * fine) - corner).reshape(len(depths), -1).tolist()
    for depth, outline in sorted(zip(depths, corners, strict=True)):
        pen.polygon(outline, fill=round(255 * depth))
    cover = np.frombuffer(plane.reduce(fine).tobytes(), np.uint8).reshape(height, width)
    return blurred(cover * np.float32(1 / 255), 0.0045 * size)


def lamp(scene: Scene) -> tuple[float, float, float]:
    """Unit vector towards the light: x right, y down, z to the viewer."""
    x, y, z = 0.75 * scene.light, -0.25 - 0.5 * scene.height, 1.0
    length = sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


def lighting(height: Array, scene: Scene, gloss: float) -> tuple[Array, Array]:
    """Brightness and shine of a surface.

    Args:
        height: (h, w) in pixels.
        scene: gives the light.
        gloss: of the surface, 0 (dull) to 1.

    Returns:
        (h, w) factors, 1 where the surface faces the viewer, and (h, w) light that is added to all
        channels.
    """
    right, down = np.zeros_like(height), np.zeros_like(height)
    right[:, 1:-1] = (height[:, 2:] - height[:, :-2]) * np.float32(0.5)
    down[1:-1] = (height[2:] - height[:-2]) * np.float32(0.5)
    x, y, z = lamp(scene)
    towards = z - np.float32(x) * right - np.float32(y) * down
    steep = right * right
    steep += down * down
    steep += 1
    towards /= np.sqrt(steep)
    # Light bends a little around the edge of its reach.
    soft = np.maximum(towards * np.float32(0.8) + np.float32(0.2), 0.03)
    soft *= np.float32(1 / (0.8 * z + 0.2))
    strength = np.float32(0.5 + 0.4 * scene.contrast)
    brightness = 1 + strength * (soft - 1)
    # Half way between lamp and viewer lies what a mirror would show (Blinn 1977).
    length = sqrt(2 + 2 * z)
    mirror = (z + 1 - np.float32(x) * right - np.float32(y) * down) / np.sqrt(steep)
    mirror *= np.float32(1 / length)
    mirror = np.maximum(mirror, 0)
    for _ in range(4):  # to the power of 16
        mirror *= mirror
    shine: Array = mirror * np.float32(gloss * (0.1 + 0.12 * scene.contrast))
    return brightness, shine
