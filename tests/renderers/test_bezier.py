"""The exact renderer on the CPU: agreement with the reference, invariants, shapes, fused losses.

Known and accepted: the kernel picks t* among chords that stay within a quarter of a pixel of the
curve. Where two places of a curve cover a pixel almost equally deeply (within 0.3 pixels, on its
concave side) it may pick the other one. `competes` finds these pixels by brute force. Besides
them, Newton's three steps do not finish in about one pixel of 90,000, which shows in opacity only.
"""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from neuralpaint.renderers import bezier, bezier_cpu, get, reference
from neuralpaint.renderers.stroke import Control, random_strokes, to_pixels

Thickness = Literal["uniform", "mixed"]
BUNDLES = arrays(np.float32, (3, 13), elements=st.floats(0, 1, width=32))


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore torch's number of threads after the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def draw(count: int, thickness: Thickness = "uniform", seed: int = 0) -> Tensor:
    return random_strokes(count, torch.Generator().manual_seed(seed), thickness)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def reference_alpha(strokes: Tensor, height: int, width: int, softness: float) -> Tensor:
    """In float64, a few strokes at a time so that they stay in the cache."""
    shapes = to_pixels(strokes, height, width).double().split(8)
    return torch.cat([reference.alpha(part, height, width, softness) for part in shapes])


def competes(shape: np.ndarray, y: int, x: int) -> bool:
    """Whether two separate places of the curve cover a pixel to within 0.3 pixels of depth."""
    t = np.linspace(0, 1, 4001)
    weights = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    distance = np.hypot(x + 0.5 - shape[0:6:2] @ weights, y + 0.5 - shape[1:6:2] @ weights)
    depth = np.pad(shape[6] + (shape[8] - shape[6]) * t - distance, 1, constant_values=-np.inf)
    peaks = depth[1:-1][(depth[1:-1] >= depth[:-2]) & (depth[1:-1] > depth[2:])]
    return bool((peaks > peaks.max() - 0.3).sum() > 1)


# --- agreement with the reference ---


@pytest.mark.parametrize(
    ("thickness", "height", "width", "softness"),
    [
        ("uniform", 40, 40, 0.5),
        ("mixed", 40, 40, 0.5),
        ("uniform", 28, 64, 0.5),
        ("mixed", 64, 28, 0.5),
        ("mixed", 40, 40, 0.25),
        ("uniform", 40, 40, 2.0),
    ],
)
def test_alpha_agrees_with_the_reference(
    thickness: Thickness, height: int, width: int, softness: float
) -> None:
    strokes = draw(256, thickness)
    opaque = strokes.clone()
    opaque[:, [7, 9]] = 1
    pixels = len(strokes) * height * width

    shapes = to_pixels(strokes, height, width).double().numpy()

    def compare(strokes: Tensor) -> tuple[Tensor, int, int]:
        """The errors, and how many exceed 1e-3: all of them, those without competition."""
        ours = bezier.alpha(strokes, height, width, softness=softness)
        error = (ours - reference_alpha(strokes, height, width, softness)).abs()
        wrong = (error > 1e-3).nonzero().tolist()
        return error, len(wrong), sum(not competes(shapes[k], y, x) for k, y, x in wrong)

    coverage, wrong, unexplained = compare(opaque)
    assert unexplained <= 1
    assert wrong <= pixels / 12_000
    assert coverage.max() < 0.3 / (2 * softness)
    assert coverage.mean() < 1.5e-6
    alpha, wrong, unexplained = compare(strokes)
    assert unexplained <= pixels / 40_000
    assert wrong <= pixels / 3_500
    assert alpha.mean() < 3e-5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("control", ["relative", "absolute"])
def test_painting_agrees_with_the_reference(channels: int, control: Control) -> None:
    canvas, strokes = noise(4, channels, 30, 44), draw(24, "mixed", seed=1).view(4, 6, 13)
    strokes[..., 9] = strokes[..., 7]  # one opacity, so that no two places of a curve differ
    painted = bezier.paint(canvas, strokes, control=control)
    shapes = to_pixels(strokes, 30, 44, control).double()
    expected = reference.paint(canvas.double(), shapes)
    assert ((painted - expected).abs() > 1e-3).sum() <= 3 * channels
    assert (painted - expected).abs().mean() < 2e-5
    assert (painted - canvas).abs().mean() > 0.05


