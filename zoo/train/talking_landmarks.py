"""Training of the predictor of landmarks from sound (Sec 5.4, Chen et al. 2019), before AVWnet.

It sees the sound of some consecutive frames and the landmarks of the face at rest or at any other
moment of the clip, and is to say the landmarks at each frame.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from ..data.talking import Clips
from ..ldcgan_parts import POINTS, scaled
from ..talking.geometry import opening
from ..talking_landmarks import TalkingLandmarks, TalkingLandmarksConfig, save_talking_landmarks
from .clip_batches import (
    LIPS,
    ClipBatches,
    face_distance,
    mouth_distance,
    reflected,
)
from .face_batches import share
from .loop import Report, descend, facts_of, fit

MEASURED = 100
"""Held-out clips that are measured, at most, each from its first frame to its last."""
BASIS = 20_000
"""Frames that the principal components are found from, at most."""
SHOWN = 3
SHIPPED = "talking-landmarks.safetensors"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        steps: of the optimiser.
        batch: windows of clips per step, over all processes.
        frames: T, consecutive frames of each; longer than any clip is too long.
        rate: first learning rate of Adam; it falls to zero along a cosine.
        mouth: weight of the points of the mouth beside 1 of the others.
        motion: weight of the error in what changes from frame to frame; 0 leaves it out.
        rest: share of the windows that are given the clip's first frame, at rest in most data; the
            others are given any frame of it.
        noise: of the sound, a share of each coefficient's standard deviation.
        seed: of everything.
        precision: "bf16" or "fp32".
    """

    steps: int = 4000
    batch: int = 32
    frames: int = 50
    rate: float = 1e-3
    mouth: float = 4.0
    motion: float = 1.0
    rest: float = 0.5
    noise: float = 0.1
    seed: int = 0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("frames", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("rate", "mouth", "motion", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative")
        if not 0 <= self.rest <= 1:
            raise ValueError(f"rest must lie in [0, 1], got {self.rest}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r:.40}")


class Batch(NamedTuple):
    """What a process sees of a step; n windows.

    Attributes:
        windows: (n, T, 28, 12), of the sound.
        first: (n, 136), landmarks of a frame of the same clip.
        truth: (n, T, 136).
    """

    windows: Tensor
    first: Tensor
    truth: Tensor


class TalkingLandmarksTrainer:
    """The predictor, its optimiser and a step; a `loop.Trainer`.

    Args:
        config: of the predictor.
        settings: see `Settings`.
        data: clips; those held out are never trained on, shorter ones than T are left out.
        device: where.
        group: the processes that train together.

    Raises:
        ValueError: no clip to train on, or a batch that the processes cannot share.
    """

    def __init__(
        self,
        config: TalkingLandmarksConfig,
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
        self.clips = ClipBatches(data, False, device, settings.frames)
        self.held = None
        if (data.held_out & (data.first.diff() >= settings.frames)).any():
            self.held = ClipBatches(data, True, device, settings.frames)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.predictor = TalkingLandmarks(config)
        rows = self._prepare()
        self.predictor.to(device)
        self.spread = self.clips.windows(rows).std((0, 1))  # (12,)
        points = torch.ones(POINTS)
        points[LIPS] = settings.mouth
        self.weights = (points / points.mean()).repeat_interleave(2).to(device)
        self.networks = nn.ModuleDict({"predictor": self.predictor})
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "predictor": torch.optim.Adam(
                self.predictor.parameters(), settings.rate, fused=device.type == "cuda"
            )
        }

    def _prepare(self) -> Tensor:
        """Find the principal components and how faces move on average.

        Returns:
            Rows spread evenly over all clips to train on.
        """
        clips = self.clips
        shapes = [clips.landmarks(clips.rows(clip)).cpu() for clip in range(len(clips))]
        moved = torch.cat([shape - shape[:1] for shape in shapes])
        self.mean_offset = moved.mean(0).to(self.device)
        rows = torch.cat([clips.rows(clip) for clip in range(len(clips))])
        chosen = torch.arange(0, len(rows), max(1, len(rows) // BASIS))
        self.predictor.fit_basis(torch.cat([shape - shape.mean(0) for shape in shapes])[chosen])
        return rows[chosen]

    # --- one step --------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """The windows of a step; a process takes its share of the batch of all."""
        settings, clips, own = self.settings, self.clips, self.own
        generator = devices.generator(devices.spawn(settings.seed, step))
        index = clips.draw(settings.batch, generator)
        rows = clips.draw_windows(index, settings.frames, generator)
        rest = torch.rand(settings.batch, generator=generator) < settings.rest
        first = torch.where(rest, clips.first[index], clips.draw_rows(index, generator))
        mirror = torch.rand(settings.batch, generator=generator) < 0.5
        windows = clips.windows(rows[own])
        if settings.noise:
            noise = torch.randn(settings.batch, *windows.shape[1:], generator=generator)
            windows = windows + settings.noise * self.spread * noise[own].to(self.device)
        turned = mirror[own].to(self.device)
        before, truth = clips.landmarks(first[own]), clips.landmarks(rows[own])
        return Batch(
            windows,
            torch.where(turned[:, None], reflected(before), before),
            torch.where(turned[:, None, None], reflected(truth), truth),
        )

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One update; see `loop.Trainer`."""
        self.predictor.train()
        optimiser = self.optimisers["predictor"]
        for part in optimiser.param_groups:
            fall = (1 + math.cos(math.pi * step / self.settings.steps)) / 2
            part["lr"] = self.settings.rate * fall
        batch = self.batch(step)
        used = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=used):
            torch.manual_seed(devices.spawn(self.settings.seed + 1, step))
            with devices.autocast(self.device, self.dtype):
                made = self.predictor(batch.windows, batch.first)[0].float()
        loss = self.loss(made, batch.truth)
        descend(optimiser, loss, self.group)
        apart = mouth_distance(made.detach(), batch.truth, self.clips.size).mean()
        return {"loss": loss.detach(), "mouth": apart}

    def loss(self, made: Tensor, truth: Tensor) -> Tensor:
        """Squared error of places and, where it has a weight, of what changes between frames.

        Args:
            made: (n, T, 136).
            truth: (n, T, 136).

        Returns:
            A scalar.
        """
        apart = scaled(made) - scaled(truth)
        loss = (apart.square() * self.weights).mean()
        if self.settings.motion:
            moved = (apart.diff(dim=1).square() * self.weights).mean()
            loss = loss + self.settings.motion * moved
        return loss

    # --- held out --------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Held-out figures, of up to 100 clips, each from its first frame and all of its sound.

        Returns:
            Mean distances in pixels, the points of the mouth alone but for "face": "error", that of
            predicted points from the true ones; "first", that of the first frame repeated;
            "average", that of the first frame moved as training clips are on average; "shuffled",
            that of points predicted from another clip's sound; "face", the error of all 68 points.
            "motion", how much the lips open and close in the prediction as a share of the truth
            (standard deviations over the frames of a clip, means over clips).
        """
        held = self.held
        if held is None:
            return {}
        count, side = min(MEASURED, len(held)), held.size
        names = ("error", "first", "average", "shuffled", "face")
        totals = dict.fromkeys(names, 0.0)
        moved, frames, true = 0.0, 0, 0.0
        for clip in range(count):
            rows = held.rows(clip)
            truth, first = held.landmarks(rows), held.landmarks(rows[:1])
            made = self.predict(held.windows(rows), first[0])
            other = held.rows((clip + 1) % len(held))
            length = min(len(rows), len(other))
            wrong = self.predict(held.windows(other[:length]), first[0])
            found = {
                "error": mouth_distance(made, truth, side).mean(),
                "first": mouth_distance(first, truth, side).mean(),
                "average": mouth_distance(first + self.mean_offset, truth, side).mean(),
                "shuffled": mouth_distance(wrong, truth[:length], side).mean(),
                "face": face_distance(made, truth, side).mean(),
            }
            for name in names:
                totals[name] += found[name].item() * len(rows)
            frames += len(rows)
            moved += opening(made).std().item()
            true += opening(truth).std().item()
        figures = {name: total / frames for name, total in totals.items()}
        return {**figures, "motion": moved / true if true else 0.0}

    @torch.no_grad()
    def predict(self, windows: Tensor, first: Tensor) -> Tensor:
        """Landmarks of one face.

        Args:
            windows: (T, 28, 12).
            first: (136,).

        Returns:
            (T, 136) float32.
        """
        self.predictor.eval()
        with devices.autocast(self.device, self.dtype):
            made: Tensor = self.predictor(windows[None], first[None])[0]
        return made[0].float()

    def sample(self) -> NDArray[np.uint8]:
        """Ten frames of three clips: true points grey, predicted ones red."""
        source = self.held or self.clips
        columns: list[list[NDArray[np.float32]]] = [[] for _ in range(10)]
        clips = [k * max(1, len(source) // SHOWN) for k in range(min(SHOWN, len(source)))]
        for clip in clips:
            rows = source.rows(clip)
            truth = source.landmarks(rows)
            made = self.predict(source.windows(rows), truth[0])
            places = torch.linspace(0, len(rows) - 1, 10).long().tolist()
            for column, place in zip(columns, places, strict=True):
                column.append(_dots(truth[place].cpu(), made[place].cpu()))
        return sheet(columns, [f"{10 * k} %" for k in range(10)], 128)

    def save(self, path: Path) -> None:
        """Write the predictor."""
        save_talking_landmarks(self.predictor, path)

    def settings_facts(self) -> dict[str, object]:
        """What a resumed run must share."""
        return facts_of(self.settings, config=self.config.to_json(), data=self.clips.checksum)


def _dots(truth: Tensor, made: Tensor, side: int = 128) -> NDArray[np.float32]:
    page = PillowImage.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(page)
    for landmarks, colour in ((truth, (150, 150, 150)), (made, (200, 30, 30))):
        for x, y in (landmarks * side).view(POINTS, 2).tolist():
            draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=colour)
    return np.asarray(page, np.float32) / np.float32(255)


def train_talking_landmarks(
    data: Clips,
    config: TalkingLandmarksConfig,
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
    """Train a predictor of landmarks from sound, or go on with it.

    Args:
        data: clips.
        config: of the predictor.
        out: folder of the run, see `loop.fit`; talking-landmarks.safetensors in it has the weights
            of the least held-out error, the last ones where nothing is held out.
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
        ValueError: see `TalkingLandmarksTrainer`, or the folder holds a run of other settings.
        FloatingPointError: a loss is not finite.
        OSError: the folder cannot be written to.
    """
    trainer = TalkingLandmarksTrainer(config, settings, data, devices.resolve(device), group)
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
