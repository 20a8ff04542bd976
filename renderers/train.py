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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..backend import device as devices
from ..backend.files import writable_folder, write_bytes
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
        out: existing folder of the checkpoint; a checkpoint in it is resumed.
        device: where to train.
        save_every: steps between checkpoints.
        report: called after each step with its number and loss.

    Raises:
        ValueError: the checkpoint belongs to other settings (names the field).
        FloatingPointError: the loss is not finite; the last checkpoint stands.
    """
    network.to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), settings.rate)
    checkpoint = out / "checkpoint.safetensors"
    first = load_checkpoint(checkpoint, network, optimiser, settings) if checkpoint.exists() else 0
    for step in range(first, settings.steps):
        decay = 0.01 + 0.99 * (1 + math.cos(math.pi * step / settings.steps)) / 2
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * decay
        strokes = batch_of(settings, step).to(device)
        with torch.no_grad():
            truth = bezier.alpha(strokes, settings.size, settings.size)
        loss = (network(strokes, settings.size, settings.size) - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"loss is {value} at step {step}; lower --rate and resume")
        report(step + 1, value)
        if (step + 1) % save_every == 0 or step + 1 == settings.steps:
            save_checkpoint(checkpoint, network, optimiser, settings, step + 1)
    network.eval()


def save_checkpoint(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, settings: Settings, step: int
) -> None:
    """Weights, optimiser and step in one safetensors file, written atomically."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors.update({f"adam.{index}.{k}": v for k, v in moments.items()})
    meta = {"settings": json.dumps(asdict(settings)), "step": str(step)}
    write_bytes(path, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, meta))


def load_checkpoint(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, settings: Settings
) -> int:
    """Restore what `save_checkpoint` wrote.

    Returns:
        The step to go on with.

    Raises:
        ValueError: other settings or another network.
    """
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a checkpoint ({error}); use another --out") from None
    then = json.loads(meta.get("settings", "{}"))
    for name, value in asdict(settings).items():
        if then.get(name) != value:
            raise ValueError(
                f"{path}: was trained with {name}={then.get(name)}, now {value}; "
                "use the same settings or another --out"
            )
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k[:8] == "network."}
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise ValueError(f"{path}: is of another network; use another --out") from None
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return int(meta["step"])


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
