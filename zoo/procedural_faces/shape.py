"""Where things are in a face: 68 points that follow identity and age, and how a head is turned.

A face has coordinates of its own: the origin midway between the eyes, x to the picture's right, y
down, z towards the viewer, and as unit the side of a crop which the face just fills.
"""

from collections.abc import Sequence
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from ..procedural.canvas import Place, Points
from .ageing import Ageing
from .expression import Expression, express, gap, parting
from .specs import Person, Scene

UNIT = 0.72
"""A face's unit in sides of the picture, for `Scene.scale` 1."""
CENTRE = (0.5, 0.445)
"""Where the origin of a face lies in the picture."""

_JAW = (  # from the ear to the chin
    (0.425, 0.01),
    (0.42, 0.125),
    (0.407, 0.24),
    (0.378, 0.35),
    (0.334, 0.455),
    (0.268, 0.548),
    (0.189, 0.623),
    (0.1, 0.674),
    (0.0, 0.69),
)
_BROW = ((0.075, -0.108), (0.15, -0.14), (0.228, -0.147), (0.305, -0.128), (0.36, -0.078))
_BRIDGE = ((0.0, -0.02), (0.0, 0.053), (0.0, 0.128), (0.0, 0.204))
_NOSTRILS = ((0.086, 0.255), (0.044, 0.27), (0.0, 0.28))  # from the side to the middle
_EYE = (  # inner corner, over the top, outer corner, back below
    (0.1, 0.008),
    (0.158, -0.039),
    (0.226, -0.041),
    (0.284, -0.004),
    (0.229, 0.022),
    (0.163, 0.023),
)
_LIPS = (  # upper edge from the middle outwards, then the lower edge back to the middle
    (0.0, 0.363),
    (0.045, 0.352),
    (0.11, 0.37),
    (0.17, 0.396),
    (0.113, 0.434),
    (0.05, 0.454),
    (0.0, 0.459),
)
_INNER = ((0.0, 0.396), (0.048, 0.393), (0.148, 0.396), (0.049, 0.401), (0.0, 0.402))
_CROWN = (  # of the skull, from the ear to the top
    (0.428, -0.12),
    (0.418, -0.27),
    (0.375, -0.43),
    (0.28, -0.56),
    (0.15, -0.635),
    (0.0, -0.66),
)


def _template() -> Points:
    """The average adult in the order of iBUG's 68 points (Sagonas et al. 2013)."""

    def left(points: Sequence[Place]) -> list[Place]:
        return [(-x, y) for x, y in points]

    upper, lower = _LIPS[:4], _LIPS[4:]
    points = [
        *left(_JAW),
        *_JAW[-2::-1],
        *left(_BROW)[::-1],
        *_BROW,
        *_BRIDGE,
        *left(_NOSTRILS),
        *_NOSTRILS[1::-1],
        # The left eye begins at its outer corner, the right one at its inner corner.
        *(left(_EYE)[i] for i in (3, 2, 1, 0, 5, 4)),
        *_EYE,
        *left(upper)[::-1],
        *upper[1:],
        *lower,
        *left(lower)[1::-1],
        *left(_INNER[:3])[::-1],
        *_INNER[1:],
        *left(_INNER[3:4]),
    ]
    return np.array(points)


AVERAGE = _template()
_SIDE = np.sign(AVERAGE[:, :1]) * (1.0, 0.0)
"""(68, 2): the way outwards from the middle line."""
JAW, BROWS, BRIDGE, NOSTRILS = slice(0, 17), slice(17, 27), slice(27, 31), slice(31, 36)
EYES = (slice(36, 42), slice(42, 48))
MOUTH = slice(48, 68)
_NOSE = slice(27, 36)


def xy(x: float, y: float) -> Points:
    """A place, or a step from one, (2,)."""
    return np.array((x, y))


def grown(points: Points, strain: float) -> Points:
    """Adult proportions turned into a child's.

    The cardioidal strain of Pittenger and Shaw (1975), r' = r (1 + k (1 - cos t)) with t from the
    vertical, which models how heads grow; scaled so that the breadth at the eyes stays.

    Args:
        points: (..., 2) of an adult.
        strain: k, negative for a child, 0 for an adult.

    Returns:
        The same places of the child.
    """
    radius = np.sqrt((points * points).sum(-1, keepdims=True)) + 1e-9
    factor = (1 + strain * (1 + points[..., 1:] / radius)) / (1 + strain)
    moved: Points = points * factor
    return moved


