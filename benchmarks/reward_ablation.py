"""Full reward against plain L1 at equal updates: foreground PSNR on held-out pictures (Fig 6.11).

Same networks, pictures, seeds and numbers of updates; only the reward differs. Both begin
with the shipped painter, which was trained on PSNR, or with random weights (--scratch). Prints one
`name value unit` a line: the figures of every run, then the paired differences with their 95 %
intervals, over pictures and over seeds.

    python benchmarks/reward_ablation.py CUB_200_2011/ --out runs/ablation --updates 150
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from neuralpaint.agents.agent import paint_batch
from neuralpaint.agents.attention import load_attention
from neuralpaint.agents.ddpg import ModelBasedDDPG
from neuralpaint.agents.learner import UpdateConfig
from neuralpaint.agents.policy import Policy, load_policy, save_policy
from neuralpaint.agents.proposals import CELL, PICTURES
from neuralpaint.backend.datasets import image_files, split
from neuralpaint.backend.files import writable_folder, write_json
from neuralpaint.envs import painting, rewards, targets
from neuralpaint.envs.subjects import Kind as Subject

COUNTS = (50, 100)
UPDATES_PER_STEP = 2
SCALE = 20.0
"""Both rewards count this many times over, which brings what a stroke earns to the size of the PSNR
reward, for which the scores of the shipped actor stand and `proposals.score_of` is made. Else the
first hundreds of updates go into a shift of all scores, and small rewards are not told apart."""
Figures = dict[str, list[float]]


class Job(NamedTuple):
    """One agent to train."""

    reward: str
    seed: int


class Scaled:
    """A reward times `SCALE`."""

    def __init__(self, reward: rewards.Reward) -> None:
        self.reward = reward

    def __call__(self, before: painting.State, after: painting.State) -> Tensor:
        """The reward of each painting, (B,)."""
        return SCALE * self.reward(before, after)


def train(files: list[Path], reward: str, seed: int, options: argparse.Namespace) -> ModelBasedDDPG:
    """One agent; only the reward differs."""
    agent = ModelBasedDDPG(
        "NeuralPaint-v0",
        agent="attention",
        reward=reward,
        targets=files,
        canvas=64,
        n_envs=options.batch,
        batch_size=options.batch,
        buffer_size=80 * options.batch,
        gradient_steps=UPDATES_PER_STEP,
        backgrounds=("mean",),
        seed=seed,
        update=UpdateConfig(critic=False, proposals=6, rate=options.rate),
        # No longer than what is measured, so that as many pictures as possible are seen.
        env_kwargs={"subject": options.subject, "budget": max(COUNTS)},
        device=options.device,
    )
    learner = agent.learner
    if options.oracle and isinstance(learner.reward, rewards.Full):
        vgg = learner.vgg
        assert vgg is not None
        focus = rewards.Focus(vgg, None, learner.model)
        learner.reward = rewards.Full(rewards.Masked(vgg), focus)
    learner.reward = Scaled(learner.reward)
    if not options.scratch:
        warm_start(learner.policy, options.attention)
    steps = 1 + options.updates // UPDATES_PER_STEP  # nothing is learned from the first
    agent.learn(options.batch * steps)
    return agent


def arm(seen: list[Path], held: list[Path], job: Job, options: argparse.Namespace) -> None:
    """Train and measure one agent, unless its figures are there."""
    if options.device == "cpu" and options.jobs > 1:
        torch.set_num_threads(1)
    path = figures_file(job, options)
    if not path.exists():
        agent = train(seen, *job, options)
        figures = measure(agent, held, options.subject)
        save_policy(agent.learner.policy, path.with_suffix(".safetensors"))
        write_json(path, figures)


def figures_file(job: Job, options: argparse.Namespace) -> Path:
    """Named after what decides a run."""
    start = "scratch" if options.scratch else "warm"
    oracle = "-oracle" if options.oracle and job.reward == "full" else ""
    numbers = f"{options.updates}x{options.batch}-{options.rate:g}"
    out: Path = options.out
    return out / f"{job.reward}{oracle}-{job.seed}-{start}-{numbers}.json"


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
    parser.add_argument(
        "--oracle", action="store_true", help="exact masks in the focus reward, not the attention's"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--batch", type=int, default=32, help="states per update, and paintings")
    parser.add_argument("--rate", type=float, default=1e-3, help="of the actor")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="agents trained at the same time")
    parser.add_argument(
        "--scratch", action="store_true", help="begin with random weights, not the shipped ones"
    )
    options = parser.parse_args()
    seen, held = split(image_files(options.pictures), options.held_out)
    writable_folder(options.out)
    jobs = [Job(reward, n) for n in range(options.seeds) for reward in (options.reward, "l1")]
    if options.jobs == 1:
        for job in jobs:
            arm(seen, held, job, options)
    else:
        context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU
        with ProcessPoolExecutor(options.jobs, context) as pool:
            for done in [pool.submit(arm, seen, held, job, options) for job in jobs]:
                done.result()
    results: dict[Job, Figures] = {}
    for job in jobs:
        results[job] = json.loads(figures_file(job, options).read_text("utf-8"))
        for name, values in results[job].items():
            print(f"{job.reward}_{job.seed}_{name} {np.mean(values):.3f} dB", flush=True)
    for name in results[jobs[0]]:
        by_seed = np.array(
            [
                np.subtract(results[Job(options.reward, n)][name], results[Job("l1", n)][name])
                for n in range(options.seeds)
            ]
        )
        print(f"{options.reward}_minus_l1_{name}_over_pictures {interval(by_seed.mean(0))} dB")
        if options.seeds > 1:
            print(f"{options.reward}_minus_l1_{name}_over_seeds {interval(by_seed.mean(1))} dB")


if __name__ == "__main__":
    main()
