"""The agent as a painter: views, strokes that land where they are seen, exact budgets."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from neuralpaint.agents.agent import LOOKS, Painter, View, paint, paint_batch, views
from neuralpaint.agents.policy import Policy, PolicyConfig
from neuralpaint.agents.proposals import GRID, OFFSET, VIEW, ProposalActor, Proposals
from neuralpaint.envs.procedural import picture
from neuralpaint.renderers import bezier
from neuralpaint.renderers.drawing import MAX_STROKES
from neuralpaint.renderers.replay import canvases
from neuralpaint.renderers.stroke import random_strokes

Image = NDArray[np.float32]


def photo(height: int, width: int, seed: int = 0) -> Image:
    return picture(np.random.default_rng(seed), height, width)


def tensor(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def proposing(width: int = 8, **settings: Any) -> Policy:
    """An untrained agent that proposes; its weights vary enough for its strokes to."""
    torch.manual_seed(0)
    policy = Policy(PolicyConfig(agent="proposals", **settings))
    policy.actor = ProposalActor(width)
    for weight in policy.actor.parameters():
        weight.data += 0.05 * torch.randn(weight.shape)
    return policy.eval()


class Known(nn.Module):
    """Stands for a ResNet; knows one bundle of strokes, and what it was shown."""

    def __init__(self, strokes: Tensor) -> None:
        super().__init__()
        self.strokes = strokes
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.strokes.flatten()[None].expand(len(x), -1)


def knowing(strokes: Tensor, canvas: int = 64) -> tuple[Policy, Known]:
    """An agent without scores that always paints the same strokes (K, 13)."""
    policy = Policy(PolicyConfig(agent="ltp", bundle=len(strokes), canvas=canvas))
    known = Known(strokes)
    policy._modules["actor"] = known
    return policy.eval(), known


STROKES = torch.tensor(
    [
        [0.2, 0.3, 0.3, 0.9, 0.8, 0.6, 0.3, 0.9, 0.5, 0.7, 0.9, 0.1, 0.2],
        [0.5, 0.8, 0.5, 0.5, 0.4, 0.2, 0.4, 0.8, 0.2, 1.0, 0.2, 0.9, 0.1],
    ]
)


# --- views ---


@settings(max_examples=60)
@given(height=st.integers(1, 400), width=st.integers(1, 400))
def test_views_cover_every_pixel_from_coarse_to_fine(height: int, width: int) -> None:
    levels, short = views(height, width), min(height, width)
    sides = [{one.side for one in level} for level in levels]
    assert all(len(each) == 1 for each in sides)
    flat = [each.pop() for each in sides]
    assert flat[0] == short
    assert flat[-1] == min(short, VIEW)
    assert all(after < before <= 2 * after for before, after in pairwise(flat))
    for level in levels:
        assert len(set(level)) == len(level)
        covered = np.zeros((height, width), bool)
        for top, left, side in level:
            assert top >= 0
            assert left >= 0
            assert top + side <= height
            assert left + side <= width
            covered[top : top + side, left : left + side] = True
        assert covered.all()


def test_views_by_hand() -> None:
    assert views(64, 64) == [[View(0, 0, 64)]]
    assert views(30, 30) == [[View(0, 0, 30)]]
    # 64 more columns than rows: 2 * 64 / 128 + 1 = 2 views; then 64, at 3 and 5 places
    first, second = views(128, 192)
    assert first == [View(0, 0, 128), View(0, 64, 128)]
    places = [(top, left) for top in (0, 32, 64) for left in (0, 32, 64, 96, 128)]
    assert second == [View(top, left, 64) for top, left in places]
    assert [level[0].side for level in views(300, 500)] == [300, 150, 75, 64]


def test_a_view_is_cut_and_brought_to_the_size_that_is_seen() -> None:
    image = torch.rand(3, 140, 150, generator=torch.Generator().manual_seed(0))
    assert torch.equal(View(10, 20, 64).cut(image), image[:, 10:74, 20:84])
    half = image[:, 4:132, 8:136].view(3, 64, 2, 64, 2).mean((2, 4))
    torch.testing.assert_close(View(4, 8, 128).cut(image), half)
    large = View(3, 5, 1).cut(image)
    assert large.shape == (3, 64, 64)
    torch.testing.assert_close(large, image[:, 3:4, 5:6].expand(3, 64, 64))


# --- strokes of views ---


def wrong_in(view: View, height: int, width: int) -> Painter:
    """A painter who knows `STROKES` and will look at one view only."""
    target = torch.zeros(3, height, width)
    target[:, view.top : view.top + view.side, view.left : view.left + view.side] = 1
    policy, _ = knowing(STROKES)
    painter = Painter(policy, target, torch.zeros_like(target))
    painter.done = painter.budget  # the whole was painted
    return painter


@pytest.mark.parametrize(
    ("height", "width", "view"),
    [
        (64, 64, View(0, 0, 64)),
        (64, 128, View(0, 32, 64)),
        (128, 64, View(64, 0, 64)),
        (128, 192, View(32, 64, 64)),
    ],
)
def test_a_stroke_lands_where_its_view_says(height: int, width: int, view: View) -> None:
    painter = wrong_in(view, height, width)
    painter.paint(painter.propose(2))
    # The view has as many pixels as the canvas the agent was trained on: the same pixels.
    expected = bezier.paint(torch.zeros(1, 3, 64, 64), STROKES[None])[0]
    got = painter.canvas[:, view.top : view.top + 64, view.left : view.left + 64]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert painter.canvas.sum().item() == pytest.approx(expected.sum().item(), rel=1e-4)
    assert painter.done == painter.budget + 2


@pytest.mark.parametrize("trained", [32, 64, 128])
@pytest.mark.parametrize("side", [40, 128, 256])
def test_a_stroke_keeps_its_looks_at_any_size(side: int, trained: int) -> None:
    policy, _ = knowing(STROKES, trained)
    painter = Painter(policy, torch.ones(3, side, side), torch.zeros(3, side, side))
    painter.paint(painter.propose(2))
    small = bezier.paint(torch.zeros(1, 3, trained, trained), STROKES[None])
    got, expected = (
        nn.functional.interpolate(image, (32, 32), mode="area")
        for image in (painter.canvas[None], small)
    )
    assert (got - expected).abs().mean() < 0.012
    assert expected.std() > 0.2


class Timid(ProposalActor):
    """Promises a larger share of the error where there is less of it."""

    def forward(self, canvas: Tensor, target: Tensor, focus: Tensor | None = None) -> Proposals:
        strokes, scores = super().forward(canvas, target, focus)
        return Proposals(strokes, scores - (target - canvas).abs().mean((1, 2, 3))[:, None])


def test_strokes_of_the_best_views_are_painted() -> None:
    """64 rows, 192 columns: views at 0, 32, 64, 96 and 128; all is right but in the last one."""
    target = torch.zeros(3, 64, 192)
    target[:, :, 165:] = torch.rand(3, 64, 27, generator=torch.Generator().manual_seed(0))
    policy = proposing(canvas=64)
    policy.actor = Timid(8)
    painter = Painter(policy, target, torch.zeros_like(target))
    strokes = painter.propose(5)
    assert strokes.shape == (5, 13)
    assert len({tuple(row) for row in strokes.tolist()}) == 5
    middles = 0.5 * (strokes[:, 0] + strokes[:, 4])
    # A stroke's half length may be cut off at the view's edge, which draws its middle inward only.
    assert middles.min() >= (128 - OFFSET * 64) / 192


def test_finer_views_are_looked_at_later() -> None:
    target = tensor(photo(256, 256))
    painter = Painter(proposing(), target, torch.zeros_like(target))
    sides = []
    for done in (0, 59, 60, 239, 240):
        painter.done = done
        sides.append(sorted(one.side for one in painter._looked_at(target.sum(0))))
    assert sides[0] == sides[1] == [256]
    assert sides[2] == sides[3] == [128] * LOOKS + [256]
    assert len(sides[4]) == LOOKS + 1
    assert set(sides[4]) <= {64, 128, 256}


def test_an_agent_without_scores_paints_the_whole_first() -> None:
    policy, known = knowing(STROKES)
    target = tensor(photo(128, 128))
    painter = Painter(policy, target, torch.zeros_like(target), budget=4)
    for _ in range(3):
        painter.paint(painter.propose(2))
    whole = View(0, 0, 128).cut(target)
    shown = [torch.equal(x[0, 3:6], whole) for x in known.seen]
    assert shown == [True, True, False]
    assert [float(x[0, 6, 0, 0]) for x in known.seen] == [1, 0.5, 0]


def test_there_are_no_more_strokes_than_cells_and_none_twice() -> None:
    painter = Painter(proposing(), tensor(photo(20, 20)), torch.zeros(3, 20, 20))
    strokes = painter.propose(GRID**2 + 50)
    assert len(strokes) == GRID**2
    policy, _ = knowing(STROKES)
    assert len(Painter(policy, torch.ones(3, 9, 9), torch.zeros(3, 9, 9)).propose(5)) == 2


# --- photos ---


@settings(max_examples=15)
@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_any_canvas(height: int, width: int) -> None:
    drawing = paint(photo(40, 40), height, width, 3, policy=proposing())
    assert (drawing.height, drawing.width, len(drawing)) == (height, width, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (7, 300), (300, 7), (65, 200)])
@pytest.mark.parametrize("make", [proposing, lambda: knowing(STROKES)[0]])
def test_extreme_canvases(make: Callable[[], Policy], height: int, width: int) -> None:
    drawing = paint(photo(30, 50), height, width, 3, policy=make())
    assert (drawing.height, drawing.width, len(drawing)) == (height, width, 3)


@pytest.mark.parametrize("reward", ["psnr", "l2"])
@pytest.mark.parametrize("strokes", [0, 1, 7, 400])
def test_exactly_as_many_strokes_as_asked_for(strokes: int, reward: str) -> None:
    seen: list[int] = []
    drawing = paint(
        photo(24, 24),
        24,
        24,
        strokes,
        policy=proposing(reward=reward, bundle=5),
        advance=lambda painter: seen.append(painter.done),
    )
    assert drawing.strokes.shape == (strokes, 13)
    assert seen == [min(strokes, 5 * (i + 1)) for i in range(-(-strokes // 5))]
    assert drawing.method == "agent"
    assert drawing.extra == {"finish": "process", "interrupted": False}


def test_the_same_photo_gives_the_same_bits_and_another_does_not() -> None:
    policy = proposing()
    torch.manual_seed(1)
    first = paint(photo(70, 90), 70, 90, 12, policy=policy)
    torch.manual_seed(2)
    assert np.array_equal(paint(photo(70, 90), 70, 90, 12, policy=policy).strokes, first.strokes)
    other = paint(photo(70, 90, seed=1), 70, 90, 12, policy=policy)
    assert not np.array_equal(other.strokes, first.strokes)


def test_an_interrupted_painting_keeps_what_was_painted() -> None:
    whole = paint(photo(24, 24), 24, 24, 20, policy=proposing())

    def advance(painter: Painter) -> None:
        if painter.done == 10:
            raise KeyboardInterrupt

    part = paint(photo(24, 24), 24, 24, 20, policy=proposing(), advance=advance)
    assert np.array_equal(part.strokes, whole.strokes[:10])
    assert part.extra["interrupted"] is True


def test_an_interrupt_before_the_first_stroke(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(painter: Painter, count: int) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(Painter, "propose", interrupt)
    drawing = paint(photo(24, 24), 24, 24, 20, policy=proposing())
    assert drawing.strokes.shape == (0, 13)
    assert drawing.extra["interrupted"] is True


def test_the_drawing_shows_what_the_painter_saw() -> None:
    image, policy = photo(70, 50), proposing()
    drawing = paint(image, 70, 50, 9, policy=policy, background="white")
    painter = Painter(policy, tensor(image), torch.ones(3, 70, 50))
    for count in (5, 4):
        painter.paint(painter.propose(count))
    (shown,) = canvases(drawing, [9])
    np.testing.assert_allclose(shown, painter.canvas.numpy().transpose(1, 2, 0), atol=1e-6)


@settings(max_examples=10)
@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_backgrounds(height: int, width: int) -> None:
    white = np.ones((height, width, 3), np.float32)
    for background, shade in (("black", 0.0), ("white", 1.0), ("mean", 1.0)):
        drawing = paint(white, height, width, 0, policy=proposing(), background=background)
        assert drawing.background == (shade, shade, shade)


def test_a_wish_that_cannot_be_met_is_refused_at_once() -> None:
    for strokes in (-1, MAX_STROKES + 1):
        with pytest.raises(ValueError, match=f"strokes must be 0 to {MAX_STROKES}, got {strokes}"):
            paint(photo(8, 8), 8, 8, strokes, policy=proposing())
    with pytest.raises(ValueError, match="background 'pink' is unknown; known: black, white, mean"):
        paint(photo(8, 8), 8, 8, 1, policy=proposing(), background="pink")


# --- batches ---


def batch(count: int = 3) -> Tensor:
    return torch.stack([tensor(photo(32, 32, seed)) for seed in range(count)])


def test_canvases_are_kept_by_the_number_of_strokes() -> None:
    target, seen = batch(), list[int]()
    canvas = torch.zeros_like(target)
    painted = paint_batch(proposing(), target, canvas, 12, counts=(5, 12), advance=seen.append)
    assert painted.strokes.shape == (3, 12, 13)
    assert seen == [5, 10, 12]
    assert list(painted.at) == [5, 12]
    for count, at in painted.at.items():
        again = bezier.paint(canvas, painted.strokes[:, :count])
        torch.testing.assert_close(at, again, rtol=0, atol=1e-6)
    assert not canvas.any()


def test_a_batch_is_painted_as_each_alone() -> None:
    target, policy = batch(), proposing()
    canvas = torch.zeros_like(target)
    together = paint_batch(policy, target, canvas, 10).strokes
    for i in range(3):
        alone = paint_batch(policy, target[i : i + 1], canvas[i : i + 1], 10).strokes
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=1e-3)


def test_no_strokes() -> None:
    painted = paint_batch(proposing(), batch(), batch(), 0)
    assert painted.strokes.shape == (3, 0, 13)
    assert painted.at == {}


def test_the_steps_left_go_on_from_what_is_painted() -> None:
    policy, known = knowing(STROKES)
    paint_batch(policy, batch(), batch(), 6, budget=8, first=4)
    assert [float(x[0, 6, 0, 0]) for x in known.seen] == [0.5, 0.25, 0]


def test_batches_keep_the_looks_of_strokes() -> None:
    policy, _ = knowing(STROKES, canvas=64)
    strokes = paint_batch(policy, batch(), batch(), 2).strokes
    # radius in canvas sides: 1/128 of half a pixel then, 1/64 now
    torch.testing.assert_close(strokes[:, :, 6], (STROKES[:, 6] - 1 / 32).expand(3, 2))
    torch.testing.assert_close(strokes[:, :, :6], STROKES[:, :6].expand(3, 2, 6))


def test_painting_carries_no_gradient() -> None:
    policy, target = proposing(), batch()
    assert not paint_batch(policy, target, target, 5).strokes.requires_grad
    painter = Painter(policy, target[0], torch.zeros_like(target[0]))
    assert not painter.propose(5).requires_grad
    generator = torch.Generator().manual_seed(0)
    painter.paint(random_strokes(2, generator))
    assert painter.done == 2