class Shape:
    """The head of a person at an age.

    Args:
        person: who.
        state: at what age.
        smile: 0 to 1.
        expression: what the face does; None = it rests.

    Attributes:
        points: (68, 2) of the face, not yet turned.
        line: the height at which its lips meet when it rests.
        gap: between them, then.
        crown: (11, 2) outline of the skull from the left ear over the top to the right one.
        grow: how much larger than an adult's a child's face is drawn, as in a crop that faces fill.
        half_width: of the head.
    """

    def __init__(
        self, person: Person, state: Ageing, smile: float, expression: Expression | None = None
    ) -> None:
        self.grow = 1 - 0.7 * state.strain
        adult = AVERAGE.copy()
        _bones(adult, person, state)
        points = grown(adult, state.strain)
        _soften(points, person, state)
        _nose(points, person, state)
        _eyes(points, person, state)
        _mouth(points, person, state, smile)
        _brows(points, person, state)
        self.line, self.gap = parting(points), gap(points)
        self.points = points if expression is None else express(points, expression)
        right = np.array(_CROWN) * (1 + 0.05 * person.face_width, 1 + 0.05 * person.forehead)
        outline = np.concatenate([right[:-1] * (-1, 1), right[::-1]])
        self.crown: Points = grown(outline, state.strain)
        self.half_width = float(self.crown[:, 0].max())
        self._bridge = 1 + 0.3 * person.nose_bridge
        self._tip = float(points[30, 1])
        self._state = state

    def grown(self, points: Sequence[Place] | Points) -> Points:
        """Places given for an adult head at this age."""
        return grown(np.asarray(points, np.float64), self._state.strain)

    def depth(self, points: Points) -> Points:
        """How far towards the viewer the face stands out: (..., ) for (..., 2) places on it."""
        x, y = points[..., 0] / (1.06 * self.half_width), (points[..., 1] - 0.06) / 0.78
        head = 0.4 * np.maximum(1 - x * x - y * y, 0)
        ridge = np.exp(-((points[..., 0] / 0.06) ** 2 + ((points[..., 1] - self._tip) / 0.11) ** 2))
        relief: Points = head + 0.12 * self._bridge * (1 + self._state.strain * 3) * ridge
        return relief


def _bones(points: Points, person: Person, state: Ageing) -> None:
    """Width, jaw, chin and cheekbones; puberty brings out the jaw."""
    jaw = points[JAW]
    x, y = jaw[:, 0].copy(), jaw[:, 1].copy()
    wide = 0.055 * person.face_width
    low = np.clip((y - 0.15) / 0.4, 0, 1) * np.clip((0.75 - y) / 0.12, 0, 1)
    square = 0.07 * person.jaw + 0.05 * person.rugged * (state.puberty - 0.5)
    bony = 0.03 * person.cheekbones * np.exp(-(((y - 0.14) / 0.14) ** 2))
    jaw[:, 0] = x * (1 + wide + square * low + bony)
    jaw[:, 1] = y + np.clip((y - 0.3) / 0.39, 0, 1) * (
        0.035 * person.chin + 0.03 * person.rugged * (state.puberty - 0.5)
    )
    # Broad chins go with square jaws.
    jaw[7:10:2, 0] *= 1 + 0.25 * person.jaw
    points[17:, 0] *= 1 + 0.3 * wide


def _soften(points: Points, person: Person, state: Ageing) -> None:
    """Cheeks full and hollow, jowls: what lies on the bones."""
    jaw = points[JAW]
    y = jaw[:, 1]
    cheek = np.exp(-(((y - 0.3) / 0.2) ** 2))
    full = (
        0.04 * state.puppy_fat
        + 0.05 * person.weight * (0.4 + 0.6 * state.puberty)
        + 0.045 * state.middle
        - 0.075 * state.gaunt
    )
    jaw[:, 0] *= 1 + full * cheek
    # Where the strain has made a child's jaw slender, fat makes it round.
    jaw[:, 0] *= 1 + 0.15 * state.puppy_fat * np.clip((y - 0.1) / 0.3, 0, 1) * np.clip(
        (0.62 - y) / 0.2, 0.5, 1
    )
    jowl = np.exp(-(((y - 0.5) / 0.09) ** 2)) * state.sag
    jaw[:, 0] += _SIDE[JAW, 0] * 0.035 * jowl * (1 + 0.4 * person.weight)
    jaw[:, 1] += 0.022 * jowl


def _nose(points: Points, person: Person, state: Ageing) -> None:
    """Longer and broader with age: cartilage never stops giving way."""
    nose = points[_NOSE]
    top = nose[0, 1]
    nose[:, 1] = top + (nose[:, 1] - top) * (1 + 0.09 * person.nose_length + 0.05 * state.sag)
    young = 0.93 + 0.07 * (1 + state.strain / 0.18)
    nose[:, 0] *= young * (1 + 0.16 * person.nose_width + 0.14 * state.sag)
    nose[3, 1] += 0.01 * state.sag  # the tip drops


