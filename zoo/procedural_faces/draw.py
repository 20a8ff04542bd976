"""From a person, a scene and an age to a picture, its 68 points and the places of its parts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..procedural.backgrounds import paint_background, vignette
from ..procedural.canvas import Array, Canvas, Mask, Points, clipped, smooth, stroke
from . import features, hair, mouth, skin, wrinkles
from .ageing import Ageing, ageing
from .expression import Expression
from .kept import Anew, Kept
from .relief import WARM_SHADE, blurred, bumps, grooves, lighting
from .shape import CENTRE, UNIT, Shape, View, outline, xy
from .specs import FaceSpec, Scene
from .tones import darker

MIN_SIZE, MAX_SIZE = 32, 1024
PARTS = ("background", "clothes", "skin", "hair", "eyes", "brows", "mouth")
"""What each pixel is made of; the shares add up to 1."""


class Drawn(NamedTuple):
    """A picture and its truth.

    Attributes:
        image: (3, S, S) uint8 RGB.
        landmarks: (68, 2) float32 in iBUG's order, in sides of the picture.
        parts: `PARTS` -> (S, S) float32 in [0, 1], how much of each pixel shows it; they add up
            to 1. Beards are hair, ears and neck are skin.
        box: left, top, right, bottom of the head without its hair, in sides of the picture.
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    parts: dict[str, Array]
    box: tuple[float, float, float, float]


class _Head(NamedTuple):
    state: Ageing
    shape: Shape
    view: View
    expression: Expression | None


def draw(spec: FaceSpec, age: float, size: int, expression: Expression | None = None) -> Drawn:
    """Paint a face.

    Two ages of one specification differ in what age drives and in nothing else: a pixel that is
    all background at both is the same in both.

    Args:
        spec: who, and how they are seen.
        age: 0 to 100 years.
        size: pixels a side, 32 to 1024; the same picture at every size.
        expression: what the face does, as when it talks; None = it rests.

    Returns:
        The picture with its truth.

    Raises:
        ValueError: age or size is out of range.
    """
    head = _head(spec, age, size, expression)
    canvas = _painted(spec, head, size, Anew(), track=True)
    none = np.zeros((size, size), np.float32)
    parts = {name: np.clip(canvas.parts.get(name, none), 0, 1) for name in PARTS[1:]}
    covered = np.sum(list(parts.values()), axis=0, dtype=np.float32)
    rest = np.where(covered > 0, np.clip(1 - covered, 0, np.nextafter(np.float32(1), 0)), 1)
    return Drawn(
        _finished(canvas, spec.scene), _landmarks(head), {PARTS[0]: rest, **parts}, _box(spec, head)
    )