@pytest.mark.parametrize("thick_end", [0, 1])
def test_a_dab_with_two_radii_is_its_thick_end(thick_end: int) -> None:
    """Both ends at one place, as actions at the corner of the action space have them."""
    dab = torch.tensor([[0.5, 0.5, 0, 0, 0.5, 0.5, 0, 0.2, 0, 0.7, 1, 1, 1]])
    dab[0, 6 + 2 * thick_end] = 1
    alpha = bezier.alpha(dab, 32, 32)
    torch.testing.assert_close(alpha.double(), reference_alpha(dab, 32, 32, 0.5), atol=1e-5, rtol=0)
    # Radius 8.5 and half: pi (8.5^2 + 1/12) pixels.
    opacity = (0.2, 0.7)[thick_end]
    assert alpha.sum().item() == pytest.approx(opacity * math.pi * (8.5**2 + 1 / 12), rel=0.01)


def test_saturated_strokes_agree_with_the_reference() -> None:
    corners = torch.randint(0, 3, (300, 13), generator=torch.Generator().manual_seed(0)) / 2
    corners[:, [7, 9]] = 1
    error = (bezier.alpha(corners, 16, 20) - reference_alpha(corners, 16, 20, 0.5)).abs()
    # Symmetric curves put pixel centres exactly between two of their places.
    assert (error > 1e-3).sum() <= 12
    assert error.max() < 0.05


@pytest.mark.parametrize("softness", [0.25, 0.5, 2.0])
@pytest.mark.parametrize("thickness", ["uniform", "mixed"])
def test_gradients_agree_with_the_reference(thickness: Thickness, softness: float) -> None:
    strokes, height, width = draw(64, thickness, seed=1), 30, 36
    strokes[:, 10:] = 1
    shapes = to_pixels(strokes, height, width)
    ramp = strokes.clone()
    ramp[:, 7], ramp[:, 9] = 0.25, 1  # its alpha tells t* apart
    agree = (
        bezier.alpha(ramp, height, width, softness=softness)
        - reference_alpha(ramp, height, width, softness)
    ).abs() < 1e-4
    assert (~agree).sum() <= agree.numel() / 1_000
    pull = agree * (noise(64, height, width) - 0.5)

    mine = shapes.clone().requires_grad_()
    painted = bezier.paint_geometry(torch.zeros(64, 1, height, width), mine[:, None], softness)
    (ours,) = torch.autograd.grad((painted[:, 0] * pull).sum(), mine)
    exact = shapes.double().requires_grad_()
    for part, pulls in zip(exact.split(8), pull.split(8), strict=True):
        (reference.alpha(part, height, width, softness) * pulls).sum().backward()
    assert exact.grad is not None
    difference = (ours - exact.grad)[:, :10].norm(dim=1) / exact.grad[:, :10].norm(dim=1)
    assert difference.max() < 3e-4
    assert difference.median() < 1e-5


def test_gradients_of_canvas_and_colours_agree_with_the_reference() -> None:
    shapes = to_pixels(draw(6, seed=3).view(2, 3, 13), 24, 20)
    shapes[..., 9] = shapes[..., 7]
    canvas, pull = noise(2, 3, 24, 20), noise(2, 3, 24, 20, seed=1)
    grads = []
    for paint, kind in ((bezier.paint_geometry, torch.float32), (reference.paint, torch.float64)):
        leaves = [v.to(kind).requires_grad_() for v in (canvas, shapes)]
        grads.append(torch.autograd.grad((paint(leaves[0], leaves[1]) * pull).sum(), leaves))
    for ours, exact in zip(*grads, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=3e-3, atol=1e-3)


# --- invariants ---


@given(BUNDLES, st.integers(1, 9), st.integers(1, 13))
@settings(max_examples=60)
def test_alpha_and_canvas_stay_in_range(values: np.ndarray, height: int, width: int) -> None:
    strokes = torch.from_numpy(values)
    alpha = bezier.alpha(strokes, height, width)
    assert alpha.isfinite().all()
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    painted = bezier.paint(noise(1, 3, height, width), strokes[None])
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_many_opaque_layers_stay_in_range() -> None:
    """Rounding errors of a whole episode add up to nothing that leaves [0, 1]."""
    strokes = draw(400)
    strokes[:, 7:10:2] = strokes[:, 7:10:2].round()
    strokes[:, 10:] = strokes[:, 10:].round()
    painted = bezier.paint(noise(1, 3, 40, 40), strokes[None])
    assert painted.min() == 0
    assert painted.max() == 1


@given(BUNDLES)
@settings(max_examples=40)
def test_invisible_strokes_change_nothing(values: np.ndarray) -> None:
    strokes, canvas = torch.from_numpy(values.copy())[None], noise(1, 3, 9, 12)
    strokes[..., [7, 9]] = 0
    assert torch.equal(bezier.paint(canvas, strokes), canvas)


