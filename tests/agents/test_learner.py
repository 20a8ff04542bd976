"""The update of model-based DDPG: targets, soft updates, single strokes, the guard against NaN."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from neuralpaint.agents import policy as policies
from neuralpaint.agents.learner import Learner, UpdateConfig, along, follow
from neuralpaint.agents.policy import Policy, PolicyConfig, Widths
from neuralpaint.backend import device as devices
from neuralpaint.backend.distributed import Group
from neuralpaint.envs import feature_rewards, painting, rewards
from neuralpaint.renderers import bezier
from neuralpaint.renderers.stroke import Form

CPU = torch.device("cpu")
SIDE = 16


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policies.SIZES, "small", Widths(proposals=8, resnet=4, view=16))


def process(budget: int = 20, bundle: int = 2, form: Form = "colour") -> painting.Config:
    return painting.Config(canvas=SIDE, bundle=bundle, budget=budget, form=form)


def states(config: painting.Config, count: int = 3, seed: int = 0) -> painting.State:
    generator = devices.generator(seed)
    image = torch.rand(count, config.channels, SIDE, SIDE, generator=generator)
    mask = torch.zeros(count, 1, SIDE, SIDE)
    mask[:, :, 4:12, 4:12] = 1
    return painting.initial(image, mask, config)


def make(
    agent: policies.AgentName = "proposals",
    reward: str = "",
    config: painting.Config | None = None,
    group: Group | None = None,
    **update: object,
) -> Learner:
    torch.manual_seed(0)
    chosen = config or process()
    policy = PolicyConfig(
        agent=agent, bundle=chosen.bundle, form=chosen.form, reward=reward, canvas=SIDE
    )
    settings: dict[str, object] = {"precision": "fp32", "proposals": 3, **update}
    return Learner(policy, UpdateConfig(**settings), chosen, CPU, group=group)  # type: ignore[arg-type]


def copies(networks: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in networks.state_dict().items()}


class Constant(nn.Module):
    """A critic that values all states alike."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(len(x))


def gains(amount: float) -> Callable[[painting.State, painting.State], Tensor]:
    def reward(before: painting.State, after: painting.State) -> Tensor:
        return torch.full((len(after.strokes),), amount)

    return reward


# --- Eq 6.9 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strokes", "target"),
    [
        (0, 0.25 + 0.5**2 * 4.0),  # R + gamma^K V'(s'): two strokes a bundle
        (18, 0.25),  # the last bundle: nothing comes after it
    ],
)
def test_the_critic_learns_eq_6_9(strokes: int, target: float) -> None:
    learner = make(agent="ltp", reward="l2", gamma=0.5)
    learner.reward = gains(0.25)
    learner.critic_target = Constant(4.0)
    critic = Constant(1.0)
    learner.critic = critic  # type: ignore[assignment]  # as small as can be
    learner.optimisers["critic"] = torch.optim.SGD(critic.parameters(), 0.1)
    state = states(learner.process)
    state = state._replace(strokes=torch.full_like(state.strokes, strokes))
    loss = learner._update_critic(state)
    assert loss == pytest.approx((1 - target) ** 2)
    # One step of gradient descent on (V - target)^2, whose gradient 2 (V - target) is clipped at 1.
    step = max(-1.0, min(1.0, 2 * (1 - target)))
    assert critic.value.item() == pytest.approx(1 - 0.1 * step, abs=1e-5)


def test_the_discount_is_zero_at_the_end_and_counts_strokes() -> None:
    learner = make(gamma=0.9)
    after = states(learner.process)
    after = after._replace(strokes=torch.tensor([2, 18, 20]))
    torch.testing.assert_close(learner._discount(after), torch.tensor([0.81, 0.81, 0.0]))
    three = after._replace(bundle=torch.zeros(3, 3, 13))
    torch.testing.assert_close(learner._discount(three), torch.tensor([0.729, 0.729, 0.0]))


