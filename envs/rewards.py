"""Rewards: pure, differentiable functions of the state before and after a step.

Every reward takes two `painting.State` batches and returns one number per painting, (B,) float32,
positive when the step brought the canvas closer to the target. A function with the same signature
may be passed to the environments in place of a name.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..renderers.bezier_cpu import squared_error

if TYPE_CHECKING:
    from .painting import State

Reward = Callable[["State", "State"], Tensor]

SMALLEST_DISTANCE = 1e-8
"""Distances below this count as this much where one is divided by."""


def image_mean(values: Tensor) -> Tensor:
    """Mean over channels, rows and columns, the same number whatever the batch.

    One axis at a time: a single reduction over all three is split differently for one painting
    and for many, so that a batch of N would differ from N batches of one in the last bit.

    Args:
        values: (B, C, H, W).

    Returns:
        (B,).
    """
    return values.mean(-1).mean(-1).mean(-1)


def squared_distance(canvas: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of each canvas to its target.

    Args:
        canvas: (B, C, H, W) float32.
        target: the same shape.

    Returns:
        (B,) float32, the same numbers whatever the batch.
    """
    if canvas.is_cuda or canvas.requires_grad or target.requires_grad:
        return image_mean((canvas - target).square())
    # Without gradients in one pass: on a CPU the memory of a batch-sized temporary costs several
    # times more than the arithmetic.
    canvases, targets = canvas.detach().numpy(), target.detach().numpy()
    size, height = canvases[0].size, canvases.shape[2]
    pairs = zip(canvases, targets, strict=True)
    distances = [squared_error(a, b, 0, height) / size for a, b in pairs]
    return torch.tensor(distances, dtype=torch.float32)


def l2(before: "State", after: "State") -> Tensor:
    """Drop of the mean squared distance to the target.

    The rewards of an episode add up to the first distance minus the last.

    Args:
        before: the state that was acted in.
        after: the state that the action led to.

    Returns:
        (B,) in [-1, 1].
    """
    return before.distance - after.distance


def l1_clipped(before: "State", after: "State", limit: float = 0.5) -> Tensor:
    """Drop of the mean clipped absolute distance, the pixel term of thesis Eq 6.4 and 6.5.

    A bright stroke on a dark canvas gains no more than `limit` per pixel, which weakens the pull
    of bright colours that the squared distance has. Pass another limit with
    ``functools.partial(l1_clipped, limit=0.2)``.

    Args:
        before: the state that was acted in.
        after: the state that the action led to.
        limit: lambda of Eq 6.4, in (0, 1]; 1 is the plain absolute distance. Reading: an
            element-wise minimum; the thesis gives no value, so half of the range is the default.

    Returns:
        (B,) in [-limit, limit].
    """
    old = (before.canvas - before.target).abs().clamp(max=limit)
    new = (after.canvas - after.target).abs().clamp(max=limit)
    return image_mean(old) - image_mean(new)


def relative_l2(before: "State", after: "State") -> Tensor:
    """The reward of Learning to Paint (Huang et al. 2019): (L_t - L_{t+1}) / L_0.

    The rewards of an episode add up to the share of the first distance that was painted away.

    Args:
        before: the state that was acted in.
        after: the state that the action led to.

    Returns:
        (B,) at most 1.
    """
    start = before.initial.clamp(min=SMALLEST_DISTANCE)
    return (before.distance - after.distance) / start


REWARDS: dict[str, Reward] = {"l2": l2, "l1_clipped": l1_clipped, "relative_l2": relative_l2}
"""The rewards that have a name."""


def find(reward: str | Reward) -> Reward:
    """The reward function behind a name.

    Args:
        reward: a name of `REWARDS`, or a function (before, after) -> (B,), returned as it is.

    Returns:
        The function.

    Raises:
        ValueError: the name is unknown.
    """
    if callable(reward):
        return reward
    if reward not in REWARDS:
        raise ValueError(f"reward {reward!r} is unknown; known: {', '.join(REWARDS)}")
    return REWARDS[reward]


def check(values: Tensor, batch: int) -> Tensor:
    """Refuse what a user's reward function returns in the wrong shape.

    Args:
        values: what it returned.
        batch: number of paintings B.

    Returns:
        The same tensor, (B,).

    Raises:
        ValueError: not a tensor with one number per painting.
    """
    if not isinstance(values, Tensor) or values.shape != (batch,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"a reward function must return a tensor of shape ({batch},), got {shape}")
    return values.to(torch.float32)
