"""How models move photos of other people, beside the photos moved by warping, which is no truth.

    python benchmarks/moved_photos.py --data grid --photos UTKFace

Of the photos only those of the tenth that no training sees are taken. Each is moved as a training
clip of GRID, and made again from its first frame and the clip's sound; the mouth box is compared.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from measure import show
from neuralpaint import zoo
from neuralpaint.backend.datasets import tenth
from neuralpaint.zoo.avwnet_model import AvwNet
from neuralpaint.zoo.data.grid import open_grid
from neuralpaint.zoo.data.talking import Clips
from neuralpaint.zoo.ldcgan_photos import SharedFinder
from neuralpaint.zoo.metrics.talking import Region, decibels, mouth_region, square_error
from neuralpaint.zoo.talking.inputs import TalkingFace
from neuralpaint.zoo.talking.mfcc import SAMPLE_RATE
from neuralpaint.zoo.talking.moved import moved_photos

FIRST = "first_frame"


def measure(clips: Clips, models: dict[str, AvwNet]) -> None:
    """Print the mean PSNR of the mouth box, of the first frame repeated and of each model."""
    found: dict[str, list[float]] = {name: [] for name in (FIRST, *models)}
    for clip in range(len(clips)):
        rows = clips.rows(clip)
        real, points = clips.frames[rows], clips.landmarks[rows]
        box = mouth_region(points, clips.size)

        def near(name: str, frames: Tensor, real: Tensor = real, box: Region = box) -> None:
            square = square_error(box.of(frames), box.of(real[1:]))
            found[name].append(float(decibels(square).mean()))

        near(FIRST, real[:1].expand_as(real[1:]))
        image = real[0].permute(1, 2, 0).contiguous().numpy()
        face = TalkingFace.placed(image, points[0].reshape(-1, 2).numpy() * clips.size)
        for name, model in models.items():
            video = model.generate(face, (clips.sound(clip), SAMPLE_RATE), read_words=False)
            near(name, torch.from_numpy(video.frames[1:]).permute(0, 3, 1, 2))
    for name, values in found.items():
        label = f"moved_photos_{len(values)}_{name}"
        show(f"{label}_mouth_psnr", float(np.mean(values)), "dB")
        if name != FIRST:
            ahead = np.subtract(values, found[FIRST])
            show(f"{label}_ahead_of_{FIRST}", float(ahead.mean()), "dB")
            error = float(ahead.std(ddof=1)) / len(values) ** 0.5
            show(f"{label}_ahead_standard_error", error, "dB")


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
