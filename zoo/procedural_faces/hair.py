"""Hair and beards: a band between the hairline and the outer edge, filled with single strands."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..procedural.canvas import Array, Canvas, Mask, Points, clipped, part_of, smooth, stroke, toned
from ..procedural.colours import Colour
from .ageing import Ageing, ramp
from .relief import blurred, feathered, lighting
from .shape import Shape, View
from .specs import BEARDS, HAIR_COLOURS, HAIR_STYLES, Person, Scene
from .tones import blend, darker, rgb

Half = tuple[tuple[float, float], ...]
GREY = (188, 187, 186)
WHITE = (232, 231, 228)


class Style(NamedTuple):
    """One half of a haircut on an adult's head, from the middle of the top downwards.

    Attributes:
        outer: silhouette.
        inner: hairline, as many places.
        flow: 0 for strands across the band, 1 for strands along it: in the middle and at the sides.
        curl: how much they wave.
    """

    outer: Half
    inner: Half
    flow: tuple[float, float]
    curl: float


STYLES = {
    "cropped": Style(
        ((0.0, -0.735), (0.22, -0.69), (0.385, -0.53), (0.452, -0.29), (0.446, -0.03)),
        ((0.0, -0.43), (0.19, -0.425), (0.3, -0.35), (0.36, -0.2), (0.41, -0.01)),
        (0.0, 0.2),
        0.1,
    ),
    "parted": Style(
        ((0.0, -0.79), (0.26, -0.74), (0.43, -0.55), (0.47, -0.28), (0.45, 0.02)),
        ((0.0, -0.41), (0.2, -0.39), (0.31, -0.31), (0.37, -0.16), (0.412, 0.03)),
        (0.6, 0.5),
        0.15,
    ),
    "bob": Style(
        ((0.0, -0.76), (0.28, -0.7), (0.47, -0.46), (0.54, -0.02), (0.49, 0.5)),
        ((0.0, -0.225), (0.15, -0.22), (0.28, -0.2), (0.365, 0.02), (0.385, 0.48)),
        (0.0, 1.0),
        0.05,
    ),
    "long": Style(
        ((0.0, -0.75), (0.28, -0.69), (0.47, -0.44), (0.53, 0.0), (0.57, 0.85)),
        ((0.0, -0.47), (0.15, -0.41), (0.3, -0.22), (0.39, 0.05), (0.4, 0.85)),
        (1.0, 1.0),
        0.3,
    ),
    "curly": Style(
        ((0.0, -0.86), (0.34, -0.78), (0.56, -0.5), (0.6, -0.14), (0.52, 0.2)),
        ((0.0, -0.4), (0.18, -0.385), (0.3, -0.31), (0.37, -0.12), (0.42, 0.14)),
        (0.3, 0.3),
        1.0,
    ),
    "tied": Style(
        ((0.0, -0.715), (0.22, -0.67), (0.38, -0.5), (0.447, -0.27), (0.44, -0.03)),
        ((0.0, -0.45), (0.18, -0.42), (0.29, -0.35), (0.355, -0.2), (0.405, -0.01)),
        (0.0, 0.0),
        0.0,
    ),
    "shaved": Style(
        ((0.0, -0.685), (0.16, -0.66), (0.3, -0.565), (0.425, -0.3), (0.436, -0.05)),
        ((0.0, -0.43), (0.19, -0.425), (0.3, -0.35), (0.36, -0.2), (0.412, -0.03)),
        (0.0, 0.0),
        0.0,
    ),
}
_BABY = Style(
    ((0.0, -0.69), (0.17, -0.665), (0.32, -0.56), (0.432, -0.3), (0.432, -0.06)),
    ((0.0, -0.5), (0.17, -0.48), (0.3, -0.4), (0.375, -0.24), (0.415, -0.05)),
    (0.0, 0.0),
    0.2,
)
_BALD = ((0.0, -0.7), (0.17, -0.672), (0.325, -0.55), (0.415, -0.26), (0.418, -0.02))
"""The hairline of one who has lost what grew above it."""
STRANDS = 120


class Hair(NamedTuple):
    """A head of hair in the picture.

    Attributes:
        front: outline of what lies before the head.
        back: outline of what lies behind it; None where the front is all.
        strands: (M, 2 N, 2) outlines.
        turned: (M,) 0 to 1; strands below the share of grey hairs are grey.
        tones: (M,) of each strand, about 1.
    """

    front: Points
    back: Points | None
    strands: Points
    turned: Points
    tones: Points


def young_colour(person: Person, state: Ageing) -> Colour:
    """Hair before it turns grey: lighter in children."""
    base = rgb(*HAIR_COLOURS[person.hair_colour])
    if person.hair_colour == 0:
        return base  # black is black from the first
    return blend(base, rgb(204, 158, 107), 0.28 * state.puppy_fat)


def grey_colour(state: Ageing) -> Colour:
    """A hair that has turned: whiter in the very old."""
    return blend(rgb(*GREY), rgb(*WHITE), state.spots)


def hair(person: Person, state: Ageing, shape: Shape, view: View) -> Hair:
    """Where the hair of a person lies."""
    name = HAIR_STYLES[person.hair_style]
    style = STYLES[name]
    rng = np.random.default_rng((person.style, 4))
    grown = np.array((style.outer, style.inner))
    baby = grown if name == "shaved" else np.array((_BABY.outer, _BABY.inner))
    half = baby + (grown - baby) * state.length  # (2, 5, 2): outer and inner line, from the middle
    half[1, :, 1] -= 0.02 * person.forehead * np.array([1, 1, 0.8, 0.3, 0])
    # The temples go first, then the middle; what is left lies flat.
    gone = state.recession
    share = np.array([gone**power for power in (0.6, 0.6, 0.75, 0.95, 1.15)])[:, None]
    half[1] += (np.array(_BALD) - half[1]) * 0.96 * share
    flat = gone * np.array([0.9, 0.85, 0.6, 0.2, 0.1])[:, None]
    if state.length == 1:  # the thin hair of the old lies flatter too
        flat = flat + 0.1 * (1 - state.density)
    half[0] += (np.array(STYLES["shaved"].outer) - half[0]) * flat
    half[..., 0] *= 1 + 0.9 * (shape.half_width / 0.428 - 1)
    both = np.concatenate([half[:, :0:-1] * (-1, 1), half], axis=1)  # (2, 9, 2), left to right
    part = 0.12 * person.parting * state.length
    both[1, 3:6, 0] += part * np.array([0.6, 1, 0.6])
    if style.flow[0] > 0:  # hair stands higher on one side of the parting
        both[0, 2:7, 1] += 0.12 * part * np.array([1, 1, 0, -1, -1])
    both = shape.grown(both)

    band = smooth(np.concatenate([both[0], both[1, ::-1]]))
    outer, inner = band[:49], band[54:103][::-1]  # six places for each of eight steps, and the last
    if style.curl > 0.5:
        locks = np.sin(np.arange(49) * 1.35 + 6 * rng.random())
        outer = outer * (1 + 0.03 * state.length * locks[:, None])
    edge = view.at(outer, 0.0)
    line = view.at(inner, shape.depth(inner) + 0.03)
    hangs = both[0, 0, 1] > 0.1
    return Hair(
        front=np.concatenate([edge, line[::-1]]),
        back=view.at(outer, -0.1) if hangs else None,
        strands=_strands(edge, line, style, rng, view),
        turned=rng.random(STRANDS),
        tones=rng.normal(1, 0.16, STRANDS),
    )


def _strands(
    edge: Points, line: Points, style: Style, rng: np.random.Generator, view: View
) -> Points:
    """Single hairs between two lines of equal length.

    A place in the band has two coordinates: t along it, in places of its lines, and s across it,
    0 at the silhouette and 1 at the hairline.
    """
    count = len(edge) - 1
    start, level, length, wave = rng.random((4, STRANDS, 1))
    steps = np.linspace(0, 1, 9)
    middle, sides = style.flow
    flow = middle + (sides - middle) * np.clip(np.abs(start - 0.5) * 8 - 1.2, 0, 1)
    t = start * count + (steps - 0.5) * (flow * (12 + 16 * length) + 5 * (level - 0.5) * (1 - flow))
    across = 0.02 + 0.96 * (steps * (0.5 + 0.5 * length) + (0.5 - 0.5 * length) * level)
    along = 0.04 + 0.92 * level + 0.05 * (steps - 0.5)
    s = across + (along - across) * flow
    phase = 6.28 * wave + steps * 5.5
    s = np.clip(s + 0.07 * style.curl * np.sin(phase), 0.01, 0.99)[..., None]
    t = np.clip(t + 1.5 * style.curl * np.cos(phase), 0, count - 1e-6)
    low = t.astype(int)
    rest = (t - low)[..., None]
    on_edge = edge[low] + (edge[low + 1] - edge[low]) * rest
    on_line = line[low] + (line[low + 1] - line[low]) * rest
    path = on_edge + (on_line - on_edge) * s
    path += steps[:, None] * 1e-4  # no two places alike, not even where the band is closed
    return stroke(path, 0.011 * view.scale, 0.005 * view.scale)


def paint_back(canvas: Canvas, own: Hair, person: Person, state: Ageing) -> None:
    """Hair behind the neck and the ears; part: hair."""
    if own.back is None:
        return
    young, grey = young_colour(person, state), grey_colour(state)
    colour = blend(young, grey, state.grey)
    canvas.paint(canvas.mask(own.back), darker(colour, 0.5), part="hair")


def paint_front(
    canvas: Canvas, own: Hair, person: Person, state: Ageing, scene: Scene, view: View
) -> None:
    """Hair before the head; part: hair."""
    young, grey = young_colour(person, state), grey_colour(state)
    edge = 0.008 if state.length > 0.5 else 0.018
    whole = feathered(canvas.mask(own.front), edge * view.scale, canvas.size)
    if not whole.cover.size:
        return
    # Short hair lets the skin shine through.
    cover = state.density * (0.55 if HAIR_STYLES[person.hair_style] == "shaved" else 1.0)
    soft = Mask(whole.rows, whole.columns, whole.cover * np.float32(cover))
    light = _light(whole, canvas.size, view, scene)
    base = darker(blend(young, grey, state.grey), 0.86)
    canvas.paint(soft, base, light, part="hair")
    turned, dark = own.turned < state.grey, own.tones < 1
    mixed = blend(grey, young, 0.4 * (1 - state.grey))
    for those, colour, tone in (
        (~turned & dark, young, 0.72),
        (~turned & ~dark, young, 1.22),
        (turned & dark, mixed, 0.8),
        (turned & ~dark, mixed, 1.1),
    ):
        if those.any():
            lines = clipped(canvas.mask(own.strands[those]), soft)
            canvas.paint(lines, toned(colour, tone), part_of(light, whole, lines), alpha=0.5)


def _light(mask: Mask, size: int, view: View, scene: Scene) -> Array:
    reach = 0.055 * view.scale * size
    height = blurred(mask.cover, reach) * np.float32(1.6 * reach)
    brightness, shine = lighting(height, scene, 1.0)
    light: Array = brightness + 0.8 * shine
    return light


# --- beards --------------------------------------------------------------------------------------


def paint_beard(canvas: Canvas, view: View, person: Person, state: Ageing, shape: Shape) -> None:
    """Moustache, goatee or full beard; part: hair."""
    if not person.beard or state.beard <= 0.02:
        return
    rng = np.random.default_rng((person.style, 5))
    pieces = _beard(BEARDS[person.beard], shape.points)
    shapes = [view(smooth(piece)) for piece in pieces]
    whole = feathered(canvas.mask(*shapes), 0.014 * view.scale, canvas.size)
    soft = Mask(whole.rows, whole.columns, whole.cover * np.float32(state.beard))
    young, grey = darker(young_colour(person, state), 0.85), grey_colour(state)
    old = ramp(state.grey, 0, 0.85)
    colour = blend(young, grey, old)
    canvas.paint(soft, colour, alpha=0.75, part="hair")

    places = np.concatenate(pieces)
    roots = rng.uniform(places.min(0), places.max(0), (_BRISTLES, 2))
    # Bristles point down and outwards.
    away = np.stack([0.09 * roots[:, 0], np.full(_BRISTLES, 0.03)], -1)
    paths = view(np.stack([roots, roots + away * rng.uniform(0.7, 1.3, (_BRISTLES, 1))], axis=1))
    lines = stroke(paths, 0.008 * view.scale, 0.003 * view.scale)
    turned, dark = rng.random(_BRISTLES) < old, rng.random(_BRISTLES) < 0.5
    mixed = blend(grey, colour, 0.5 * (1 - old))
    for those, ink, tone in (
        (~turned & dark, young, 0.7),
        (~turned & ~dark, young, 1.15),
        (turned & dark, mixed, 0.82),
        (turned & ~dark, mixed, 1.1),
    ):
        if those.any():
            strands = clipped(canvas.mask(lines[those]), soft)
            canvas.paint(strands, toned(ink, tone), alpha=0.5)


_BRISTLES = 140


def _beard(kind: str, p: Points) -> list[Points]:
    """Outlines on the face, from its 68 points."""

    def both(half: Sequence[tuple[int, float, float]]) -> Points:
        """From offsets to points on the right, with their mirror images on the left."""
        right = [p[index] + (x, y) for index, x, y in half]
        left = [p[_MIRROR[index]] + (-x, y) for index, x, y in half[::-1]]
        return np.array([*right, *left])

    pieces = [
        both(
            (
                *((33, 0.015, 0.022), (34, 0.03, 0.03), (54, 0.03, -0.012), (54, 0.02, 0.02)),
                *((53, 0.0, -0.006), (52, 0.0, -0.004)),
            )
        )
    ]
    if kind == "goatee":
        pieces.append(
            both(
                (
                    (57, 0.05, 0.03),
                    (54, 0.02, 0.02),
                    (54, 0.03, 0.1),
                    (9, 0, 0.005),
                    (8, 0.02, 0.015),
                )
            )
        )
    elif kind == "full":
        pieces.append(
            both(
                (
                    *((57, 0.03, 0.025), (55, 0.02, 0.025), (54, 0.025, 0.0), (54, 0.1, -0.01)),
                    *((13, -0.06, 0.0), (14, -0.035, -0.01), (14, 0.0, 0.012), (13, 0.0, 0.012)),
                    *((12, 0.0, 0.012), (11, 0.0, 0.012), (10, 0.0, 0.012), (9, 0.0, 0.015)),
                    *((8, 0.02, 0.018),),
                )
            )
        )
    return pieces


_MIRROR = {8: 8, 9: 7, 10: 6, 11: 5, 12: 4, 13: 3, 14: 2, 33: 33, 34: 32, 52: 50, 53: 49, 54: 48}
_MIRROR |= {55: 59, 57: 57}