def picture(
    spec: FaceSpec,
    age: float,
    size: int,
    expression: Expression | None = None,
    kept: Kept | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The picture and the landmarks alone, as `draw` gives them, in less time.

    Args:
        spec: who, and how they are seen.
        age: 0 to 100 years.
        size: pixels a side, 32 to 1024.
        expression: what the face does; None = it rests.
        kept: what pictures of one spec, age and size share, from the first of them to the next; it
            takes half of the time. None = nothing.

    Returns:
        (3, S, S) uint8 and (68, 2) float32, whether anything was kept or not.

    Raises:
        ValueError: age or size is out of range.
    """
    head = _head(spec, age, size, expression)
    canvas = _painted(spec, head, size, kept or Anew(), track=False)
    return _finished(canvas, spec.scene), _landmarks(head)


def landmarks(
    spec: FaceSpec, age: float, expression: Expression | None = None
) -> NDArray[np.float32]:
    """The 68 points alone, (68, 2) float32 in sides of the picture.

    Raises:
        ValueError: the age is out of range.
    """
    return _landmarks(_head(spec, age, MIN_SIZE, expression))


def wrinkle_energy(spec: FaceSpec, age: float) -> float:
    """Length times depth of all wrinkles, in a face's unit: 0 or little in children, then rising.

    Raises:
        ValueError: the age is out of range.
    """
    head = _head(spec, age, MIN_SIZE)
    return wrinkles.energy(wrinkles.lines(spec.person, head.state, head.shape, spec.scene.smile))


def untouched(spec: FaceSpec, ages: Sequence[float], size: int) -> NDArray[np.bool_]:
    """Where ages make no difference: what lies outside the face, exactly.

    Args:
        spec: who, and how they are seen.
        ages: at least one.
        size: pixels a side.

    Returns:
        (S, S), True where only the background shows at every one of the ages, or only clothes.

    Raises:
        ValueError: there are no ages, or an argument is out of range.
    """
    if not len(ages):
        raise ValueError("no ages: give at least one")
    behind, clothes = np.ones((2, size, size), np.bool_)
    for age in ages:
        parts = draw(spec, age, size).parts
        behind &= parts["background"] == 1
        clothes &= parts["clothes"] == 1
    return behind | clothes


def _head(spec: FaceSpec, age: float, size: int, expression: Expression | None = None) -> _Head:
    state = ageing(spec.person, age)
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size must be {MIN_SIZE} to {MAX_SIZE} pixels a side, got {size}")
    shape = Shape(spec.person, state, spec.scene.smile, expression)
    return _Head(state, shape, View(spec.scene, shape), expression)


def _landmarks(head: _Head) -> NDArray[np.float32]:
    return head.view(head.shape.points).astype(np.float32)


def _box(spec: FaceSpec, head: _Head) -> tuple[float, float, float, float]:
    ears, _ = features.ears(spec.person, head.state, head.shape, head.view)
    places = np.concatenate([head.view(outline(head.shape)), *ears])
    (left, top), (right, bottom) = np.clip([places.min(0), places.max(0)], 0, 1).tolist()
    return left, top, right, bottom


def _painted(spec: FaceSpec, head: _Head, size: int, kept: Kept, track: bool) -> Canvas:
    person, scene = spec.person, spec.scene
    state, shape, view, expression = head
    rng = np.random.default_rng(scene.clothes)
    own = kept.value("hair", lambda: hair.hair(person, state, shape, view))

    def behind() -> Canvas:
        begun = paint_background(scene.background, size, rng, track)
        hair.paint_back(begun, own, person, state)
        return begun

    canvas = kept.canvas(behind)
    tone = skin.tone(person, state)

    face = canvas.mask(view(smooth(outline(shape))))
    throat = features.neck(person, state, shape, view, scene)
    ears, folds = features.ears(person, state, shape, view)
    # The head as one: neck and ears in the shade of the face.
    whole = canvas.mask(throat, view(smooth(outline(shape))), *ears)
    canvas.paint(whole, tone, part="skin")
    marks = [stroke(fold, 0.014 * view.scale, 0.01 * view.scale) for fold in folds]
    canvas.paint(canvas.mask(*marks), darker(tone, 0.55), alpha=0.6)
    openings = _face(canvas, spec, head, kept, tone)
    _light(canvas, spec, head, whole, face, throat, openings)
    if expression is not None:
        mouth.paint_inside(canvas, view, state, shape, expression)
    kept.paint(canvas, "clothes", lambda on: _clothes(on, scene, rng))
    features.paint_glints(canvas, view, shape, openings, scene.light)
    hair.paint_beard(canvas, view, person, state, shape)
    kept.paint(canvas, "front", lambda on: hair.paint_front(on, own, person, state, scene, view))
    return canvas


def _face(canvas: Canvas, spec: FaceSpec, head: _Head, kept: Kept, tone: Array) -> Mask:
    person, (state, shape, view, expression) = spec.person, head
    kept.paint(canvas, "nose", lambda on: features.paint_nose(on, view, state, shape, tone))
    line = 1.0 if expression is None else mouth.closed(shape)
    features.paint_mouth(canvas, view, person, state, shape, tone, line)

    def eyes(on: Canvas) -> Mask:
        return features.paint_eyes(on, view, person, state, shape, tone)

    blinks = expression is not None and expression.blink > 0
    openings = eyes(canvas) if blinks else kept.paint(canvas, "eyes", eyes)
    young, grey = hair.young_colour(person, state), hair.grey_colour(state)
    young = darker(young, 0.8)
    kept.paint(
        canvas,
        "brows",
        lambda on: features.paint_brows(on, view, person, state, shape, young, grey),
    )
    return openings


def _clothes(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    """A collar at the bottom of the picture: the same at every age."""
    colour = rng.uniform(0.12, 0.85, 3).astype(np.float32)
    drop = float(rng.uniform(0.0, 0.06))
    # Below an adult's chin, from the middle of the collar to beyond the picture, in a face's unit.
    right = [
        (0, 0.93),
        (0.13, 0.86),
        (0.22, 0.7),
        (0.31, 0.67),
        (0.56, 0.73),
        (0.8, 0.85),
        (1, 1.3),
    ]
    half = (np.array(right) + xy(0, drop)) * (UNIT * scene.scale)
    line = smooth(np.concatenate([half[:0:-1] * (-1, 1), half])) + CENTRE + xy(scene.x, scene.y)
    mask = canvas.mask(line)
    canvas.paint(mask, colour, canvas.volume(mask, 0.02, 0.35), part="clothes")


def _light(
    canvas: Canvas,
    spec: FaceSpec,
    head: _Head,
    whole: Mask,
    face: Mask,
    throat: Points,
    openings: Mask,
) -> None:
    """Light and shade upon all that is skin, and on what has been painted on it."""
    person, scene = spec.person, spec.scene
    state, shape, view, _ = head
    size = canvas.size
    if not whole.cover.size:
        return
    unit = view.scale * size
    inner = np.zeros_like(whole.cover)
    top, left = face.rows.start - whole.rows.start, face.columns.start - whole.columns.start
    inner[top : top + face.cover.shape[0], left : left + face.cover.shape[1]] = face.cover
    height = blurred(inner, 0.05 * unit) * np.float32(0.13 * unit)
    places, widths, heights = skin.form(person, state, shape)
    height += bumps(view(places), widths * view.scale, heights * unit, whole, size)
    middle = np.array([[0.0, 0.08]])
    height += bumps(
        view(middle), np.array([[0.36, 0.5]]) * view.scale, np.array([0.34 * unit]), whole, size
    )
    found = wrinkles.lines(person, state, shape, scene.smile)
    groove = (
        grooves(wrinkles.outlines(found, view), [line.depth for line in found], whole, size) * inner
    )
    height -= groove * np.float32(0.012 * unit)
    brightness, shine = lighting(height, scene, 0.75 * (1 - 0.4 * state.spots))
    # The neck lies in the shade of the chin.
    brightness -= np.float32(0.3) * blurred(inner, 0.06 * unit) * (1 - inner)
    factor = skin.marks(person, state, shape, whole, view, size)
    factor *= 1 - np.float32(0.3) * groove
    factor *= 1 + WARM_SHADE * np.minimum(brightness - 1, 0) + np.maximum(brightness - 1, 0)
    weight = whole.cover.copy()
    # Eyes are wet and round: the shade of the skin about them tells little of theirs.
    eyes = clipped(Mask(whole.rows, whole.columns, np.ones_like(weight)), openings)
    weight *= 1 - np.float32(0.55) * eyes.cover
    below = canvas.image[:, whole.rows, whole.columns]
    below *= 1 + weight * (factor - 1)
    below += weight * inner * shine
    np.clip(below, 0, 1, out=below)


def _finished(canvas: Canvas, scene: Scene) -> NDArray[np.uint8]:
    warm = np.float32(0.045 * scene.warmth)
    tint = np.array([1 + warm, 1, 1 - warm], np.float32)[:, None, None]
    values = canvas.image * (vignette(canvas.size) * np.float32(255)) * tint + np.float32(0.5)
    image: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return image
