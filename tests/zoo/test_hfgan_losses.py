"""Losses of HfGAN against numbers worked out by hand and against binary cross entropy."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from neuralpaint.zoo.hfgan_losses import discriminator_loss, divergence, generator_loss

HALF = torch.zeros(3)  # logits of probability one half
LOG2 = math.log(2)


def test_undecided_discriminator() -> None:
    # Eq 3.3: 1/2 + 1/2 unconditional, 3 times 1/3 conditional, of log 2 each
    assert discriminator_loss(HALF, HALF, None, None, None).item() == pytest.approx(LOG2)
    assert discriminator_loss(None, None, HALF, HALF, HALF).item() == pytest.approx(LOG2)
    assert discriminator_loss(HALF, HALF, HALF, HALF, HALF).item() == pytest.approx(2 * LOG2)


def test_undecided_generator() -> None:
    assert generator_loss(HALF, None).item() == pytest.approx(LOG2 / 2)
    assert generator_loss(HALF, HALF).item() == pytest.approx(LOG2)


def test_terms_and_signs_against_cross_entropy() -> None:
    draws = torch.Generator().manual_seed(0)
    real, fake, match, fake_match, wrong = torch.randn(5, 7, generator=draws) * 3
    yes, no = torch.ones(7), torch.zeros(7)
    expected = (cross_entropy(real, yes) + cross_entropy(fake, no)) / 2
    expected = (
        expected
        + (cross_entropy(match, yes) + cross_entropy(fake_match, no) + cross_entropy(wrong, no)) / 3
    )
    found = discriminator_loss(real, fake, match, fake_match, wrong)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    expected = (cross_entropy(fake, yes) + cross_entropy(fake_match, yes)) / 2
    assert generator_loss(fake, fake_match).item() == pytest.approx(expected.item(), rel=1e-5)


def test_sure_logits_are_finite() -> None:
    sure = torch.full((2,), 1e4)
    assert discriminator_loss(sure, -sure, sure, -sure, -sure).item() == 0
    assert generator_loss(-sure, -sure).item() == pytest.approx(1e4)


def test_divergence_by_hand() -> None:
    zeros = torch.zeros(2, 3)
    assert divergence(zeros, zeros).item() == 0
    # mean 2: 1/2 * 4; variance e: 1/2 (e - 1 - 1)
    assert divergence(zeros + 2, zeros).item() == pytest.approx(2)
    assert divergence(zeros, zeros + 1).item() == pytest.approx((math.e - 2) / 2)


def test_divergence_is_that_of_the_distributions() -> None:
    draws = torch.Generator().manual_seed(1)
    mean, log_variance = torch.randn(2, 4, 5, generator=draws)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_variance / 2).exp()),
        torch.distributions.Normal(0.0, 1.0),
    )
    assert divergence(mean, log_variance).item() == pytest.approx(theirs.mean().item(), rel=1e-5)


def test_something_must_be_left() -> None:
    with pytest.raises(ValueError, match="no term"):
        discriminator_loss(None, None, None, None, None)
    with pytest.raises(ValueError, match="no term"):
        generator_loss(None, None)
