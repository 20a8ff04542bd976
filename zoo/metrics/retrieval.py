"""VS similarity and R-precision: does a picture fit its sentence (Sec 2.6.4; Xu et al. 2018)?

| figure        | floor                                   | ceiling                          |
|---------------|-----------------------------------------|----------------------------------|
| VS similarity | pictures beside sentences of others     | real pictures beside their own   |
| R-precision   | 1 in 100; measure it with sentences     | real pictures; below 1 where     |
|               | of others                               | sentences are vague              |

Floors and ceilings are those of an embedding and a set: measure them with the figure.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

CANDIDATES = 100
"""Sentences that a picture is to find its own among (Xu et al. 2018)."""
_ROWS = 256  # of the table of cosines at a time


def cosines(images: Tensor, texts: Tensor) -> Tensor:
    """c(x, y) of each picture and its sentence, (N,) float64 in [-1, 1].

    Args:
        images: (N, D), of any length but 0.
        texts: (N, D); row i belongs to picture i.
    """
    return torch.nn.functional.cosine_similarity(images.double(), texts.double(), dim=1)


def others(count: int, seed: int) -> Tensor:
    """The shuffled-prompt control: for each picture another one's sentence, each used once.

    Args:
        count: N, at least 2.
        seed: of the choice.

    Returns:
        (N,) int64, a permutation without fixed points.

    Raises:
        ValueError: there is no other one.
    """
    if count < 2:
        raise ValueError("cannot shuffle fewer than two prompts")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    chosen = torch.empty_like(order)
    chosen[order] = order.roll(1)  # one cycle through all
    return chosen


def most_candidates(sentences: Sequence[str], labels: Tensor) -> int:
    """From how many sentences `r_precision` can let each picture choose.

    Args:
        sentences: N.
        labels: (N,) int64, classes of the sentences.

    Returns:
        1 (no other one) to N.
    """
    reading, labels = _numbered(sentences), labels.cpu()
    most = 0
    for rows in torch.arange(len(labels)).split(_ROWS):
        most = max(most, int(_alike(reading, labels, rows).sum(1).max()))
    return len(labels) - most + 1


def r_precision(
    images: Tensor,
    texts: Tensor,
    sentences: Sequence[str],
    labels: Tensor,
    seed: int,
    candidates: int = CANDIDATES,
) -> Tensor:
    """Whether each picture finds its own sentence among others by cosine.

    The others are drawn at random from the sentences of pictures of other classes, as Xu et al.
    do: sentences of one class may fit each other's pictures. A tie is lost, so an embedding that
    answers nothing finds nothing.

    Args:
        images: (N, D).
        texts: (N, D); row i belongs to picture i.
        sentences: N, what was embedded, to tell which read alike.
        labels: (N,) int64, classes of the sentences.
        seed: of the draw.
        candidates: how many sentences each picture chooses from, its own included.

    Returns:
        (N,) bool.

    Raises:
        ValueError: too few sentences of other classes.
    """
    reading, labels = _numbered(sentences), labels.cpu()
    # In float64 and normalised in one way, so that copies tie exactly.
    looked = torch.nn.functional.normalize(images.double(), dim=1).cpu()
    read = torch.nn.functional.normalize(texts.double(), dim=1).cpu()
    generator = torch.Generator().manual_seed(seed)
    found = []
    for rows in torch.arange(len(labels)).split(_ROWS):
        alike = _alike(reading, labels, rows)
        least = len(labels) - int(alike.sum(1).max())
        if not 2 <= candidates <= least + 1:
            raise ValueError(
                f"cannot choose from {candidates} sentences: of {len(labels)} only {least} are of "
                "other classes; evaluate more pictures"
            )
        keys = torch.rand(alike.shape, generator=generator).masked_fill(alike, 2.0)
        drawn = keys.topk(candidates - 1, largest=False).indices
        table = looked[rows] @ read.T  # (R, N)
        own = table[torch.arange(len(rows)), rows]
        found.append((table.gather(1, drawn) < own[:, None]).all(1))
    return torch.cat(found)


def _numbered(sentences: Sequence[str]) -> Tensor:
    """(N,) int64, the same number for sentences that read the same."""
    numbers = {sentence: index for index, sentence in enumerate(dict.fromkeys(sentences))}
    return torch.tensor([numbers[sentence] for sentence in sentences])


def _alike(reading: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    """(R, N) bool, which sentences are no mismatch for the pictures of some rows."""
    return (labels[rows, None] == labels) | (reading[rows, None] == reading)
