"""Residual networks (He et al. 2016) without their classifier, under the standard names.

`conv1`, `bn1`, `layer1.0.conv1`, `layer2.0.downsample.0` and so on, so that the standard weights of
ResNet-18 and ResNet-34 fit into those with 64 channels.
"""

from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ..backend.weights import fill, hub_file, read_tensors

Stem = Literal["standard", "plain"]

REPOSITORY = "timm/resnet34.tv_in1k"
FILE = "model.safetensors"
MAX_BYTES = 128 * 2**20


def conv3x3(inputs: int, outputs: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A 3x3 convolution that keeps the sides, or divides them by the stride, rounding up."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to their input.

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride)), at least 0."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x), inplace=True)


class ResNet(nn.Module):
    """The stages of a ResNet; stage i has `width * 2**i` channels and halves the sides.

    Batch norm takes its statistics from the batch in training mode and from the past in evaluation
    mode; only then do images not depend on their neighbours in the batch.

    Args:
        inputs: channels of the image.
        width: channels of the stem and of the first stage; 64 is standard.
        blocks: basic blocks in each stage; (3, 4, 6, 3) is ResNet-34, (2, 2, 2, 2) is ResNet-18.
        stem: "standard", 7x7 with stride 2, then a max pool, and a first stage that keeps its
            sides; "plain" (Huang et al. 2019), 3x3 with stride 2, and no pool.
    """

    def __init__(
        self, inputs: int, width: int, blocks: tuple[int, ...], stem: Stem = "standard"
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.outputs = width * 2 ** (len(blocks) - 1)
        if stem == "standard":
            self.conv1 = nn.Conv2d(inputs, width, 7, 2, padding=3, bias=False)
        else:
            self.conv1 = conv3x3(inputs, width, 2)
        self.bn1 = nn.BatchNorm2d(width)
        # The pool and the first stage's stride stand for each other.
        self.pool = nn.MaxPool2d(3, 2, padding=1) if stem == "standard" else nn.Identity()
        before = width
        for i, count in enumerate(blocks):
            after, stride = width * 2**i, 1 if i == 0 and stem == "standard" else 2
            stage = [
                BasicBlock(before if j == 0 else after, after, stride if j == 0 else 1)
                for j in range(count)
            ]
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))
            before = after
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """All that the network makes of an image, from fine to coarse.

        Args:
            x: (B, inputs, H, W), any sides.

        Returns:
            The stem's output (B, width, ceil(H / 2), ceil(W / 2)) and that of each stage.
        """
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        features = [x]
        x = self.pool(x)
        for i in range(len(self.blocks)):
            x = self.get_submodule(f"layer{i + 1}")(x)
            features.append(x)
        return features


def initialise(network: nn.Module) -> None:
    """Draw the weights of all convolutions as He et al. 2015 do, from PyTorch's generator."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def load_standard(
    network: ResNet,
    source: str | Path = "imagenet",
    *,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> None:
    """Start a network from standard weights of ResNet-34 instead of random ones.

    Args:
        network: standard stem, 3 inputs, width 64, and as many of the stages (3, 4, 6, 3), from the
            first on, as it has. Its images are to be normalised by ImageNet's mean and deviation.
        source: "imagenet", the standard weights from the Hub or its cache (87 MB), or the path of a
            safetensors file with the standard names. The classifier and the stages that the network
            lacks may be in the file.
        local_files_only: never ask the Hub.
        cache_dir: the Hub's cache, by default its own.
        token: for the Hub, where one is needed.

    Raises:
        FileNotFoundError: no such file, or the Hub's is neither in the cache nor to be reached.
        ValueError: too large, not safetensors, or a missing, unknown, mis-shaped or not finite
            weight (names it); the network is unchanged.
    """
    path = Path(source)
    if source == "imagenet":
        path = hub_file(
            REPOSITORY,
            FILE,
            "connect once, give the path of such a file, or start from random weights",
            MAX_BYTES,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=token,
        )
    tensors, _ = read_tensors(path, MAX_BYTES)
    # Older standard files lack the counters of batches, which change nothing at this momentum.
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    unused = tuple(f"layer{i}." for i in range(len(network.blocks) + 1, 5))
    fill(network, {**counters, **tensors}, path, ("fc.", *unused))
