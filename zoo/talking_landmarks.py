"""The landmark predictor: how a face's landmarks move with the sound (Sec 5.3.1).

After Chen et al. 2019: sound and the first landmarks lead by an LSTM to coefficients of a principal
component analysis (PCA) of how faces move.
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ..backend.weights import load_weights, save_weights
from .avwnet_parts import (
    LOUDNESS,
    Shape,
    TalkingLandmarksConfig,
    read_config,
)
from .layers import initialise
from .ldcgan_parts import COORDINATES
from .talking.mfcc import COEFFICIENTS

__all__ = [
    "TalkingLandmarks",
    "TalkingLandmarksConfig",
    "load_talking_landmarks",
    "save_talking_landmarks",
]

MAX_BYTES = 256 * 2**20
LEAST_SPREAD = 1e-4
"""Smallest standard deviation of a component, in shares of the side: a hundredth of a pixel."""


class TalkingLandmarks(nn.Module):
    """Landmarks of each frame, from the sound up to its window and the face as it begins.

    Reading: what moves is predicted, not the face: the LSTM tells where in the space of movements
    a frame is, a second network where the first face is, and their difference is added to the
    first face. So a person keeps their shape, and a photo taken with an open mouth can close it.
    Untrained, the face does not move.

    Args:
        config: see `TalkingLandmarksConfig`.
    """

    basis: Tensor
    spread: Tensor

    def __init__(self, config: TalkingLandmarksConfig) -> None:
        super().__init__()
        self.config, hidden = config, config.hidden
        width = min(128, hidden)
        self.sound = nn.Sequential(
            nn.Conv1d(COEFFICIENTS, width, 5, 2, 1),  # over time: 28 rows to 13
            nn.ReLU(),
            nn.Conv1d(width, width, 5, 2, 1),  # to 6
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6 * width, hidden),
            nn.ReLU(),
        )
        self.shape = Shape()
        self.face = nn.Sequential(
            nn.Linear(COORDINATES, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.lstm = nn.LSTM(2 * hidden, hidden, config.layers, batch_first=True)
        self.coefficients = nn.Linear(hidden, config.components)
        self.beginning = nn.Linear(hidden, config.components)
        # Not torch.eye, which loads PyTorch's compiler where no memory is taken yet ("meta").
        self.register_buffer("basis", torch.zeros(config.components, COORDINATES))
        self.basis.diagonal().fill_(1)
        self.register_buffer("spread", torch.zeros(config.components))
        initialise(self)
        for head in (self.coefficients, self.beginning):
            nn.init.zeros_(head.weight)

    @torch.no_grad()
    def fit_basis(self, offsets: Tensor) -> Tensor:
        """Set the principal components, before training.

        Args:
            offsets: (N, 136), landmarks of frames less the person's neutral ones, such as the
                means of their clips.

        Returns:
            Share of the variance that each component holds, (components,) float32.

        Raises:
            ValueError: fewer offsets than components, not finite, or all the same.
        """
        count = self.config.components
        if offsets.dim() != 2 or offsets.shape[1] != COORDINATES or len(offsets) < count:
            raise ValueError(
                f"offsets are (N, {COORDINATES}) with N at least {count}, "
                f"got {tuple(offsets.shape)}"
            )
        values = offsets.double().cpu()
        values = values - values.mean(0)
        variances, axes = torch.linalg.eigh(values.T @ values / len(values))
        total = variances.sum()
        if not total.isfinite() or total < COORDINATES * LEAST_SPREAD**2:
            raise ValueError("offsets that are not finite or do not move have no components")
        variances, axes = variances.flip(0)[:count].clamp(min=0), axes.flip(1).T[:count]
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        self.basis.copy_(axes * largest.sign())  # the sign of an axis is free; make it certain
        self.spread.copy_(variances.sqrt().clamp(min=LEAST_SPREAD))
        shares: Tensor = variances / total
        return shares.float()

    def project(self, offsets: Tensor) -> Tensor:
        """Coefficients (..., components) of offsets (..., 136), each of variance 1 in the data."""
        coefficients: Tensor = offsets @ self.basis.T / self.spread
        return coefficients

    def forward(
        self, windows: Tensor, first: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Landmarks of the next frames; long sound may come in pieces.

        Args:
            windows: (B, T, 28, 12), T >= 1.
            first: (B, 136), the landmarks of the example face, the same for all pieces.
            state: of the piece before; None at the beginning.

        Returns:
            Landmarks (B, T, 136) float32 and the state after them, (2, layers, B, hidden).
        """
        batch, frames = windows.shape[:2]
        rows = windows.flatten(0, 1).transpose(1, 2) / LOUDNESS
        heard = self.sound(rows).unflatten(0, (batch, frames))
        face = self.face(self.shape(first))
        inputs = torch.cat([heard, face[:, None].expand(-1, frames, -1)], 2)
        before = None if state is None else (state[0].contiguous(), state[1].contiguous())
        hidden, after = self.lstm(inputs, before)
        steps = self.coefficients(hidden).float() - self.beginning(face).float()[:, None]
        moved = first[:, None].float() + (steps * self.spread) @ self.basis
        return moved, torch.stack(after).float()


def save_talking_landmarks(predictor: TalkingLandmarks, path: Path, *, half: bool = False) -> None:
    """Write a landmark predictor as safetensors.

    Args:
        predictor: see `TalkingLandmarks`.
        path: file.
        half: in float16.

    Raises:
        ValueError: a weight is not finite.
        OSError: the file cannot be written.
    """
    meta = {"talking landmarks": json.dumps(predictor.config.to_json())}
    save_weights(predictor, path, meta, half=half)


def load_talking_landmarks(path: Path) -> TalkingLandmarks:
    """Read a landmark predictor.

    Args:
        path: file that `save_talking_landmarks` wrote.

    Returns:
        The network, for use, on the CPU, without gradients for its weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file (says why).
    """

    def made(meta: dict[str, str]) -> TalkingLandmarks:
        return TalkingLandmarks(read_config(meta, "talking landmarks", TalkingLandmarksConfig))

    return load_weights(path, made, MAX_BYTES).eval().requires_grad_(False)
