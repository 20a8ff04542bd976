"""Alpha error of H_r and of the baseline renderer, both trained on the same number of strokes.

Reads the two runs and refuses runs of different settings. Make them first (hours on a CPU):
    python -m neuralpaint.renderers.train --out runs/hr --strokes 128000
    python benchmarks/train_fcn.py --out runs/fcn --strokes 128000
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines import FullyConvolutionalRenderer
from measure import show
from neuralpaint.backend.checkpoints import Checkpoints, unpack
from neuralpaint.renderers import bezier
from neuralpaint.renderers.neural import NeuralRenderer, load_weights
from neuralpaint.renderers.stroke import random_strokes
from neuralpaint.renderers.train import HELD_OUT_SEED, evaluate

FIELDS = ("strokes", "batch", "size", "seed", "thickness")


class Nothing(nn.Module):
    """The trivial predictor: no stroke at all."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, strokes: Tensor, height: int, width: int) -> Tensor:
        """Alphas of 0."""
        return torch.zeros(len(strokes), height, width)


def load(folder: Path, network: nn.Module) -> dict[str, object]:
    """Weights of a finished run into a network; returns its settings."""
    saved = Checkpoints(folder).newest() if folder.is_dir() else None
    if saved is None:
        sys.exit(f"{folder} holds no run; train it first:\n{__doc__}")
    unpack(saved.tensors, network, {})
    if saved.step * int(saved.facts["batch"]) < int(saved.facts["strokes"]):
        sys.exit(f"{folder}: stopped at step {saved.step}; run its command again to finish it")
    return saved.facts


def gradient_cosine(network: NeuralRenderer) -> float:
    """Mean cosine of the network's and the exact gradient of a loss, by the ten shape numbers."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    strokes = random_strokes(64, generator, "mixed")
    target = torch.rand(64, 1, 128, 128, generator=generator)
    target = F.avg_pool2d(target, 17, 1, 8)[:, 0]
    gradients = []
    for alpha in (network, bezier.alpha):
        leaf = strokes.clone().requires_grad_()
        (alpha(leaf, 128, 128) - target).square().sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad[:, :10])
    return F.cosine_similarity(gradients[0], gradients[1]).mean().item()


def main() -> None:
    ours, theirs = NeuralRenderer(), FullyConvolutionalRenderer()
    first = load(Path("runs/hr"), ours)
    second = load(Path("runs/fcn"), theirs)
    for name in FIELDS:
        if first[name] != second[name]:
            sys.exit(f"the runs differ in {name}: {first[name]} and {second[name]}")
    errors = {
        "neural": evaluate(ours.eval()),
        "shipped": evaluate(load_weights()),
        "untrained": evaluate(NeuralRenderer().eval()),
        "fcn": evaluate(theirs.eval()),
        "nothing": evaluate(Nothing()),
    }
    show("trained_on", float(str(first["strokes"])), "strokes")
    for band in errors["fcn"]:
        unit = "mean |alpha error|" if band in ("all", "uniform") else "of the mean alpha"
        for name, table in errors.items():
            show(f"{name}_{band.replace(' ', '_')}", table[band], unit)
    show("neural_gradient_cosine", gradient_cosine(load_weights()), "")
    show("neural_to_fcn", errors["neural"]["all"] / errors["fcn"]["all"], "x")


if __name__ == "__main__":
    main()