def _eyes(points: Points, person: Person, state: Ageing) -> None:
    """Round in children, narrow under heavy lids in the old."""
    size = 1 + 0.1 * person.eye_size
    child = -state.strain / 0.18
    wide = size * (1 + 0.09 * child - 0.09 * state.sag)
    tall = size * (1 + 0.4 * child + 0.18 * person.eye_open - 0.1 * state.puberty * person.rugged)
    adult = AVERAGE.copy()
    for eye, side in zip(EYES, (-1.0, 1.0), strict=True):
        own = adult[eye]
        middle = np.array([side * 0.191, 0.0])
        local = own - middle
        outward = local[:, 0] * side / 0.092
        local = local * (wide, tall)
        upper = own[:, 1] < -0.02
        local[upper, 1] *= 1 - 0.3 * state.sag
        local[:, 1] += outward * (0.009 * state.sag - 0.012 * person.eye_tilt)
        place = middle + xy(side * (0.012 * person.eye_gap + 0.003 * child), 0.006 * child)
        points[eye] = place + local


def _mouth(points: Points, person: Person, state: Ageing, smile: float) -> None:
    """Small in children; lips get thin and corners sink with age."""
    middle = AVERAGE[62] * 0.5 + AVERAGE[66] * 0.5
    local = AVERAGE[MOUTH] - middle
    child = -state.strain / 0.18
    thick = (1 + 0.35 * person.lips) * (1 - 0.45 * state.sag) * (1 - 0.08 * child)
    wide = (1 + 0.1 * person.mouth_width) * (1 - 0.2 * child) * (1 + 0.06 * state.sag)
    corner = np.abs(local[:, 0] / 0.17) ** 2
    local[:, 1] *= thick
    local[:, 0] *= wide * (1 + 0.09 * smile)
    local[:, 1] += corner * (0.018 * state.sag - 0.028 * smile)
    # Lips stretch when they smile.
    local[:, 1] *= 1 - 0.1 * smile
    place = grown(middle[None], state.strain)[0]
    place[1] += 0.014 * person.mouth_height + 0.006 * state.sag
    points[MOUTH] = place + local


def _brows(points: Points, person: Person, state: Ageing) -> None:
    """Brows come down: a ridge grows in puberty, skin sinks later."""
    brows = points[BROWS]
    brows[:, 1] *= 1 + 0.45 * state.strain  # brows rise less than the forehead above them
    across = np.clip((np.abs(brows[:, 0]) - 0.07) / 0.29, 0, 1)
    brows[:, 1] += 0.03 * state.sag * (0.4 + 0.6 * across) - 0.016 * person.brow_height
    brows[:, 1] += 0.012 * person.rugged * (state.puberty - 0.3)
    arch = 0.022 * person.brow_arch * (0.3 + 0.7 * state.puberty) + 0.08 * state.strain
    brows[:, 1] -= arch * np.sin(np.pi * across) - 0.006


class View:
    """From places on a face to the picture.

    Args:
        scene: how the head is held.
        shape: of the head.

    Attributes:
        scale: a face's unit in sides of the picture.
    """

    PIVOT = 0.3
    """Depth of the axis about which heads turn, so that the features stay near the middle."""

    def __init__(self, scene: Scene, shape: Shape) -> None:
        self.scale = UNIT * scene.scale * shape.grow
        self._shape = shape
        self._yaw = cos(scene.yaw), sin(scene.yaw)
        self._pitch = cos(scene.pitch), sin(scene.pitch)
        c, s = cos(scene.roll) * self.scale, sin(scene.roll) * self.scale
        self._turn = np.array([[c, s], [-s, c]])
        # A child's face is larger, but keeps its place as a whole.
        lift = 0.1 * UNIT * scene.scale * (shape.grow - 1)
        self._place = np.array([CENTRE[0] + scene.x, CENTRE[1] + scene.y - lift])

    def __call__(self, points: Sequence[Place] | Points) -> Points:
        """Map (..., 2) places on the face."""
        given = np.asarray(points, np.float64)
        return self.at(given, self._shape.depth(given))

    def at(self, points: Sequence[Place] | Points, depth: float | Points) -> Points:
        """Map (..., 2) places of given depth, as those of ears and hair."""
        given = np.asarray(points, np.float64)
        z = np.asarray(depth) - self.PIVOT
        x = given[..., 0] * self._yaw[0] + z * self._yaw[1]
        y = given[..., 1] * self._pitch[0] + z * self._pitch[1]
        mapped: Points = np.stack([x, y], axis=-1) @ self._turn + self._place
        return mapped


def outline(shape: Shape) -> Points:
    """The face as one closed line: the jaw, then the skull. (28, 2)."""
    line: NDArray[np.float64] = np.concatenate([shape.points[JAW], shape.crown[::-1]])
    return line
