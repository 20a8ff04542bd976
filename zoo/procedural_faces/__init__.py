"""Faces drawn by rules: anyone at any age, with exact landmarks, parts and identity."""

from .ageing import Ageing, ageing
from .dataset import face, is_held_out, make_faces, pairs, people, series
from .draw import (
    MAX_SIZE,
    MIN_SIZE,
    PARTS,
    Drawn,
    draw,
    landmarks,
    picture,
    untouched,
    wrinkle_energy,
)
from .expression import Expression, express
from .kept import Kept
from .specs import (
    FRAMINGS,
    OLDEST,
    FaceSpec,
    Person,
    Scene,
    bounds,
    sample,
    sample_person,
    sample_scene,
)

__all__ = [
    "FRAMINGS",
    "MAX_SIZE",
    "MIN_SIZE",
    "OLDEST",
    "PARTS",
    "Ageing",
    "Drawn",
    "Expression",
    "FaceSpec",
    "Kept",
    "Person",
    "Scene",
    "ageing",
    "bounds",
    "draw",
    "express",
    "face",
    "is_held_out",
    "landmarks",
    "make_faces",
    "pairs",
    "people",
    "picture",
    "sample",
    "sample_person",
    "sample_scene",
    "series",
    "untouched",
    "wrinkle_energy",
]
