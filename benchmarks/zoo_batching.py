"""The zoo: 64 callers at once against one after another, and what a fresh process takes.

Throughput is that of single-prompt calls of `generate`, output included (PIL images). On a GPU a
call alone takes the time of a full batch (see `Model`); the ratio is therefore also given to one
after another with batches of one.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch

from measure import show
from neuralpaint import zoo
from neuralpaint.backend import device as devices
from neuralpaint.zoo.hfgan import SIZES, HfGanConfig
from neuralpaint.zoo.hfgan_model import HfGan

CALLERS, ROUNDS = 64, 3
WORDS = ("a", "small", "bird", "with", "yellow", "breast", "and", "black", "wings")
OTHERS = tuple(f"word{number}" for number in range(2000))
PROMPT = "a small bird with a yellow breast and black wings"

FIRST = """
import sys, time
from neuralpaint import zoo
from neuralpaint.backend.device import peak_memory_bytes
model = zoo.from_pretrained(sys.argv[1], device="cpu")
model.generate(sys.argv[2], seed=0)[0].save(sys.argv[3])
print(peak_memory_bytes(model.device), time.process_time())
"""


class Single(HfGan):
    """A model whose calls share nothing: no batch is larger than one."""

    BATCH: ClassVar = {"cpu": 1, "cuda": 1}


def random_model(size: int) -> HfGan:
    """Weights do not change the speed; a random model of the full size takes their place."""
    torch.manual_seed(0)
    return HfGan(
        HfGanConfig(size=size, ng=SIZES[size][0], vocabulary=WORDS + OTHERS), name=f"random-{size}"
    )


def one_after_another(model: HfGan) -> None:
    for seed in range(CALLERS):
        model.generate(PROMPT, seed=[seed])[0].load()


def at_once(model: HfGan) -> None:
    def call(seed: int) -> None:
        model.generate(PROMPT, seed=[seed])[0].load()

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def throughputs(calls: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Images per second of each, the best of some turns."""
    best = dict.fromkeys(calls, 0.0)
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = max(best[name], CALLERS / (time.perf_counter() - start))
    return best


def batching(model: HfGan, size: int) -> None:
    kind = model.device.type
    calls = {"concurrent": lambda: at_once(model), "sequential": lambda: one_after_another(model)}
    if kind == "cuda":
        calls["sequential_batch_1"] = lambda: one_after_another(single)
        single = Single(model.config, dict(model.networks.items()), name="single").to(model.device)
        single.generate(PROMPT)
    speeds = throughputs(calls)
    for name, speed in speeds.items():
        show(f"zoo_hfgan_{size}_{kind}_{name}", speed, "images/s")
        if name != "concurrent":
            show(f"zoo_hfgan_{size}_{kind}_ratio_to_{name}", speeds["concurrent"] / speed, "x")


def same_images(model: HfGan, size: int) -> None:
    """Largest difference in 8 bits between images made alone and made together."""
    together = model.generate([PROMPT] * CALLERS, seed=list(range(CALLERS)), output_type="pt")
    found: dict[int, torch.Tensor] = {}

    def call(seed: int) -> None:
        found[seed] = model.generate(PROMPT, seed=[seed], output_type="pt").images[0]

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = [model.generate(PROMPT, seed=[seed], output_type="pt").images[0] for seed in range(8)]
    shared = torch.stack([found[seed] for seed in range(CALLERS)])
    differences = [(shared - together.images).abs().max().item()]
    differences += [(torch.stack(alone) - together.images[:8]).abs().max().item()]
    show(f"zoo_hfgan_{size}_{model.device.type}_largest_difference", max(differences), "of 1")


def fresh_process(name: str, model: str, folder: Path) -> None:
    """Seconds from the start of a process to its first image on disk, and its peak memory.

    On a machine that others use, its own seconds of CPU time tell more.
    """
    arguments = [sys.executable, "-c", FIRST, model, PROMPT, str(folder / "first.png")]
    seconds, busy, memory = [], [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        printed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        seconds.append(time.perf_counter() - start)
        memory.append(int(printed.split()[0]))
        busy.append(float(printed.split()[1]))
    show(f"zoo_{name}_first_image", min(seconds), "s")
    show(f"zoo_{name}_first_image_cpu_time", min(busy), "s")
    show(f"zoo_{name}_peak_memory", max(memory) / 1e6, "MB")


def batch_sizes(model: HfGan, size: int) -> None:
    """Milliseconds per image of one call of the networks, by batch size."""
    tokens = model.vocabulary.encode([PROMPT])
    request = {"ids": tokens.ids[0], "mask": tokens.mask[0], "noise": torch.zeros(model.config.z)}
    for count in (1, 2, 4, 8, 16, 32):
        if model.device.type == "cpu" and count > 8:
            break
        batch = {key: torch.stack([value] * count) for key, value in request.items()}
        best = float("inf")
        for _ in range(2 + ROUNDS):
            devices.synchronize(model.device)
            start = time.perf_counter()
            model.compute(batch)
            best = min(best, time.perf_counter() - start)
        show(f"zoo_hfgan_{size}_{model.device.type}_batch_{count}", best / count * 1e3, "ms/image")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=[64], choices=[64, 128, 256])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--fresh", action="store_true", help="measure fresh processes too")
    options = parser.parse_args()
    for size in options.size:
        with random_model(size) as model:
            model.to(options.device)
            batch_sizes(model, size)
            same_images(model, size)
            batching(model, size)
            if model.device.type == "cuda":
                show(f"zoo_hfgan_{size}_cuda_batch", model.BATCH["cuda"], "requests")
    if options.fresh:
        with tempfile.TemporaryDirectory() as folder:
            saved = random_model(256).save_pretrained(Path(folder) / "hfgan-256")
            fresh_process("hfgan_256", str(saved), Path(folder))
            if any(model.shipped for model in zoo.list_models()):
                fresh_process("shipped", "hfgan", Path(folder))


if __name__ == "__main__":
    main()
