"""What age does to a person, as numbers that the drawing follows."""

from math import exp
from typing import NamedTuple

from .specs import HAIR_STYLES, Person, check_age


class Ageing(NamedTuple):
    """The state of a person at an age. All but `strain` are 0 to 1.

    Attributes:
        strain: k of the cardioidal growth strain, see `shape.grown`; rises to 0 in adults.
        puberty: what it adds: jaw, brows, beard. Rises.
        puppy_fat: of cheeks; falls.
        middle: the weight of middle age; rises and falls.
        sag: of skin, lids, corners of the mouth; rises.
        gaunt: loss of fat and bone; rises.
        wrinkles: depth; rises.
        spots: of age on the skin, and its unevenness; rises.
        grey: share of the hairs that are grey; rises.
        recession: how far the hairline has gone back; rises.
        length: of the hair as share of the style's; rises.
        density: of hair; rises in the first years and falls late.
        brows: thickness of the brows as share of the adult's; rises, then falls.
        beard: growth; rises.
    """

    strain: float
    puberty: float
    puppy_fat: float
    middle: float
    sag: float
    gaunt: float
    wrinkles: float
    spots: float
    grey: float
    recession: float
    length: float
    density: float
    brows: float
    beard: float


def ramp(value: float, start: float, stop: float, power: float = 1.0) -> float:
    """0 up to start, 1 from stop on, between them (a share of the way) ** power."""
    share = (value - start) / (stop - start)
    return 0.0 if share <= 0 else 1.0 if share >= 1 else share**power


def logistic(value: float) -> float:
    """1 / (1 + exp(-value)), safe for any finite value."""
    return 1 / (1 + exp(-value)) if value > -500 else 0.0


def ageing(person: Person, age: float) -> Ageing:
    """What age has done to someone.

    Args:
        person: who; some grey, wrinkle or go bald before others.
        age: 0 to 100 years.

    Returns:
        The state, continuous in age.

    Raises:
        ValueError: the age is out of range.
    """
    years = check_age(age)
    shaved = HAIR_STYLES[person.hair_style] == "shaved"
    return Ageing(
        strain=-0.18 * exp(-years / 7),
        puberty=logistic((years - 13.5) / 1.6),
        puppy_fat=exp(-years / 9),
        middle=exp(-(((years - 52) / 20) ** 2)),
        sag=ramp(years, 22, 100, 1.05),
        gaunt=ramp(years, 58, 100, 1.1),
        wrinkles=min(1.0, ramp(years, 17, 100, 0.95) * (1 + person.wrinkling / 7)),
        spots=ramp(years, 35, 95, 1.2),
        grey=logistic((years - 50 + 8 * person.greying) / 6.5),
        recession=person.receding * ramp(years, 20, 82, 0.9),
        length=ramp(years, 0.5, 8) if not shaved else 0.0,
        density=(0.35 + 0.65 * ramp(years, 0.5, 6)) * (1 - 0.3 * ramp(years, 50, 100)),
        brows=(0.35 + 0.3 * ramp(years, 0, 8) + 0.35 * logistic((years - 13.5) / 1.6))
        * (1 - 0.4 * ramp(years, 45, 95)),
        beard=ramp(years, 14, 22) if person.beard else 0.0,
    )
