"""What the mouth strives for in each speech sound, and how sounds next to each other blend.

Each phoneme has a target for every number of the mouth, and a dominance that says how firmly it
insists on it and how far its influence reaches in time. The mouth follows the mean of all targets,
weighted by dominance (Cohen and Massaro 1993, "Modeling coarticulation in synthetic visual
speech", after Löfqvist 1990): lips are round in "two" before the vowel begins, while nothing keeps
an "m" from closing them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..talking.spoken import Span

NUMBERS = ("jaw", "open", "wide", "round", "press", "bite", "tongue")
"""The fields of `procedural_faces.Expression` that speech drives, in the order of all columns."""


class Target(NamedTuple):
    """What one part of a phoneme asks of the mouth.

    Attributes:
        shape: a value for each of `NUMBERS`.
        firm: dominance at the middle of the part, for each number: above 0, 1 for a vowel's.
    """

    shape: tuple[float, ...]
    firm: tuple[float, ...]


def _vowel(
    jaw: float, open_: float, wide: float = 0.0, round_: float = 0.0, firm: float = 1.0
) -> Target:
    return Target((jaw, open_, wide, round_, 0, 0, 0), (firm, firm, firm, 1.3 * firm, 1, 1, 0.6))


def _consonant(
    jaw: float,
    open_: float,
    wide: float = 0.0,
    round_: float = 0.0,
    tongue: float = 0.0,
    *,
    firm: float = 0.5,
    lips: float = 0.25,
) -> Target:
    """A sound that the tongue makes: it holds the jaw, and lets vowels have the lips."""
    tip = 2.0 if tongue else 1.0
    return Target((jaw, open_, wide, round_, 0, 0, tongue), (firm, firm, lips, lips, 1.5, 1.5, tip))


_CLOSED = Target((0.1, 0.0, 0.0, 0.0, 1.0, 0, 0), (1.2, 12, 0.15, 0.15, 12, 3, 1))
_BITTEN = Target((0.1, 0.16, 0.05, 0.0, 0, 1.0, 0), (1.2, 6, 0.4, 1.5, 6, 10, 1))
_HISS = _consonant(0.07, 0.24, 0.35, firm=2.2, lips=0.7)
_HUSH = _consonant(0.1, 0.32, -0.1, 0.62, firm=2.2, lips=2.0)
_STOP = _consonant(0.16, 0.26, 0.1, firm=0.8)
_BACK = _consonant(0.22, 0.28, firm=0.4)
_REST = Target((0.0, 0.0, 0.0, 0.0, 0.0, 0, 0), (0.8, 1.2, 0.6, 0.6, 0.6, 1, 1))

_EE = _vowel(0.16, 0.3, 0.85)
_IH = _vowel(0.24, 0.34, 0.45)
_EH = _vowel(0.45, 0.5, 0.35)
_AE = _vowel(0.68, 0.68, 0.5)
_AA = _vowel(0.9, 0.92, -0.05)
_AH = _vowel(0.5, 0.5, 0.0)
_AO = _vowel(0.72, 0.7, -0.2, 0.45)
_OH = _vowel(0.46, 0.46, -0.2, 0.75)
_UH = _vowel(0.26, 0.36, -0.1, 0.6)
_OO = _vowel(0.2, 0.32, -0.2, 1.0)

VISEMES: dict[str, tuple[Target, ...]] = {
    "SIL": (_REST,),
    **dict.fromkeys(("P", "B", "M"), (_CLOSED,)),
    **dict.fromkeys(("F", "V"), (_BITTEN,)),
    **{name: (_consonant(0.18, 0.3, 0.1, 0, 1.0, firm=2.0),) for name in ("TH", "DH")},
    **dict.fromkeys(("T", "D", "N"), (_STOP,)),
    **dict.fromkeys(("S", "Z"), (_HISS,)),
    **dict.fromkeys(("SH", "ZH", "CH", "JH"), (_HUSH,)),
    **dict.fromkeys(("K", "G", "NG"), (_BACK,)),
    "HH": (_consonant(0.3, 0.35, firm=0.15, lips=0.08),),
    "L": (_consonant(0.3, 0.4, 0.1, 0, 0.75, firm=0.9),),
    "R": (_consonant(0.2, 0.3, -0.1, 0.55, firm=0.8, lips=1.4),),
    "W": (_consonant(0.14, 0.2, -0.25, 1.0, firm=3.0, lips=4.0),),
    "Y": (_consonant(0.14, 0.28, 0.5, firm=0.8, lips=0.8),),
    "IY": (_EE,),
    "IH": (_IH,),
    "EH": (_EH,),
    "AE": (_AE,),
    "AA": (_AA,),
    "AO": (_AO,),
    "UH": (_UH,),
    "UW": (_OO,),
    "AH": (_AH,),
    "ER": (_vowel(0.28, 0.34, -0.1, 0.45),),
    "AX": (_vowel(0.32, 0.36, firm=0.4),),
    "EY": (_EH, _EE),
    "AY": (_AA, _IH),
    "OY": (_AO, _IH),
    "AW": (_AA, _OO),
    "OW": (_OH, _OO),
}
"""Phoneme -> the parts that it goes through, one but for diphthongs."""

BEFORE, AFTER = 17.0, 23.0
"""Per second: how fast dominance falls before a part, where sounds are prepared, and after it."""
_QUICK = 0.6
"""How much faster it falls, per e-fold of dominance above 1: a "p" is firm, and over at once."""
_GLIDES = ((0.5,), (0.3, 0.78))
"""Where in a phoneme its parts have their middles."""


def tracks(phonemes: Sequence[Span], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The numbers of the mouth over time.

    Args:
        phonemes: in the order of time, at least one.
        times: (T,) seconds.

    Returns:
        (T, 7) in the order of `NUMBERS`, each within what `Expression` allows.

    Raises:
        ValueError: no phoneme, or one without a viseme.
    """
    if not phonemes:
        raise ValueError("no phonemes: nothing is said")
    unknown = sorted({span.text for span in phonemes} - set(VISEMES))
    if unknown:
        raise ValueError(f"no mouth shape for the phonemes {', '.join(unknown)}")
    shapes, firm, middles, halves = [], [], [], []
    for text, start, end in phonemes:
        parts = VISEMES[text]
        for part, place in zip(parts, _GLIDES[len(parts) - 1], strict=True):
            shapes.append(part.shape)
            firm.append(part.firm)
            middles.append(start + place * (end - start))
            # Long sounds are held: their dominance begins to fall only near their ends.
            halves.append((end - start) / len(parts) * 0.32)
    away = times[:, None] - np.array(middles)
    beyond = np.maximum(np.abs(away) - np.array(halves), 0)
    rate = np.where(away < 0, BEFORE, AFTER) * beyond
    insist = np.array(firm)
    quick = 1 + _QUICK * np.log(np.maximum(insist, 1))
    weights = insist * np.exp(-rate[:, :, None] * quick)
    blended: NDArray[np.float64] = (weights * np.array(shapes)).sum(1) / weights.sum(1)
    return blended
