"""HfGAN (chapter 3): hierarchically fused generator, and its one discriminator.

B batch, L words of a sentence, D dimension of the text, S side of the image, N_g and N_d channels.
Images are RGB in [-1, 1] here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .layers import BatchNorm, Conv, Up, enlarged, initialise, tiled

SIZES = {64: (64, 64), 128: (48, 48), 256: (32, 64)}
"""N_g and N_d by side. The thesis trains 256; smaller sides have fewer upscale operations in stage
1 and wider layers, so that the first feature map, 4 x 4, keeps enough channels."""

FUSIONS = ("proj", "identity")
MAX_VOCABULARY = 100_000
MAX_WIDTH = 512


@dataclass(frozen=True, kw_only=True)
class HfGanConfig:
    """What decides the networks.

    Attributes:
        size: S, side of the image: 64, 128 or 256.
        ng: N_g, channels of the fused feature maps.
        nd: N_d, channels of the discriminator's first layer.
        z: dimension of the noise.
        condition: dimension of I_s.
        dim: D.
        embedding: dimension of a word before the text encoder.
        growth: channels that a dense layer adds.
        fusion: local feature fusion. "proj": 1x1 convolutions bring the dense block and its input
            to N_g channels; "identity": the block has as many as its input.
        vocabulary: the words that the text encoder knows.
    """

    size: int = 256
    ng: int = 32
    nd: int = 64
    z: int = 100
    condition: int = 100
    dim: int = 256
    embedding: int = 300
    growth: int = 32
    fusion: str = "proj"
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size must be 64, 128 or 256, got {self.size!r}")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be proj or identity, got {self.fusion!r}")
        for name in ("ng", "nd", "z", "condition", "dim", "embedding", "growth"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= MAX_WIDTH:
                raise ValueError(f"{name} must be an integer from 1 to {MAX_WIDTH}, got {value!r}")
        if self.dim % 2:
            raise ValueError(f"dim must be even, got {self.dim}")
        words = self.vocabulary
        if len(words) > MAX_VOCABULARY or not all(isinstance(word, str) for word in words):
            raise ValueError(f"vocabulary must be at most {MAX_VOCABULARY} words")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "HfGanConfig":
        """From JSON values.

        Args:
            values: fields by name.

        Returns:
            The configuration.

        Raises:
            ValueError: an unknown field (names it) or a bad value.
        """
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown field {min(unknown)!r} in the configuration of an HfGAN")
        words = values.get("vocabulary", [])
        if not isinstance(words, (list, tuple)):
            raise ValueError("vocabulary must be a list of words")
        return cls(**{**values, "vocabulary": tuple(words)})


# --- generator -----------------------------------------------------------------------------------


class Condition(NamedTuple):
    """The conditioning augmentation of a sentence.

    Attributes:
        vector: I_s, (B, condition).
        mean: mu, the same shape; the discriminator's condition.
        log_variance: the same shape.
    """

    vector: Tensor
    mean: Tensor
    log_variance: Tensor


class ConditioningAugmentation(nn.Module):
    """F_ca of Eq 3.2 (Zhang et al. 2017): a sentence becomes a Gaussian, and I_s a draw from it.

    Args:
        dim: D of the sentence.
        condition: dimension of I_s.
    """

    def __init__(self, dim: int, condition: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, 4 * condition)
        self.glu = nn.GLU(1)

    def forward(self, sentence: Tensor, draw: Tensor | None = None) -> Condition:
        """The condition of sentences.

        Args:
            sentence: (B, D).
            draw: (B, condition) standard normal; None takes the mean.

        Returns:
            The condition.
        """
        mean, log_variance = self.glu(self.fc(sentence)).float().chunk(2, 1)
        vector = mean if draw is None else mean + draw * (0.5 * log_variance).exp()
        return Condition(vector, mean, log_variance)


class WordAttention(nn.Module):
    """A^attn of Eq 3.1: what the sentence says about each pixel.

    Args:
        channels: of the feature map.
        dim: D of the words.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(dim, channels, 1, bias=False)

    def forward(self, features: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted means of words.

        Args:
            features: (B, C, H, W).
            words: (B, D, L).
            mask: (B, L) bool, True where there is a word.

        Returns:
            I_w (B, C, H, W), and the weights (B, L, H, W), which sum to one over the words.
        """
        keys = self.project(words)  # (B, C, L)
        scores = torch.bmm(keys.transpose(1, 2), features.flatten(2)).float()  # (B, L, H W)
        weights = scores.masked_fill(~mask[:, :, None], -torch.inf).softmax(1)
        context = torch.bmm(keys, weights.to(keys.dtype))
        return context.view_as(features), weights.view(*weights.shape[:2], *features.shape[2:])


class DenseBlock(nn.Module):
    """Four dense layers and local feature fusion, H_dense(F) + F of Eq 3.7.

    Args:
        channels: of the input.
        growth: that each layer adds.
        fused: N_g; None keeps the input's channels and adds it as it is.
    """

    LAYERS = 4

    def __init__(self, channels: int, growth: int, fused: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels + i * growth, growth, 3, 1, 1), nn.ReLU())
            for i in range(self.LAYERS)
        )
        self.out = channels if fused is None else fused
        self.fuse = nn.Conv2d(channels + self.LAYERS * growth, self.out, 1)
        self.shortcut = nn.Identity() if fused is None else nn.Conv2d(channels, fused, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out, H, W)."""
        known = features
        for layer in self.layers:
            known = torch.cat([known, layer(known)], 1)
        fused: Tensor = self.fuse(known) + self.shortcut(features)
        return fused


class GeneratorOutput(NamedTuple):
    """What the generator makes.

    Attributes:
        images: (B, 3, S, S) in [-1, 1].
        attention: weights of the words in stages 2 and 3, (B, L, h, w) each.
        features: F1, F2, F2f, F3, F3f of Eq 3.6-3.9 by name; F2 and F2f are those before and after
            global fusion of Fig 3.10.
        condition: of the sentence.
    """

    images: Tensor
    attention: tuple[Tensor, Tensor]
    features: dict[str, Tensor]
    condition: Condition


class Generator(nn.Module):
    """The generator G of Sec 3.4.2.

    Args:
        config: see `HfGanConfig`.
    """

    def __init__(self, config: HfGanConfig) -> None:
        super().__init__()
        ng, dim, size = config.ng, config.dim, config.size
        upscales = (size // 16).bit_length() - 1  # from 4 to a quarter of the side
        self.first = ng << upscales  # 16 N_g at 256
        self.augment = ConditioningAugmentation(dim, config.condition)
        self.fc = nn.Sequential(
            nn.Linear(config.z + config.condition, 2 * 16 * self.first, bias=False),
            BatchNorm(2 * 16 * self.first),
            nn.GLU(1),
        )
        self.stage1 = nn.Sequential(
            *(Up(self.first >> i, self.first >> (i + 1)) for i in range(upscales))
        )
        channels = ng + config.condition + ng
        fused = ng if config.fusion == "proj" else None
        self.attention2, self.attention3 = WordAttention(ng, dim), WordAttention(ng, dim)
        self.dense2 = DenseBlock(channels, config.growth, fused)
        self.dense3 = DenseBlock(channels, config.growth, fused)
        self.dup2 = nn.Conv2d(self.dense2.out, ng, 3, 1, 1)
        self.dup3 = nn.Conv2d(self.dense3.out, ng, 3, 1, 1)
        self.sup1 = nn.Conv2d(ng, ng, 1, bias=False)
        self.sup2 = nn.Conv2d(ng, ng, 1, bias=False)
        self.image = nn.Conv2d(ng, 3, 3, 1, 1)
        initialise(self)

    def forward(
        self,
        noise: Tensor,
        sentence: Tensor,
        words: Tensor,
        mask: Tensor,
        draw: Tensor | None = None,
    ) -> GeneratorOutput:
        """Images of sentences.

        Args:
            noise: z, (B, z) standard normal.
            sentence: (B, D).
            words: (B, D, L).
            mask: (B, L) bool, True where there is a word; at least one in each row.
            draw: (B, condition) standard normal, of the conditioning augmentation, for training;
                None takes its mean.

        Returns:
            See `GeneratorOutput`.
        """
        condition = self.augment(sentence, draw)
        start = self.fc(torch.cat([noise, condition.vector], 1)).view(-1, self.first, 4, 4)
        f1 = self.stage1(start)  # Eq 3.6
        context1, weights1 = self.attention2(f1, words, mask)
        d2 = self.dense2(self._joined(f1, condition.vector, context1))
        f2 = self.dup2(enlarged(d2))  # Eq 3.7
        f2f = f2 + self.sup1(enlarged(f1))
        context2, weights2 = self.attention3(f2f, words, mask)
        d3 = self.dense3(self._joined(f2f, condition.vector, context2))
        f3 = self.dup3(enlarged(d3))  # Eq 3.8
        # Eq 3.9. Reading: H_sup2(H_sup1(F1)) + H_sup2(F2) = H_sup2(F2f), as both are the linear
        # layers of Eq 3.7.
        f3f = f3 + self.sup2(enlarged(f2f))
        features = {"F1": f1, "F2": f2, "F2f": f2f, "F3": f3, "F3f": f3f}
        images = self.image(f3f).float().tanh()
        return GeneratorOutput(images, (weights1, weights2), features, condition)

    def _joined(self, features: Tensor, sentence: Tensor, words: Tensor) -> Tensor:
        """F_d of Eq 3.6 and 3.7."""
        spread = tiled(sentence.to(features.dtype), features.shape[2:])
        return torch.cat([features, spread, words], 1)


# --- discriminator -------------------------------------------------------------------------------


class Discriminator(nn.Module):
    """The discriminator D of Sec 3.4.3, with an unconditional and a conditional head.

    Four convolutions of stride 2, blocks of stride 2 down to 4 x 4, and as many blocks that lead
    back to 8 N_d channels.

    Reading: the first convolution has no batch norm, as in AttnGAN, though the text gives one to
    each. Real and generated images come in batches of their own; normalised at once, a batch of one
    colour looks like any other, and G did not learn the colours of a test set of plain squares.

    Args:
        config: see `HfGanConfig`.
    """

    def __init__(self, config: HfGanConfig) -> None:
        super().__init__()
        nd = config.nd
        downscales = (config.size // 64).bit_length() - 1  # 2 at 256
        layers = [Conv(3, nd, 3, 2, norm=False), Conv(nd, 2 * nd, 3, 2)]
        layers += [Conv(2 * nd, 4 * nd, 3, 2), Conv(4 * nd, 8 * nd, 3, 2)]
        widths = [8 * nd << i for i in range(downscales + 1)]
        layers += [Conv(a, b, 4, 2) for a, b in pairwise(widths)]
        layers += [Conv(a, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)]
        self.features = nn.Sequential(*layers)
        self.real = nn.Conv2d(8 * nd, 1, 4)
        self.joint = Conv(8 * nd + config.condition, 8 * nd)
        self.matching = nn.Conv2d(8 * nd, 1, 4)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 8 N_d, 4, 4) of images (B, 3, S, S) in [-1, 1]."""
        features: Tensor = self.features(images)
        return features

    def realness(self, features: Tensor) -> Tensor:
        """Logits of D(t), (B,)."""
        logits: Tensor = self.real(features).flatten()
        return logits.float()

    def match(self, features: Tensor, condition: Tensor) -> Tensor:
        """Logits of D(t | I_s), (B,).

        Args:
            features: (B, 8 N_d, 4, 4).
            condition: (B, condition), the mean of the sentence's Gaussian.

        Returns:
            The logits.
        """
        spread = tiled(condition.to(features.dtype), features.shape[2:])
        logits: Tensor = self.matching(self.joint(torch.cat([features, spread], 1))).flatten()
        return logits.float()
