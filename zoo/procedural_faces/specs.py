"""Who is in a picture, how they hold their head, and in what light: all but the age."""

from dataclasses import dataclass, fields
from math import isfinite

import numpy as np

OLDEST = 100
"""Faces are drawn from birth to this age, in years."""

HAIR_STYLES = ("cropped", "parted", "bob", "long", "curly", "tied", "shaved")
HAIR_COLOURS: tuple[tuple[int, int, int], ...] = (
    (38, 31, 30),  # black
    (66, 45, 34),  # dark brown
    (104, 70, 46),  # brown
    (146, 88, 50),  # auburn
    (178, 138, 86),  # dark blond
    (216, 182, 122),  # blond
)
"""RGB of a young adult's hair."""
EYE_COLOURS: tuple[tuple[int, int, int], ...] = (
    (58, 38, 28),
    (98, 66, 40),
    (112, 108, 66),
    (96, 128, 108),
    (92, 126, 158),
)
BEARDS = ("none", "moustache", "goatee", "full")
SKINS: tuple[tuple[int, int, int], ...] = (
    (246, 212, 190),
    (232, 188, 158),
    (208, 156, 118),
    (168, 116, 80),
    (126, 82, 56),
    (92, 60, 44),
)
"""RGB of skin from light to dark, as even steps of `Person.skin`."""
BACKGROUNDS = ("sky", "leaves", "sunset", "mist")

YAW, PITCH, ROLL = 0.3, 0.12, 0.2
"""The largest turns of a head, in radians."""
SCALE = (0.8, 1.4)
SHIFT = 0.16
FRAMINGS = ("portrait", "crop")
"""Head and shoulders with all of the hair, or the face alone, as aligned crops show it."""


@dataclass(frozen=True)
class Person:
    """What stays with someone for life.

    Every number is -1 to 1 with 0 for the average, unless its line says otherwise.
    """

    face_width: float = 0.0
    jaw: float = 0.0
    """Narrow to square."""
    chin: float = 0.0
    """Short to long."""
    cheekbones: float = 0.0
    forehead: float = 0.0
    eye_size: float = 0.0
    eye_gap: float = 0.0
    eye_tilt: float = 0.0
    eye_open: float = 0.0
    nose_length: float = 0.0
    nose_width: float = 0.0
    nose_bridge: float = 0.0
    """Flat to high."""
    mouth_width: float = 0.0
    mouth_height: float = 0.0
    lips: float = 0.0
    """Thin to full."""
    brow_height: float = 0.0
    brow_arch: float = 0.0
    brow_thick: float = 0.0
    ears: float = 0.0
    weight: float = 0.0
    rugged: float = 0.0
    """Delicate to rugged: the ridge of the brows, the jaw, what puberty adds."""
    blush: float = 0.0
    wrinkling: float = 0.0
    """Wrinkles later or earlier than the average, by a seventh at most."""
    greying: float = 0.0
    """Grey earlier or later, by eight years at most."""
    parting: float = 0.0
    """Where the hair parts, from left to right."""
    skin: float = 0.3
    """0 to 1, light to dark."""
    freckles: float = 0.0
    """0 to 1."""
    receding: float = 0.0
    """0 to 1: how much of the hair above the forehead age takes."""
    hair_colour: int = 1
    """Into `HAIR_COLOURS`."""
    hair_style: int = 0
    """Into `HAIR_STYLES`."""
    eye_colour: int = 0
    """Into `EYE_COLOURS`."""
    beard: int = 0
    """Into `BEARDS`; grows after puberty."""
    style: int = 0
    """Seed, at least 0, of all that has no name: the run of each hair and wrinkle."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of its range (names the field)."""
        _check(self, _PERSON)


@dataclass(frozen=True)
class Scene:
    """What may change from picture to picture of one person at one age."""

    yaw: float = 0.0
    """Turn to the picture's right, in radians, at most `YAW` either way."""
    pitch: float = 0.0
    """Nod downwards, in radians, at most `PITCH` either way."""
    roll: float = 0.0
    """Lean clockwise, in radians, at most `ROLL` either way."""
    scale: float = 1.0
    """Size of the head, within `SCALE`."""
    x: float = 0.0
    """Shift in sides of the picture, at most `SHIFT` either way."""
    y: float = 0.0
    smile: float = 0.3
    """0 to 1."""
    light: float = 0.4
    """Where the light comes from, -1 (left) to 1 (right)."""
    height: float = 0.5
    """0 to 1: at eye level to from above."""
    contrast: float = 0.5
    """0 to 1: soft to hard."""
    warmth: float = 0.0
    """-1 to 1: bluish to yellowish."""
    background: int = 3
    """Into `BACKGROUNDS`."""
    clothes: int = 0
    """Seed, at least 0, of clothes and of what lies in the background."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of its range (names the field)."""
        _check(self, _SCENE)


@dataclass(frozen=True)
class FaceSpec:
    """A person in a scene; with an age it is a picture."""

    person: Person
    scene: Scene


Ranges = dict[str, tuple[float, float]]

SEEDS = (0, 2**31 - 1)
_PERSON: Ranges = {
    "skin": (0, 1),
    "freckles": (0, 1),
    "receding": (0, 1),
    "hair_colour": (0, len(HAIR_COLOURS) - 1),
    "hair_style": (0, len(HAIR_STYLES) - 1),
    "eye_colour": (0, len(EYE_COLOURS) - 1),
    "beard": (0, len(BEARDS) - 1),
    "style": SEEDS,
}
_SCENE: Ranges = {
    "yaw": (-YAW, YAW),
    "pitch": (-PITCH, PITCH),
    "roll": (-ROLL, ROLL),
    "scale": SCALE,
    "x": (-SHIFT, SHIFT),
    "y": (-SHIFT, SHIFT),
    "smile": (0, 1),
    "height": (0, 1),
    "contrast": (0, 1),
    "background": (0, len(BACKGROUNDS) - 1),
    "clothes": SEEDS,
}


