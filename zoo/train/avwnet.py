"""Training of AVWnet (Sec 5.3): some frames of a clip are made from one of them and the sound.

Trained before it and frozen here are the lip reader (`train.lipreader`) and the landmark predictor
(`train.talking_landmarks`). A step is: G makes frames, the discriminators of both stages are
updated (Eq 5.9), G is updated (Eq 5.12). What no term needs is not worked out.

Readings. The sound that does not match is that of the same clip at another time, at least seven
frames away, as the windows of neighbours are nearly the same; the literal next frame is an option.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...backend import device as devices
from ...backend.distributed import Group
from ...backend.weights import fill, save_weights
from ..avwnet import AvwnetConfig, AvwnetOutput, Discriminator, Generator
from ..avwnet_losses import (
    discriminator_loss,
    generator_loss,
    mask_roughness,
    mask_size,
    mouth_areas,
    pixel_loss,
    regression_loss,
    total,
    word_loss,
)
from ..avwnet_parts import SIDE
from ..cards import Card
from ..data.talking import SILENCE, Clips
from ..layers import follow
from ..lipreader import READ, LipReader
from ..pretrained import Description, read_description, read_weights, weight_files, write_folder
from ..registry import CONFIG
from ..talking_landmarks import TalkingLandmarks
from .avwnet_figures import Figures
from .avwnet_settings import BEST, Batch, Settings, Stage
from .clip_batches import ClipBatches, Words, check_side, reflected, tinted
from .face_batches import digest, early, share
from .loop import Report, descend, fit

__all__ = ["AvwnetTrainer", "Settings", "train_avwnet"]

ADAM = (0.5, 0.999)
DISCRIMINATORS = "avwnet-discriminators"
SIDES = {"coarse": SIDE // 2, "fine": SIDE}


class AvwnetTrainer:
    """Networks, optimisers and the step; a `loop.Trainer`.

    Args:
        config: of the networks.
        settings: see `Settings`.
        data: clips; those held out are never trained on, too short ones are left out.
        reader: lip reader, trained; frozen here.
        predictor: of landmarks, trained; frozen here.
        device: where.
        group: the processes that train together.

    Raises:
        ValueError: a reader or predictor of another configuration, frames of another size, no clip
            to train on, a weight for words where no clip has one that the reader knows, or a batch
            that the processes cannot share.
    """

    folder: Path | None = None
    """Where `sample` writes a video; None: nowhere."""

    def __init__(
        self,
        config: AvwnetConfig,
        settings: Settings,
        data: Clips,
        reader: LipReader,
        predictor: TalkingLandmarks,
        device: torch.device,
        group: Group | None = None,
    ) -> None:
        if reader.config != config.reader or predictor.config != config.landmarks:
            raise ValueError(
                "the lip reader or the landmark predictor is not the one of the configuration; "
                "set its reader and landmarks to theirs"
            )
        check_side(data)
        self.config, self.settings, self.device = config, settings, device
        self.group = group or Group()
        self.own = share(settings.batch, self.group)
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        devices.autocast(device, self.dtype)  # raises where the device cannot
        self.facts = {"reader": digest(reader), "landmarks": digest(predictor)}
        self.reader, self.predictor = copy.deepcopy((reader, predictor))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.generator = Generator(config).to(device)
            judged = settings.stages if settings.weights.judged else ()
            self.judges = nn.ModuleDict({x: Discriminator(config, SIDES[x]) for x in judged})
        self.judges.to(device)
        self.average = copy.deepcopy(self.generator)
        for network in (self.average, self.reader, self.predictor):
            network.to(device).eval().requires_grad_(False)
        self.reader.lstm.train()  # the same without dropout, but cuDNN's has slopes only then
        every = nn.ModuleList([self.generator, self.judges, self.average, self.reader])
        nn.utils.convert_conv2d_weight_memory_format(every, torch.channels_last)
        self.networks = nn.ModuleDict(
            {"generator": self.generator, "judges": self.judges, "average": self.average}
        )
        learners = ["generator", "judges"] if judged else ["generator"]
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(
                self.networks[name].parameters(), settings.rate, ADAM, fused=device.type == "cuda"
            )
            for name in learners
        }
        apart = 2 * settings.apart if settings.weights.match and judged else 1
        self.clips = ClipBatches(data, False, device, max(settings.frames, apart))
        spoken = [word for word in reader.config.words if word != SILENCE]
        self.words = Words(self.clips, spoken, settings.frames)
        numbers = [reader.config.words.index(word) for word in spoken]
        self.labels = torch.tensor(numbers)[self.words.labels]
        if settings.weights.word and not (len(self.words) and settings.centred):
            raise ValueError(
                f"{data.name}: no clip is centred on a word that the lip reader knows; set the "
                "weight of word to 0"
            )
        self.held = None
        if (data.held_out & (data.first.diff() >= READ)).any():
            self.held = ClipBatches(data, True, device, READ)
        self.figures = Figures(self.average, self.predictor, self.reader, self.dtype, device)

    # --- one step --------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """The clips of a step; a process takes its share of the batch of all."""
        settings, clips, own, place = self.settings, self.clips, self.own, self.device
        count, frames = settings.batch, settings.frames
        generator = devices.generator(devices.spawn(settings.seed, step))
        index = clips.draw(count, generator)
        rows = clips.draw_windows(index, frames, generator)
        words = torch.full((count,), -1)
        if len(self.words):
            spoken = self.words.draw(count, generator, balanced=False)
            # Spread evenly over the batch, so that processes have equal shares of them.
            whole = (torch.arange(count + 1) * settings.centred).floor()
            asked = whole.diff() > 0
            index = torch.where(asked, self.words.clips[spoken], index)
            rows = torch.where(asked[:, None], self.words.rows(spoken), rows)
            words = torch.where(asked, self.labels[spoken], words)
        example = clips.draw_rows(index, generator)
        mirror = (torch.rand(count, generator=generator) < 0.5) & settings.mirror
        predicted = torch.rand(count, generator=generator) < settings.predicted
        order = torch.rand(count, frames, generator=generator).argsort(1)
        if 0 < settings.judged < frames:
            seen = order[:, : settings.judged]
        else:
            seen = torch.arange(frames).expand(count, -1)
        chance = torch.rand(seen.shape, generator=generator, dtype=torch.float64)
        others = clips.windows(rows[:0, :0])
        if self.judges and settings.weights.match:
            away = other_rows(rows.gather(1, seen), index, clips, settings.apart, chance)
            others = clips.windows(away[own])
        turned = mirror[own].to(place)
        pictures = clips.frames(torch.cat([example[own, None], rows[own]], 1))
        points = clips.landmarks(torch.cat([example[own, None], rows[own]], 1))
        if settings.mirror:
            pictures = torch.where(turned[:, None, None, None, None], pictures.flip(4), pictures)
            points = torch.where(turned[:, None, None], reflected(points), points)
        if settings.tint:
            draws = torch.rand(count, 2, 3, generator=generator)
            pictures = tinted(pictures, draws[own], settings.tint)
        windows, landmarks = clips.windows(rows[own]), points[:, 1:]
        given, heard = landmarks, predicted[own].to(place)
        if heard.any():
            with torch.no_grad(), devices.autocast(place, self.dtype):
                found = self.predictor(windows, points[:, 0])[0]
            given = torch.where(heard[:, None, None], found, landmarks)
        return Batch(
            pictures[:, 0],
            points[:, 0],
            pictures[:, 1:],
            windows,
            landmarks,
            given,
            others,
            words[own].to(place),
            int((words >= 0).sum()),
            seen[own].to(place),
        )

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One update of the discriminators, one of G, and the moving average."""
        self.generator.train()
        self.judges.train()
        batch = self.batch(step)
        stages = self.stages(batch, self.make(batch))
        losses: dict[str, Tensor] = {}
        if self.judges:
            losses["judges"] = self.update_judges(batch, stages)
        terms = self.terms(batch, stages)
        descend(self.optimisers["generator"], total(terms, self.settings.weights), self.group)
        follow(self.average, self.generator, early(self.settings.decay, step))
        return {**losses, **{name: term.detach() for name, term in terms.items()}}

    def make(self, batch: Batch) -> AvwnetOutput:
        """The frames of G."""
        with devices.autocast(self.device, self.dtype):
            made: AvwnetOutput = self.generator(
                batch.example, batch.windows, batch.given, batch.example_landmarks
            )
        return made

    def stages(self, batch: Batch, made: AvwnetOutput) -> list[Stage]:
        """The stages that have losses, and the fine one last, which the lip reader reads."""
        found = []
        if "coarse" in self.settings.stages:
            real = functional.avg_pool2d(batch.frames.flatten(0, 1), 2)
            real = real.unflatten(0, batch.frames.shape[:2])
            found.append(Stage("coarse", made.coarse, made.coarse_colour, made.coarse_mask, real))
        fine = Stage("fine", made.fine, made.fine_colour, made.fine_mask, batch.frames)
        return [*found, fine]

    def terms(self, batch: Batch, stages: list[Stage]) -> dict[str, Tensor]:
        """The terms of Eq 5.12 whose weight is not 0, by the names of `Weights`."""
        weights = self.settings.weights
        found: dict[str, list[Tensor]] = {}

        def add(name: str, term: Tensor | None) -> None:
            if term is not None:
                found.setdefault(name, []).append(term)

        for stage in stages:
            if stage.name not in self.settings.stages:
                continue
            if stage.name in self.judges:
                plain, joint, regression = self._judged(batch, stage)
                add("adversarial", plain)
                add("match", joint)
                add("regression", regression)
            if weights.pixel or weights.colour:
                mouth = mouth_areas(batch.landmarks, stage.made.shape[-1])
            if weights.pixel:
                add("pixel", pixel_loss(stage.made, stage.real, mouth))
            if weights.colour:
                add("colour", pixel_loss(stage.colour, stage.real, mouth))
            if weights.mask:
                add("mask", mask_size(stage.mask.flatten(0, 1)))
            if weights.smooth:
                add("smooth", mask_roughness(stage.mask.flatten(0, 1)))
        if weights.word:
            add("word", self._words(batch, stages[-1].made))
        return {name: torch.stack(parts).sum() for name, parts in found.items()}

    def _judged(
        self, batch: Batch, stage: Stage
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Eq 5.10 and L_R of a stage, as far as they have a weight."""
        weights, judge = self.settings.weights, self.judge(stage.name)
        with devices.autocast(self.device, self.dtype):
            look = judge.look(chosen(stage.made, batch.seen))
            real = judge.realness(look) if weights.adversarial else None
            match = None
            if weights.match:
                match = judge.match(look, chosen(batch.windows, batch.seen))
            points = judge.points(look) if weights.regression else None
        plain, joint = generator_loss(real, match)
        if points is None:
            return plain, joint, None
        return plain, joint, regression_loss(points, chosen(batch.landmarks, batch.seen))

    def _words(self, batch: Batch, made: Tensor) -> Tensor:
        """L_w of Eq 5.11: only clips that are centred on a word are read."""
        asked = (batch.words >= 0).nonzero().flatten()
        if not len(asked):
            return made[:0].sum()
        start = max(0, (made.shape[1] - READ) // 2)
        with devices.autocast(self.device, self.dtype):
            said = self.reader.read(made[asked, start : start + READ])
        # Processes are averaged, and each has its share of all that is asked.
        return self.group.size * word_loss(said, batch.words[asked], batch.asked)

    # --- discriminators --------------------------------------------------------------------------

    def judge(self, name: str) -> Discriminator:
        """The discriminator of a stage."""
        judge = self.judges[name]
        assert isinstance(judge, Discriminator)
        return judge

    def update_judges(self, batch: Batch, stages: list[Stage]) -> Tensor:
        """Eq 5.9, of all stages."""
        weights = self.settings.weights
        windows = chosen(batch.windows, batch.seen)
        terms: dict[str, list[Tensor]] = {"adversarial": [], "match": [], "regression": []}
        for stage in stages:
            if stage.name not in self.judges:
                continue
            judge = self.judge(stage.name)
            real_plain = fake_plain = real_match = fake_match = mismatch = points = None
            with devices.autocast(self.device, self.dtype):
                real = judge.look(chosen(stage.real, batch.seen))
                if weights.adversarial or weights.match:
                    fake = judge.look(chosen(stage.made.detach(), batch.seen))
                if weights.adversarial:
                    real_plain, fake_plain = judge.realness(real), judge.realness(fake)
                if weights.match:
                    real_match = judge.match(real, windows)
                    fake_match = judge.match(fake, windows)
                    mismatch = judge.match(real, batch.others.flatten(0, 1))
                if weights.regression:
                    points = judge.points(real)
            plain, joint = discriminator_loss(
                real_plain, fake_plain, real_match, fake_match, mismatch
            )
            if plain is not None:
                terms["adversarial"].append(plain)
            if joint is not None:
                terms["match"].append(joint)
            if points is not None:
                truth = chosen(batch.landmarks, batch.seen)
                terms["regression"].append(regression_loss(points, truth))
        sums = {name: torch.stack(parts).sum() for name, parts in terms.items() if parts}
        loss = total(sums, weights)
        descend(self.optimisers["judges"], loss, self.group)
        return loss.detach()

    # --- held out --------------------------------------------------------------------------------

    def measure(self) -> dict[str, float]:
        """Held-out figures, see `avwnet_figures.Figures.measure`."""
        return self.figures.measure(self.held) if self.held is not None else {}

    def sample(self) -> NDArray[np.uint8]:
        """Two clips, held out where there are such; with a folder also sample.mp4 in it."""
        return self.figures.sample(self.held or self.clips, self.folder)

    # --- files -----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the networks of `avwnet.build` in half precision, with the configuration."""
        networks = nn.ModuleDict(
            {"generator": self.average, "landmarks": self.predictor, "reader": self.reader}
        )
        save_weights(networks, path, {"config": json.dumps(self.config.to_json())}, half=True)

    def save_discriminators(self, folder: Path) -> None:
        """Write the discriminators in half precision, for a later run to begin with."""
        described = Description(DISCRIMINATORS, self.config.to_json(), Card())
        page = "# Discriminators of an AVWnet\n\nFor `neuralpaint train avwnet --discriminators`.\n"
        write_folder(folder, described, self.judges, page)

    def begin_with(self, generator: Generator, discriminators: Path | None = None) -> None:
        """Take trained weights in place of random ones.

        Args:
            generator: of the same configuration.
            discriminators: folder that `save_discriminators` wrote; None keeps the random ones.

        Raises:
            FileNotFoundError: the discriminators' weights are absent.
            ValueError: weights of other networks (names the first that differs), or no folder that
                `save_discriminators` wrote.
        """
        state = generator.state_dict()
        for network in (self.generator, self.average):
            fill(network, state, Path("generator"))
        if discriminators is not None:
            kind = read_description(discriminators / CONFIG).kind
            if kind != DISCRIMINATORS:
                raise ValueError(f"{discriminators}: holds {kind!r:.40}, not {DISCRIMINATORS!r}")
            tensors = read_weights(discriminators, weight_files(discriminators))
            fill(self.judges, tensors, discriminators)

    def settings_facts(self) -> dict[str, object]:
        """What a resumed run must share; how many steps it has may change."""
        shared = asdict(replace(self.settings, steps=1))
        data = self.clips.checksum
        facts: dict[str, object] = json.loads(
            json.dumps({**shared, "config": self.config.to_json(), "data": data})
        )
        return {**facts, "frozen": self.facts}


def chosen(values: Tensor, frames: Tensor) -> Tensor:
    """Some frames of clips: (n, T, ...) and (n, j) int64 to (n j, ...)."""
    if frames.shape[1] == values.shape[1]:
        return values.flatten(0, 1)  # all of them, and in order
    clips = torch.arange(len(frames), device=frames.device)[:, None]
    return values[clips, frames].flatten(0, 1)


def other_rows(
    rows: Tensor, index: Tensor, clips: ClipBatches, apart: int, chance: Tensor
) -> Tensor:
    """Frames of the same clips at other times.

    Args:
        rows: (n, j) int64.
        index: (n,) the clips that they are of, each of at least 2 `apart` frames.
        clips: the clips.
        apart: frames, at least, between a row and what it becomes; 0: the next frame, or the one
            before the last.
        chance: (n, j) float64 in [0, 1).

    Returns:
        (n, j) int64 rows.
    """
    first, length = clips.first[index][:, None], clips.lengths[index][:, None]
    at = rows - first
    if not apart:
        return first + torch.where(at + 1 < length, at + 1, at - 1)
    before = (at - apart + 1).clamp(min=0)
    after = (length - apart - at).clamp(min=0)
    pick = (chance * (before + after)).long()
    return first + torch.where(pick < before, pick, at + apart + pick - before)


def train_avwnet(
    data: Clips,
    reader: LipReader,
    predictor: TalkingLandmarks,
    config: AvwnetConfig,
    out: Path,
    settings: Settings,
    *,
    device: str | torch.device = "auto",
    group: Group | None = None,
    weights: Generator | None = None,
    discriminators: Path | None = None,
    save_every: int = 1000,
    measure_every: int = 1000,
    until: Callable[[], bool] = lambda: False,
    report: Report = lambda progress: None,
) -> dict[str, Any]:
    """Train an AVWnet, or go on with it.

    Args:
        data: clips.
        reader: lip reader, see `train.lipreader`.
        predictor: of landmarks, see `train.talking_landmarks`.
        config: of the networks.
        out: folder of the run, see `loop.fit`. best.safetensors, of the best held-out figure that
            the settings name, and last.safetensors are what `avwnet.load_avwnet` reads; sample.mp4
            is a clip with its sound, real beside generated; "discriminators" is what another run
            may begin with, where there are any.
        settings: see `Settings`.
        device: see `backend.device.resolve`.
        group: the processes that train together; the caller has started them.
        weights: a generator to begin with; None begins with random weights.
        discriminators: to begin with, see `AvwnetTrainer.begin_with`.
        save_every: steps between checkpoints.
        measure_every: steps between held-out figures.
        until: see `loop.fit`.
        report: called as the training goes on.

    Returns:
        What `loop.fit` returns.

    Raises:
        ValueError: see `AvwnetTrainer`, or the folder holds a run of other settings.
        FloatingPointError: a loss is not finite.
        OSError: the folder cannot be written to.
    """
    if discriminators is not None and weights is None:
        raise ValueError("discriminators to begin with need their generator: give the weights too")
    place = devices.resolve(device)
    trainer = AvwnetTrainer(config, settings, data, reader, predictor, place, group)
    if weights is not None:
        trainer.begin_with(weights, discriminators)
    trainer.folder = out
    result = fit(
        trainer,
        settings.steps,
        out,
        trainer.settings_facts(),
        group=trainer.group,
        best=(settings.best, BEST[settings.best]),
        save_every=save_every,
        measure_every=measure_every,
        until=until,
        report=report,
    )
    if trainer.group.leads and trainer.judges:
        trainer.save_discriminators(out / "discriminators")
    return result
