"""The plain torch rasteriser against numpy, hand-computed shapes and numerical derivatives."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from neuralpaint.renderers import reference
from neuralpaint.renderers.stroke import random_strokes, to_pixels

# Geometry: P0, P1, P2, r0, v0, r1, v1, r, g, b in pixels.
CURVE = [2.3, 3.1, 9.2, 1.4, 10.4, 9.3, 2.2, 0.9, 0.8, 0.3, 0.2, 0.5, 0.9]
RISING = [9.1, 2.2, 4.4, 5.1, 2.3, 10.2, 1.1, 0.2, 3.3, 0.7, 0.9, 0.1, 0.6]


def random_images(*shape: int) -> Tensor:
    """The same float64 noise in [0, 1] every time."""
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def geometry(*numbers: float) -> Tensor:
    """One stroke in pixels, float64; colours 0 where they are left out."""
    return torch.tensor([[*numbers, *[0.0] * (13 - len(numbers))]], dtype=torch.float64)


def straight(
    x0: float, y0: float, x2: float, y2: float, radius: float, v0: float = 1, v1: float = 1
) -> Tensor:
    middle = (x0 + x2) / 2, (y0 + y2) / 2
    return geometry(x0, y0, *middle, x2, y2, radius, v0, radius, v1)


def dense_alpha(stroke: np.ndarray, height: int, width: int, softness: float) -> np.ndarray:
    """The definition in numpy: 2000 samples of t, then as many again around the best of them."""
    p0, p1, p2 = stroke[0:2], stroke[2:4], stroke[4:6]
    r0, v0, r1, v1 = stroke[6:10]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)

    def depth(t: np.ndarray) -> np.ndarray:
        place = [p0[i] * (1 - t) ** 2 + p1[i] * 2 * t * (1 - t) + p2[i] * t**2 for i in (0, 1)]
        below: np.ndarray = r0 * (1 - t) + r1 * t - np.hypot(x - place[0], y - place[1])
        return below

    best = np.full((height, width), -np.inf)
    where = np.zeros((height, width))
    coarse = np.linspace(0, 1, 2001)
    for t in coarse:
        trial = np.full((height, width), t)
        better = depth(trial) > best
        where, best = np.where(better, trial, where), np.maximum(best, depth(trial))
    for shift in np.linspace(-1 / 2000, 1 / 2000, 201):
        trial = np.clip(where + shift, 0, 1)
        finer = depth(trial)
        better = finer > best
        best = np.where(better, finer, best)
        where = np.where(better, trial, where)
    coverage: np.ndarray = np.clip(best / (2 * softness) + 0.5, 0, 1)
    alpha: np.ndarray = coverage * (v0 * (1 - where) + v1 * where)
    return alpha


# --- the curve ---


def test_points_of_the_curve_by_hand() -> None:
    xs = tuple(torch.tensor(v) for v in (1.0, 4.0, 3.0))
    t = torch.tensor([0.0, 0.5, 1.0])
    # At t = 1/2: (1 + 2 * 4 + 3) / 4 = 3.
    assert reference.curve_point((xs[0], xs[1], xs[2]), t).tolist() == [1, 3, 3]
    # Q' = 2 (1-t) (P1 - P0) + 2 t (P2 - P1).
    assert reference.curve_slope((xs[0], xs[1], xs[2]), t).tolist() == [6, 2, -2]


def test_the_slope_is_the_derivative_of_the_point() -> None:
    points = random_images(3).unbind()
    t = torch.linspace(0, 1, 7, dtype=torch.float64, requires_grad=True)
    value = reference.curve_point((points[0], points[1], points[2]), t)
    (slope,) = torch.autograd.grad(value.sum(), t)
    torch.testing.assert_close(
        reference.curve_slope((points[0], points[1], points[2]), t.detach()), slope
    )


# --- coverage ---


@pytest.mark.parametrize("softness", [0.5, 0.2, 1.5])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (10, 24)])
def test_agrees_with_a_dense_search(height: int, width: int, softness: float) -> None:
    strokes = random_strokes(6, torch.Generator().manual_seed(3), "mixed").double()
    shapes = to_pixels(strokes, height, width)
    ours = reference.alpha(shapes, height, width, softness).numpy()
    dense = [dense_alpha(stroke, height, width, softness) for stroke in shapes.numpy()]
    np.testing.assert_allclose(ours, np.stack(dense), atol=5e-4)


def test_a_straight_stroke_by_hand() -> None:
    """Radius 2.5 around the line from (4, 8) to (12, 8)."""
    alpha = reference.alpha(straight(4, 8, 12, 8, 2.5), 16, 16)[0]
    # Centres of rows 5 to 10 lie 2.5, 1.5, 0.5, 0.5, 1.5, 2.5 from the axis.
    column = [0.0] * 5 + [0.5, 1, 1, 1, 1, 0.5] + [0.0] * 5
    torch.testing.assert_close(alpha[:, 7], torch.tensor(column, dtype=torch.float64))
    # Row 7 is 0.5 off the axis; left of the end its centres are hypot(0.5, 4 - x) from P0.
    for x in range(4):
        depth = 2.5 - math.hypot(0.5, 4 - (x + 0.5))
        assert alpha[7, x].item() == pytest.approx(min(1, max(0, depth + 0.5)), abs=1e-6)
    # The ramp is symmetric about the edge, so the body covers 2 r L and the two end caps
    # together a disc, pi (r^2 + 1/12).
    area = 2 * 2.5 * 8 + math.pi * (2.5**2 + 1 / 12)
    assert alpha.sum().item() == pytest.approx(area, rel=2e-3)


@pytest.mark.parametrize("radius", [1.5, 3.0, 5.25])
def test_a_dab_is_a_disc(radius: float) -> None:
    alpha = reference.alpha(straight(8, 8, 8, 8, radius), 16, 16)[0]
    y, x = np.mgrid[0:16, 0:16] + 0.5
    disc = np.clip(radius - np.hypot(x - 8, y - 8) + 0.5, 0, 1)
    np.testing.assert_allclose(alpha.numpy(), disc, atol=1e-6)
    assert alpha.sum().item() == pytest.approx(math.pi * (radius**2 + 1 / 12), rel=0.01)


def test_a_growing_dab_is_its_thick_end() -> None:
    dab = geometry(8, 8, 8, 8, 8, 8, 0.5, 0.2, 4, 0.7)
    torch.testing.assert_close(
        reference.alpha(dab, 16, 16), reference.alpha(straight(8, 8, 8, 8, 4, 0.7, 0.7), 16, 16)
    )


def test_a_cone_by_hand() -> None:
    """From (2, 8), radius 1, to (12, 8), radius 4: edges are the tangents of the end discs."""
    cone = geometry(2, 8, 7, 8, 12, 8, 1, 1, 4, 1)
    alpha = reference.alpha(cone, 16, 16)[0]
    # The edge climbs by sin = 3 / 10 of the way. A centre at a along the axis and h off it is
    # deepest below the disc at u = a + h tan: 1 + a sin - h cos, as long as u is on the axis.
    sine, cosine = 0.3, math.sqrt(1 - 0.3**2)
    for x in range(4, 11):
        for y in range(8, 14):
            along, h = x + 0.5 - 2, y + 0.5 - 8
            depth = 1 + along * sine - h * cosine
            inner = 0 < along + h * sine / cosine < 10
            if inner:
                assert alpha[y, x].item() == pytest.approx(min(1, max(0, depth + 0.5)), abs=1e-5)


def test_softness_widens_the_edge_about_the_same_line() -> None:
    sharp, soft = (reference.alpha(straight(-9, 8, 25, 8, 4), 16, 1, s)[0, :, 0] for s in (0.25, 2))
    # Depths at rows 8 to 15: 3.5, 2.5, ... -3.5.
    assert sharp[8:].tolist() == pytest.approx([1, 1, 1, 1, 0, 0, 0, 0])
    assert soft[8:].tolist() == pytest.approx([1, 1, 0.875, 0.625, 0.375, 0.125, 0, 0])


# --- opacity ---


def test_opacity_is_that_of_the_covering_point() -> None:
    """Along a straight stroke of one radius the covering point is the foot of the perpendicular."""
    alpha = reference.alpha(straight(2, 8, 14, 8, 3, 0.2, 0.8), 16, 16)[0]
    for x in range(2, 14):
        share = (x + 0.5 - 2) / 12
        assert alpha[7, x].item() == pytest.approx(0.2 + 0.6 * share, abs=1e-6)
    assert alpha[7, 0].item() == pytest.approx(0.2)  # before the start
    assert alpha[7, 15].item() == pytest.approx(0.8)  # behind the end


def test_a_stroke_that_crosses_itself_has_no_seam() -> None:
    """Nowhere is it more opaque than its most opaque end, however often it passes."""
    there_and_back = geometry(2, 8, 26, 8, 4, 8, 2, 0.5, 2, 0.5)
    assert reference.alpha(there_and_back, 16, 16).max().item() == pytest.approx(0.5)


# --- derivatives ---


@pytest.mark.parametrize(("softness", "numbers"), [(0.5, CURVE), (1.3, RISING)])
def test_derivatives_of_all_thirteen_numbers(softness: float, numbers: list[float]) -> None:
    stroke = torch.tensor([[numbers]], dtype=torch.float64, requires_grad=True)
    canvas, pull = random_images(2, 3, 11, 12)[:, None]
    assert torch.autograd.gradcheck(lambda s: reference.paint(canvas, s, softness), stroke)
    (grad,) = torch.autograd.grad((reference.paint(canvas, stroke, softness) * pull).sum(), stroke)
    assert (grad.abs() > 1e-3).all()  # every number is put to the test


def test_the_derivative_of_the_canvas_is_what_shines_through() -> None:
    strokes = torch.tensor([[CURVE]], dtype=torch.float64)
    canvas = random_images(1, 3, 11, 12).requires_grad_()
    (grad,) = torch.autograd.grad(reference.paint(canvas, strokes).sum(), canvas)
    shines = 1 - reference.alpha(strokes[0], 11, 12)
    torch.testing.assert_close(grad[0], shines.expand(3, 11, 12))


def test_the_opacity_ramp_pulls_on_the_shape() -> None:
    """Inside the stroke coverage is 1: only v(t*) moves, as the formula of dt*/dx0 says."""
    stroke = straight(2, 8, 14, 8, 3, 0.2, 0.8).requires_grad_()
    alpha = reference.alpha(stroke, 16, 16)[0, 7, 6]
    (grad,) = torch.autograd.grad(alpha, stroke)
    # t* = (6.5 - x0) / (x2 - x0): at x0 = 2, x2 = 14, dt/dx0 = (t - 1) / 12, dt/dx2 = -t / 12,
    # where the middle point moves along: half of each end's share comes through P1.
    t = 4.5 / 12
    total_start = grad[0, 0] + grad[0, 2] / 2
    total_end = grad[0, 4] + grad[0, 2] / 2
    assert total_start.item() == pytest.approx(0.6 * (t - 1) / 12, abs=1e-6)
    assert total_end.item() == pytest.approx(-0.6 * t / 12, abs=1e-6)
    assert grad[0, 7].item() == pytest.approx(1 - t, abs=1e-6)
    assert grad[0, 9].item() == pytest.approx(t, abs=1e-6)


# --- painting ---


def test_painting_by_hand() -> None:
    """Two discs that hold the one pixel, opacities 0.5 and 0.25, over grey 0.4."""
    dab = [0.5, 0.5] * 3
    strokes = torch.tensor(
        [[[*dab, 3, 0.5, 3, 0.5, 1, 0, 0.2], [*dab, 3, 0.25, 3, 0.25, 0, 1, 0.8]]],
        dtype=torch.float64,
    )
    painted = reference.paint(torch.full((1, 3, 1, 1), 0.4, dtype=torch.float64), strokes)
    # red: 0.4 -> 0.7 -> 0.525; green: 0.4 -> 0.2 -> 0.4; blue: 0.4 -> 0.3 -> 0.425.
    assert painted.flatten().tolist() == pytest.approx([0.525, 0.4, 0.425])


def test_one_channel_takes_the_first_colour() -> None:
    strokes = torch.tensor([[CURVE]], dtype=torch.float64)
    canvas = random_images(1, 3, 8, 8)
    assert torch.equal(
        reference.paint(canvas[:, :1], strokes), reference.paint(canvas, strokes)[:, :1]
    )


def test_no_strokes_leave_the_canvas() -> None:
    canvas = random_images(2, 3, 4, 5)
    assert torch.equal(reference.paint(canvas, torch.zeros(2, 0, 13)), canvas)
