"""The ways to paint a photo, by name.

| method     | what it does                                                        | needs weights |
|------------|---------------------------------------------------------------------|---------------|
| "hybrid"   | the agent proposes, the exact rasteriser's gradient refines         | yes           |
| "agent"    | the trained agent alone, one forward pass per bundle                | yes           |
| "optimise" | strokes found by search and by gradient, without any training       | no            |
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from ..backend.media import resize
from ..renderers.drawing import Drawing
from . import agent
from .descent import Image
from .hybrid import hybrid
from .optimise import Progress, Report, Settings, optimise, psnr
from .policy import Policy, load_policy

Method = Literal["hybrid", "agent", "optimise"]
METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT: Method = "hybrid"

Painter = Callable[[Image, int, int, Settings, Report], Drawing]
"""(photo (H, W, 3), height, width, settings, report) to a drawing, see `optimise.optimise`."""


def load_painter(method: str, weights: Path | None = None) -> Painter:
    """The painter behind a name.

    Args:
        method: a name of `METHODS`.
        weights: of the agent; None takes the shipped ones.

    Returns:
        The painter, with its weights loaded.

    Raises:
        ValueError: the name is unknown, or the weights cannot be used.
        FileNotFoundError: there are no such weights.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; known: {', '.join(METHODS)}")
    if method == "optimise":
        if weights is not None:
            raise ValueError("method 'optimise' has no weights: leave them out or choose another")
        return optimise
    policy = load_policy(weights)
    return partial(hybrid if method == "hybrid" else agent_alone, policy=policy)


def agent_alone(
    photo: Image,
    height: int,
    width: int,
    settings: Settings,
    report: Report = lambda progress: None,
    *,
    policy: Policy,
) -> Drawing:
    """Paint with the agent alone, under the settings of the other painters.

    Args:
        photo: (H, W, 3) float32 RGB in [0, 1].
        height: canvas rows.
        width: canvas columns.
        settings: strokes and background count; there is nothing to refine and nothing random.
        report: called after each bundle.
        policy: the agent's, in evaluation mode.

    Returns:
        The drawing; see `agent.paint`.
    """
    target = torch.from_numpy(np.ascontiguousarray(resize(photo, height, width).transpose(2, 0, 1)))

    def advance(painter: agent.Painter) -> None:
        error = float((painter.canvas - target).square().mean())
        share = painter.done / settings.strokes
        report(Progress("paint", painter.done, share, psnr(error)))

    return agent.paint(
        photo,
        height,
        width,
        settings.strokes,
        policy=policy,
        background=settings.background,
        advance=advance,
    )
