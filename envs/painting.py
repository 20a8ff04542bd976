"""The painting process as pure functions on batches of tensors.

The environments are thin shells around `initial`, `transition`, `observation`, `reward`,
`terminated` and `truncated`; agents that plan through the renderer call the same functions, which
are differentiable in the action. No function modifies its input.

B batch, C channels, H rows, W columns, K strokes in a bundle, F numbers per stroke.
"""

import math
import operator
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..renderers import Paint
from ..renderers.stroke import FORMS, STROKE_SIZE, Form, expand
from . import rewards

Background = Literal["black", "white", "mean"]
BACKGROUNDS: tuple[Background, ...] = get_args(Background)

LARGEST_SIDE = 16384


class State(NamedTuple):
    """What is known of B paintings; everything else follows from it.

    Attributes:
        canvas: (B, C, H, W) float32 in [0, 1], never rounded.
        target: (B, C, H, W) float32 in [0, 1].
        mask: (B, 1, H, W) float32 in [0, 1], 1 where the target matters.
        strokes: (B,) int64, strokes painted so far.
        distance: (B,) float32, mean squared distance of canvas and target.
        initial: (B,) float32, the same distance of the empty canvas.
        bundle: (B, K, 13) float32, the strokes that led to this canvas; invisible ones before the
            first step, and where a smaller last bundle has none.
    """

    canvas: Tensor
    target: Tensor
    mask: Tensor
    strokes: Tensor
    distance: Tensor
    initial: Tensor
    bundle: Tensor


