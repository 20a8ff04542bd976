"""Rewards that ask networks: WGAN, VGG, and the thesis's own (Sec 6.3.3.2, Eq 6.4-6.8).

All are differentiable in the canvas and the strokes after the step. What they need of the target
and of the canvas before is remembered between calls, see `recent`. They work on gray canvases too,
whose channel is repeated.

B batch, C channels, H rows, W columns, K strokes in a bundle.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..renderers import Paint
from ..renderers.stroke import rescale
from .distances import clipped_difference, image_mean
from .features import Vgg16, feature_mask
from .recent import Recent

if TYPE_CHECKING:
    from .painting import State

VGG_WEIGHT = 0.005
"""Of L_vgg in R_m, see `Masked`."""

DISCOUNT = 0.95**5
"""Of a step: gamma per stroke to the number of strokes in a bundle (readings of Sec 6.3)."""

Reading = Literal["penalty", "drop"]
"""Of Eq 6.7, see `Focus`."""

ORACLE_SIDE = 64
"""Side in pixels of the focused image in the thesis."""

LEAST_SIDE = 8
"""Pixels a side that VGG needs up to layer 17, behind three pools; smaller images are enlarged."""


class Focused(Protocol):
    """What an attention module returns; see `agents.attention.Focus`."""

    @property
    def image(self) -> Tensor:
        """(B, 3, h, w) float32 in [0, 1], the focused image C_focus."""


class Wgan:
    """The WGAN reward of Learning to Paint (Huang et al. 2019): rise of the discriminator's score.

    Args:
        discriminator: forward(canvas (B, C, H, W), target) -> (B,), higher for a canvas that is
            more like its target. It learns while the agent does, so nothing is remembered.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        self.discriminator = discriminator

    def __call__(self, before: "State", after: "State") -> Tensor:
        """D(C_{t+1}, I) - D(C_t, I), (B,)."""
        new: Tensor = self.discriminator(after.canvas, after.target)
        old: Tensor = self.discriminator(before.canvas, before.target)
        return new - old


class Vgg:
    """Drop of the perceptual distance L_vgg = mean (VGG_l(C) - VGG_l(I))² (Sec 6.3.3.2).

    Args:
        vgg: feature network, frozen.
        layer: l, an index into its features.
    """

    def __init__(self, vgg: Vgg16, layer: int = 17) -> None:
        self.vgg = vgg
        self.layer = layer
        self._targets, self._distances = Recent(), Recent()

    def __call__(self, before: "State", after: "State") -> Tensor:
        """L_vgg(t) - L_vgg(t+1), (B,)."""
        old = self.distance(before.canvas, before.target)
        return old - self.distance(after.canvas, after.target)

    def distance(self, canvas: Tensor, target: Tensor) -> Tensor:
        """L_vgg of each canvas, as `features.vgg_distance`.

        Args:
            canvas: (B, C, H, W) in [0, 1].
            target: the same shape.

        Returns:
            (B,), differentiable in the canvas.
        """

        def compute() -> Tensor:
            theirs = self._targets.get(self.vgg, lambda: self._features(target.detach()), target)
            return image_mean((self._features(canvas) - theirs).square())

        return self._distances.get(self.vgg, compute, canvas, target)

    def _features(self, image: Tensor) -> Tensor:
        features: Tensor = self.vgg(_enlarged(image), (self.layer,))[0]
        return features.float()  # under autocast a mean of squares in bfloat16 would be too coarse


class FeatureMask:
    """f_mask of targets, see `features.feature_mask`, remembered for the last ones.

    Args:
        vgg: feature network, frozen.
        layer: index into its features.
    """

    def __init__(self, vgg: Vgg16, layer: int) -> None:
        self.vgg = vgg
        self.layer = layer
        self._masks = Recent()

    def __call__(self, target: Tensor, height: int, width: int) -> Tensor:
        """The masks at one size.

        Args:
            target: (B, C, H, W) in [0, 1].
            height: rows of the mask.
            width: columns of the mask.

        Returns:
            (B, 1, height, width) in [0, 1], without gradient.
        """

        def compute() -> Tensor:
            return feature_mask(self.vgg, _enlarged(target), self.layer, (height, width))

        return self._masks.get(self.vgg, compute, target, size=(height, width))


