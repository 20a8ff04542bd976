"""Judges of generated pictures: trained on real ones, kept in a folder, the same on every run.

A classifier says what a picture shows, an embedding how well it fits a sentence. Both are trained
at a small side, so that a CPU does it in minutes; every picture, real or generated, is brought to
that side in one way before it is judged.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...backend import device as devices
from ...backend import supervised
from ...backend.files import writable_folder
from ..data.captioned import Captioned
from ..layers import shifted
from ..text import Vocabulary
from .classifier import Classifier, classifier_loss, load_classifier, save_classifier
from .embedding import (
    WORDS,
    Embedding,
    load_embedding,
    ranking_loss,
    save_embedding,
)

CLASS = "class"
"""Name of the head whose predictions the Inception Score takes, see `class_of`."""
SHIFT = 4
"""Pixels that training moves pictures by, at most."""
CLASSIFIER, EMBEDDING = "classifier.safetensors", "embedding.safetensors"
BATCH_LOOK = 128

Report = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, of how much)."""


@dataclass(frozen=True)
class JudgeSettings:
    """What decides the judges; kept judges of other settings are not used.

    Attributes:
        size: pixels a side that pictures are judged at.
        width: channels of the networks at half the side.
        dim: of the embedding's common space.
        batch: pictures per step.
        classifier_steps: of the classifier's training.
        embedding_steps: of the embedding's training.
        rate: highest learning rate of Adam, lowered along a cosine.
        seed: of weights and batches.
    """

    size: int = 64
    width: int = 32
    dim: int = 128
    batch: int = 64
    classifier_steps: int = 800
    embedding_steps: int = 800
    rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "dim", "classifier_steps", "embedding_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch < 2:
            raise ValueError(f"batch must be at least 2, got {self.batch}")
        if not 16 <= self.size <= 512:
            raise ValueError(f"size must be 16 to 512, got {self.size}")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"rate must be positive and finite, got {self.rate}")


