"""The replay memory: rounding, overwriting, uniform draws, checkpoints."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neuralpaint.agents.replay import IMAGES, NUMBERS, Replay, to_levels
from neuralpaint.envs.painting import State

CPU = torch.device("cpu")


def states(numbers: list[int], channels: int = 3) -> State:
    """States that can be told apart: number n has n strokes, and gray level n everywhere."""
    count = torch.tensor(numbers)
    shade = (count.float() / 255).view(-1, 1, 1, 1)
    return State(
        canvas=shade.expand(-1, channels, 2, 3).clone(),
        target=shade.expand(-1, channels, 2, 3).clone(),
        mask=shade.expand(-1, 1, 2, 3).clone(),
        strokes=count,
        distance=count / 7,
        initial=count / 3,
        bundle=torch.ones(len(numbers), 5, 13),
    )


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def kept(replay: Replay) -> set[int]:
    return set(replay.sample(300, generator()).strokes.tolist())


def filled(places: int = 4) -> Replay:
    replay = Replay(places, CPU)
    replay.add(states([1, 2, 3]))
    return replay


# --- rounding ---


def test_levels_are_rounded_not_floored() -> None:
    # 0.499 * 255 = 127.2; 0.5 * 255 = 127.5, up; 0.9999 * 255 = 254.97
    image = torch.tensor([0, 0.499, 0.5, 0.9999, 1])
    assert to_levels(image).tolist() == [0, 127, 128, 255, 255]
    assert to_levels(torch.tensor([-1e-7, 1 + 1e-7])).tolist() == [0, 255]


def test_levels_survive_exactly_and_the_image_is_not_changed() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    image = levels.float() / 255
    assert torch.equal(to_levels(image), levels)
    assert torch.equal(image, levels.float() / 255)


def test_what_comes_out_is_what_went_in() -> None:
    replay = Replay(1, CPU)
    state = states([77])._replace(distance=torch.tensor([1 / 3]))
    replay.add(state)
    drawn = replay.sample(2, generator())
    for name in IMAGES + NUMBERS:
        value: Tensor = getattr(state, name)
        got: Tensor = getattr(drawn, name)
        assert got.dtype == value.dtype
        assert torch.equal(got, value.repeat_interleave(2, 0)), name
    assert torch.equal(drawn.bundle, torch.zeros(2, 5, 13))


# --- places ---


def test_the_oldest_are_overwritten() -> None:
    replay = filled(4)
    assert len(replay) == 3
    replay.add(states([4, 5]))
    assert len(replay) == 4
    assert replay.added == 5
    assert kept(replay) == {2, 3, 4, 5}


@given(places=st.integers(1, 7), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_the_last_states_are_kept_however_they_come(places: int, sizes: list[int]) -> None:
    replay, numbers = Replay(places, CPU), iter(range(100))
    for size in sizes:
        replay.add(states([next(numbers) for _ in range(size)]))
    total = sum(sizes)
    assert len(replay) == min(total, places)
    assert kept(replay) == set(range(max(0, total - places), total))


def test_draws_are_uniform_over_what_was_added() -> None:
    replay = Replay(100, CPU)
    replay.add(states([0, 1, 2, 3]))
    drawn = replay.sample(4000, generator())
    counts = torch.bincount(drawn.strokes, minlength=4)
    assert len(counts) == 4
    # 1000 each; the standard deviation is sqrt(4000 * 1/4 * 3/4) = 27
    assert int((counts - 1000).abs().max()) < 110
    again = replay.sample(4000, generator())
    assert torch.equal(drawn.strokes, again.strokes)


def test_gray_states_and_their_memory() -> None:
    replay = Replay(10, CPU)
    assert replay.megabytes == 0
    replay.add(states([1], channels=1))
    assert replay.sample(1, generator()).canvas.shape == (1, 1, 2, 3)
    # of each place 3 images of 6 bytes, an int64 and two float32
    assert replay.megabytes == 10 * (18 + 16) / 2**20


def test_no_places_and_nothing_added_are_errors() -> None:
    with pytest.raises(ValueError, match="at least 1 place, got 0"):
        Replay(0, CPU)
    with pytest.raises(ValueError, match="empty: collect states first"):
        Replay(3, CPU).sample(1, generator())


# --- checkpoints ---


@pytest.mark.parametrize("more", [[], [4, 5, 6]])
def test_a_restored_memory_goes_on_the_same(more: list[int]) -> None:
    replay, restored = filled(4), Replay(4, CPU)
    if more:
        replay.add(states(more))
    restored.load_state_dict({k: v.clone() for k, v in replay.state_dict().items()})
    for fresh in ([], [7, 8]):
        if fresh:
            replay.add(states(fresh))
            restored.add(states(fresh))
        assert (len(replay), replay.added) == (len(restored), restored.added)
        pairs = zip(replay.sample(50, generator()), restored.sample(50, generator()), strict=True)
        for one, other in pairs:
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


def test_an_empty_memory_is_restored_empty() -> None:
    restored = Replay(4, CPU)
    restored.load_state_dict(Replay(4, CPU).state_dict())
    assert len(restored) == 0
    restored.add(states([1]))
    assert kept(restored) == {1}


def test_only_what_is_filled_is_stored() -> None:
    state = filled(1000).state_dict()
    assert set(state) == {*IMAGES, *NUMBERS, "counts"}
    assert state["canvas"].shape == (3, 3, 2, 3)


def test_another_number_of_places_is_an_error() -> None:
    with pytest.raises(ValueError, match="had 4 places, now 5"):
        Replay(5, CPU).load_state_dict(filled(4).state_dict())