class Masked:
    """The feature-masked reward R_m (Eq 6.4, 6.5).

        L_m(t) = min(|C_t - I|, lambda) * f_mask + L_vgg(t)        R_m = mean[L_m(t) - L_m(t+1)]

    The mask weighs pixels by how much there is to recognise in the target; the VGG term, which sees
    the picture as a whole, keeps the rest from being neglected.

    Reading: L_vgg is a mean over features, which have no pixels, so it is one number per painting
    that counts once, outside the mean over pixels and channels.

    Args:
        vgg: feature network, frozen.
        limit: lambda of Eq 6.4, in (0, 1]; the thesis gives no value.
        layer: layer of both the mask and L_vgg.
        mask: weigh the pixels; False weighs all alike.
        features: add L_vgg.
        weight: of L_vgg. Reading: Eq 6.4 adds it with weight 1, but squared features have no
            natural scale. Those of layer 17 change dozens of times as much as the pixels, so that
            R_m would be the VGG reward alone, which Sec 6.3.3.2 calls unsatisfactory. With the
            default the term is a tenth to a third of the pixels'; at their size it took back half
            of what the mask gains on the subject (docs/results.md).
    """

    def __init__(
        self,
        vgg: Vgg16,
        limit: float = 0.5,
        layer: int = 17,
        mask: bool = True,
        features: bool = True,
        weight: float = VGG_WEIGHT,
    ) -> None:
        self.limit = _checked(limit)
        self.mask = FeatureMask(vgg, layer) if mask else None
        self.perceptual = Vgg(vgg, layer) if features and weight else None
        self.weight = weight

    def __call__(self, before: "State", after: "State") -> Tensor:
        """R_m, (B,)."""
        target = after.target
        old = clipped_difference(before.canvas, target, self.limit)
        drop = old - clipped_difference(after.canvas, target, self.limit)
        if self.mask is not None:
            drop = drop * self.mask(target, *target.shape[2:])
        reward = image_mean(drop)
        if self.perceptual is None:
            return reward
        return reward + self.weight * self.perceptual(before, after)


