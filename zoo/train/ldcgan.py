"""Training of LDcGAN (Sec 4.3): dual learning on faces of which each person is known at one age.

Trained before it and frozen here are D_A and Phi (`train.ages`) and G_L (`train.landmarks`). A step
is: G ages faces and leads them back (Eq 4.5), D is updated (Eq 4.15), G is updated (Eq 4.14).

Readings. The target landmarks are G_L's; those of the way back are the face's own, which are known.
The real faces of Eq 4.6 are of the target age group, as I* should be, and those of Eq 4.8 the
inputs, so that D sees both sides of either equation at the same ages. The second term of Eq 4.13
begins with the generated I*, as real faces of the target ages are what the first begins with when
their turn comes.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...backend import device as devices
from ...backend.distributed import Group
from ...backend.weights import fill, save_weights
from ..ages import COUNT, age_code
from ..cards import Card
from ..data.faces import Faces
from ..face_boxes import face_box, joined
from ..face_judges import AgeClassifier, IdentityFeatures
from ..layers import BatchNorm, follow, shifted
from ..ldcgan import Discriminator, Generator, LdcGanConfig
from ..ldcgan_losses import (
    age_loss,
    critic_generator_loss,
    critic_loss,
    cycle_loss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    identity_loss,
    mask_roughness,
    mask_size,
    outside_loss,
    paired_loss,
    total,
)
from ..ldcgan_parts import LandmarkPredictor
from ..pretrained import Description, read_description, read_weights, weight_files, write_folder
from ..prototypes import Prototypes
from ..registry import CONFIG
from .face_batches import FaceBatches, digest, early, noisy, share, two_groups
from .ldcgan_figures import Figures
from .ldcgan_settings import Batch, Passes, Settings
from .loop import Report, descend, fit

__all__ = ["LdcGanTrainer", "Settings", "train_ldcgan"]

ADAM = (0.5, 0.999)
PENALTY_EVERY = 16
"""Steps between penalties on D's gradient at real faces."""
COLOUR = 0.1
"""Share of the paired loss that asks the colours alone, before they are blended in."""
PROTOTYPE_FACES = 200
"""Of each age group, for its prototype, at most."""
DISCRIMINATOR = "ldcgan-discriminator"


