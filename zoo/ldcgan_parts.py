"""LDcGAN's configuration, its landmark predictor G_L, and what landmarks G_L learns (Sec 4.3.1).

Landmarks are the 68 points of iBUG 300-W (Sagonas et al. 2013) as (B, 136) float32: x0, y0, x1, y1
and so on, as shares of the picture's side, y down.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..backend.weights import load_weights, save_weights
from .ages import COUNT
from .layers import Conv, initialise

POINTS = 68
COORDINATES = 2 * POINTS
MAX_BYTES = 64 * 2**20
MOST = {"size": 128, "ni": 32, "nd": 128, "blocks": 16, "latent": 512, "judge": 128}
"""Largest values of a configuration: a file must not ask for networks beyond a few hundred MB."""
SIDES = (64, 128)
SIZES: dict[str, dict[str, int]] = {
    "thesis": {},
    "small": {"ni": 8, "nd": 32, "blocks": 4, "judge": 16},
}
"""Named sizes: what differs from the thesis's network."""

MIRROR = (
    *range(16, -1, -1),  # jaw
    *range(26, 16, -1),  # brows
    *range(27, 31),  # bridge of the nose
    *range(35, 30, -1),  # nostrils
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
    *range(54, 47, -1),  # outer lips, above
    *range(59, 54, -1),  # below
    *range(64, 59, -1),  # inner lips, above
    *range(67, 64, -1),  # below
)
"""Which point of a face becomes point i of its mirror image."""


@dataclass(frozen=True, kw_only=True)
class LdcGanConfig:
    """What decides the networks.

    Attributes:
        size: S, side of the face: 128, or 64 for trials.
        ni: N_i of Sec 4.4.1; the generator is 16 N_i channels wide.
        nd: N_d, channels of the discriminator's first layer.
        blocks: residual blocks of the generator.
        latent: dimensions of a landmark vector inside the predictor.
        judge: channels of the first layer of the age classifier D_A that belongs to the model.
    """

    size: int = 128
    ni: int = 16
    nd: int = 64
    blocks: int = 6
    latent: int = 128
    judge: int = 32

    def __post_init__(self) -> None:
        if self.size not in SIDES:
            raise ValueError(f"size must be 64 or 128, got {self.size!r:.40}")
        for field in fields(self):
            value = getattr(self, field.name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not 1 <= value <= MOST[field.name]:
                raise ValueError(
                    f"{field.name} must be an integer from 1 to {MOST[field.name]}, "
                    f"got {value!r:.40}"
                )

    @classmethod
    def of(cls, name: str, **more: int) -> "LdcGanConfig":
        """A named size.

        Args:
            name: "thesis" or "small".
            more: fields to set otherwise.

        Returns:
            The configuration.

        Raises:
            ValueError: no such name, or a bad value.
        """
        if name not in SIZES:
            raise ValueError(f"unknown size {name!r:.40} of an LDcGAN; use {' or '.join(SIZES)}")
        return cls(**{**SIZES[name], **more})

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LdcGanConfig":
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
            raise ValueError(f"unknown field {min(unknown)!r:.40} in the configuration of LDcGAN")
        return cls(**values)


class LandmarkPredictor(nn.Module):
    """G_L: the landmarks of a face at another age.

    An encoder E makes a latent vector of the landmarks; the decoder is given it with the age code
    and adds what it makes of them to the landmarks. Readings: the decoder adds to the input, so
    that pose and identity are kept from the start; and it also sees features of the face, as a
    shape alone hardly tells how old someone is now, and so how far there is to go.

    Args:
        config: see `LdcGanConfig`.
    """

    def __init__(self, config: LdcGanConfig) -> None:
        super().__init__()
        self.config, latent = config, config.latent
        self.encoder = nn.Sequential(
            nn.Linear(COORDINATES, 2 * latent), nn.ReLU(), nn.Linear(2 * latent, latent)
        )
        strides = config.size.bit_length() - 4  # down to 8 x 8
        widths = [3, *(min(16 << i, 64) for i in range(strides))]
        self.look = nn.Sequential(
            *(Conv(a, b, 3, 2) for a, b in pairwise(widths)),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * widths[-1], latent),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.Linear(2 * latent + COUNT, 2 * latent),
            nn.ReLU(),
            nn.Linear(2 * latent, 2 * latent),
            nn.ReLU(),
            nn.Linear(2 * latent, COORDINATES),
        )
        initialise(self)
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)  # begins with the landmarks as they are

    def forward(self, image: Tensor, landmarks: Tensor, code: Tensor) -> Tensor:
        """Landmarks at the target age.

        Args:
            image: (B, 3, S, S) in [-1, 1], the face.
            landmarks: (B, 136), its own.
            code: (B, 10), `ages.age_code` of the target group.

        Returns:
            L*, (B, 136) float32.
        """
        latent = self.latent(landmarks)
        joined = torch.cat([latent, self.look(image).to(latent.dtype), code.to(latent.dtype)], 1)
        change: Tensor = self.decoder(joined).float() / 8
        return landmarks + change

    def latent(self, landmarks: Tensor) -> Tensor:
        """E(L) of L_lmk, (B, 136) to (B, latent)."""
        code: Tensor = self.encoder(scaled(landmarks))
        return code