@given(BUNDLES)
@settings(max_examples=40)
def test_one_by_one_is_all_at_once(values: np.ndarray) -> None:
    strokes = torch.from_numpy(values)[None]
    canvas = noise(1, 3, 9, 12)
    together = bezier.paint(canvas, strokes)
    for stroke in strokes.split(1, 1):
        canvas = bezier.paint(canvas, stroke)
    assert torch.equal(canvas, together)


def test_recording_for_gradients_paints_the_same_bits() -> None:
    canvas, strokes = noise(2, 3, 40, 30), draw(20).view(2, 10, 13)
    plain = bezier.paint(canvas, strokes)
    assert torch.equal(bezier.paint(canvas, strokes.requires_grad_()), plain)
    assert torch.equal(bezier.paint(canvas.requires_grad_(), strokes.detach()), plain)


def test_inputs_are_never_changed() -> None:
    canvas, strokes = noise(2, 3, 24, 30).requires_grad_(), draw(8).view(2, 4, 13)
    strokes.requires_grad_()
    kept = canvas.detach().clone(), strokes.detach().clone()
    pull = noise(2, 3, 24, 30, seed=1)
    pulled = pull.clone()
    with torch.no_grad():
        bezier.paint(canvas, strokes)
    bezier.paint(canvas, strokes).backward(pull)
    assert torch.equal(canvas, kept[0])
    assert torch.equal(strokes, kept[1])
    assert torch.equal(pull, pulled)


def test_any_memory_layout_will_do() -> None:
    canvas, strokes = noise(2, 3, 24, 30), draw(8).view(2, 4, 13)
    expected = bezier.paint(canvas, strokes)
    last = canvas.contiguous(memory_format=torch.channels_last)
    assert torch.equal(bezier.paint(last, strokes.mT.contiguous().mT), expected)
    flat = torch.full((1, 1, 1, 1), 0.5).expand(2, 3, 24, 30)
    assert torch.equal(bezier.paint(flat, strokes), bezier.paint(flat.clone(), strokes))


# --- batches, bands, threads ---


def test_bands_depend_on_the_shape_alone() -> None:
    assert bezier.bands(128, 1) == [(16 * i, 16 * i + 16) for i in range(8)]
    assert bezier.bands(128, 8) == [(0, 128)]
    assert bezier.bands(15, 1) == [(0, 15)]
    assert bezier.bands(50, 2) == [(0, 16), (16, 33), (33, 50)]


def gradients(canvas: Tensor, strokes: Tensor, pull: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    leaves = canvas.clone().requires_grad_(), strokes.clone().requires_grad_()
    painted = bezier.paint(*leaves)
    ours = torch.autograd.grad((painted * pull).sum(), leaves)
    return painted.detach(), ours[0], ours[1]


def test_an_image_alone_is_the_image_in_a_batch() -> None:
    """Eight bands of one image and one band of each of eight images."""
    canvas, strokes = noise(8, 3, 128, 48), draw(8 * 12, "mixed").view(8, 12, 13)
    pull = noise(8, 3, 128, 48, seed=1)
    batch = gradients(canvas, strokes, pull)
    for i in range(8):
        alone = gradients(canvas[i : i + 1], strokes[i : i + 1], pull[i : i + 1])
        assert torch.equal(alone[0][0], batch[0][i])
        assert torch.equal(alone[1][0], batch[1][i])
        # Sums over pixels come in another order, in float64.
        torch.testing.assert_close(alone[2][0], batch[2][i], rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("threads")
def test_threads_change_no_bit() -> None:
    canvas, strokes = noise(2, 3, 128, 48), draw(24).view(2, 12, 13)
    pull = noise(2, 3, 128, 48, seed=1)
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(gradients(canvas, strokes, pull))
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


# --- unusual shapes ---


def test_no_strokes_give_a_copy_and_pass_gradients() -> None:
    canvas = noise(2, 3, 5, 6).requires_grad_()
    painted = bezier.paint(canvas, torch.zeros(2, 0, 13, requires_grad=True))
    assert torch.equal(painted, canvas)
    assert painted.data_ptr() != canvas.data_ptr()
    painted.sum().backward()
    assert canvas.grad is not None
    assert (canvas.grad == 1).all()
    assert bezier.paint(torch.zeros(0, 3, 5, 6), torch.zeros(0, 4, 13)).shape == (0, 3, 5, 6)
    assert bezier.alpha(torch.zeros(0, 13), 5, 6).shape == (0, 5, 6)


@pytest.mark.parametrize("shift", [-2.0, 2.0, 1000.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_strokes_off_the_canvas_change_nothing(shift: float, axis: int) -> None:
    strokes = draw(5)[None]
    strokes[..., axis:6:2] += shift
    canvas = noise(1, 3, 20, 33)
    painted, _, grad = gradients(canvas, strokes, torch.ones_like(canvas))
    off = bezier.paint(canvas, strokes, control="absolute")
    assert torch.equal(off, canvas)
    # With a relative middle point the control polygon moves, but less so.
    if abs(shift) > 100:
        assert torch.equal(painted, canvas)
        assert (grad == 0).all()


def test_thickness_slightly_outside_its_range_agrees_with_the_reference() -> None:
    strokes = draw(40)
    strokes[:, 6] = torch.linspace(-0.2, 0.1, 40)
    strokes[:, 8] = torch.linspace(1.1, -0.2, 40)
    strokes[:, [7, 9]] = 1
    error = (bezier.alpha(strokes, 32, 32) - reference_alpha(strokes, 32, 32, 0.5)).abs()
    assert (error > 1e-3).sum() <= 2
    vanishing = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.8, 0.8, -0.2, 1, -0.2, 1, 1, 1, 1]])
    assert (bezier.alpha(vanishing, 32, 32) == 0).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 64), (64, 1), (3, 5)])
