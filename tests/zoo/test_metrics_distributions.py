"""Inception Score and FID: closed forms, scipy's matrix root, floors and ceilings."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor
from torch.nn import functional

from neuralpaint.zoo.metrics.distributions import (
    Moments,
    fid,
    frechet_distance,
    inception_score,
    moments,
)


def normal(count: int, features: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=generator, dtype=torch.float64)


# --- Inception Score -----------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 7, 50])
def test_sure_of_each_class_equally_often_is_the_number_of_classes(classes: int) -> None:
    table = functional.one_hot(torch.arange(10 * classes) % classes, classes).float()
    assert inception_score(table, 10) == pytest.approx((classes, 0), abs=1e-5)


def test_all_predictions_alike_is_one() -> None:
    table = torch.tensor([[0.2, 0.5, 0.3]]).expand(40, 3)
    assert inception_score(table) == pytest.approx((1, 0), abs=1e-6)
    assert inception_score(functional.one_hot(torch.zeros(40).long(), 3)) == pytest.approx((1, 0))


def test_by_hand() -> None:
    # p(y) = (1/2, 1/2); KL of (3/4, 1/4) from it = 3/4 log 3/2 + 1/4 log 1/2, the same of the other
    table = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    expected = math.exp(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert inception_score(table, 1).value == pytest.approx(expected)
    # two parts: one sure of both classes (score 2), one sure of a single class (score 1)
    table = torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    assert inception_score(table, 2) == pytest.approx((1.5, 0.5))


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 12), splits=st.integers(1, 5))
def test_lies_between_one_and_the_number_of_classes(seed: int, classes: int, splits: int) -> None:
    score = inception_score(normal(30, classes, seed).mul(3).softmax(1), splits)
    assert 1 <= score.value <= classes


@pytest.mark.parametrize(
    "table",
    [torch.ones(20, 3), torch.tensor([[-1.0, 2.0]]).expand(20, 2), torch.full((20, 2), math.nan)],
)
def test_refuses_what_are_no_probabilities(table: Tensor) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        inception_score(table)


def test_refuses_more_parts_than_rows() -> None:
    with pytest.raises(ValueError, match="5 parts"):
        inception_score(torch.eye(4), 5)


# --- FID -----------------------------------------------------------------------------------------


def test_gaussians_with_diagonal_covariance_in_closed_form() -> None:
    # per axis: (difference of means)^2 + (difference of standard deviations)^2
    first = Moments(torch.tensor([0.0, 1, 5]).double(), torch.tensor([1.0, 4, 9]).double().diag())
    second = Moments(torch.tensor([3.0, 1, 5]).double(), torch.tensor([4.0, 4, 0]).double().diag())
    assert frechet_distance(first, second) == pytest.approx(9 + 1 + 0 + 9)
    assert frechet_distance(second, first) == pytest.approx(19)


def test_is_the_formula_with_the_matrix_root_of_scipy() -> None:
    one = normal(200, 12, 0) @ normal(12, 12, 1) + 1
    two = normal(150, 12, 2) @ normal(12, 12, 3)
    a, b = one.numpy(), two.numpy()
    s, t = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    assert frechet_distance(moments(one), moments(two)) == pytest.approx(expected, rel=1e-9)
    assert fid(one, two).value == pytest.approx(expected, rel=1e-9)


def test_moments_are_those_of_numpy() -> None:
    values = normal(30, 5, 0).float()
    found = moments(values)
    assert np.allclose(found.mean, values.double().numpy().mean(0), atol=1e-12)
    assert np.allclose(found.covariance, np.cov(values.double().numpy().T), atol=1e-12)


def test_copies_and_singular_covariances() -> None:
    few = normal(10, 64, 0)  # rank 9 of 64
    assert fid(few, few).value == pytest.approx(0, abs=1e-9)
    assert fid(few, few.flip(0)).value == pytest.approx(0, abs=1e-9)
    assert fid(few, few + 2).value == pytest.approx(4 * 64, rel=1e-9)
    same = torch.ones(5, 3)
    assert fid(same, same + 1).value == pytest.approx(3)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 5), count=st.integers(4, 40))
def test_symmetric_not_negative_and_grows_with_the_square(
    seed: int, scale: float, count: int
) -> None:
    one, two = normal(count, 6, seed), 2 * normal(count + 3, 6, seed + 1) + 1
    value = frechet_distance(moments(one), moments(two))
    assert value >= 0
    assert frechet_distance(moments(two), moments(one)) == pytest.approx(value, rel=1e-6, abs=1e-6)
    scaled = frechet_distance(moments(scale * one), moments(scale * two))
    assert scaled == pytest.approx(scale**2 * value, rel=1e-6, abs=1e-6)


def test_the_interval_covers_what_other_draws_give() -> None:
    real = normal(2000, 4, 0)
    scores = [fid(real, normal(400, 4, seed) + 0.5) for seed in range(1, 31)]
    values = torch.tensor([score.value for score in scores])
    half = torch.tensor([score.spread for score in scores])
    # the mean width is about 1.96 standard deviations over draws
    assert half.mean().item() == pytest.approx(1.96 * values.std().item(), rel=0.4)
    inside = ((values - values.mean()).abs() < half).double().mean().item()
    assert inside > 0.8


def test_two_pictures_have_a_distance_but_no_interval() -> None:
    assert fid(normal(9, 3, 0), normal(2, 3, 1)).spread == math.inf


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(1, 3), "two pictures"),
        (torch.full((4, 3), math.inf), "infinity"),
        (torch.zeros(4, 2), "two networks"),
    ],
)
def test_refused_features(features: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fid(torch.zeros(4, 3), features)
