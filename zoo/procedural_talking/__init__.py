"""Drawn faces that talk: sentences with exact landmarks, words and sounds of every frame."""

from .dataset import OLDEST, YOUNGEST, Take, make_clips, speaker, take
from .film import blinks, expressions, film
from .framing import framed
from .visemes import NUMBERS, VISEMES, Target, tracks

__all__ = [
    "NUMBERS",
    "OLDEST",
    "VISEMES",
    "YOUNGEST",
    "Take",
    "Target",
    "blinks",
    "expressions",
    "film",
    "framed",
    "make_clips",
    "speaker",
    "take",
    "tracks",
]
