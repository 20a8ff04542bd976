"""Training of the landmark predictor G_L (Sec 4.3.1, L_lmk), before LDcGAN.

Where data shows one person at several ages, G_L learns from such pairs. Elsewhere it learns to give
a face back for its own age group, and for another to move it as the mean face moves
(`ldcgan_parts.moved_shapes`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from torch import Tensor, nn

from ...backend import device as devices
from ...backend.distributed import Group
from ...backend.sheet import sheet
from ..ages import GROUPS, age_code
from ..data.faces import Faces
from ..ldcgan_losses import landmark_loss
from ..ldcgan_parts import (
    LandmarkPredictor,
    LdcGanConfig,
    group_shapes,
    mirrored,
    moved_shapes,
    save_predictor,
    scaled,
)
from .face_batches import FaceBatches, arrays, share, two_groups
from .loop import Report, descend, fit

EVAL_BATCH = 128
MEASURED = 500
"""Held-out faces that are measured, at most, each at every age group."""
SHOWN = 3
SHIPPED = "landmarks.safetensors"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        steps: of the optimiser.
        batch: faces per step, over all processes.
        rate: first learning rate of Adam; it falls to zero along a cosine.
        latent: weight of the first term of L_lmk; 0 leaves it out.
        seed: of everything.
        precision: "bf16" or "fp32", of the convolutions that look at the face.
    """

    steps: int = 5000
    batch: int = 64
    rate: float = 1e-3
    latent: float = 1.0
    seed: int = 0
    precision: str = "bf16"

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "latent"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r:.40}")


class Batch(NamedTuple):
    """What a process sees of a step; n faces.

    Attributes:
        images: (n, 3, S, S) in [-1, 1].
        landmarks: L, (n, 136).
        groups: (n,) int64, target age groups.
        truth: L^GT, (n, 136).
    """

    images: Tensor
    landmarks: Tensor
    groups: Tensor
    truth: Tensor