def test_tiny_canvases_agree_with_the_reference(height: int, width: int) -> None:
    strokes = draw(60, "mixed", seed=2)
    strokes[:, 9] = strokes[:, 7]
    error = (
        bezier.alpha(strokes, height, width) - reference_alpha(strokes, height, width, 0.5)
    ).abs()
    assert (error > 1e-3).sum() <= 1
    assert error.max() < 0.01
    painted = bezier.paint(noise(1, 3, height, width).requires_grad_(), strokes[None])
    painted.sum().backward()


@pytest.mark.parametrize(
    ("control", "curve"),
    [
        ("relative", (0.02, 0.05, 0.2, 0.9, 0.1, 0.97)),
        ("absolute", (0.02, 0.05, 0.98, 0.98, 0.05, 0.02)),  # there and back, bent the most
    ],
)
def test_a_thin_stroke_on_a_huge_canvas(control: Control, curve: tuple[float, ...]) -> None:
    side = 4096
    stroke = torch.tensor([[*curve, 0, 1, 0, 1, 1, 1, 1]])
    alpha = bezier.alpha(stroke, side, side, control=control)[0]
    shape = to_pixels(stroke, side, side, control)[0].double().numpy()
    t = np.linspace(0, 1, 20001)
    weights = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    xs, ys = shape[0:6:2] @ weights, shape[1:6:2] @ weights
    # A ramp of half a pixel on both sides of radius 1/2 holds one pixel per pixel of length.
    length = np.hypot(np.diff(xs), np.diff(ys)).sum()
    assert alpha.sum().item() == pytest.approx(length, rel=2e-3)
    for i in range(500, 20000, 1500):  # windows that hold all of the curve that is near
        y, x = int(ys[i]), int(xs[i])
        near = np.abs(t - t[i]) < 0.01
        for row in range(max(0, y - 2), min(side, y + 3)):
            for column in range(max(0, x - 2), min(side, x + 3)):
                fine = np.linspace(t[near][0], t[near][-1], 20001)
                weights = np.stack([(1 - fine) ** 2, 2 * fine * (1 - fine), fine**2])
                distance = np.hypot(
                    column + 0.5 - shape[0:6:2] @ weights, row + 0.5 - shape[1:6:2] @ weights
                )
                expected = min(1, max(0, 1 - distance.min()))
                assert alpha[row, column].item() == pytest.approx(expected, abs=4e-3)


# --- errors ---


