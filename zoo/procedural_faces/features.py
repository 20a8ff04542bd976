"""Eyes, brows, nostrils, mouth, ears and neck: what has edges in a face."""

import numpy as np

from ..procedural.canvas import Canvas, Mask, Points, clipped, ellipse, smooth, stroke
from ..procedural.colours import Colour
from .ageing import Ageing
from .shape import EYES, Shape, View, xy
from .specs import EYE_COLOURS, Person, Scene
from .tones import blend, darker, rgb

_BLACK = np.array([0.06, 0.045, 0.045], np.float32)
_WHITE = np.array([0.985, 0.985, 1.0], np.float32)


# --- eyes ----------------------------------------------------------------------------------------


def paint_eyes(
    canvas: Canvas, view: View, person: Person, state: Ageing, shape: Shape, skin: Colour
) -> Mask:
    """Both eyes with their lids and lashes; part: eyes.

    Returns:
        The openings between the lids.
    """
    scale = view.scale
    iris = rgb(*EYE_COLOURS[person.eye_colour])
    iris = blend(iris, rgb(178, 178, 172), 0.3 * state.sag)  # pales with age
    white = blend(rgb(242, 240, 238), rgb(231, 223, 215), state.sag)
    # From the left corner over the top to the right corner, and back below.
    contours = view(np.stack([smooth(shape.points[eye]) for eye in EYES]))
    uppers = contours[:, :19]
    lowers = np.concatenate([contours[:, 18:], contours[:, :1]], axis=1)
    opening = canvas.mask(contours)

    creases = uppers[:, 2:-1] - (0.0, 0.019 * (1 - 0.35 * state.sag) * scale)
    crease = canvas.mask(stroke(creases, 0.006 * scale, 0.009 * scale))
    canvas.paint(crease, darker(skin, 0.55), alpha=0.6)
    canvas.paint(opening, white, part="eyes")

    wide = (0.0445 - 0.025 * state.strain) * (1 + 0.03 * person.eye_size) * scale
    centres = view(_irises(shape)).tolist()

    def discs(across: float, down: float, drop: float = 0.0) -> Mask:
        both = [ellipse(x, y + drop * wide, wide * across, wide * down) for x, y in centres]
        return clipped(canvas.mask(*both), opening)

    canvas.paint(discs(1.0, 1.0), darker(iris, 0.45))
    canvas.paint(discs(0.84, 0.84), iris)
    canvas.paint(discs(0.55, 0.3, 0.5), np.minimum(iris * 1.7 + 0.08, 1), alpha=0.4)
    canvas.paint(discs(0.46, 0.46), _BLACK)
    shadow = canvas.mask(stroke(uppers + xy(0, 0.006 * scale), 0.03 * scale, 0.03 * scale))
    canvas.paint(clipped(shadow, opening), _BLACK, alpha=0.32)
    tears = [
        ellipse(x + side * 0.006 * scale, y, 0.009 * scale, 0.006 * scale)
        for (x, y), side in zip((contours[0, 18], contours[1, 0]), (-1, 1), strict=True)
    ]
    canvas.paint(clipped(canvas.mask(*tears), opening), rgb(205, 140, 132), alpha=0.7)

    rims = canvas.mask(stroke(lowers, 0.007 * scale, 0.007 * scale))
    canvas.paint(rims, skin * rgb(150, 95, 90), alpha=0.55)
    delicate = 0.0035 * max(0.0, -person.rugged) * (0.4 + 0.6 * state.puberty)
    thick = (0.0125 + delicate) * scale * (1 - 0.3 * state.sag)
    lash = _BLACK if person.hair_colour < 4 else rgb(70, 50, 40)
    lashes = (stroke(uppers[0], thick, 0.55 * thick), stroke(uppers[1], 0.55 * thick, thick))
    canvas.paint(canvas.mask(*lashes), lash, alpha=0.85 - 0.25 * state.sag)
    return opening


def _irises(shape: Shape) -> Points:
    """(2, 2) places on the face."""
    return np.stack([shape.points[eye][[1, 2, 4, 5]].mean(0) for eye in EYES]) + xy(0.0, -0.003)


