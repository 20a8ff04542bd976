"""Training of HfGAN (Sec 3.4): alternate D and G on captioned pictures.

A trained DAMSM comes first (`train.damsm`); its text encoder makes the sentence and the words, and
both of its encoders judge whether a generated image matches its text.
"""

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...backend import device as devices
from ...backend.distributed import Group
from ...backend.sheet import sheet
from ...backend.weights import fill, save_weights
from ..cards import Card
from ..damsm import Damsm, damsm_loss
from ..data.captioned import Captioned
from ..hfgan import Discriminator, Generator, HfGanConfig
from ..hfgan_losses import discriminator_loss, divergence, generator_loss
from ..hfgan_model import HfGan
from ..layers import follow, shifted
from ..metrics.distributions import frechet_distance, moments
from ..pretrained import Description, read_description, read_weights, weight_files, write_folder
from ..registry import CONFIG
from .batches import Pictures
from .damsm import retrieved
from .loop import Report, descend, facts_of, fit, kept

ADAM = (0.5, 0.999)
SHOWN, DRAWS = 8, 4
MEASURED = 512
"""Held-out captions that are generated for the held-out figures, at most."""
EVAL_BATCH = 64
DISCRIMINATOR = "hfgan-discriminator"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        steps: of D and G, one each in turn.
        batch: pictures per step, over all processes.
        rate: learning rate of both.
        decay: of the moving average of G.
        damsm: lambda of Eq 3.5; 0 leaves L_DAMSM out.
        kl: weight of the divergence of the conditioning augmentation; 0 leaves it out.
        conditional: the conditional halves of Eq 3.3 and 3.4.
        unconditional: the unconditional halves.
        shift: largest shift of the pictures that D sees, real and generated, as a share of the
            side. It keeps D from learning a small data set by heart (Zhao et al. 2020).
        penalty: weight of the penalty on D's gradient at real pictures, gamma/2 E |grad D|^2, taken
            every 16th step (Mescheder et al. 2018); 0 leaves it out, as the thesis does.
        seed: of everything.
        precision: "bf16" or "fp32", of the networks' convolutions.
    """

    steps: int = 20_000
    batch: int = 32
    rate: float = 2e-4
    decay: float = 0.999
    damsm: float = 5.0
    kl: float = 1.0
    conditional: bool = True
    unconditional: bool = True
    shift: float = 0.0
    penalty: float = 0.0
    seed: int = 0
    precision: str = "bf16"

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "damsm", "kl", "penalty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative")
        for name in ("decay", "shift"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r}")
        if not (self.conditional or self.unconditional):
            raise ValueError("switch the conditional or the unconditional loss on")


PENALTY_EVERY = 16


class Batch(NamedTuple):
    """What one process sees of a step; n pictures.

    Attributes:
        images: (n, 3, S, S) in [-1, 1].
        ids: (n, L) words of their captions.
        mask: (n, L) bool.
        wrong_ids: (n, L) words of a caption of another picture.
        wrong_mask: (n, L) bool.
        labels: (n,) int64, classes.
        noise: (n, z).
        draw: (n, condition).
        offsets: (3, n, 2) int64, shifts for D: of real and generated pictures, and those of G.
    """

    images: Tensor
    ids: Tensor
    mask: Tensor
    wrong_ids: Tensor
    wrong_mask: Tensor
    labels: Tensor
    noise: Tensor
    draw: Tensor
    offsets: Tensor


class HfGanTrainer:
    """Networks, optimisers and the step of Eq 3.3-3.5; a `loop.Trainer`.

    Args:
        config: of the networks; its vocabulary must be the DAMSM's.
        settings: see `Settings`.
        data: pictures; those held out are never trained on.
        damsm: trained; it is frozen.
        device: where.
        group: the processes that train together.

    Raises:
        ValueError: the vocabulary is not the DAMSM's, no pictures to train on, or a batch that the
            processes cannot share.
    """

    def __init__(
        self,
        config: HfGanConfig,
        settings: Settings,
        data: Captioned,
        damsm: Damsm,
        device: torch.device,
        group: Group | None = None,
    ) -> None:
        if config.vocabulary != damsm.config.vocabulary or config.dim != damsm.config.dim:
            raise ValueError("the DAMSM has other words or dimensions; train G with its own")
        self.config, self.settings, self.device = config, settings, device
        self.group = group or Group()
        if settings.batch % self.group.size:
            raise ValueError(
                f"a batch of {settings.batch} cannot be shared by {self.group.size} processes"
            )
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        self.damsm = copy.deepcopy(damsm).to(device).eval().requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            generator, discriminator = Generator(config), Discriminator(config)
        self.generator = generator.to(device)
        self.discriminator = discriminator.to(device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        for network in (self.generator, self.discriminator, self.average, self.damsm.image):
            nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
        self.networks = nn.ModuleDict(
            {
                "generator": self.generator,
                "discriminator": self.discriminator,
                "average": self.average,
            }
        )
        fused = device.type == "cuda"
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "generator": torch.optim.Adam(
                self.generator.parameters(), settings.rate, ADAM, fused=fused
            ),
            "discriminator": torch.optim.Adam(
                self.discriminator.parameters(), settings.rate, ADAM, fused=fused
            ),
        }
        self.pictures = Pictures(data.part(False), config.size, config.vocabulary, device)
        self.held = None
        if data.held_out.any():
            self.held = Pictures(data.part(True), config.size, config.vocabulary, device)

    # --- one step --------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """The pictures of a step; a process takes its share of the batch of all."""
        settings, size = self.settings, self.config.size
        generator = devices.generator(devices.spawn(settings.seed, step))
        count = settings.batch
        index = torch.randint(len(self.pictures), (count,), generator=generator)
        wrong = self.pictures.others(index, generator)
        crops = torch.rand(count, 3, generator=generator)
        noise = torch.randn(count, self.config.z, generator=generator)
        draw = torch.randn(count, self.config.condition, generator=generator)
        reach = int(settings.shift * size)
        offsets = torch.randint(-reach, reach + 1, (3, count, 2), generator=generator)
        longest = self.pictures.longest
        captions, wrongs = (torch.rand(count, 1 + longest, generator=generator) for _ in range(2))
        own = slice(self.group.rank, None, self.group.size)
        place = self.device
        ids, mask = self.pictures.text(index[own], captions[own, 0], captions[own, 1:])
        wrong_ids, wrong_mask = self.pictures.text(wrong[own], wrongs[own, 0], wrongs[own, 1:])
        return Batch(
            self.pictures.images(index[own], crops[own]),
            ids,
            mask,
            wrong_ids,
            wrong_mask,
            self.pictures.labels[index[own].to(place)],
            noise[own].to(place),
            draw[own].to(place),
            offsets[:, own].to(place),
        )

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One update of D, one of G, and the moving average; see `loop.Trainer`."""
        self.generator.train()
        self.discriminator.train()
        batch = self.batch(step)
        with torch.no_grad(), devices.autocast(self.device, self.dtype):
            words, sentence = self.damsm.text(batch.ids, batch.mask)
            _, wrong = self.damsm.text(batch.wrong_ids, batch.wrong_mask)
        with devices.autocast(self.device, self.dtype):
            output = self.generator(batch.noise, sentence, words, batch.mask, batch.draw)
        losses = self._update_discriminator(batch, output.images.detach(), sentence, wrong, step)
        condition = output.condition
        with devices.autocast(self.device, self.dtype):
            features = self.discriminator(self._seen(output.images, batch.offsets[2]))
            fake, matching = self._heads(features, condition.mean.detach())
        adversarial = generator_loss(fake, matching)
        total, parts = adversarial, {"generator": adversarial.detach()}
        if self.settings.kl:
            kl = divergence(condition.mean, condition.log_variance)
            total = total + self.settings.kl * kl
            parts["kl"] = kl.detach()
        if self.settings.damsm:
            with devices.autocast(self.device, self.dtype):
                regions, whole = self.damsm.image(output.images)
            match = damsm_loss(
                *self._gathered(regions, whole, words, sentence, batch.mask, batch.labels)
            )
            total = total + self.settings.damsm * (match.words + match.sentence)
            parts["damsm"] = (match.words + match.sentence).detach()
        descend(self.optimisers["generator"], total, self.group)
        follow(self.average, self.generator, self.settings.decay)
        return {**losses, **parts}

    def _update_discriminator(
        self, batch: Batch, images: Tensor, sentence: Tensor, wrong: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Eq 3.3. The condition is the mean of the sentence's Gaussian, without gradient."""
        with torch.no_grad(), devices.autocast(self.device, self.dtype):
            right = self.generator.augment(sentence).mean
            mismatch = self.generator.augment(wrong).mean
        with devices.autocast(self.device, self.dtype):
            real = self.discriminator(self._seen(batch.images, batch.offsets[0]))
            fake = self.discriminator(self._seen(images, batch.offsets[1]))
            is_real, matching = self._heads(real, right)
            is_fake, fake_matching = self._heads(fake, right)
            mismatching = self._heads(real, mismatch)[1]
        loss = discriminator_loss(is_real, is_fake, matching, fake_matching, mismatching)
        found = {"discriminator": loss.detach()}
        if self.settings.penalty and step % PENALTY_EVERY == 0:
            penalty = self._penalty(batch.images, right)
            loss = loss + penalty * PENALTY_EVERY * self.settings.penalty / 2
        descend(self.optimisers["discriminator"], loss, self.group)
        return found

    def _penalty(self, images: Tensor, condition: Tensor) -> Tensor:
        """Mean squared gradient of D at real pictures; in full precision, differentiated twice."""
        seen = images.detach().requires_grad_(True)
        with devices.autocast(self.device, torch.float32):
            logits = [x for x in self._heads(self.discriminator(seen), condition) if x is not None]
            score = torch.stack([x.sum() for x in logits]).sum()
            (slope,) = torch.autograd.grad(score, seen, create_graph=True)
        return slope.square().sum((1, 2, 3)).mean()

    def _heads(self, features: Tensor, condition: Tensor) -> tuple[Tensor | None, Tensor | None]:
        use = self.settings
        real = self.discriminator.realness(features) if use.unconditional else None
        match = self.discriminator.match(features, condition) if use.conditional else None
        return real, match

    def _seen(self, images: Tensor, offsets: Tensor) -> Tensor:
        return shifted(images, offsets) if self.settings.shift else images

    def _gathered(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The same tensors of all processes, in one order: L_DAMSM compares within a batch."""
        return tuple(self.group.gather(tensor) for tensor in tensors)

    # --- held out --------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(self, pictures: Pictures, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Images of the moving average for the first caption of some pictures.

        Args:
            pictures: they come from.
            index: (n,) which.
            seed: of the noise.

        Returns:
            (n, 3, S, S) in [-1, 1], and (n, D) their sentences, on the device.
        """
        draws = devices.generator(devices.spawn(seed, 0))
        noise = torch.randn(len(index), self.config.z, generator=draws)
        images, sentences = [], []
        for part, z in zip(index.split(EVAL_BATCH), noise.split(EVAL_BATCH), strict=True):
            ids, mask = pictures.text(part, torch.zeros(len(part)))
            with devices.autocast(self.device, self.dtype):
                words, sentence = self.damsm.text(ids, mask)
                output = self.average(z.to(self.device), sentence, words, mask)
            images.append(output.images)
            sentences.append(sentence.float())
        return torch.cat(images), torch.cat(sentences)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Held-out figures by the DAMSM's image encoder, which the training itself uses.

        Returns:
            "frechet": Fréchet distance of its global features between generated and real pictures;
            "top1" and "chance" of `damsm.retrieved`.
        """
        if self.held is None:
            return {}
        count = min(len(self.held), MEASURED)
        index = torch.randperm(len(self.held), generator=devices.generator(self.settings.seed))
        index = index[:count]
        images, sentences = self.generate(self.held, index, self.settings.seed)
        real = self.held.images(index, torch.full((count, 3), 0.5))
        fake_features, real_features = self._embedded(images), self._embedded(real)
        texts = [self.held.captions[i][0] for i in index.tolist()]
        labels = self.held.labels[index.to(self.device)]
        return {
            "frechet": frechet_distance(moments(fake_features), moments(real_features)),
            **retrieved(fake_features, sentences, texts, labels, self.settings.seed),
        }

    def _embedded(self, images: Tensor) -> Tensor:
        parts = []
        for part in images.split(EVAL_BATCH):
            with devices.autocast(self.device, self.dtype):
                parts.append(self.damsm.image(part)[1].float())
        return torch.cat(parts)

    def sample(self) -> NDArray[np.uint8]:
        """Eight captions, held out where there are such, with four noises each and the picture."""
        source = self.held or self.pictures
        index = torch.arange(min(SHOWN, len(source))) * max(1, len(source) // SHOWN)
        draws = [self.generate(source, index, seed)[0] for seed in range(DRAWS)]
        real = source.images(index, torch.full((len(index), 3), 0.5))
        columns = [
            list(_arrays(torch.stack([real[i], *(d[i] for d in draws)]))) for i in range(len(index))
        ]
        titles = [source.captions[int(i)][0] for i in index]
        return sheet(columns, titles, max(128, self.config.size))

    def save(self, path: Path) -> None:
        """Write text encoder and averaged generator in half precision, with the configuration."""
        networks = nn.ModuleDict({"text": self.damsm.text, "generator": self.average})
        save_weights(networks, path, {"config": json.dumps(self.config.to_json())}, half=True)

    def save_discriminator(self, folder: Path) -> None:
        """Write the discriminator in half precision, for a later run to begin with."""
        described = Description(DISCRIMINATOR, self.config.to_json(), Card())
        page = "# Discriminator of an HfGAN\n\nFor `neuralpaint train hfgan --discriminator`.\n"
        write_folder(folder, described, self.discriminator, page)

    def begin_with(self, generator: Generator, discriminator: Path | None = None) -> None:
        """Take trained weights in place of random ones.

        Args:
            generator: of the same configuration but for its vocabulary, which is not the
                generator's.
            discriminator: folder that `save_discriminator` wrote; None keeps the random one.

        Raises:
            FileNotFoundError: a file of the discriminator is absent.
            ValueError: weights of other networks (names the first that differs).
        """
        state = generator.state_dict()
        for network in (self.generator, self.average):
            fill(network, state, Path("generator"))
        if discriminator is not None:
            kind = read_description(discriminator / CONFIG).kind
            if kind != DISCRIMINATOR:
                raise ValueError(f"{discriminator}: holds {kind!r:.40}, not {DISCRIMINATOR!r}")
            tensors = read_weights(discriminator, weight_files(discriminator))
            fill(self.discriminator, tensors, discriminator)

    def settings_facts(self) -> dict[str, object]:
        """What a resumed run must share; how many steps it has may change."""
        shared = replace(self.settings, steps=1)
        return facts_of(shared, config=self.config.to_json(), data=self.pictures.checksum)


def _arrays(images: Tensor) -> NDArray[np.float32]:
    """(n, 3, S, S) in [-1, 1] as (n, S, S, 3) in [0, 1]."""
    values: NDArray[np.float32] = (images / 2 + 0.5).permute(0, 2, 3, 1).float().cpu().numpy()
    return values.clip(0, 1)


def train_hfgan(
    data: Captioned,
    damsm: Damsm,
    config: HfGanConfig,
    out: Path,
    settings: Settings,
    *,
    device: str | torch.device = "auto",
    group: Group | None = None,
    weights: Generator | None = None,
    discriminator: Path | None = None,
    save_every: int = 1000,
    measure_every: int = 1000,
    until: Callable[[], bool] = lambda: False,
    report: Report = lambda progress: None,
) -> dict[str, Any]:
    """Train an HfGAN, or go on with it.

    Args:
        data: pictures with captions.
        damsm: trained on them.
        config: of the networks.
        out: folder of the run, see `loop.fit`. Its folder "model" is for `zoo.from_pretrained`, and
            has the weights of the least Fréchet distance on held-out pictures (the last ones where
            nothing is held out); "discriminator" is what another run may begin with.
        settings: see `Settings`.
        device: see `backend.device.resolve`.
        group: the processes that train together; the caller has started them.
        weights: a generator to begin with; None begins with random weights.
        discriminator: to begin with, see `HfGanTrainer.begin_with`.
        save_every: steps between checkpoints.
        measure_every: steps between held-out figures.
        until: see `loop.fit`.
        report: called as the training goes on.

    Returns:
        What `loop.fit` returns.

    Raises:
        ValueError: see `HfGanTrainer`, the folder holds a run of other settings, or a
            discriminator without weights.
        FloatingPointError: a loss is not finite.
        OSError: the folder cannot be written to.
    """
    if discriminator is not None and weights is None:
        raise ValueError("a discriminator to begin with needs its generator: give the weights too")
    trainer = HfGanTrainer(config, settings, data, damsm, devices.resolve(device), group)
    if weights is not None:
        trainer.begin_with(weights, discriminator)
    result = fit(
        trainer,
        settings.steps,
        out,
        trainer.settings_facts(),
        group=trainer.group,
        best=("frechet", -1),
        save_every=save_every,
        measure_every=measure_every,
        until=until,
        report=report,
    )
    if trainer.group.leads:
        card = Card(
            architecture=f"HfGAN, chapter 3, N_g {config.ng}, N_d {config.nd}, {config.fusion}",
            sizes=f"images of {config.size} x {config.size} pixels",
            training=f"{result['steps']} steps of {settings.batch} pictures of {data.name}",
            task="text-to-image",
        )
        model = HfGan.from_run(kept(out), card)
        model.save_pretrained(out / "model")
        trainer.save_discriminator(out / "discriminator")
    return result
