"""What lies behind birds and flowers: out of focus, paler and less lively than they are."""

import numpy as np
from PIL import Image

from .canvas import Array, Canvas, ellipse, smooth
from .colours import Colour

COARSE = 24
"""Pixels a side of the grid on which the blur is painted before it is enlarged."""

# Top and bottom of the gradient, then the colours of the soft spots upon it.
_PALETTES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((140, 187, 220), (219, 233, 236), (238, 243, 244), (245, 247, 246)),
    ((124, 152, 110), (86, 118, 82), (160, 182, 128), (70, 98, 72), (186, 198, 150)),
    ((150, 140, 170), (240, 200, 165), (246, 214, 176), (214, 164, 160), (250, 226, 190)),
    ((203, 206, 209), (181, 187, 190), (216, 218, 218), (170, 178, 184)),
)


_RIDGE = (-0.2, 0.08, 0.36, 0.64, 0.92, 1.2)


def paint_background(index: int, size: int, rng: np.random.Generator, track: bool) -> Canvas:
    """Begin a picture.

    Args:
        index: into `specs.BACKGROUNDS`.
        size: pixels a side.
        rng: the only source of randomness.
        track: keep account of the parts that will be painted.

    Returns:
        A canvas with the background on it.
    """
    palette = np.array(_PALETTES[index], np.float32) + rng.uniform(-9, 9, 3).astype(np.float32)
    down = np.linspace(0, 1, COARSE, dtype=np.float32)
    gradient = down[:, None] + (down[None] - 0.5) * np.float32(rng.uniform(-0.3, 0.3))
    field = palette[0] + (palette[1] - palette[0]) * np.clip(gradient, 0, 1)[:, :, None]

    count = (5, 16, 7, 6)[index]
    flat = (2.2, 1.0, 2.6, 3.0)[index]  # clouds and mist lie, leaves do not
    x, y = rng.uniform(-0.1, 1.1, (2, count, 1))
    radius = rng.uniform(0.07, 0.2, (count, 1))
    strength = rng.uniform(0.35, 0.85, (count, 1))
    across = np.exp(-(((down - x) / (radius * flat)) ** 2)).astype(np.float32)
    along = (strength * np.exp(-(((down - y) / radius) ** 2))).astype(np.float32)
    spots = along[:, :, None, None] * across[:, None, :, None]
    for spot, colour in zip(spots, rng.integers(2, len(palette), count).tolist(), strict=True):
        field += (palette[colour] - field) * spot
    coarse = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))
    large = coarse.resize((size, size), Image.Resampling.BICUBIC)
    image = np.asarray(large, np.float32).transpose(2, 0, 1) * np.float32(1 / 255)
    canvas = Canvas(np.ascontiguousarray(image), track)
    _details(index, canvas, rng)
    return canvas


def _details(index: int, canvas: Canvas, rng: np.random.Generator) -> None:
    """Discs of light between the leaves and a low sun: what a gradient does not have."""
    if index == 1:
        discs = [
            ellipse(float(x), float(y), float(r), float(r))
            for x, y, r in rng.uniform((0, 0, 0.015), (1, 0.8, 0.05), (7, 3))
        ]
        canvas.paint(canvas.mask(*discs[:4]), _rgb(216, 224, 182), alpha=0.3)
        canvas.paint(canvas.mask(*discs[4:]), _rgb(240, 240, 214), alpha=0.35)
    elif index == 2:
        x, y = rng.uniform((0.1, 0.35), (0.9, 0.7)).tolist()
        for radius, alpha in ((0.15, 0.25), (0.11, 0.4)):
            sun = canvas.mask(ellipse(x, y, radius, radius))
            canvas.paint(sun, _rgb(255, 240, 206), alpha=alpha)
    elif index == 3:
        # Two ranges of hills, the nearer one darker.
        for level, alpha in ((0.52, 0.3), (0.68, 0.35)):
            tops = level + rng.uniform(-0.08, 0.08, 6)
            ridge = smooth([(-0.3, 1.4), *zip(_RIDGE, tops.tolist(), strict=True), (1.3, 1.4)])
            canvas.paint(canvas.mask(ridge), _rgb(150, 161, 168), alpha=alpha)


def vignette(size: int) -> Array:
    """Corners a little darker than the middle, (S, S) float32 factors."""
    across = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    factors: Array = 1 - np.float32(0.07) * (across[:, None] + across[None])
    return factors


def _rgb(*channels: int) -> Colour:
    return np.array(channels, np.float32) * np.float32(1 / 255)