def paint_glints(canvas: Canvas, view: View, shape: Shape, opening: Mask, light: float) -> None:
    """The lamp in the eyes: after all light and shade."""
    radius = 0.0105 * view.scale
    spots = [
        ellipse(x, y, radius, radius)
        for x, y in view(_irises(shape) + xy(0.014 * light, -0.011)).tolist()
    ]
    canvas.paint(clipped(canvas.mask(*spots), opening), _WHITE, alpha=0.9)


# --- brows ---------------------------------------------------------------------------------------


def paint_brows(
    canvas: Canvas,
    view: View,
    person: Person,
    state: Ageing,
    shape: Shape,
    young: Colour,
    grey: Colour,
) -> None:
    """Brows of single hairs, which thin out and turn grey; part: brows."""
    rng = np.random.default_rng((person.style, 3))
    full = (0.03 * (1 + 0.45 * person.brow_thick)) * state.brows
    bodies, hairs = [], []
    for side, brow in ((-1.0, shape.points[21:16:-1]), (1.0, shape.points[22:27])):
        share = np.linspace(0, 4, 13)
        low = np.minimum(share.astype(int), 3)
        line = brow[low] + (brow[low + 1] - brow[low]) * (share - low)[:, None]
        line[1:-1] = 0.5 * line[1:-1] + 0.25 * (line[:-2] + line[2:])
        half = (
            full
            * 0.5
            * np.array([0.75, 0.95, 1, 1, 1, 0.97, 0.92, 0.86, 0.78, 0.68, 0.55, 0.4, 0.2])
        )
        up = np.stack([line[:, 0], line[:, 1] - half], -1)
        down = np.stack([line[:, 0], line[:, 1] + half], -1)
        bodies.append(view(np.concatenate([up, down[::-1]])))
        where = rng.uniform(0, 11.5, 22)
        index = where.astype(int)
        part = (where - index)[:, None]
        root = down[index] * (1 - part) + down[index + 1] * part
        tip_at = np.minimum(where + 1.2, 12)
        far = np.minimum(tip_at.astype(int), 11)
        rest = (tip_at - far)[:, None]
        tip = up[far] * (1 - rest) + up[far + 1] * rest
        aside = np.array([side * 0.006, -0.003])
        hairs.append(np.stack([root, 0.5 * (root + tip) + xy(0, -0.002), tip + aside], axis=1))
    body = canvas.mask(*bodies)
    old = 0.8 * state.grey
    colour = blend(young, grey, old)
    canvas.paint(body, colour, alpha=0.1 + 0.5 * state.brows**1.5, part="brows")
    lines = np.concatenate(hairs)
    turned = rng.uniform(0, 1, len(lines)) < old
    mixed = blend(grey, young, 0.45 * (1 - old))
    strokes = stroke(
        view(lines.reshape(-1, 2)).reshape(-1, 3, 2), 0.008 * view.scale, 0.004 * view.scale
    )
    for those, ink in ((~turned, young), (turned, mixed)):
        if those.any():
            canvas.paint(canvas.mask(strokes[those]), ink, alpha=0.1 + 0.65 * state.brows)


# --- nose and mouth ------------------------------------------------------------------------------


def paint_nose(canvas: Canvas, view: View, state: Ageing, shape: Shape, skin: Colour) -> None:
    """Nostrils and the edges of the wings; the rest of a nose is light and shade."""
    p = shape.points
    dark = skin * rgb(95, 62, 58)
    holes, edges = [], []
    for side, outer, inner in ((-1.0, p[31], p[32]), (1.0, p[35], p[34])):
        x, y = (0.45 * outer + 0.55 * inner + (0, -0.006)).tolist()
        wide = abs(float(outer[0] - inner[0]))
        holes.append(ellipse(x, y, 0.45 * wide, 0.0095, side * -0.25))
        edges.append(
            outer + np.array([(0.004, -0.045), (0.014, -0.022), (0.006, -0.002)]) * (side, 1)
        )
    edges.append(np.stack([p[32], p[33] + xy(0, 0.004), p[34]]))
    canvas.paint(canvas.mask(view(np.stack(holes))), dark, alpha=0.8 - 0.25 * state.puppy_fat)
    lines = stroke(view(np.stack(edges)), 0.006 * view.scale, 0.008 * view.scale)
    canvas.paint(canvas.mask(lines), dark, alpha=0.33 - 0.15 * state.puppy_fat)


