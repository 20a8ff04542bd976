"""The eight colours that parts are named by, how they vary, and the name of a measured colour."""

import colorsys

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float32]
"""(3,) RGB in [0, 1]."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 32, 38),
    "orange": (245, 128, 26),
    "yellow": (250, 214, 54),
    "green": (52, 158, 62),
    "blue": (44, 98, 214),
    "purple": (142, 62, 176),
    "black": (38, 38, 44),
    "white": (244, 243, 238),
}
"""Name -> RGB in 0 to 255. Eight, so that chance is 1/8; told apart in light and shade alike."""
NAMES = tuple(COLOURS)

HUE = 0.011
"""The largest change of hue, in turns."""
GREYS = 0.12
"""A colour of less chroma (largest less smallest channel) is black or white."""


def varied(index: int, rng: np.random.Generator) -> Colour:
    """A colour as one individual has it: a little off in hue, saturation and brightness.

    Args:
        index: of its name in `NAMES`.
        rng: the only source of randomness.

    Returns:
        (3,) float32 RGB in [0, 1].
    """
    shift, pale, dim = rng.uniform(-1, 1, 3).tolist()
    red, green, blue = (channel / 255 for channel in COLOURS[NAMES[index]])
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if NAMES[index] == "black":
        value += 0.04 * dim
        saturation += 0.06 * pale
    elif NAMES[index] == "white":
        value += 0.02 * dim
        saturation += 0.015 * pale
    else:
        hue += HUE * shift
        saturation *= 1 + 0.08 * pale
        value *= 1 + 0.06 * dim
    clipped = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, *clipped), np.float32)


def nearest(colour: Colour) -> int:
    """The name that a measured colour goes by.

    Compared as the eye does, by hue where there is one and by lightness where there is none, so
    that light and shade on a part do not change its name.

    Args:
        colour: (3,) RGB in [0, 1].

    Returns:
        An index into `NAMES`.
    """
    red, green, blue = (float(channel) for channel in colour)
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    chroma = value * saturation
    if chroma < GREYS or saturation < 0.2:
        return NAMES.index("white" if value > 0.5 else "black")
    best, least = 0, 1.0
    for index, name in enumerate(NAMES):
        if name in ("black", "white"):
            continue
        own = colorsys.rgb_to_hsv(*(channel / 255 for channel in COLOURS[name]))[0]
        apart = abs((hue - own + 0.5) % 1.0 - 0.5)
        if apart < least:
            best, least = index, apart
    return best
