"""How models move photos of other people, beside the photos moved by warping, which is no truth.

    python benchmarks/moved_photos.py --data grid --photos UTKFace

Of the photos only those of the tenth that no training sees are taken. Each is moved as a training
clip of GRID, and made again from its first frame and the clip's sound; the mouth box is compared.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from measure import show
from neuralpaint import zoo
from neuralpaint.backend.datasets import tenth
from neuralpaint.zoo.avwnet_model import AvwNet
from neuralpaint.zoo.data.grid import open_grid
from neuralpaint.zoo.data.talking import Clips
from neuralpaint.zoo.ldcgan_photos import SharedFinder
from neuralpaint.zoo.metrics.talking import mouth_region
from neuralpaint.zoo.talking.inputs import TalkingFace
from neuralpaint.zoo.talking.mfcc import SAMPLE_RATE
from neuralpaint.zoo.talking.moved import moved_photos


def decibels(frames: torch.Tensor, real: torch.Tensor) -> float:
    """Mean PSNR over frames (T, 3, h, w) uint8."""
    square = (frames.float() - real.float()).square().mean((1, 2, 3)).clamp(min=1e-6)
    return float((10 * torch.log10(255**2 / square)).mean())


def measure(clips: Clips, models: dict[str, AvwNet]) -> None:
    """Print the mean PSNR of the mouth box, of the first frame repeated and of each model."""
    found: dict[str, list[float]] = {"first_frame": [], **{name: [] for name in models}}
    for clip in range(len(clips)):
        rows = clips.rows(clip)
        real, points = clips.frames[rows], clips.landmarks[rows]
        box = mouth_region(points, clips.size)
        image = real[0].permute(1, 2, 0).contiguous().numpy()
        face = TalkingFace.placed(image, points[0].reshape(-1, 2).numpy() * clips.size)
        mouth = box.of(real[1:])
        found["first_frame"].append(decibels(box.of(real[:1]).expand_as(mouth), mouth))
        for name, model in models.items():
            made = model.generate(face, (clips.sound(clip), SAMPLE_RATE), read_words=False).frames
            shown = torch.from_numpy(np.ascontiguousarray(made[1:].transpose(0, 3, 1, 2)))
            found[name].append(decibels(box.of(shown), mouth))
    for name, values in found.items():
        spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
        show(f"moved_photos_{len(values)}_{name}_mouth_psnr", float(np.mean(values)), "dB")
        ahead = np.array(values) - np.array(found["first_frame"])
        error = float(ahead.std(ddof=1)) / len(values) ** 0.5
        if name != "first_frame":
            show(
                f"moved_photos_{len(values)}_{name}_ahead_of_first_frame", float(ahead.mean()), "dB"
            )
            show(f"moved_photos_{len(values)}_{name}_its_standard_error", error, "dB")
        else:
            show(f"moved_photos_{len(values)}_{name}_standard_error", spread, "dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of GRID")
    parser.add_argument("--cache", type=Path, help="of its clips")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos of faces")
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()
    photos = sorted(file for file in options.photos.rglob("*.jpg") if not tenth(file))
    grid = open_grid(options.data, cache=options.cache)
    clips = moved_photos(photos, grid, options.count, SharedFinder(), seed=7)
    models = {}
    for name in ("avwnet", "avwnet-photos"):
        model = zoo.from_pretrained(name, device="cpu")
        assert isinstance(model, AvwNet)
        models[name] = model
    measure(clips, models)


if __name__ == "__main__":
    main()
