"""Inception-v3 (Szegedy et al. 2016) under its standard names, and the image encoder made of it.

The standard weights, torchvision's, were trained by Google on ImageNet with inputs in [-1, 1], the
zoo's own convention. torchvision's `transform_input` undoes the usual ImageNet normalisation to get
there; here nothing has to be undone. AttnGAN's DAMSM looks at images through them, and they can
give the Inception Score (Eq 2.12). (The published implementation of FID has other weights: FID
figures made with these compare among themselves.)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend.weights import fill, hub_file, read_tensors

SIDE = 299
"""Pixels a side that the network was trained on; every image is resized to it."""
CLASSES = 1000
REPOSITORY = "timm/inception_v3.tv_in1k"
FILE = "model.safetensors"
MAX_BYTES = 2**28
AUXILIARY = "AuxLogits."
"""Beginning of the names of a second classifier that helps in training and is not used here."""

Layer = tuple[int, int | tuple[int, int]] | tuple[int, int | tuple[int, int], int]
"""Output channels, kernel, stride (1 if not given: the sides stay; 2 halves them, unpadded)."""


class Features(NamedTuple):
    """What the network sees in images.

    Attributes:
        regions: (B, 768, 17, 17), output of Mixed_6e.
        pool: (B, 2048), mean over the places of Mixed_7c.
        logits: (B, 1000), before the softmax, classes of ImageNet-1k.
    """

    regions: Tensor
    pool: Tensor
    logits: Tensor


class Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU: `conv` and `bn` of the standard names."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, values: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, h, w)."""
        return functional.relu(self.bn(self.conv(values)))


