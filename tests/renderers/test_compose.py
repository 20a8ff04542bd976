"""Blending by hand, and bundles against painting stroke by stroke."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neuralpaint.renderers import bezier
from neuralpaint.renderers.compose import bundle, compose
from neuralpaint.renderers.stroke import random_strokes

UNIT = st.floats(0, 1, width=32)


def test_composing_by_hand() -> None:
    """Half-opaque red, then a quarter of blue, over grey 0.4 and over black."""
    canvas = torch.tensor([0.4, 0.0]).expand(1, 3, 1, 2)
    colours = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 0.25]])[None, :, :, None, None]
    alphas = torch.tensor([0.5, 0.25])[None, :, None, None]
    out = compose(canvas, colours.expand(1, 2, 3, 1, 2), alphas.expand(1, 2, 1, 2))
    # 0.4: red (0.2 + 0.5) 0.75, green 0.2 * 0.75, blue 0.2 * 0.75 + 0.25.
    assert out[0, :, 0, 0].tolist() == pytest.approx([0.525, 0.15, 0.4])
    assert out[0, :, 0, 1].tolist() == pytest.approx([0.375, 0.0, 0.25])


def test_a_bundle_by_hand() -> None:
    strokes = torch.zeros(1, 2, 13)
    strokes[0, :, 10:] = torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.4, 1.0]])
    alphas = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1)
    total, coverage = bundle(alphas, strokes, 3)
    # a_c: 0.5 (1, 0.2, 0) * 0.75 + 0.25 (0, 0.4, 1); a_r: 1 - 0.5 * 0.75.
    assert total.flatten().tolist() == pytest.approx([0.375, 0.175, 0.25])
    assert coverage.item() == pytest.approx(0.625)


@given(
    arrays(np.float32, (2, 4, 2, 3), elements=UNIT),
    arrays(np.float32, (2, 4, 13), elements=UNIT),
    arrays(np.float32, (2, 3, 2, 3), elements=UNIT),
    st.sampled_from([1, 3]),
)
def test_a_bundle_equals_its_strokes_in_order(
    alpha_values: np.ndarray, stroke_values: np.ndarray, canvas_values: np.ndarray, channels: int
) -> None:
    alphas, strokes = torch.from_numpy(alpha_values), torch.from_numpy(stroke_values)
    canvas = torch.from_numpy(canvas_values)[:, :channels]
    expected = canvas
    for k in range(4):
        a, colour = alphas[:, k, None], strokes[:, k, 10 : 10 + channels, None, None]
        expected = a * colour + (1 - a) * expected
    total, coverage = bundle(alphas, strokes, channels)
    torch.testing.assert_close(total + (1 - coverage[:, None]) * canvas, expected)
    premultiplied = alphas[:, :, None] * strokes[:, :, 10 : 10 + channels, None, None]
    torch.testing.assert_close(compose(canvas, premultiplied, alphas), expected)


def test_bundles_of_real_strokes_equal_the_exact_renderer() -> None:
    generator = torch.Generator().manual_seed(0)
    strokes = random_strokes(10, generator).view(2, 5, 13)
    canvas = torch.rand(2, 3, 18, 25, generator=generator)
    alphas = bezier.alpha(strokes.flatten(0, 1), 18, 25).view(2, 5, 18, 25)
    total, coverage = bundle(alphas, strokes, 3)
    painted = total + (1 - coverage[:, None]) * canvas
    torch.testing.assert_close(painted, bezier.paint(canvas, strokes), atol=1e-5, rtol=0)


def test_blending_is_differentiable_where_strokes_are_opaque_or_absent() -> None:
    """Opacities 0 and 1 among them: a product of (1 - alpha) must not divide by 0."""
    generator = torch.Generator().manual_seed(0)
    alphas = torch.tensor([0.0, 1.0, 0.3, 1.0], dtype=torch.float64).view(1, 4, 1, 1)
    strokes = torch.rand(1, 4, 13, dtype=torch.float64, generator=generator)
    canvas = torch.rand(1, 3, 1, 1, dtype=torch.float64, generator=generator)

    def paint(canvas: torch.Tensor, strokes: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
        total, coverage = bundle(alphas, strokes, 3)
        return total + (1 - coverage[:, None]) * canvas

    leaves = [v.requires_grad_() for v in (canvas, strokes, alphas)]
    assert torch.autograd.gradcheck(paint, leaves)


def test_an_empty_bundle_is_transparent() -> None:
    canvas = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    total, coverage = bundle(torch.zeros(2, 0, 4, 5), torch.zeros(2, 0, 13), 3)
    assert total.shape == (2, 3, 4, 5)
    assert (total == 0).all()
    assert (coverage == 0).all()
    assert torch.equal(compose(canvas, torch.zeros(2, 0, 3, 4, 5), torch.zeros(2, 0, 4, 5)), canvas)


def test_a_colour_without_its_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compose(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 3, 2, 2), torch.zeros(1, 1, 2, 2))