def save_predictor(predictor: LandmarkPredictor, path: Path) -> None:
    """Write a landmark predictor as safetensors.

    Args:
        predictor: see `LandmarkPredictor`.
        path: file.

    Raises:
        ValueError: a weight is not finite.
        OSError: the file cannot be written.
    """
    save_weights(predictor, path, {"landmarks": json.dumps(predictor.config.to_json())})


def load_predictor(path: Path) -> LandmarkPredictor:
    """Read a landmark predictor.

    Args:
        path: file that `save_predictor` wrote.

    Returns:
        The network, for use, on the CPU, without gradients for its weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file (says why).
    """

    def made(meta: Mapping[str, str]) -> LandmarkPredictor:
        return LandmarkPredictor(read_config(meta, "landmarks"))

    return load_weights(path, made, MAX_BYTES).eval().requires_grad_(False)


def read_config(meta: Mapping[str, str], name: str) -> LdcGanConfig:
    """The configuration in a file's texts.

    Args:
        meta: the texts.
        name: of the one that holds it as JSON.

    Returns:
        The configuration.

    Raises:
        ValueError: it is not there, or not one.
    """
    try:
        values: Any = json.loads(meta[name])
    except (KeyError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ValueError("not weights of an LDcGAN of this package")
    return LdcGanConfig.from_json(values)


def scaled(landmarks: Tensor) -> Tensor:
    """Landmarks about zero and of a size that suits a linear layer, the same shape."""
    return 4 * (landmarks - 0.5)


def mirrored(landmarks: Tensor) -> Tensor:
    """The landmarks of mirrored faces, (N, 136) to (N, 136)."""
    points = landmarks.view(-1, POINTS, 2)[:, list(MIRROR)]
    return torch.stack([1 - points[..., 0], points[..., 1]], 2).view(-1, COORDINATES)


def group_shapes(landmarks: Tensor, groups: Tensor) -> Tensor:
    """The mean face of each age group.

    Args:
        landmarks: (N, 136) of aligned faces.
        groups: (N,) int64, 0 to 9.

    Returns:
        (10, 136) float32; NaN for a group without a face.
    """
    totals = torch.zeros(COUNT, COORDINATES, dtype=torch.float64)
    totals.index_add_(0, groups.cpu(), landmarks.cpu().double())
    counts = torch.bincount(groups.cpu(), minlength=COUNT)[:, None]
    return (totals / counts).float().to(landmarks.device)


def moved_shapes(landmarks: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """L^GT where a person is known at one age only: the face moved as the mean face does.

    The step from the mean shape of the person's group to that of the target group is turned and
    scaled as the person's face is, which a least-squares similarity from the mean shape to it tells
    (Procrustes), and added. For the person's own group that is the person.

    Args:
        landmarks: L, (B, 136).
        source: (B, 136), mean shapes of their groups.
        target: (B, 136), mean shapes of the target groups.

    Returns:
        (B, 136).
    """
    person, mean, other = (
        torch.view_as_complex(values.reshape(-1, POINTS, 2).contiguous())
        for values in (landmarks, source, target)
    )
    about = mean - mean.mean(1, keepdim=True)
    face = person - person.mean(1, keepdim=True)
    size = (about.abs().square()).sum(1, keepdim=True).clamp(min=1e-12)
    turn = (about.conj() * face).sum(1, keepdim=True) / size
    return landmarks + torch.view_as_real(turn * (other - mean)).reshape(-1, COORDINATES)
