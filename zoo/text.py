"""Text for networks: words, their numbers, and tensors of them padded to one length.

The reading of AttnGAN (Xu et al. 2018): lower case, every run of letters and digits is a word, 0 is
padding. A longer caption keeps an ordered random subset of its words in training and its first
words in generation.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MAX_WORDS = 15
"""Words that a caption may have (AttnGAN)."""

_WORD = re.compile(r"\w+")


def tokenize(text: str) -> list[str]:
    r"""Words of a text: lower case, the runs of `\w`; the same for every string.

    Args:
        text: any text, of any length or script.

    Returns:
        Its words in their order; none for a text of spaces, signs or emoji.
    """
    return _WORD.findall(text.lower())


class Tokens(NamedTuple):
    """Texts as numbers.

    Attributes:
        ids: (B, L) int64, the words' ids from the left, then 0.
        mask: (B, L) bool, True where there is a word.
    """

    ids: Tensor
    mask: Tensor


class Vocabulary:
    """The words that a network knows; the id of `words[i]` is i + 1, 0 is padding.

    Args:
        words: each a single word of `tokenize`, none twice.

    Raises:
        ValueError: one is not such a word, or is there twice (names it).
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids: dict[str, int] = {}
        for index, word in enumerate(self.words):
            if not isinstance(word, str) or tokenize(word) != [word]:
                raise ValueError(f"vocabulary: {word!r:.60} is not one word in lower case")
            if word in self._ids:
                raise ValueError(f"vocabulary: the word {word!r:.60} is there twice")
            self._ids[word] = index + 1

    @classmethod
    def build(cls, captions: Iterable[str], least: int = 1) -> "Vocabulary":
        """The words of captions, the most frequent first, in alphabetical order where they tie.

        Args:
            captions: texts.
            least: leave words out that occur less often.

        Returns:
            The vocabulary; it does not depend on the order of the captions.
        """
        counts = Counter(word for caption in captions for word in tokenize(caption))
        kept = [(-count, word) for word, count in counts.items() if count >= least]
        return cls([word for _, word in sorted(kept)])

    def __len__(self) -> int:
        """Ids in use, padding included: one more than there are words."""
        return len(self.words) + 1

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def unknown(self, text: str) -> list[str]:
        """Words of a text that are not in the vocabulary, each once, in the order of the text."""
        return [word for word in dict.fromkeys(tokenize(text)) if word not in self._ids]

    def ids(self, text: str) -> list[int]:
        """Ids of the known words of a text, in its order; unknown words are left out."""
        return [self._ids[word] for word in tokenize(text) if word in self._ids]

    def encode(
        self,
        texts: Sequence[str],
        length: int = MAX_WORDS,
        generator: torch.Generator | None = None,
    ) -> Tokens:
        """Texts as padded tensors; unknown words are left out.

        Args:
            texts: B of them.
            length: L, at least 1. Of a text with more known words only L are kept: its first ones,
                or, where there is a `generator`, a random subset in its order.
            generator: on the CPU.

        Returns:
            (B, L) ids and mask on the CPU. A text without a known word has an empty row.

        Raises:
            ValueError: `length` is below 1.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        known = [self.ids(text) for text in texts]
        longest = length if generator is None else max(length, *map(len, known), 0)
        ids = torch.zeros(len(known), longest, dtype=torch.int64)
        for row, words in zip(ids, known, strict=True):
            row[: len(words)] = torch.tensor(words[:longest], dtype=torch.int64)
        tokens = Tokens(ids, ids > 0)
        return tokens if generator is None else subset(tokens, length, generator)


def subset(tokens: Tokens, length: int, generator: torch.Generator) -> Tokens:
    """Shorten texts to a random subset of their words, in their order; no loop over the texts.

    Args:
        tokens: (B, M), on any device.
        length: L; a text of at most L words keeps them all.
        generator: on the CPU, so that every device gives the same words.

    Returns:
        (B, L), padded on the right; on the device of `tokens`.
    """
    count, longest = tokens.ids.shape
    if longest <= length:
        pad = (0, length - longest)
        return Tokens(*(torch.nn.functional.pad(values, pad) for values in tokens))
    keys = torch.rand(count, longest, generator=generator).to(tokens.ids.device)
    # Padding is taken last; a stable order of the chosen places brings it behind the words.
    chosen = keys.masked_fill(~tokens.mask, 2.0).topk(length, largest=False).indices.sort().values
    return Tokens(tokens.ids.gather(1, chosen), tokens.mask.gather(1, chosen))
