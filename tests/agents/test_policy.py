"""The policies: every agent at the small size, actions of every form, files of weights."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from neuralpaint.agents.policy import (
    AGENTS,
    STATE_CHANNELS,
    AgentName,
    Policy,
    PolicyConfig,
    colours,
    load_policy,
    parse_config,
    save_policy,
    state_image,
)
from neuralpaint.renderers.stroke import FORMS, Form, expand, random_strokes, rescale

STEP = torch.ones(2, 1)


def policy(agent: AgentName, **settings: Any) -> Policy:
    torch.manual_seed(0)
    return Policy(PolicyConfig(agent=agent, **settings)).eval()


def images(seed: int, height: int = 64, width: int = 64, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, height, width, generator=generator)


# --- decisions ---


@pytest.mark.parametrize("agent", AGENTS)
def test_shapes_and_ranges(agent: AgentName) -> None:
    made = policy(agent, bundle=4)
    for height, width in ((64, 64), (5, 90), (1, 1)):
        with torch.no_grad():
            strokes, scores = made(images(0, height, width), images(1, height, width), STEP)
        assert strokes.shape == (2, 4, 13)
        assert strokes.dtype == torch.float32
        assert strokes.min() >= 0
        assert strokes.max() <= 1
        if AGENTS[agent].actor == "proposals":
            assert scores.shape == (2, 4)
            assert scores.isfinite().all()
        else:
            assert scores is None


@pytest.mark.parametrize("agent", AGENTS)
def test_the_gradient_reaches_all_of_the_actor_and_nothing_of_the_attention(
    agent: AgentName,
) -> None:
    made = policy(agent)
    generator = torch.Generator().manual_seed(1)
    for weight in made.actor.parameters():  # some begin at zero and let nothing pass
        weight.data += 0.02 * torch.randn(weight.shape, generator=generator)
    made.train()
    strokes, scores = made(images(0), images(1), STEP)
    loss = (strokes * torch.rand(strokes.shape, generator=generator)).sum()
    if scores is not None:
        loss = loss + (scores * torch.rand(scores.shape, generator=generator)).sum()
    loss.backward()
    for name, weight in made.actor.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name
    assert (made.attention is not None) == AGENTS[agent].attention
    if made.attention is not None:
        assert all(weight.grad is None for weight in made.attention.parameters())


@pytest.mark.parametrize("agent", ["attention", "thesis"])
def test_statistics_of_the_attention_stand_still(agent: AgentName) -> None:
    made = policy(agent)
    assert made.attention is not None
    before = {name: value.clone() for name, value in made.attention.named_buffers()}
    made.train()(images(0), images(1), STEP)
    assert before
    for name, value in made.attention.named_buffers():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("agent", AGENTS)
def test_gray_pictures_are_taken_as_colour(agent: AgentName) -> None:
    made = policy(agent)
    gray = images(0, channels=1), images(1, channels=1)
    with torch.no_grad():
        one = made(*gray, STEP)
        other = made(*(image.repeat(1, 3, 1, 1) for image in gray), STEP)
    torch.testing.assert_close(one.strokes, other.strokes)


@pytest.mark.parametrize("agent", AGENTS)
def test_noise_is_drawn_by_the_generator(agent: AgentName) -> None:
    made = policy(agent)

    def strokes(noise: float, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        decided: Tensor = made(images(0), images(1), STEP, noise, generator).strokes
        return decided

    with torch.no_grad():
        assert torch.equal(strokes(0.0, 0), strokes(0.0, 1))
        assert torch.equal(strokes(1.0, 0), strokes(1.0, 0))
        assert not torch.equal(strokes(1.0, 0), strokes(1.0, 1))
        assert not torch.equal(strokes(0.0, 0), strokes(1.0, 0))
        assert strokes(5.0, 0).min() >= 0
        assert strokes(5.0, 0).max() <= 1


def test_more_proposals_than_a_bundle_begin_with_the_bundle() -> None:
    made = policy("proposals")
    with torch.no_grad():
        few = made(images(0), images(1), STEP)
        many = made(images(0), images(1), STEP, count=12)
    assert many.strokes.shape == (2, 12, 13)
    assert torch.equal(many.strokes[:, :5], few.strokes)
    assert torch.equal(many.scores[:, :5], few.scores)
    assert (many.scores[:, 0] >= many.scores.max(1).values).all()


def test_only_a_resnet_sees_the_steps_that_are_left() -> None:
    with torch.no_grad():
        for agent in AGENTS:
            made = policy(agent)
            now, then = (made(images(0), images(1), step).strokes for step in (STEP, 0 * STEP))
            assert torch.equal(now, then) == (AGENTS[agent].actor == "proposals")


def test_a_state_as_the_resnets_see_it() -> None:
    canvas, target, focus = images(0, 8, 6), images(1, 8, 6), images(2, 4, 4)
    step = torch.tensor([[0.25], [1.0]])
    x = state_image(canvas, target, step, 128, focus)
    assert x.shape == (2, STATE_CHANNELS + 3, 8, 6)
    assert torch.equal(x[:, :3], canvas)
    assert torch.equal(x[:, 3:6], target)
    assert (x[0, 6] == 0.25).all()
    assert (x[1, 6] == 1).all()
    for row in range(8):
        torch.testing.assert_close(x[1, 7, row], torch.tensor([0, 0.2, 0.4, 0.6, 0.8, 1]))
    torch.testing.assert_close(x[0, 8, :, 3], torch.arange(8) / 7)
    small = state_image(canvas, target, step, 4)
    assert small.shape == (2, STATE_CHANNELS, 4, 4)
    expected = canvas.view(2, 3, 4, 2, 6).mean(3)[..., 0:2].mean(-1)  # columns 0 and 1 of 6
    torch.testing.assert_close(small[:, :3, :, 0], expected)


def test_colours() -> None:
    gray, colour = images(0, channels=1), images(0)
    assert colours(colour) is colour
    assert torch.equal(colours(gray)[:, 2:], gray)


# --- actions ---


@pytest.mark.parametrize("form", FORMS)
def test_actions_of_every_form(form: Form) -> None:
    made = policy("proposals", form=form, canvas=64)
    strokes = random_strokes(6, torch.Generator().manual_seed(0)).view(2, 3, 13)
    action = made.act(strokes, 64)
    assert action.shape == (2, 3 * FORMS[form])
    again = expand(action.view(2, 3, -1), form)
    assert torch.equal(again[..., :7], strokes[..., :7])
    assert torch.equal(again[..., 8], strokes[..., 8])
    if form == "colour":
        assert torch.equal(again, strokes)


def test_strokes_keep_their_looks_on_another_canvas() -> None:
    made = policy("proposals", canvas=64)
    strokes = random_strokes(6, torch.Generator().manual_seed(0)).view(2, 3, 13)
    strokes[0, 0, 6] = 1
    action = made.act(strokes, 256).view(2, 3, 13)
    # 4 half pixels of 1/64 less those of 1/256
    assert float(action[1, 1, 6] - strokes[1, 1, 6]) == pytest.approx(2 * (1 / 64 - 1 / 256))
    assert action[0, 0, 6] == 1
    assert torch.equal(action, rescale(strokes, 64, 256).clamp(0, 1))


# --- files ---


@pytest.mark.parametrize("agent", AGENTS)
def test_round_trip_in_half_precision(agent: AgentName, tmp_path: Path) -> None:
    made = policy(agent, bundle=3, form="opaque", canvas=64)
    file = tmp_path / "painter.safetensors"
    save_policy(made, file, {"steps": "7"})
    with safe_open(file, "pt") as stored:
        assert stored.metadata()["steps"] == "7"
    loaded = load_policy(file)
    assert loaded.config == made.config
    assert not loaded.training
    for name, weight in made.state_dict().items():
        got = loaded.state_dict()[name]
        assert got.dtype == weight.dtype
        kept = weight.half().float() if weight.is_floating_point() else weight
        assert torch.equal(got, kept), name
    assert not any(weight.requires_grad for weight in loaded.parameters())
    made.load_state_dict(loaded.state_dict())
    with torch.no_grad():
        one, other = (each(images(0), images(1), STEP).strokes for each in (made, loaded))
    # Loaded weights lie channels last in memory, for which convolutions round differently.
    torch.testing.assert_close(one, other)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none: no weights of a painter; train it first"):
        load_policy(tmp_path / "none")


def test_a_file_of_something_else_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "painter.safetensors"
    save_policy(policy("proposals"), file, {"config": "{}"})
    with pytest.raises(ValueError, match=r"painter\.safetensors: holds no configuration") as seen:
        load_policy(file)
    assert str(seen.value).count(str(file)) == 1


def test_weights_of_another_configuration_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "painter.safetensors"
    config = json.dumps(asdict(PolicyConfig(agent="attention")))
    save_policy(policy("proposals"), file, {"config": config})
    with pytest.raises(ValueError, match=r"painter\.safetensors: weight .* is missing"):
        load_policy(file)


def test_a_configuration_is_parsed() -> None:
    config = PolicyConfig(agent="thesis", bundle=2, canvas=96, reward="l2")
    assert parse_config({"config": json.dumps(asdict(config)), "other": "x"}) == config


GOOD = asdict(PolicyConfig())
BAD: list[tuple[dict[str, Any], str]] = [
    ({"agent": "dqn"}, "agent 'dqn' is unknown; known: proposals, attention, thesis, ltp"),
    ({"agent": ["ltp"]}, "unhashable"),
    ({"agent": "x" * 10_000}, "x' is unknown|xx is unknown"),
    ({"size": "huge"}, "size 'huge' is unknown; known: small, thesis"),
    ({"form": None}, "form None is unknown; known: colour, gray, opaque"),
    ({"bundle": 0}, "bundle must be a whole number, 1 to 64, got 0"),
    ({"bundle": 65}, "bundle must be a whole number, 1 to 64, got 65"),
    ({"bundle": 5.5}, "bundle must be a whole number, 1 to 64, got 5.5"),
    ({"bundle": True}, "bundle must be a whole number, 1 to 64, got True"),
    ({"bundle": "5"}, "bundle must be a whole number, 1 to 64, got '5'"),
    ({"canvas": 0}, "canvas must be a whole number, 1 to 16384, got 0"),
    ({"canvas": 16385}, "canvas must be a whole number, 1 to 16384, got 16385"),
    ({"canvas": float("nan")}, "canvas must be a whole number, 1 to 16384, got nan"),
    ({"reward": 5}, "reward must be the name of one, got 5"),
    ({"extra": 1}, "its fields must be agent, bundle, canvas, form, reward, size"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_configuration_is_named(change: dict[str, Any], message: str) -> None:
    meta = {"config": json.dumps({**GOOD, **change})}
    with pytest.raises(ValueError, match=f"holds no configuration of a painter .*({message})") as e:
        parse_config(meta)
    assert len(str(e.value)) < 250


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"config": ""},
        {"config": "[]"},
        {"config": "{}"},
        {"config": "null"},
        {"config": "[" * 100_000},
        {"config": json.dumps({k: v for k, v in GOOD.items() if k != "form"})},
    ],
)
def test_no_configuration(meta: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="holds no configuration of a painter"):
        parse_config(meta)


@settings(max_examples=50)
@given(text=st.text(max_size=100))
def test_any_text_is_no_configuration(text: str) -> None:
    with pytest.raises(ValueError, match="holds no configuration of a painter"):
        parse_config({"config": text})


# --- configuration ---


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_has_a_reward_of_its_own(agent: AgentName) -> None:
    config = PolicyConfig(agent=agent)
    assert config.reward == AGENTS[agent].reward
    assert config.recipe is AGENTS[agent]
    assert replace(config, reward="l1").reward == "l1"


def test_names() -> None:
    assert tuple(AGENTS) == get_args(AgentName)


@pytest.mark.parametrize("make", [Policy, lambda config: Policy(replace(config, form="gray"))])
def test_numbers_of_parameters(make: Callable[[PolicyConfig], Policy]) -> None:
    """The form changes the action, not the network."""
    made = make(PolicyConfig(agent="ltp", size="thesis"))
    # ResNet-18 of 11.17 million and 512 * 65 + 65 numbers, nine inputs in place of three
    assert 11.1e6 < sum(weight.numel() for weight in made.parameters()) < 11.3e6


def test_strokes_are_of_the_policys_form() -> None:
    with torch.no_grad():
        gray = policy("proposals", form="gray")(images(0), images(1), STEP).strokes
        opaque = policy("ltp", form="opaque")(images(0), images(1), STEP, 0.5).strokes
    assert (gray[..., 10:] == gray[..., 10:11]).all()
    assert (opaque[..., [7, 9]] == 1).all()
    assert (opaque[..., 10:] == 0).all()
