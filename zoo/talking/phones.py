"""What each phoneme sounds like, as the targets that the formant synthesiser moves between.

Formants of vowels are the means of the men of Peterson and Barney, "Control methods used in a
study of the vowels", JASA 24 (1952), table II. Those of consonants, and the bandwidths, follow
Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67 (1980), tables II and III;
how a stop's second formant leans to the vowel beside it follows the locus equations of Sussman
et al., JASA 90 (1991). Durations are near those of Klatt, JASA 59 (1976).
"""

from functools import cache
from typing import NamedTuple

Formants = tuple[float, float, float]


class Piece(NamedTuple):
    """A stretch of a phoneme with one target.

    Attributes:
        seconds: how long at pace 1.
        formants: F1, F2, F3 in hertz of a man's tract.
        lean: share of the nearest vowel in F2, 0 to 1.
        voice: amplitude of the voice through the tract, 1 in vowels.
        bar: amplitude of the voice through closed lips or tongue: a murmur below 300 Hz.
        breath: amplitude of the noise made in the glottis, through the tract.
        hiss: amplitude of the noise made at a narrowing, past the tract.
        noise: which of `NOISES` that is.
        damping: factor on the bandwidths; a nose damps.
    """

    seconds: float
    formants: Formants
    lean: float = 0.0
    voice: float = 0.0
    bar: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    noise: str = ""
    damping: float = 1.0


BANDWIDTHS = (60.0, 90.0, 150.0, 250.0, 350.0)
"""Of the five formants, hertz."""

UPPER = (3500.0, 4500.0)
"""The fourth and fifth formant, hertz, the same in all sounds."""

NOISES = {
    "lips": (1200.0, 7000.0),
    "teeth": (1400.0, 7500.0),
    "ridge": (3800.0, 7600.0),
    "palate": (2000.0, 5000.0),
    "lip burst": (400.0, 1500.0),
    "ridge burst": (3000.0, 6500.0),
    "velum burst": (1300.0, 2600.0),
}
"""Pass bands of the noises, hertz, by where they are made."""

_MONOPHTHONGS: dict[str, tuple[float, Formants]] = {
    "IY": (0.16, (270, 2290, 3010)),
    "IH": (0.12, (390, 1990, 2550)),
    "EH": (0.14, (530, 1840, 2480)),
    "AE": (0.17, (660, 1720, 2410)),
    "AA": (0.18, (730, 1090, 2440)),
    "AO": (0.18, (570, 840, 2410)),
    "UH": (0.12, (440, 1020, 2240)),
    "UW": (0.16, (300, 870, 2240)),
    "AH": (0.13, (640, 1190, 2390)),
    "ER": (0.17, (490, 1350, 1690)),
    "AX": (0.08, (500, 1500, 2500)),  # a tube without a narrowing
}

_DIPHTHONGS: dict[str, tuple[float, Formants, Formants]] = {
    "EY": (0.20, (480, 1900, 2520), (330, 2200, 2850)),
    "AY": (0.24, (730, 1200, 2450), (380, 2050, 2600)),
    "OY": (0.24, (560, 860, 2400), (380, 1990, 2550)),
    "AW": (0.24, (720, 1250, 2430), (420, 980, 2300)),
    "OW": (0.20, (540, 1050, 2350), (360, 860, 2260)),
}

_SONORANTS: dict[str, Piece] = {
    "W": Piece(0.08, (290, 610, 2150), voice=0.6),
    "Y": Piece(0.08, (260, 2070, 3020), voice=0.6),
    "R": Piece(0.08, (310, 1060, 1380), voice=0.6),
    "L": Piece(0.08, (310, 1050, 2880), voice=0.6),
    "M": Piece(0.08, (280, 1050, 2130), voice=0.25, bar=0.5, damping=2.5),
    "N": Piece(0.07, (280, 1500, 2470), voice=0.25, bar=0.5, damping=2.5),
    "NG": Piece(0.09, (280, 2000, 2900), voice=0.25, bar=0.5, damping=2.5),
}