class Focus:
    """The focus reward R_focus (Eq 6.6, 6.7): paint beside the subject costs.

    The strokes of the step are painted onto the focused image of the canvas before it,
    blend(C, a) = a_c + (1 - a_r) C. If they lie on the subject, that is the focused image of the
    canvas after it; paint beside the subject is missing there:

        L_focus(t) = mean[ min(|blend(C_focus(t), a_t) - C_focus(t+1)|, lambda) * f_mask ]  (Eq 6.6)
        R_focus(t) = L_focus(t) - L_focus(t+1)                                              (Eq 6.7)

    Reading, "penalty": L_focus(t+1) hangs on the action after this one, while a reward must be
    known when its step is taken. But what an agent maximises is the return. With D = gamma ** K,
    the discount of a step, an episode of T bundles from an empty one before it (L_focus = 0 before
    the first bundle and after the last) has

        sum over t = -1 .. T-1 of D^t (L_focus(t) - L_focus(t+1))
            = sum over t = 0 .. T-1 of (D^t - D^(t-1)) L_focus(t)
            = sum over t = 0 .. T-1 of D^t * -(1/D - 1) L_focus(t)

    so -(1/D - 1) L_focus(t) has the same return, and knows nothing of the next action. It is zero
    for strokes on the subject where the attention is exact, so it does not judge those.

    Reading, "drop": the loss "before" is the same distance without the strokes of the step,

        R_focus(t) = mean[ min(|C_focus(t) - C_focus(t+1)|, lambda) * f_mask ] - L_focus(t)

    which pays for every change of the subject, also one away from the target, and made agents
    paint worse (docs/results.md). "max" in Eq 6.7 is taken as a misprint of "mean" in both.

    A canvas that is not square is squeezed into the focused image, and strokes with it, save that
    their ends stay round.

    Args:
        vgg: feature network, frozen.
        attention: canvas (B, 3, H, W) to an object with `image` (B, 3, h, w), the focused image;
            64x64 in the thesis. A module is to be in evaluation mode. None takes what a perfect
            one would say (an oracle): the canvas times the mask of the state, at most 64 a side.
        paint: the renderer.
        limit: lambda of Eq 6.6, in (0, 1].
        layer: layer of the mask, which is taken at the size of the focused image.
        mask: weigh the pixels; False weighs all alike.
        reading: "penalty" or "drop".
        discount: D of the penalty, in (0, 1].

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        vgg: Vgg16,
        attention: Callable[[Tensor], Focused] | None,
        paint: Paint,
        limit: float = 0.5,
        layer: int = 2,
        mask: bool = True,
        reading: Reading = "penalty",
        discount: float = DISCOUNT,
    ) -> None:
        if reading not in get_args(Reading):
            known = ", ".join(get_args(Reading))
            raise ValueError(f"reading {reading!r} is unknown; known: {known}")
        if not 0 < discount <= 1:
            raise ValueError(f"discount must be in (0, 1], got {discount}")
        self.attention = attention
        self.paint = paint
        self.limit = _checked(limit)
        self.mask = FeatureMask(vgg, layer) if mask else None
        self.reading, self.discount = reading, discount
        self._images = Recent()

    def __call__(self, before: "State", after: "State") -> Tensor:
        """R_focus, (B,)."""
        old, new = self.image(before.canvas, before.mask), self.image(after.canvas, after.mask)
        height, width = old.shape[2:]
        strokes = rescale(after.bundle, min(after.canvas.shape[2:]), min(height, width))
        loss = clipped_difference(self.paint(old, strokes), new, self.limit)
        if self.reading == "penalty":
            reward = loss * (1 - 1 / self.discount)
        else:
            reward = clipped_difference(old, new, self.limit) - loss
        if self.mask is not None:
            reward = reward * self.mask(after.target, height, width)
        return image_mean(reward)

    def image(self, canvas: Tensor, mask: Tensor) -> Tensor:
        """C_focus of each canvas.

        Args:
            canvas: (B, C, H, W) in [0, 1].
            mask: (B, 1, H, W), M, of which only the oracle makes use.

        Returns:
            (B, 3, h, w) in [0, 1].
        """
        attention = self.attention
        if attention is None:
            size = [min(side, ORACLE_SIDE) for side in canvas.shape[2:]]
            return functional.interpolate(canvas * mask, size, mode="area").expand(-1, 3, -1, -1)

        def compute() -> Tensor:
            return attention(canvas.expand(-1, 3, -1, -1)).image

        return self._images.get(attention, compute, canvas)


class Full:
    """The whole reward R = sigma R_m + eta R_focus (Eq 6.8).

    Args:
        masked: R_m; None leaves it out.
        focus: R_focus; None leaves it out.
        sigma: weight of R_m; 0 leaves it out.
        eta: weight of R_focus; 0 leaves it out.

    Raises:
        ValueError: nothing is left.
    """

    def __init__(
        self, masked: Masked | None, focus: Focus | None, sigma: float = 2.0, eta: float = 1.0
    ) -> None:
        weighted = ((sigma, masked), (eta, focus))
        self.terms = tuple((weight, term) for weight, term in weighted if weight and term)
        if not self.terms:
            raise ValueError("a reward of no terms: give masked or focus, with a weight but 0")

    def __call__(self, before: "State", after: "State") -> Tensor:
        """R, (B,)."""
        return torch.stack([weight * term(before, after) for weight, term in self.terms]).sum(0)


def _enlarged(image: Tensor) -> Tensor:
    height, width = (max(side, LEAST_SIDE) for side in image.shape[2:])
    if image.shape[2:] == (height, width):
        return image
    return functional.interpolate(image, (height, width))


def _checked(limit: float) -> float:
    if not 0 < limit <= 1:
        raise ValueError(f"limit must be in (0, 1], got {limit}")
    return limit
