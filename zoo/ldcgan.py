"""LDcGAN (chapter 4): the generator with its two attentions, and the discriminator.

B batch, S side of the face, N_i and N_d channels. Faces are RGB in [-1, 1] here. Primal and dual
generator are one network (Sec 4.3.1): the dual pass is a call with the source group's code.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..backend.weights import fill, read_tensors
from .ages import COUNT
from .face_judges import AgeClassifier
from .layers import BatchNorm, Deconv, Encode, ResidualBlock, initialise, tiled
from .ldcgan_parts import COORDINATES, LandmarkPredictor, LdcGanConfig, read_config, scaled

__all__ = [
    "AgeClassifier",
    "Discriminator",
    "Generator",
    "LandmarkPredictor",
    "LdcGanConfig",
    "LdcGanOutput",
    "build",
    "load_ldcgan",
]

MAX_BYTES = 2**29
NORMS = ("batch", "layer")


# --- generator -----------------------------------------------------------------------------------


class LdcGanOutput(NamedTuple):
    """What the generator makes of faces.

    Attributes:
        image: I*, (B, 3, S, S) float32 in [-1, 1].
        change_mask: 1 - f_A of Eq 4.4, (B, 1, S, S) float32 in [0, 1]: how much of each pixel is
            new. (The sentence below the equation has it the other way round; the equation counts.)
        colour: f_C, (B, 3, S, S) float32 in [-1, 1].
    """

    image: Tensor
    change_mask: Tensor
    colour: Tensor


class LandmarkAttention(nn.Module):
    """Eq 4.2 and 4.3: what the step from the face's landmarks to the target's says about features.

    H_l^1 with f_c is a linear layer with ReLU, seen as one channel, and a convolution to N_i
    channels (Sec 4.4.1). Reading: f_attn2 has as many channels as the features it blends, 8 N_i.

    Args:
        side: of f_attn1; f_attn2 is twice as large.
        ni: N_i.
    """

    def __init__(self, side: int, ni: int) -> None:
        super().__init__()
        self.side = side
        self.linear = nn.Sequential(nn.Linear(COORDINATES, side * side), nn.ReLU())
        self.conv = nn.Conv2d(1, ni, 3, 1, 1)
        self.gate = nn.Sequential(Deconv(2 * ni, 8 * ni), nn.Conv2d(8 * ni, 8 * ni, 3, 1, 1))

    def forward(self, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Both attention maps.

        Args:
            target: L*, (B, 136).
            source: L, (B, 136).

        Returns:
            f_attn1 (B, N_i, side, side), zero where nothing moves, and f_attn2
            (B, 8 N_i, 2 side, 2 side) in [0, 1].
        """
        after, before = self._encoded(target), self._encoded(source)
        gate: Tensor = self.gate(torch.cat([after, before], 1)).sigmoid()
        return after - before, gate

    def _encoded(self, landmarks: Tensor) -> Tensor:
        values = self.linear(scaled(landmarks)).view(-1, 1, self.side, self.side)
        encoded: Tensor = self.conv(values)
        return encoded


