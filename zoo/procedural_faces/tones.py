"""Colours as they are mixed for faces."""

import numpy as np

from ..procedural.colours import Colour


def rgb(red: float, green: float, blue: float) -> Colour:
    """A colour given as 0 to 255, (3,) RGB in [0, 1]."""
    return np.array((red, green, blue), np.float32) * np.float32(1 / 255)


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """The first colour with a share (0 to 1) of the second."""
    mixed: Colour = first + (second - first) * np.float32(share)
    return mixed


def darker(colour: Colour, brightness: float) -> Colour:
    """A colour at a share of its brightness."""
    dark: Colour = colour * np.float32(brightness)
    return dark
