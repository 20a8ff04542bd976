"""The loop that all trainings of the zoo share: step, log, checkpoint, measure, sample.

A trainer knows networks and losses and draws everything random from generators seeded with
(seed, step); the loop knows files. So a run that was killed and started again is an uninterrupted
one, bit for bit on a CPU.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...backend.checkpoints import Checkpoints, pack, same_settings, unpack
from ...backend.distributed import Group
from ...backend.files import read_json, writable_folder, write_bytes, write_json
from ...backend.media import write_image

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

BEST, LAST, FIGURES, SAMPLES = "best.safetensors", "last.safetensors", "figures.json", "samples.png"
MAX_FIGURES_BYTES = 64 * 2**20


class Trainer(Protocol):
    """What the loop needs of a training."""

    networks: nn.ModuleDict
    """All that a checkpoint holds, moving averages included; every process has the same."""
    optimisers: dict[str, torch.optim.Optimizer]

    def step(self, step: int) -> Mapping[str, Tensor | float]:
        """Train once; what is random hangs on the number of the step, from 0.

        Returns:
            Losses by name, scalars.
        """

    def measure(self) -> dict[str, float]:
        """Held-out figures by name; empty if there are none. Called by the first process only."""

    def sample(self) -> NDArray[np.uint8] | None:
        """A page (H, W, 3) to look at. Called by the first process only."""

    def save(self, path: Path) -> None:
        """Write the weights that are kept."""


@dataclass(frozen=True)
class Progress:
    """What the loop reports.

    Attributes:
        step: steps done.
        steps: of the whole run.
        losses: of the last step that was logged.
        figures: held-out figures as last measured.
    """

    step: int
    steps: int
    losses: dict[str, float]
    figures: dict[str, float]


Report = Callable[[Progress], None]


def fit(
    trainer: Trainer,
    steps: int,
    out: Path,
    settings: Mapping[str, Any],
    *,
    group: Group | None = None,
    best: tuple[str, int] | None = None,
    ship: str = "",
    save_every: int = 1000,
    measure_every: int = 1000,
    log_every: int = 20,
    until: Callable[[], bool] = lambda: False,
    report: Report = lambda progress: None,
) -> dict[str, Any]:
    """Train, or go on training, until all steps are done.

    Args:
        trainer: trained in place, on its device.
        steps: of the whole run.
        out: folder of the run: checkpoints, `best.safetensors`, `last.safetensors`, `samples.png`,
            `figures.json` and TensorBoard logs.
        settings: JSON values that a resumed run must share with the one before.
        group: the processes that train together.
        best: name of the held-out figure that decides which weights are the best, and +1 where
            higher is better or -1.
        ship: name of a file in the folder that the kept weights end in, beside `best.safetensors`;
            empty: none.
        save_every: steps between checkpoints.
        measure_every: steps between held-out figures and samples.
        log_every: steps between logged losses, which are waited for then.
        until: asked after each logged step; True ends the run early with a checkpoint, to be gone
            on with.
        report: called after each logged step.

    Returns:
        {"steps", "losses", "figures": the last, "best": that of the kept weights or None}.

    Raises:
        ValueError: the checkpoint is of other settings (names the field) or another network.
        FloatingPointError: a loss is not finite; the last checkpoint stands.
        ImportError: TensorBoard is missing (says how to get it).
        OSError: a file cannot be written; the last checkpoint stands.
    """
    group = group or Group()
    writable_folder(out)
    files = Checkpoints(out)
    saved, first = files.newest(), 0
    if saved is not None:
        same_settings(saved.facts, settings, out)
        unpack(saved.tensors, trainer.networks, trainer.optimisers)
        first = saved.step
    group.wait()  # before the first process writes a newer one
    keeper = _Keeper(trainer, out, best, first) if group.leads else None
    losses: dict[str, float] = {}
    step = first
    while step < steps:
        found = trainer.step(step)
        step += 1
        ends = step == steps
        if ends or step % log_every == 0 or step % save_every == 0:
            losses = _mean(found, group)
            for name, value in losses.items():
                if not math.isfinite(value):
                    raise FloatingPointError(
                        f"{name} is {value} at step {step}; lower --rate and resume"
                    )
            ends = ends or _agreed(until(), group, trainer)
        if keeper is not None:
            if ends or step % measure_every == 0:
                keeper.measure(step)
            if losses and (ends or step % log_every == 0):
                keeper.log(step, losses)
                report(Progress(step, steps, losses, keeper.figures))
        if ends or step % save_every == 0:
            if keeper is not None:
                files.save(step, pack(trainer.networks, trainer.optimisers), settings)
            group.wait()
        if ends:
            break
    if keeper is None:
        return {"steps": step, "losses": losses, "figures": {}, "best": None}
    trainer.save(out / LAST)
    keeper.close()
    if ship:
        write_bytes(out / ship, kept(out).read_bytes())
    return {"steps": step, "losses": losses, "figures": keeper.figures, "best": keeper.best}


def kept(out: Path) -> Path:
    """The weights of a run that are worth keeping.

    Args:
        out: folder of the run.

    Returns:
        The file of the best held-out figure, or the last one where nothing is held out.
    """
    best = out / BEST
    return best if best.exists() else out / LAST


def _mean(losses: Mapping[str, Tensor | float], group: Group) -> dict[str, float]:
    """Losses over all processes."""
    values = [torch.as_tensor(value).detach().float().reshape(1) for value in losses.values()]
    group.average(values)
    return dict(zip(losses, torch.cat(values).tolist(), strict=True)) if values else {}


def _agreed(stop: bool, group: Group, trainer: Trainer) -> bool:
    """Whether any process wants to stop; all must do so at one step."""
    if group.size == 1:
        return stop
    place = next(trainer.networks.parameters()).device
    votes = torch.tensor([float(stop)], device=place)
    group.average([votes])
    return votes.item() > 0


class _Keeper:
    """Held-out figures, best weights, samples and logs, in the first process."""

    def __init__(
        self, trainer: Trainer, out: Path, best: tuple[str, int] | None, first: int
    ) -> None:
        self.trainer, self.out, self.criterion = trainer, out, best
        self.rows: list[dict[str, float]] = []
        if (out / FIGURES).exists():
            rows = read_json(out / FIGURES, max_bytes=MAX_FIGURES_BYTES)
            self.rows = [row for row in rows if row["step"] <= first]
        self.figures = {k: v for k, v in self.rows[-1].items() if k != "step"} if self.rows else {}
        self.writer = _writer(out / "tensorboard", first)
        self.measured = first if self.rows else -1

    @property
    def best(self) -> float | None:
        """The best held-out figure so far."""
        if self.criterion is None:
            return None
        name, sign = self.criterion
        values = [row[name] for row in self.rows if name in row]
        return max(values, key=lambda value: sign * value) if values else None

    def log(self, step: int, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self.writer.add_scalar(f"train/{name}", value, step)

    def measure(self, step: int) -> None:
        """Measure and show the networks; keep them if they are the best so far."""
        if step == self.measured:
            return
        self.measured = step
        before = self.best
        self.figures = self.trainer.measure()
        page = self.trainer.sample()
        if page is not None:
            write_image(self.out / SAMPLES, page, text={"step": str(step)})
        if not self.figures:
            return
        self.rows.append({"step": step, **self.figures})
        for name, value in self.figures.items():
            self.writer.add_scalar(f"held_out/{name}", value, step)
        if self.criterion is not None and (before is None or self.best != before):
            self.trainer.save(self.out / BEST)
        write_json(self.out / FIGURES, self.rows)

    def close(self) -> None:
        self.writer.close()


def _writer(folder: Path, first: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError(
            "training logs to TensorBoard: pip install 'neuralpaint[train]'"
        ) from None
    return SummaryWriter(str(folder), purge_step=first)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, group: Group) -> None:
    """One step of an optimiser with the mean gradient of all processes.

    Gradients with respect to anything but the optimiser's own parameters are not worked out.

    Args:
        optimiser: its parameters change.
        loss: a scalar.
        group: the processes that train together.
    """
    parameters = [p for part in optimiser.param_groups for p in part["params"]]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    group.average([g for g in gradients if g is not None])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()


def facts_of(settings: Any, **more: Any) -> dict[str, Any]:
    """Settings as the JSON values that a checkpoint keeps: tuples become lists.

    Args:
        settings: a dataclass of JSON values and tuples.
        more: further values.

    Returns:
        A dict that equals itself after a round trip through JSON.
    """
    values: dict[str, Any] = json.loads(json.dumps({**vars(settings), **more}))
    return values