def test_similar_paintings_have_no_future() -> None:
    learner = make(config=painting.Config(canvas=SIDE, bundle=2, budget=20, similarity=20.0))
    after = states(learner.process)._replace(distance=torch.tensor([0.02, 0.009, 0.01]))
    assert (learner._discount(after) > 0).tolist() == [True, False, False]


def test_the_actor_climbs_the_reward_and_the_next_value() -> None:
    learner = make(agent="ltp", reward="psnr", gamma=0.5)
    learner.reward = gains(0.25)
    learner.critic = Constant(4.0)  # type: ignore[assignment]
    figures = learner._update_actor(_required(states(learner.process)), 0.0)
    assert figures["actor_loss"] == pytest.approx(-(0.25 + 0.5**2 * 4.0))
    assert figures["reward"] == pytest.approx(0.25)


def _required(state: painting.State) -> painting.State:
    """The canvas carries a gradient, since a constant reward has none to go back through."""
    return state._replace(canvas=state.canvas.requires_grad_())


@pytest.mark.parametrize("agent", ["proposals", "ltp"])
def test_updates_raise_the_reward(agent: policies.AgentName) -> None:
    config = process()
    learner = make(agent=agent, reward="psnr", config=config, critic=False, rate=3e-3)
    state = states(config, count=8)
    earned = [learner.update(state)["reward"] for _ in range(25)]
    assert earned[-1] > earned[0] + 0.01


# --- single strokes ------------------------------------------------------------------------------


def test_along_is_painting_one_by_one() -> None:
    config = process(bundle=3)
    state = states(config, count=2)
    strokes = torch.rand(2, 3, 13, generator=devices.generator(1))
    before, after = along(state, strokes, bezier.paint)
    assert len(before.strokes) == len(after.strokes) == 6
    for row in range(2):
        canvas = state.canvas[row : row + 1]
        target = state.target[row : row + 1]
        for k in range(3):
            at = 3 * row + k
            assert before.canvas[at].equal(canvas[0])
            torch.testing.assert_close(
                before.distance[at], rewards.squared_distance(canvas, target)[0]
            )
            canvas = bezier.paint(canvas, strokes[row : row + 1, k : k + 1])
            assert after.canvas[at].equal(canvas[0])
            assert after.bundle[at].equal(strokes[row, k : k + 1])
            assert after.target[at].equal(target[0])
            torch.testing.assert_close(
                after.distance[at], rewards.squared_distance(canvas, target)[0]
            )


def test_scores_are_taught_logarithms_of_single_rewards() -> None:
    learner = make(reward="l2", config=process(bundle=3))
    worth = torch.tensor([[0.2, -0.1, 0.05], [-0.3, -0.2, -0.1]])
    learner.reward = lambda before, after: worth.flatten()
    each = learner._rewards_of_each(states(learner.process, count=2), torch.rand(2, 3, 13))
    assert torch.equal(each, worth)


def test_scores_are_of_strokes_as_the_form_paints_them() -> None:
    """A pen that can only paint black gains nothing on black paper, whatever colour is proposed."""
    config = process(form="opaque")
    learner = make(reward="l2", config=config)
    strokes = torch.rand(3, 2, 13, generator=devices.generator(0))
    assert torch.equal(learner._rewards_of_each(states(config), strokes), torch.zeros(3, 2))


# --- following -----------------------------------------------------------------------------------


def test_follow_golden() -> None:
    old, new = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    nn.init.constant_(old.weight, 1.0)
    nn.init.constant_(new.weight, 5.0)
    new(torch.tensor([[1.0], [3.0]]))  # mean 2, of which a tenth; counted once
    follow(old, new, 0.25)
    assert old.weight.item() == 2.0  # 0.75 * 1 + 0.25 * 5
    assert old.get_buffer("running_mean").item() == pytest.approx(0.2)
    assert old.get_buffer("num_batches_tracked").item() == 1
    assert new.weight.item() == 5.0