class Mixed(nn.Module):
    """One inception module: branches side by side, their outputs concatenated.

    Args:
        channels: of the input.
        branches: layers by the name of the branch. A branch of one layer has the branch's name, the
            layers of a longer one are numbered from 1. A list instead of a layer forks: its layers
            "a", "b" all read what came before. "branch_pool" reads the pooled input.
        shrink: halve the sides: the pool is a maximum and is itself the last output.
    """

    def __init__(
        self,
        channels: int,
        branches: Mapping[str, Sequence[Layer | list[Layer]]],
        shrink: bool = False,
    ) -> None:
        super().__init__()
        self.shrink = shrink
        self.plan: list[list[list[str]]] = []
        self.out = channels if shrink else 0
        for branch, layers in branches.items():
            steps: list[list[str]] = []
            width = channels
            for number, entry in enumerate(layers, 1):
                stem = branch if len(layers) == 1 else f"{branch}_{number}"
                forks = entry if isinstance(entry, list) else [entry]
                names = [stem + "ab"[i] for i in range(2)] if len(forks) > 1 else [stem]
                for name, layer in zip(names, forks, strict=True):
                    self.add_module(name, _convolution(width, layer))
                width = sum(layer[0] for layer in forks)
                steps.append(names)
            self.plan.append(steps)
            self.out += width

    def forward(self, values: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, h, w)."""
        outputs = []
        for steps in self.plan:
            current = values
            if steps[0] == ["branch_pool"]:
                current = functional.avg_pool2d(values, 3, 1, 1)
            for names in steps:
                forks = [self.get_submodule(name)(current) for name in names]
                current = torch.cat(forks, 1) if len(forks) > 1 else forks[0]
            outputs.append(current)
        if self.shrink:
            outputs.append(functional.max_pool2d(values, 3, 2))
        return torch.cat(outputs, 1)


def _convolution(channels: int, layer: Layer) -> Convolution:
    out, kernel, stride = (*layer, 1)[:3]
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = (0, 0) if stride == 2 else (sides[0] // 2, sides[1] // 2)
    return Convolution(channels, out, kernel, stride, padding)


def _block_a(channels: int, pool: int) -> Mixed:
    """35 x 35."""
    return Mixed(
        channels,
        {
            "branch1x1": [(64, 1)],
            "branch5x5": [(48, 1), (64, 5)],
            "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
            "branch_pool": [(pool, 1)],
        },
    )


def _block_b(channels: int) -> Mixed:
    """35 x 35 to 17 x 17."""
    return Mixed(
        channels,
        {"branch3x3": [(384, 3, 2)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3, 2)]},
        shrink=True,
    )


def _block_c(channels: int, width: int) -> Mixed:
    """17 x 17."""
    row, column = (1, 7), (7, 1)
    return Mixed(
        channels,
        {
            "branch1x1": [(192, 1)],
            "branch7x7": [(width, 1), (width, row), (192, column)],
            "branch7x7dbl": [
                (width, 1),
                (width, column),
                (width, row),
                (width, column),
                (192, row),
            ],
            "branch_pool": [(192, 1)],
        },
    )


def _block_d(channels: int) -> Mixed:
    """17 x 17 to 8 x 8."""
    return Mixed(
        channels,
        {
            "branch3x3": [(192, 1), (320, 3, 2)],
            "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)],
        },
        shrink=True,
    )


def _block_e(channels: int) -> Mixed:
    """8 x 8."""
    fork: list[Layer] = [(384, (1, 3)), (384, (3, 1))]
    return Mixed(
        channels,
        {
            "branch1x1": [(320, 1)],
            "branch3x3": [(384, 1), fork],
            "branch3x3dbl": [(448, 1), (384, 3), fork],
            "branch_pool": [(192, 1)],
        },
    )


class InceptionV3(nn.Module):
    """The network without its auxiliary classifier: 23,834,568 parameters.

    Attributes:
        name: what results call it.
    """

    def __init__(self, name: str = "Inception-v3 (untrained)") -> None:
        super().__init__()
        self.name = name
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = _block_a(192, 32)
        self.Mixed_5c = _block_a(256, 64)
        self.Mixed_5d = _block_a(288, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(768, 128)
        self.Mixed_6c = _block_c(768, 160)
        self.Mixed_6d = _block_c(768, 160)
        self.Mixed_6e = _block_c(768, 192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b = _block_e(1280)
        self.Mixed_7c = _block_e(2048)
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, images: Tensor) -> Features:
        """Features of images; differentiable in them.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1]; resized to 299 x 299, bilinearly.

        Returns:
            See `Features`.
        """
        # Channels last in memory: faster on a CPU, and tensor cores want it too.
        values = _resized(images).contiguous(memory_format=torch.channels_last)
        values = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(values)))
        values = functional.max_pool2d(values, 3, 2)
        values = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(values))
        values = functional.max_pool2d(values, 3, 2)
        values = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(values)))
        values = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(values)))
        regions = self.Mixed_6e(self.Mixed_6d(values))
        pool = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(regions))).mean((2, 3))
        return Features(regions, pool, self.fc(pool))


def _resized(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
    if images.shape[2:] == (SIDE, SIDE):
        return images
    larger = max(images.shape[2:]) > SIDE  # then every pixel should count
    return functional.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=larger)


class InceptionEncoder(nn.Module):
    """DAMSM's image encoder of the paper: Inception-v3, frozen, and two layers that are trained.

    Args:
        dim: D.
    """

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.trunk = InceptionV3().eval().requires_grad_(False)
        self.to_regions = nn.Conv2d(768, dim, 1, bias=False)
        self.to_whole = nn.Linear(2048, dim)
        for layer in (self.to_regions, self.to_whole):
            nn.init.uniform_(layer.weight, -0.1, 0.1)

    def train(self, mode: bool = True) -> "InceptionEncoder":
        """Training or evaluation; the trunk always evaluates, so its statistics stand."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images; differentiable in them.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].

        Returns:
            Regions (B, D, 17, 17) and whole (B, D).
        """
        features = self.trunk(images)
        return self.to_regions(features.regions), self.to_whole(features.pool)


# --- files ---------------------------------------------------------------------------------------


def load_inception(
    source: str | Path = "imagenet",
    *,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> InceptionV3:
    """Load an Inception-v3.

    Args:
        source: "imagenet", the standard weights from the Hub or its cache (96 MB), or the path of a
            safetensors file with the standard names. The auxiliary classifier is left out.
        local_files_only: never ask the Hub.
        cache_dir: the Hub's cache, by default its own.
        token: for the Hub, where one is needed.

    Returns:
        The network in float32 on the CPU, in evaluation mode, its parameters frozen.

    Raises:
        FileNotFoundError: no such file, or the Hub's is neither in its cache nor to be reached.
        ValueError: too large, not safetensors, or a missing, unknown, mis-shaped or not finite
            weight (names it).
    """
    if source == "imagenet":
        path = hub_file(
            REPOSITORY,
            FILE,
            "connect once or give the path of such a file",
            MAX_BYTES,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=token,
        )
        name = "Inception-v3 (ImageNet)"
    else:
        path = Path(source)
        name = f"Inception-v3 of the file {path.name}"
    tensors, _ = read_tensors(path, MAX_BYTES)
    with torch.random.fork_rng(devices=[]):
        network = InceptionV3(name)
    # A count that only training reads; files written before it existed do not have it.
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensors.setdefault(key, value)
    fill(network, tensors, path, ignore=(AUXILIARY,))
    return network.eval().requires_grad_(False)
