"""What is in a picture: the attributes of birds and flowers, and which pairs are held out."""

from dataclasses import asdict, dataclass

import numpy as np

from .colours import NAMES

BACKGROUNDS = ("sky", "leaves", "sunset", "mist")
BEAK_COLOURS = ("orange", "yellow", "black")

VALUES: dict[str, tuple[str, ...]] = {
    "kind": ("bird", "flower"),
    "background": BACKGROUNDS,
    "breast": NAMES,
    "wing": NAMES,
    "crown": NAMES,
    "beak_colour": BEAK_COLOURS,
    "beak": ("short", "long"),
    "tail": ("short", "long"),
    "facing": ("left", "right"),
    "pose": ("perched", "standing"),
    "petal": NAMES,
    "centre": NAMES,
    "petal_count": ("five", "eight", "twelve"),
    "petal_shape": ("round", "pointed"),
    "stem": ("bare", "leafy"),
}
"""Attribute -> the names of its values. A picture's truth is the index of one of them, or -1."""

BIRD, FLOWER = 0, 1
PETAL_COUNTS = (5, 8, 12)


@dataclass(frozen=True)
class Bird:
    """A bird, by indices into `VALUES`; `style` is the seed of all that has no name."""

    breast: int
    wing: int
    crown: int
    beak_colour: int
    beak: int
    tail: int
    facing: int
    pose: int
    background: int
    style: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an index that `VALUES` does not have."""
        _check(self)


@dataclass(frozen=True)
class Flower:
    """A flower, by indices into `VALUES`; `style` is the seed of all that has no name."""

    petal: int
    centre: int
    petal_count: int
    petal_shape: int
    stem: int
    background: int
    style: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an index that `VALUES` does not have."""
        _check(self)


Spec = Bird | Flower


def _check(spec: Spec) -> None:
    for name, value in asdict(spec).items():
        if name == "style":
            if value < 0:
                raise ValueError(f"style must be a seed of at least 0, got {value}")
        elif not 0 <= value < len(VALUES[name]):
            raise ValueError(f"{name} must be 0 to {len(VALUES[name]) - 1}, got {value}")


def attributes(spec: Spec) -> dict[str, int]:
    """The exact truth of a picture.

    Args:
        spec: what is in it.

    Returns:
        Every name in `VALUES` -> an index into its values, -1 where it does not apply.
    """
    own = asdict(spec)
    own["kind"] = BIRD if isinstance(spec, Bird) else FLOWER
    return {name: own.get(name, -1) for name in VALUES}


# --- classes and what is held out ----------------------------------------------------------------


def is_held_out(kind: int, first: int, second: int) -> bool:
    """Whether a pair of colours is kept from training.

    One pair in eight: every colour is left out once in either role and seen seven times, and a
    colour is never left out with itself. The multipliers are odd, so the rule is a permutation of
    the eight colours; the summands are odd, so it has no fixed point.

    Args:
        kind: `BIRD` or `FLOWER`.
        first: colour of the breast or of the petals.
        second: colour of the wings or of the centre.

    Returns:
        The same answer everywhere: the rule has no seed.
    """
    factor, summand = (3, 1) if kind == BIRD else (5, 3)
    return second == (factor * first + summand) % len(NAMES)


def label(spec: Spec) -> int:
    """The class of a picture: its kind and the pair of colours that every caption names.

    Captions of two pictures of one class may agree word for word, those of two classes never.

    Args:
        spec: what is in it.

    Returns:
        An index into `species`.
    """
    pair = (spec.breast, spec.wing) if isinstance(spec, Bird) else (spec.petal, spec.centre)
    kind = BIRD if isinstance(spec, Bird) else FLOWER
    return (kind * len(NAMES) + pair[0]) * len(NAMES) + pair[1]


def species() -> tuple[str, ...]:
    """Names of all classes, in the order of `label`."""
    birds = [f"{breast} bird with {wing} wings" for breast in NAMES for wing in NAMES]
    flowers = [f"{petal} flower with {centre} centre" for petal in NAMES for centre in NAMES]
    return (*birds, *flowers)


def sample(rng: np.random.Generator, held_out: bool) -> Spec:
    """Draw a picture's attributes.

    Args:
        rng: the only source of randomness.
        held_out: from the pairs of colours that are kept from training, or from the others.

    Returns:
        A bird or a flower, either as likely.
    """
    kind = int(rng.integers(2))
    pairs = _pairs(kind, held_out)
    first, second = pairs[int(rng.integers(len(pairs)))]

    def pick(name: str) -> int:
        return int(rng.integers(len(VALUES[name])))

    style = int(rng.integers(2**31))
    if kind == FLOWER:
        return Flower(
            petal=first,
            centre=second,
            petal_count=pick("petal_count"),
            petal_shape=pick("petal_shape"),
            stem=pick("stem"),
            background=pick("background"),
            style=style,
        )
    # Every other bird wears the colour of its wings or breast on its crown, as most real ones do.
    crown = (first, second, pick("crown"), pick("crown"))[int(rng.integers(4))]
    return Bird(
        breast=first,
        wing=second,
        crown=crown,
        beak_colour=pick("beak_colour"),
        beak=pick("beak"),
        tail=pick("tail"),
        facing=pick("facing"),
        pose=pick("pose"),
        background=pick("background"),
        style=style,
    )


def _pairs(kind: int, held_out: bool) -> list[tuple[int, int]]:
    every = range(len(NAMES))
    return [(i, j) for i in every for j in every if is_held_out(kind, i, j) == held_out]
