"""The critic of Learning to Paint (Huang et al. 2019): the value of a state (Eq 6.9)."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from ..backend.device import autocast


class TReLU(nn.Module):
    """Translated ReLU (Xiang and Li 2017), relu(x - a) + a with a learned threshold a, first 0."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """The larger of x and the threshold, element by element."""
        # As written in the paper: torch.maximum says the same, and takes eight times as long.
        return functional.relu(x - self.threshold) + self.threshold


def normed_conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """A padded convolution with weight norm (Salimans and Kingma 2016), odd kernel."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    weight_norm(conv)  # changes it in place
    return conv


class NormedBlock(nn.Module):
    """A basic residual block with weight norm and TReLU in place of batch norm and ReLU.

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = normed_conv(inputs, outputs, 3, stride)
        self.act1 = TReLU()
        self.conv2 = normed_conv(outputs, outputs, 3, 1)
        self.act2 = TReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = normed_conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.act2(self.conv2(self.act1(self.conv1(x))) + self.downsample(x))
        return y


class Critic(nn.Module):
    """V(s), a ResNet-18 in shape whose images never depend on their neighbours in the batch.

    Args:
        inputs: channels of the state.
        width: channels of the first stage; 64 is the published size (11.2 million parameters),
            16 the small one.
    """

    def __init__(self, inputs: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = normed_conv(inputs, width, 3, 2)
        self.act1 = TReLU()
        stages: list[nn.Module] = []
        before = width
        for after in (width, 2 * width, 4 * width, 8 * width):
            stages.append(
                nn.Sequential(NormedBlock(before, after, 2), NormedBlock(after, after, 1))
            )
            before = after
        self.layers = nn.Sequential(*stages)
        self.fc = nn.Linear(before, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Value states.

        Args:
            x: (B, inputs, H, W), any sides.

        Returns:
            (B,) float32 in units of the reward, also under autocast.
        """
        features = self.layers(self.act1(self.conv1(x)))
        # Differences of values drive the actor: bfloat16 has too few digits for them.
        with autocast(x.device, torch.float32):
            value: Tensor = self.fc(features.float().mean((2, 3))).squeeze(1)
        return value
