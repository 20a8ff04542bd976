"""Gradient descent on strokes: the exact gradient, Adam by hand, errors that fall."""

import numpy as np
import pytest
import torch
from torch import Tensor

from neuralpaint.agents.descent import RATE, RATES, Descent, Image, descend, process_gradient
from neuralpaint.envs.procedural import picture
from neuralpaint.renderers import bezier
from neuralpaint.renderers.stroke import random_strokes


def test_process_gradient_equals_autograd_through_the_renderer() -> None:
    generator = torch.Generator().manual_seed(0)
    strokes = random_strokes(6, generator)
    target = torch.rand(3, 40, 24, generator=generator)
    background = torch.rand(3, 40, 24, generator=generator)
    weights = np.array([0, 0.5, 0, 0, 2, 1], np.float32)

    leaf = strokes.clone().requires_grad_()
    canvas, loss, expected = background[None], torch.zeros(()), np.zeros(6)
    for k in range(6):
        canvas = bezier.paint(canvas, leaf[None, k : k + 1])
        error = (canvas[0] - target).square().sum()
        loss = loss + float(weights[k]) * error
        expected[k] = float(error.detach()) if weights[k] else 0
    loss.backward()
    assert leaf.grad is not None

    errors, gradient = process_gradient(
        strokes, background.numpy(), target.numpy(), weights, softness=0.5
    )
    np.testing.assert_allclose(errors, expected, rtol=1e-4)
    scale = float(leaf.grad.abs().max())
    np.testing.assert_allclose(gradient.numpy(), leaf.grad.numpy(), atol=1e-4 * scale)


def test_a_canvas_of_no_weight_has_no_error_and_strokes_are_not_changed() -> None:
    strokes = random_strokes(3, torch.Generator().manual_seed(0))
    before = strokes.clone()
    black, white = np.zeros((3, 9, 7), np.float32), np.ones((3, 9, 7), np.float32)
    errors, gradient = process_gradient(strokes, black, white, np.zeros(3, np.float32), 0.5)
    assert errors.tolist() == [0, 0, 0]
    assert gradient.shape == (3, 13)
    assert not gradient.any()
    assert not strokes.requires_grad
    assert torch.equal(strokes, before)


def test_the_error_of_an_invisible_stroke_is_that_of_the_canvas() -> None:
    black, target = np.zeros((3, 9, 7), np.float32), np.full((3, 9, 7), 0.5, np.float32)
    errors, _ = process_gradient(torch.zeros(2, 13), black, target, np.ones(2, np.float32), 0.5)
    np.testing.assert_allclose(errors, 3 * 9 * 7 * 0.25, rtol=1e-6)


def test_steps_of_adam_by_hand() -> None:
    strokes = torch.full((2, 13), 0.5)
    descent = Descent(strokes, 0.1)
    gradient = torch.full((2, 13), -3.0)
    gradient[1] = 3.0
    descent.step(gradient, 1.0)
    # The first step is the rate itself: mean g, spread |g|.
    assert descent.strokes[0].tolist() == pytest.approx((0.5 + 0.1 * RATES).tolist())
    assert descent.strokes[1].tolist() == pytest.approx((0.5 - 0.1 * RATES).tolist())
    descent.step(0 * gradient, 0.5)
    # mean 0.09 * 3 / (1 - 0.81), spread sqrt(0.0099 * 9 / (1 - 0.9801))
    move = 0.5 * 0.1 * (0.27 / 0.19) / (0.0891 / 0.0199) ** 0.5
    assert descent.strokes[0].tolist() == pytest.approx((0.5 + (0.1 + move) * RATES).tolist())
    assert (strokes == 0.5).all()
    for _ in range(20):
        descent.step(gradient, 1.0)
    assert (descent.strokes[0] == 1).all()
    assert (descent.strokes[1] == 0).all()


def scene() -> tuple[Tensor, Image, Image]:
    """Strokes, a background and a target."""
    strokes = random_strokes(6, torch.Generator().manual_seed(0))
    target = picture(np.random.default_rng(0), 32, 40).transpose(2, 0, 1)
    return strokes, np.full((3, 32, 40), 0.5, np.float32), np.ascontiguousarray(target)


@pytest.mark.parametrize("wanted", [[0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]])
def test_descending_lowers_the_errors_that_count(wanted: list[float]) -> None:
    strokes, background, target = scene()
    weights = np.array(wanted, np.float32)
    way = list(descend(strokes, background, target, weights, 60, (0.7, 0.5), 0.1, 4 * RATE))
    assert len(way) == 60
    before, _ = process_gradient(strokes, background, target, weights, 0.5)
    moved = way[-1][0]
    after, _ = process_gradient(moved, background, target, weights, 0.5)
    counts = weights > 0
    assert np.log(after[counts]).sum() < np.log(before[counts]).sum() - 0.5 * counts.sum()
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert torch.equal(strokes, scene()[0])


def test_errors_on_the_way_are_those_before_each_step() -> None:
    strokes, background, target = scene()
    last = np.array([0, 0, 0, 0, 0, 1], np.float32)
    way = list(descend(strokes, background, target, last, 3, (0.5, 0.5), 0.1))
    for before, (_, error) in zip([strokes, *(moved for moved, _ in way)], way, strict=False):
        expected, _ = process_gradient(before, background, target, last, 0.5)
        assert error == pytest.approx(float(expected[-1]))


def test_no_steps() -> None:
    strokes, background, target = scene()
    assert not list(
        descend(strokes, background, target, np.ones(6, np.float32), 0, (1.0, 1.0), 0.1)
    )
