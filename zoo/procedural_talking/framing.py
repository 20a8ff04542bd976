"""A drawn head placed as the crop of talking faces shows it, without warping a picture."""

import math
from dataclasses import replace

from ..procedural_faces import FaceSpec, landmarks
from ..talking.geometry import towards


def framed(spec: FaceSpec, age: float) -> FaceSpec:
    """The same person in the crop of `talking.geometry`.

    A drawing is turned, scaled and moved by its scene, so the similarity that brings nose and eyes
    to the template can be drawn instead of applied to pixels: the landmarks stay exact.

    Args:
        spec: who, and how they are seen.
        age: years; nose and eyes of the rest at this age are aligned.

    Returns:
        The same with another roll, size and place.

    Raises:
        ValueError: the age is out of range.
    """
    upright = replace(spec.scene, roll=0.0, scale=1.0, x=0.0, y=0.0)
    turned = towards(landmarks(FaceSpec(spec.person, upright), age), 1).inverse()
    scene = replace(upright, roll=math.radians(turned.angle), scale=turned.scale)
    moved = towards(landmarks(FaceSpec(spec.person, scene), age), 1).inverse()
    return FaceSpec(spec.person, replace(scene, x=moved.right, y=moved.down))
