"""Random pictures: smooth backgrounds with shapes on them, drawn from nothing but a seed.

They stand in for photos where none are at hand. Sizes are fractions of the picture, so the same
draw gives the same picture at every resolution.
"""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

FEWEST_SHAPES, MOST_SHAPES = 3, 9
LARGEST_WAVE = 4
HALF = np.float32(0.5)


def picture(rng: np.random.Generator, height: int, width: int) -> Image:
    """Draw one picture.

    Args:
        rng: the only source of randomness.
        height: rows.
        width: columns.

    Returns:
        (height, width, 3) float32 in [0, 1].
    """
    # Pixel centres; the shorter side has length 1.
    short = min(height, width)
    y: Image = ((np.arange(height, dtype=np.float32) + HALF) / np.float32(short))[:, None]
    x: Image = ((np.arange(width, dtype=np.float32) + HALF) / np.float32(short))[None, :]
    frame = np.array([height / short, width / short], dtype=np.float32)

    image = gradient(rng, y / frame[0], x / frame[1])
    image += waves(rng, y, x)
    np.clip(image, 0, 1, out=image)
    for _ in range(rng.integers(FEWEST_SHAPES, MOST_SHAPES + 1)):
        _add_shape(rng, image, y, x, frame)
    return np.clip(image, 0, 1, out=image)


def gradient(rng: np.random.Generator, y: Image, x: Image) -> Image:
    """Four corner colours of one palette, blended.

    Args:
        rng: the only source of randomness.
        y: (H, 1) from 0 to 1, down.
        x: (1, W) from 0 to 1, across.

    Returns:
        (H, W, 3).
    """
    corners = palette(rng, 4)
    left = corners[0] + (corners[1] - corners[0]) * y[..., None]  # (H, 1, 3)
    right = corners[2] + (corners[3] - corners[2]) * y[..., None]
    blend: Image = left + (right - left) * x[..., None]
    return blend


def waves(rng: np.random.Generator, y: Image, x: Image) -> Image:
    """A few low frequencies that break a gradient's evenness.

    Args:
        rng: the only source of randomness.
        y: (H, 1), down, in units of the shorter side.
        x: (1, W), across.

    Returns:
        (H, W, 3) to be added.
    """
    frequency = uniform(rng, -LARGEST_WAVE, LARGEST_WAVE, (3, 2))
    phase = uniform(rng, 0, 2 * np.pi, 3)
    tint = uniform(rng, -0.08, 0.08, (3, 3))
    total = np.zeros((y.shape[0], x.shape[1], 3), dtype=np.float32)
    for (fy, fx), shift, colour in zip(frequency, phase, tint, strict=True):
        total += np.sin(np.pi * (fy * y + fx * x) + shift)[..., None] * colour
    return total


def _add_shape(rng: np.random.Generator, image: Image, y: Image, x: Image, frame: Image) -> None:
    """Blend one ellipse, rectangle, ring or soft blob into the image, in place."""
    kind = rng.integers(4)
    centre = uniform(rng, 0, 1, 2) * frame
    # Large shapes first would be tidier; a wide range of sizes in any order is more varied.
    radii = np.exp(uniform(rng, np.log(0.03), np.log(0.5), 2))
    angle = uniform(rng, 0, np.pi, 1)[0]
    opacity = uniform(rng, 0.6, 1, 1)[0]
    colours = palette(rng, 2)
    ring = uniform(rng, 0.4, 0.8, 1)[0]

    reach = float(np.hypot(*radii)) * (2 if kind == 3 else 1.1)
    rows = span(y[:, 0], float(centre[0]), reach)
    columns = span(x[0], float(centre[1]), reach)
    if rows.start == rows.stop or columns.start == columns.stop:
        return
    dy, dx = y[rows] - centre[0], x[:, columns] - centre[1]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = (dx * cos + dy * sin) / radii[0], (dy * cos - dx * sin) / radii[1]

    pixel = y[1, 0] - y[0, 0] if len(y) > 1 else np.float32(1)
    sharpness = min(radii) / pixel  # edges are one pixel wide
    round_distance = np.sqrt(u * u + v * v)
    if kind == 0:
        cover = edge(1 - round_distance, sharpness)
    elif kind == 1:
        cover = edge(1 - np.maximum(np.abs(u), np.abs(v)), sharpness)
    elif kind == 2:
        band = np.minimum(1 - round_distance, round_distance - ring)
        cover = edge(band, sharpness)
    else:
        cover = np.exp(-2 * round_distance * round_distance)
    cover = (cover * opacity)[..., None]
    fill = colours[0] + (colours[1] - colours[0]) * np.clip(0.5 + 0.5 * u, 0, 1)[..., None]
    image[rows, columns] += cover * (fill - image[rows, columns])


def edge(inside: Image, sharpness: np.float32) -> Image:
    """How much of each pixel lies inside a shape.

    Args:
        inside: distance to the shape's edge in any unit, positive inside.
        sharpness: pixels in one unit, so that edges are one pixel wide.

    Returns:
        The same shape, in [0, 1].
    """
    cover: Image = np.clip(inside * sharpness + HALF, 0, 1)
    return cover


def span(positions: Image, centre: float, reach: float) -> slice:
    """The pixels that lie within reach of a place.

    Args:
        positions: (N,) pixel centres, ascending.
        centre: the place.
        reach: distance, the same unit.

    Returns:
        A slice, empty if there are none.
    """
    first, last = np.searchsorted(positions, (centre - reach, centre + reach))
    return slice(int(first), int(last))


def palette(rng: np.random.Generator, count: int) -> Image:
    """Colours around one common hue: natural pictures have related colours.

    Args:
        rng: the only source of randomness.
        count: N.

    Returns:
        (N, 3) in [0, 1].
    """
    base = uniform(rng, 0.1, 0.9, 3)
    colours: Image = np.clip(base + uniform(rng, -0.35, 0.35, (count, 3)), 0, 1)
    return colours


def uniform(
    rng: np.random.Generator, low: float, high: float, shape: int | tuple[int, ...]
) -> Image:
    """Uniform float32 numbers.

    Args:
        rng: the only source of randomness.
        low: the least.
        high: the most.
        shape: of the result.

    Returns:
        float32 of that shape.
    """
    return (low + (high - low) * rng.random(shape, dtype=np.float32)).astype(np.float32)
