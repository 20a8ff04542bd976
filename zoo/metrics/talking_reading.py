"""Words that a lip reader reads back from talking faces (Sec 5.3.2, used here to judge).

| frames                                   | what its accuracy is                                |
|------------------------------------------|-----------------------------------------------------|
| the real video                           | the ceiling: how well the reader reads              |
| the first frame, repeated                | the floor of a face that does not move              |
| generated from another clip's sound      | the floor of a mouth that moves, but not to the sound |
| always the most frequent word            | chance                                              |

The reader is one that no generator was trained to please: its answers to a generator that was
trained through it say how well it was deceived.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..data.talking import SILENCE, WordSpan
from ..lipreader import READ, LipReader
from .bootstrap import Bootstrap, Sums
from .talking_parts import FROZEN, GENERATED, GIVEN, REAL, SHUFFLED

READERS_BATCH = 8
"""Words that the reader looks at together."""


class WordWindows(NamedTuple):
    """The words of one clip that the reader knows.

    Attributes:
        labels: (W,) int64, numbers of the words in the reader's vocabulary.
        rows: (W, READ) int64, the frames about the middle of each.
    """

    labels: Tensor
    rows: Tensor


def word_windows(words: Sequence[WordSpan], frames: int, vocabulary: Sequence[str]) -> WordWindows:
    """Where the words of a clip are read, as in the training of readers.

    Args:
        words: of the clip; silence and words that are not in the vocabulary are left out.
        frames: T of the clip. Of clips shorter than a window the last frame is repeated.
        vocabulary: of the reader.

    Returns:
        The windows, moved as far as needed to lie within the clip.
    """
    known = {word: number for number, word in enumerate(vocabulary) if word != SILENCE}
    chosen = [span for span in words if span.word in known]
    middles = torch.tensor([(s.start + s.end) / 2 for s in chosen], dtype=torch.float64)
    start = (middles - READ / 2).round().long().clamp(0, max(0, frames - READ))
    return WordWindows(
        torch.tensor([known[span.word] for span in chosen], dtype=torch.int64),
        (start[:, None] + torch.arange(READ)).clamp(max=frames - 1),
    )


@torch.no_grad()
def answers(reader: LipReader, frames: Tensor, rows: Tensor) -> Tensor:
    """The word that a reader sees in each window: the likeliest on the mean over its frames.

    Args:
        reader: on its device.
        frames: (T, 3, S, S) uint8 of one clip.
        rows: (W, READ) int64, frames of the windows.

    Returns:
        (W,) int64, numbers of words.
    """
    device = next(reader.parameters()).device
    found = [torch.zeros(0, dtype=torch.int64)]
    for some in rows.split(READERS_BATCH):
        windows = frames[some.flatten()].unflatten(0, some.shape).to(device) / 127.5 - 1
        said = reader.read(windows)
        found.append(said.float().mean(1).argmax(1).cpu())
    return torch.cat(found)


class Read(NamedTuple):
    """What a reader answered, of all clips one after another.

    Attributes:
        labels: (W,) int64, the words that were said.
        clips: (W,) int64, in which clip.
        slots: (W,) int64, as which word of the clip, from 0.
        answers: by whose frames, (W,) int64.
    """

    labels: Tensor
    clips: Tensor
    slots: Tensor
    answers: dict[str, Tensor]

    def right(self, who: str) -> Tensor:
        """(W,) bool."""
        return self.answers[who] == self.labels

    def sums(self, who: str, count: int) -> Sums:
        """Right answers and words of each clip.

        Args:
            who: whose frames.
            count: C, all clips.
        """
        none = torch.zeros(count, dtype=torch.float64)
        hits = self.right(who).double()
        return Sums(
            none.index_add(0, self.clips, hits),
            none.index_add(0, self.clips, torch.ones_like(hits)),
        )

    @property
    def chance(self) -> float:
        """Accuracy of the best constant answer: the share of the most frequent word."""
        return self.labels.bincount().max().item() / len(self.labels)

    def balanced(self, who: str) -> float:
        """Accuracy by word, each word counting alike; by chance one over their number."""
        right = self.right(who).double()
        words, place = self.labels.unique(return_inverse=True)
        hits = torch.zeros(len(words), dtype=torch.float64).index_add(0, place, right)
        return (hits / torch.bincount(place)).mean().item()

    def by_slot(self, who: str) -> list[float]:
        """Accuracy of the first, second, ... word of the clips, percent."""
        right = self.right(who).double()
        return [100 * right[self.slots == s].mean().item() for s in self.slots.unique().tolist()]

    def chance_by_slot(self) -> list[float]:
        """Share of the most frequent word of each slot, percent."""
        found = []
        for slot in self.slots.unique().tolist():
            labels = self.labels[self.slots == slot]
            found.append(100 * labels.bincount().max().item() / len(labels))
        return found


WHO = (REAL, GENERATED, GIVEN, SHUFFLED, FROZEN)
MOST_SLOTS = 10
"""Clips of more words are not told apart by the place of a word."""


def read_table(read: Read, draw: Bootstrap) -> tuple[tuple[str, ...], list[list[object]]]:
    """Word accuracy of everyone, with standard errors.

    Args:
        read: what the reader answered.
        draw: see `Bootstrap`.

    Returns:
        Header and rows of a table.
    """
    shuffled = read.sums(SHUFFLED, draw.clips)
    rows: list[list[object]] = []
    for who in WHO:
        own = read.sums(who, draw.clips)
        apart = draw.difference(own, shuffled)
        rows.append(
            [
                who,
                *(100 * own.value, _known(100 * draw.error(own)), 100 * read.balanced(who)),
                own.value / read.chance,
                *(
                    (None, None, None)
                    if who == SHUFFLED
                    else (100 * apart.value, _known(100 * apart.error), _known(apart.errors))
                ),
            ]
        )
    number = len(read.labels.unique())
    rows.append(
        ["chance", 100 * read.chance, None, 100 / number, 1.0, None, None, None]
    )  # fmt: skip
    header = ("", "right, %", "standard error", "each word alike, %", "times chance")
    more = ("above another clip's sound", "its standard error", "in standard errors")
    return (*header, *more), rows


def slot_table(read: Read) -> tuple[tuple[str, ...], list[list[object]]] | None:
    """Word accuracy by the place of the word, where clips have a grammar.

    Args:
        read: what the reader answered.

    Returns:
        Header and rows of a table; None where clips do not all have the same number of words, or
        one or many.
    """
    lengths = set(Counter(read.clips.tolist()).values())
    if len(lengths) != 1 or not 1 < max(lengths) <= MOST_SLOTS:
        return None
    rows: list[list[object]] = [[who, *read.by_slot(who)] for who in WHO]
    rows.append(["the most frequent word", *read.chance_by_slot()])
    return ("", *(f"word {slot + 1}" for slot in range(max(lengths)))), rows


def _known(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def same_network(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same weights, but for the rounding of half precision.

    Args:
        one: any network.
        other: any network.
    """
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        first[name].shape == second[name].shape
        and torch.allclose(first[name].float().cpu(), second[name].float().cpu(), 2e-3, 1e-4)
        for name in first
    )