_FRICATIVES: dict[str, Piece] = {
    "F": Piece(0.11, (340, 1100, 2080), hiss=0.12, noise="lips"),
    "V": Piece(0.07, (220, 1100, 2080), voice=0.15, bar=0.45, hiss=0.07, noise="lips"),
    "TH": Piece(0.10, (320, 1290, 2540), hiss=0.10, noise="teeth"),
    "DH": Piece(0.05, (270, 1290, 2540), voice=0.2, bar=0.45, hiss=0.05, noise="teeth"),
    "S": Piece(0.12, (320, 1390, 2530), hiss=0.40, noise="ridge"),
    "Z": Piece(0.09, (240, 1390, 2530), voice=0.1, bar=0.4, hiss=0.25, noise="ridge"),
    "SH": Piece(0.12, (300, 1840, 2750), hiss=0.40, noise="palate"),
    "ZH": Piece(0.08, (300, 1840, 2750), voice=0.1, bar=0.4, hiss=0.25, noise="palate"),
    "HH": Piece(0.07, (500, 1500, 2500), lean=1.0, breath=0.25),
}

# formants at the release, lean to the vowel, noise, loudness of the burst, breath after it
_STOPS: dict[str, tuple[Formants, float, str, float]] = {
    "P": ((250, 900, 2150), 0.7, "lip burst", 0.30),
    "B": ((200, 900, 2150), 0.7, "lip burst", 0.25),
    "T": ((300, 1750, 2650), 0.4, "ridge burst", 0.45),
    "D": ((200, 1750, 2650), 0.4, "ridge burst", 0.35),
    "K": ((300, 1900, 2400), 0.7, "velum burst", 0.45),
    "G": ((200, 1900, 2400), 0.7, "velum burst", 0.35),
}


@cache
def pieces(phoneme: str) -> tuple[Piece, ...]:
    """The stretches of a phoneme in order.

    Args:
        phoneme: of `spoken.PHONEMES`.

    Returns:
        One piece, two of a diphthong or an affricate, three of a stop: closure, burst, release.
        The piece of silence lasts 0 seconds: a pause has no length of its own.
    """
    if phoneme in _MONOPHTHONGS:
        seconds, formants = _MONOPHTHONGS[phoneme]
        return (Piece(seconds, formants, voice=1.0),)
    if phoneme in _DIPHTHONGS:
        seconds, first, second = _DIPHTHONGS[phoneme]
        return (
            Piece(0.55 * seconds, first, voice=1.0),
            Piece(0.45 * seconds, second, voice=0.85),
        )
    if phoneme in _SONORANTS:
        return (_SONORANTS[phoneme],)
    if phoneme in _FRICATIVES:
        return (_FRICATIVES[phoneme],)
    if phoneme in ("CH", "JH"):
        voiced = phoneme == "JH"
        tract = (200.0 if voiced else 300.0, 1800.0, 2820.0)
        closure = Piece(0.045, tract, bar=0.35 if voiced else 0.0)
        hiss = Piece(0.08, tract, bar=0.2 if voiced else 0.0, hiss=0.4, noise="palate")
        return (closure, hiss._replace(seconds=0.055, hiss=0.3) if voiced else hiss)
    if phoneme in _STOPS:
        tract, lean, noise, burst = _STOPS[phoneme]
        voiced = phoneme in "BDG"
        return (
            Piece(0.06, tract, lean, bar=0.35 if voiced else 0.0),
            Piece(0.01, tract, lean, hiss=burst, noise=noise),
            Piece(0.01, tract, lean, voice=0.4)
            if voiced
            else Piece(0.035, tract, (1 + lean) / 2, breath=0.2, hiss=0.05, noise=noise),
        )
    if phoneme == "SIL":
        return (Piece(0.0, (500, 1500, 2500)),)
    raise ValueError(f"unknown phoneme {phoneme!r}; see spoken.PHONEMES")
