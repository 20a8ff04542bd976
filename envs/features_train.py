"""Train the small VGG: ``python -m neuralpaint.envs.features_train --data DIR ... --out runs/vgg``.

It learns to classify what the folders at hand tell about their pictures: age, gender and race of
UTKFace's faces (Zhang et al. 2017), species of CUB-200-2011's birds (Wah et al. 2011). Every batch
is drawn from a generator seeded by (seed, step), so a run that was stopped and resumed sees the
pictures of an uninterrupted one.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional

from ..backend import device as devices
from ..backend import supervised
from ..backend.files import writable_folder, write_json
from .features import LAST, Vgg16, save_vgg
from .features_data import SIDE, TASKS, UNKNOWN, Pictures, crop, load


@dataclass(frozen=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        images: how many crops to train on.
        batch: crops per step.
        rate: highest learning rate of Adam, reached after a twentieth of the steps and then
            lowered to a hundredth along a cosine.
        size: pixels a side of a crop.
        width: channels of the first convolution.
        seed: of the weights and the crops.
        precision: what convolutions are computed in.
    """

    images: int = 280_000
    batch: int = 64
    rate: float = 2e-3
    size: int = 64
    width: int = 8
    seed: int = 0
    precision: str = "bfloat16"

    def __post_init__(self) -> None:
        for name in ("images", "batch", "rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if not 32 <= self.size <= SIDE:
            raise ValueError(f"size must be 32 to {SIDE}, got {self.size}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, got {self.precision!r}")

    @property
    def steps(self) -> int:
        """Steps of the optimiser that spend at least `images`."""
        return -(-self.images // self.batch)


# --- batches -------------------------------------------------------------------------------------


def batch_of(pictures: Pictures, settings: Settings, step: int) -> tuple[Tensor, Tensor]:
    """The crops of one step and their labels: (batch, 3, size, size) in [0, 1], (batch, 4).

    Crops of half to all of the side, at random places, half of them mirrored, with light changes of
    contrast, brightness and colour.
    """
    generator = devices.generator(devices.spawn(settings.seed, step))
    count = settings.batch
    index = torch.multinomial(pictures.weights, count, True, generator=generator)
    draws = torch.rand(count, 5, generator=generator)
    half = 0.5 + 0.5 * draws[:, 0]
    place = (2 * draws[:, 1:3] - 1) * (1 - half[:, None])
    mirror = torch.where(draws[:, 3] < 0.5, half, -half)
    frame = torch.cat([mirror[:, None], half[:, None], place], 1)
    images = crop(pictures, index, frame, settings.size)
    gain = 1 + 0.1 * torch.randn(count, 1, 1, 1, generator=generator)
    gain = gain + 0.05 * torch.randn(count, 3, 1, 1, generator=generator)
    shift = 0.2 * (draws[:, 4] - 0.5)
    return (images * gain + shift[:, None, None, None]).clamp(0, 1), pictures.labels[index]


# --- network -------------------------------------------------------------------------------------


class Classifier(nn.Module):
    """VGG features, averaged over the picture, and one linear head per task.

    Args:
        width: of the `Vgg16`.
        classes: number of classes by task.
    """

    def __init__(self, width: int, classes: dict[str, int]) -> None:
        super().__init__()
        self.vgg = Vgg16(width)
        heads = {task: nn.Linear(8 * width, count) for task, count in classes.items()}
        self.heads = nn.ModuleDict(heads)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits by task, (B, classes), of images (B, 3, H, W) in [0, 1]."""
        (features,) = self.vgg(image, (LAST,))
        pooled = features.mean((2, 3))
        return {task: head(pooled) for task, head in self.heads.items()}


@torch.no_grad()
def initialise(network: Classifier, images: Tensor) -> None:
    """Orthogonal weights, scaled so that every convolution gives variance 1 (Mishkin, Matas 2016).

    Thirteen layers without batch norm hardly start to learn otherwise.

    Args:
        network: changed in place.
        images: (B, 3, H, W) in [0, 1], what to measure on.
    """
    values = (images - network.vgg.mean) / network.vgg.deviation
    for layer in network.vgg.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            layer.weight /= layer(values).std().clamp(min=1e-6)
        values = layer(values)


def loss_of(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Cross entropy summed over a picture's tasks, averaged over the batch."""
    losses = [
        functional.cross_entropy(
            values.float(), labels[:, TASKS.index(task)], ignore_index=UNKNOWN, reduction="sum"
        )
        for task, values in logits.items()
    ]
    return torch.stack(losses).sum() / len(labels)


def fit(
    network: Classifier,
    pictures: Pictures,
    settings: Settings,
    out: Path,
    *,
    device: torch.device,
    save_every: int = 500,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train a classifier.

    Args:
        network: trained in place, on `device`; initialised anew where there is no checkpoint.
        pictures: see `load`.
        settings: see `Settings`.
        out: existing folder of the checkpoints; a run in it is resumed.
        device: where to train.
        save_every: steps between checkpoints.
        report: called after each step with its number and loss.

    Raises:
        ValueError: the checkpoint belongs to other settings or data (names what differs).
        FloatingPointError: the loss is not finite; the last checkpoint stands.
    """
    precision = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    network.to(device)

    def loss_at(step: int) -> Tensor:
        images, labels = batch_of(pictures, settings, step)
        with devices.autocast(device, precision):
            logits = network(images.to(device))
        return loss_of(logits, labels.to(device))

    def rate_at(step: int) -> float:
        rise = (step + 1) / (0.05 * settings.steps)
        return settings.rate * min(supervised.cosine(step, settings.steps), rise)

    supervised.fit(
        network,
        loss_at,
        settings.steps,
        rate_at,
        out,
        {**asdict(settings), "pictures": pictures.checksum},
        begin=lambda: initialise(network, batch_of(pictures, settings, 0)[0].to(device)),
        save_every=save_every,
        report=report,
    )


@torch.no_grad()
def evaluate(network: Classifier, pictures: Pictures, size: int) -> dict[str, dict[str, float]]:
    """Accuracy on the pictures held out, whole, against that of the most common training label.

    Args:
        network: the classifier.
        pictures: see `Pictures`.
        size: pixels a side that pictures are shown at.

    Returns:
        By task: "accuracy" and "majority" (that baseline's), in [0, 1], and "count" of pictures.
    """
    place = next(network.parameters()).device
    held_out = pictures.held_out.nonzero()[:, 0]
    results = []
    for index in held_out.split(128):
        frame = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(len(index), 4)
        results.append(network(crop(pictures, index, frame, size).to(place)))
    found = {}
    for task in pictures.classes:
        labels = pictures.labels[:, TASKS.index(task)]
        answers = torch.cat([result[task] for result in results]).argmax(1).cpu()
        known = labels[held_out] != UNKNOWN
        truth = labels[held_out][known]
        common = labels[~pictures.held_out & (labels != UNKNOWN)].mode().values
        found[task] = {
            "accuracy": (answers[known] == truth).double().mean().item(),
            "majority": (truth == common).double().mean().item(),
            "count": len(truth),
        }
    return found


def bar(progress: Progress, name: str) -> Callable[[int, int], None]:
    """A row of a progress display, as a function of how much is done and of how much."""
    task = progress.add_task(name, total=None, note="")
    return lambda done, total: progress.update(task, completed=done, total=total)


def main(arguments: list[str] | None = None) -> None:
    """Command line of the training; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m neuralpaint.envs.features_train",
        description="Train the small VGG on labelled pictures.",
        epilog="Stop it at any time: the same command resumes from the last checkpoint.",
    )
    standard = Settings()
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of UTKFace and CUB-200-2011"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    for name, value in asdict(standard).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"[{value}]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    options = vars(parser.parse_args(arguments))
    folders: list[Path] = options.pop("data")
    out: Path = options.pop("out")
    columns = (
        TextColumn("{task.description} {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        try:
            place = devices.resolve(options.pop("device"))
            settings = Settings(**options)
            writable_folder(out)
            pictures, skipped = load(folders, bar(progress, "read"))
            torch.manual_seed(settings.seed)
            network = Classifier(settings.width, pictures.classes)
        except (ValueError, RuntimeError, OSError) as error:
            parser.error(str(error))
        if skipped:
            name, reason = next(iter(skipped.items()))
            progress.print(f"left {len(skipped)} files out, the first: {name}: {reason}")
        task = progress.add_task("train", total=settings.steps, note="")
        start = time.monotonic()
        fit(
            network,
            pictures,
            settings,
            out,
            device=place,
            report=lambda step, loss: progress.update(
                task, completed=step, note=f"loss {loss:.2f}"
            ),
        )
    report = {
        "data": [folder.name for folder in folders],
        "pictures": len(pictures.images),
        "held_out": int(pictures.held_out.sum()),
        "left_out": len(skipped),
        "seconds": round(time.monotonic() - start),
        "steps": settings.steps,
        "tasks": evaluate(network, pictures, settings.size),
    }
    save_vgg(network.vgg, out / "vgg.safetensors")
    write_json(out / "report.json", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
