"""Losses of AVWnet, Eq 5.8-5.12; each is of one stage, and stages are added up.

Logits are those of `avwnet.Discriminator`, (N, patches) each. Readings: expectations are means over
frames and patches; L_pix is the mean error about the mouth and, with a smaller weight, that of the
rest, which is else only judged by D; L_R is a mean square with the lips weighted, of D's landmarks
on real frames when D is trained and on generated ones when G is; L_w is a mean over frames, so that
it does not grow with length.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from . import ldcgan_losses
from .avwnet_parts import MOVEMENT
from .ldcgan_losses import mask_size
from .ldcgan_parts import POINTS
from .talking.geometry import MOUTH

__all__ = [
    "Weights",
    "discriminator_loss",
    "generator_loss",
    "mask_roughness",
    "mask_size",
    "mouth_areas",
    "pixel_loss",
    "regression_loss",
    "total",
    "word_loss",
]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of the terms of Eq 5.9, 5.10 and 5.12, and of what was added; 0 leaves a term out.

    The thesis gives no values; 100 for pixels is that of Isola et al. 2017 for L1 beside a GAN.

    Attributes:
        adversarial: of the unconditional halves of Eq 5.8 and 5.10.
        match: of their conditional halves, frames with sound.
        regression: lambda, of L_R (Eq 5.9), in D and in G.
        pixel: beta, of L_pix (Eq 5.12).
        word: the weight of L_w (Eq 5.12).
        colour: of L_pix of the colours alone, before Eq 5.5 blends them: a closed mask gives them
            no slope.
        mask: of the mean square of the masks, which closes them where nothing is new (Pumarola et
            al. 2018, Eq 4).
        smooth: of the masks' squared differences between neighbours (the same).
    """

    adversarial: float = 1.0
    match: float = 1.0
    regression: float = 1.0
    pixel: float = 100.0
    word: float = 1.0
    colour: float = 10.0
    mask: float = 0.0
    smooth: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise ValueError(f"weight of {field.name} must be finite and not negative")
        if not any(getattr(self, field.name) for field in fields(self)):
            raise ValueError("no term of the loss is left; switch one on")

    @property
    def judged(self) -> bool:
        """Whether a term needs the discriminators."""
        return bool(self.adversarial or self.match or self.regression)


# --- adversarial ---------------------------------------------------------------------------------


