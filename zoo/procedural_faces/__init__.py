"""Faces drawn by rules: anyone at any age, with exact landmarks, parts and identity."""

from .ageing import Ageing, ageing
from .dataset import face, is_held_out, make_faces, pairs, series
from .draw import PARTS, Drawn, draw, landmarks, picture, untouched, wrinkle_energy
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
    "OLDEST",
    "PARTS",
    "Ageing",
    "Drawn",
    "FaceSpec",
    "Person",
    "Scene",
    "ageing",
    "bounds",
    "draw",
    "face",
    "is_held_out",
    "landmarks",
    "make_faces",
    "pairs",
    "picture",
    "sample",
    "sample_person",
    "sample_scene",
    "series",
    "untouched",
    "wrinkle_energy",
]