@pytest.mark.parametrize(
    ("canvas", "strokes"),
    [
        ((3, 8, 8), (1, 2, 13)),
        ((1, 3, 8, 8), (2, 13)),
        ((2, 3, 8, 8), (1, 2, 13)),
        ((1, 3, 8, 8), (1, 2, 12)),
        ((1, 3, 8, 8), (1, 2, 14)),
        ((1, 2, 8, 8), (1, 2, 13)),
        ((1, 4, 8, 8), (1, 2, 13)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    canvas: tuple[int, ...], strokes: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"paint wants a canvas .* and strokes") as error:
        bezier.paint(torch.zeros(canvas), torch.zeros(strokes))
    assert str(canvas) in str(error.value)
    assert str(strokes) in str(error.value)


@pytest.mark.parametrize("softness", [0.0, -1.0, math.nan])
def test_an_edge_without_width_is_refused(softness: float) -> None:
    with pytest.raises(ValueError, match="softness must be positive"):
        bezier.paint(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 13), softness=softness)


def test_get_finds_the_exact_renderer_and_names_the_known() -> None:
    assert get("bezier") is bezier.paint
    with pytest.raises(ValueError, match="renderer 'oil' is unknown; known: bezier, neural"):
        get("oil")


# --- fused losses of the painter ---


def process(
    shapes: Tensor, canvas: Tensor, target: Tensor, weights: Tensor, rows: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    grad, errors = np.zeros(shapes.shape), np.zeros(len(shapes))
    bezier_cpu.process_rows(
        shapes.numpy(), canvas.numpy(), target.numpy(), weights.numpy(), *rows, 0.5, grad, errors
    )
    return grad, errors


@pytest.mark.parametrize("channels", [1, 3])
def test_process_loss_is_the_sum_over_the_canvases(channels: int) -> None:
    shapes = to_pixels(draw(6, "mixed", seed=4), 24, 31)
    canvas, target = noise(channels, 24, 31), noise(channels, 24, 31, seed=1)
    weights = torch.tensor([0, 0.5, 0, 1, 0.25, 2])

    leaf, shown = shapes.clone().requires_grad_(), canvas[None]
    expected = []
    for k in range(6):
        shown = bezier.paint_geometry(shown, leaf[None, k : k + 1])
        expected.append((shown - target).square().sum())
    losses = torch.stack(expected)
    (exact,) = torch.autograd.grad((weights * losses).sum(), leaf)

    kept = shapes.clone(), canvas.clone(), target.clone()
    grad, errors = process(shapes, canvas, target, weights, (0, 24))
    assert all(map(torch.equal, kept, (shapes, canvas, target)))
    wanted = (weights > 0).numpy()
    np.testing.assert_allclose(errors[wanted], losses.detach().numpy()[wanted], rtol=1e-4)
    assert (errors[~wanted] == 0).all()
    largest = exact.abs().max().item()
    np.testing.assert_allclose(grad, exact.numpy(), rtol=1e-3, atol=1e-5 * largest)
    if channels == 1:
        assert (grad[:, 11:] == 0).all()

    halves = [process(shapes, canvas, target, weights, rows) for rows in ((0, 11), (11, 24))]
    summed = halves[0][0] + halves[1][0]
    np.testing.assert_allclose(summed, grad, rtol=1e-3, atol=1e-4 * largest)
    np.testing.assert_allclose(halves[0][1] + halves[1][1], errors, rtol=1e-5)

    plain = np.zeros(6)
    arguments = shapes.numpy(), canvas.numpy(), target.numpy(), weights.numpy()
    for rows in ((0, 7), (7, 24)):
        bezier_cpu.process_errors(*arguments, *rows, 0.5, plain)
    np.testing.assert_allclose(plain, errors, rtol=1e-5)
    assert torch.equal(canvas, kept[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_score_finds_the_best_colour_and_its_gain(channels: int) -> None:
    height, width = 22, 27
    strokes = draw(12, "mixed", seed=5)
    strokes[10, [7, 9]] = 0  # invisible
    strokes[11, 0:6:2] += 9  # off the canvas
    canvas, target = noise(channels, height, width), noise(channels, height, width, seed=1)
    target[0] = target[0] * 0.1  # pulls best colours below 0
    alphas = bezier.alpha(strokes, height, width).double().numpy()
    shapes = to_pixels(strokes, height, width).numpy()
    before, gains = shapes.copy(), np.full(12, -1, np.float32)
    bezier_cpu.score(shapes, canvas.numpy(), target.numpy(), 0.5, gains)

    assert gains[10] == gains[11] == 0
    np.testing.assert_array_equal(shapes[10:], before[10:])
    np.testing.assert_array_equal(shapes[:, :10], before[:, :10])
    np.testing.assert_array_equal(shapes[:, 10 + channels :], before[:, 10 + channels :])
    clipped = 0
    for k in range(10):
        alpha, gain = alphas[k].ravel(), 0.0
        for c in range(channels):
            old, goal = (v[c].double().numpy().ravel() for v in (canvas, target))
            best = np.linalg.lstsq(alpha[:, None], goal - (1 - alpha) * old, rcond=None)[0][0]
            clipped += best < 0
            colour = min(1, max(0, best))
            assert shapes[k, 10 + c] == pytest.approx(colour, abs=1e-4)
            new = alpha * colour + (1 - alpha) * old
            gain += ((goal - old) ** 2).sum() - ((goal - new) ** 2).sum()
        assert gains[k] == pytest.approx(gain, rel=1e-3, abs=1e-3)
    assert clipped > 0
