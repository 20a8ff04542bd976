"""Train the model-based painter, save it, load it again and let it paint a picture.

pip install 'neuralpaint[train]'
python examples/train_painter.py --targets photos/ --steps 200000

A run that resumes after a kill and keeps its best weights: `neuralpaint train painter`.
"""

import argparse
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from neuralpaint.agents import ModelBasedDDPG
from neuralpaint.agents.agent import paint
from neuralpaint.agents.learner import UpdateConfig
from neuralpaint.agents.paint import metrics, render
from neuralpaint.backend import media
from neuralpaint.envs.targets import Canvas, open_source

UNSEEN = 1_000_000  # number of a procedural picture that training does not draw


class Print(BaseCallback):
    """Tells now and then what a bundle of strokes earns."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def _on_step(self) -> bool:
        figures = self.logger.name_to_value
        if "train/reward" in figures and self.n_calls % self.every == 0:
            print(f"{self.num_timesteps} steps: reward {figures['train/reward']:.4f}")
        return True  # False would end the training


def main() -> None:
    parser = argparse.ArgumentParser(description="train the model-based painter")
    parser.add_argument("--targets", default="procedural", help="an image, or a folder of images")
    parser.add_argument("--photo", type=Path, help="what to paint; else a procedural picture")
    parser.add_argument("--out", type=Path, default=Path("painter"), help="folder for everything")
    parser.add_argument("--steps", type=int, default=50_000, help="bundles of five strokes")
    parser.add_argument("--size", type=int, default=64, help="canvas size in pixels")
    parser.add_argument("--strokes", type=int, default=100, help="strokes of the picture")
    parser.add_argument("--paintings", type=int, default=64, help="paintings at a time")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    agent = ModelBasedDDPG(
        "NeuralPaint-v0",
        targets=args.targets,
        canvas=args.size,
        n_envs=args.paintings,
        batch_size=args.paintings,
        backgrounds=("mean", "black", "white"),
        update=UpdateConfig(critic=False),
        seed=args.seed,
    )
    agent.learn(args.steps, callback=Print(every=10))
    agent.save(args.out)

    agent = ModelBasedDDPG.load(args.out)
    if args.photo:
        photo = media.read_image(args.photo)
    else:
        target = open_source("procedural", Canvas(3, args.size, args.size)).pick(UNSEEN)
        photo = target.image.transpose(1, 2, 0)
    small = media.resize(photo, args.size, args.size)
    policy = agent.learner.policy.eval()
    drawing = paint(
        small, args.size, args.size, args.strokes, policy=policy, device=agent.learner.device
    )
    picture = args.out / "picture.png"
    render(drawing, picture, args.size, args.size)
    psnr = metrics(media.read_image(picture), small)["psnr"]
    print(f"{picture}: {psnr:.1f} dB after {args.strokes} strokes")


if __name__ == "__main__":
    main()