@dataclass(frozen=True)
class Judges:
    """Networks that judge, in evaluation mode on one device.

    Attributes:
        classifier: says what a picture shows; None where the set has neither attributes nor
            classes.
        embedding: says how well a picture fits a sentence.
        size: pixels a side that they look at.
        seconds: what training took just now, by name; empty where all were kept ones.
    """

    classifier: Classifier | None
    embedding: Embedding
    size: int
    seconds: dict[str, float]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return next(self.embedding.parameters()).device

    @torch.no_grad()
    def attributes(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """What pictures show.

        Args:
            images: (N, 3, S, S) uint8, of any side.

        Returns:
            Probabilities by attribute, (N, classes), and features (N, F), float32 on the CPU.

        Raises:
            ValueError: there is no classifier.
        """
        if self.classifier is None:
            raise ValueError("these judges have no classifier: their set has no classes")
        found = [self.classifier(batch) for batch in self._batches(images)]
        names = self.classifier.classes
        logits = {name: torch.cat([row[name] for row, _ in found]) for name in names}
        probabilities = {name: values.softmax(1).cpu() for name, values in logits.items()}
        return probabilities, torch.cat([features for _, features in found]).cpu()

    @torch.no_grad()
    def look(self, images: Tensor) -> Tensor:
        """Places of pictures (N, 3, S, S) uint8 in the common space, (N, D) on the CPU."""
        return torch.cat([self.embedding.look(batch) for batch in self._batches(images)]).cpu()

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> Tensor:
        """Places of N sentences in the common space, (N, D) on the CPU."""
        return self.embedding.encode(texts).cpu()

    def _batches(self, images: Tensor) -> Iterator[Tensor]:
        for part in images.split(BATCH_LOOK):
            yield resized(part, self.size, self.device)


def resized(images: Tensor, size: int, device: torch.device) -> Tensor:
    """Bring pictures to the side that a network looks at, all of them in one way.

    Smaller pictures are enlarged, larger ones low-pass filtered: FID depends on it (Parmar et al.
    2022).

    Args:
        images: (N, 3, S, S) uint8.
        size: pixels a side.
        device: of the result.

    Returns:
        (N, 3, size, size) float32 in [-1, 1].
    """
    values = images.to(device).float()
    if values.shape[-2:] != (size, size):
        larger = max(values.shape[-2:]) > size
        values = functional.interpolate(values, (size, size), mode="bilinear", antialias=larger)
    return values / 127.5 - 1


def class_of(data: Captioned) -> Tensor:
    """The class of each picture that the Inception Score is computed over.

    Photographs: their species. Procedural pictures: bird or flower and the first colour that its
    caption names, 16 classes. The 128 classes of both colours would not do: one pair in eight is
    held out, and a generator that mistakes colours would leave those pairs and score above real
    pictures.

    Args:
        data: see `Captioned`.

    Returns:
        (N,) int64.
    """
    truth = data.attributes
    if {"kind", "breast", "petal"} <= truth.keys():
        colours = int(max(truth["breast"].max(), truth["petal"].max())) + 1
        return torch.where(truth["breast"] >= 0, truth["breast"], colours + truth["petal"])
    return data.labels


def judges(
    data: Callable[[], Captioned],
    key: dict[str, Any],
    folder: Path,
    settings: JudgeSettings | None = None,
    *,
    classes: dict[str, int],
    device: torch.device | str = "cpu",
    report: Report = lambda stage, done, total: None,
) -> Judges:
    """Take the judges kept in a folder, or train them; training that was stopped goes on.

    Args:
        data: gives the real pictures to train on; called only where something is to be trained.
        key: JSON values that tell these pictures from others.
        folder: each set of judges has a folder of its own in it.
        settings: see `JudgeSettings`.
        classes: number of values by attribute of `data`, and of `CLASS`; none makes no classifier.
        device: where to train and to judge.
        report: called after each step of a training.

    Returns:
        The judges. On the CPU, the same settings and pictures give the same ones, bit for bit.

    Raises:
        ValueError: pictures that do not fit, or a damaged file.
        OSError: the folder cannot be written.
    """
    settings = settings or JudgeSettings()
    place = devices.resolve(device)
    facts = {"settings": asdict(settings), "classes": classes, "data": key}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    own = writable_folder(folder / f"judges-{digest}")
    seconds: dict[str, float] = {}
    pictures: _Pictures | None = None
    for name, train in ((CLASSIFIER, _train_classifier), (EMBEDDING, _train_embedding)):
        if (own / name).exists() or (name == CLASSIFIER and not classes):
            continue
        pictures = pictures or _Pictures(data(), settings, classes, place)
        start = time.monotonic()
        with devices.one_thread(place):
            train(pictures, settings, own, report)
        seconds[name.removesuffix(".safetensors")] = time.monotonic() - start
    return Judges(
        load_classifier(own / CLASSIFIER).to(place) if classes else None,
        load_embedding(own / EMBEDDING).to(place),
        settings.size,
        seconds,
    )


# --- training ------------------------------------------------------------------------------------


class _Pictures:
    """Real pictures on a device, their truth and the words of their captions."""

    def __init__(
        self,
        data: Captioned,
        settings: JudgeSettings,
        classes: dict[str, int],
        device: torch.device,
    ) -> None:
        values = {CLASS: class_of(data), **data.attributes}
        for name, count in classes.items():
            if name not in values or int(values[name].max()) >= count:
                raise ValueError(f"{data.name}: attribute {name} is absent or not below {count}")
        self.device, self.settings, self.classes = device, settings, classes
        self.checksum = data.checksum
        small = [
            ((resized(part, settings.size, device) + 1) * 127.5).round().to(torch.uint8)
            for part in data.images.split(BATCH_LOOK)
        ]
        self.images = torch.cat(small)
        self.truth = {name: values[name].to(device) for name in classes}
        # A mirrored bird faces the other way, so only photographs are mirrored.
        self.mirrors = not data.attributes
        texts = [caption for group in data.captions for caption in group]
        self.vocabulary = Vocabulary.build(texts)
        ids, mask = self.vocabulary.encode(texts, WORDS)
        self.ids, self.mask = ids.to(device), mask.to(device)
        counts = torch.tensor([len(group) for group in data.captions])
        self.first, self.counts = counts.cumsum(0) - counts, counts

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, moved and brightened a little, their numbers and a caption of each.

        Drawn by the step alone: (B, 3, S, S) in [-1, 1], (B,) pictures, (B,) rows of captions.
        """
        settings = self.settings
        generator = devices.generator(devices.spawn(settings.seed, step))
        count = settings.batch
        # Without replacement where there are enough: a picture is not its own mismatch.
        total = len(self.images)
        if total >= count:
            index = torch.randperm(total, generator=generator)[:count]
        else:
            index = torch.randint(total, (count,), generator=generator)
        draws = torch.rand(count, 4, generator=generator)
        offsets = torch.randint(-SHIFT, SHIFT + 1, (count, 2), generator=generator)
        caption = self.first[index] + (draws[:, 0] * self.counts[index]).long()
        images = self.images[index.to(self.device)].float() / 127.5 - 1
        if self.mirrors:
            turned = (draws[:, 1] < 0.5).to(self.device)[:, None, None, None]
            images = torch.where(turned, images.flip(3), images)
        images = shifted(images, offsets.to(self.device))
        gain = (0.9 + 0.2 * draws[:, 2]).to(self.device)[:, None, None, None]
        lift = (0.1 * draws[:, 3] - 0.05).to(self.device)[:, None, None, None]
        images = (images * gain + lift).clamp(-1, 1)
        return (
            images.contiguous(memory_format=torch.channels_last),
            index.to(self.device),
            caption.to(self.device),
        )


def _train_classifier(
    pictures: _Pictures, settings: JudgeSettings, folder: Path, report: Report
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Classifier(pictures.classes, settings.width)

    def loss_at(step: int) -> Tensor:
        images, index, _ = pictures.batch(step)
        with devices.autocast(pictures.device, torch.bfloat16):
            logits, _ = network(images)
        truth = {name: values[index] for name, values in pictures.truth.items()}
        return classifier_loss({name: v.float() for name, v in logits.items()}, truth)

    steps = settings.classifier_steps
    _fit(network, loss_at, steps, pictures, folder / "classifier", "classifier", report)
    save_classifier(network, folder / CLASSIFIER)


def _train_embedding(
    pictures: _Pictures, settings: JudgeSettings, folder: Path, report: Report
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed + 1)
        network = Embedding(pictures.vocabulary.words, settings.dim, settings.width)

    def loss_at(step: int) -> Tensor:
        images, _, caption = pictures.batch(step)
        ids, mask = pictures.ids[caption], pictures.mask[caption]
        with devices.autocast(pictures.device, torch.bfloat16):
            looked, read = network.look(images), network.read(ids, mask)
        alike = (ids[:, None] == ids[None]).all(2)
        return ranking_loss(looked, read, same=alike)

    steps = settings.embedding_steps
    _fit(network, loss_at, steps, pictures, folder / "embedding", "embedding", report)
    save_embedding(network, folder / EMBEDDING)


def _fit(
    network: nn.Module,
    loss_at: Callable[[int], Tensor],
    steps: int,
    pictures: _Pictures,
    folder: Path,
    stage: str,
    report: Report,
) -> None:
    settings = pictures.settings
    network.to(pictures.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def rate_at(step: int) -> float:
        rise = (step + 1) / (0.05 * steps)
        return settings.rate * min(supervised.cosine(step, steps), rise)

    supervised.fit(
        network,
        loss_at,
        steps,
        rate_at,
        writable_folder(folder),
        {**asdict(settings), "pictures": pictures.checksum},
        report=lambda step, loss: report(stage, step, steps),
    )