class LdcGanTrainer:
    """Networks, optimisers and the step; a `loop.Trainer`.

    Args:
        config: of the networks.
        settings: see `Settings`.
        data: faces with landmarks; those held out are never trained on, those without landmarks are
            left out.
        classifier: D_A, trained; frozen here.
        identity: Phi, trained; frozen here.
        predictor: G_L, trained; frozen here.
        device: where.
        group: the processes that train together.

    Raises:
        ValueError: a classifier or predictor of other sizes than the configuration, no faces to
            train on, of another size, without landmarks or of one age group only, a weight for
            pairs where there are none, or a batch that the processes cannot share.
    """

    def __init__(
        self,
        config: LdcGanConfig,
        settings: Settings,
        data: Faces,
        classifier: AgeClassifier,
        identity: IdentityFeatures,
        predictor: LandmarkPredictor,
        device: torch.device,
        group: Group | None = None,
    ) -> None:
        if classifier.width != config.judge:
            raise ValueError(
                f"the age classifier has width {classifier.width}, the configuration "
                f"{config.judge}; set judge to {classifier.width}"
            )
        ours, theirs = (
            (config.size, config.latent),
            (predictor.config.size, predictor.config.latent),
        )
        if ours != theirs:
            raise ValueError(f"the landmark predictor has size and latent {theirs}, not {ours}")
        self.config, self.settings, self.device = config, settings, device
        self.group = group or Group()
        self.own = share(settings.batch, self.group)
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        devices.autocast(device, self.dtype)  # raises where the device cannot
        frozen = nn.ModuleDict(
            {"classifier": classifier, "identity": identity, "landmarks": predictor}
        )
        self.facts = {name: digest(network) for name, network in frozen.items()}
        classifier, identity, predictor = copy.deepcopy((classifier, identity, predictor))
        self.classifier, self.identity, self.predictor = classifier, identity, predictor
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            generator = Generator(config)
            discriminator = Discriminator(config, settings.norm)
        self.generator = generator.to(device)
        self.discriminator = discriminator.to(device)
        self.average = copy.deepcopy(self.generator)
        for network in (self.average, classifier, identity, predictor):
            network.to(device).eval().requires_grad_(False)
        every = nn.ModuleList([self.generator, self.discriminator, self.average])
        every.extend([classifier, identity, predictor])
        nn.utils.convert_conv2d_weight_memory_format(every, torch.channels_last)
        self.networks = nn.ModuleDict(
            {
                "generator": self.generator,
                "discriminator": self.discriminator,
                "average": self.average,
            }
        )
        fused = device.type == "cuda"
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(
                self.networks[name].parameters(), settings.rate, ADAM, fused=fused
            )
            for name in ("generator", "discriminator")
        }
        self.figures = Figures(self.average, classifier, identity, predictor, self.dtype)
        self.pictures = FaceBatches(data.part(False), config.size, device, landmarks=True)
        two_groups(self.pictures)
        if settings.weights.paired and not (self.pictures.paired or settings.prototypes):
            raise ValueError(
                f"{data.name}: nobody in it is seen at two ages; set the weight of paired to 0, "
                "or prototypes on"
            )
        self.prototypes = None
        if settings.weights.paired and settings.prototypes:
            self.prototypes = prototypes_of(self.pictures, settings.seed)
        self.held = None
        if (data.held_out & data.has_landmarks).any():
            self.held = FaceBatches(data.part(True), config.size, device, landmarks=True)

    # --- one step --------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """The faces of a step; a process takes its share of the batch of all."""
        settings, pictures, own = self.settings, self.pictures, self.own
        count, place = settings.batch, self.device
        generator = devices.generator(devices.spawn(settings.seed, step))
        index = pictures.draw(count, generator, settings.balanced)
        targets = pictures.draw_groups(count, generator)
        real = pictures.of_groups(targets, generator)
        mirror = torch.rand(2, count, generator=generator) < 0.5
        reach = int(settings.shift * self.config.size)
        offsets = torch.randint(-reach, reach + 1, (3, 2, count, 2), generator=generator)
        mix = torch.rand(2, count, generator=generator)
        noise = torch.rand(2, count, 2, generator=generator, dtype=torch.float64)
        index, targets, mirror = index[own], targets[own], mirror[:, own]
        other, known = pictures.same_person(index, targets)
        images = pictures.images(index, mirror[0])
        paired = bool(settings.weights.paired)
        return Batch(
            images,
            pictures.landmarks(index, mirror[0]),
            pictures.groups[index.to(place)],
            targets.to(place),
            pictures.images(real[own], mirror[1]),
            pictures.images(other, mirror[0]) if paired else images,
            known.to(place),
            offsets[:, :, own].to(place),
            mix[:, own].flatten().to(place),
            noise[:, own],
        )

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One update of D, one of G, and the moving average; see `loop.Trainer`."""
        self.generator.train()
        self.discriminator.train()
        batch, weights = self.batch(step), self.settings.weights
        passes = self.passes(batch)
        losses: dict[str, Tensor] = {}
        if weights.judged:
            losses["discriminator"] = self._update_discriminator(batch, passes, step)
        terms = self.terms(batch, passes)
        descend(self.optimisers["generator"], total(terms, weights), self.group)
        follow(self.average, self.generator, early(self.settings.decay, step))
        return {**losses, **{name: term.detach() for name, term in terms.items()}}

    def passes(self, batch: Batch) -> Passes:
        """Eq 4.5: there, and back where a term of the loss needs it."""
        there, home = age_code(batch.targets), age_code(batch.sources)
        with devices.autocast(self.device, self.dtype):
            with torch.no_grad():
                moved = self.predictor(batch.images, batch.landmarks, there)
            own = batch.landmarks
            aged = self.generator(batch.images, there, moved, own)
            back = twice = None
            # Batch norm remembers real faces only, which are all that it meets in use.
            with _still(self.generator):
                if self.settings.weights.dual:
                    back = self.generator(aged.image, home, own, moved)
                if back is not None and self.settings.weights.cycle and self.settings.second_cycle:
                    twice = self.generator(back.image, there, moved, own)
        return Passes(aged, back, twice, moved)

    def terms(self, batch: Batch, passes: Passes) -> dict[str, Tensor]:
        """The terms of Eq 4.14 whose weight is not 0, by the names of `Weights`."""
        weights, aged, back = self.settings.weights, passes.aged, passes.back
        terms: dict[str, Tensor] = {}
        if weights.judged:
            score = generator_loss
            if self.settings.adversarial == "wgan-gp":
                score = critic_generator_loss
            sides = self._sides(batch, passes)
            fakes = torch.cat([self._seen(s.fake, batch.offsets[2, s.row]) for s in sides])
            for side, heads in zip(sides, self._heads(fakes, sides), strict=True):
                terms[side.name] = score(*heads)
        if weights.age or weights.reverse_age:
            terms |= self._ages(batch, passes)
        if weights.identity:
            with torch.no_grad(), devices.autocast(self.device, self.dtype):
                wanted = self.identity(batch.images)
            with devices.autocast(self.device, self.dtype):
                terms["identity"] = identity_loss(wanted, self.identity(aged.image))
        if weights.cycle:
            assert back is not None
            twice = passes.twice
            second = () if twice is None else (twice.image, aged.image)
            terms["cycle"] = cycle_loss(back.image, batch.images, *second)
        masks = torch.cat([output.change_mask for output in passes.outputs])
        if weights.mask:
            terms["mask"] = mask_size(masks)
        if weights.smooth:
            terms["smooth"] = mask_roughness(masks)
        if weights.paired:
            terms["paired"] = self._paired(batch, passes)
        if weights.outside:
            boxes = joined(face_box(batch.landmarks), face_box(passes.landmarks))
            terms["outside"] = outside_loss(passes.aged.image, batch.images, boxes)
        return terms

    def _ages(self, batch: Batch, passes: Passes) -> dict[str, Tensor]:
        """Eq 4.10 and 4.11: what D_A says of both passes."""
        weights, terms = self.settings.weights, {}
        with devices.autocast(self.device, self.dtype):
            if weights.age:
                seen = self._blurred(passes.aged.image, batch.noise[0])
                terms["age"] = age_loss(self.classifier(seen), batch.targets)
            if weights.reverse_age and passes.back is not None:
                seen = self._blurred(passes.back.image, batch.noise[1])
                terms["reverse_age"] = age_loss(self.classifier(seen), batch.sources)
        return terms

    def _paired(self, batch: Batch, passes: Passes) -> Tensor:
        """Distance to the same people at the target age, or to what prototypes make of them."""
        truth, known = batch.truth, batch.known
        if self.prototypes is not None:
            with torch.no_grad():
                made = self.prototypes.aged(
                    batch.images, batch.landmarks, batch.sources, batch.targets, passes.landmarks
                )
            truth = torch.where(known[:, None, None, None], truth, made)
            known = torch.ones_like(known)
        # A closed change mask gives colours no gradient, and poor colours keep it closed.
        edges = self.settings.edges
        colour = paired_loss(passes.aged.colour, truth, known, edges)
        return paired_loss(passes.aged.image, truth, known, edges) + COLOUR * colour

    def _blurred(self, images: Tensor, noise: Tensor) -> Tensor:
        """What D_A sees of generated faces: no finer than `coarse`, and under noise."""
        squares = self.settings.coarse
        if squares > 1:
            means = functional.avg_pool2d(images, squares)
            images = functional.interpolate(means, size=images.shape[2:], mode="bilinear")
        return noisy(images, noise, self.settings.noise)

    # --- discriminator ---------------------------------------------------------------------------

    def _sides(self, batch: Batch, passes: Passes) -> list["_Side"]:
        """Eq 4.6 and 4.8, as far as they have a weight."""
        sides = []
        if self.settings.weights.adversarial:
            code = age_code(batch.targets)
            sides.append(_Side("adversarial", 0, batch.real, passes.aged.image, code))
        if self.settings.weights.reverse and passes.back is not None:
            code = age_code(batch.sources)
            sides.append(_Side("reverse", 1, batch.images, passes.back.image, code))
        return sides

    def _update_discriminator(self, batch: Batch, passes: Passes, step: int) -> Tensor:
        """Eq 4.15."""
        settings, sides = self.settings, self._sides(batch, passes)
        reals = torch.cat([self._seen(s.real, batch.offsets[0, s.row]) for s in sides])
        fakes = torch.cat([self._seen(s.fake.detach(), batch.offsets[1, s.row]) for s in sides])
        gan = settings.adversarial == "bce"
        score = discriminator_loss if gan else critic_loss
        pairs = zip(self._heads(reals, sides), self._heads(fakes, sides), strict=True)
        loss = torch.stack([score(r[0], f[0], r[1], f[1]) for r, f in pairs]).sum()
        found = loss.detach()
        if gan and settings.penalty and step % PENALTY_EVERY == 0:
            slopes = self._slopes(reals, sides)
            penalty = slopes.square().sum((1, 2, 3)).mean()
            loss = loss + penalty * PENALTY_EVERY * settings.penalty / 2
        if not gan:
            where = batch.mix[: len(reals), None, None, None]
            slopes = self._slopes(reals.lerp(fakes, where), sides)
            loss = loss + settings.penalty * gradient_penalty(slopes)
        descend(self.optimisers["discriminator"], loss, self.group)
        return found

    def _slopes(self, images: Tensor, sides: list["_Side"]) -> Tensor:
        """Gradients of D's scores at images; in full precision, differentiated twice."""
        seen = images.detach().requires_grad_(True)
        heads = self._heads(seen, sides, torch.float32)
        found = [x.mean(1).sum() for pair in heads for x in pair if x is not None]
        (slopes,) = torch.autograd.grad(torch.stack(found).sum(), seen, create_graph=True)
        return slopes

    def _heads(
        self, images: Tensor, sides: list["_Side"], dtype: torch.dtype | None = None
    ) -> list[tuple[Tensor | None, Tensor | None]]:
        """Logits of the unconditional and the conditional head, by side."""
        use, code = self.settings, torch.cat([side.code for side in sides])
        count, dtype = len(sides), dtype or self.dtype
        with devices.autocast(self.device, dtype):
            features = self.discriminator(images)
            real = self.discriminator.realness(features) if use.unconditional else None
            match = self.discriminator.match(features, code) if use.conditional else None
        reals = [None] * count if real is None else list(real.chunk(count))
        matches = [None] * count if match is None else list(match.chunk(count))
        return list(zip(reals, matches, strict=True))

    def _seen(self, images: Tensor, offsets: Tensor) -> Tensor:
        return shifted(images, offsets) if self.settings.shift else images

    # --- held out --------------------------------------------------------------------------------

    def measure(self) -> dict[str, float]:
        """Held-out figures, see `ldcgan_figures.Figures.measure`."""
        return self.figures.measure(self.held, self.settings.seed) if self.held else {}

    def sample(self) -> NDArray[np.uint8]:
        """Six faces, held out where there are such, at ten ages."""
        return self.figures.sample(self.held or self.pictures)

    # --- files -----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the networks of `ldcgan.build` in half precision, with the configuration."""
        networks = nn.ModuleDict(
            {
                "generator": self.average,
                "landmarks": self.predictor,
                "classifier": self.classifier,
            }
        )
        save_weights(networks, path, {"config": json.dumps(self.config.to_json())}, half=True)

    def save_discriminator(self, folder: Path) -> None:
        """Write the discriminator in half precision, for a later run to begin with."""
        described = Description(DISCRIMINATOR, self.config.to_json(), Card())
        page = "# Discriminator of an LDcGAN\n\nFor `neuralpaint train ldcgan --discriminator`.\n"
        write_folder(folder, described, self.discriminator, page)

    def begin_with(self, generator: Generator, discriminator: Path | None = None) -> None:
        """Take trained weights in place of random ones.

        Args:
            generator: of the same configuration.
            discriminator: folder that `save_discriminator` wrote; None keeps the random one.

        Raises:
            FileNotFoundError: the discriminator's weights are absent.
            ValueError: weights of other networks (names the first that differs), or no folder that
                `save_discriminator` wrote.
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
        shared = asdict(replace(self.settings, steps=1))
        data = self.pictures.checksum
        return {**shared, "config": self.config.to_json(), "data": data, "frozen": self.facts}


def prototypes_of(pictures: FaceBatches, seed: int) -> Prototypes:
    """Prototypes of up to `PROTOTYPE_FACES` faces of each age group.

    Args:
        pictures: faces to train on, with landmarks.
        seed: of the choice.

    Returns:
        The prototypes, on the device of the faces.

    Raises:
        ValueError: a group has no face.
    """
    order = torch.randperm(len(pictures), generator=devices.generator(seed)).to(pictures.device)
    groups = pictures.groups[order]
    rows = torch.cat([order[groups == group][:PROTOTYPE_FACES] for group in range(COUNT)])
    return Prototypes(pictures.stored[rows], pictures.points[rows], pictures.groups[rows])


class _Side(NamedTuple):
    """One of Eq 4.6 and 4.8: its term of L_G, its row of the shifts, faces, and their age code."""

    name: str
    row: int
    real: Tensor
    fake: Tensor
    code: Tensor


@contextmanager
def _still(network: nn.Module) -> Iterator[None]:
    """Context in which batch norm does not change its running statistics."""
    layers = [layer for layer in network.modules() if isinstance(layer, BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def train_ldcgan(
    data: Faces,
    classifier: AgeClassifier,
    identity: IdentityFeatures,
    predictor: LandmarkPredictor,
    config: LdcGanConfig,
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
    """Train an LDcGAN, or go on with it.

    Args:
        data: faces with landmarks.
        classifier: D_A, see `train.ages`.
        identity: Phi, see `train.ages`.
        predictor: G_L, see `train.landmarks`.
        config: of the networks.
        out: folder of the run, see `loop.fit`. best.safetensors, of the least Fréchet joint
            distance on held-out faces, and last.safetensors are what `ldcgan.load_ldcgan` reads;
            "discriminator" is what another run may begin with.
        settings: see `Settings`.
        device: see `backend.device.resolve`.
        group: the processes that train together; the caller has started them.
        weights: a generator to begin with; None begins with random weights.
        discriminator: to begin with, see `LdcGanTrainer.begin_with`.
        save_every: steps between checkpoints.
        measure_every: steps between held-out figures.
        until: see `loop.fit`.
        report: called as the training goes on.

    Returns:
        What `loop.fit` returns.

    Raises:
        ValueError: see `LdcGanTrainer`, or the folder holds a run of other settings.
        FloatingPointError: a loss is not finite.
        OSError: the folder cannot be written to.
    """
    if discriminator is not None and weights is None:
        raise ValueError("a discriminator to begin with needs its generator: give the weights too")
    place = devices.resolve(device)
    trainer = LdcGanTrainer(config, settings, data, classifier, identity, predictor, place, group)
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
        trainer.save_discriminator(out / "discriminator")
    return result
