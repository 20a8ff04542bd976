"""DAMSM, the network that tells how well an image and a text match (Sec 3.3; Xu et al. 2018).

Two encoders map an image's regions and a text's words, and the whole of each, into one space. They
are trained together, first (`train.damsm`); HfGAN then takes the text encoder's vectors as its
condition, phi of Eq 3.2, and the losses (`matching`) as L_DAMSM of Eq 3.5.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend.weights import load_weights, save_weights
from .inception import InceptionEncoder
from .layers import BatchNorm
from .matching import DamsmLoss as DamsmLoss
from .matching import damsm_loss as damsm_loss
from .matching import sentence_scores as sentence_scores
from .matching import word_attention as word_attention
from .matching import word_scores as word_scores
from .text import Vocabulary

MAX_BYTES = 2**29
MAX_VOCABULARY = 100_000
MAX_SIDE = 16
"""Regions of the small encoder along a side, at most."""
IMAGE_ENCODERS = ("small", "inception")


class TextEncoder(nn.Module):
    """Words to vectors: an LSTM that reads a text from the left and one that reads it backwards.

    Two LSTMs and a gather take the place of one bidirectional LSTM on packed sequences. The result
    is the same; no length has to come back from the GPU.

    Args:
        vocabulary_size: ids in use, padding included.
        embedding: dimensions of a word before it is read in its text.
        dim: D, even; each direction gives half.
        dropout: share of the embedding's values that training drops.

    Raises:
        ValueError: `dim` is odd.
    """

    def __init__(
        self, vocabulary_size: int, embedding: int = 300, dim: int = 256, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim must be even, one half for each direction, got {dim}")
        self.embedding = nn.Embedding(vocabulary_size, embedding, padding_idx=0)
        with torch.no_grad():
            self.embedding.weight[1:].uniform_(-0.1, 0.1)
        self.dropout = nn.Dropout(dropout)
        self.forth = nn.LSTM(embedding, dim // 2, batch_first=True)
        self.back = nn.LSTM(embedding, dim // 2, batch_first=True)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode texts; padding has no influence on the words before it.

        Args:
            ids: (B, L) int64.
            mask: (B, L) bool, True where there is a word: from the left, then False.

        Returns:
            Word vectors (B, D, L), 0 where there is no word, and sentence vectors (B, D), the two
            last states; 0 for a text without words. Of the weights' dtype, also inside autocast.
        """
        length = mask.sum(1, keepdim=True)  # (B, 1)
        place = torch.arange(ids.shape[1], device=ids.device)
        turned = torch.where(place < length, length - 1 - place, place)  # (B, L), its own inverse
        # The LSTMs are small, and a text's vectors should not depend on who asks for them.
        with torch.autocast(ids.device.type, enabled=False):
            values = self.dropout(self.embedding(ids))
            forth, _ = self.forth(values)
            back, _ = self.back(_take(values, turned))
        last = _take(torch.cat([forth, back], 2), (length - 1).clamp(min=0))[:, 0]
        words = torch.cat([forth, _take(back, turned)], 2) * mask[:, :, None]
        return words.transpose(1, 2), last * mask[:, :1]


def _take(values: Tensor, places: Tensor) -> Tensor:
    """The vectors (B, K, D) of (B, L, D) at places (B, K)."""
    return values.gather(1, places[:, :, None].expand(-1, -1, values.shape[2]))


