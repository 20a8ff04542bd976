"""Losses of LDcGAN, Eq 4.6-4.15; L_lmk of the landmark predictor; WGAN-GP as the other choice.

Logits are those of `ldcgan.Discriminator`, (B, patches) each. Readings: expectations are means over
batch and patches; the equations are binary cross entropy, though the prose names Gulrajani et al.
2017, whose WGAN-GP is an option here; D minimises Eq 4.6 and 4.8, and G minimises the terms in
which it appears with the sign that does not vanish, -1/2 log D(I*) - 1/2 log D(I*, C_t), in place
of Eq 4.7 and 4.9.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import logsigmoid

from .face_boxes import outside


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The lambdas of Eq 4.14 and of what was added; 0 leaves a term out, with its work.

    The thesis gives no values; cycle consistency has the 10 of Zhu et al. 2017.

    Attributes:
        adversarial: lambda_1, of L_G (Eq 4.7).
        reverse: lambda_2, of L_RG (Eq 4.9).
        age: lambda_3, of L_cls (Eq 4.10).
        reverse_age: lambda_4, of L_Rcls (Eq 4.11).
        identity: lambda_5, of L_id (Eq 4.12).
        cycle: lambda_6, of L_cycle (Eq 4.13).
        mask: of the mean square of the change mask, which keeps it from covering everything
            (Pumarola et al. 2018, Eq 4).
        smooth: of its squared differences between neighbours (the same).
        paired: of the distance to the same person at the target age, where data has it.
        outside: of what changes outside the face's box.
    """

    adversarial: float = 1.0
    reverse: float = 1.0
    age: float = 1.0
    reverse_age: float = 1.0
    identity: float = 1.0
    cycle: float = 10.0
    mask: float = 0.0
    smooth: float = 0.0
    paired: float = 0.0
    outside: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise ValueError(f"weight of {field.name} must be finite and not negative")
        if not any(getattr(self, field.name) for field in fields(self)):
            raise ValueError("no term of the loss is left; switch one on")

    @property
    def dual(self) -> bool:
        """Whether a term needs the reverse pass."""
        return bool(self.reverse or self.reverse_age or self.cycle)

    @property
    def judged(self) -> bool:
        """Whether a term needs D_G."""
        return bool(self.adversarial or self.reverse)


# --- adversarial ---------------------------------------------------------------------------------


def discriminator_loss(
    real: Tensor | None,
    fake: Tensor | None,
    real_aged: Tensor | None,
    fake_aged: Tensor | None,
) -> Tensor:
    """L_D of Eq 4.6, or of Eq 4.8 with the reverse pass. A half is left out where it is None.

    Args:
        real: of D(I^GT), real faces.
        fake: of D(I*), generated faces.
        real_aged: of D(I^GT, s), real faces with their age.
        fake_aged: of D(I*, s), generated faces with the age asked for.

    Returns:
        A scalar.

    Raises:
        ValueError: nothing is left.
    """
    terms = []
    for yes, no in ((real, fake), (real_aged, fake_aged)):
        if yes is not None and no is not None:
            terms += [-logsigmoid(yes).mean() / 2, -logsigmoid(-no).mean() / 2]
    return _sum(terms)


def generator_loss(fake: Tensor | None, fake_aged: Tensor | None) -> Tensor:
    """L_G in place of Eq 4.7, or 4.9; see the module. A half is left out where it is None.

    Args:
        fake: of D(I*).
        fake_aged: of D(I*, s).

    Returns:
        A scalar.

    Raises:
        ValueError: nothing is left.
    """
    return _sum([-logsigmoid(x).mean() / 2 for x in (fake, fake_aged) if x is not None])


def critic_loss(
    real: Tensor | None,
    fake: Tensor | None,
    real_aged: Tensor | None,
    fake_aged: Tensor | None,
) -> Tensor:
    """What `discriminator_loss` is under WGAN-GP (Gulrajani et al. 2017), without the penalty."""
    terms = []
    for yes, no in ((real, fake), (real_aged, fake_aged)):
        if yes is not None and no is not None:
            terms.append((no.mean() - yes.mean()) / 2)
    return _sum(terms)


def critic_generator_loss(fake: Tensor | None, fake_aged: Tensor | None) -> Tensor:
    """What `generator_loss` is under WGAN-GP."""
    return _sum([-x.mean() / 2 for x in (fake, fake_aged) if x is not None])


def gradient_penalty(slopes: Tensor) -> Tensor:
    """E (|grad D| - 1)^2 of WGAN-GP.

    Args:
        slopes: (B, C, S, S), gradients of D between real and generated faces.

    Returns:
        A scalar.
    """
    lengths = slopes.flatten(1).square().sum(1).sqrt()
    return (lengths - 1).square().mean()


# --- age, identity, cycle ------------------------------------------------------------------------