def bounds(kind: type[Person] | type[Scene]) -> Ranges:
    """The lowest and the highest value of each field of a person or a scene."""
    own = _PERSON if kind is Person else _SCENE
    return {field.name: own.get(field.name, (-1, 1)) for field in fields(kind)}


def _check(spec: Person | Scene, own: Ranges) -> None:
    for field in fields(spec):
        low, high = own.get(field.name, (-1, 1))
        value = getattr(spec, field.name)
        if field.type in (int, "int") and int(value) != value:
            raise ValueError(f"{field.name} must be a whole number, got {value}")
        if not (isfinite(value) and low <= value <= high):
            raise ValueError(f"{field.name} must be {low} to {high}, got {value}")


def check_age(age: float) -> float:
    """An age as a number of years.

    Raises:
        ValueError: it is not 0 to `OLDEST`.
    """
    if not (isfinite(age) and 0 <= age <= OLDEST):
        raise ValueError(f"age must be 0 to {OLDEST} years, got {age}")
    return float(age)


def sample_person(rng: np.random.Generator) -> Person:
    """Draw somebody.

    Traits that go together in people do so here: beards, receding hair and short cuts with a
    rugged face, dark hair and eyes with dark skin.

    Args:
        rng: the only source of randomness.

    Returns:
        A person.
    """
    rugged = float(np.clip(rng.choice((-0.55, 0.55)) + 0.25 * rng.standard_normal(), -1, 1))
    manly = rugged > 0
    skin = float(rng.beta(1.1, 1.6))
    pale = max(0.0, 1 - 2 * skin)
    traits = np.clip(0.45 * rng.standard_normal(len(_NORMAL)), -1, 1)
    values = dict(zip(_NORMAL, traits.tolist(), strict=True))
    values["jaw"] = float(np.clip(values["jaw"] + 0.45 * rugged, -1, 1))
    values["brow_thick"] = float(np.clip(values["brow_thick"] + 0.35 * rugged, -1, 1))
    values["lips"] = float(np.clip(values["lips"] - 0.3 * rugged + 0.5 * (skin - 0.35), -1, 1))
    values["nose_width"] = float(np.clip(values["nose_width"] + 0.6 * (skin - 0.35), -1, 1))
    values["eye_size"] = float(np.clip(values["eye_size"] - 0.25 * rugged, -1, 1))
    styles = (
        (0.36, 0.3, 0.02, 0.04, 0.12, 0.0, 0.16) if manly else (0.06, 0.1, 0.24, 0.3, 0.16, 0.14, 0)
    )
    beards = (0.55, 0.13, 0.12, 0.2) if manly else (1.0, 0.0, 0.0, 0.0)
    fair = np.array((0.25, 0.25, 0.2, 0.1, 0.12, 0.08))
    dark = np.array((0.75, 0.22, 0.03, 0.0, 0.0, 0.0))
    irises = np.array((0.3, 0.25, 0.12, 0.1, 0.23)), np.array((0.75, 0.25, 0.0, 0.0, 0.0))
    return Person(
        **values,
        rugged=rugged,
        skin=skin,
        freckles=float(rng.beta(0.6, 2.5)) * pale,
        receding=float(rng.beta(1.1, 1.1)) if manly else float(rng.beta(1.0, 6.0)),
        hair_colour=int(rng.choice(6, p=fair * pale + dark * (1 - pale))),
        hair_style=int(rng.choice(7, p=styles)),
        eye_colour=int(rng.choice(5, p=irises[0] * pale + irises[1] * (1 - pale))),
        beard=int(rng.choice(4, p=beards)),
        style=int(rng.integers(SEEDS[1])),
    )


_NORMAL = tuple(
    field.name for field in fields(Person) if field.name not in _PERSON and field.name != "rugged"
)


def sample_scene(rng: np.random.Generator, framing: str = "portrait") -> Scene:
    """Draw a pose, a light and a background.

    Args:
        rng: the only source of randomness.
        framing: one of `FRAMINGS`.

    Returns:
        A scene; most heads are nearly upright and look nearly ahead.

    Raises:
        ValueError: the framing is unknown.
    """
    if framing not in FRAMINGS:
        raise ValueError(f"unknown framing {framing!r}: use one of {', '.join(FRAMINGS)}")
    low, high, drop = (0.88, 1.0, 0.0) if framing == "portrait" else (1.2, 1.34, -0.115)
    turn = np.clip(rng.standard_normal(3) * 0.45, -1, 1) * (YAW, PITCH, ROLL)
    shift = rng.uniform(-0.035, 0.035, 2)
    return Scene(
        yaw=float(turn[0]),
        pitch=float(turn[1]),
        roll=float(turn[2]),
        scale=float(rng.uniform(low, high)),
        x=float(shift[0]),
        y=float(shift[1]) + drop,
        smile=float(rng.uniform()),
        light=float(rng.uniform(-1, 1)),
        height=float(rng.uniform()),
        contrast=float(rng.uniform()),
        warmth=float(rng.uniform(-1, 1)),
        background=int(rng.integers(len(BACKGROUNDS))),
        clothes=int(rng.integers(SEEDS[1])),
    )


def sample(rng: np.random.Generator, framing: str = "portrait") -> FaceSpec:
    """Draw a person in a scene, see `sample_person` and `sample_scene`."""
    return FaceSpec(sample_person(rng), sample_scene(rng, framing))
