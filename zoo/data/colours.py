"""Name a colour as people name those of birds: the eleven basic terms of Berlin and Kay (1969).

Colours are told apart in CIELAB, where equal distances look about equal. The borders between black,
grey and white and between brown and grey were chosen by how people name the parts of 543 birds
(captions of Reed et al. 2016 for classes 1 to 10 of CUB-200-2011); those between hues lie midway
between the pure colours of sRGB.
"""

import numpy as np
from numpy.typing import NDArray

COLOURS = (
    "black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
)  # fmt: skip

# Linear sRGB to CIE XYZ, D65 (IEC 61966-2-1).
_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_BODY = (35.0, 60.0)  # darker is black, lighter is white
_BEAK = (55.0, 80.0)  # horn shines: people call a beak black that is grey in the picture


def lab(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """From sRGB to CIELAB under D65 (CIE 15).

    Args:
        pixels: (..., 3) uint8 sRGB.

    Returns:
        (..., 3) float64: L* from 0 to 100, a*, b*.
    """
    unit = pixels / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _XYZ.T / _XYZ.sum(1)
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def median(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The colour of a patch: the median of each CIELAB coordinate, blind to a few odd pixels.

    Args:
        pixels: (N, 3) uint8 sRGB, N >= 1.

    Returns:
        (3,) L*, a*, b*.
    """
    middle: NDArray[np.float64] = np.median(lab(pixels), axis=0)
    return middle


def name(colour: NDArray[np.float64], beak: bool = False) -> str:
    """Name a colour.

    Args:
        colour: (3,) L*, a*, b*.
        beak: of a beak, which people name otherwise: hardly ever brown, and black while it shines.

    Returns:
        One of `COLOURS`.
    """
    light, a, b = (float(value) for value in colour)
    chroma = float(np.hypot(a, b))
    hue = float(np.degrees(np.arctan2(b, a))) % 360
    if _is_neutral(light, chroma, hue, beak):
        dark, pale = _BEAK if beak else _BODY
        return "black" if light < dark else "white" if light > pale else "grey"
    if beak and 15 < hue < 80 and chroma > 22 and light > 38:
        if hue < 35 and chroma > 35 and light < 60:
            return "red"
        return "orange" if hue < 74 else "yellow"
    if hue < 47 or hue >= 342:
        return _reddish(light, chroma, hue)
    if hue < 110:
        return _yellowish(light, chroma, hue)
    if hue < 200:
        return "green"
    if hue < 308:
        return "blue"
    return "pink" if light > 58 else "purple"


def _is_neutral(light: float, chroma: float, hue: float, beak: bool) -> bool:
    """Whether a colour counts as black, grey or white."""
    if light < 10 or (beak and chroma < 14):
        return True
    if 110 <= hue < 340:  # grey feathers mirror the sky and the leaves
        return chroma < 17 or (light < 22 and chroma < 25)
    if chroma < 6 + 0.03 * light:
        return True
    cream = 24 if hue >= 47 and hue < 110 else 18
    return light > 75 and chroma < cream


def _reddish(light: float, chroma: float, hue: float) -> str:
    if light > 62 and chroma < 55:
        return "pink" if hue < 40 or hue >= 342 else "brown"
    if chroma >= (38 if 30 < hue < 47 else 30):
        return "red"
    return "pink" if light > 50 and (hue < 30 or hue >= 342) else "brown"


def _yellowish(light: float, chroma: float, hue: float) -> str:
    if hue < 78:
        return "orange" if chroma >= 45 and light >= 45 else "brown"
    if chroma >= 26 and light >= 60:
        return "yellow"
    if hue >= 82 and chroma >= 36 and light >= 42:
        return "yellow"
    return "green" if hue >= 103 and chroma >= 16 else "brown"