def paint_mouth(
    canvas: Canvas,
    view: View,
    person: Person,
    state: Ageing,
    shape: Shape,
    skin: Colour,
    closed: float = 1.0,
) -> None:
    """Lips and, as far as they are closed (0 to 1), the line between them; part: mouth."""
    p = shape.points
    red: Colour = skin * rgb(236, 155, 151)
    fade = 0.12 + 0.22 * state.puppy_fat + 0.38 * state.sag + 0.1 * max(0.0, person.rugged)
    red = blend(red, skin, fade)
    outer = smooth(np.concatenate([p[48:60]]))
    lips = canvas.mask(view(outer))
    canvas.paint(lips, red, part="mouth")
    upper = np.concatenate([p[48:55], p[64:59:-1]])
    canvas.paint(clipped(canvas.mask(view(upper)), lips), darker(red, 0.88))
    if not closed:
        return
    line = p[[48, 60, 61, 62, 63, 64, 54]].copy()
    line[1:-1, 1] = 0.5 * (line[1:-1, 1] + p[[60, 67, 66, 65, 64], 1])
    way = view(_curve(line))
    half = len(way) // 2 + 1
    thin, thick = 0.006 * view.scale, 0.0125 * view.scale
    mouth = canvas.mask(stroke(way[:half], thin, thick), stroke(way[half - 1 :], thick, thin))
    canvas.paint(mouth, red * rgb(110, 60, 62), alpha=(0.85 - 0.3 * state.puppy_fat) * closed)


def _curve(points: Points) -> Points:
    """An open smooth way through some points: (3 N - 2, 2) or so."""
    both = smooth(np.concatenate([points, points[-2:0:-1]]))
    curve: Points = both[: 6 * (len(points) - 1) + 1 : 2]
    return curve


# --- ears and neck -------------------------------------------------------------------------------

_EAR = (
    (0.41, 0.0),
    (0.44, -0.065),
    (0.485, -0.075),
    (0.51, -0.02),
    (0.495, 0.07),
    (0.468, 0.135),
    (0.445, 0.18),
    (0.415, 0.17),
)
_CONCHA = ((0.468, -0.035), (0.488, -0.01), (0.478, 0.05), (0.455, 0.09))


def ears(
    person: Person, state: Ageing, shape: Shape, view: View
) -> tuple[list[Points], list[Points]]:
    """Outlines of the ears in the picture and of the fold in each; they grow all life long."""
    size = 1 + 0.16 * person.ears + 0.14 * state.sag - 0.6 * state.strain
    root = np.array([0.42, 0.05])
    outlines: list[Points] = []
    folds: list[Points] = []
    edge = float(shape.points[16, 0] + shape.points[15, 0]) / 2
    for side in (-1.0, 1.0):
        for shapes, into in ((_EAR, outlines), (_CONCHA, folds)):
            own = (np.array(shapes) - root) * xy(size * (1 + 0.25 * person.ears), size)
            own += xy(edge, 0.05)
            own = shape.grown(own)
            into.append(view.at((smooth(own) if into is outlines else own) * (side, 1), 0.0))
    return outlines, folds


def neck(person: Person, state: Ageing, shape: Shape, view: View, scene: Scene) -> Points:
    """Outline of the neck in the picture: its top goes with the head, its foot with the clothes."""
    grown = 0.24 + 0.02 * person.weight + 0.05 * state.puberty * (0.5 + 0.5 * person.rugged)
    half = grown * (1 - 0.25 * (1 - state.puberty)) + 0.02 * state.middle
    left, right = shape.points[3], shape.points[13]
    x = 0.5 * float(left[0] + right[0])
    top = view.at([(x - half, 0.3), (x + half, 0.3)], 0.0)
    foot = 0.5 + scene.x + half * view.scale * np.array([1.15, -1.15])
    return np.concatenate([top, np.stack([foot, [1.15, 1.15]], -1)])
