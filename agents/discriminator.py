"""The discriminator of Learning to Paint (Huang et al. 2019), a WGAN-GP critic of painted pairs.

It tells (canvas, target) from (target, target); the rise of its score is the WGAN reward that
Sec 6.3.3.2 compares with.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .critic import TReLU, normed_conv

Score = Callable[[Tensor, Tensor], Tensor]
"""(canvas, target) to (B,): the discriminator, or whatever stands for it."""
Pair = tuple[Tensor, Tensor]

PENALTY = 10.0


class Discriminator(nn.Module):
    """Five 5x5 convolutions of stride 2 with weight norm and TReLU; the mean is the score.

    Args:
        width: channels of the first one, doubling; 16 is the published size (0.27 million
            parameters).
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            normed_conv(6, width, 5, 2),
            TReLU(),
            normed_conv(width, 2 * width, 5, 2),
            TReLU(),
            normed_conv(2 * width, 4 * width, 5, 2),
            TReLU(),
            normed_conv(4 * width, 8 * width, 5, 2),
            TReLU(),
            normed_conv(8 * width, 1, 5, 2),
        )

    def forward(self, canvas: Tensor, target: Tensor) -> Tensor:
        """Score pairs.

        Args:
            canvas: (B, 3, H, W) in [0, 1], any sides.
            target: the same shape.

        Returns:
            (B,) float32, higher for canvases that look like their targets; no fixed range.
        """
        score: Tensor = self.layers(torch.cat([canvas, target], 1))
        return score.float().mean((1, 2, 3))


class DiscriminatorLoss(NamedTuple):
    """What the discriminator minimises, and what it is made of; scalars.

    Attributes:
        loss: -distance + penalty weight * penalty.
        distance: mean score of real pairs minus that of painted ones, the estimated Wasserstein-1
            distance.
        penalty: see `gradient_penalty`.
    """

    loss: Tensor
    distance: Tensor
    penalty: Tensor


def discriminator_loss(
    d: Score, canvas: Tensor, target: Tensor, generator: torch.Generator, weight: float = PENALTY
) -> DiscriminatorLoss:
    """Loss of a WGAN-GP critic (Gulrajani et al. 2017) on painted and real pairs.

    Args:
        d: the discriminator.
        canvas: (B, 3, H, W) in [0, 1]; no gradient flows to it.
        target: the same shape.
        generator: draws the mixtures.
        weight: of the gradient penalty.

    Returns:
        The loss and its parts.
    """
    canvas = canvas.detach()
    distance = d(target, target).mean() - d(canvas, target).mean()
    penalty = gradient_penalty(d, (target, target), (canvas, target), generator)
    return DiscriminatorLoss(weight * penalty - distance, distance, penalty)


def gradient_penalty(d: Score, real: Pair, fake: Pair, generator: torch.Generator) -> Tensor:
    """How far the norm of the score's gradient is from 1 between real and painted pairs.

    Args:
        d: the discriminator.
        real: canvas and target, (B, 3, H, W) each, of real pairs.
        fake: the same of painted pairs.
        generator: draws one share of the real pair per pair, uniform in [0, 1); on the CPU where
            results must repeat.

    Returns:
        Mean over the batch of (norm - 1)^2, a scalar to be differentiated once more; the norm is
        that of the gradient in both images of a pair.
    """
    share = torch.rand(len(real[0]), 1, 1, 1, generator=generator, device=generator.device)
    share = share.to(real[0].device)
    mixed = [
        torch.lerp(b.detach(), a.detach(), share).requires_grad_()
        for a, b in zip(real, fake, strict=True)
    ]
    gradients = torch.autograd.grad(d(*mixed).sum(), mixed, create_graph=True)
    norm: Tensor = torch.linalg.vector_norm(torch.cat(gradients, 1), dim=(1, 2, 3))
    return (norm - 1).square().mean()
