"""Training of the networks that judge faces: D_A (Eq 4.10), Phi (Eq 4.12), and the age regressor.

They are trained on real faces, before and apart from any generator. The regressor serves evaluation
only and should not learn from the faces that it will be asked about: those held out.
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
from ..ages import COUNT, GROUPS, OLDEST
from ..data.faces import Faces
from ..face_judges import (
    LEAST_SIDE,
    AgeClassifier,
    AgeRegressor,
    IdentityFeatures,
    Judge,
    save_judge,
)
from ..layers import follow
from ..ldcgan_losses import age_loss
from .face_batches import AUGMENT_DRAWS, FaceBatches, arrays, augmented, early, noisy, share
from .loop import Report, descend, facts_of, fit

EVAL_BATCH = 64
MEASURED = 2000
"""Held-out faces that are measured, at most."""
CANDIDATES = 100
"""Faces among which an identity is looked for."""
SHOWN = 8
BLUR = 2.0
"""Standard deviation in years of the ages that a regressor is taught (Geng et al. 2013)."""
NEAR = 0.1
"""Temperature of the identity loss."""


@dataclass(frozen=True)
class Task:
    """One thing to judge.

    Attributes:
        judge: class of the network.
        best: held-out figure that decides which weights are kept, and its sign.
        file: that they end in.
    """

    judge: type[Judge]
    best: tuple[str, int]
    file: str


TASKS: Mapping[str, Task] = {
    "groups": Task(AgeClassifier, ("balanced", 1), "age-classifier.safetensors"),
    "years": Task(AgeRegressor, ("mae_groups", -1), "age-regressor.safetensors"),
    "identity": Task(IdentityFeatures, ("top1", 1), "identity.safetensors"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        task: "groups" (D_A), "years" (the regressor) or "identity" (Phi).
        steps: of the optimiser.
        batch: faces per step, over all processes.
        rate: first learning rate of AdamW; it falls to zero along a cosine.
        shrink: weight decay.
        decay: of the moving average that is kept.
        width: see `face_judges.Judge`.
        balanced: draw each age group equally often.
        augment: strength of `face_batches.augmented`.
        noise: most noise in the faces, see `face_batches.noisy`.
        size: S, side of the faces.
        seed: of everything.
        precision: "bf16" or "fp32", of the convolutions.
    """

    task: str = "groups"
    steps: int = 6000
    batch: int = 64
    rate: float = 1e-3
    shrink: float = 0.05
    decay: float = 0.999
    width: int = 32
    balanced: bool = True
    augment: float = 1.0
    noise: float = 0.0
    size: int = 128
    seed: int = 0
    precision: str = "bf16"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {self.task!r:.40}")
        bounds = (("steps", 1), ("batch", 2), ("width", 1), ("size", LEAST_SIDE))
        for name, least in bounds:
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.size % 16:
            raise ValueError(f"size must be a multiple of 16, got {self.size}")
        for name in ("rate", "shrink", "augment", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r:.40}")


