"""Full reward against plain L1 at equal updates: foreground PSNR on held-out pictures (Fig 6.11).

Same networks, pictures, seeds and numbers of updates; only the reward differs. Both begin
with the shipped painter, which was trained on PSNR, or with random weights (--scratch). Prints one
`name value unit` a line: the figures of every run, then the paired differences with their 95 %
intervals, over pictures and over seeds.

    python benchmarks/reward_ablation.py CUB_200_2011/ --out runs/ablation --updates 150
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from neuralpaint.agents.agent import paint_batch
from neuralpaint.agents.attention import load_attention
from neuralpaint.agents.ddpg import ModelBasedDDPG
from neuralpaint.agents.learner import UpdateConfig
from neuralpaint.agents.policy import Policy, load_policy
from neuralpaint.agents.proposals import CELL, PICTURES
from neuralpaint.backend.files import writable_folder, write_json
from neuralpaint.envs import targets
from neuralpaint.envs.datasets import image_files, split
from neuralpaint.envs.subjects import Kind as Subject

COUNTS = (50, 100)
Figures = dict[str, list[float]]


def train(files: list[Path], reward: str, seed: int, options: argparse.Namespace) -> ModelBasedDDPG:
    """One agent; only the reward differs."""
    agent = ModelBasedDDPG(
        "NeuralPaint-v0",
        agent="attention",
        reward=reward,
        targets=files,
        canvas=64,
        n_envs=16,
        batch_size=16,
        buffer_size=1280,
        gradient_steps=2,
        backgrounds=("mean",),
        seed=seed,
        update=UpdateConfig(critic=False, proposals=6, rate=3e-3 if options.scratch else 1e-3),
        env_kwargs={"subject": options.subject},
        device=options.device,
    )
    if not options.scratch:
        warm_start(agent.learner.policy, options.attention)
    agent.learn(16 * (options.updates // 2 + 1))
    return agent


def warm_start(policy: Policy, attention: Path | None) -> None:
    """Begin with a trained attention module and the shipped actor, which sees no focused image.

    What the actor makes of the focused image begins at zero.
    """
    shipped = load_policy()
    assert policy.attention is not None
    policy.attention.load_state_dict(load_attention(attention).state_dict())
    weights = shipped.actor.state_dict()
    old, new = weights["stem.weight"], policy.actor.state_dict()["stem.weight"].clone()
    pictures = PICTURES * CELL**2
    new[:, :pictures] = old[:, :pictures]
    new[:, pictures:-2] = 0
    new[:, -2:] = old[:, -2:]
    policy.actor.load_state_dict({**weights, "stem.weight": new})


def measure(agent: ModelBasedDDPG, files: list[Path], subject: Subject) -> Figures:
    """PSNR of foreground, background and all, per picture, after some strokes."""
    source = targets.open_source(files, targets.Canvas(3, 64, 64), subject)
    drawn = []
    for i in range(len(files)):
        try:
            drawn.append(source.pick(i))
        except targets.NoSubjectError:
            continue  # it was named in a warning
    image, mask = targets.stack(drawn, agent.device)
    policy = agent.learner.policy.eval()
    paper = image.mean((2, 3), keepdim=True).expand_as(image).contiguous()
    painted = paint_batch(policy, image, paper, max(COUNTS), counts=COUNTS, dtype=torch.bfloat16)
    figures: Figures = {}
    for count, canvas in painted.at.items():
        error = (canvas - image).square().mean(1, keepdim=True)
        for name, part in (("foreground", mask), ("background", 1 - mask), ("whole", mask * 0 + 1)):
            mse = (error * part).sum((1, 2, 3)) / part.sum((1, 2, 3)).clamp(min=1)
            figures[f"{name}_{count}"] = (-10 * mse.clamp(min=1e-10).log10()).tolist()
    return figures


def interval(values: NDArray[np.float64]) -> str:
    """Mean and 95 % t interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.3f} +- {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--subject", choices=("face", "object"), default="object")
    parser.add_argument("--reward", default="full", help="what is compared with l1")
    parser.add_argument("--attention", type=Path, help="weights; the shipped ones by default")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--scratch", action="store_true", help="begin with random weights, not the shipped ones"
    )
    options = parser.parse_args()
    seen, held = split(image_files(options.pictures), options.held_out)
    writable_folder(options.out)
    results: dict[tuple[str, int], Figures] = {}
    for seed in range(options.seeds):
        for reward in (options.reward, "l1"):
            path = options.out / f"{reward}-{seed}-{options.updates}.json"
            if not path.exists():
                agent = train(seen, reward, seed, options)
                write_json(path, measure(agent, held, options.subject))
                agent.save(options.out / f"{reward}-{seed}")
            results[reward, seed] = json.loads(path.read_text("utf-8"))
            for name, values in results[reward, seed].items():
                print(f"{reward}_{seed}_{name} {np.mean(values):.3f} dB", flush=True)
    for name in results[options.reward, 0]:
        by_seed = np.array(
            [
                np.subtract(results[options.reward, seed][name], results["l1", seed][name])
                for seed in range(options.seeds)
            ]
        )
        print(f"{options.reward}_minus_l1_{name}_over_pictures {interval(by_seed.mean(0))} dB")
        if options.seeds > 1:
            print(f"{options.reward}_minus_l1_{name}_over_seeds {interval(by_seed.mean(1))} dB")


if __name__ == "__main__":
    main()
