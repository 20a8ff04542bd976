"""Train H_r against the exact rasteriser: ``python -m neuralpaint.renderers.train --out runs/hr``.

Every batch is drawn from a generator seeded by (seed, step), so a run that was stopped and
resumed sees the strokes of an uninterrupted one.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from ..backend import device as devices
from ..backend import supervised
from ..backend.files import writable_folder
from . import bezier
from .neural import NeuralRenderer, save_weights
from .stroke import random_strokes, to_pixels

BANDS = (0.0, 1.5, 3.0, 6.0, 12.0, math.inf)
"""Edges in pixels of the thickness bands, by mean radius on the canvas that was evaluated."""

HELD_OUT_SEED = 2**31 - 1


@dataclass(frozen=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        strokes: how many strokes to train on.
        batch: strokes per step.
        rate: first learning rate of Adam, lowered to a hundredth along a cosine.
        size: canvas side in pixels.
        seed: of the weights and the strokes.
        thickness: see `stroke.random_strokes`.
    """

    strokes: int = 512_000
    batch: int = 64
    rate: float = 1e-3
    size: int = 128
    seed: int = 0
    thickness: str = "mixed"

    def __post_init__(self) -> None:
        for name in ("strokes", "batch", "size", "rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if self.thickness not in ("uniform", "mixed"):
            raise ValueError(f"thickness must be uniform or mixed, got {self.thickness!r}")

    @property
    def steps(self) -> int:
        """Steps of the optimiser that spend at least `strokes`."""
        return -(-self.strokes // self.batch)


def batch_of(settings: Settings, step: int) -> Tensor:
    """The strokes of one step, (batch, 13)."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    thickness = "mixed" if settings.thickness == "mixed" else "uniform"
    return random_strokes(settings.batch, generator, thickness)  # type: ignore[arg-type]


def fit(
    network: nn.Module,
    settings: Settings,
    out: Path,
    *,
    device: torch.device,
    save_every: int = 500,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train any renderer with forward(strokes, height, width) -> alphas by squared error.

    Args:
        network: trained in place, on `device`.
        settings: see `Settings`.
        out: existing folder of the checkpoints; a run in it is resumed.
        device: where to train.
        save_every: steps between checkpoints.
        report: called after each step with its number and loss.

    Raises:
        ValueError: the checkpoint belongs to other settings (names the field).
        FloatingPointError: the loss is not finite; the last checkpoint stands.
    """
    network.to(device)

    def loss_at(step: int) -> Tensor:
        strokes = batch_of(settings, step).to(device)
        with torch.no_grad():
            truth = bezier.alpha(strokes, settings.size, settings.size)
        loss: Tensor = (network(strokes, settings.size, settings.size) - truth).square().mean()
        return loss

    supervised.fit(
        network,
        loss_at,
        settings.steps,
        lambda step: settings.rate * supervised.cosine(step, settings.steps),
        out,
        asdict(settings),
        save_every=save_every,
        report=report,
    )


@torch.no_grad()
def evaluate(network: nn.Module, *, count: int = 2048, size: int = 128) -> dict[str, float]:
    """Mean absolute alpha error on held-out strokes, whole and by thickness band.

    Args:
        network: forward(strokes, height, width) -> alphas.
        count: held-out strokes, half uniform and half log-uniform in thickness.
        size: canvas side in pixels.

    Returns:
        {"all": error, "uniform": error, "0-1.5 px": ..., ...}; a band's error is relative to the
        mean true alpha of its strokes, since thin strokes cover few pixels.
    """
    place = next(network.parameters()).device
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    strokes = random_strokes(count, generator, "mixed")
    errors, alphas = [], []
    for part in strokes.split(64):
        truth = bezier.alpha(part.to(place), size, size)
        errors.append((network(part.to(place), size, size) - truth).abs().mean((1, 2)).cpu())
        alphas.append(truth.mean((1, 2)).cpu())
    error, alpha = torch.cat(errors), torch.cat(alphas)
    radius = to_pixels(strokes, size, size)[:, [6, 8]].mean(1)
    result = {"all": error.mean().item(), "uniform": error[count // 2 :].mean().item()}
    for low, high in pairwise(BANDS):
        chosen = (radius >= low) & (radius < high)
        if chosen.any():
            result[f"{low:g}-{high:g} px"] = (error[chosen].sum() / alpha[chosen].sum()).item()
    return result


def main(arguments: list[str] | None = None) -> None:
    """Command line of the training; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m neuralpaint.renderers.train",
        description="Train the neural renderer H_r against the exact rasteriser.",
        epilog="Stop it at any time: the same command resumes from the last checkpoint.",
    )
    standard = Settings()
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    for name, kind in (("strokes", int), ("batch", int), ("rate", float), ("size", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(standard, name), help=name)
    parser.add_argument("--seed", type=int, default=standard.seed, help="weights and strokes")
    parser.add_argument(
        "--thickness", choices=("uniform", "mixed"), default="mixed", help="how thick strokes are"
    )
    parser.add_argument("--width", type=int, default=64, help="channels of the hidden layers")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    options = vars(parser.parse_args(arguments))
    out: Path = options.pop("out")
    width: int = options.pop("width")
    try:
        place = devices.resolve(options.pop("device"))
        settings = Settings(**options)
        torch.manual_seed(settings.seed)
        network = NeuralRenderer(width)
        writable_folder(out)
    except (ValueError, RuntimeError, OSError) as error:
        parser.error(str(error))
    columns = (
        TextColumn("step {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("error {task.fields[loss]:.2e}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("train", total=settings.steps, loss=math.nan)
        fit(
            network,
            settings,
            out,
            device=place,
            report=lambda step, loss: progress.update(task, completed=step, loss=loss**0.5),
        )
    errors = evaluate(network)
    save_weights(network, out / "neural.safetensors")
    print(json.dumps({"weights": str(out / "neural.safetensors"), "error": errors}))


if __name__ == "__main__":
    main()