class Outcome(NamedTuple):
    """What came of a step.

    Attributes:
        state: the next state.
        reward: (B,) float32.
        terminated: (B,) bool, similar enough.
        truncated: (B,) bool, out of strokes.
    """

    state: State
    reward: Tensor
    terminated: Tensor
    truncated: Tensor


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines the painting process; `neural_paint.NeuralPaintEnv` explains it."""

    canvas: int | tuple[int, int] = 128
    bundle: int = 5
    budget: int = 400
    form: Form = "colour"
    colour: tuple[float, float, float] = (0.0, 0.0, 0.0)
    background: Background = "black"
    renderer: str | Paint = "bezier"
    reward: str | rewards.Reward = "l2"
    similarity: float | None = None
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        for side in self.size:
            if not 1 <= side <= LARGEST_SIDE:
                raise ValueError(f"canvas sides must be 1 to {LARGEST_SIDE} pixels: {self.canvas}")
        for name in ("bundle", "budget"):
            if _integer(name, getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1 stroke, got {getattr(self, name)}")
        if self.form not in FORMS:
            raise ValueError(f"form {self.form!r} is unknown; known: {', '.join(FORMS)}")
        if len(self.colour) != 3 or not all(0 <= part <= 1 for part in self.colour):
            raise ValueError(f"colour must be three numbers in [0, 1], got {self.colour}")
        if self.background not in BACKGROUNDS:
            known = ", ".join(BACKGROUNDS)
            raise ValueError(f"background {self.background!r} is unknown; known: {known}")
        if self.similarity is not None and not math.isfinite(self.similarity):
            raise ValueError(f"similarity must be a PSNR in dB or None, got {self.similarity}")
        rewards.check_name(self.reward)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the canvas, (H, W)."""
        if isinstance(self.canvas, tuple | list):
            if len(self.canvas) != 2:
                raise ValueError(f"canvas must be a size or (height, width), got {self.canvas}")
            return _integer("canvas", self.canvas[0]), _integer("canvas", self.canvas[1])
        return _integer("canvas", self.canvas), _integer("canvas", self.canvas)

    @property
    def channels(self) -> int:
        """C: 1 for gray strokes, else 3."""
        return 1 if self.form == "gray" else 3

    @property
    def action_size(self) -> int:
        """Numbers in one action, K * F."""
        return self.bundle * FORMS[self.form]

    @property
    def steps(self) -> int:
        """Steps of an episode that is not terminated: the last bundle may be a smaller one."""
        return -(-self.budget // self.bundle)


def configure(settings: dict[str, Any]) -> Config:
    """A `Config` from keyword arguments.

    Args:
        settings: values by name.

    Returns:
        The checked configuration.

    Raises:
        TypeError: an unknown name, or a value of the wrong type.
        ValueError: a value out of range.
    """
    known = [field.name for field in fields(Config)]
    unknown = ", ".join(sorted(set(settings) - set(known)))
    if unknown:
        raise TypeError(f"unknown argument {unknown}; known: {', '.join(known)}")
    return Config(**settings)


def initial(target: Tensor, mask: Tensor, config: Config) -> State:
    """Paintings that wait for their first stroke.

    Args:
        target: (B, C, H, W) float32 in [0, 1].
        mask: (B, 1, H, W) float32 in [0, 1].
        config: background and bundle.

    Returns:
        The state.
    """
    if config.background == "mean":
        # (B, C, H, W) -> (B, C, 1, 1), one axis at a time: see `rewards.image_mean`
        paper = target.mean(-1, keepdim=True).mean(-2, keepdim=True)
        canvas = paper.expand_as(target).contiguous()
    else:
        canvas = torch.full_like(target, 1.0 if config.background == "white" else 0.0)
    distance = rewards.squared_distance(canvas, target)
    strokes = torch.zeros(len(target), dtype=torch.int64, device=target.device)
    bundle = target.new_zeros(len(target), config.bundle, STROKE_SIZE)
    return State(canvas, target, mask, strokes, distance, distance.clone(), bundle)


def transition(state: State, action: Tensor, config: Config, paint: Paint) -> State:
    """Paint one bundle of strokes, in order.

    Where fewer strokes than a bundle are left of the budget, only that many are painted.

    Args:
        state: the paintings.
        action: (B, K * F) in [0, 1].
        config: bundle, budget and kind of stroke.
        paint: the renderer.

    Returns:
        The next state, differentiable in canvas and action where the renderer is. Its bundle may
        share memory with the action.
    """
    shape = (len(action), config.bundle, FORMS[config.form])
    strokes = expand(action.reshape(shape), config.form, config.colour)  # (B, K, 13)
    rest = config.budget % config.bundle
    if rest == 0:
        canvas = paint(state.canvas, strokes)
    else:
        part = paint(state.canvas, strokes[:, :rest])
        last = state.strokes + config.bundle > config.budget  # (B,)
        canvas = torch.where(last[:, None, None, None], part, paint(part, strokes[:, rest:]))
        unpainted = last[:, None] & (torch.arange(config.bundle, device=last.device) >= rest)
        strokes = strokes * ~unpainted[:, :, None]
    return state._replace(
        canvas=canvas,
        strokes=(state.strokes + config.bundle).clamp(max=config.budget),
        distance=rewards.squared_distance(canvas, state.target),
        bundle=strokes,
    )


def observation(state: State, config: Config) -> dict[str, Tensor]:
    """What an agent sees.

    Args:
        state: the paintings.
        config: bundle and budget.

    Returns:
        float32 in [0, 1]: canvas and target (B, C, H, W), mask (B, 1, H, W) and step (B, 1), the
        fraction of the steps that are left: 1 at the start, 0 at the end.
    """
    strokes_left = config.budget - state.strokes
    steps_left = (strokes_left + config.bundle - 1) // config.bundle  # (B,)
    step = (steps_left.to(torch.float32) / config.steps)[:, None]
    return {"canvas": state.canvas, "target": state.target, "mask": state.mask, "step": step}


def reward(before: State, after: State, kind: str | rewards.Reward) -> Tensor:
    """What a step was worth.

    Args:
        before: the state that was acted in.
        after: the state that the action led to.
        kind: a name of `rewards.REWARDS` or a function (before, after) -> (B,), such as those
            that `rewards.load` makes.

    Returns:
        (B,) float32.

    Raises:
        ValueError: an unknown name, one that needs networks, or a function that returns another
            shape.
    """
    return rewards.check(rewards.find(kind)(before, after), len(after.strokes))


def terminated(state: State, config: Config) -> Tensor:
    """Which paintings are as similar to their target as was asked for.

    Args:
        state: the paintings.
        config: the similarity, a PSNR in dB; None never terminates.

    Returns:
        (B,) bool.
    """
    if config.similarity is None:
        return torch.zeros_like(state.strokes, dtype=torch.bool)
    similar: Tensor = state.distance <= 10.0 ** (-config.similarity / 10)
    return similar


def truncated(state: State, config: Config) -> Tensor:
    """Which paintings have spent their strokes.

    Args:
        state: the paintings.
        config: the budget.

    Returns:
        (B,) bool.
    """
    return state.strokes >= config.budget


def step(
    state: State,
    action: Tensor,
    config: Config,
    paint: Paint,
    worth: rewards.Reward | None = None,
) -> Outcome:
    """One step of the painting process: transition, reward and end of episode together.

    Args:
        state: the paintings.
        action: (B, K * F) in [0, 1].
        config: the process.
        paint: the renderer.
        worth: the function of the reward; None finds it by its name in `config`.

    Returns:
        What came of it.
    """
    after = transition(state, action, config, paint)
    return Outcome(
        after,
        reward(state, after, config.reward if worth is None else worth),
        terminated(after, config),
        truncated(after, config),
    )


def psnr(distance: float) -> float:
    """Peak signal-to-noise ratio of a mean squared distance, for images in [0, 1].

    Args:
        distance: mean squared distance.

    Returns:
        Decibels; infinite at distance 0.
    """
    return -10 * math.log10(distance) if distance > 0 else math.inf


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
