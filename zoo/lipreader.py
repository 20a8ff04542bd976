"""The lip reader: words from the frames of a mouth (Sec 5.3.2, Eq 5.6 and 5.7).

It is pretrained and frozen before the generator is trained; another one, trained apart, is only for
evaluation. After Stafylakis & Tzimiropoulos 2017: a convolution over space and time, a residual
network that sees each frame, a bidirectional LSTM of two layers, and a log-softmax for each frame.
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend.weights import load_weights, save_weights
from .avwnet_parts import SIDE, LipReaderConfig, read_config
from .face_judges import Block
from .layers import BatchNorm, initialise

__all__ = ["READ", "LipReader", "LipReaderConfig", "grey", "load_reader", "save_reader"]

MAX_BYTES = 256 * 2**20
READ = 16
"""Frames that are read together: 0.64 s, centred on the middle of a word."""
AROUND = 5
"""Frames that the first layer sees at once."""
TOP, LEFT, CROP = 56, 32, 64
"""Where the mouth is: the square of the stabilised crop that is looked at, in pixels of 128."""
LUMA = (0.299, 0.587, 0.114)


class LipReader(nn.Module):
    """Log probabilities of words, frame by frame.

    Readings: of the 128x128 frame only the part about the mouth is looked at, which is all that
    the cited network sees too. The first layer's convolution over 5 frames of one channel is the
    same as one over 5 channels, as which it is computed.

    Args:
        config: see `LipReaderConfig`.
    """

    def __init__(self, config: LipReaderConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.first = nn.Sequential(
            nn.Conv2d(AROUND, width, 7, 2, 3, bias=False),
            BatchNorm(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        stages: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(config.blocks):
            out = width << stage
            for block in range(count):
                stages.append(Block(channels, out, 2 if stage and not block else 1))
                channels = out
        self.residual = nn.Sequential(*stages)
        self.lstm = nn.LSTM(channels, config.hidden, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * config.hidden, len(config.words))
        initialise(self)

    def forward(self, frames: Tensor) -> Tensor:
        """Read frames.

        Args:
            frames: (B, T, 1, 128, 128) grey in [-1, 1], differentiable.

        Returns:
            p, (B, T, V) float32 log probabilities of the words.

        Raises:
            ValueError: frames of another shape.
        """
        if frames.dim() != 5 or frames.shape[2:] != (1, SIDE, SIDE):
            raise ValueError(f"frames are (B, T, 1, {SIDE}, {SIDE}), got {tuple(frames.shape)}")
        batch, count = frames.shape[:2]
        mouths = frames[:, :, 0, TOP : TOP + CROP, LEFT : LEFT + CROP]
        around = AROUND // 2
        padded = functional.pad(mouths, (0, 0, 0, 0, around, around))
        stacks = padded.unfold(1, AROUND, 1).permute(0, 1, 4, 2, 3).flatten(0, 1)
        features = self.residual(self.first(stacks)).mean((2, 3))  # m_I of Eq 5.6
        states, _ = self.lstm(features.unflatten(0, (batch, count)))
        read: Tensor = functional.log_softmax(self.head(states).float(), 2)
        return read

    def train(self, mode: bool = True) -> "LipReader":
        """As of any network, but for the LSTM, which has nothing that differs in use.

        cuDNN gives no gradients through an LSTM in use, and those are what a generator learns by.
        """
        super().train(mode)
        self.lstm.train()
        return self

    def read(self, frames: Tensor) -> Tensor:
        """`forward` of colour frames (B, T, 3, 128, 128) in [-1, 1]."""
        read: Tensor = self(grey(frames))
        return read


def grey(frames: Tensor) -> Tensor:
    """Luma (ITU-R BT.601) of RGB frames: (..., 3, H, W) to (..., 1, H, W)."""
    luma = torch.tensor(LUMA, dtype=frames.dtype, device=frames.device).view(3, 1, 1)
    return (frames * luma).sum(-3, keepdim=True)


def save_reader(reader: LipReader, path: Path, *, half: bool = False) -> None:
    """Write a lip reader as safetensors.

    Args:
        reader: see `LipReader`.
        path: file.
        half: in float16.

    Raises:
        ValueError: a weight is not finite.
        OSError: the file cannot be written.
    """
    save_weights(reader, path, {"reader": json.dumps(reader.config.to_json())}, half=half)


def load_reader(path: Path) -> LipReader:
    """Read a lip reader.

    Args:
        path: file that `save_reader` wrote.

    Returns:
        The network, for use, on the CPU, without gradients for its weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file (says why).
    """

    def made(meta: dict[str, str]) -> LipReader:
        return LipReader(read_config(meta, "reader", LipReaderConfig))

    return load_weights(path, made, MAX_BYTES).eval().requires_grad_(False)
