"""Networks that look at faces and are frozen before a generator is trained, or never meet one.

`AgeClassifier` is D_A of Eq 4.10, `IdentityFeatures` is Phi of Eq 4.12, and `AgeRegressor` is for
evaluation only: nothing is ever trained to please it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend.weights import load_weights, save_weights
from .ages import COUNT, OLDEST
from .layers import BatchNorm

MAX_BYTES = 256 * 2**20
MAX_WIDTH = 128
EMBEDDING = 128
"""Dimensions of an identity."""
LEAST_SIDE = 32

Network = TypeVar("Network", bound="Judge")


class Block(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 1x1 one where the shape changes.

    He et al. 2016.

    Args:
        channels: of the input.
        out: of the output.
        stride: the size is divided by it.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            BatchNorm(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            BatchNorm(out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if channels != out or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), BatchNorm(out)
            )

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, H / stride, W / stride)."""
        return functional.relu(self.body(features) + self.shortcut(features))


class Judge(nn.Module):
    """Five stages of convolutions, each of stride 2 but the second; the last is called conv5.

    Args:
        width: channels of the first stage; the last has 8 times as many.
    """

    kind = "judge"

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        stages: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(3, width, 5, 2, 2, bias=False), BatchNorm(width), nn.ReLU())
        ]
        widths = (width, width, 2 * width, 4 * width, 8 * width)
        stages += [Block(widths[i], widths[i + 1], 2 if i else 1) for i in range(4)]
        self.stages = nn.Sequential(*stages)

    @property
    def channels(self) -> int:
        """Of the last stage."""
        return 8 * self.width

    def conv5(self, images: Tensor) -> Tensor:
        """Features (B, 8 width, S / 16, S / 16) of images (B, 3, S, S) in [-1, 1], S >= 32."""
        features: Tensor = self.stages(images)
        return features

    def pooled(self, images: Tensor) -> Tensor:
        """Means of conv5 over all places, (B, 8 width) float32."""
        return self.conv5(images).float().mean((2, 3))


class AgeClassifier(Judge):
    """D_A of Eq 4.10: logits of the ten age groups.

    Args:
        width: see `Judge`.
    """

    kind = "age groups"

    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.head = nn.Linear(self.channels, COUNT)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10) float32 of images (B, 3, S, S) in [-1, 1]."""
        logits: Tensor = self.head(self.pooled(images))
        return logits.float()


class AgeRegressor(Judge):
    """Years of a face: the mean of a distribution over 0 to 116 (Rothe et al. 2018).

    Args:
        width: see `Judge`.
    """

    kind = "age in years"

    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.head = nn.Linear(self.channels, OLDEST + 1)

    def forward(self, images: Tensor) -> Tensor:
        """Estimated ages in years, (B,) float32, of images (B, 3, S, S) in [-1, 1]."""
        return self.years(self.logits(images))

    def logits(self, images: Tensor) -> Tensor:
        """Of each whole year from 0 to 116, (B, 117) float32."""
        logits: Tensor = self.head(self.pooled(images))
        return logits.float()

    def years(self, logits: Tensor) -> Tensor:
        """Means of the distributions, (B, 117) to (B,)."""
        years = torch.arange(OLDEST + 1, device=logits.device, dtype=logits.dtype)
        return logits.softmax(1) @ years


class IdentityFeatures(Judge):
    """Phi of Eq 4.12: features in which a face is nearest to the same face.

    Reading: the thesis takes conv5 "in our generative network"; features of the network that the
    loss trains can shrink to nothing, so Phi is a network of its own, frozen.

    Args:
        width: see `Judge`.
    """

    kind = "identity"

    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.head = nn.Linear(self.channels, EMBEDDING)

    def forward(self, images: Tensor) -> Tensor:
        """Phi, (B, 8 width, S / 16, S / 16), of images (B, 3, S, S) in [-1, 1]."""
        return self.conv5(images)

    def embed(self, images: Tensor) -> Tensor:
        """Unit vectors (B, 128) float32; their products are cosines."""
        return functional.normalize(self.head(self.pooled(images)).float(), dim=1)


KINDS: Mapping[str, type[Judge]] = {
    judge.kind: judge for judge in (AgeClassifier, AgeRegressor, IdentityFeatures)
}


def save_judge(judge: Judge, path: Path, *, half: bool = False) -> None:
    """Write a judge as safetensors.

    Args:
        judge: one of `KINDS`.
        path: file.
        half: in float16.

    Raises:
        ValueError: a weight is not finite.
        OSError: the file cannot be written.
    """
    meta = {"judge": json.dumps({"kind": judge.kind, "width": judge.width})}
    save_weights(judge, path, meta, half=half)


def load_judge(path: Path, kind: type[Network]) -> Network:
    """Read a judge.

    Args:
        path: file that `save_judge` wrote.
        kind: class that it must be of.

    Returns:
        The network, for use, on the CPU, without gradients for its weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, or a judge of another kind (says which).
    """
    judge = load_weights(path, lambda meta: _build(meta, kind), MAX_BYTES)
    return judge.eval().requires_grad_(False)


def _build(meta: Mapping[str, str], kind: type[Network]) -> Network:
    try:
        values: Any = json.loads(meta["judge"])
        name, width = values["kind"], values["width"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise ValueError("not a judge of faces of this package") from None
    if name != kind.kind:
        raise ValueError(f"judges {name!r:.40}, not {kind.kind!r}; name the file of another one")
    whole = isinstance(width, int) and not isinstance(width, bool)
    if not whole or not 1 <= width <= MAX_WIDTH:
        raise ValueError("a judge of a size that this package does not have")
    return kind(width)
