"""Held-out figures and sample sheets of a training of LDcGAN."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ...backend import device as devices
from ...backend.sheet import sheet
from ..ages import COUNT, GROUPS, age_code
from ..face_judges import AgeClassifier, IdentityFeatures
from ..ldcgan import Generator, LdcGanOutput
from ..ldcgan_parts import LandmarkPredictor
from ..metrics.distributions import frechet_distance, moments
from .face_batches import FaceBatches, arrays

EVAL_BATCH = 32
MEASURED = 512
"""Held-out faces that are aged for the figures, at most."""
SHOWN = 6


class _Judged(NamedTuple):
    """Pooled features and answers of D_A, pooled features of Phi; a row for each face."""

    features: Tensor
    groups: Tensor
    identity: Tensor


class Figures:
    """What a generator does to faces that it has not seen.

    Args:
        generator: the moving average; it goes on changing.
        classifier: D_A.
        identity: Phi.
        predictor: G_L.
        dtype: of the convolutions.
    """

    def __init__(
        self,
        generator: Generator,
        classifier: AgeClassifier,
        identity: IdentityFeatures,
        predictor: LandmarkPredictor,
        dtype: torch.dtype,
    ) -> None:
        self.generator, self.predictor = generator, predictor
        self.classifier, self.identity, self.dtype = classifier, identity, dtype

    @torch.no_grad()
    def generate(self, pictures: FaceBatches, index: Tensor, groups: Tensor) -> LdcGanOutput:
        """Aged faces.

        Args:
            pictures: they come from.
            index: (n,) int64 which.
            groups: (n,) int64, target age groups.

        Returns:
            n of each, on the device of the pictures.
        """
        made = []
        pairs = zip(index.split(EVAL_BATCH), groups.split(EVAL_BATCH), strict=True)
        for part, wanted in pairs:
            images, own = pictures.images(part), pictures.landmarks(part)
            code = age_code(wanted.to(pictures.device))
            with devices.autocast(pictures.device, self.dtype):
                moved = self.predictor(images, own, code)
                made.append(self.generator(images, code, moved, own))
        return LdcGanOutput(*(torch.cat(parts) for parts in zip(*made, strict=True)))

    @torch.no_grad()
    def measure(self, held: FaceBatches, seed: int) -> dict[str, float]:
        """Figures by D_A and Phi, which the training itself uses, so no evaluation.

        The target groups are the faces' own ones, dealt out anew: generated faces should have the
        distribution of real ones, together with their ages.

        Args:
            held: faces that are held out; of one alone nothing is measured.
            seed: of the choice of up to 512 faces and of the deal.

        Returns:
            "frechet": Fréchet joint distance (DeVries et al. 2019) of generated from real faces, in
            D_A's features beside the age code; "copy_frechet": that of the inputs under the target
            ages; "accuracy": how often D_A sees the age asked for, and "copy_accuracy" in the
            input; "identity": mean cosine of Phi's pooled features with the input's, and
            "stranger": with another input's; "change": mean of the change mask.
        """
        if len(held) < 2:
            return {}
        count = min(len(held), MEASURED)
        draws = devices.generator(seed)
        index = torch.randperm(len(held), generator=draws)[:count]
        own = held.groups[index.to(held.device)]
        targets = own[torch.randperm(count, generator=draws).to(held.device)]
        made = self.generate(held, index, targets)
        seen, source = self._judged(made.image), self._judged(held.images(index))
        real = _joint(source.features, own, source.features)
        others = source.identity.roll(1, 0)
        return {
            "frechet": _apart(real, _joint(seen.features, targets, source.features)),
            "copy_frechet": _apart(real, _joint(source.features, targets, source.features)),
            "accuracy": (seen.groups == targets).double().mean().item(),
            "copy_accuracy": (source.groups == targets).double().mean().item(),
            "identity": cosine_similarity(seen.identity, source.identity).mean().item(),
            "stranger": cosine_similarity(seen.identity, others).mean().item(),
            "change": made.change_mask.mean().item(),
        }

    def _judged(self, images: Tensor) -> _Judged:
        parts = []
        for part in images.split(EVAL_BATCH):
            with devices.autocast(images.device, self.dtype):
                features = self.classifier.pooled(part)
                logits = self.classifier.head(features)
                parts.append((features, logits.argmax(1), self.identity.pooled(part)))
        return _Judged(*(torch.cat(found) for found in zip(*parts, strict=True)))

    @torch.no_grad()
    def sample(self, source: FaceBatches) -> NDArray[np.uint8]:
        """Six faces at ten ages (Fig 4.6).

        Args:
            source: they come from.

        Returns:
            The page, (H, W, 3).
        """
        index = torch.arange(min(SHOWN, len(source))) * max(1, len(source) // SHOWN)
        columns = [list(arrays(source.images(index)))]
        for group in range(COUNT):
            made = self.generate(source, index, torch.full((len(index),), group))
            columns.append(list(arrays(made.image)))
        return sheet(columns, ["input", *GROUPS], 128)


def _joint(features: Tensor, groups: Tensor, real: Tensor) -> Tensor:
    """Features beside the age code, which is brought to the length of real ones."""
    return torch.cat([features, age_code(groups) * real.norm(dim=1).mean()], 1)


def _apart(real: Tensor, made: Tensor) -> float:
    return frechet_distance(moments(real), moments(made))
