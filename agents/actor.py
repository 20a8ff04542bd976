"""The actor of Learning to Paint (Huang et al. 2019): from a state to a bundle of strokes."""

import torch
from torch import Tensor, nn

from ..backend.device import autocast
from .resnet import ResNet


class Actor(nn.Module):
    """The policy H_a (Fig 6.3): a ResNet-18 whose convolutions alone halve the sides.

    Batch norm: training mode while it is updated, evaluation mode while it paints.

    Args:
        inputs: channels of the state: canvas 3, target 3, steps left 1, coordinates 2, and
            focused image 3 where there is one.
        outputs: numbers per bundle, 13 for each stroke.
        width: channels of the first stage; 64 is the published size (11.2 million parameters),
            16 the small one.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.trunk = ResNet(inputs, width, (2, 2, 2, 2), "plain")
        self.fc = nn.Linear(self.trunk.outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Propose strokes.

        Args:
            x: (B, inputs, H, W), any sides.

        Returns:
            (B, outputs) float32 in (0, 1), also under autocast.
        """
        features = self.trunk(x)[-1]
        # A stroke's place must not be rounded to the 8 bits of bfloat16.
        with autocast(x.device, torch.float32):
            return torch.sigmoid(self.fc(features.float().mean((2, 3))))
