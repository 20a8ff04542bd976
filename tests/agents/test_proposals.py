"""The actor that proposes: what its numbers mean, which strokes it chooses, and that it learns."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuralpaint.agents.proposals import (
    CELL,
    GRID,
    LOG_GAIN,
    OFFSET,
    VIEW,
    ProposalActor,
    Proposals,
    choose,
    decode,
    gather,
    gumbel,
    reward_of,
    score_of,
    view,
)
from neuralpaint.envs.procedural import picture
from neuralpaint.envs.rewards import squared_distance
from neuralpaint.renderers import bezier
from neuralpaint.renderers.stroke import random_strokes

N = GRID * GRID


def actor(width: int = 8, focus: bool = False, spread: float = 0.0) -> ProposalActor:
    torch.manual_seed(0)
    made = ProposalActor(width, focus)
    if spread:
        for weight in made.parameters():
            weight.data += spread * torch.randn(weight.shape)
    return made


def images(count: int, height: int = VIEW, width: int = VIEW, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def dab(x: float, y: float, z: float = 0.2) -> list[float]:
    """A stroke without length."""
    return [x, y, 0.5, 0.5, x, y, z, 1, z, 1, 0, 0, 0]


def proposals(strokes: list[list[float]], scores: list[float]) -> Proposals:
    return Proposals(torch.tensor([strokes]), torch.tensor([scores]))


# --- what the numbers mean ---


def test_zeros_are_dabs_of_the_target_s_colour_in_their_cells() -> None:
    colour = torch.rand(1, N, 3)
    strokes = decode(torch.zeros(1, N, 13), colour)[0]
    index = torch.arange(N)
    # Rows first; the middle of cell 0 is at half of 1/16.
    torch.testing.assert_close(strokes[:, 0], (index % 16 + 0.5) / 16)
    torch.testing.assert_close(strokes[:, 1], (index // 16 + 0.5) / 16)
    torch.testing.assert_close(strokes[:, 4:6], strokes[:, 0:2])
    torch.testing.assert_close(strokes[:, 2:4], torch.full((N, 2), 0.5))
    thick, opaque = 1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))
    ends = torch.tensor([thick, opaque, thick, opaque], dtype=torch.float32)
    torch.testing.assert_close(strokes[:, 6:10], ends.expand(N, 4))
    torch.testing.assert_close(strokes[:, 10:], colour[0])


def test_each_number_moves_its_own_field() -> None:
    middle = 8 * GRID + 8  # a cell that no clamp reaches
    fields = {
        0: [0, 4],
        1: [1, 5],
        2: [2],
        3: [3],
        4: [0, 4],
        5: [1, 5],
        6: [6],
        7: [7],
        8: [8],
        9: [9],
        10: [10],
        11: [11],
        12: [12],
    }
    colour = torch.full((1, N, 3), 0.5)
    still = decode(torch.zeros(1, N, 13), colour)[0, middle]
    for number, moved in fields.items():
        raw = torch.zeros(1, N, 13)
        raw[..., number] = 0.3
        change = decode(raw, colour)[0, middle] - still
        assert change.abs().gt(1e-4).nonzero()[:, 0].tolist() == moved
        # A middle moves both ends alike, a length moves them apart.
        assert bool((change[moved] > 0).all()) == (number not in (4, 5))
        if number in (4, 5):
            assert float(change[number - 4]) == pytest.approx(-float(change[number]), abs=1e-6)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0, 100))
def test_strokes_are_in_range_and_near_their_cells(seed: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    raw = spread * torch.randn(2, N, 13, generator=generator)
    colour = torch.rand(2, N, 3, generator=generator)
    strokes = decode(raw, colour)
    assert strokes.shape == (2, N, 13)
    assert strokes.min() >= 0
    assert strokes.max() <= 1
    raw[..., 4:6] = 0
    strokes = decode(raw, colour)
    cells = decode(torch.zeros(1, N, 13), colour[:1])[..., 0:2]
    middles = 0.5 * (strokes[..., 0:2] + strokes[..., 4:6])
    assert (middles - cells).abs().max() <= OFFSET + 1e-6
    assert (strokes[..., 10:] - colour).abs().max() <= 0.5 + 1e-6


# --- the network ---


@settings(max_examples=15)
@given(height=st.integers(1, 150), width=st.integers(1, 150), focus=st.booleans())
def test_any_canvas(height: int, width: int, focus: bool) -> None:
    canvas, target = images(2, height, width), images(2, height, width, 1)
    focused = images(2, 32, 32, 2) if focus else None
    with torch.no_grad():
        strokes, scores = actor(focus=focus)(canvas, target, focused)
    assert (strokes.shape, scores.shape) == ((2, N, 13), (2, N))
    assert strokes.dtype == scores.dtype == torch.float32
    assert strokes.min() >= 0
    assert strokes.max() <= 1
    assert scores.isfinite().all()


def test_an_untrained_actor_proposes_dabs_of_the_colours_it_sees() -> None:
    target = images(1, 2, 2).repeat_interleave(32, 2).repeat_interleave(32, 3)
    strokes, scores = actor()(torch.zeros_like(target), target)
    colour = target[:, :, CELL // 2 :: CELL, CELL // 2 :: CELL].flatten(2).transpose(1, 2)
    assert (strokes[..., 10:] - colour).abs().max() < 0.2
    assert (scores - LOG_GAIN).abs().max() < 1


def test_several_together_are_as_each_alone() -> None:
    made = actor(spread=0.05)
    canvas, target = images(3), images(3, seed=1)
    together = made(canvas, target)
    for i in range(3):
        alone = made(canvas[i : i + 1], target[i : i + 1])
        torch.testing.assert_close(together.strokes[i], alone.strokes[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.scores[i], alone.scores[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together.strokes[0], together.strokes[1], atol=1e-3)


def test_canvas_and_target_and_focus_all_count() -> None:
    made = actor(focus=True, spread=0.05)
    canvas, target, focus = images(1), images(1, seed=1), images(1, seed=2)
    first = made(canvas, target, focus).scores
    for changed in ((target, target, focus), (canvas, canvas, focus), (canvas, target, canvas)):
        assert (made(*changed).scores - first).abs().max() > 1e-3


def test_a_focused_image_must_be_passed_where_one_is_seen() -> None:
    with pytest.raises(ValueError, match="pass focus"):
        actor(focus=True)(images(1), images(1))


def test_half_precision_convolutions_give_full_precision_strokes() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        strokes, scores = actor()(images(1), images(1, seed=1))
    assert strokes.dtype == scores.dtype == torch.float32


def test_views_are_area_averages() -> None:
    image = images(1, 128, 192)
    expected = image.view(1, 3, 64, 2, 64, 3).mean((3, 5))
    torch.testing.assert_close(view(image), expected)
    same = images(1)
    assert view(same) is same


# --- the choice ---


def test_the_best_come_first_and_none_twice() -> None:
    places = [dab(0.1 + 0.2 * i, 0.5, 0.0) for i in range(5)]
    chosen = choose(proposals(places, [1, 5, 3, 2, 4]), 5)
    assert chosen.tolist() == [[1, 4, 2, 3, 0]]
    assert chosen.dtype == torch.int64


def test_what_is_covered_is_avoided() -> None:
    strokes = [
        dab(0.3, 0.3),  # best
        dab(0.31, 0.3),  # almost as good, in the same place
        dab(0.7, 0.7),  # worse, elsewhere
        [0.1, 0.1, 0.5, 0.5, 0.5, 0.5, 0.2, 1, 0.2, 1, 0, 0, 0],  # its middle is in the same place
        [0.0, 0.6, 0.5, 0.5, 0.6, 0.0, 0.2, 1, 0.2, 1, 0, 0, 0],  # as well, across
    ]
    chosen = choose(proposals(strokes, [0, -0.1, -3, -0.2, -0.3]), 5)[0].tolist()
    assert chosen[:2] == [0, 2]
    assert sorted(chosen) == [0, 1, 2, 3, 4]


def test_a_long_stroke_covers_what_lies_along_it() -> None:
    line = [0.1, 0.2, 0.5, 0.5, 0.9, 0.2, 0.2, 1, 0.2, 1, 0, 0, 0]
    strokes = [line, dab(0.2, 0.2, 0), dab(0.8, 0.21, 0), dab(0.2, 0.5, 0), dab(0.97, 0.6, 0)]
    assert choose(proposals(strokes, [0, -0.1, -0.1, -3, -4]), 3).tolist() == [[0, 3, 4]]
    # And the other way round: the dab is best, and lies within the line.
    scores = [-0.2, 0, -1, -2, -3]
    assert choose(proposals(strokes, scores), 3).tolist() == [[1, 2, 3]]


def test_rows_are_chosen_each_for_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    strokes = random_strokes(4 * 50, generator).view(4, 50, 13)
    scores = torch.randn(4, 50, generator=generator)
    together = choose(Proposals(strokes, scores), 7)
    assert together.shape == (4, 7)
    for row in range(4):
        alone = choose(Proposals(strokes[row : row + 1], scores[row : row + 1]), 7)
        assert torch.equal(together[row : row + 1], alone)
        assert len(set(together[row].tolist())) == 7
    assert scores.isfinite().all()  # not changed


def test_gumbel_noise_draws_from_the_softmax() -> None:
    shares = torch.tensor([0.6, 0.3, 0.1])
    rows = 4000
    scores = shares.log().expand(rows, 3)
    strokes = torch.tensor([[dab(0.2, 0.2), dab(0.5, 0.5), dab(0.8, 0.8)]]).expand(rows, 3, 13)
    noise = gumbel(scores, torch.Generator().manual_seed(0))
    assert noise.isfinite().all()
    drawn = choose(Proposals(strokes, scores), 1, noise)[:, 0]
    counts = torch.bincount(drawn, minlength=3) / rows
    # standard deviation of a share: at most sqrt(0.24 / 4000) = 0.008
    torch.testing.assert_close(counts, shares, rtol=0, atol=0.03)
    assert (choose(Proposals(strokes, scores), 1) == 0).all()


def test_gathered_strokes_carry_the_gradient() -> None:
    strokes = random_strokes(10, torch.Generator().manual_seed(0)).view(2, 5, 13).requires_grad_()
    picked = gather(strokes, torch.tensor([[4, 0], [1, 1]]))
    assert torch.equal(picked[0], strokes[0, [4, 0]])
    assert torch.equal(picked[1], strokes[1, [1, 1]])
    picked.sum().backward()
    assert strokes.grad is not None
    assert strokes.grad[:, :, 0].tolist() == [[1, 0, 0, 0, 1], [0, 2, 0, 0, 0]]


# --- training ---


def test_training_lowers_the_error_and_beats_random_strokes() -> None:
    pictures = [picture(np.random.default_rng(i), VIEW, VIEW) for i in range(8)]
    target = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    canvas = target.mean((2, 3), keepdim=True).expand_as(target).contiguous()
    before = squared_distance(canvas, target)

    def log_error(strokes: Tensor) -> Tensor:
        after = squared_distance(bezier.paint(canvas, strokes, softness=0.7), target)
        return (after / before).log().mean()

    def bundle(made: ProposalActor, count: int = 5) -> Tensor:
        proposed = made(canvas, target)
        return gather(proposed.strokes, choose(proposed, count))

    made = actor()
    with torch.no_grad():
        untrained = float(log_error(bundle(made)))
    adam = torch.optim.Adam(made.parameters(), 3e-3)
    for _ in range(60):
        adam.zero_grad()
        log_error(bundle(made, 12)).backward()
        adam.step()
    with torch.no_grad():
        trained = float(log_error(bundle(made)))
    generator = torch.Generator().manual_seed(0)
    random = min(float(log_error(random_strokes(40, generator).view(8, 5, 13))) for _ in range(10))
    assert trained < untrained - 0.1
    assert trained < np.log(0.9)
    assert trained < random - 0.3


def test_scores_are_logarithms_of_rewards_that_may_be_negative() -> None:
    reward = torch.tensor([-0.1, -1e-4, 0.0, 1e-4, 0.02, 0.5])
    score = score_of(reward)
    assert (score.diff() > 0).all()
    torch.testing.assert_close(score[-2:], reward[-2:].log(), atol=1e-4, rtol=0)
    # asinh(1) = ln(1 + sqrt 2), ln(2 / 1e-4) = 9.903488
    assert score[2:4].tolist() == pytest.approx([-9.903488, 0.881374 - 9.903488], abs=1e-5)
    torch.testing.assert_close(reward_of(score), reward, atol=1e-6, rtol=1e-3)
