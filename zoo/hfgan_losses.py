"""Losses of HfGAN: Eq 3.3, 3.4 and the divergence of the conditioning augmentation.

Logits are those of `hfgan.Discriminator`, (B,) each. Reading: sums over training examples are means
over the batch.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid


def discriminator_loss(
    real: Tensor | None,
    fake: Tensor | None,
    matching: Tensor | None,
    fake_matching: Tensor | None,
    mismatching: Tensor | None,
) -> Tensor:
    """L_D of Eq 3.3. A half is left out where its logits are None.

    Args:
        real: of D(t), real images.
        fake: of D(t^), generated images.
        matching: of D(t | I_s), real images with their text.
        fake_matching: of D(t^ | I_s), generated images with their text.
        mismatching: of D(t | I^_s), real images with the text of another image.

    Returns:
        A scalar.

    Raises:
        ValueError: nothing is left.
    """
    terms = []
    if real is not None and fake is not None:  # unconditional
        terms += [-logsigmoid(real).mean() / 2, -logsigmoid(-fake).mean() / 2]
    if matching is not None and fake_matching is not None and mismatching is not None:
        terms += [
            -logsigmoid(matching).mean() / 3,
            -logsigmoid(-fake_matching).mean() / 3,
            -logsigmoid(-mismatching).mean() / 3,
        ]
    return _sum(terms)


def generator_loss(fake: Tensor | None, fake_matching: Tensor | None) -> Tensor:
    """L_G of Eq 3.4. A half is left out where its logits are None.

    Args:
        fake: of D(G(z, I_s, I_w)).
        fake_matching: of D(G(z, I_s, I_w), I_s).

    Returns:
        A scalar.

    Raises:
        ValueError: nothing is left.
    """
    return _sum([-logsigmoid(x).mean() / 2 for x in (fake, fake_matching) if x is not None])


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mu, sigma) from the standard normal, mean over batch and dimensions.

    Args:
        mean: (B, C).
        log_variance: (B, C).

    Returns:
        A scalar (Zhang et al. 2017).
    """
    return -(1 + log_variance - mean.square() - log_variance.exp()).mean() / 2


def _sum(terms: list[Tensor]) -> Tensor:
    if not terms:
        raise ValueError("no term of the loss is left; switch one on")
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
