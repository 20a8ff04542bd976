"""Paintings that go on and on, and sources whose pictures are mirrored and cut."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuralpaint.agents.rollout import Augmented, Rollout
from neuralpaint.envs import painting, targets
from neuralpaint.envs.subjects import Kind
from neuralpaint.envs.targets import Canvas, Target
from neuralpaint.renderers import bezier
from neuralpaint.renderers.stroke import random_strokes

CPU = torch.device("cpu")
PROCESS = painting.Config(canvas=8, bundle=2, budget=4)
KINDS = ("black", "white", "mean")


def rollout(seed: int = 0, count: int = 3, **settings: Any) -> Rollout:
    source = targets.Procedural(Canvas(3, 8, 8))
    process = settings.pop("process", PROCESS)
    return Rollout(process, bezier.paint, source, count, seed, CPU, **settings)


def actions(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return random_strokes(2 * count, generator).view(count, 26)


def same(one: painting.State, other: painting.State) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# --- paintings ---


def test_paintings_end_and_begin_anew() -> None:
    rolled = rollout()
    first = rolled.state.target
    assert rolled.state.strokes.tolist() == [0, 0, 0]

    after = rolled.advance(actions(3))
    assert after.strokes.tolist() == [2, 2, 2]
    assert same(after, rolled.state)
    assert torch.equal(rolled.state.target, first)

    after = rolled.advance(actions(3))
    assert after.strokes.tolist() == [4, 4, 4]
    assert torch.equal(after.target, first)
    assert torch.equal(after.bundle, actions(3).view(3, 2, 13))
    assert rolled.state.strokes.tolist() == [0, 0, 0]
    assert not rolled.state.canvas.any()
    assert not rolled.state.bundle.any()
    assert torch.equal(rolled.state.distance, rolled.state.initial)
    assert not torch.equal(rolled.state.target, first)


def test_advance_is_a_transition_of_the_process() -> None:
    rolled = rollout()
    expected = painting.transition(rolled.state, actions(3), PROCESS, bezier.paint)
    leaf = actions(3).requires_grad_()
    after = rolled.advance(leaf)
    assert same(after, expected)
    assert not after.canvas.requires_grad


def test_one_that_is_similar_enough_ends_alone() -> None:
    process = painting.Config(canvas=8, bundle=2, budget=400, similarity=60)
    rolled = rollout(process=process)
    rolled.state = rolled.state._replace(
        target=rolled.state.target.index_fill(0, torch.tensor([1]), 0.0)  # black, as the canvas is
    )
    before = rolled.state.target.clone()
    after = rolled.advance(torch.zeros(3, 26))  # invisible strokes
    assert after.strokes.tolist() == [2, 2, 2]
    assert rolled.state.strokes.tolist() == [2, 0, 2]
    assert torch.equal(rolled.state.target[[0, 2]], before[[0, 2]])
    assert rolled.state.target[1].any()


def test_backgrounds_take_turns_also_when_paintings_begin_anew() -> None:
    rolled = rollout(count=2, backgrounds=KINDS)

    def shades() -> list[str]:
        names = []
        for canvas, target in zip(rolled.state.canvas, rolled.state.target, strict=True):
            mean = target.mean((1, 2), keepdim=True).expand_as(canvas)
            known = {"black": torch.zeros(()), "white": torch.ones(()), "mean": mean}
            names += [n for n, c in known.items() if torch.allclose(canvas, c, atol=1e-6)]
        return names

    seen = shades()
    for _ in range(4):
        rolled.advance(actions(2))
        rolled.advance(actions(2))
        seen += shades()
    assert seen == [KINDS[i % 3] for i in range(10)]


def test_the_background_is_that_of_the_process_by_default() -> None:
    process = painting.Config(canvas=8, bundle=2, budget=4, background="white")
    assert (rollout(process=process).state.canvas == 1).all()


def test_an_unknown_background_is_named() -> None:
    with pytest.raises(ValueError, match="'pink' is unknown; known: black, white, mean"):
        rollout(backgrounds=["pink"])


def test_gray_paintings() -> None:
    process = painting.Config(canvas=8, bundle=2, budget=4, form="gray")
    source = targets.Procedural(Canvas(1, 8, 8))
    rolled = Rollout(process, bezier.paint, source, 2, 0, CPU, KINDS)
    assert rolled.advance(torch.rand(2, 22)).canvas.shape == (2, 1, 8, 8)


def test_the_seed_decides() -> None:
    one, other, third = rollout(0), rollout(0), rollout(1)
    assert not torch.equal(one.state.target, third.state.target)
    for turn in range(3):
        assert same(one.state, other.state)
        one.advance(actions(3, turn))
        other.advance(actions(3, turn))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_restored_rollout_goes_on_the_same(steps: int) -> None:
    # Two paintings and three backgrounds, so that whose turn it is has to be restored too.
    rolled, restored = (rollout(seed, 2, backgrounds=KINDS) for seed in (0, 7))
    for turn in range(steps):
        rolled.advance(actions(2, turn))
    tensors, facts = rolled.state_dict()
    restored.load_state_dict(
        {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(facts))
    )
    for turn in range(4):
        assert same(rolled.state, restored.state)
        assert same(rolled.advance(actions(2, turn)), restored.advance(actions(2, turn)))


def test_other_paintings_are_not_restored() -> None:
    tensors, facts = rollout(count=2).state_dict()
    with pytest.raises(ValueError, match=r"were \(2, 3, 8, 8\), now \(3, 3, 8, 8\)"):
        rollout(count=3).load_state_dict(tensors, facts)


# --- augmentation ---


class Fixed:
    """A source of one picture, its mask the same as its red."""

    subject: Kind | None = None

    def __init__(self, image: targets.Array) -> None:
        channels, height, width = image.shape
        self.canvas = Canvas(channels, height, width)
        self.target = Target(image, image[:1].copy())
        self.skipped = {"broken.jpg": "damaged"}

    def draw(self, rng: np.random.Generator) -> Target:
        return self.target

    def pick(self, index: int) -> Target:
        return self.target


def ramp(height: int = 16, width: int = 16) -> targets.Array:
    """Brighter to the right, in red; to the bottom, in green; blue is even."""
    image = np.full((3, height, width), 0.5, np.float32)
    image[0] = np.linspace(0, 1, width)
    image[1] = np.linspace(0, 1, height)[:, None]
    return image


@settings(max_examples=40)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32),
)
def test_shapes_and_ranges(height: int, width: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((channels, 2 * height, 2 * width), dtype=np.float32)
    source = Augmented(Fixed(image))
    assert source.canvas == (channels, height, width)
    for target in (source.draw(rng), source.pick(0)):
        assert target.image.shape == (channels, height, width)
        assert target.mask.shape == (1, height, width)
        for array in target:
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            assert array.min() >= image.min()
            assert array.max() <= image.max()
        np.testing.assert_allclose(target.mask, target.image[:1], atol=1e-6)


def test_half_are_mirrored_and_half_are_cut() -> None:
    source, rng = Augmented(Fixed(ramp())), np.random.default_rng(0)
    images = [source.draw(rng).image for _ in range(400)]
    mirrored = [image[0, 0, 0] > image[0, 0, -1] for image in images]
    # 200 each, standard deviation 10
    assert 160 < sum(mirrored) < 240
    ranges = np.array([np.ptp(image[1]) for image in images])
    whole = np.ptp(source.pick(0).image[1])
    cut = ranges < whole - 1e-6
    assert 150 < cut.sum() < 240  # shares above 31/32 round to the whole
    # half of the side is 8 of 16 rows, 7 of 15 steps, less the mean of 2 rows at most
    assert ranges.min() >= 7 / 15 - 1 / 15
    assert all(image[1, 0, 0] < image[1, -1, 0] for image in images)  # never upside down
    tops = {float(image[1, 0, 0]) for image in images}
    # Shares of a half begin at any of 9 rows: 0 to 8, in steps of 1/15.
    assert min(tops) == 0
    assert 6 / 15 < max(tops) <= 9 / 15


def test_a_picked_picture_is_whole_and_as_it_is() -> None:
    picked = Augmented(Fixed(ramp())).pick(0)
    expected = ramp().reshape(3, 8, 2, 8, 2).mean((2, 4))
    np.testing.assert_allclose(picked.image, expected, atol=1e-6)


def test_a_source_is_spoken_for() -> None:
    source = Fixed(ramp())
    augmented: targets.Source = Augmented(source)
    source.skipped["late.jpg"] = "damaged too"
    assert augmented.skipped == {"broken.jpg": "damaged", "late.jpg": "damaged too"}
    assert augmented.subject is None


def test_augmented_pictures_can_be_painted() -> None:
    source = Augmented(targets.Procedural(Canvas(3, 16, 16)))
    rolled = Rollout(PROCESS, bezier.paint, source, 2, 0, CPU)
    assert rolled.advance(actions(2)).canvas.shape == (2, 3, 8, 8)