class Generator(nn.Module):
    """The generator G of Sec 4.3.1 and 4.4.1.

    Reading: strides 1, 2, 2, 2, so that 128 x 128 ends as 16 N_i x 16 x 16 and three deconvolutions
    lead back; four of stride 2, as the text has it, would end at 8 x 8.

    Args:
        config: see `LdcGanConfig`.
    """

    def __init__(self, config: LdcGanConfig) -> None:
        super().__init__()
        ni = config.ni
        self.encode = nn.Sequential(
            Encode(3 + COUNT, 2 * ni, 1), Encode(2 * ni, 4 * ni, 2), Encode(4 * ni, 8 * ni, 2)
        )
        self.deepest = Encode(8 * ni, 16 * ni, 2)
        self.blocks = nn.Sequential(*(ResidualBlock(16 * ni) for _ in range(config.blocks)))
        self.attention = LandmarkAttention(config.size // 8, ni)
        self.decode = Deconv(16 * ni + COUNT + ni, 8 * ni)
        self.rest = nn.Sequential(Deconv(8 * ni, 4 * ni), Deconv(4 * ni, 2 * ni))
        self.masks = nn.Conv2d(2 * ni, 4, 7, 1, 3)  # f_A and f_C; one is faster than two
        initialise(self)

    def forward(
        self, image: Tensor, code: Tensor, landmarks: Tensor, source_landmarks: Tensor
    ) -> LdcGanOutput:
        """Faces at another age.

        Args:
            image: I, (B, 3, S, S) in [-1, 1].
            code: (B, 10), `ages.age_code` of the target group.
            landmarks: L*, (B, 136) at the target age.
            source_landmarks: L, (B, 136) of the face.

        Returns:
            See `LdcGanOutput`.
        """
        code = code.to(image.dtype)
        encoded = self.encode(torch.cat([image, tiled(code, image.shape[2:])], 1))
        hidden = self.blocks(self.deepest(encoded))
        change, gate = self.attention(landmarks, source_landmarks)
        spread = tiled(code.to(hidden.dtype), hidden.shape[2:])
        decoded = self.decode(torch.cat([hidden, spread, change.to(hidden.dtype)], 1))
        blended = encoded * gate + decoded * (1 - gate)  # h_k of Sec 4.3.1
        final = self.masks(self.rest(blended)).float()
        keep, colour = final[:, :1].sigmoid(), final[:, 1:].tanh()  # f_A, f_C
        return LdcGanOutput((1 - keep) * colour + keep * image.float(), 1 - keep, colour)


# --- discriminator -------------------------------------------------------------------------------


class Discriminator(nn.Module):
    """The discriminator D_G of Sec 4.3.1, with an unconditional and an age-conditional head.

    Four 3x3 convolutions of strides 2, 2, 2, 1 lead from 3 x 128 x 128 to 8 N_d x 16 x 16. The age
    code joins them before the fifth. Readings: the first has no batch norm, see
    `hfgan.Discriminator`; a head gives a logit for each of several overlapping patches (Isola et
    al. 2017), and losses average over them: the unconditional one sees 55 pixels at a time, the
    conditional one 95.

    Args:
        config: see `LdcGanConfig`.
        norm: "batch", or "layer" for the penalty of WGAN-GP, which batch norm would falsify
            (Gulrajani et al. 2017, Sec 4).
    """

    def __init__(self, config: LdcGanConfig, norm: str = "batch") -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm must be batch or layer, got {norm!r:.40}")
        nd = config.nd
        widths = (3, nd, 2 * nd, 4 * nd, 8 * nd)
        layers = [
            _down(a, b, stride, norm if a != 3 else None)
            for (a, b), stride in zip(pairwise(widths), (2, 2, 2, 1), strict=True)
        ]
        self.features = nn.Sequential(*layers)
        self.real = nn.Conv2d(8 * nd, 1, 4)
        self.joint = _down(8 * nd + COUNT, 8 * nd, 2, norm)
        self.matching = nn.Conv2d(8 * nd, 1, 4)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 8 N_d, S / 8, S / 8) of images (B, 3, S, S) in [-1, 1]."""
        features: Tensor = self.features(images)
        return features

    def realness(self, features: Tensor) -> Tensor:
        """Logits of D_G(I), (B, patches) float32."""
        logits: Tensor = self.real(features).flatten(1)
        return logits.float()

    def match(self, features: Tensor, code: Tensor) -> Tensor:
        """Logits of D_G(I, C), (B, patches) float32.

        Args:
            features: (B, 8 N_d, h, w).
            code: (B, 10), `ages.age_code`.

        Returns:
            The logits.
        """
        spread = tiled(code.to(features.dtype), features.shape[2:])
        logits: Tensor = self.matching(self.joint(torch.cat([features, spread], 1))).flatten(1)
        return logits.float()


def _down(channels: int, out: int, stride: int, norm: str | None) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, out, 3, stride, 1, bias=norm is None)]
    if norm is not None:
        layers.append(BatchNorm(out) if norm == "batch" else nn.GroupNorm(1, out))
    return nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True))


# --- files ---------------------------------------------------------------------------------------


def build(config: LdcGanConfig) -> nn.ModuleDict:
    """The networks that generation needs.

    Args:
        config: see `LdcGanConfig`.

    Returns:
        "generator" G, "landmarks" G_L and "classifier" D_A, with random weights.
    """
    return nn.ModuleDict(
        {
            "generator": Generator(config),
            "landmarks": LandmarkPredictor(config),
            "classifier": AgeClassifier(config.judge),
        }
    )


def load_ldcgan(path: Path) -> tuple[LdcGanConfig, nn.ModuleDict]:
    """Read the weights that a training wrote.

    Args:
        path: best.safetensors or last.safetensors of the run.

    Returns:
        The configuration and the networks of `build`, for use, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file (says why).
    """
    tensors, meta = read_tensors(path, MAX_BYTES)
    try:
        config = read_config(meta, "config")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    with torch.random.fork_rng(devices=[]):
        networks = build(config)
    fill(networks, tensors, path)
    return config, networks.eval()
