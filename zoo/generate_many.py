"""Many images into a folder: split over processes, resumable, nothing made twice.

    manifest.json    model, weights, seed, and of every image its file, prompt and seed
    00000.png ...    the images
    sheet.png        the first of them with their prompts

Which images there will be, and who makes which, follows from the arguments alone, so processes need
not talk to each other: number i is made by process i modulo their count, unless its file is there.
A file appears under its name only when it is complete.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..backend.device import spawn
from ..backend.files import input_file, read_json, writable_folder, write_json
from .hfgan_model import HfGan
from .result import sheet_of

MANIFEST, SHEET = "manifest.json", "sheet.png"
MAX_ITEMS = 100_000
MAX_MANIFEST_BYTES = 2**30
MAX_PROMPTS_BYTES = 2**28
SHEET_ITEMS = 32

Report = Callable[[int, int], None]
"""Called with (done, all) images of this process; those that were there already count as done."""


@dataclass(frozen=True)
class Many:
    """What a process did.

    Attributes:
        items: images of all processes.
        own: images that this process answers for.
        made: of them, made now; the rest was there.
        complete: whether all images of all processes are there.
        notes: on the prompts, see `HfGan.check_prompts`.
    """

    items: int
    own: int
    made: int
    complete: bool
    notes: tuple[str, ...]


def generate_many(
    model: HfGan,
    prompts: Sequence[str],
    out: Path,
    *,
    num_images: int = 1,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    report: Report = lambda done, total: None,
) -> Many:
    """Make images of many prompts, or go on with it.

    They are those of one `model.generate(prompts, num_images=num_images, seed=seed)`.

    Args:
        model: on its device.
        prompts: one or more.
        out: folder, made if absent.
        num_images: for each prompt.
        seed: image i takes `device.spawn(seed, i)`.
        rank: number of this process, from 0.
        world: number of processes.
        report: called as images get ready.

    Returns:
        What was done.

    Raises:
        TypeError, ValueError: as of `HfGan.generate`; too many images; or the folder was begun with
            other settings (names the first that differs).
        OSError: the folder cannot be written to.
    """
    if not (world >= 1 and 0 <= rank < world):
        raise ValueError(f"process {rank} of {world} cannot be: count from 0")
    texts, notes = model.check_prompts(list(prompts))
    total = len(texts) * num_images
    if num_images < 1 or total > MAX_ITEMS:
        raise ValueError(f"{num_images} images of each prompt: make 1 to {MAX_ITEMS} in all")
    items: list[dict[str, Any]] = [
        {"file": f"{i:05d}.png", "prompt": texts[i // num_images], "seed": spawn(seed, i)}
        for i in range(total)
    ]
    plan = {
        "model": model.name,
        "weights": model.fingerprint,
        "dtype": str(model.dtype).removeprefix("torch."),
        "seed": seed,
        "num_images": num_images,
        "source": "AI-generated images",
        "items": items,
    }
    writable_folder(out)
    _begin(out / MANIFEST, plan)
    own = items[rank::world]
    left = [item for item in own if not (out / item["file"]).exists()]
    _make(model, left, out, len(own) - len(left), len(own), report)
    complete = all((out / item["file"]).exists() for item in items)
    first = items[:SHEET_ITEMS]
    if not (out / SHEET).exists() and all((out / item["file"]).exists() for item in first):
        _write_sheet(model, first, out)
    return Many(total, len(own), len(left), complete, tuple(notes))


def read_prompts(path: Path) -> list[str]:
    """Prompts from a text file, one a line; empty lines are skipped.

    Args:
        path: UTF-8.

    Returns:
        The prompts, at least one.

    Raises:
        ValueError: no such file, too large, not text, or no prompt in it.
    """
    file = input_file(path)
    size = file.stat().st_size
    if size > MAX_PROMPTS_BYTES:
        raise ValueError(f"{file}: {size} bytes, no list of prompts")
    try:
        lines = file.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not a text in UTF-8 ({error.reason})") from None
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"{file}: holds no prompt; write one a line")
    return prompts


def _begin(path: Path, plan: dict[str, Any]) -> None:
    """Write the plan, or compare it with the one that is there. All processes write the same."""
    if not path.exists():
        write_json(path, plan)
        return
    then = read_json(path, max_bytes=MAX_MANIFEST_BYTES)
    if not isinstance(then, dict):
        raise ValueError(f"{path}: not such a manifest; use another folder")
    for name, value in plan.items():
        if then.get(name) != value:
            told = "other prompts" if name == "items" else f"{name}={then.get(name)!r:.80}"
            raise ValueError(f"{path.parent}: was begun with {told}; use another folder")


def _make(
    model: HfGan,
    items: Sequence[dict[str, Any]],
    out: Path,
    done: int,
    total: int,
    report: Report,
) -> None:
    """Make and write images; enough threads ask at a time to fill the model's batches."""
    report(done, total)
    threads = 2 * model.BATCH[model.device.type]

    def make(item: dict[str, Any]) -> None:
        made = model.generate(item["prompt"], seed=[item["seed"]])
        made[0].save(out / item["file"])

    waiting = iter(items)
    running: set[Future[None]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="neuralpaint-generate") as pool:
        try:
            while True:
                for item in waiting:
                    running.add(pool.submit(make, item))
                    if len(running) >= 2 * threads:
                        break
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    done += 1
                    report(done, total)
        finally:
            for future in running:
                future.cancel()


def _write_sheet(model: HfGan, items: Sequence[dict[str, Any]], out: Path) -> None:
    pictures = []
    for item in items:
        with Image.open(out / item["file"]) as image:
            pictures.append(np.asarray(image.convert("RGB")))
    prompts = [item["prompt"] for item in items]
    seeds = [item["seed"] for item in items]
    sheet_of(pictures, prompts, seeds, model.title).save(out / SHEET)


def process() -> tuple[int, int]:
    """Number of this process and how many there are, as torchrun says; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