class LandmarkTrainer:
    """The predictor, its optimiser and a step; a `loop.Trainer`.

    Args:
        config: of the LDcGAN that it is for.
        settings: see `Settings`.
        data: faces with landmarks; those held out are never trained on, those without landmarks are
            left out.
        device: where.
        group: the processes that train together.

    Raises:
        ValueError: no faces to train on, of another size, without landmarks or of one age group
            only, or a batch that the processes cannot share.
    """

    def __init__(
        self,
        config: LdcGanConfig,
        settings: Settings,
        data: Faces,
        device: torch.device,
        group: Group | None = None,
    ) -> None:
        self.config, self.settings, self.device = config, settings, device
        self.group = group or Group()
        self.own = share(settings.batch, self.group)
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        devices.autocast(device, self.dtype)  # raises where the device cannot
        self.pictures = FaceBatches(data.part(False), config.size, device, landmarks=True)
        two_groups(self.pictures)
        self.held = None
        if (data.held_out & data.has_landmarks).any():
            self.held = FaceBatches(data.part(True), config.size, device, landmarks=True)
        shapes = group_shapes(self.pictures.points, self.pictures.groups)
        self.shapes = (shapes + mirrored(shapes)) / 2  # faces are mirrored half of the time
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            predictor = LandmarkPredictor(config)
        self.predictor = predictor.to(device)
        nn.utils.convert_conv2d_weight_memory_format(self.predictor, torch.channels_last)
        self.networks = nn.ModuleDict({"predictor": self.predictor})
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "predictor": torch.optim.Adam(
                self.predictor.parameters(), settings.rate, fused=device.type == "cuda"
            )
        }

    # --- one step --------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """The faces of a step; a process takes its share of the batch of all."""
        pictures, count = self.pictures, self.settings.batch
        generator = devices.generator(devices.spawn(self.settings.seed, step))
        index = pictures.draw(count, generator, balanced=True)
        groups = pictures.draw_groups(count, generator)
        mirror = torch.rand(count, generator=generator) < 0.5
        return self.faces(pictures, index[self.own], groups[self.own], mirror[self.own])

    def faces(
        self, pictures: FaceBatches, index: Tensor, groups: Tensor, mirror: Tensor | None = None
    ) -> Batch:
        """Faces and the landmarks they should get.

        Args:
            pictures: they come from.
            index: (n,) which, on the CPU.
            groups: (n,) target age groups, on the CPU.
            mirror: (n,) bool, which are mirrored.

        Returns:
            The batch.
        """
        other, known = pictures.same_person(index, groups)
        landmarks = pictures.landmarks(index, mirror)
        source, target = self.shapes[pictures.groups[index.to(self.device)]], groups.to(self.device)
        moved = moved_shapes(landmarks, source, self.shapes[target])
        paired = pictures.landmarks(other, mirror)
        truth = torch.where(known.to(self.device)[:, None], paired, moved)
        return Batch(pictures.images(index, mirror), landmarks, target, truth)

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One update; see `loop.Trainer`."""
        self.predictor.train()
        optimiser = self.optimisers["predictor"]
        for part in optimiser.param_groups:
            fall = (1 + math.cos(math.pi * step / self.settings.steps)) / 2
            part["lr"] = self.settings.rate * fall
        batch = self.batch(step)
        made = self._made(batch)
        before, after = self.predictor.latent(batch.landmarks), self.predictor.latent(made)
        latent = self.settings.latent
        loss = landmark_loss(scaled(made), scaled(batch.truth), before, after, latent)
        descend(optimiser, loss, self.group)
        return {"loss": loss.detach(), "distance": distance(made.detach(), batch.truth).mean()}

    def _made(self, batch: Batch) -> Tensor:
        with devices.autocast(self.device, self.dtype):
            made: Tensor = self.predictor(batch.images, batch.landmarks, age_code(batch.groups))
        return made

    # --- held out --------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Held-out figures, of up to 500 faces at every age group.

        Returns:
            "error", mean distance in per cent of the side of predicted points from L^GT; "copy",
            that of the face's own points; "same", the error where the age group is the face's own.
        """
        held = self.held
        if held is None:
            return {}
        self.predictor.eval()
        order = torch.randperm(len(held), generator=devices.generator(self.settings.seed))
        index = order[:MEASURED]
        targets = self.pictures.present
        # Without a pair, a held-out face of a group that training lacks has no truth.
        index = index[torch.isin(held.groups[index.to(self.device)].cpu(), targets)]
        if not len(index):
            return {}
        index, groups = index.repeat_interleave(len(targets)), targets.repeat(len(index))
        errors, copies, same = [], [], []
        for part in torch.arange(len(index)).split(EVAL_BATCH):
            batch = self.faces(held, index[part], groups[part])
            errors.append(distance(self._made(batch), batch.truth))
            copies.append(distance(batch.landmarks, batch.truth))
            same.append(held.groups[index[part].to(self.device)] == batch.groups)
        error, copy = torch.cat(errors), torch.cat(copies)
        return {
            "error": error.mean().item(),
            "copy": copy.mean().item(),
            "same": error[torch.cat(same)].mean().item(),
        }

    @torch.no_grad()
    def sample(self) -> NDArray[np.uint8]:
        """Three faces, held out where there are such, and their points at every age (Fig 4.10).

        Grey points are the face's own, red ones the prediction.
        """
        source = self.held or self.pictures
        self.predictor.eval()
        index = torch.arange(min(SHOWN, len(source))) * max(1, len(source) // SHOWN)
        columns = [list(arrays(source.images(index)))]
        images, own = source.images(index), source.landmarks(index)
        for group in range(len(GROUPS)):
            groups = torch.full((len(index),), group, device=self.device)
            made = self._made(Batch(images, own, groups, own))
            columns.append([_dots(a, b) for a, b in zip(own.cpu(), made.cpu(), strict=True)])
        return sheet(columns, ["input", *GROUPS], 128)

    def save(self, path: Path) -> None:
        """Write the predictor."""
        save_predictor(self.predictor, path)

    def settings_facts(self) -> dict[str, object]:
        """What a resumed run must share."""
        return {
            **asdict(self.settings),
            "size": self.config.size,
            "dimensions": self.config.latent,
            "data": self.pictures.checksum,
        }


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean distance of corresponding points, (n, 136) each: (n,) in per cent of the side."""
    apart = (first - second).view(len(first), -1, 2).square().sum(2).sqrt()
    return 100 * apart.mean(1)


def _dots(own: Tensor, made: Tensor, side: int = 128) -> NDArray[np.float32]:
    page = PillowImage.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(page)
    for landmarks, colour in ((own, (190, 190, 190)), (made, (200, 30, 30))):
        for x, y in (landmarks * side).view(-1, 2).tolist():
            draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=colour)
    return np.asarray(page, np.float32) / np.float32(255)


def train_landmarks(
    data: Faces,
    config: LdcGanConfig,
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
    """Train a landmark predictor, or go on with it.

    Args:
        data: faces with landmarks.
        config: of the LDcGAN that it is for.
        out: folder of the run, see `loop.fit`; landmarks.safetensors in it has the weights of the
            least held-out error, the last ones where nothing is held out.
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
        ValueError: see `LandmarkTrainer`, or the folder holds a run of other settings.
        FloatingPointError: a loss is not finite.
        OSError: the folder cannot be written to.
    """
    trainer = LandmarkTrainer(config, settings, data, devices.resolve(device), group)
    return fit(
        trainer,
        settings.steps,
        out,
        trainer.settings_facts(),
        group=trainer.group,
        best=("error", -1),
        ship=SHIPPED,
        save_every=save_every,
        measure_every=measure_every,
        until=until,
        report=report,
    )
