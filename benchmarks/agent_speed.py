"""The agent alone against Learning to Paint on one CPU thread: seconds for 200 strokes at 128.

Learning to Paint is an actor of its size and its neural renderer, both with random weights, which
take the same time: 40 forward passes, each with 5 strokes that are blended onto the canvas. Both
paint in turns; the ratio is the median over the turns.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from baselines import FullyConvolutionalRenderer
from measure import show
from neuralpaint.agents import agent
from neuralpaint.agents.actor import Actor
from neuralpaint.agents.policy import load_policy, state_image
from neuralpaint.envs.procedural import picture
from neuralpaint.renderers.compose import compose
from neuralpaint.renderers.stroke import STROKE_SIZE

SIZE, STROKES, BUNDLE = 128, 200, 5
INPUTS, WIDTH = 9, 64
"""Canvas, target, steps left and coordinates; channels of the first stage, as published."""


@torch.no_grad()
def baseline(target: Tensor, actor: Actor, renderer: FullyConvolutionalRenderer) -> Tensor:
    """Learning to Paint on (1, 3, 128, 128)."""
    canvas = torch.zeros_like(target)
    passes = STROKES // BUNDLE
    for i in range(passes):
        step = torch.full((1, 1), 1 - i / passes)
        strokes = actor(state_image(canvas, target, step, SIZE)).view(BUNDLE, STROKE_SIZE)
        alphas = renderer(strokes).view(1, BUNDLE, 1, SIZE, SIZE)
        colour = strokes[None, :, 10:, None, None]
        canvas = compose(canvas, alphas * colour, alphas[:, :, 0])
    return canvas


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    policy = load_policy()
    actor = Actor(INPUTS, BUNDLE * STROKE_SIZE, WIDTH).eval()
    renderer = FullyConvolutionalRenderer().eval()
    photo = picture(np.random.default_rng(0), SIZE, SIZE)
    target = torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous()

    def ours() -> None:
        agent.paint(photo, SIZE, SIZE, STROKES, policy=policy)

    def theirs() -> None:
        baseline(target, actor, renderer)

    for name, networks in (("agent", [policy]), ("ltp", [actor, renderer])):
        count = sum(p.numel() for network in networks for p in network.parameters())
        show(f"{name}_parameters", count, "numbers")
    for call in (ours, theirs):
        call()
    turns = np.array([(seconds(ours), seconds(theirs)) for _ in range(options.turns)])
    for name, times in zip(("agent", "ltp"), turns.T, strict=True):
        show(f"{name}_seconds_200_strokes", float(np.median(times)), "s")
    ratios = turns[:, 0] / turns[:, 1]
    show("agent_to_ltp_seconds", float(np.median(ratios)), "x")
    show("agent_to_ltp_seconds_worst_turn", float(ratios.max()), "x")


if __name__ == "__main__":
    main()
