"""Milliseconds of a training step of HfGAN and of its DAMSM, with made-up pictures.

Prints one `name value unit` a line. The first round warms up and is not counted.

    python benchmarks/zoo_training.py --device cuda --size 64 128 --batch 32 64 128
"""

import argparse
import time
from collections.abc import Callable, Mapping

import torch

from measure import show
from neuralpaint.backend import device as devices
from neuralpaint.zoo.damsm import Damsm, DamsmConfig
from neuralpaint.zoo.data.captioned import Captioned
from neuralpaint.zoo.hfgan import SIZES, HfGanConfig
from neuralpaint.zoo.text import Vocabulary
from neuralpaint.zoo.train import damsm, hfgan

COUNT = 256


def pictures(size: int) -> Captioned:
    draws = torch.Generator().manual_seed(0)
    return Captioned(
        name="noise",
        images=torch.randint(256, (COUNT, 3, size, size), generator=draws, dtype=torch.uint8),
        captions=tuple((f"a bird of kind w{i} with wings",) for i in range(COUNT)),
        labels=torch.arange(COUNT),
        held_out=torch.zeros(COUNT, dtype=torch.bool),
        species=tuple(map(str, range(COUNT))),
    )


def milliseconds(
    step: Callable[[int], Mapping[str, object]], steps: int, place: torch.device
) -> float:
    for round_ in range(2):
        devices.synchronize(place)
        start = time.perf_counter()
        for i in range(steps):
            step(round_ * steps + i)
        devices.synchronize(place)
    return (time.perf_counter() - start) / steps * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, nargs="+", choices=tuple(SIZES), default=[64])
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    place = devices.resolve(options.device)
    for size in options.size:
        data = pictures(size)
        words = Vocabulary.build(text for group in data.captions for text in group).words
        ng, nd = SIZES[size]
        for batch in options.batch:
            name = f"zoo_training_{size}_{place.type}_batch_{batch}"
            encoders = damsm.DamsmTrainer(damsm.Settings(size=size, batch=batch), data, place)
            took = milliseconds(encoders.step, options.steps, place)
            show(f"{name}_damsm", took, "ms/step")
            config = HfGanConfig(size=size, ng=ng, nd=nd, vocabulary=words)
            settings = hfgan.Settings(batch=batch, penalty=1.0, shift=0.05)
            made = hfgan.HfGanTrainer(
                config, settings, data, Damsm(DamsmConfig(vocabulary=words)), place
            )
            show(f"{name}_hfgan", milliseconds(made.step, options.steps, place), "ms/step")


if __name__ == "__main__":
    main()
