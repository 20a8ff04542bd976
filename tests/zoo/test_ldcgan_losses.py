"""Losses of LDcGAN against numbers worked out by hand and against PyTorch's own."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from neuralpaint.zoo.ldcgan_losses import (
    Weights,
    age_loss,
    critic_generator_loss,
    critic_loss,
    cycle_loss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    identity_loss,
    landmark_loss,
    mask_roughness,
    mask_size,
    outside_loss,
    paired_loss,
    total,
)

HALF = torch.zeros(3, 4)  # logits of probability one half
LOG2 = math.log(2)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_undecided_discriminator() -> None:
    # Eq 4.6: four halves of log 2
    assert discriminator_loss(HALF, HALF, HALF, HALF).item() == pytest.approx(2 * LOG2)
    assert discriminator_loss(HALF, HALF, None, None).item() == pytest.approx(LOG2)
    assert discriminator_loss(None, None, HALF, HALF).item() == pytest.approx(LOG2)
    assert generator_loss(HALF, HALF).item() == pytest.approx(LOG2)


def test_signs_against_cross_entropy() -> None:
    real, fake, aged, fake_aged = draws(4, 5, 3) * 3
    yes, no = torch.ones(5, 3), torch.zeros(5, 3)
    expected = cross_entropy(real, yes) + cross_entropy(fake, no)
    expected = (expected + cross_entropy(aged, yes) + cross_entropy(fake_aged, no)) / 2
    found = discriminator_loss(real, fake, aged, fake_aged)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    expected = (cross_entropy(fake, yes) + cross_entropy(fake_aged, yes)) / 2
    assert generator_loss(fake, fake_aged).item() == pytest.approx(expected.item(), rel=1e-5)


def test_critic() -> None:
    real, fake = torch.full((2, 3), 4.0), torch.full((2, 3), 1.0)
    assert critic_loss(real, fake, None, None).item() == pytest.approx(-1.5)
    assert critic_loss(real, fake, fake, real).item() == pytest.approx(0)
    assert critic_generator_loss(real, fake).item() == pytest.approx(-2.5)


def test_gradient_penalty_by_hand() -> None:
    slopes = torch.zeros(2, 3, 4, 4)
    slopes[0, 0, 0, 0], slopes[0, 1, 2, 3] = 3, 4  # of length 5; the other has length 0
    assert gradient_penalty(slopes).item() == pytest.approx((16 + 1) / 2)


@pytest.mark.parametrize("loss", [discriminator_loss, critic_loss])
def test_something_must_be_left(loss: Any) -> None:
    with pytest.raises(ValueError, match="no term"):
        loss(None, None, None, None)
    for other in (generator_loss, critic_generator_loss):
        with pytest.raises(ValueError, match="no term"):
            other(None, None)


def test_age_loss_by_hand() -> None:
    logits = torch.zeros(2, 10)
    groups = torch.tensor([3, 7])
    assert age_loss(logits, groups).item() == pytest.approx(math.log(10))
    logits[0, 3] = math.log(9)  # probability 9 / 18
    assert age_loss(logits, groups).item() == pytest.approx((LOG2 + math.log(10)) / 2)


def test_identity_loss_by_hand() -> None:
    features = torch.zeros(2, 3, 4, 4)
    assert identity_loss(features, features + 2).item() == pytest.approx(4)
    assert identity_loss(features, features).item() == 0


def test_cycle_loss() -> None:
    image = torch.zeros(2, 3, 4, 4)
    assert cycle_loss(image + 0.5, image).item() == pytest.approx(0.5)
    aged = torch.ones(2, 3, 4, 4, requires_grad=True)
    twice = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = cycle_loss(image + 0.5, image, twice, aged)
    assert loss.item() == pytest.approx(1.5)
    loss.backward()
    assert aged.grad is None  # data, as in the equation
    assert twice.grad is not None


def test_outside_loss_looks_outside_the_boxes_only() -> None:
    made, image = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    made[:, :, 1:3, 1:3] = 0.5  # inside
    made[:, 0, 0, 0] = 0.6  # outside: one channel of one of twelve pixels
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    assert outside_loss(made, image, box).item() == pytest.approx(0.6 / 36)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert outside_loss(made, image, whole).item() == 0


def test_paired_loss_looks_at_pairs_only() -> None:
    made, truth = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    truth[0], truth[1] = 1, torch.nan
    assert paired_loss(made, truth, torch.tensor([True, False])).item() == pytest.approx(0.5)


def test_paired_loss_counts_steps_between_neighbours() -> None:
    truth = torch.zeros(1, 3, 4, 4)
    line = truth.clone()
    line[:, :, 1] = 1
    # A quarter of the pixels are off by 1; down the columns two of three steps, across none.
    loss = paired_loss(line, truth, torch.tensor([True]), edges=3)
    assert loss.item() == pytest.approx(1 / 4 + 3 * 2 / 3)


def test_mask_losses_by_hand() -> None:
    mask = torch.zeros(1, 1, 2, 2)
    mask[0, 0, 0, 0] = 1
    assert mask_size(mask).item() == pytest.approx(0.25)
    assert mask_roughness(mask).item() == pytest.approx(0.5 + 0.5)
    assert mask_roughness(torch.ones(2, 1, 4, 4)).item() == 0


def test_landmark_loss_by_hand() -> None:
    made, truth = torch.zeros(2, 136), torch.zeros(2, 136)
    truth[0, :2] = torch.tensor([3.0, 4.0])
    latent, latent_made = torch.zeros(2, 5), torch.ones(2, 5)
    assert landmark_loss(made, truth, latent, latent_made).item() == pytest.approx(12.5 + 5)
    assert landmark_loss(made, truth, latent, latent_made, 0.1).item() == pytest.approx(13)
    assert landmark_loss(made, truth, latent, latent_made, 0).item() == pytest.approx(12.5)


def test_total_is_equation_4_14() -> None:
    names = ("adversarial", "reverse", "age", "reverse_age", "identity", "cycle")
    terms = {name: torch.tensor(float(10**i)) for i, name in enumerate(names)}
    weights = Weights(adversarial=1, reverse=2, age=3, reverse_age=4, identity=5, cycle=6)
    assert total(terms, weights).item() == 654321
    assert total(terms, Weights()).item() == 1011111
    off = Weights(adversarial=1, reverse=0, age=0, reverse_age=0, identity=0, cycle=0)
    terms["cycle"] = torch.tensor(torch.nan)
    assert total(terms, off).item() == 1


def test_unknown_terms_and_nothing_left() -> None:
    with pytest.raises(ValueError, match="no weight for the term 'style'"):
        total({"style": torch.zeros(())}, Weights())
    with pytest.raises(ValueError, match="no term"):
        total({}, Weights())


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_bad_weights(value: float) -> None:
    with pytest.raises(ValueError, match="weight of cycle must be finite"):
        Weights(cycle=value)


def test_what_weights_need() -> None:
    none = {"adversarial": 0, "reverse": 0, "age": 0, "reverse_age": 0, "identity": 0, "cycle": 0}
    with pytest.raises(ValueError, match="no term"):
        Weights(**none)
    alone = Weights(**{**none, "age": 1})
    assert not alone.dual
    assert not alone.judged
    assert Weights(**{**none, "reverse": 1}).dual
    assert Weights(**{**none, "reverse": 1}).judged
    assert Weights(**{**none, "cycle": 1}).dual
