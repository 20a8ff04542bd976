"""The trained agent as a painter: one forward pass per bundle, nothing else.

A photo of any size and aspect ratio is covered by square views: one, or a row of overlapping ones,
over the whole picture, then smaller overlapping ones down to the size at which the agent sees
every pixel. For each bundle the agent looks at the coarsest views and at the smaller ones where
most is still wrong, all in one pass, and its best strokes are painted wherever they come from. A
stroke of a view is a stroke on the whole canvas like any other, so there are no seams.

An actor without scores cannot compare views: it paints the whole picture for the number of strokes
it was trained with, and then one view after the other, where most is wrong.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..backend import device as devices
from ..backend.media import resize
from ..envs.painting import BACKGROUNDS
from ..renderers import bezier
from ..renderers.drawing import MAX_STROKES, Drawing
from ..renderers.stroke import rescale
from .policy import Policy
from .proposals import GRID, VIEW, ProposalActor, Proposals, choose, gather, reward_of, view

Image = NDArray[np.float32]
Advance = Callable[[int], None]
"""Called with the number of strokes painted so far."""


@dataclass(frozen=True)
class Canvases:
    """What the agent painted on B canvases.

    Attributes:
        strokes: (B, N, 13).
        at: canvases (B, 3, H, W) by the number of strokes on them.
    """

    strokes: Tensor
    at: dict[int, Tensor]


@torch.no_grad()
def paint_batch(
    policy: Policy,
    target: Tensor,
    canvas: Tensor,
    strokes: int,
    *,
    counts: Sequence[int] = (),
    budget: int = 400,
    first: int = 0,
    dtype: torch.dtype | None = None,
    advance: Advance = lambda done: None,
) -> Canvases:
    """Paint B pictures at once.

    Args:
        policy: in evaluation mode.
        target: (B, 3, H, W) float32 in [0, 1].
        canvas: (B, 3, H, W), what to begin on.
        strokes: exact number of strokes for each.
        counts: numbers of strokes after which the canvases are kept, multiples of the bundle.
        budget: what the agent takes the whole painting to be, for an agent that sees the steps
            left.
        first: strokes that are on the canvas already.
        dtype: precision of the network; None takes the device's own.
        advance: called after each bundle.

    Returns:
        Strokes and canvases.
    """
    parts: list[Tensor] = []
    kept: dict[int, Tensor] = {}
    done = 0
    while done < strokes:
        left = max(0.0, 1 - (first + done) / budget)
        step = torch.full((len(target), 1), left, device=target.device)
        with devices.autocast(target.device, dtype):
            bundle = policy(canvas, target, step).strokes[:, : strokes - done]
        side = min(canvas.shape[-2:])
        if side != policy.config.canvas:
            bundle = rescale(bundle, policy.config.canvas, side).clamp(0, 1)
        canvas = bezier.paint(canvas, bundle)
        parts.append(bundle)
        done += bundle.shape[1]
        if done in counts:
            kept[done] = canvas
        advance(done)
    painted = torch.cat(parts, 1) if parts else target.new_zeros(len(target), 0, 13)
    return Canvases(painted, kept)


class View(NamedTuple):
    """A square part of the canvas in pixels."""

    top: int
    left: int
    side: int

    def cut(self, image: Tensor) -> Tensor:
        """The part of (C, H, W), brought to what the agent sees: (C, 64, 64)."""
        part = image[None, :, self.top : self.top + self.side, self.left : self.left + self.side]
        if self.side < VIEW:
            return functional.interpolate(part, (VIEW, VIEW), mode="bilinear")[0]
        return view(part)[0]


def views(height: int, width: int) -> list[list[View]]:
    """Square views of a canvas, coarse to fine; neighbours overlap by about half.

    Args:
        height: rows.
        width: columns.

    Returns:
        Levels of views. Those of the first are as large as the shorter side, of each next one
        half as large, down to 64 pixels.
    """
    levels, side = [], min(height, width)
    while True:
        tops, lefts = (_starts(length, side) for length in (height, width))
        levels.append([View(top, left, side) for top in tops for left in lefts])
        if side <= VIEW:
            return levels
        side = max(VIEW, math.ceil(side / 2))


def _starts(length: int, side: int) -> list[int]:
    count = math.ceil(2 * (length - side) / side) + 1
    starts = [round(i * (length - side) / max(1, count - 1)) for i in range(count)]
    return sorted(set(starts))  # views of 1 pixel cannot overlap by half


LOOKS = 4
"""Smaller views that the agent looks at for one bundle."""
FIRST = 60
"""Strokes for which whole views are enough; four times as many for each finer level."""


class Painter:
    """An agent before one canvas.

    Args:
        policy: in evaluation mode.
        target: (3, H, W) float32 in [0, 1].
        canvas: the same shape, what to begin on.
        budget: strokes that the whole painting is meant to have.
    """

    def __init__(self, policy: Policy, target: Tensor, canvas: Tensor, budget: int = 400) -> None:
        self.policy, self.target, self.canvas, self.budget = policy, target, canvas, budget
        self.levels = views(*target.shape[1:])
        self.done = 0

    @torch.no_grad()
    def propose(self, count: int) -> Tensor:
        """The strokes that the agent would paint next, (count, 13) float32 in [0, 1].

        Args:
            count: how many at most; a ResNet has its bundle and no more, an actor that proposes one
                for each cell of each view.
        """
        error = (self.canvas - self.target).square().sum(0)
        seen = self._looked_at(error)
        canvas = torch.stack([one.cut(self.canvas) for one in seen])
        target = torch.stack([one.cut(self.target) for one in seen])
        left = max(0.0, 1 - self.done / self.budget)
        step = torch.full((len(seen), 1), left, device=canvas.device)
        with devices.autocast(canvas.device), devices.one_thread(canvas.device):
            decision = self.policy(canvas, target, step, count=min(2 * count, GRID**2))
        strokes = torch.stack(
            [self._on_canvas(part, one) for part, one in zip(decision.strokes, seen, strict=True)]
        )
        if decision.scores is None:
            return strokes[0, :count]
        wrong = torch.stack(
            [error[v.top : v.top + v.side, v.left : v.left + v.side].sum() for v in seen]
        )
        if self.policy.config.reward == "psnr":  # the score is the share of a view's error
            gains = wrong[:, None] * (1 - 10 ** -reward_of(decision.scores))
        else:  # a mean over a view's pixels
            sides = wrong.new_tensor([one.side for one in seen])
            gains = sides[:, None].square() * reward_of(decision.scores)
        together = Proposals(strokes.flatten(0, 1)[None], gains.clamp(min=1e-9).log().view(1, -1))
        chosen = choose(together, min(count, together.scores.shape[1]))  # there are no more
        return gather(together.strokes, chosen)[0]

    def paint(self, strokes: Tensor) -> None:
        """Put strokes (N, 13) on the canvas."""
        self.canvas = bezier.paint(self.canvas[None], strokes[None])[0]
        self.done += len(strokes)

    def _looked_at(self, error: Tensor) -> list[View]:
        """The coarsest views and some finer ones; one alone for an agent without scores."""
        fine = [
            one
            for level, part in enumerate(self.levels[1:])
            if self.done >= FIRST * 4**level
            for one in part
        ]
        if not isinstance(self.policy.actor, ProposalActor):
            fine = [one for part in self.levels[1:] for one in part]
            few = self.done < self.budget and len(self.levels[0]) == 1
            known = self.levels[0] if few or not fine else fine
            return _worst(known, error, 1)
        return [*_worst(self.levels[0], error, LOOKS), *_worst(fine, error, LOOKS)]

    def _on_canvas(self, strokes: Tensor, one: View) -> Tensor:
        """Strokes of a view as strokes on the canvas, (K, 13)."""
        height, width = self.target.shape[1:]
        shown = one.side / min(height, width)
        trained = self.policy.config.canvas
        # radius: z * trained / 4 + half a pixel, on a canvas of `trained` pixels a side
        thick = (strokes[:, 6:9:2] + 2 / trained) * shown - 2 / min(height, width)
        out = strokes.clone()
        out[:, 6:9:2] = thick
        for x in (0, 4):
            out[:, x] = (one.left + one.side * strokes[:, x]) / width
            out[:, x + 1] = (one.top + one.side * strokes[:, x + 1]) / height
        return out.clamp(0, 1)


def _worst(known: Sequence[View], error: Tensor, count: int) -> list[View]:
    """The views in which most is wrong."""
    sums = functional.pad(error.cumsum(0).cumsum(1), (1, 0, 1, 0)).cpu()

    def wrong(v: View) -> float:
        bottom, right = v.top + v.side, v.left + v.side
        total = (
            sums[bottom, right] - sums[v.top, right] - sums[bottom, v.left] + sums[v.top, v.left]
        )
        return float(total)

    return sorted(known, key=wrong, reverse=True)[:count]


def paint(
    photo: Image,
    height: int,
    width: int,
    strokes: int,
    *,
    policy: Policy,
    background: str = "mean",
    device: torch.device | None = None,
    advance: Callable[[Painter], None] = lambda painter: None,
) -> Drawing:
    """Paint a photo with the trained agent alone.

    Args:
        photo: (H, W, 3) float32 RGB in [0, 1].
        height: canvas rows.
        width: canvas columns.
        strokes: exact number of strokes.
        policy: in evaluation mode, on `device`.
        background: "black", "white" or "mean".
        device: None: the CPU.
        advance: called with the painter after each bundle; KeyboardInterrupt in it, or Ctrl-C,
            ends the painting.

    Returns:
        The drawing; after Ctrl-C with the strokes so far, and `extra["interrupted"]` is true.

    Raises:
        ValueError: an unknown background, or a number of strokes that no drawing has.
    """
    if background not in BACKGROUNDS:
        known = ", ".join(BACKGROUNDS)
        raise ValueError(f"background {background!r} is unknown; known: {known}")
    if not 0 <= strokes <= MAX_STROKES:
        raise ValueError(f"strokes must be 0 to {MAX_STROKES}, got {strokes}")
    where = device or torch.device("cpu")
    target = torch.from_numpy(np.ascontiguousarray(resize(photo, height, width).transpose(2, 0, 1)))
    shade = {"black": 0.0, "white": 1.0}.get(background)
    paper = target.mean((1, 2), keepdim=True) if shade is None else torch.full((3, 1, 1), shade)
    painter = Painter(policy, target.to(where), paper.expand_as(target).contiguous().to(where))
    parts: list[Tensor] = []
    interrupted = False
    try:
        while painter.done < strokes:
            bundle = painter.propose(min(policy.config.bundle, strokes - painter.done))
            painter.paint(bundle)
            parts.append(bundle.cpu())
            advance(painter)
    except KeyboardInterrupt:
        interrupted = True
    r, g, b = (float(value) for value in paper[:, 0, 0])
    return Drawing(
        strokes=torch.cat(parts).numpy() if parts else np.zeros((0, 13), np.float32),
        height=height,
        width=width,
        background=(r, g, b),
        seed=0,
        method="agent",
        extra={"finish": "process", "interrupted": interrupted},
    )
