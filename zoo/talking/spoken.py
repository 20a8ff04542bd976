"""What a speech engine hands over: sound, and when each phoneme and word was said."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SILENCE = "SIL"

VOWELS = (
    *("IY", "IH", "EH", "AE", "AA", "AO", "UH", "UW", "AH", "ER", "AX"),  # AX: schwa
    *("EY", "AY", "OY", "AW", "OW"),  # diphthongs
)
CONSONANTS = (
    *("P", "B", "T", "D", "K", "G", "CH", "JH"),
    *("F", "V", "TH", "DH", "S", "Z", "SH", "ZH", "HH"),
    *("M", "N", "NG", "L", "R", "W", "Y"),
)
PHONEMES = (SILENCE, *VOWELS, *CONSONANTS)
"""The one alphabet of both engines: ARPAbet without stress, with AX and SIL."""


class Span(NamedTuple):
    """A stretch of speech.

    Attributes:
        text: a phoneme of `PHONEMES`, or a word in lower case.
        start: seconds from the first sample.
        end: seconds, > start.
    """

    text: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Spoken:
    """One utterance.

    Attributes:
        samples: (N,) float32 in [-1, 1] at `mfcc.SAMPLE_RATE`.
        phonemes: gapless from 0 to the end of the sound; pauses are `SILENCE`.
        words: in order, without overlap, pauses left out.
    """

    samples: NDArray[np.float32]
    phonemes: tuple[Span, ...]
    words: tuple[Span, ...]
