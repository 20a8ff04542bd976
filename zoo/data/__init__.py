"""Data sets of the zoo in their official layouts."""

from .captioned import Captioned
from .layouts import open_captioned

__all__ = ["Captioned", "open_captioned"]
