"""The form and the colour of skin: what is lit, and what darkens or reddens it."""

from math import pi

import numpy as np
from PIL import Image

from ..procedural.canvas import Array, Mask, Points
from ..procedural.colours import Colour
from .ageing import Ageing, ramp
from .relief import bumps
from .shape import Shape, View, xy
from .specs import SKINS, Person

BLUSH = np.array([0.03, 0.2, 0.17], np.float32)[:, None, None]
"""What blood takes from each channel."""
DARK = np.array([0.28, 0.34, 0.3], np.float32)[:, None, None]
SPOT = np.array([0.2, 0.3, 0.36], np.float32)[:, None, None]
NOISE = 40
"""Places a side of the grid that makes skin uneven."""


def tone(person: Person, state: Ageing) -> Colour:
    """The colour of a person's skin, (3,) RGB in [0, 1]: rosy in children, sallow in age."""
    steps = np.array(SKINS, np.float32) / 255
    place = person.skin * (len(SKINS) - 1)
    low = min(int(place), len(SKINS) - 2)
    colour = steps[low] + (steps[low + 1] - steps[low]) * np.float32(place - low)
    light = np.float32(max(0.0, 1 - person.skin))
    colour = colour * (1 + state.puppy_fat * light * np.array([0.02, -0.015, -0.005], np.float32))
    sallow: Colour = colour * (1 - state.spots * np.array([0.045, 0.055, 0.1], np.float32))
    return sallow.astype(np.float32)


def form(person: Person, state: Ageing, shape: Shape) -> tuple[Points, Points, Points]:
    """Bumps and hollows of a face.

    Returns:
        Places (K, 2), widths (K, 2) and heights (K,) in a face's unit.
    """
    p = shape.points
    rows: list[tuple[float, float, float, float, float]] = []

    def add(
        place: Points, wide: float, tall: float, high: float, twin: Points | None = None
    ) -> None:
        rows.append((float(place[0]), float(place[1]), wide, tall, high))
        if twin is not None:
            rows.append((float(twin[0]), float(twin[1]), wide, tall, high))

    bridge = 1 + 0.35 * person.nose_bridge
    child = -state.strain / 0.18
    adult = 1 - 0.45 * child
    for i, high in enumerate((0.02, 0.028, 0.034, 0.044)):
        add(p[27 + i], 0.036 + 0.002 * i, 0.042, high * bridge * (1 - 0.65 * child))
    add(p[30] + xy(0, 0.02), 0.044, 0.038, 0.052 * (1 - 0.5 * child))
    wing = np.array([0.0, -0.018])
    add(p[31] + wing, 0.024, 0.026, 0.034, p[35] + wing)
    left, right = p[36:42].mean(0), p[42:48].mean(0)
    up = np.array([0.0, -0.028])
    deep = 0.03 + 0.014 * state.gaunt + 0.012 * person.rugged * state.puberty - 0.012 * child
    add(left + up, 0.075, 0.042, -deep, right + up)
    inner = np.array([0.03, 0.0])
    add(p[39] + inner, 0.034, 0.05, -0.018 * adult, p[42] - inner)
    ball = np.array([0.0, 0.002])
    add(left + ball, 0.05, 0.03, 0.02, right + ball)
    ridge = 0.012 + 0.016 * max(0.0, person.rugged + 0.2) * state.puberty
    for i in (18, 20):
        add(p[i] + (0, 0.008), 0.06, 0.022, ridge, p[43 - i] + (0, 0.008))
    # Cheeks: apples under the eyes that slide down with age, hollows below the cheekbones.
    apple = np.array([0.03, 0.115 + 0.05 * state.sag])
    fat = 0.03 + 0.035 * state.puppy_fat + 0.014 * person.weight + 0.012 * state.middle
    add(left + apple * (-1, 1), 0.09, 0.075, fat * (1 - 0.35 * state.gaunt), right + apple)
    hollow = 0.04 * state.gaunt - 0.03 * state.puppy_fat - 0.012 * person.weight
    hollow += 0.014 * person.cheekbones * state.puberty
    side = np.array([0.07, 0.0])
    add(p[48] - side, 0.055, 0.09, -hollow, p[54] + side)
    bag = np.array([0.0, 0.042])
    full = 0.016 * ramp(state.sag, 0.12, 1)
    add(p[36:42].mean(0) + bag, 0.05, 0.016, full, p[42:48].mean(0) + bag)
    add(left + xy(0, 0.085), 0.06, 0.02, -full, right + xy(0, 0.085))
    jowl = np.array([0.075, 0.1])
    add(p[48] + jowl * (-1, 1), 0.05, 0.045, 0.034 * state.sag, p[54] + jowl)
    add(p[48] + xy(-0.035, 0.1), 0.016, 0.05, -0.024 * state.sag, p[54] + xy(0.035, 0.1))
    temple = np.array([0.03, 0.06])
    add(p[17] - temple, 0.05, 0.09, -0.03 * state.gaunt, p[26] + temple * (1, -1))
    # Mouth and chin.
    full_lips = 0.016 * (1 + 0.4 * person.lips) * (1 - 0.5 * state.sag)
    add(p[50], 0.035, 0.014, full_lips, p[52])
    add(p[57] - xy(0.035, 0.012), 0.045, 0.016, full_lips * 1.3, p[57] + xy(0.035, -0.012))
    add(p[51] + xy(0, -0.03), 0.012, 0.025, -0.008 * adult * (1 - 0.5 * state.sag))
    add(p[57] + xy(0, 0.035), 0.075, 0.022, -0.022)
    add(p[8] + xy(0, -0.085), 0.06, 0.04, 0.026)
    add(
        0.5 * (p[48] + p[31]) - xy(0.012, 0),
        0.05,
        0.06,
        0.012 + 0.02 * child,
        0.5 * (p[54] + p[35]) + xy(0.012, 0),
    )
    table = np.array(rows)
    return table[:, :2], table[:, 2:4], table[:, 4]


