"""Gradient descent on strokes through the exact rasteriser, all canvases of a process at once."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backend import workers
from ..renderers import bezier, bezier_cpu
from ..renderers.stroke import to_pixels

Image = NDArray[np.float32]

# Relative step sizes of the 13 numbers; thickness is the most sensitive of them.
RATES = torch.tensor([1, 1, 1, 1, 1, 1, 0.7, 1, 0.7, 1, 1, 1, 1])
RATE = 0.006


def process_gradient(
    strokes: Tensor, background: Image, target: Image, weights: Image, softness: float
) -> tuple[NDArray[np.float64], Tensor]:
    """Squared errors along a painting process and the gradient of their weighted sum.

    Args:
        strokes: (K, 13).
        background: (3, H, W) first canvas.
        target: (3, H, W).
        weights: (K,) float32; 0 skips a canvas.
        softness: half the width of a stroke's edge in pixels.

    Returns:
        Errors (K,), summed over pixels and channels, 0 where the weight is 0; and the gradient
        (K, 13) of sum over k of weights[k] * errors[k].
    """
    leaf = strokes.detach().requires_grad_()
    with torch.enable_grad():
        geometry = to_pixels(leaf, *target.shape[1:])
    values = geometry.detach().numpy()
    jobs = [
        (values, background, target, weights, top, bottom, softness)
        for top, bottom in bezier.bands(target.shape[1], 1)
    ]
    parts = workers.run(_process_band, jobs)
    grad, errors = (np.sum(column, axis=0) for column in zip(*parts, strict=True))
    geometry.backward(torch.from_numpy(grad.astype(np.float32)))
    assert leaf.grad is not None
    return errors, leaf.grad


def _process_band(
    geometry: Image,
    background: Image,
    target: Image,
    weights: Image,
    top: int,
    bottom: int,
    softness: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grad = np.zeros(geometry.shape)
    errors = np.zeros(len(geometry))
    bezier_cpu.process_rows(
        geometry, background, target, weights, top, bottom, softness, grad, errors
    )
    return grad, errors


class Descent:
    """Adam on strokes, which stay within [0, 1].

    Args:
        strokes: (K, 13), not changed.
        rate: step size.
    """

    def __init__(self, strokes: Tensor, rate: float) -> None:
        self.strokes = strokes.clone()
        self.rate = rate * RATES
        self.mean, self.square = torch.zeros_like(strokes), torch.zeros_like(strokes)
        self.count = 0

    def step(self, gradient: Tensor, decay: float) -> None:
        """One step down a gradient (K, 13), its size scaled by `decay`."""
        self.count += 1
        self.mean.mul_(0.9).add_(gradient, alpha=0.1)
        self.square.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        mean = self.mean / (1 - 0.9**self.count)
        spread = (self.square / (1 - 0.99**self.count)).sqrt_().add_(1e-9)
        self.strokes = (self.strokes - decay * self.rate * mean / spread).clamp_(0, 1)


def descend(
    strokes: Tensor,
    background: Image,
    target: Image,
    wanted: Image,
    steps: int,
    softness: tuple[float, float],
    last: float,
    rate: float = RATE,
) -> Iterator[tuple[Tensor, float]]:
    """Lower the weighted sum of the logarithms of the errors along a painting process.

    Args:
        strokes: (K, 13).
        background: (3, H, W) first canvas.
        target: (3, H, W).
        wanted: (K,) float32, how much the logarithm of the error after each stroke counts.
        steps: of the descent.
        softness: half the width in pixels of a stroke's edge, at the first and the last step.
        last: share of the step size that is left at the end.
        rate: step size.

    Yields:
        After each step the strokes (K, 13), and the squared error of the last canvas before it.
    """
    descent = Descent(strokes, rate)
    errors, _ = process_gradient(strokes, background, target, wanted, softness[0])
    for step in range(steps):
        passed = step / steps
        # d log(e) = de / e: the errors of the step before serve as the scale.
        weights = np.where(wanted > 0, wanted / (errors + 1e-9), 0).astype(np.float32)
        soft = softness[0] + (softness[1] - softness[0]) * passed
        errors, gradient = process_gradient(descent.strokes, background, target, weights, soft)
        descent.step(gradient, last + (1 - last) * (1 - passed))
        yield descent.strokes, float(errors[-1])
