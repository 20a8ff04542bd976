"""Losses of AVWnet against numbers worked out by hand and against PyTorch's own."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from neuralpaint.zoo.avwnet_losses import (
    Weights,
    discriminator_loss,
    generator_loss,
    mask_roughness,
    mask_size,
    mouth_areas,
    pixel_loss,
    regression_loss,
    total,
    word_loss,
)
from neuralpaint.zoo.talking.geometry import TEMPLATE, mouth_box

HALF = torch.zeros(3, 4)  # logits of probability one half
LOG2 = math.log(2)
NAMES = ("adversarial", "match", "regression", "pixel", "word", "colour", "mask", "smooth")
OFF: dict[str, float] = dict.fromkeys(NAMES, 0.0)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def value(loss: Tensor | None) -> float:
    assert loss is not None
    assert loss.shape == ()
    return loss.item()


def test_undecided_discriminator() -> None:
    # Eq 5.8: two halves of log 2, three thirds of it; Eq 5.10: a half each
    plain, joint = discriminator_loss(HALF, HALF, HALF, HALF, HALF)
    assert value(plain) == pytest.approx(LOG2)
    assert value(joint) == pytest.approx(LOG2)
    plain, joint = generator_loss(HALF, HALF)
    assert value(plain) == pytest.approx(LOG2 / 2)
    assert value(joint) == pytest.approx(LOG2 / 2)


def test_signs_against_cross_entropy() -> None:
    real, fake, matched, made, other = draws(5, 5, 3) * 3
    yes, no = torch.ones(5, 3), torch.zeros(5, 3)
    plain, joint = discriminator_loss(real, fake, matched, made, other)
    expected = (cross_entropy(real, yes) + cross_entropy(fake, no)) / 2
    assert value(plain) == pytest.approx(expected.item(), rel=1e-5)
    expected = cross_entropy(matched, yes) + cross_entropy(made, no) + cross_entropy(other, no)
    assert value(joint) == pytest.approx(expected.item() / 3, rel=1e-5)
    plain, joint = generator_loss(fake, made)
    assert value(plain) == pytest.approx(cross_entropy(fake, yes).item() / 2, rel=1e-5)
    assert value(joint) == pytest.approx(cross_entropy(made, yes).item() / 2, rel=1e-5)


def test_what_is_left_out_is_none() -> None:
    assert discriminator_loss(HALF, HALF)[1] is None
    assert discriminator_loss(None, None, HALF, HALF, HALF)[0] is None
    assert discriminator_loss(None, None, HALF, HALF)[1] is None
    assert generator_loss(HALF)[1] is None
    assert generator_loss(None, HALF)[0] is None


def test_regression_loss_by_hand() -> None:
    truth = torch.zeros(2, 136)
    assert regression_loss(truth + 1 / 32, truth).item() == pytest.approx(1)
    found = truth.clone()
    found[0, 0] = 1 / 32  # a point of the jaw: 1 of 2 x 136, weight 68 / (48 + 4 x 20)
    assert regression_loss(found, truth).item() == pytest.approx(68 / 128 / 272)
    found = truth.clone()
    found[0, 2 * 48] = 1 / 32  # a corner of the mouth
    assert regression_loss(found, truth).item() == pytest.approx(4 * 68 / 128 / 272)
    assert regression_loss(found, truth, 1).item() == pytest.approx(1 / 272)


@pytest.mark.parametrize("side", [64, 128])
def test_mouth_areas_are_the_boxes(side: int) -> None:
    landmarks = torch.from_numpy(TEMPLATE.ravel().copy()).float().repeat(2, 3, 1)
    landmarks[1, 2] = (landmarks[1, 2] - 0.5) * 1.4 + 0.6
    areas = mouth_areas(landmarks, side)
    assert areas.shape == (2, 3, 1, side, side)
    centres = (np.arange(side) + 0.5) / side
    for place in ((0, 0), (1, 2)):
        left, top, right, bottom = mouth_box(landmarks[place].numpy())
        rows, columns = (top <= centres) & (centres < bottom), (left <= centres) & (centres < right)
        assert rows.sum() > 5
        assert np.array_equal(areas[place][0].numpy(), np.outer(rows, columns))


def test_pixel_loss_by_hand() -> None:
    made, mouth = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    mouth[:, :, :2, :2] = 1
    truth = torch.full((2, 3, 4, 4), 0.5)
    truth[:, :, :2, :2] = 1
    assert pixel_loss(made, truth, mouth).item() == pytest.approx(1 + 0.5 * 0.5)
    assert pixel_loss(made, truth, mouth, 0).item() == pytest.approx(1)
    assert pixel_loss(made, truth, mouth, 1).item() == pytest.approx(1.5)
    truth[0], mouth[0] = 0, 0  # a frame without a mouth, met exactly
    assert pixel_loss(made, truth, mouth).item() == pytest.approx(1.25 / 2)
    assert pixel_loss(made[None], truth[None], mouth[None]).item() == pytest.approx(1.25 / 2)


def test_word_loss_is_a_mean_over_frames() -> None:
    """Eq 5.11, which sums, would grow with length."""
    read = torch.full((2, 3, 4), 0.25).log()
    assert word_loss(read, torch.tensor([0, 3])).item() == pytest.approx(math.log(4))
    read = torch.log_softmax(draws(3, 5, 4), 2)
    words = torch.tensor([2, -1, 0])
    by_hand = -(read[0, :, 2].mean() + read[2, :, 0].mean())
    assert word_loss(read, words).item() == pytest.approx(by_hand.item() / 2, rel=1e-5)
    assert word_loss(read, words, 8).item() == pytest.approx(by_hand.item() / 8, rel=1e-5)
    assert word_loss(read, torch.full((3,), -1)).item() == 0


def test_mask_losses_by_hand() -> None:
    mask = torch.zeros(1, 1, 2, 2)
    mask[0, 0, 0, 0] = 1
    assert mask_size(mask).item() == pytest.approx(0.25)
    assert mask_roughness(mask).item() == pytest.approx(0.5 + 0.5)
    assert mask_roughness(mask[None]).item() == pytest.approx(0.5 + 0.5)
    assert mask_roughness(torch.ones(2, 3, 1, 4, 4)).item() == 0


def test_total_is_equation_5_12() -> None:
    terms = {name: torch.tensor(float(10**i)) for i, name in enumerate(NAMES[:6])}
    weights = Weights(adversarial=1, match=2, regression=3, pixel=4, word=5, colour=6)
    assert total(terms, weights).item() == 654321
    terms["colour"] = torch.tensor(torch.nan)
    assert total(terms, Weights(**{**OFF, "match": 2})).item() == 20


def test_unknown_terms_and_nothing_left() -> None:
    with pytest.raises(ValueError, match="no weight for the term 'style'"):
        total({"style": torch.zeros(())}, Weights())
    with pytest.raises(ValueError, match="no term"):
        total({"mask": torch.zeros(())}, Weights())
    with pytest.raises(ValueError, match="no term"):
        Weights(**OFF)


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf])
def test_bad_weights(weight: float) -> None:
    with pytest.raises(ValueError, match="weight of word must be finite"):
        Weights(word=weight)


@pytest.mark.parametrize("name", NAMES)
def test_what_weights_need(name: str) -> None:
    alone = Weights(**{**OFF, name: 1.0})
    assert alone.judged == (name in ("adversarial", "match", "regression"))
