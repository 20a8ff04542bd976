"""Training of DAMSM (Sec 3.3; Xu et al. 2018): images and captions that belong together match.

It comes before HfGAN, which takes over its text encoder and its losses.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...backend import device as devices
from ...backend.distributed import Group
from ...backend.sheet import sheet
from ..damsm import IMAGE_ENCODERS, Damsm, DamsmConfig, save_damsm
from ..data.captioned import Captioned
from ..inception import InceptionEncoder, InceptionV3, load_inception
from ..matching import DamsmLoss, damsm_loss, word_attention
from ..metrics.retrieval import CANDIDATES, r_precision
from ..text import Vocabulary
from .batches import Pictures
from .loop import Report, facts_of, fit

ADAM = (0.5, 0.999)
LEAST_RATE = 0.1
"""The learning rate falls to this share of the first one."""
MEASURED = 1000
"""Held-out pictures that are measured, at most."""
EVAL_BATCH = 64
SHOWN, WORDS_SHOWN = 6, 4
SHIPPED = "damsm.safetensors"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        steps: of the optimiser.
        batch: pictures per step, over all processes; each is told from all the others.
        rate: learning rate of Adam in the first epoch.
        decay: factor on the rate after each epoch, until a tenth is left.
        clip: largest norm of the text encoder's gradient.
        dropout: of the words' embeddings.
        size: S, side of the pictures.
        dim: D of the common space.
        embedding: dimensions of a word before the LSTMs.
        image: "small", trained along, or "inception", whose standard weights are needed.
        width: of the small image encoder.
        least: leave words out that the captions have less often.
        seed: of everything.
        precision: "bf16" or "fp32", of the image encoder's convolutions.
    """

    steps: int = 20_000
    batch: int = 48
    rate: float = 0.002
    decay: float = 0.98
    clip: float = 0.25
    dropout: float = 0.5
    size: int = 64
    dim: int = 256
    embedding: int = 300
    image: str = "small"
    width: int = 32
    least: int = 1
    seed: int = 0
    precision: str = "bf16"

    def __post_init__(self) -> None:
        for name, bottom in (("steps", 1), ("batch", 2), ("size", 32), ("least", 1)):
            if getattr(self, name) < bottom:
                raise ValueError(f"{name} must be at least {bottom}, got {getattr(self, name)}")
        for name in ("rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must lie in (0, 1], got {self.decay}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.image not in IMAGE_ENCODERS:
            raise ValueError(f"image must be {' or '.join(IMAGE_ENCODERS)}, got {self.image!r}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r}")


class Batch(NamedTuple):
    """The pictures and captions of a step: n pictures of this process, B of all of them.

    Attributes:
        images: (n, 3, S, S) in [-1, 1], this process's rows of the batch.
        ids: (B, L) words of the captions.
        mask: (B, L) bool.
        labels: (B,) int64, classes.
    """

    images: Tensor
    ids: Tensor
    mask: Tensor
    labels: Tensor


class DamsmTrainer:
    """Both encoders, their optimiser and a step; a `loop.Trainer`.

    Several processes share the pictures of a batch. Every one encodes all captions, which costs
    little and gives all the same dropout, and gathers the pictures' features: so they train as one
    process with the whole batch does.

    Args:
        settings: see `Settings`.
        data: pictures with captions; those held out are never trained on.
        device: where.
        group: the processes that train together.
        inception: the standard network, where `settings.image` is "inception"; it is not changed.

    Raises:
        ValueError: no pictures to train on or too small ones, a batch that the processes cannot
            share or larger than the set, a device without that precision, or no Inception-v3 where
            one is needed.
    """

    def __init__(
        self,
        settings: Settings,
        data: Captioned,
        device: torch.device,
        group: Group | None = None,
        inception: InceptionV3 | None = None,
    ) -> None:
        self.settings, self.device = settings, device
        self.group = group or Group()
        if settings.batch % self.group.size:
            raise ValueError(
                f"a batch of {settings.batch} cannot be shared by {self.group.size} processes"
            )
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        devices.autocast(device, self.dtype)  # raises where the device cannot
        train = data.part(False)
        if len(train) < settings.batch:
            raise ValueError(
                f"{data.name}: {len(train)} pictures to train on are fewer than a batch of "
                f"{settings.batch}; lower the batch"
            )
        captions = [caption for group_of in train.captions for caption in group_of]
        words = Vocabulary.build(captions, settings.least).words
        config = DamsmConfig(
            words, settings.dim, settings.embedding, settings.image, settings.width
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            damsm = Damsm(config, settings.dropout)
        if isinstance(damsm.image, InceptionEncoder):
            if inception is None:
                raise ValueError('image "inception" needs the standard weights; use "small"')
            damsm.image.trunk.load_state_dict(inception.state_dict())
        self.damsm = damsm.to(device)
        nn.utils.convert_conv2d_weight_memory_format(self.damsm.image, torch.channels_last)
        self.networks = nn.ModuleDict({"damsm": self.damsm})
        self.parameters = [p for p in self.damsm.parameters() if p.requires_grad]
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "damsm": torch.optim.Adam(
                self.parameters, settings.rate, ADAM, fused=device.type == "cuda"
            )
        }
        self.pictures = Pictures(train, settings.size, words, device)
        self.held = None
        if data.held_out.any():
            self.held = Pictures(data.part(True), settings.size, words, device)

    # --- one step --------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """What a step sees; hangs on the seed and the step alone. No picture is there twice."""
        settings, pictures = self.settings, self.pictures
        generator = devices.generator(devices.spawn(settings.seed, step))
        index = torch.randperm(len(pictures), generator=generator)[: settings.batch]
        crops = torch.rand(settings.batch, 3, generator=generator)
        draws = torch.rand(settings.batch, 1 + pictures.longest, generator=generator)
        share = settings.batch // self.group.size
        own = slice(self.group.rank * share, (self.group.rank + 1) * share)
        ids, mask = pictures.text(index, draws[:, 0], draws[:, 1:])
        labels = pictures.labels[index.to(self.device)]
        return Batch(pictures.images(index[own], crops[own]), ids, mask, labels)

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        epoch = step * self.settings.batch // len(self.pictures)
        return self.settings.rate * max(LEAST_RATE, self.settings.decay**epoch)

    def loss(self, batch: Batch, step: int) -> DamsmLoss:
        """The losses of the batch of all processes, the same in each; dropout hangs on the step."""
        with devices.autocast(self.device, self.dtype):
            regions, whole = self.damsm.image(batch.images)
        used = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=used):
            torch.manual_seed(devices.spawn(self.settings.seed, step))
            words, sentence = self.damsm.text(batch.ids, batch.mask)
        regions, whole = self.group.gather(regions.float()), self.group.gather(whole.float())
        return damsm_loss(regions, whole, words, sentence, batch.mask, batch.labels)

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One update; see `loop.Trainer`."""
        self.damsm.train()
        optimiser = self.optimisers["damsm"]
        for group in optimiser.param_groups:
            group["lr"] = self.rate(step)
        loss = self.loss(self.batch(step), step)
        optimiser.zero_grad()
        (loss.words + loss.sentence).backward()
        self.group.average([p.grad for p in self.parameters if p.grad is not None])
        nn.utils.clip_grad_norm_(self.damsm.text.parameters(), self.settings.clip)
        optimiser.step()
        return {"words": loss.words.detach(), "sentence": loss.sentence.detach()}

    # --- held out --------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Held-out figures, of up to 1000 pictures with their first captions, from their middle.

        Returns:
            "words" and "sentence", the losses over batches of the training's size; "loss", their
            sum; "top1", share of pictures that find their own sentence among up to 99 of other
            classes; "chance", what guessing would get. Empty where fewer than two pictures are held
            out.
        """
        held = self.held
        if held is None or len(held) < 2:
            return {}
        order = torch.randperm(len(held), generator=devices.generator(self.settings.seed))
        index = order[:MEASURED]
        places, whole, words, sentence, mask = self._features(held, index)
        labels = held.labels[index.to(self.device)]
        batch = min(self.settings.batch, len(index))
        losses = []
        for k in torch.arange(len(index), device=self.device).split(batch):
            if len(k) == batch:
                parts = places[k], whole[k], words[k], sentence[k], mask[k], labels[k]
                losses.append(torch.stack(damsm_loss(*parts)))
        by_words, by_sentence = torch.stack(losses).mean(0).tolist()
        figures = {"words": by_words, "sentence": by_sentence, "loss": by_words + by_sentence}
        texts = [held.captions[i][0] for i in index.tolist()]
        figures |= retrieved(whole, sentence, texts, labels, self.settings.seed)
        return figures

    def _features(
        self, pictures: Pictures, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Regions, whole, words, sentence and mask of pictures and their first captions."""
        self.damsm.eval()
        parts = []
        for part in index.split(EVAL_BATCH):
            ids, mask = pictures.text(part, torch.zeros(len(part)))
            words, sentence = self.damsm.text(ids, mask)
            with devices.autocast(self.device, self.dtype):
                regions, whole = self.damsm.image(pictures.images(part, centred(len(part))))
            parts.append((regions, whole, words, sentence, mask))
        regions, whole, words, sentence, mask = map(torch.cat, zip(*parts, strict=True))
        return regions, whole, words, sentence, mask

    @torch.no_grad()
    def sample(self) -> NDArray[np.uint8]:
        """Where the words look: pictures, under each its four sharpest words, bright where they do.

        Held-out pictures where there are such.
        """
        source = self.held or self.pictures
        size = self.settings.size
        index = torch.arange(min(SHOWN, len(source))) * max(1, len(source) // SHOWN)
        images = source.images(index, centred(len(index)))
        ids, _ = source.text(index, torch.zeros(len(index)))
        regions, _, words, _, mask = self._features(source, index)
        attention = word_attention(regions, words, mask)
        light = functional.interpolate(attention, (size, size), mode="bilinear")
        light = light / light.amax((2, 3), keepdim=True).clamp(min=1e-9)
        sharpest = attention.flatten(2).amax(2).topk(WORDS_SHOWN).indices
        columns, titles = [], []
        for row, places in enumerate(sharpest.tolist()):
            picture = images[row] / 2 + 0.5
            shown = [picture, *(picture * (0.2 + 0.8 * light[row, place]) for place in places)]
            columns.append([each.permute(1, 2, 0).float().cpu().numpy() for each in shown])
            numbers = ids[row].tolist()
            known = self.damsm.vocabulary.words
            titles.append(", ".join(known[numbers[i] - 1] for i in places if numbers[i]))
        return sheet(columns, titles)

    def save(self, path: Path) -> None:
        """Write both encoders in half precision, with their configuration."""
        save_damsm(self.damsm, path, half=True)

    def settings_facts(self) -> dict[str, object]:
        """What a resumed run must share."""
        return facts_of(self.settings, data=self.pictures.checksum)


def retrieved(
    images: Tensor, sentences: Tensor, texts: Sequence[str], labels: Tensor, seed: int
) -> dict[str, float]:
    """How often images find their own sentence.

    Args:
        images: (N, D) vectors of the images.
        sentences: (N, D) vectors of their sentences.
        texts: the sentences.
        labels: (N,) int64, classes.
        seed: of the draw of other sentences.

    Returns:
        "top1", share of images that find their own sentence among up to 99 of other classes, and
        "chance", what guessing would get. Empty where there is no sentence of another class.
    """
    number = {text: i for i, text in enumerate(texts)}
    reading = torch.tensor([number[text] for text in texts], device=labels.device)
    alike = (labels[:, None] == labels) | (reading[:, None] == reading)
    candidates = min(CANDIDATES, 1 + int((~alike).sum(1).min()))
    if candidates < 2:
        return {}
    hits = r_precision(images, sentences, texts, labels, seed, candidates)
    return {"top1": hits.double().mean().item(), "chance": 1 / candidates}


def centred(count: int) -> Tensor:
    """Crops from the middle, not mirrored, for `Pictures.images`."""
    return torch.full((count, 3), 0.5)


def train_damsm(
    data: Captioned,
    out: Path,
    settings: Settings,
    *,
    device: str | torch.device = "auto",
    group: Group | None = None,
    inception: str | Path | None = None,
    save_every: int = 1000,
    measure_every: int = 1000,
    until: Callable[[], bool] = lambda: False,
    report: Report = lambda progress: None,
) -> dict[str, Any]:
    """Train a DAMSM, or go on with it, and write `damsm.safetensors`.

    Args:
        data: pictures with captions.
        out: folder of the run, see `loop.fit`.
        settings: see `Settings`.
        device: see `backend.device.resolve`.
        group: the processes that train together; the caller has started them.
        inception: file of the weights of Inception-v3; None takes those of the Hub. Read where
            `settings.image` is "inception" only.
        save_every: steps between checkpoints.
        measure_every: steps between held-out figures.
        until: see `loop.fit`.
        report: called as the training goes on.

    Returns:
        What `loop.fit` returns. The file holds the weights of the smallest held-out loss, the last
        ones where nothing is held out.

    Raises:
        ValueError: see `DamsmTrainer`, or the folder holds a run of other settings.
        FileNotFoundError: the weights of Inception-v3 are not to be had.
        FloatingPointError: a loss is not finite.
        OSError: the folder cannot be written to.
    """
    place = devices.resolve(device)
    standard = None
    if settings.image == "inception":
        standard = load_inception(inception or "imagenet")
    trainer = DamsmTrainer(settings, data, place, group, standard)
    return fit(
        trainer,
        settings.steps,
        out,
        trainer.settings_facts(),
        group=trainer.group,
        best=("loss", -1),  # top1 ends at 1 on an easy set, long before the training should
        ship=SHIPPED,
        save_every=save_every,
        measure_every=measure_every,
        until=until,
        report=report,
    )
