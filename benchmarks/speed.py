"""Speed on one CPU thread, each figure beside the baseline's of the same run."""

from functools import partial

import gymnasium as gym
import numpy as np
import torch

import neuralpaint  # noqa: F401  registers the environments
from baselines import FullyConvolutionalRenderer, stamp_alpha
from measure import rates, show
from neuralpaint.renderers import bezier
from neuralpaint.renderers.compose import compose
from neuralpaint.renderers.neural import load_weights
from neuralpaint.renderers.stroke import random_strokes

SIZE, ENVS, BUNDLE, BATCH = 128, 96, 5, 64


def rasterisers() -> None:
    """Exact rasterisers on uniform random strokes."""
    strokes = random_strokes(256, torch.Generator().manual_seed(0))
    canvas = torch.zeros(1, 3, SIZE, SIZE)
    rows = strokes.numpy()

    def stamps() -> None:
        image = np.zeros((3, SIZE, SIZE), np.float32)
        for row in rows:
            alpha = stamp_alpha(row)
            image = alpha * row[10:, None, None] + (1 - alpha) * image

    def alphas_only() -> None:
        for row in rows:
            stamp_alpha(row)

    leaf = strokes[None].clone().requires_grad_()
    speeds = rates(
        {
            "exact": (partial(bezier.paint, canvas, strokes[None]), len(rows)),
            "stamps": (stamps, len(rows)),
            "stamps_alpha_only": (alphas_only, len(rows)),
            "exact_with_gradient": (lambda: bezier.paint(canvas, leaf).sum().backward(), len(rows)),
        },
        12.0,
    )
    for name, speed in speeds.items():
        show(f"rasteriser_{name}", speed, "strokes/s")
    show("rasteriser_ratio", speeds["exact"] / speeds["stamps"], "x")
    show("rasteriser_ratio_to_alpha_only", speeds["exact"] / speeds["stamps_alpha_only"], "x")


@torch.no_grad()
def networks() -> None:
    """H_r against the fully convolutional renderer."""
    strokes = random_strokes(BATCH, torch.Generator().manual_seed(0))
    ours, theirs = load_weights(), FullyConvolutionalRenderer().eval()
    for name, network in (("neural", ours), ("fcn", theirs)):
        show(f"{name}_parameters", sum(p.numel() for p in network.parameters()), "numbers")
    for batch in (BATCH, 1):
        speeds = rates(
            {
                "neural": (partial(ours, strokes[:batch], SIZE, SIZE), batch),
                "fcn": (partial(theirs, strokes[:batch], SIZE, SIZE), batch),
            }
        )
        for name, speed in speeds.items():
            show(f"{name}_batch_{batch}", speed, "strokes/s")
        show(f"neural_ratio_batch_{batch}", speeds["neural"] / speeds["fcn"], "x")


@torch.no_grad()
def environments() -> None:
    """env.step of 96 environments with 5 strokes each."""
    fcn = FullyConvolutionalRenderer().eval()

    def fcn_paint(canvas: torch.Tensor, strokes: torch.Tensor) -> torch.Tensor:
        alphas = fcn(strokes.flatten(0, 1)).view(ENVS, BUNDLE, SIZE, SIZE)
        colour = strokes[:, :, 10:, None, None]
        return compose(canvas, alphas[:, :, None] * colour, alphas)

    actions = np.random.default_rng(0).random((ENVS, BUNDLE * 13), np.float32)
    calls = {}
    for name, renderer in (("bezier", "bezier"), ("neural", "neural"), ("fcn", fcn_paint)):
        envs = gym.make_vec(
            "NeuralPaint-v0",
            num_envs=ENVS,
            canvas=SIZE,
            renderer=renderer,
            budget=10_000,  # no episode ends here, so that no reset enters the figure
            device="cpu",
        )
        envs.reset(seed=0)
        calls[name] = (partial(envs.step, actions), ENVS)
    speeds = rates(calls, 24.0)
    for name, speed in speeds.items():
        show(f"env_step_{name}", speed, "env steps/s")
    for name in ("bezier", "neural"):
        show(f"env_step_ratio_{name}_to_fcn", speeds[name] / speeds["fcn"], "x")


def main() -> None:
    torch.set_num_threads(1)
    rasterisers()
    networks()
    environments()


if __name__ == "__main__":
    main()
