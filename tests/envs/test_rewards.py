"""Rewards against numbers worked out by hand."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from neuralpaint.envs import painting, rewards
from neuralpaint.envs.painting import Config, State

# One row of two gray pixels. Squared distances of the empty (black) canvas: .09 and .49, mean .29.
TARGET = torch.tensor([[[[0.3, 0.7]]]])


def state(canvas: Tensor, target: Tensor) -> State:
    config = Config(canvas=(1, 2), form="gray")
    start = painting.initial(target, torch.ones_like(target), config)
    distance = rewards.squared_distance(canvas, target)
    return start._replace(canvas=canvas, distance=distance)


BEFORE = state(torch.tensor([[[[0.0, 0.0]]]]), TARGET)
AFTER = state(torch.tensor([[[[0.2, 0.9]]]]), TARGET)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # after: .01 and .04, mean .025
        ("l2", 0.29 - 0.025),
        # before: min(.3, .5) and min(.7, .5), mean .4; after: .1 and .2, mean .15
        ("l1_clipped", 0.4 - 0.15),
        ("relative_l2", (0.29 - 0.025) / 0.29),
        # mean of .3 and .7, mean of .1 and .2
        ("l1", 0.5 - 0.15),
        # 5.376 dB and 16.021 dB
        ("psnr", 1.0644580),
    ],
)
def test_by_hand(name: str, value: float) -> None:
    assert painting.reward(BEFORE, AFTER, name).tolist() == pytest.approx([value], abs=1e-6)
    assert painting.reward(AFTER, BEFORE, name).tolist() == pytest.approx([-value], abs=1e-6)


def test_every_reward_has_a_golden_number() -> None:
    assert sorted(rewards.REWARDS) == ["l1", "l1_clipped", "l2", "psnr", "relative_l2"]


def test_l1_limit_can_be_chosen() -> None:
    # before: .3 and .6; after: .1 and .2
    reward = partial(rewards.l1_clipped, limit=0.6)
    assert painting.reward(BEFORE, AFTER, reward).item() == pytest.approx(0.45 - 0.15)


def test_relative_l2_of_a_target_like_the_paper_is_finite() -> None:
    black = torch.zeros_like(TARGET)
    value = rewards.relative_l2(state(black, black), state(TARGET, black))
    assert torch.isfinite(value).all()
    assert value.item() < 0


def test_rewards_of_a_batch_are_those_of_its_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    canvas, new, target = torch.rand(3, 5, 3, 9, 7, generator=generator).unbind(0)
    config = Config(canvas=(9, 7))
    for name in rewards.REWARDS:
        starts = painting.initial(target, target[:, :1], config)
        together = painting.reward(with_canvas(starts, canvas), with_canvas(starts, new), name)
        for i in range(5):
            start = State(*(part[i : i + 1] for part in starts))
            alone = painting.reward(
                with_canvas(start, canvas[i : i + 1]), with_canvas(start, new[i : i + 1]), name
            )
            assert alone.equal(together[i : i + 1])


def with_canvas(start: State, canvas: Tensor) -> State:
    distance = rewards.squared_distance(canvas, start.target)
    return start._replace(canvas=canvas, distance=distance)


def test_gradients_reach_the_canvas() -> None:
    for name in rewards.REWARDS:
        canvas = torch.tensor([[[[0.2, 0.9]]]], requires_grad=True)
        painting.reward(BEFORE, state(canvas, TARGET), name).sum().backward()
        assert canvas.grad is not None
        # The first pixel is too dark, the second too bright.
        assert canvas.grad.flatten()[0] > 0 > canvas.grad.flatten()[1]


def test_distance_is_the_same_with_and_without_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    canvas, target = torch.rand(2, 4, 3, 33, 65, generator=generator).unbind(0)
    plain = rewards.squared_distance(canvas, target)
    traced = rewards.squared_distance(canvas.clone().requires_grad_(), target)
    oracle = ((canvas.double() - target.double()) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(plain.double(), oracle, rtol=1e-6, atol=0)
    torch.testing.assert_close(traced.double(), oracle, rtol=1e-6, atol=0)


def test_psnr_of_a_finished_painting_is_finite() -> None:
    done = state(TARGET.clone(), TARGET)
    # from .29 to the least distance that counts, 1e-8
    assert rewards.psnr(BEFORE, done).item() == pytest.approx(8 + math.log10(0.29), abs=1e-5)
    assert rewards.psnr(done, done).item() == 0


def test_an_unknown_name_lists_the_known() -> None:
    known = "l2, l1, l1_clipped, psnr, relative_l2, vgg, masked, focus, full"
    with pytest.raises(ValueError, match=f"'l3' is unknown; known: {known}"):
        rewards.find("l3")


def test_names_that_stand_for_more_than_a_function_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"pass rewards\.Wgan\(discriminator\)"):
        rewards.check_name("wgan")
    with pytest.raises(ValueError, match=r"'full' needs networks.*rewards\.load"):
        painting.reward(BEFORE, AFTER, "full")


@pytest.mark.parametrize("wrong", [torch.tensor(1.0), torch.ones(2), 1.0])
def test_a_function_of_the_wrong_shape_is_refused(wrong: object) -> None:
    def reward(before: State, after: State) -> Tensor:
        return wrong  # type: ignore[return-value]

    with pytest.raises(ValueError, match=r"must return a tensor of shape \(1,\)"):
        painting.reward(BEFORE, AFTER, reward)