class JudgeTrainer:
    """A judge, its moving average, its optimiser and a step; a `loop.Trainer`.

    Args:
        settings: see `Settings`.
        data: faces; those held out are never trained on.
        device: where.
        group: the processes that train together.

    Raises:
        ValueError: no faces to train on or of another size, a batch that the processes cannot share
            or larger than the set, or a device without that precision.
    """

    def __init__(
        self, settings: Settings, data: Faces, device: torch.device, group: Group | None = None
    ) -> None:
        self.settings, self.device = settings, device
        self.group = group or Group()
        self.own = share(settings.batch, self.group)
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        devices.autocast(device, self.dtype)  # raises where the device cannot
        self.pictures = FaceBatches(data.part(False), settings.size, device)
        if len(self.pictures) < settings.batch:
            raise ValueError(
                f"{data.name}: {len(self.pictures)} faces to train on are fewer than a batch of "
                f"{settings.batch}; lower the batch"
            )
        self.held = None
        if data.held_out.any():
            self.held = FaceBatches(data.part(True), settings.size, device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            judge = TASKS[settings.task].judge(settings.width)
        self.judge = judge.to(device)
        self.average = copy.deepcopy(self.judge).eval().requires_grad_(False)
        for network in (self.judge, self.average):
            nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
        self.networks = nn.ModuleDict({"judge": self.judge, "average": self.average})
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "judge": torch.optim.AdamW(
                self.judge.parameters(),
                settings.rate,
                weight_decay=settings.shrink,
                fused=device.type == "cuda",
            )
        }

    # --- one step --------------------------------------------------------------------------------

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.settings.rate * (1 + math.cos(math.pi * step / self.settings.steps)) / 2

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One update; see `loop.Trainer`."""
        self.judge.train()
        optimiser = self.optimisers["judge"]
        for part in optimiser.param_groups:
            part["lr"] = self.rate(step)
        loss = self.loss(step)
        descend(optimiser, loss, self.group)
        follow(self.average, self.judge, early(self.settings.decay, step))
        return {"loss": loss.detach()}

    def loss(self, step: int) -> Tensor:
        """The loss of the faces of a step; a process takes its share of them."""
        settings, pictures, judge, own = self.settings, self.pictures, self.judge, self.own
        generator = devices.generator(devices.spawn(settings.seed, step))
        if isinstance(judge, IdentityFeatures):
            index = torch.randperm(len(pictures), generator=generator)[: settings.batch]
            other = pictures.companions(index, generator)
        else:
            index = pictures.draw(settings.batch, generator, settings.balanced)
            other = index
        draws = torch.rand(2, settings.batch, AUGMENT_DRAWS, generator=generator)
        noise = torch.rand(2, settings.batch, 2, generator=generator, dtype=torch.float64)
        images = augmented(pictures.images(index[own]), draws[0, own], settings.augment)
        images = noisy(images, noise[0, own], settings.noise)
        place = index[own].to(self.device)
        with devices.autocast(self.device, self.dtype):
            if isinstance(judge, AgeClassifier):
                return age_loss(judge(images), pictures.groups[place])
            if isinstance(judge, AgeRegressor):
                return years_loss(judge.logits(images), pictures.ages[place])
            assert isinstance(judge, IdentityFeatures)
            views = augmented(pictures.images(other[own]), draws[1, own], settings.augment)
            views = noisy(views, noise[1, own], settings.noise)
            both = judge.embed(torch.cat([images, views]))
        first, second = (self.group.gather(part.contiguous()) for part in both.chunk(2))
        return identity_loss(first, second, pictures.people[index].to(self.device))

    # --- held out --------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Held-out figures of the moving average, of up to 2000 faces.

        Returns:
            Of the classifier "accuracy", "balanced" (mean over the age groups), "near" (share at
            most one group off) and "loss"; of the regressor "mae" in years, "mae_groups" (mean over
            the age groups) and "median_mae" (of the training ages' median as the answer); of Phi
            "top1", how often a face seen anew (or another face of that person) is found among up to
            100, and "chance".
        """
        if self.held is None:
            return {}
        order = torch.randperm(len(self.held), generator=devices.generator(self.settings.seed))
        index = order[:MEASURED]
        place = index.to(self.device)
        groups, ages = self.held.groups[place], self.held.ages[place]
        if isinstance(self.average, AgeClassifier):
            logits = self._each(self.average, self.held, index)
            found = logits.argmax(1)
            return {
                "accuracy": _mean(found == groups),
                "balanced": _by_group((found == groups).float(), groups),
                "near": _mean((found - groups).abs() <= 1),
                "loss": age_loss(logits, groups).item(),
            }
        if isinstance(self.average, AgeRegressor):
            errors = (self._each(self.average, self.held, index) - ages).abs()
            middle = self.pictures.ages.median()
            return {
                "mae": errors.mean().item(),
                "mae_groups": _by_group(errors, groups),
                "median_mae": _mean((ages - middle).abs()),
            }
        return self._retrieved(self.held, index)

    def _retrieved(self, held: FaceBatches, index: Tensor) -> dict[str, float]:
        assert isinstance(self.average, IdentityFeatures)
        draws = devices.generator(devices.spawn(self.settings.seed, 0))
        other = held.companions(index, draws)
        views = torch.rand(len(index), AUGMENT_DRAWS, generator=draws)
        first = self._each(self.average.embed, held, index)
        second = self._each(self.average.embed, held, other, views)
        people = held.people[index]
        hits, chances = [], []
        for part in torch.arange(len(index)).split(CANDIDATES):
            nearest = (first[part] @ second[part].T).argmax(1).cpu()
            hits.append(people[part][nearest] == people[part])
            chances.append((people[part][:, None] == people[part]).float().mean(1))
        return {"top1": _mean(torch.cat(hits)), "chance": _mean(torch.cat(chances))}

    def _each(
        self,
        look: Callable[[Tensor], Tensor],
        held: FaceBatches,
        index: Tensor,
        draws: Tensor | None = None,
    ) -> Tensor:
        """What a network says of many faces, seen anew where there are draws; float32."""
        found = []
        for part in torch.arange(len(index)).split(EVAL_BATCH):
            images = held.images(index[part])
            if draws is not None:
                images = augmented(images, draws[part], self.settings.augment)
            with devices.autocast(self.device, self.dtype):
                found.append(look(images).float())
        return torch.cat(found)

    @torch.no_grad()
    def sample(self) -> NDArray[np.uint8] | None:
        """Eight faces, held out where there are such, with their ages and what the judge says."""
        source = self.held or self.pictures
        index = torch.arange(min(SHOWN, len(source))) * max(1, len(source) // SHOWN)
        if isinstance(self.average, IdentityFeatures):
            return None
        answers = self._each(self.average, source, index)
        if isinstance(self.average, AgeClassifier):
            said = [GROUPS[group] for group in answers.argmax(1).tolist()]
        else:
            said = [f"{years:.0f}" for years in answers.tolist()]
        ages = source.ages[index.to(self.device)].tolist()
        titles = [f"{age}: {answer}" for age, answer in zip(ages, said, strict=True)]
        return sheet([[face] for face in arrays(source.images(index))], titles, 128)

    def save(self, path: Path) -> None:
        """Write the moving average in half precision."""
        save_judge(self.average, path, half=True)

    def settings_facts(self) -> dict[str, object]:
        """What a resumed run must share."""
        return facts_of(self.settings, data=self.pictures.checksum)


def years_loss(logits: Tensor, ages: Tensor) -> Tensor:
    """How far a distribution over years is from the truth.

    Args:
        logits: (B, 117) of `AgeRegressor.logits`.
        ages: (B,) int64, years.

    Returns:
        A scalar: the cross entropy with a narrow Gaussian about the age (Geng et al. 2013), and a
        tenth of the mean's absolute error in years.
    """
    years = torch.arange(OLDEST + 1, device=logits.device)
    apart = (years - ages[:, None]).float() / BLUR
    wanted = (-apart.square() / 2).softmax(1)
    mean = logits.softmax(1) @ years.float()
    return functional.cross_entropy(logits, wanted) + (mean - ages).abs().mean() / 10


def identity_loss(first: Tensor, second: Tensor, people: Tensor) -> Tensor:
    """InfoNCE (van den Oord et al. 2018): each face finds its second view among those of others.

    Args:
        first: (B, D) unit vectors.
        second: (B, D), of another view of each, or of the same person in another picture.
        people: (B,) int64; further faces of the same person are not counted as others.

    Returns:
        A scalar, from both sides.
    """
    scores = first @ second.T / NEAR
    alike = people[:, None] == people
    own = torch.eye(len(people), dtype=torch.bool, device=people.device)
    scores = scores.masked_fill(alike & ~own, -torch.inf)
    places = torch.arange(len(people), device=people.device)
    both = functional.cross_entropy(scores, places) + functional.cross_entropy(scores.T, places)
    return both / 2


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _by_group(values: Tensor, groups: Tensor) -> float:
    """Mean over the age groups of the means of each."""
    totals = torch.zeros(COUNT, device=values.device).index_add_(0, groups, values)
    counts = torch.bincount(groups, minlength=COUNT)
    return (totals[counts > 0] / counts[counts > 0]).mean().item()


def train_judge(
    data: Faces,
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
    """Train a judge of faces, or go on with it.

    Args:
        data: faces.
        out: folder of the run, see `loop.fit`. The kept weights end in age-classifier.safetensors,
            age-regressor.safetensors or identity.safetensors there: those of the best held-out
            figure, the last ones where nothing is held out.
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
        ValueError: see `JudgeTrainer`, or the folder holds a run of other settings.
        FloatingPointError: a loss is not finite.
        OSError: the folder cannot be written to.
    """
    task = TASKS[settings.task]
    trainer = JudgeTrainer(settings, data, devices.resolve(device), group)
    return fit(
        trainer,
        settings.steps,
        out,
        trainer.settings_facts(),
        group=trainer.group,
        best=task.best,
        ship=task.file,
        save_every=save_every,
        measure_every=measure_every,
        until=until,
        report=report,
    )