def marks(
    person: Person, state: Ageing, shape: Shape, window: Mask, view: View, size: int
) -> Array:
    """What changes the colour of the skin, as a factor for each channel.

    Returns:
        (3, h, w) float32.
    """
    p, scale = shape.points, view.scale
    left, right = p[36:42].mean(0), p[42:48].mean(0)
    rosy = 0.5 + 0.3 * person.blush + 0.35 * state.puppy_fat
    red = np.array(
        [left + xy(-0.02, 0.15), right + xy(0.02, 0.15), p[30] + xy(0, 0.03), p[8] - xy(0, 0.06)]
    )
    red_wide = np.array([(0.085, 0.06), (0.085, 0.06), (0.04, 0.04), (0.06, 0.04)])
    red_high = np.array([1.0, 1.0, 0.55, 0.2]) * rosy
    blush = bumps(view(red), red_wide * scale, red_high, window, size)

    shade = 0.25 + 0.3 * state.sag
    dark = np.array(
        [
            left + xy(0, -0.04),
            right + xy(0, -0.04),
            p[39] + xy(0.01, 0.01),
            p[42] + xy(-0.01, 0.01),
            left + xy(0.015, 0.045),
            right + xy(-0.015, 0.045),
        ]
    )
    dark_wide = np.array([(0.07, 0.028)] * 2 + [(0.025, 0.035)] * 2 + [(0.045, 0.02)] * 2)
    dark_high = np.array([0.5, 0.5, 0.7, 0.7, 0.9, 0.9]) * shade
    stubble = 0.0
    if person.rugged > 0 and state.puberty > 0.5 and not person.beard:
        stubble = 0.3 * person.rugged * (state.puberty - 0.5) * (1 - 0.6 * state.grey)
    if stubble:
        zone = np.array(
            [p[i] * (0.92, 0.97) for i in (4, 5, 6, 7, 8, 9, 10, 11, 12)] + [p[51] + xy(0, -0.03)]
        )
        dark = np.concatenate([dark, zone])
        dark_wide = np.concatenate([dark_wide, np.array([(0.05, 0.05)] * 9 + [(0.08, 0.025)])])
        dark_high = np.concatenate([dark_high, np.full(10, stubble)])
    shadow = bumps(view(dark), dark_wide * scale, dark_high, window, size)

    rng = np.random.default_rng((person.style, 2))
    angle, away = rng.uniform(0, 2 * pi, 22), rng.uniform(0.6, 1.05, 22)
    # Spots of age gather where the sun has been: temples, forehead, sides of the cheeks.
    spread = np.stack([0.36 * np.cos(angle) * away, -0.06 - 0.36 * np.sin(angle) * away], -1)
    onset, radius = rng.uniform(0.1, 0.9, 22), rng.uniform(0.007, 0.016, 22)
    old = np.clip((state.spots - onset) / 0.3, 0, 1) * 0.6
    dots = rng.uniform((-0.3, -0.02), (0.3, 0.26), (40, 2))
    freckled = person.freckles * 1.1 * rng.uniform(0.3, 1, 40) * ramp(state.length, 0.1, 0.6)
    freckled *= 1 - 0.6 * state.spots
    places = np.concatenate([spread, dots])
    wide = np.concatenate([radius, np.full(40, 0.0055)])[:, None].repeat(2, 1)
    high = np.concatenate([old, freckled])
    seen = high > 0
    spots = bumps(view(places[seen]), wide[seen] * scale, high[seen], window, size)

    grain = rng.standard_normal((NOISE, NOISE)).astype(np.float32)
    height, width = window.cover.shape
    rough = np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))
    uneven = 1 + rough * np.float32(0.008 + 0.028 * state.spots)
    factor: Array = (1 - BLUSH * blush) * (1 - DARK * np.minimum(shadow, 1.5))
    factor *= 1 - SPOT * np.minimum(spots, 1)
    factor *= uneven
    return factor
