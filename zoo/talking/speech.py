"""Text to speech with the time of every phoneme and word, by a choice of two engines."""

from dataclasses import replace
from typing import Literal

import numpy as np

from .spoken import CONSONANTS, PHONEMES, SILENCE, VOWELS, Span, Spoken

__all__ = ["CONSONANTS", "PHONEMES", "ROOM", "SILENCE", "VOWELS", "Engine", "Span", "Spoken", "say"]

Engine = Literal["formant", "espeak"]

ROOM = 2e-4
"""RMS of the noise of a quiet room, about 60 dB below the speech."""


def say(text: str, *, engine: Engine = "formant", voice: int = 0) -> Spoken:
    """Say an English text. The same text, engine and voice give the same sound.

    The sound has a faint noise, as recordings do: the logarithm in MFCC would else make much of
    the rounding of samples that fade out.

    Args:
        text: words; digits are said one by one, single letters by their names ("a" too, as GRID
            has it), stops of sentences and clauses pause. See `pronounce.spell`.
        engine: "formant", built in, or "espeak", clearer, with neuralpaint[audio].
        voice: seed of the speaker's pitch, tract length and pace, >= 0.

    Returns:
        16 kHz mono sound, peak near 0.5, with the times of its phonemes and words. Both engines
        use the phonemes of `spoken.PHONEMES`.

    Raises:
        ValueError: an unknown engine, a negative voice, no words, or too long a text.
        ImportError: engine "espeak" without its library.
    """
    if voice < 0:
        raise ValueError(f"voice {voice}: a seed is 0 or more")
    if engine == "formant":
        from .formant import speak
    elif engine == "espeak":
        from .espeak import speak
    else:
        raise ValueError(f"engine {engine!r}; choose formant or espeak")
    spoken = speak(text, voice)
    rng = np.random.default_rng(voice)
    room = ROOM * rng.standard_normal(len(spoken.samples), np.float32)
    return replace(spoken, samples=spoken.samples + room)
