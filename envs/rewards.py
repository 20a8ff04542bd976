"""Rewards: pure, differentiable functions of the state before and after a step.

Every reward takes two `painting.State` batches and returns one number per painting, (B,) float32,
positive when the step brought the canvas closer to the target. A function with the same signature
may be passed to the environments in place of a name.

Those that compare pixels stand here; those that ask a network, in `feature_rewards`.
"""

import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..renderers import Paint
from .distances import clipped_difference, image_mean, squared_distance
from .feature_rewards import Focus, Full, Masked, Vgg, Wgan
from .features import load_vgg

if TYPE_CHECKING:
    from .painting import State

__all__ = [
    "NAMES",
    "NETWORK_REWARDS",
    "REWARDS",
    "Focus",
    "Full",
    "Masked",
    "Reward",
    "Vgg",
    "Wgan",
    "check",
    "check_name",
    "find",
    "image_mean",
    "l1",
    "l1_clipped",
    "l2",
    "load",
    "psnr",
    "relative_l2",
    "squared_distance",
]

Reward = Callable[["State", "State"], Tensor]

SMALLEST_DISTANCE = 1e-8
"""Distances below this count as this much where one is divided by, or its logarithm taken."""


def l1(before: "State", after: "State") -> Tensor:
    """Drop of the mean absolute distance to the target.

    Args:
        before: the state that was acted in.
        after: the state that the action led to.

    Returns:
        (B,) in [-1, 1].
    """
    return l1_clipped(before, after, 1.0)


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
    old = clipped_difference(before.canvas, before.target, limit)
    new = clipped_difference(after.canvas, after.target, limit)
    return image_mean(old) - image_mean(new)


def relative_l2(before: "State", after: "State") -> Tensor:
    """Drop of the squared distance over the first one: (L_t - L_{t+1}) / L_0.

    The L2 reward of Learning to Paint (Huang et al. 2019). The rewards of an episode add up to the
    share of the first distance that was painted away.

    Args:
        before: the state that was acted in.
        after: the state that the action led to.

    Returns:
        (B,) at most 1.
    """
    start = before.initial.clamp(min=SMALLEST_DISTANCE)
    return (before.distance - after.distance) / start


def psnr(before: "State", after: "State") -> Tensor:
    """Rise of the PSNR over 10 dB: the drop of the squared distance's common logarithm.

    A step is worth the same wherever it takes the same share of what is left, so the fine strokes
    at the end count as much as the coarse ones before them.

    Args:
        before: the state that was acted in.
        after: the state that the action led to.

    Returns:
        (B,); PSNR above 80 dB counts as 80 dB.
    """
    old = before.distance.clamp(min=SMALLEST_DISTANCE)
    return (old / after.distance.clamp(min=SMALLEST_DISTANCE)).log10()


REWARDS: dict[str, Reward] = {
    "l2": l2,
    "l1": l1,
    "l1_clipped": l1_clipped,
    "psnr": psnr,
    "relative_l2": relative_l2,
}
"""The rewards that have a name and need nothing but the two states."""

NETWORK_REWARDS = ("vgg", "masked", "focus", "full")
"""The rewards that have a name and need trained networks, which `load` reads."""

NAMES = (*REWARDS, *NETWORK_REWARDS)
"""All rewards that have a name."""

# The attention module belongs to the agents, who import the environments. So it is named the way
# Gymnasium names the classes of environments, and imported when a reward that needs it is loaded.
ATTENTION = "neuralpaint.agents.attention:load_attention"


def check_name(reward: str | Reward) -> None:
    """Refuse a reward that is neither a known name nor a function.

    Args:
        reward: what the user asks for.

    Raises:
        ValueError: the name is unknown, or stands for a reward that only an object can be.
    """
    if callable(reward) or reward in NAMES:
        return
    if reward == "wgan":
        raise ValueError(
            "reward 'wgan' needs a discriminator: pass rewards.Wgan(discriminator) in its place"
        )
    raise ValueError(f"reward {reward!r} is unknown; known: {', '.join(NAMES)}")


def find(reward: str | Reward) -> Reward:
    """The reward function behind a name.

    Args:
        reward: a name of `REWARDS`, or a function (before, after) -> (B,), returned as it is.

    Returns:
        The function.

    Raises:
        ValueError: the name is unknown, or the reward needs networks.
    """
    check_name(reward)
    if callable(reward):
        return reward
    if reward in NETWORK_REWARDS:
        raise ValueError(f"reward {reward!r} needs networks: make it with rewards.load")
    return REWARDS[reward]


def load(reward: str | Reward, device: torch.device, paint: Paint) -> Reward:
    """The reward function behind a name, with the shipped networks where it needs some.

    Args:
        reward: one of `NAMES`, or a function (before, after) -> (B,), returned as it is.
        device: where the states are.
        paint: the renderer, which "focus" and "full" paint with.

    Returns:
        The function. Other networks: make a `Vgg`, `Masked`, `Focus` or `Full` yourself.

    Raises:
        ValueError: the name is unknown.
        FileNotFoundError: weights that the reward needs are not there.
    """
    check_name(reward)
    if callable(reward) or reward not in NETWORK_REWARDS:
        return find(reward)
    vgg = load_vgg().to(device)
    if reward == "vgg":
        return Vgg(vgg)
    if reward == "masked":
        return Masked(vgg)
    try:
        attention = pkgutil.resolve_name(ATTENTION)().to(device)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"reward {reward!r} needs the attention module: {error}, or take reward='masked'"
        ) from error
    focus = Focus(vgg, attention, paint)
    return focus if reward == "focus" else Full(Masked(vgg), focus)


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