def discriminator_loss(
    real: Tensor | None = None,
    fake: Tensor | None = None,
    real_match: Tensor | None = None,
    fake_match: Tensor | None = None,
    mismatch: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Eq 5.8: D tells real frames from generated ones, and frames with their sound from others.

    Args:
        real: of D(I), real frames.
        fake: of D(I~), generated frames.
        real_match: of D(I, A), real frames with their sound.
        fake_match: of D(I~, A), generated frames with the sound that they were made from.
        mismatch: of D(I, A^), real frames with other sound.

    Returns:
        The unconditional and the conditional loss, scalars; None for one that lacks its logits.
    """
    plain = joint = None
    if real is not None and fake is not None:
        plain = -(logsigmoid(real).mean() + logsigmoid(-fake).mean()) / 2
    if real_match is not None and fake_match is not None and mismatch is not None:
        wrong = logsigmoid(-fake_match).mean() + logsigmoid(-mismatch).mean()
        joint = -(logsigmoid(real_match).mean() + wrong) / 3
    return plain, joint


def generator_loss(
    fake: Tensor | None = None, fake_match: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """Eq 5.10: G wants its frames taken for real ones, and for ones that match their sound.

    Args:
        fake: of D(I~).
        fake_match: of D(I~, A).

    Returns:
        The unconditional and the conditional half, scalars; None for one that lacks its logits.
    """
    plain = None if fake is None else -logsigmoid(fake).mean() / 2
    joint = None if fake_match is None else -logsigmoid(fake_match).mean() / 2
    return plain, joint


def regression_loss(found: Tensor, landmarks: Tensor, mouth: float = 4.0) -> Tensor:
    """L_R of Eq 5.9, after Chen et al. 2019, who weight the lips too.

    Args:
        found: (..., 136), D's landmarks of frames.
        landmarks: the true ones, the same shape.
        mouth: weight of a point of the lips beside the others' 1; weights are scaled to a mean of
            1.

    Returns:
        A scalar: the weighted mean square, in squares of 1 / 32 of the crop's side.
    """
    weights = torch.ones(POINTS, device=found.device)
    weights[list(MOUTH)] = mouth
    weights = (weights / weights.mean()).repeat_interleave(2)
    apart: Tensor = weights * (MOVEMENT * (found - landmarks)).square()
    return apart.mean()


# --- pixels and words ----------------------------------------------------------------------------


def mouth_areas(landmarks: Tensor, side: int, margin: float = 0.25) -> Tensor:
    """Which pixels are about the mouth: those whose centre is in `geometry.mouth_box`.

    Args:
        landmarks: (..., 136).
        side: pixels a side of the frames.
        margin: around the lips, as a share of the mouth's width.

    Returns:
        (..., 1, side, side) float32, 1 in the mouth's box and 0 elsewhere.
    """
    lips = landmarks.unflatten(-1, (POINTS, 2))[..., list(MOUTH), :]
    low, high = lips.amin(-2), lips.amax(-2)
    edge = margin * (high - low)[..., :1]
    low, high = (low - edge)[..., None], (high + edge)[..., None]  # (..., 2, 1)
    centres = (torch.arange(side, device=landmarks.device) + 0.5) / side
    inside = (centres >= low) & (centres < high)  # (..., 2, side): columns, then rows
    columns, rows = inside[..., 0, :], inside[..., 1, :]
    areas: Tensor = rows[..., :, None] & columns[..., None, :]
    return areas[..., None, :, :].float()


def pixel_loss(made: Tensor, truth: Tensor, mouth: Tensor, elsewhere: float = 0.5) -> Tensor:
    """L_pix: the mean absolute error about the mouth, and that of the rest with its weight.

    Args:
        made: frames or colours, (..., 3, S, S) in [-1, 1].
        truth: the same shape.
        mouth: (..., 1, S, S), `mouth_areas`.
        elsewhere: weight of the rest; 0 leaves it out.

    Returns:
        A scalar, mean over frames; the mouth of a frame without one counts as met.
    """
    error = (made - truth).abs().mean(-3, keepdim=True)
    loss = _mean_within(error, mouth)
    return loss + elsewhere * _mean_within(error, 1 - mouth) if elsewhere else loss


def _mean_within(error: Tensor, area: Tensor) -> Tensor:
    sums = (error * area).sum((-3, -2, -1))
    return (sums / area.sum((-3, -2, -1)).clamp(min=1)).mean()


def word_loss(read: Tensor, words: Tensor, asked: float | None = None) -> Tensor:
    """L_w of Eq 5.11, as a mean over frames: what the lip reader thinks of the words said.

    Args:
        read: (B, T, V) log probabilities of `lipreader.LipReader`.
        words: (B,) int64, the word of each clip; negative where it is not asked.
        asked: clips to divide by, where several processes share a batch; None: those asked here.

    Returns:
        A scalar; 0 if nothing is asked.
    """
    known = words >= 0
    chosen = words.clamp(min=0)[:, None, None].expand(-1, read.shape[1], 1)
    missed = -read.gather(2, chosen).mean((1, 2))
    count = known.sum().clamp(min=1) if asked is None else max(asked, 1)
    return torch.where(known, missed, torch.zeros_like(missed)).sum() / count


def mask_roughness(mask: Tensor) -> Tensor:
    """Squared differences between neighbours in masks (..., 1, S, S), mean: a scalar."""
    return ldcgan_losses.mask_roughness(mask.flatten(0, -4))


# --- sums ----------------------------------------------------------------------------------------


def total(terms: Mapping[str, Tensor], weights: Weights) -> Tensor:
    """Eq 5.12, or 5.9 for D: the terms with their weights, summed.

    Args:
        terms: by the names of `Weights`, summed over stages; those of weight 0 are not looked at.
        weights: see `Weights`.

    Returns:
        A scalar.

    Raises:
        ValueError: nothing is left, or a term has no weight of its name.
    """
    unknown = terms.keys() - {field.name for field in fields(Weights)}
    if unknown:
        raise ValueError(f"no weight for the term {min(unknown)!r}")
    found = [getattr(weights, n) * x for n, x in terms.items() if getattr(weights, n)]
    if not found:
        raise ValueError("no term of the loss is left; switch one on")
    return torch.stack(found).sum()
