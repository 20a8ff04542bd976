"""The agent proposes, the exact rasteriser's gradient refines.

1. Grow. The trained agent paints on; whenever the number of strokes has doubled, all strokes move
   together by gradient, on a canvas of half the size, which costs a third.
2. Renew and polish as in `optimise`, for a process in half as many steps; the strokes that are
   taken out because they do not help are replaced by what the agent would paint now.

What the gradient minimises decides the finish, as in `optimise`. There strokes are found by trying
many at random; the agent's first guess is worth hundreds of trials and takes one forward pass.
"""

from functools import partial

import numpy as np
import torch

from ..backend.media import resize
from ..renderers.drawing import Drawing
from ..renderers.stroke import rescale
from .agent import Painter
from .descent import Image, descend
from .optimise import SHARES, Report, Search, Settings, work_out
from .policy import Policy

FIRST_STOP = 50
COARSE_SIDE = 64
"""Shorter side in pixels down to which the first descents shrink the canvas."""
STEPS = 160
"""Of the gradient at each stop of the growth, at effort 1."""


def hybrid(
    photo: Image,
    height: int,
    width: int,
    settings: Settings | None = None,
    report: Report = lambda progress: None,
    *,
    policy: Policy,
) -> Drawing:
    """Paint a photo: the agent proposes strokes, the gradient refines them.

    Args:
        photo: (H, W, 3) float32 RGB in [0, 1].
        height: canvas rows.
        width: canvas columns; large canvases are worked out at 256 pixels, as in `optimise`.
        settings: see `optimise.Settings`; there is nothing random, the seed changes nothing.
        report: called often with the progress; raising KeyboardInterrupt in it, or Ctrl-C, ends
            the work early.
        policy: the agent's, in evaluation mode.

    Returns:
        The drawing, with exactly `settings.strokes` strokes; see `optimise.optimise`.
    """
    make = partial(_Hybrid, policy)
    return work_out(make, photo, height, width, settings or Settings(), report, "hybrid")


class _Hybrid(Search):
    def __init__(self, policy: Policy, target: Image, settings: Settings, report: Report) -> None:
        super().__init__(target, settings, report)
        self.policy = policy
        if (
            settings.finish == "process"
        ):  # a canvas that alone counts takes as long as in `optimise`
            self.renewals, self.polishing = 8, 600

    def grow(self) -> None:
        """The agent paints, with a descent whenever the number of strokes has doubled."""
        total, stop = self.settings.strokes, FIRST_STOP
        while len(self.strokes) < total:
            self._propose(min(stop, total) - len(self.strokes))
            if len(self.strokes) < total:
                self._move(self.settings.steps(STEPS))
            self.tell("grow", SHARES[0] * len(self.strokes) / total)
            stop *= 2

    def refill(self, total: int) -> None:
        """The agent paints on, up to `total` strokes."""
        self._propose(total - len(self.strokes))

    def _propose(self, count: int) -> None:
        """Let the agent paint `count` strokes on the canvas as it is, a tenth of all at a time."""
        canvas = torch.from_numpy(self.painted())
        agent = Painter(self.policy, torch.from_numpy(self.target), canvas)
        agent.done = len(self.strokes)
        wanted = agent.done + count
        while agent.done < wanted:
            bundle = agent.propose(min(max(5, agent.done // 10), wanted - agent.done))
            agent.paint(bundle)
            self.strokes = torch.cat([self.strokes, bundle])

    def _move(self, steps: int) -> None:
        """Descend on all strokes, on a canvas of half the size but not below 64 pixels."""
        _, height, width = self.target.shape
        short = min(height, width)
        side = min(short, max(COARSE_SIDE, short // 2))
        rows, columns = round(height * side / short), round(width * side / short)
        target = self.target.transpose(1, 2, 0)
        small = np.ascontiguousarray(resize(np.ascontiguousarray(target), rows, columns))
        background = np.empty((3, rows, columns), np.float32)
        background[:] = self.background[:, :1, :1]
        strokes = rescale(self.strokes, short, side).clamp(0, 1)
        way = descend(
            strokes,
            background,
            np.ascontiguousarray(small.transpose(2, 0, 1)),
            self.milestones(),
            steps,
            (0.7, 0.6),
            last=0.3,
        )
        for strokes, _ in way:
            self.strokes = rescale(strokes, side, short).clamp(0, 1)
