"""Speed on one CPU thread, each figure beside the baseline's of the same run."""

from functools import partial

import gymnasium as gym
import numpy as np
import torch

import neuralpaint  # noqa: F401  registers the environments
from baselines import FullyConvolutionalRenderer, stamp_alpha
from measure import rate, show
from neuralpaint.renderers import bezier
from neuralpaint.renderers.compose import compose
from neuralpaint.renderers.neural import NeuralRenderer, load_weights
from neuralpaint.renderers.stroke import random_strokes

SIZE, ENVS, BUNDLE, BATCH = 128, 96, 5, 64


def rasterisers() -> None:
    """Exact rasterisers on uniform random strokes."""
    strokes = random_strokes(256, torch.Generator().manual_seed(0))
    canvas = torch.zeros(1, 3, SIZE, SIZE)
    ours = rate(lambda: bezier.paint(canvas, strokes[None]), len(strokes))
    rows = strokes.numpy()

    def stamps() -> None:
        image = np.zeros((3, SIZE, SIZE), np.float32)
        for row in rows:
            alpha = stamp_alpha(row)
            image = alpha * row[10:, None, None] + (1 - alpha) * image

    theirs = rate(stamps, len(strokes))
    matte = rate(lambda: [stamp_alpha(row) for row in rows], len(strokes))
    show("rasteriser_exact", ours, "strokes/s")
    show("rasteriser_stamps", theirs, "strokes/s")
    show("rasteriser_stamps_alpha_only", matte, "strokes/s")
    show("rasteriser_ratio", ours / theirs, "x")
    show("rasteriser_ratio_to_alpha_only", ours / matte, "x")


def training() -> None:
    """Forward and backward through the exact rasteriser."""
    strokes = random_strokes(256, torch.Generator().manual_seed(0))[None].requires_grad_()
    canvas = torch.zeros(1, 3, SIZE, SIZE)
    speed = rate(lambda: bezier.paint(canvas, strokes).sum().backward(), 256)
    show("rasteriser_exact_with_gradient", speed, "strokes/s")


@torch.no_grad()
def networks() -> None:
    """H_r against the fully convolutional renderer."""
    strokes = random_strokes(BATCH, torch.Generator().manual_seed(0))
    ours, theirs = load_weights(), FullyConvolutionalRenderer().eval()
    for name, network in (("neural", ours), ("fcn", theirs)):
        show(f"{name}_parameters", sum(p.numel() for p in network.parameters()), "numbers")
    fast = rate(lambda: ours(strokes, SIZE, SIZE), BATCH)
    slow = rate(lambda: theirs(strokes, SIZE, SIZE), BATCH)
    show("neural_batch_64", fast, "strokes/s")
    show("fcn_batch_64", slow, "strokes/s")
    show("neural_ratio", fast / slow, "x")
    one_fast = rate(lambda: ours(strokes[:1], SIZE, SIZE), 1)
    one_slow = rate(lambda: theirs(strokes[:1], SIZE, SIZE), 1)
    show("neural_ratio_batch_1", one_fast / one_slow, "x")


@torch.no_grad()
def environments() -> None:
    """env.step of 96 environments with 5 strokes each."""
    fcn = FullyConvolutionalRenderer().eval()

    def fcn_paint(canvas: torch.Tensor, strokes: torch.Tensor) -> torch.Tensor:
        alphas = fcn(strokes.flatten(0, 1)).view(ENVS, BUNDLE, SIZE, SIZE)
        colour = strokes[:, :, 10:, None, None]
        return compose(canvas, alphas[:, :, None] * colour, alphas)

    speeds = {}
    for name, renderer in (("bezier", "bezier"), ("neural", "neural"), ("fcn", fcn_paint)):
        envs = gym.make_vec("NeuralPaint-v0", num_envs=ENVS, renderer=renderer, device="cpu")
        envs.reset(seed=0)
        actions = np.random.default_rng(0).random((ENVS, BUNDLE * 13), np.float32)
        # Few steps, so that no episode ends and autoreset does not enter the figure.
        speeds[name] = rate(partial(envs.step, actions), ENVS, 5.0)
        show(f"env_step_{name}", speeds[name], "env steps/s")
        envs.close()
    show("env_step_ratio_bezier_to_fcn", speeds["bezier"] / speeds["fcn"], "x")
    show("env_step_ratio_neural_to_fcn", speeds["neural"] / speeds["fcn"], "x")


def main() -> None:
    torch.set_num_threads(1)
    assert sum(p.numel() for p in NeuralRenderer().parameters()) <= 3_000_000
    rasterisers()
    training()
    networks()
    environments()


if __name__ == "__main__":
    main()
