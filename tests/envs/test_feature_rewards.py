"""Rewards that ask networks, against numbers worked out by hand with networks that can be."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from neuralpaint import renderers
from neuralpaint.agents import attention as attention_module
from neuralpaint.envs import painting, rewards
from neuralpaint.envs.features import DEVIATION, MEAN, Vgg16, feature_mask, load_vgg, vgg_distance
from neuralpaint.envs.painting import Config, State
from neuralpaint.envs.rewards import Focus, Full, Masked, Vgg, Wgan
from neuralpaint.renderers import stroke

BEZIER = renderers.get("bezier")


class Focused(NamedTuple):
    image: Tensor


class Halved(nn.Module):
    """An attention module that sees half of every value."""

    def forward(self, canvas: Tensor) -> Focused:
        return Focused(canvas / 2)


def brighten(canvas: Tensor, strokes: Tensor) -> Tensor:
    """A renderer that adds the red of the first stroke everywhere."""
    return canvas + strokes[:, 0, 10, None, None, None]


def gray_vgg() -> Vgg16:
    """Its layer 2 is the mean of red, green and blue."""
    vgg = Vgg16(width=1, name="gray")
    for parameter in vgg.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        for first in ("features.0", "features.2"):
            convolution = vgg.get_submodule(first)
            assert isinstance(convolution, nn.Conv2d)
            convolution.weight[0, :, 1, 1] = 1
        colours = vgg.get_submodule("features.0")
        assert isinstance(colours, nn.Conv2d)
        assert colours.bias is not None
        colours.weight[0, :, 1, 1] = torch.tensor(DEVIATION) / 3
        colours.bias[0] = sum(MEAN) / 3
    return vgg.eval().requires_grad_(False)


def gray(*rows: list[float]) -> Tensor:
    """An image (1, 3, H, W) of gray pixels."""
    return torch.tensor(rows).expand(1, 3, -1, -1).clone()


def states(before: Tensor, after: Tensor, target: Tensor, red: float = 0.0) -> tuple[State, State]:
    config = Config(canvas=(target.shape[2], target.shape[3]), bundle=1)
    start = painting.initial(target, torch.ones_like(target[:, :1]), config)
    bundle = torch.zeros(len(target), 1, 13)
    bundle[:, :, 10] = red
    return start._replace(canvas=before), start._replace(canvas=after, bundle=bundle)


# The mask of two pixels is 0 on the darker and 1 on the brighter one.
TARGET = gray([0.3, 0.7])
STEP = states(gray([0.0, 0.0]), gray([0.2, 0.9]), TARGET)


def test_vgg_by_hand() -> None:
    # squared: .09 and .49, mean .29; then .01 and .04, mean .025
    assert Vgg(gray_vgg(), layer=2)(*STEP).tolist() == pytest.approx([0.265])


@pytest.mark.parametrize(
    ("terms", "value"),
    [
        # the bright pixel: min(.7, .5) - .2 = .3, over two pixels .15
        ({"features": False}, 0.15),
        ({"weight": 1.0}, 0.15 + 0.265),
        ({}, 0.15 + 0.005 * 0.265),
        ({"weight": 0.1}, 0.15 + 0.0265),
        ({"weight": 0.0}, 0.15),
        # both pixels: (.3 - .1 + .3) / 2
        ({"mask": False, "features": False}, 0.25),
        ({"mask": False, "weight": 1.0}, 0.25 + 0.265),
        # (min(.7, .6) - .2) / 2
        ({"limit": 0.6, "features": False}, 0.2),
    ],
)
def test_masked_by_hand(terms: dict[str, Any], value: float) -> None:
    reward = Masked(gray_vgg(), layer=2, **terms)
    assert reward(*STEP).tolist() == pytest.approx([value], abs=1e-6)


def test_masked_by_hand_on_four_pixels() -> None:
    target = gray([0.0, 0.2], [0.6, 1.0])  # its own mask
    step = states(torch.zeros_like(target), torch.full_like(target, 0.5), target)
    # before: 0, .2 * .2, min(.6, .5) * .6, min(1, .5); after: 0, .3 * .2, .1 * .6, .5
    drop = (0.04 + 0.3 + 0.5 - 0.06 - 0.06 - 0.5) / 4
    assert Masked(gray_vgg(), layer=2, features=False)(*step).item() == pytest.approx(drop)


def test_masked_without_its_terms_is_the_clipped_distance() -> None:
    reward = Masked(gray_vgg(), mask=False, features=False)
    assert reward(*STEP).item() == pytest.approx(rewards.l1_clipped(*STEP).item())


@pytest.mark.parametrize(
    ("terms", "value"),
    [
        # C_focus: .1 and .2, then .3 and .4, so both differ by .2; with the strokes by .1
        ({"reading": "drop", "mask": False}, 0.1),
        ({"reading": "drop"}, 0.05),  # half of the pixels count
        ({"reading": "drop", "limit": 0.15}, 0.025),
        ({"reading": "drop", "limit": 0.05}, 0.0),
        # 1 / .8 - 1 = .25
        ({"discount": 0.8, "mask": False}, -0.025),
        ({"discount": 0.8}, -0.0125),
        ({"discount": 0.8, "limit": 0.05}, -0.00625),
        ({"discount": 1.0}, 0.0),
        ({}, -0.05 * (1 / 0.95**5 - 1)),
    ],
)
def test_focus_by_hand(terms: dict[str, Any], value: float) -> None:
    before, after = gray([0.2, 0.4]), gray([0.6, 0.8])
    reward = Focus(gray_vgg(), Halved(), brighten, **terms)
    step = states(before, after, TARGET, red=0.1)
    assert reward(*step).tolist() == pytest.approx([value], abs=1e-6)


def test_the_penalty_has_the_return_of_the_printed_reward() -> None:
    vgg, module, discount = load_vgg(), attention_module.load_attention(), 0.7
    config = Config(canvas=32, bundle=2)
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 3, 32, 32, generator=generator)
    weights = feature_mask(vgg, target, 2, (64, 64))
    reward = Focus(vgg, module, BEZIER, discount=discount)
    state = painting.initial(target, torch.ones_like(target[:, :1]), config)
    losses, total = [torch.zeros(2)], torch.zeros(2)  # nothing is painted before the first bundle
    for t in range(3):
        action = torch.rand(2, config.action_size, generator=generator)
        after = painting.transition(state, action, config, BEZIER)
        total += discount**t * reward(state, after)
        old, new = (module(canvas).image for canvas in (state.canvas, after.canvas))
        blend = BEZIER(old, stroke.rescale(after.bundle, 32, 64))
        losses.append(((blend - new).abs().clamp(max=0.5) * weights).mean((1, 2, 3)))
        state = after
    losses.append(torch.zeros(2))  # nor after the last
    printed = sum(discount ** (t - 1) * (losses[t] - losses[t + 1]) for t in range(4))
    assert losses[1].min() > 0.001
    torch.testing.assert_close(total, printed)


def test_the_oracle_sees_the_subject_and_nothing_else() -> None:
    before, after = random_step(side=16)
    mask = torch.zeros(2, 1, 16, 16)
    mask[..., :8] = 1
    before, after = (state._replace(mask=mask) for state in (before, after))

    class LeftHalf(nn.Module):
        def forward(self, canvas: Tensor) -> Focused:
            return Focused(canvas * mask)

    for reading in ("penalty", "drop"):
        exact = Focus(gray_vgg(), None, BEZIER, reading=reading)
        known = Focus(gray_vgg(), LeftHalf(), BEZIER, reading=reading)
        assert exact(before, after).equal(known(before, after))
    large, masks = torch.rand(1, 3, 128, 256), torch.ones(1, 1, 128, 256)
    assert Focus(gray_vgg(), None, BEZIER).image(large, masks).shape == (1, 3, 64, 64)
    assert Focus(gray_vgg(), None, BEZIER).image(large[:, :1], masks).shape == (1, 3, 64, 64)


def test_full_by_hand() -> None:
    before, after = gray([0.2, 0.4]), gray([0.6, 0.8])
    step = states(before, after, TARGET, red=0.1)
    # the bright pixel: (.3 - .1) / 2; squared: .01 and .09, then .09 and .01
    masked = Masked(gray_vgg(), layer=2)
    focus = Focus(gray_vgg(), Halved(), brighten, discount=0.8)
    assert masked(*step).item() == pytest.approx(0.1, abs=1e-6)
    assert Full(masked, focus)(*step).item() == pytest.approx(2 * 0.1 - 0.0125, abs=1e-6)
    assert Full(masked, focus, 0.5, 3)(*step).item() == pytest.approx(0.05 - 0.0375, abs=1e-6)
    assert Full(masked, None)(*step).item() == pytest.approx(0.2, abs=1e-6)
    assert Full(None, focus)(*step).item() == pytest.approx(-0.0125, abs=1e-6)


def test_what_has_no_weight_is_not_computed() -> None:
    vgg, attention = gray_vgg(), Halved()
    calls = [count_calls(vgg), count_calls(attention)]
    masked, focus = Masked(vgg, layer=2), Focus(gray_vgg(), attention, brighten)
    Full(masked, focus, eta=0)(*STEP)
    assert [call() for call in calls] == [4, 0]  # mask and features of the target, two canvases
    Full(masked, focus, sigma=0)(*STEP)
    assert [call() for call in calls] == [4, 2]
    none: list[tuple[Any, ...]] = [(None, None), (masked, focus, 0, 0), (masked, None, 0, 1)]
    for terms in none:
        with pytest.raises(ValueError, match="a reward of no terms"):
            Full(*terms)


@pytest.mark.parametrize("limit", [0.0, -1.0, 1.5])
def test_limits_outside_the_range_are_refused(limit: float) -> None:
    with pytest.raises(ValueError, match=r"limit must be in \(0, 1\]"):
        Masked(gray_vgg(), limit=limit)
    with pytest.raises(ValueError, match=r"limit must be in \(0, 1\]"):
        Focus(gray_vgg(), Halved(), brighten, limit=limit)


def test_other_readings_and_discounts_are_refused() -> None:
    with pytest.raises(ValueError, match="'rise' is unknown; known: penalty, drop"):
        Focus(gray_vgg(), Halved(), brighten, reading="rise")  # type: ignore[arg-type]
    for discount in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"discount must be in \(0, 1\]"):
            Focus(gray_vgg(), Halved(), brighten, discount=discount)


def test_wgan_is_the_rise_of_the_score() -> None:
    class Score(nn.Module):
        def forward(self, canvas: Tensor, target: Tensor) -> Tensor:
            return 3 * (canvas * target).sum((1, 2, 3))

    # after: .2 * .3 + .9 * .7 in three channels
    assert Wgan(Score())(*STEP).tolist() == pytest.approx([9 * 0.69])


def test_vgg_is_the_distance_of_the_features() -> None:
    vgg = load_vgg()
    before, after = random_step()
    drop = vgg_distance(vgg, before.canvas, before.target)
    drop = drop - vgg_distance(vgg, after.canvas, after.target)
    torch.testing.assert_close(Vgg(vgg)(before, after), drop)


def random_step(batch: int = 2, side: int = 32, channels: int = 3) -> tuple[State, State]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(batch, channels, side, side, generator=generator)
    config = Config(canvas=side, bundle=2, form="gray" if channels == 1 else "colour")
    start = painting.initial(target, torch.ones_like(target[:, :1]), config)
    first = torch.rand(batch, config.action_size, generator=generator)
    second = torch.rand(batch, config.action_size, generator=generator)
    before = painting.transition(start, first, config, BEZIER)
    return before, painting.transition(before, second, config, BEZIER)


def full() -> Full:
    vgg = load_vgg()
    module = attention_module.load_attention()
    return Full(Masked(vgg), Focus(vgg, module, BEZIER))


def test_strokes_keep_their_looks_on_the_focused_image() -> None:
    seen: list[Tensor] = []

    def paint(canvas: Tensor, strokes: Tensor) -> Tensor:
        seen.append(strokes)
        return canvas

    before, after = random_step(side=16)
    Focus(gray_vgg(), attention_module.load_attention(), paint)(before, after)
    # A radius of z * 16 / 4 + 1/2 pixels of 16 is one of (z * 16 / 4 + 1/2) * 4 pixels of 64.
    radius, shown = after.bundle[..., 6] * 4 + 0.5, seen[0][..., 6] * 16 + 0.5
    torch.testing.assert_close(shown, radius * 4)
    assert seen[0][..., :6].equal(after.bundle[..., :6])


def test_strokes_on_the_subject_earn_more() -> None:
    class LeftHalf(nn.Module):
        def forward(self, canvas: Tensor) -> Focused:
            subject = torch.zeros_like(canvas)
            subject[..., : canvas.shape[3] // 2] = 1
            return Focused(canvas * subject)

    config = Config(canvas=32, bundle=1)
    target = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    start = painting.initial(target, torch.ones(2, 1, 32, 32), config)
    disc = torch.tensor([[x, 0.5, 0, 0, x, 0.5, 0.5, 1, 0.5, 1, 1, 1, 1] for x in (0.25, 0.75)])
    after = painting.transition(start, disc, config, BEZIER)
    # Beside it, the blend gains paint that the focused image has not.
    on, beside = Focus(gray_vgg(), LeftHalf(), BEZIER)(start, after).tolist()
    assert on == 0 > beside
    on, beside = Focus(gray_vgg(), LeftHalf(), BEZIER, reading="drop")(start, after).tolist()
    assert on > 0 > beside


def test_gradients_reach_canvas_and_strokes() -> None:
    reward = full()
    before, after = random_step()
    canvas = after.canvas.clone().requires_grad_()
    bundle = after.bundle.clone().requires_grad_()
    reward(before, after._replace(canvas=canvas, bundle=bundle)).sum().backward()
    for gradient in (canvas.grad, bundle.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0
    # and through the whole step to an action, whose steepest direction raises the reward
    config = Config(canvas=32, bundle=2)
    action = after.bundle.reshape(2, 26).clone().requires_grad_()

    def worth(action: Tensor) -> Tensor:
        return reward(before, painting.transition(before, action, config, BEZIER)).sum()

    (slope,) = torch.autograd.grad(worth(action), action)
    higher = (action + 1e-3 * slope / slope.norm()).detach()
    lower = (action - 1e-3 * slope / slope.norm()).detach()
    rise = (worth(higher) - worth(lower)).item() / 2e-3
    # not exactly: edges are one pixel wide
    assert rise == pytest.approx(slope.norm().item(), rel=0.25)


def test_masked_gradient_by_hand() -> None:
    canvas = gray([0.2, 0.9]).requires_grad_()
    before, after = STEP
    Masked(gray_vgg(), layer=2, features=False)(before, after._replace(canvas=canvas)).backward()
    assert canvas.grad is not None
    # Six values count alike; the dark pixel's mask is 0, the bright one is too bright.
    assert canvas.grad[0, :, 0].tolist() == [pytest.approx([0, -1 / 6])] * 3


def test_gray_canvases_work() -> None:
    before, after = random_step(channels=1)
    value = full()(before, after)
    as_colour = [
        each._replace(canvas=each.canvas.expand(-1, 3, -1, -1)) for each in (before, after)
    ]
    three = [each._replace(target=each.target.expand(-1, 3, -1, -1)) for each in as_colour]
    torch.testing.assert_close(value, full()(three[0], three[1]))


@pytest.mark.parametrize("side", [1, 3, 7])
def test_canvases_too_small_for_vgg_are_enlarged(side: int) -> None:
    value = full()(*random_step(side=side))
    assert value.shape == (2,)
    assert torch.isfinite(value).all()


def test_a_batch_is_the_sum_of_its_parts() -> None:
    before, after = random_step(batch=3)
    together = full()(before, after)
    for i in range(3):
        parts = [State(*(each[i : i + 1] for each in state)) for state in (before, after)]
        torch.testing.assert_close(full()(parts[0], parts[1]), together[i : i + 1])


def count_calls(module: nn.Module) -> Callable[[], int]:
    calls: list[None] = []
    module.register_forward_hook(lambda *_: calls.append(None))
    return lambda: len(calls)


def test_an_episode_asks_once_for_each_canvas_and_target() -> None:
    vgg, module = load_vgg(), attention_module.load_attention()
    reward = Full(Masked(vgg), Focus(vgg, module, BEZIER))
    seen_vgg, seen_attention = count_calls(vgg), count_calls(module)
    config = Config(canvas=16, bundle=1)
    target = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    state = painting.initial(target, torch.ones(2, 1, 16, 16), config)
    actions = torch.rand(4, 2, 13, generator=torch.Generator().manual_seed(1))
    for number, action in enumerate(actions):
        after = painting.transition(state, action, config, BEZIER)
        value = reward(state, after)
        # Of the target two masks and its features, and every canvas once.
        assert seen_vgg() == 3 + 2 + number
        assert seen_attention() == 2 + number
        assert value.equal(full()(state, after))
        assert not value.requires_grad
        state = after


def test_a_target_that_changes_is_looked_at_anew() -> None:
    reward = full()
    before, after = random_step()
    reward(before, after)
    before.target.mul_(0.5)
    assert reward(before, after).equal(full()(before, after))
    other = before.target.flip(0)
    turned = before._replace(target=other), after._replace(target=other)
    assert reward(*turned).equal(full()(*turned))


def test_what_was_remembered_without_gradients_does_not_hide_them() -> None:
    reward = full()
    before, after = random_step()
    with torch.no_grad():
        plain = reward(before, after)
    canvas = after.canvas.clone().requires_grad_()
    for _ in range(2):
        value = reward(before, after._replace(canvas=canvas))
        torch.testing.assert_close(value.detach(), plain)
        (gradient,) = torch.autograd.grad(value.sum(), canvas)
        assert gradient.abs().max() > 0
    # Where the canvas before the step has a gradient, it is followed too.
    start = before.canvas.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reward(before._replace(canvas=start), after).sum(), start)
    assert gradient.abs().max() > 0


def test_copies_give_the_same() -> None:
    reward = full()
    step = random_step()
    value = reward(*step)
    assert copy.deepcopy(reward)(*step).equal(value)


def test_names() -> None:
    device = torch.device("cpu")
    kinds = {"vgg": Vgg, "masked": Masked, "focus": Focus, "full": Full}
    assert sorted(kinds) == sorted(rewards.NETWORK_REWARDS)
    step = random_step()
    for name, kind in kinds.items():
        reward = rewards.load(name, device, BEZIER)
        assert isinstance(reward, kind)
        assert painting.reward(*step, reward).shape == (2,)
    assert rewards.load("l1", device, BEZIER) is rewards.l1
    assert rewards.load(rewards.psnr, device, BEZIER) is rewards.psnr
    with pytest.raises(ValueError, match="'l3' is unknown"):
        rewards.load("l3", device, BEZIER)


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise FileNotFoundError("attention.safetensors: no weights")

    monkeypatch.setattr(attention_module, "load_attention", absent)
    for name in ("focus", "full"):
        with pytest.raises(FileNotFoundError, match=rf"'{name}' needs the attention.*'masked'"):
            rewards.load(name, torch.device("cpu"), BEZIER)
    rewards.load("masked", torch.device("cpu"), BEZIER)


def test_masks_are_those_of_the_features() -> None:
    vgg = load_vgg()
    before, after = random_step()
    mask = feature_mask(vgg, after.target, 17)
    old = (before.canvas - after.target).abs().clamp(max=0.5)
    new = (after.canvas - after.target).abs().clamp(max=0.5)
    expected = ((old - new) * mask).mean((1, 2, 3))
    torch.testing.assert_close(Masked(vgg, features=False)(before, after), expected)
