"""Which differentiable model trains the agent better: the exact rasteriser or H_r?

Same network, pictures, seed and number of updates; only the model that the gradient passes through
differs, or, with --critic, whether there is a critic. Prints PSNR after 50 and 100 strokes on
held-out pictures, painted with the exact rasteriser whatever the model was, and seconds per update.

    python benchmarks/model_choice.py UTKFace/ --updates 150
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from measure import show
from neuralpaint.agents.agent import paint_batch
from neuralpaint.agents.ddpg import ModelBasedDDPG
from neuralpaint.agents.learner import UpdateConfig
from neuralpaint.backend.datasets import image_files, split
from neuralpaint.envs import targets

CANVAS, COUNTS = 64, (50, 100)
PAINTINGS, UPDATES_PER_STEP = 16, 2


def variants(critic: bool) -> dict[str, UpdateConfig]:
    """What is compared, by name."""
    if critic:
        return {
            name: UpdateConfig(critic=on, proposals=8, rate=3e-3)
            for name, on in (("critic_off", False), ("critic_on", True))
        }
    return {
        model: UpdateConfig(model=model, critic=False, proposals=8, rate=3e-3)
        for model in ("bezier", "neural")
    }


def train(
    files: list[Path], config: UpdateConfig, updates: int, seed: int, device: str
) -> tuple[ModelBasedDDPG, float]:
    """One agent from random weights, and the seconds of one of its updates."""
    agent = ModelBasedDDPG(
        "NeuralPaint-v0",
        agent="proposals",
        targets=files,
        canvas=CANVAS,
        n_envs=PAINTINGS,
        batch_size=16,
        buffer_size=1280,
        gradient_steps=UPDATES_PER_STEP,
        backgrounds=("mean",),  # what `psnr` begins on
        seed=seed,
        update=config,
        device=device,
    )
    # No update follows the first step of the paintings, which is `learning_starts`.
    start = time.perf_counter()
    agent.learn(PAINTINGS * (updates // UPDATES_PER_STEP + 1))
    return agent, (time.perf_counter() - start) / max(1, agent._n_updates)


def psnr(agent: ModelBasedDDPG, image: Tensor) -> dict[int, float]:
    """Mean dB after some strokes on pictures (B, 3, 64, 64)."""
    image = image.to(agent.device)
    paper = image.mean((2, 3), keepdim=True).expand_as(image).contiguous()
    policy = agent.learner.policy.eval()
    painted = paint_batch(policy, image, paper, max(COUNTS), counts=COUNTS)
    return {
        count: float((-10 * (canvas - image).square().mean((1, 2, 3)).log10()).mean())
        for count, canvas in painted.at.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="folder of pictures")
    parser.add_argument("--critic", action="store_true", help="compare critic on and off instead")
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    seen, held = split(image_files(options.folder), options.held_out)
    source = targets.open_source(held, targets.Canvas(3, CANVAS, CANVAS), None)
    image, _ = targets.stack([source.pick(i) for i in range(len(held))], torch.device("cpu"))
    for name, config in variants(options.critic).items():
        agent, seconds = train(seen, config, options.updates, options.seed, options.device)
        show(f"{name}_updates", agent._n_updates, "updates")
        for count, value in psnr(agent, image).items():
            show(f"{name}_psnr_after_{count}", value, "dB")
        show(f"{name}_seconds_per_update", seconds, "s")


if __name__ == "__main__":
    main()
