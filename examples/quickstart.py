"""Let a random agent paint, and keep a video of it.

python examples/quickstart.py --out out/quickstart.mp4
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np

import neuralpaint  # noqa: F401 - registers the environments
from neuralpaint.backend import files, media


def paint(env: gym.Env, seed: int) -> Iterator[np.ndarray]:
    """Act at random until the strokes are used up; yields every canvas, (H, W, 3) uint8."""
    env.action_space.seed(seed)
    _, info = env.reset(seed=seed)
    print(f"empty canvas: {info['psnr']:.1f} dB")
    yield np.asarray(env.render())
    done, total = False, 0.0
    while not done:
        action = env.action_space.sample()
        _, reward, terminated, truncated, info = env.step(action)
        yield np.asarray(env.render())
        done, total = terminated or truncated, total + float(reward)
    print(f"after {info['strokes']} strokes: {info['psnr']:.1f} dB, return {total:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="a random agent paints")
    parser.add_argument("--env", default="NeuralPaint-v0", help="environment id")
    parser.add_argument("--target", default="procedural", help="an image, or a folder of images")
    parser.add_argument("--size", type=int, default=128, help="canvas size in pixels")
    parser.add_argument("--strokes", type=int, default=400, help="strokes to paint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/quickstart.mp4"))
    args = parser.parse_args()

    files.writable_folder(args.out.parent)
    env = gym.make(
        args.env,
        canvas=args.size,
        budget=args.strokes,
        targets=args.target,
        render_mode="rgb_array",
    )
    media.write_video(args.out, paint(env, args.seed), fps=env.metadata["render_fps"])
    env.close()
    print(f"video: {args.out}")


if __name__ == "__main__":
    main()