def age_loss(logits: Tensor, groups: Tensor) -> Tensor:
    """L_cls and L_Rcls of Eq 4.10 and 4.11: the softmax loss of D_A, mean over the batch.

    Their first terms train G, with generated faces and the groups asked for: C_t, and in the
    reverse pass, which leads back, C_s. Their second trains D_A, with real faces and their groups.

    Args:
        logits: (B, 10) of D_A.
        groups: (B,) int64, 0 to 9.

    Returns:
        A scalar.
    """
    return functional.cross_entropy(logits.float(), groups)


def identity_loss(features: Tensor, generated: Tensor) -> Tensor:
    """L_id of Eq 4.12, as a mean over batch, channels and places.

    Args:
        features: Phi(I), (B, C, h, w).
        generated: Phi(I*), the same shape.

    Returns:
        A scalar.
    """
    return (features.float() - generated.float()).square().mean()


def cycle_loss(
    again: Tensor, image: Tensor, twice: Tensor | None = None, aged: Tensor | None = None
) -> Tensor:
    """L_cycle of Eq 4.13, as means over batch, channels and pixels.

    Args:
        again: G_r(G_f(I)), (B, 3, S, S).
        image: I.
        twice: G_f(G_r(I*)); None leaves the second term out.
        aged: I*, taken as data: it gets no gradient.

    Returns:
        A scalar.
    """
    loss = (again - image).abs().mean()
    if twice is not None and aged is not None:
        loss = loss + (twice - aged.detach()).abs().mean()
    return loss


def paired_loss(made: Tensor, truth: Tensor, known: Tensor, edges: float = 1.0) -> Tensor:
    """Distance to the same person at the target age, for data that has it; not in the thesis.

    Args:
        made: I*, (B, 3, S, S).
        truth: the same shape; rows without truth are not looked at.
        known: (B,) bool, which rows have it.
        edges: weight of the steps from pixel to pixel.

    Returns:
        A scalar: the mean absolute difference of the rows that have it times their share, and that
        of the steps from pixel to pixel (Mathieu et al. 2016), in which wrinkles count and the
        blur that the first term allows does not pay.
    """
    apart = (made - truth).abs().mean((1, 2, 3))
    for axis in (2, 3):
        steps = made.diff(dim=axis) - truth.diff(dim=axis)
        apart = apart + edges * steps.abs().mean((1, 2, 3))
    return torch.where(known, apart, torch.zeros_like(apart)).mean()


def outside_loss(made: Tensor, image: Tensor, boxes: Tensor) -> Tensor:
    """What changes outside the faces' boxes, where ageing has nothing to do; not in the thesis.

    Args:
        made: I*, (B, 3, S, S).
        image: I, the same shape.
        boxes: (B, 4), see `face_boxes.face_box`.

    Returns:
        A scalar: the mean absolute difference of the pixels outside; 0 where there is none.
    """
    where = outside(boxes, made.shape[-1])[:, None]
    apart = (made - image).abs() * where
    return apart.sum() / (where.sum() * made.shape[1]).clamp(min=1)


# --- change mask ---------------------------------------------------------------------------------


def mask_size(mask: Tensor) -> Tensor:
    """Mean square of change masks (B, 1, S, S): a scalar."""
    return mask.square().mean()


def mask_roughness(mask: Tensor) -> Tensor:
    """Squared differences between neighbours in change masks (B, 1, S, S), mean: a scalar."""
    down, right = mask.diff(dim=2), mask.diff(dim=3)
    return down.square().mean() + right.square().mean()


# --- landmarks and sums --------------------------------------------------------------------------


def landmark_loss(
    made: Tensor, truth: Tensor, latent: Tensor, latent_made: Tensor, weight: float = 1.0
) -> Tensor:
    """L_lmk = |E(L*) - E(L)|^2 + |L* - L^GT|^2 of Sec 4.3.1, mean over the batch.

    Args:
        made: L*, (B, 136), in any unit of length.
        truth: L^GT, (B, 136).
        latent: E(L), (B, D).
        latent_made: E(L*), (B, D).
        weight: of the first term. 1 is the thesis; 0 leaves it out.

    Returns:
        A scalar.
    """
    loss = (made - truth).square().sum(1).mean()
    if weight:
        loss = loss + weight * (latent_made - latent).square().sum(1).mean()
    return loss


def total(terms: Mapping[str, Tensor], weights: Weights) -> Tensor:
    """L_G of Eq 4.14: the terms with their weights, summed; Eq 4.15 is a plain sum.

    Args:
        terms: by the names of `Weights`; those of weight 0 are not looked at.
        weights: see `Weights`.

    Returns:
        A scalar.

    Raises:
        ValueError: nothing is left, or a term has no weight of its name.
    """
    unknown = terms.keys() - {field.name for field in fields(Weights)}
    if unknown:
        raise ValueError(f"no weight for the term {min(unknown)!r}")
    return _sum([getattr(weights, n) * x for n, x in terms.items() if getattr(weights, n)])


def _sum(terms: list[Tensor]) -> Tensor:
    if not terms:
        raise ValueError("no term of the loss is left; switch one on")
    return torch.stack(terms).sum()
