"""Agent, hybrid and training-free painter: quality and seconds on held-out pictures.

Each picture is painted by all of them in turns, so that they meet the same disturbances. One
process of 400 strokes at 128 pixels; prints PSNR after 100 and 400 strokes and the seconds, means
over the pictures, and at last what the hybrid's quality costs beside the training-free painter's.

    python benchmarks/painters.py UTKFace/ --pictures 10
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from measure import show
from neuralpaint.agents import agent
from neuralpaint.agents.hybrid import hybrid
from neuralpaint.agents.optimise import Settings, optimise, prepare
from neuralpaint.agents.paint import canvas_size, metrics
from neuralpaint.agents.policy import load_policy
from neuralpaint.backend.datasets import image_files, split
from neuralpaint.backend.media import ImageArray, read_image, resize
from neuralpaint.renderers.drawing import Drawing
from neuralpaint.renderers.replay import canvases

SIZE, STROKES = 128, 400
WANTED = {100: 29.0, 400: 34.0}
"""dB after some strokes that a painter must reach on average to be compared in time."""
EFFORTS = {"hybrid": (0.1, 0.2, 0.4, 1.0), "optimise": (0.1, 0.25, 0.4, 1.0)}

Painter = Callable[[ImageArray, int, int], Drawing]


class Result(NamedTuple):
    """One painting: seconds, and PSNR in dB at each count of `WANTED`."""

    seconds: float
    psnr: tuple[float, ...]


def painters(efforts: dict[str, list[float]]) -> dict[str, Painter]:
    """The agent alone, and the other two at each effort."""
    policy = load_policy()

    def alone(photo: ImageArray, height: int, width: int) -> Drawing:
        return agent.paint(photo, height, width, STROKES, policy=policy)

    def refined(effort: float, photo: ImageArray, height: int, width: int) -> Drawing:
        return hybrid(photo, height, width, Settings(STROKES, effort=effort), policy=policy)

    def searched(effort: float, photo: ImageArray, height: int, width: int) -> Drawing:
        return optimise(photo, height, width, Settings(STROKES, effort=effort))

    known: dict[str, Painter] = {"agent": alone}
    known |= {f"hybrid_{effort:g}": partial(refined, effort) for effort in efforts["hybrid"]}
    known |= {f"optimise_{effort:g}": partial(searched, effort) for effort in efforts["optimise"]}
    return known


def measure(painter: Painter, photo: ImageArray) -> Result:
    """Paint one picture."""
    height, width = canvas_size(photo, SIZE)
    start = time.perf_counter()
    drawing = painter(photo, height, width)
    seconds = time.perf_counter() - start
    target = resize(photo, height, width)
    shown = canvases(drawing, list(WANTED))
    return Result(seconds, tuple(metrics(canvas, target)["psnr"] for canvas in shown))


def cheapest(means: dict[str, Result], method: str) -> Result | None:
    """The fastest painting method of that name that is good enough, if any is."""
    enough = [
        mean
        for name, mean in means.items()
        if name.startswith(method)
        and all(got >= wanted for got, wanted in zip(mean.psnr, WANTED.values(), strict=True))
    ]
    return min(enough, key=lambda mean: mean.seconds, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="folder of pictures")
    parser.add_argument("--pictures", type=int, default=10, help="how many are held out")
    for method, efforts in EFFORTS.items():
        parser.add_argument(f"--{method}", type=float, nargs="+", default=efforts, help="efforts")
    options = parser.parse_args()
    _, files = split(image_files(options.folder), options.pictures)
    photos = [read_image(file) for file in files]
    show("pictures", len(photos), "")
    show("threads", torch.get_num_threads(), "")
    known = painters({method: getattr(options, method) for method in EFFORTS})
    prepare()
    for method in ("agent", "hybrid", "optimise"):  # one warm-up of each
        height, width = canvas_size(photos[0], SIZE)
        next(p for name, p in known.items() if name.startswith(method))(photos[0], height, width)
    results: dict[str, list[Result]] = {name: [] for name in known}
    for photo in photos:
        for name, painter in known.items():
            results[name].append(measure(painter, photo))
    means = {}
    for name, each in results.items():
        psnr = np.mean([one.psnr for one in each], 0).tolist()
        means[name] = Result(float(np.mean([one.seconds for one in each])), tuple(psnr))
        for count, value in zip(WANTED, psnr, strict=True):
            show(f"{name}_psnr_after_{count}", value, "dB")
        show(f"{name}_seconds", means[name].seconds, "s")
    best = {method: cheapest(means, method) for method in EFFORTS}
    wanted = " and ".join(f"{psnr:g} dB after {count}" for count, psnr in WANTED.items())
    for method, mean in best.items():
        if mean is None:
            print(f"no effort of {method} reaches {wanted}", flush=True)
        else:
            show(f"{method}_seconds_to_quality", mean.seconds, "s")
    if (fast := best["hybrid"]) is not None and (slow := best["optimise"]) is not None:
        show("hybrid_to_optimise_seconds_at_quality", fast.seconds / slow.seconds, "x")


if __name__ == "__main__":
    main()
