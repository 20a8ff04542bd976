"""The painting process: pure functions on batches."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuralpaint import renderers
from neuralpaint.envs import painting
from neuralpaint.envs.painting import Config, State
from neuralpaint.renderers import stroke


def start(config: Config, batch: int = 2, seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(batch, config.channels, *config.size, generator=generator)
    return painting.initial(target, torch.ones(batch, 1, *config.size), config)


def actions(config: Config, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(batch, config.action_size, generator=torch.Generator().manual_seed(seed))


def paint_all(config: Config, state: State) -> list[painting.Outcome]:
    paint = renderers.get("bezier")
    outcomes = []
    for step in range(config.steps):
        outcomes.append(painting.step(state, actions(config, seed=step), config, paint))
        state = outcomes[-1].state
    return outcomes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"canvas": 0}, "canvas sides must be 1 to 16384"),
        ({"canvas": -3}, "canvas sides must be 1 to 16384"),
        ({"canvas": (8, 0)}, "canvas sides must be 1 to 16384"),
        ({"canvas": 10**9}, "canvas sides must be 1 to 16384"),
        ({"canvas": (8, 8, 3)}, r"canvas must be a size or \(height, width\)"),
        ({"bundle": 0}, "bundle must be at least 1"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"budget": -5}, "budget must be at least 1"),
        ({"form": "oil"}, "form 'oil' is unknown; known: colour, gray, opaque"),
        ({"colour": (0, 0)}, "colour must be three numbers"),
        ({"colour": (0, 0, 2)}, "colour must be three numbers"),
        ({"background": "blue"}, "background 'blue' is unknown; known: black, white, mean"),
        ({"reward": "l3"}, "reward 'l3' is unknown; known: l2"),
        ({"similarity": math.nan}, "similarity must be a PSNR"),
    ],
)
def test_bad_values_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        painting.configure(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"canvas": 8.5}, "canvas must be a whole number, got 8.5"),
        ({"canvas": "big"}, "canvas must be a whole number"),
        ({"bundle": True}, "bundle must be a whole number"),
        ({"budget": None}, "budget must be a whole number"),
        ({"strokes": 5, "widht": 2}, "unknown argument strokes, widht; known: canvas, bundle"),
    ],
)
def test_wrong_types_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        painting.configure(settings)


def test_sizes() -> None:
    assert Config(canvas=7).size == (7, 7)
    assert Config(canvas=(7, 9)).size == (7, 9)
    assert [Config(form=form).action_size for form in ("colour", "gray", "opaque")] == [65, 55, 40]
    assert [Config(form=form).channels for form in ("colour", "gray", "opaque")] == [3, 1, 3]
    assert Config().steps == 80
    assert Config(budget=401).steps == 81
    assert Config(budget=3).steps == 1


@pytest.mark.parametrize(("background", "value"), [("black", 0.0), ("white", 1.0)])
def test_paper_of_one_colour(background: painting.Background, value: float) -> None:
    state = start(Config(canvas=(4, 6), background=background))
    assert state.canvas.unique().tolist() == [value]
    assert state.strokes.tolist() == [0, 0]
    assert state.initial.equal(state.distance)
    assert state.bundle.shape == (2, 5, 13)
    assert not state.bundle.any()


def test_paper_of_the_targets_mean_colour() -> None:
    state = start(Config(canvas=(4, 6), background="mean"))
    for canvas, target in zip(state.canvas, state.target, strict=True):
        mean = target.mean((1, 2), keepdim=True).expand_as(canvas)
        torch.testing.assert_close(canvas, mean)


def test_strokes_are_painted_in_order_and_the_input_is_kept() -> None:
    config = Config(canvas=12, bundle=3)
    state, action = start(config), actions(config)
    copies = [part.clone() for part in state]
    after = painting.transition(state, action, config, renderers.get("bezier"))
    expected = state.canvas
    for number in range(3):
        one = action.reshape(2, 3, 13)[:, number : number + 1]
        expected = renderers.get("bezier")(expected, one)
    assert after.canvas.equal(expected)
    assert after.strokes.tolist() == [3, 3]
    assert after.bundle.equal(action.reshape(2, 3, 13))
    assert all(part.equal(copy) for part, copy in zip(state, copies, strict=True))


@pytest.mark.parametrize("form", ["gray", "opaque"])
def test_reduced_strokes_paint_as_full_ones(form: stroke.Form) -> None:
    config = Config(canvas=12, bundle=2, form=form, colour=(0.2, 0.4, 0.6), background="white")
    state, action = start(config), actions(config)
    after = painting.transition(state, action, config, renderers.get("bezier"))
    strokes = stroke.expand(action.reshape(2, 2, -1), form, config.colour)
    assert after.canvas.equal(renderers.get("bezier")(state.canvas, strokes))
    assert after.bundle.equal(strokes)
    if form == "opaque":  # the pen leaves its own colour: some pixel is covered whole
        ink = torch.tensor([0.2, 0.4, 0.6])[:, None, None]
        assert (after.canvas - ink).abs().amax(1).amin() < 1e-6


@pytest.mark.parametrize(("budget", "bundle"), [(7, 3), (2, 5), (9, 3), (1, 1), (11, 4)])
def test_the_budget_is_exact(budget: int, bundle: int) -> None:
    config = Config(canvas=10, budget=budget, bundle=bundle)
    state = start(config)
    outcomes = paint_all(config, state)
    assert [outcome.truncated.tolist() for outcome in outcomes[:-1]] == [[False] * 2] * (
        config.steps - 1
    )
    assert outcomes[-1].truncated.all()
    assert outcomes[-1].state.strokes.tolist() == [budget, budget]
    strokes = torch.cat(
        [actions(config, seed=step).reshape(2, bundle, 13) for step in range(config.steps)], 1
    )
    expected = renderers.get("bezier")(state.canvas, strokes[:, :budget])
    assert outcomes[-1].state.canvas.equal(expected)


def test_paintings_of_one_batch_may_be_at_different_steps() -> None:
    config = Config(canvas=10, budget=7, bundle=5)
    paint = renderers.get("bezier")
    state = start(config)
    ahead = painting.transition(state, actions(config), config, paint)
    mixed = State(*(torch.stack([old[0], new[1]]) for old, new in zip(state, ahead, strict=True)))
    action = actions(config, seed=1)
    after = painting.transition(mixed, action, config, paint)
    assert after.strokes.tolist() == [5, 7]
    strokes = action.reshape(2, 5, 13)
    assert after.canvas[0].equal(paint(mixed.canvas[:1], strokes[:1])[0])
    assert after.canvas[1].equal(paint(mixed.canvas[1:], strokes[1:, :2])[0])
    # The bundle paints the same; what was not painted is in it, but cannot be seen.
    assert after.bundle[0].equal(strokes[0])
    assert after.bundle[1, :2].equal(strokes[1, :2])
    assert not after.bundle[1, 2:, [7, 9]].any()
    assert paint(mixed.canvas, after.bundle).equal(after.canvas)


def test_step_counts_down() -> None:
    config = Config(canvas=4, budget=7, bundle=3)
    seen = [painting.observation(start(config), config)["step"][0].item()]
    seen += [
        painting.observation(outcome.state, config)["step"][0].item()
        for outcome in paint_all(config, start(config))
    ]
    assert seen == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_terminated_at_the_similarity_asked_for() -> None:
    target = torch.full((3, 3, 1, 1), 0.5)
    config = Config(canvas=1, similarity=20.0)
    state = painting.initial(target, torch.ones(3, 1, 1, 1), config)
    # 20 dB is a mean squared distance of 0.01
    state = state._replace(distance=torch.tensor([0.011, 0.01, 0.009]))
    assert painting.terminated(state, config).tolist() == [False, True, True]
    assert not painting.terminated(state, Config(canvas=1)).any()


@pytest.mark.parametrize(("distance", "decibels"), [(1.0, 0.0), (0.01, 20.0), (0.0, math.inf)])
def test_psnr(distance: float, decibels: float) -> None:
    assert painting.psnr(distance) == pytest.approx(decibels)


def test_a_canvas_of_one_pixel_takes_the_colour() -> None:
    config = Config(canvas=1, bundle=1)
    target = torch.tensor([0.25, 0.5, 0.75]).reshape(1, 3, 1, 1)
    state = painting.initial(target, torch.ones(1, 1, 1, 1), config)
    opaque = torch.tensor([[0.5, 0.5, 0, 0, 0.5, 0.5, 1, 1, 1, 1, 0.25, 0.5, 0.75]])
    outcome = painting.step(state, opaque, config, renderers.get("bezier"))
    # (.0625 + .25 + .5625) / 3 = .2917 of distance is painted away
    assert outcome.reward.item() == pytest.approx(0.875 / 3)
    assert outcome.state.distance.item() == pytest.approx(0, abs=1e-12)


@settings(max_examples=40)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    form=st.sampled_from(["colour", "gray", "opaque"]),
    background=st.sampled_from(["black", "white", "mean"]),
    bundle=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    edge=st.sampled_from(["uniform", "corners"]),
)
def test_any_action_keeps_the_invariants(
    height: int,
    width: int,
    form: stroke.Form,
    background: painting.Background,
    bundle: int,
    seed: int,
    edge: str,
) -> None:
    config = Config(
        canvas=(height, width), form=form, background=background, bundle=bundle, budget=10
    )
    rng = np.random.default_rng(seed)
    state = start(config, seed=seed)
    first, total, strokes = state.distance, torch.zeros(2), 0
    while not painting.truncated(state, config).any():
        numbers = rng.random((2, config.action_size), dtype=np.float32)
        if edge == "corners":
            numbers = numbers.round()
        outcome = painting.step(state, torch.from_numpy(numbers), config, renderers.get("bezier"))
        state, total, strokes = outcome.state, total + outcome.reward, strokes + 1
        assert torch.isfinite(state.canvas).all()
        assert state.canvas.min() >= 0
        assert state.canvas.max() <= 1
        assert state.canvas.dtype == torch.float32
    assert strokes == config.steps
    torch.testing.assert_close(total, first - state.distance, rtol=0, atol=1e-6)


def test_gradients_of_the_return_reach_the_first_action() -> None:
    config = Config(canvas=16, bundle=2, budget=4)
    paint = renderers.get("bezier")
    state = start(config)
    first = actions(config).requires_grad_()
    middle = painting.step(state, first, config, paint)
    last = painting.step(middle.state, actions(config, seed=1), config, paint)
    (middle.reward + last.reward).sum().backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()
    assert (first.grad != 0).float().mean() > 0.5


def test_a_large_canvas() -> None:
    config = Config(canvas=4096, bundle=1, form="gray")
    state = painting.initial(torch.ones(1, 1, 4096, 4096), torch.ones(1, 1, 4096, 4096), config)
    thin = torch.tensor([[0.1, 0.1, 0.5, 0.5, 0.9, 0.9, 0, 1, 0, 1, 1.0]])
    outcome = painting.step(state, thin, config, renderers.get("bezier"))
    assert 0 < outcome.reward.item() < 0.01
    assert outcome.state.canvas.shape == (1, 1, 4096, 4096)
