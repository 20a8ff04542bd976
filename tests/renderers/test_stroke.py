"""The stroke format: field order, pixel geometry worked out by hand, conversions, random draws."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from neuralpaint.renderers import bezier
from neuralpaint.renderers.stroke import (
    FORMS,
    STROKE_FIELDS,
    STROKE_SIZE,
    Form,
    check_strokes,
    expand,
    from_learning_to_paint,
    random_strokes,
    reduce,
    rescale,
    to_learning_to_paint,
    to_pixels,
)

UNIT = st.floats(0, 1, width=32)


def stroke(**fields: float) -> Tensor:
    """One stroke by field names; the others are 0."""
    return torch.tensor([fields.pop(name, 0.0) for name in STROKE_FIELDS])


# --- fields and forms ---


def test_the_order_of_the_fields_is_that_of_the_thesis() -> None:
    assert " ".join(STROKE_FIELDS) == "x0 y0 x1 y1 x2 y2 z0 v0 z1 v1 r g b"
    assert STROKE_SIZE == 13


def test_a_colour_stroke_is_the_stroke_itself() -> None:
    action = torch.arange(13.0) / 13
    assert torch.equal(expand(action, "colour"), action)


def test_a_gray_stroke_repeats_its_intensity() -> None:
    full = expand(torch.arange(11.0) / 11, "gray")
    assert torch.equal(full[:11], torch.arange(11.0) / 11)
    assert full[11] == full[12] == full[10] == torch.tensor(10.0) / 11


def test_an_opaque_stroke_gets_opacity_and_colour() -> None:
    action = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]])
    full = expand(action, "opaque", (0.25, 0.5, 0.75))
    expected = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1, 0.8, 1, 0.25, 0.5, 0.75]
    assert torch.equal(full, torch.tensor([expected]))


@pytest.mark.parametrize("form", FORMS)
def test_forms_keep_leading_axes_type_and_gradient(form: Form) -> None:
    action = torch.rand(2, 3, FORMS[form], dtype=torch.float64, requires_grad=True)
    full = expand(action, form)
    assert full.shape == (2, 3, 13)
    assert full.dtype == torch.float64
    full.sum().backward()
    assert action.grad is not None
    assert (action.grad > 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_form_refuses_the_wrong_number_of_entries(form: Form) -> None:
    with pytest.raises(ValueError, match=f"a {form} stroke has {FORMS[form]} numbers, got 9"):
        expand(torch.zeros(9), form)


def test_an_unknown_form_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'pencil' is unknown; known: colour, gray, opaque"):
        expand(torch.zeros(13), "pencil")  # type: ignore[arg-type]


def test_reducing_by_hand() -> None:
    full = torch.arange(13.0) / 13
    assert torch.equal(reduce(full, "colour"), full)
    gray = reduce(full, "gray")
    assert torch.equal(gray[:10], full[:10])
    assert gray[10:].tolist() == pytest.approx([11 / 13])  # the mean of 10, 11 and 12 / 13
    assert torch.equal(reduce(full, "opaque"), full[[0, 1, 2, 3, 4, 5, 6, 8]])


@pytest.mark.parametrize("form", FORMS)
def test_reducing_undoes_expanding(form: Form) -> None:
    action = torch.rand(2, 3, FORMS[form], generator=torch.Generator().manual_seed(0))
    full = expand(action, form, (0.25, 0.5, 0.75))
    torch.testing.assert_close(reduce(full, form), action)
    torch.testing.assert_close(expand(reduce(full, form), form, (0.25, 0.5, 0.75)), full)


@pytest.mark.parametrize("form", FORMS)
def test_reducing_passes_the_gradient_on(form: Form) -> None:
    strokes = torch.rand(4, 13, dtype=torch.float64, requires_grad=True)
    reduced = reduce(strokes, form)
    assert reduced.shape == (4, FORMS[form])
    reduced.sum().backward()
    assert strokes.grad is not None
    dropped = [7, 9, 10, 11, 12] if form == "opaque" else []
    shares = torch.ones(13, dtype=torch.float64)
    shares[dropped] = 0
    if form == "gray":
        shares[10:] = 1 / 3
    torch.testing.assert_close(strokes.grad, shares.expand(4, 13))


def test_reducing_to_an_unknown_form_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'pencil' is unknown; known: colour, gray, opaque"):
        reduce(torch.zeros(13), "pencil")  # type: ignore[arg-type]


# --- pixel geometry ---


def test_geometry_by_hand_on_a_wide_canvas() -> None:
    """Height 40, width 100: x counts widths, y counts heights, radii count the shorter side."""
    given_stroke = stroke(
        x0=0.1, y0=0.25, x1=0.5, y1=0.75, x2=0.6, y2=0.5, z0=0.2, v0=0.9, z1=1, v1=0.3, r=0.7, b=0.4
    )
    # P0 = (10, 10), P2 = (60, 20); P1 = P0 + (50, 10) * (0.5, 0.75) = (35, 17.5);
    # radii 0.2 * 40 / 4 + 0.5 = 2.5 and 40 / 4 + 0.5 = 10.5.
    expected = [10, 10, 35, 17.5, 60, 20, 2.5, 0.9, 10.5, 0.3, 0.7, 0, 0.4]
    torch.testing.assert_close(to_pixels(given_stroke, 40, 100), torch.tensor(expected))


def test_geometry_by_hand_on_a_tall_canvas_with_an_absolute_middle() -> None:
    given_stroke = stroke(x0=0.1, y0=0.25, x1=0.5, y1=0.75, x2=0.6, y2=0.5, z0=0.2, z1=1)
    expected = [4, 25, 20, 75, 24, 50, 2.5, 0, 10.5, 0, 0, 0, 0]
    shown = to_pixels(given_stroke, 100, 40, "absolute")
    torch.testing.assert_close(shown, torch.tensor(expected, dtype=torch.float32))


def test_the_geometry_has_one_derivative_per_number() -> None:
    strokes = torch.rand(3, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: to_pixels(s, 24, 60), strokes)


def test_an_unknown_control_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'polar' is unknown; known: relative, absolute"):
        to_pixels(torch.zeros(13), 4, 4, "polar")  # type: ignore[arg-type]


def test_x_is_horizontal_and_y_points_down() -> None:
    alpha = bezier.alpha(stroke(x0=0.75, y0=0.25, x2=0.75, y2=0.25, v0=1, v1=1)[None], 8, 16)[0]
    rows, columns = alpha.nonzero(as_tuple=True)
    # The dab has radius 0.5 around x = 12, y = 2, a corner of four pixels.
    assert set(rows.tolist()) == {1, 2}
    assert set(columns.tolist()) == {11, 12}


# --- another size ---


def test_rescaling_keeps_the_share_of_the_canvas_that_a_radius_takes() -> None:
    strokes = random_strokes(50, torch.Generator().manual_seed(0))
    before = to_pixels(strokes, 60, 90)
    after = to_pixels(rescale(strokes, 60, 240), 240, 360)
    scale = torch.tensor([4.0] * 7 + [1, 4, 1, 1, 1, 1])
    torch.testing.assert_close(after, before * scale, rtol=1e-5, atol=1e-4)


def test_a_larger_rendering_looks_the_same() -> None:
    strokes = random_strokes(40, torch.Generator().manual_seed(1))[None]
    canvas = torch.zeros(1, 3, 48, 64)
    small = bezier.paint(canvas, strokes)
    canvas = torch.zeros(1, 3, 96, 128)
    kept, naive = (
        torch.nn.functional.avg_pool2d(bezier.paint(canvas, s), 2)
        for s in (rescale(strokes, 48, 96), strokes)
    )
    # The soft edge stays one pixel wide, so a few edge pixels differ, by less than 1/8.
    assert (kept - small).abs().max() < 0.13
    assert (kept - small).abs().mean() < 0.003
    assert (naive - small).abs().mean() > 2 * (kept - small).abs().mean()


def test_rescaling_to_the_same_size_changes_nothing() -> None:
    strokes = torch.rand(5, 13)
    assert torch.equal(rescale(strokes, 77, 77), strokes)


# --- Learning to Paint ---


def test_learning_to_paint_swaps_axes_and_groups_thickness() -> None:
    strokes = torch.arange(13.0)
    assert to_learning_to_paint(strokes).tolist() == [1, 0, 3, 2, 5, 4, 6, 8, 7, 9, 10, 11, 12]


@given(arrays(np.float32, (3, 13), elements=UNIT))
def test_learning_to_paint_is_its_own_round_trip(values: np.ndarray) -> None:
    strokes = torch.from_numpy(values)
    assert torch.equal(from_learning_to_paint(to_learning_to_paint(strokes)), strokes)
    assert torch.equal(to_learning_to_paint(from_learning_to_paint(strokes)), strokes)


def test_what_learning_to_paint_calls_x_is_our_y() -> None:
    """Its first axis is the row: its stroke, read as ours unconverted, is the transposed image."""
    ours = random_strokes(20, torch.Generator().manual_seed(2))
    ours[:, 7] = ours[:, 9] = 1
    theirs = to_learning_to_paint(ours)
    misread = theirs[:, [0, 1, 2, 3, 4, 5, 6, 8, 7, 9, 10, 11, 12]]
    straight, transposed = bezier.alpha(ours, 32, 32), bezier.alpha(misread, 32, 32)
    assert (straight - transposed.transpose(1, 2)).abs().mean() < 1e-5
    assert (straight - transposed).abs().mean() > 0.05


# --- random strokes ---


def thin_share(strokes: Tensor) -> float:
    """Share of strokes thinner than 1/7 of the range at both ends, 1/49 = 2 % if uniform."""
    return (strokes[:, [6, 8]] < 1 / 7).all(1).float().mean().item()


def test_uniform_strokes_are_rarely_thin() -> None:
    strokes = random_strokes(50_000, torch.Generator().manual_seed(0))
    # Five standard deviations of a share of 1/49 in 50,000 draws are 0.0032.
    assert thin_share(strokes) == pytest.approx(1 / 49, abs=0.0032)
    assert strokes.mean(0).tolist() == pytest.approx([0.5] * 13, abs=0.01)


def test_mixed_strokes_are_often_thin() -> None:
    strokes = random_strokes(50_000, torch.Generator().manual_seed(0), "mixed")
    # Half of them have a log-uniform thickness in [1/64, 1]: P(z < 1/7) = 1 - log 7 / log 64.
    share = (1 - math.log(7) / math.log(64)) ** 2 / 2 + 1 / 49 / 2
    assert thin_share(strokes) == pytest.approx(share, abs=0.008)
    assert strokes[:25_000, [6, 8]].min() >= 1 / 64 - 1e-6
    assert thin_share(strokes[25_000:]) == pytest.approx(1 / 49, abs=0.0045)


@pytest.mark.parametrize("thickness", ["uniform", "mixed"])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_random_strokes_are_valid_and_repeat(
    thickness: Literal["uniform", "mixed"], count: int
) -> None:
    once = random_strokes(count, torch.Generator().manual_seed(5), thickness)
    again = random_strokes(count, torch.Generator().manual_seed(5), thickness)
    other = random_strokes(count, torch.Generator().manual_seed(6), thickness)
    assert once.shape == (count, 13)
    assert once.dtype == torch.float32
    check_strokes(once)
    assert torch.equal(once, again)
    assert count == 0 or not torch.equal(once, other)


def test_random_strokes_leave_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    random_strokes(3, torch.Generator().manual_seed(0), "mixed")
    assert torch.equal(torch.get_rng_state(), state)


# --- checks ---


@given(arrays(np.float64, (2, 4, 13), elements=st.floats(0, 1)))
def test_strokes_in_range_pass(values: np.ndarray) -> None:
    check_strokes(values)
    check_strokes(torch.from_numpy(values))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_is_checked(kind: torch.dtype) -> None:
    check_strokes(torch.rand(2, 13).to(kind))
    with pytest.raises(ValueError, match="outside"):
        check_strokes(torch.full((2, 13), 1.5).to(kind))


@given(
    place=st.integers(0, 25),
    value=st.floats(allow_nan=True, allow_infinity=True).filter(lambda v: not 0 <= v <= 1),
    tensor=st.booleans(),
)
def test_one_bad_number_is_refused_wherever_it_stands(
    place: int, value: float, tensor: bool
) -> None:
    values = np.full((2, 13), 0.5)
    values.flat[place] = value
    message = "outside" if math.isfinite(value) else "NaN or infinity"
    with pytest.raises(ValueError, match=rf"^action: .*{message}"):
        check_strokes(torch.from_numpy(values) if tensor else values, "action")


@pytest.mark.parametrize("shape", [(), (0,), (12,), (14,), (13, 1), (2, 5, 3)])
def test_a_wrong_last_axis_is_refused_with_the_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="last axis must be 13") as error:
        check_strokes(np.zeros(shape))
    assert str(shape) in str(error.value)


def test_no_strokes_at_all_are_fine() -> None:
    check_strokes(np.zeros((0, 13)))
    check_strokes(torch.zeros(4, 0, 13))


def test_a_check_changes_nothing_and_needs_no_gradient() -> None:
    strokes = torch.rand(3, 13, requires_grad=True)
    before = strokes.detach().clone()
    check_strokes(strokes)
    assert torch.equal(strokes, before)
