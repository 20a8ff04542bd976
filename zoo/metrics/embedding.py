"""Visual-semantic embedding: pictures and sentences in one space (Sec 2.6.4; Zhang et al. 2018).

VS similarity is the cosine of a picture and its sentence there. The embedding is a judge: trained
on real pairs with the bi-directional ranking loss, apart from DAMSM and built otherwise (it
convolves over words where DAMSM has an LSTM, and knows no attention between words and regions), so
a generator trained with the DAMSM loss has not been trained to please it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...backend.weights import load_weights, save_weights
from ..text import Vocabulary
from .classifier import Look, Trunk

WORDS = 32
"""Words of a sentence that are read; captions people wrote are longer than those of a generator."""
MARGIN = 0.2
"""Delta of the ranking loss; Sec 2.6.4 gives no value, this one is that of Kiros et al. 2014."""
QUESTIONS = 8
MAX_BYTES = 256 * 2**20
MAX_WIDTH, MAX_DIM = 256, 1024


class Sentences(nn.Module):
    """f_t: a sentence from its words, by two convolutions over three words and a maximum.

    Args:
        vocabulary_size: ids, padding included.
        dim: D of the common space.
        width: of a word.
    """

    def __init__(self, vocabulary_size: int, dim: int, width: int = 128) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary_size, width, padding_idx=0)
        self.first = nn.Conv1d(width, width, 3, 1, 1)
        self.second = nn.Conv1d(width, width, 3, 1, 1)
        self.out = nn.Linear(width, dim)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) ids and mask to (B, D); what is behind the mask does not matter."""
        there = mask[:, None].float()  # (B, 1, L)
        values = self.words(ids).transpose(1, 2) * there  # (B, W, L)
        values = torch.relu(values + self.first(values)) * there
        values = torch.relu(values + self.second(values)) * there
        # All values are 0 or more, so the maximum is over words; of no words it is 0.
        return self.out(values.float().amax(2))  # type: ignore[no-any-return]


class Pictures(nn.Module):
    """f_v: a picture, looked at in several places.

    Args:
        dim: D of the common space.
        width: of the `Trunk`.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.trunk = Trunk(width)
        self.look = Look(self.trunk.channels, QUESTIONS)
        self.out = nn.Linear(QUESTIONS * self.trunk.channels, dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to (B, D)."""
        return self.out(self.look(self.trunk(images)).flatten(1))  # type: ignore[no-any-return]


class Embedding(nn.Module):
    """Both mappings; unit vectors come out, so that a scalar product is the cosine c(x, y).

    Args:
        vocabulary: the words it knows.
        dim: D.
        width: of the `Trunk`.
    """

    def __init__(self, vocabulary: Sequence[str], dim: int = 128, width: int = 32) -> None:
        super().__init__()
        self.vocabulary = Vocabulary(vocabulary)
        self.dim, self.width = dim, width
        self.sentences = Sentences(len(self.vocabulary), dim)
        self.pictures = Pictures(dim, width)

    def look(self, images: Tensor) -> Tensor:
        """Place pictures.

        Args:
            images: (B, 3, S, S) in [-1, 1], S >= 8.

        Returns:
            (B, D) float32 of length 1.
        """
        return functional.normalize(self.pictures(images).float(), dim=1)

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Place sentences.

        Args:
            ids: (B, L), see `text.Tokens`.
            mask: (B, L).

        Returns:
            (B, D) float32 of length 1.
        """
        return functional.normalize(self.sentences(ids, mask).float(), dim=1)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Place texts: (B, D) of length 1, on the device of the network; unknown words are dropped.

        Args:
            texts: B sentences, of which the first `WORDS` known words are read.
        """
        place = self.sentences.out.weight.device
        ids, mask = self.vocabulary.encode(texts, WORDS)
        return self.read(ids.to(place), mask.to(place))


def ranking_loss(
    images: Tensor, texts: Tensor, margin: float = MARGIN, same: Tensor | None = None
) -> Tensor:
    """The bi-directional ranking loss of Sec 2.6.4 over all mismatched pairs of a batch.

    Args:
        images: (B, D) of length 1.
        texts: (B, D) of length 1; row i belongs to picture i.
        margin: delta.
        same: (B, B) bool, True where text j fits picture i as well as its own does (the same
            sentence): no mismatch.

    Returns:
        Scalar: the sum over mismatches, averaged over the pictures.
    """
    cosines = images @ texts.T  # (B, B): c(f_v(v_i), f_t(t_j))
    true = cosines.diagonal()
    away = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    if same is not None:
        away = away | same
    wrong_text = torch.relu(margin - true[:, None] + cosines)  # picture i beside text j
    wrong_image = torch.relu(margin - true[None, :] + cosines)  # text j beside picture i
    return (wrong_text + wrong_image).masked_fill(away, 0).sum() / len(cosines)


def save_embedding(embedding: Embedding, path: Path) -> None:
    """Write an embedding as safetensors.

    Args:
        embedding: see `Embedding`.
        path: file.

    Raises:
        ValueError: a weight is not finite.
        OSError: the file cannot be written.
    """
    words = embedding.vocabulary.words
    shape = {"vocabulary": words, "dim": embedding.dim, "width": embedding.width}
    save_weights(embedding, path, {"embedding": json.dumps(shape)})


def load_embedding(path: Path) -> Embedding:
    """Read an embedding.

    Args:
        path: file that `save_embedding` wrote.

    Returns:
        The network, for use.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file (says why).
    """
    return load_weights(path, _build, MAX_BYTES).eval()


def _build(meta: dict[str, str]) -> Embedding:
    try:
        shape = json.loads(meta["embedding"])
        words, dim, width = shape["vocabulary"], shape["dim"], shape["width"]
        vocabulary = Vocabulary(words)
    except (KeyError, ValueError, TypeError, RecursionError):
        raise ValueError("not an embedding of this package") from None
    known = isinstance(dim, int) and 1 <= dim <= MAX_DIM
    if not known or not isinstance(width, int) or not 1 <= width <= MAX_WIDTH:
        raise ValueError("an embedding of sizes that this package does not have")
    return Embedding(vocabulary.words, dim, width)
