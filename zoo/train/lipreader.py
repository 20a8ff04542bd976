"""Training of the lip reader (Sec 5.3.2), before AVWnet and frozen in it.

It sees windows of 16 frames, each centred on a word, and is to say the word at every frame, as Eq
5.11 asks of it later. Clips give words with their times.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...backend import device as devices
from ...backend.distributed import Group
from ...backend.sheet import sheet
from ..avwnet_parts import SIDE
from ..data.talking import SILENCE, Clips
from ..layers import follow
from ..lipreader import CROP, LEFT, READ, TOP, LipReader, LipReaderConfig, grey, save_reader
from .clip_batches import VIEW_DRAWS, ClipBatches, Words, check_side, views
from .face_batches import arrays, early, share
from .loop import Report, descend, facts_of, fit

EVAL_BATCH = 16
MEASURED = 1200
"""Held-out words that are measured, at most."""
SHOWN = 8
MARGIN = 8
"""Pixels about what the reader looks at that it sees in turned and moved windows."""
SHIPPED = "lipreader.safetensors"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        steps: of the optimiser.
        batch: words per step, over all processes.
        rate: first learning rate of AdamW; it falls to zero along a cosine.
        shrink: weight decay.
        decay: of the moving average that is kept.
        balanced: draw each word equally often; else each occurrence.
        augment: strength of `clip_batches.views`.
        late: frames by which a window begins too early or too late, at most.
        seed: of everything.
        precision: "bf16" or "fp32", of the convolutions.
    """

    steps: int = 6000
    batch: int = 16
    rate: float = 1e-3
    shrink: float = 0.05
    decay: float = 0.999
    balanced: bool = True
    augment: float = 1.0
    late: int = 1
    seed: int = 0
    precision: str = "bf16"

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("late", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("rate", "shrink", "augment"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r:.40}")


class LipReaderTrainer:
    """A lip reader, its moving average, its optimiser and a step; a `loop.Trainer`.

    Args:
        config: of the reader; words that it does not list are not drawn.
        settings: see `Settings`.
        data: clips with words; those held out are never trained on.
        device: where.
        group: the processes that train together.

    Raises:
        ValueError: no clip or no word of the configuration to train on, a batch that the processes
            cannot share, or a device without that precision.
    """

    def __init__(
        self,
        config: LipReaderConfig,
        settings: Settings,
        data: Clips,
        device: torch.device,
        group: Group | None = None,
    ) -> None:
        self.config, self.settings, self.device = config, settings, device
        self.group = group or Group()
        self.own = share(settings.batch, self.group)
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        devices.autocast(device, self.dtype)  # raises where the device cannot
        check_side(data)
        self.words = Words(ClipBatches(data, False, device, READ), config.words, READ)
        if not len(self.words):
            raise ValueError(
                f"{data.name}: no clip to train on has a word of {config.words[:3]}..."
            )
        self.held = None
        if (data.held_out & (data.first.diff() >= READ)).any():
            self.held = Words(ClipBatches(data, True, device, READ), config.words, READ)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            reader = LipReader(config)
        self.reader = reader.to(device)
        self.average = copy.deepcopy(self.reader).eval().requires_grad_(False)
        for network in (self.reader, self.average):
            nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
        self.networks = nn.ModuleDict({"reader": self.reader, "average": self.average})
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "reader": torch.optim.AdamW(
                self.reader.parameters(),
                settings.rate,
                weight_decay=settings.shrink,
                fused=device.type == "cuda",
            )
        }

    # --- one step --------------------------------------------------------------------------------

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Grey windows (n, T, 1, S, S) and their words (n,) of a step; this process's share."""
        settings, words, own = self.settings, self.words, self.own
        generator = devices.generator(devices.spawn(settings.seed, step))
        index = words.draw(settings.batch, generator, settings.balanced)
        late = torch.randint(
            -settings.late, settings.late + 1, (settings.batch,), generator=generator
        )
        draws = torch.rand(settings.batch, VIEW_DRAWS, generator=generator)
        top, left, side = TOP - MARGIN, LEFT - MARGIN, CROP + 2 * MARGIN
        part = slice(top, top + side), slice(left, left + side)  # the rest costs time for nothing
        frames = words.batches.frames(words.rows(index[own], late[own]), part)
        seen = views(grey(frames)[:, :, 0], draws[own], settings.augment)
        whole = functional.pad(seen, (left, SIDE - left - side, top, SIDE - top - side))
        return whole[:, :, None], words.labels[index[own]].to(self.device)

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One update; see `loop.Trainer`."""
        self.reader.train()
        optimiser = self.optimisers["reader"]
        for part in optimiser.param_groups:
            fall = (1 + math.cos(math.pi * step / self.settings.steps)) / 2
            part["lr"] = self.settings.rate * fall
        frames, labels = self.batch(step)
        used = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=used):  # dropout hangs on the step alone
            torch.manual_seed(devices.spawn(self.settings.seed + 1, step))
            with devices.autocast(self.device, self.dtype):
                said = self.reader(frames).float()
        loss = spoken_loss(said, labels)
        descend(optimiser, loss, self.group)
        follow(self.average, self.reader, early(self.settings.decay, step))
        right = (answers(said.detach()) == labels).float().mean()
        return {"loss": loss.detach(), "accuracy": right}

    # --- held out --------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Held-out figures of the moving average, of up to 1200 words.

        Returns:
            "accuracy", the share of spoken words that are read right among all that the reader
            knows; "chance", that of the most frequent spoken word in training as the answer;
            "balanced", the mean over the words of the accuracy of each; "silence", the share of
            silent windows taken for such, where there are any; "loss".
        """
        held = self.held
        if held is None or not len(held):
            return {}
        order = torch.randperm(len(held), generator=devices.generator(self.settings.seed))
        index = order[:MEASURED]
        labels, said = held.labels[index], self.read(held, index)
        right = (answers(said) == labels).float()
        figures = {"loss": spoken_loss(said, labels).item()}
        silent = torch.zeros_like(labels, dtype=torch.bool)
        counts = self.words.counts.clone()
        if SILENCE in self.config.words:
            silence = self.config.words.index(SILENCE)
            silent, counts[silence] = labels == silence, -1
            if silent.any():
                figures["silence"] = right[silent].mean().item()
        if silent.all():
            return figures
        spoken, hits = labels[~silent], right[~silent]
        totals = torch.zeros(len(counts)).index_add_(0, spoken, hits)
        seen = torch.bincount(spoken, minlength=len(counts))
        return {
            "accuracy": hits.mean().item(),
            "chance": (spoken == counts.argmax()).float().mean().item(),
            "balanced": (totals[seen > 0] / seen[seen > 0]).mean().item(),
            **figures,
        }

    def read(self, words: Words, index: Tensor) -> Tensor:
        """What the moving average says of windows, (n, T, V) float32 on the CPU."""
        found = []
        for part in index.split(EVAL_BATCH):
            frames = words.batches.frames(words.rows(part))
            with torch.no_grad(), devices.autocast(self.device, self.dtype):
                found.append(self.average.read(frames).float().cpu())
        return torch.cat(found)

    def sample(self) -> NDArray[np.uint8]:
        """Eight words, held out where there are such: five frames of each, and what is read."""
        words = self.held if self.held is not None and len(self.held) else self.words
        index = torch.arange(min(SHOWN, len(words))) * max(1, len(words) // SHOWN)
        said = answers(self.read(words, index)).tolist()
        rows = words.rows(index)[:, :: READ // 5][:, :5]
        columns = [list(arrays(words.batches.frames(each))) for each in rows]
        names = self.config.words
        true = words.labels[index].tolist()
        titles = [f"{names[a]}: {names[b]}" for a, b in zip(true, said, strict=True)]
        return sheet(columns, titles, 128)

    def save(self, path: Path) -> None:
        """Write the moving average in half precision."""
        save_reader(self.average, path, half=True)

    def settings_facts(self) -> dict[str, object]:
        """What a resumed run must share."""
        data = self.words.batches.checksum
        return facts_of(self.settings, config=self.config.to_json(), data=data)


def spoken_loss(said: Tensor, labels: Tensor) -> Tensor:
    """Mean over frames and windows of -log p(word).

    Args:
        said: (n, T, V) log probabilities.
        labels: (n,) int64.

    Returns:
        A scalar.
    """
    return functional.nll_loss(said.flatten(0, 1), labels.repeat_interleave(said.shape[1]))


def answers(said: Tensor) -> Tensor:
    """The word that all frames of a window together name, (n, T, V) to (n,) int64."""
    return said.mean(1).argmax(1)


def train_lipreader(
    data: Clips,
    config: LipReaderConfig,
    out: Path,
    settings: Settings,
    *,
    device: str | torch.device = "auto",
    group: Group | None = None,
    save_every: int = 1000,
    measure_every: int = 500,
    until: Callable[[], bool] = lambda: False,
    report: Report = lambda progress: None,
) -> dict[str, Any]:
    """Train a lip reader, or go on with it.

    Args:
        data: clips with words.
        config: of the reader.
        out: folder of the run, see `loop.fit`; lipreader.safetensors in it has the weights of the
            highest held-out accuracy, the last ones where nothing is held out.
        settings: see `Settings`.
        device: see `backend.device.resolve`.
        group: the processes that train together; the caller has started them.
        save_every: steps between checkpoints.
        measure_every: steps between held-out figures.
        until: see `loop.fit`.
        report: called as the training goes on.

    Returns:
        What `loop.fit` returns.

    Raises:
        ValueError: see `LipReaderTrainer`, or the folder holds a run of other settings.
        FloatingPointError: a loss is not finite.
        OSError: the folder cannot be written to.
    """
    trainer = LipReaderTrainer(config, settings, data, devices.resolve(device), group)
    return fit(
        trainer,
        settings.steps,
        out,
        trainer.settings_facts(),
        group=trainer.group,
        best=("accuracy", 1),
        ship=SHIPPED,
        save_every=save_every,
        measure_every=measure_every,
        until=until,
        report=report,
    )
