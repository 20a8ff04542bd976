"""The sentences of the GRID corpus: six slots, 51 words, 64,000 sentences.

Source: Cooke, Barker, Cunningham and Shao, "An audio-visual corpus for speech perception and
automatic speech recognition", JASA 120 (2006), table I. The letter w is left out, the only one
whose name has more than one syllable.
"""

import numpy as np

SLOTS = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
"""Command, colour, preposition, letter, digit, adverb."""

WORDS = tuple(sorted(word for slot in SLOTS for word in slot))
"""The 51 words, sorted; no word stands in two slots."""


def sentence(rng: np.random.Generator) -> tuple[str, ...]:
    """Draw a sentence, one word of each slot, each equally likely.

    Args:
        rng: where the choice comes from.

    Returns:
        Six words, as ("bin", "blue", "at", "f", "two", "now").
    """
    return tuple(slot[int(rng.integers(len(slot)))] for slot in SLOTS)
