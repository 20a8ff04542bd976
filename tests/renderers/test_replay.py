import numpy as np
import pytest
import torch

from neuralpaint.renderers import bezier
from neuralpaint.renderers.drawing import Drawing
from neuralpaint.renderers.replay import canvases, fit_size
from neuralpaint.renderers.stroke import random_strokes


@pytest.fixture
def drawing() -> Drawing:
    strokes = random_strokes(12, torch.Generator().manual_seed(0)).numpy()
    return Drawing(strokes=strokes, height=24, width=40, background=(0.2, 0.4, 0.6))


def test_replay_equals_painting_at_once(drawing: Drawing) -> None:
    paper = torch.tensor(drawing.background).view(1, 3, 1, 1).expand(1, 3, 24, 40)
    strokes = torch.tensor(np.array(drawing.strokes))[None]
    for count, canvas in zip((0, 5, 5, 12), canvases(drawing, [0, 5, 5, 12]), strict=True):
        expected = bezier.paint(paper, strokes[:, :count])[0].permute(1, 2, 0)
        np.testing.assert_array_equal(canvas, expected.numpy())


def test_larger_rendering_looks_the_same(drawing: Drawing) -> None:
    (small,) = canvases(drawing, [12])
    (large,) = canvases(drawing, [12], height=96, width=160)
    averaged = large.reshape(24, 4, 40, 4, 3).mean((1, 3))
    # They differ at edges only, by how anti-aliasing rounds corners.
    assert np.abs(averaged - small).mean() < 0.01


@pytest.mark.parametrize("counts", [[5, 4], [13], [-1]])
def test_impossible_counts(drawing: Drawing, counts: list[int]) -> None:
    with pytest.raises(ValueError, match="counts must rise"):
        list(canvases(drawing, counts))


def test_fit_size_keeps_the_aspect_ratio(drawing: Drawing) -> None:
    assert fit_size(drawing, 12) == (12, 20)
    assert fit_size(drawing, 1) == (1, 2)