class _Block(nn.Module):
    """Residual block of two 3x3 convolutions (He et al. 2016); `stride` 2 halves the sides."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            BatchNorm(out),
            nn.LeakyReLU(0.2),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            BatchNorm(out),
        )
        # The mean of 2x2 pixels, not every second pixel: no pixel of a generated image is left out.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.Conv2d(channels, out, 1, bias=False) if channels != out else nn.Identity(),
        )

    def forward(self, values: Tensor) -> Tensor:
        return functional.leaky_relu(self.path(values) + self.shortcut(values), 0.2)


class SmallImageEncoder(nn.Module):
    """A small residual network that takes the place of Inception-v3, trained with the text encoder.

    Regions are an eighth of the image's side, at most 16 along a side; the whole is the mean over
    places of a further stage at a sixteenth.

    Args:
        dim: D.
        width: channels at half the side; 2, 4 and 8 times as many follow.
    """

    def __init__(self, dim: int = 256, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1, bias=False), BatchNorm(width), nn.LeakyReLU(0.2)
        )
        self.parts = nn.Sequential(
            _Block(width, 2 * width, 2),
            _Block(2 * width, 4 * width, 2),
            _Block(4 * width, 4 * width, 1),
        )
        self.scene = _Block(4 * width, 8 * width, 2)
        self.to_regions = nn.Conv2d(4 * width, dim, 1, bias=False)
        self.to_whole = nn.Linear(8 * width, dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images; differentiable in them.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1], sides of at least 32 pixels.

        Returns:
            Regions (B, D, h, w) and whole (B, D).

        Raises:
            ValueError: another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 32:
            shape = tuple(images.shape)
            raise ValueError(f"images must be (B, 3, H, W) with sides of at least 32, got {shape}")
        # Channels last in memory: faster on a CPU, and tensor cores want it too.
        values = self.parts(self.stem(images.contiguous(memory_format=torch.channels_last)))
        whole = self.to_whole(self.scene(values).mean((2, 3)))
        height, width = (min(MAX_SIDE, side) for side in values.shape[2:])
        if (height, width) != values.shape[2:]:
            values = functional.adaptive_avg_pool2d(values, (height, width))
        return self.to_regions(values), whole


@dataclass(frozen=True)
class DamsmConfig:
    """What a `Damsm` is made of; kept with its weights.

    Attributes:
        vocabulary: the words it knows, see `text.Vocabulary`.
        dim: D, dimensions of the common space.
        embedding: dimensions of a word's embedding.
        image: "small" or "inception", the image encoder.
        width: of the small image encoder.
    """

    vocabulary: tuple[str, ...]
    dim: int = 256
    embedding: int = 300
    image: str = "small"
    width: int = 32

    def __post_init__(self) -> None:
        if not 1 <= len(self.vocabulary) <= MAX_VOCABULARY:
            count = len(self.vocabulary)
            raise ValueError(f"vocabulary must have 1 to {MAX_VOCABULARY} words, got {count}")
        for name, most in (("dim", 2048), ("embedding", 2048), ("width", 256)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} must be an integer from 1 to {most}, got {value!r:.60}")
        if self.image not in IMAGE_ENCODERS:
            names = " or ".join(IMAGE_ENCODERS)
            raise ValueError(f"image must be {names}, got {self.image!r:.60}")

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for `from_json`."""
        return {**asdict(self), "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "DamsmConfig":
        """Build from JSON values that anyone may have written.

        Raises:
            ValueError: an unknown field (names it), none of the vocabulary, or a value that is out
                of range.
        """
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise ValueError(f"config: unknown field {name!r:.60}")
        words = values.get("vocabulary")
        if not isinstance(words, list):
            raise ValueError("config: vocabulary is missing or not a list of words")
        return cls(**{**values, "vocabulary": tuple(words)})


class Damsm(nn.Module):
    """The two encoders.

    Args:
        config: see `DamsmConfig`.
        dropout: of the text encoder, in training.

    Attributes:
        config: see `DamsmConfig`.
        vocabulary: for the texts that `text` encodes.
        text: ids and mask to words and sentence.
        image: images in [-1, 1] to regions and whole.

    Raises:
        ValueError: a word of the vocabulary is not one word, or is there twice.
    """

    def __init__(self, config: DamsmConfig, dropout: float = 0.5) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config.vocabulary)
        self.text = TextEncoder(len(self.vocabulary), config.embedding, config.dim, dropout)
        self.image: SmallImageEncoder | InceptionEncoder
        if config.image == "inception":
            self.image = InceptionEncoder(config.dim)
        else:
            self.image = SmallImageEncoder(config.dim, config.width)


# --- files ---------------------------------------------------------------------------------------


def save_damsm(damsm: Damsm, path: Path, *, half: bool = False) -> None:
    """Write both encoders, the vocabulary and the configuration as safetensors, atomically.

    Args:
        damsm: on any device.
        path: file to write.
        half: weights as float16, half the size, for files to be shipped.

    Raises:
        ValueError: a weight is not finite (names it); nothing is written.
        OSError: the folder is absent or not writable.
    """
    config = json.dumps(damsm.config.to_json(), ensure_ascii=False)
    save_weights(damsm, path, {"model": "damsm", "config": config}, half=half)


def load_damsm(path: Path) -> Damsm:
    """Read what `save_damsm` wrote; nothing in the file runs.

    Args:
        path: a safetensors file.

    Returns:
        The network in float32 on the CPU, in evaluation mode, its parameters frozen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, or a missing, unknown, mis-shaped or not finite weight, or a
            configuration with an unknown field (names it).
    """
    return load_weights(path, _build, MAX_BYTES).eval().requires_grad_(False)


def _build(meta: dict[str, str]) -> Damsm:
    if meta.get("model") != "damsm" or "config" not in meta:
        raise ValueError("not a DAMSM: the file has no such configuration")
    try:
        values = json.loads(meta["config"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"config: not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError("config: not a JSON object")
    return Damsm(DamsmConfig.from_json(values))