def test_targets_follow_slowly_and_are_not_trained() -> None:
    learner = make(agent="ltp", reward="l2", tau=0.5)
    before = copies(learner.networks)
    learner.update(states(learner.process))
    after = learner.networks.state_dict()
    for name in ("critic", "policy"):
        followed = [key for key in before if key.startswith(f"{name}.") and "weight" in key]
        moved = 0
        for key in followed:
            target = key.replace(name, f"{name}_target", 1)
            torch.testing.assert_close(after[target], (before[target] + after[key]) / 2)
            moved += int(not after[key].equal(before[key]))
        assert moved > len(followed) // 2


# --- agents, models and rewards ------------------------------------------------------------------

AGENTS: tuple[policies.AgentName, ...] = ("proposals", "attention", "thesis", "ltp")


@pytest.mark.parametrize(
    ("agent", "model", "critic"),
    list(itertools.product(AGENTS, ("bezier", "neural"), (True, False))),
)
def test_all_agents_learn_through_one_update(
    agent: policies.AgentName, model: str, critic: bool
) -> None:
    learner = make(agent=agent, model=model, critic=critic, precision="bf16")
    before = copies(learner.networks)
    figures = learner.update(states(learner.process))
    assert all(math.isfinite(value) for value in figures.values())
    trained = {"policy.actor"}
    trained |= {"critic"} if critic else set()
    trained |= {"policy.attention"} if agent in ("attention", "thesis") else set()
    trained |= {"discriminator"} if agent == "ltp" else set()
    after = learner.networks.state_dict()
    for part in trained:
        assert any(
            not after[name].equal(before[name]) for name in before if name.startswith(f"{part}.")
        )
    assert ("critic_loss" in figures) == critic
    assert ("attention_loss" in figures) == ("policy.attention" in trained)
    assert ("wasserstein" in figures) == (agent == "ltp")
    assert ("score_loss" in figures) == (agent in ("proposals", "attention"))


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("form", ["gray", "opaque"])
def test_other_forms_of_strokes(agent: policies.AgentName, form: Form) -> None:
    config = process(form=form)
    learner = make(agent=agent, config=config)
    figures = learner.update(states(config))
    assert all(math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize(
    ("reward", "kind"),
    [
        ("vgg", feature_rewards.Vgg),
        ("masked", feature_rewards.Masked),
        ("focus", feature_rewards.Focus),
        ("full", feature_rewards.Full),
    ],
)
def test_rewards_that_ask_networks(reward: str, kind: type[object]) -> None:
    learner = make(agent="attention", reward=reward)
    assert isinstance(learner.reward, kind)
    assert learner.vgg is not None
    frozen = copies(learner.vgg)
    learner.update(states(learner.process))
    assert all(weight.equal(frozen[name]) for name, weight in learner.vgg.state_dict().items())


def test_full_is_eq_6_8_with_the_attention_that_is_trained() -> None:
    learner = make(agent="thesis")
    full = learner.reward
    assert isinstance(full, feature_rewards.Full)
    assert [weight for weight, _ in full.terms] == [2.0, 1.0]
    focus = full.terms[1][1]
    assert isinstance(focus, feature_rewards.Focus)
    assert focus.attention is learner.policy.attention


def test_wgan_is_the_rise_of_the_following_discriminators_score() -> None:
    learner = make(agent="ltp")
    before = states(learner.process)
    after = before._replace(canvas=before.target)
    score = learner.discriminator_target
    expected = score(after.canvas, after.target) - score(before.canvas, before.target)
    with devices.autocast(CPU, torch.bfloat16):  # differences of scores stay exact
        torch.testing.assert_close(learner.reward(before, after), expected, rtol=0, atol=0)


@pytest.mark.parametrize("agent", ["proposals", "ltp"])
def test_focus_needs_an_attention_module(agent: policies.AgentName) -> None:
    with pytest.raises(ValueError, match="needs an attention module"):
        make(agent=agent, reward="full")


def test_the_actor_is_not_trained_with_what_the_attention_learns() -> None:
    """Eq 6.3 alone trains the attention module."""
    learner = make(agent="thesis", critic=False)
    attention = learner.policy.attention
    assert attention is not None
    before = copies(attention)
    learner._update_actor(states(learner.process), 0.0)
    assert all(value.equal(before[name]) for name, value in attention.state_dict().items())


# --- rates, clipping, NaN ------------------------------------------------------------------------


def test_rates() -> None:
    learner = make(agent="thesis", rate=0.01, critic_rate=0.5)
    learner.set_rate(0.1)
    rates = {name: o.param_groups[0]["lr"] for name, o in learner.optimisers.items()}
    assert rates == pytest.approx({"actor": 0.001, "critic": 0.0005, "attention": 2e-4})


def test_gradients_are_clipped() -> None:
    learner = make(clip=0.5)
    parameters = list(learner.policy.actor.parameters())
    learner.optimisers["actor"] = torch.optim.SGD(parameters, 1.0)
    before = [weight.detach().clone() for weight in parameters]
    norm = learner._descend("actor", 100 * sum_of_squares(parameters))
    assert norm > 0.5
    moved = torch.cat([(a - b).flatten() for a, b in zip(parameters, before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-3)


def sum_of_squares(parameters: list[nn.Parameter]) -> Tensor:
    return torch.stack([weight.square().sum() for weight in parameters]).sum()


@pytest.mark.parametrize(
    ("network", "agent"), [("actor", "proposals"), ("attention", "thesis"), ("critic", "proposals")]
)
def test_what_is_not_finite_stops_before_the_weights_are_spoiled(
    network: str, agent: policies.AgentName
) -> None:
    learner = make(agent=agent)
    before = copies(learner.networks)
    parameters = [p for g in learner.optimisers[network].param_groups for p in g["params"]]
    with pytest.raises(FloatingPointError, match=f"^{network}: loss nan.*lower the learning rate"):
        learner._descend(network, math.nan * sum_of_squares(parameters))
    after = learner.networks.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())


def test_an_update_names_the_network_that_fails() -> None:
    learner = make(agent="proposals")
    learner.reward = gains(math.nan)
    with pytest.raises(FloatingPointError, match=r"^critic: loss nan"):
        learner.update(states(learner.process))


# --- several processes ---------------------------------------------------------------------------


class Pretended(Group):
    """Two processes of which the other has all gradients zero."""

    def average(self, tensors: object) -> None:
        assert isinstance(tensors, list)
        for tensor in tensors:
            tensor.mul_(0.5)


def test_gradients_are_averaged_over_the_processes() -> None:
    steps = []
    for group in (Group(), Pretended()):
        learner = make(critic=False, clip=1e9, group=group)
        parameters = list(learner.policy.actor.parameters())
        learner.optimisers["actor"] = torch.optim.SGD(parameters, 1e-3)
        before = [weight.detach().clone() for weight in parameters]
        learner.update(states(learner.process))
        steps.append(
            torch.cat([(a - b).flatten() for a, b in zip(parameters, before, strict=True)])
        )
    torch.testing.assert_close(steps[1], steps[0] / 2, rtol=1e-2, atol=1e-6)


# --- bad settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "fcn"},
        {"precision": "fp16"},
        {"rate": 0.0},
        {"rate": math.inf},
        {"critic_rate": -1.0},
        {"clip": math.nan},
        {"gamma": 1.5},
        {"tau": -0.1},
        {"proposals": 0},
    ],
)
def test_bad_settings_are_named(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        UpdateConfig(**settings)  # type: ignore[arg-type]


def test_tiny_canvases_are_learned_from_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policies.SIZES, "small", Widths(proposals=8, resnet=4, view=64))
    for side, dtype in ((16, torch.float32), (32, torch.bfloat16)):
        config = painting.Config(canvas=side, bundle=2, budget=20)
        assert make(config=config, precision="bf16").dtype is dtype


def test_policies_keep_their_channels_last() -> None:
    learner = make()
    assert isinstance(learner.policy, Policy)
    kernels = [w for w in learner.policy.parameters() if w.dim() == 4 and w.shape[-1] > 1]
    assert kernels
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in kernels)
