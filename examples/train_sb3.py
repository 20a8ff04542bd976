"""Train an algorithm of Stable-Baselines3 and compare it with a random agent.

pip install 'neuralpaint[train]'
python examples/train_sb3.py --algorithm ppo --steps 50000

It shows how the parts go together; for good paintings use `neuralpaint paint`.
"""

import argparse
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

import neuralpaint  # noqa: F401 - registers the environments
from neuralpaint.envs.sb3 import StableBaselinesVecEnv

ALGORITHMS: dict[str, Callable[..., BaseAlgorithm]] = {
    "ddpg": DDPG,
    "td3": TD3,
    "sac": SAC,
    "ppo": PPO,
}
SMALLEST_SIZE = 36  # what the image network of Stable-Baselines3 can take
HELD_OUT = 1_000_000  # first seed of the targets to evaluate on

Policy = Callable[[Any], np.ndarray]
"""Observations of N paintings to N actions in [-1, 1]."""


def make_envs(args: argparse.Namespace) -> StableBaselinesVecEnv:
    envs = gym.make_vec(
        args.env,
        num_envs=args.num_envs,
        canvas=args.size,
        budget=args.strokes,
        targets=args.targets,
        autoreset_mode="SameStep",
    )
    return StableBaselinesVecEnv(envs)


def make_model(args: argparse.Namespace, envs: StableBaselinesVecEnv) -> BaseAlgorithm:
    # Observations are pictures: small rollouts and replay memories keep them in memory.
    settings: dict[str, Any] = {"buffer_size": 5_000, "learning_starts": 100}
    if args.algorithm == "ppo":
        settings = {"n_steps": 32, "batch_size": 64, "n_epochs": 4, "gae_lambda": 0.9}
    return ALGORITHMS[args.algorithm](
        "MultiInputPolicy", envs, gamma=0.95**5, seed=args.seed, device="cpu", **settings
    )


def evaluate(envs: StableBaselinesVecEnv, policy: Policy, seed: int) -> tuple[float, float]:
    """One painting on every canvas, of targets that training did not see.

    Returns:
        Mean return, and mean PSNR of the finished paintings in dB.
    """
    envs.seed(seed)
    observation = envs.reset()
    returns, psnr = np.zeros(envs.num_envs), np.zeros(envs.num_envs)
    running = np.ones(envs.num_envs, dtype=bool)
    while running.any():
        observation, reward, done, infos = envs.step(policy(observation))
        returns += reward * running
        for i in np.flatnonzero(done & running):
            psnr[i] = infos[i]["psnr"]
        running &= ~done
    return float(returns.mean()), float(psnr.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="train with Stable-Baselines3")
    parser.add_argument("--algorithm", choices=sorted(ALGORITHMS), default="ppo")
    parser.add_argument("--steps", type=int, default=50_000, help="steps of single paintings")
    parser.add_argument("--env", default="NeuralPaintL2-v0", help="environment id")
    parser.add_argument("--targets", default="procedural", help="an image, or a folder of images")
    parser.add_argument("--size", type=int, default=64, help="canvas size in pixels")
    parser.add_argument("--strokes", type=int, default=50, help="strokes of one painting")
    parser.add_argument("--num-envs", type=int, default=8, help="paintings at a time")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.size < SMALLEST_SIZE:
        parser.error(f"--size must be at least {SMALLEST_SIZE} for this policy network")

    envs = make_envs(args)
    model = make_model(args, envs)
    model.learn(args.steps)

    def trained(observation: Any) -> np.ndarray:
        return model.predict(observation)[0]  # as it acts in training, noise and all

    def random(observation: Any) -> np.ndarray:
        return np.stack([envs.action_space.sample() for _ in range(envs.num_envs)])

    envs.action_space.seed(args.seed)
    for name, policy in (("random", random), (args.algorithm, trained)):
        score, psnr = evaluate(envs, policy, HELD_OUT + args.seed)
        print(f"{name}: return {score:.3f}, {psnr:.1f} dB after {args.strokes} strokes")
    envs.close()


if __name__ == "__main__":
    main()
