"""The update of model-based DDPG (Sec 6.3.1, 6.3.3): attention, critic and actor in turn.

The model knows what an action leads to and what it is worth, differentiably, so the actor climbs

    V(C_t) = R(C_t, a_t) + gamma V(C_{t+1}),   a_t = mu(s_t),   C_{t+1} = F(C_t, a_t)       (Eq 6.9)

itself, through renderer and reward, and no action of the past is needed. One update of B states:

1. attention: L_rec of Eq 6.3;
2. discriminator, where the reward is the WGAN's of Learning to Paint;
3. critic: V(s) towards R + gamma V'(s') under the slowly following policy mu';
4. actor: R + gamma V(s') upwards; an actor that proposes also learns what its strokes were worth.
"""

import copy
import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend import device as devices
from ..backend.distributed import Group
from ..envs import painting, rewards
from ..envs.features import Vgg16, load_vgg
from ..renderers import Paint, bezier
from ..renderers.neural import load_weights as load_renderer
from ..renderers.stroke import expand, reduce
from .attention import reconstruction_loss
from .critic import Critic
from .discriminator import Discriminator, discriminator_loss
from .policy import STATE_CHANNELS, Decision, Policy, PolicyConfig, colours, state_image
from .proposals import ProposalActor, score_of

MODELS = ("bezier", "neural")
SOFTNESS = 0.7
"""Half the width in pixels of a stroke's edge in the exact model: a little more than is shown, so
that the gradient feels what lies beside the stroke."""

RELATIVE = ("psnr", "relative_l2")
"""Rewards that are shares of an error, and as large at the end of a painting as at its start."""
TYPICAL_REWARD = 0.1

SMALLEST_BF16 = 32
"""Side in pixels below which the ResNets end in convolutions of single pixels, whose bfloat16
gradients oneDNN gets wrong (infinite): those canvases are learned from in full precision."""

SCORE_WEIGHT = 0.1
ATTENTION_RATE = 2e-4  # Sec 6.4.1
ADAM = (0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """How the networks learn.

    Attributes:
        model: "bezier", the exact rasteriser, or "neural", H_r.
        rate: first learning rate of the actor; that of the critic is `critic_rate` times it.
        critic_rate: see `rate`; Learning to Paint has 1e-3 for the actor and 3e-4 for the critic.
        gamma: discount per stroke; a bundle has gamma ** K.
        tau: how fast the target networks follow.
        critic: whether the value of the next state counts; without it the actor is greedy.
        clip: largest norm of a gradient.
        precision: "bf16" or "fp32".
        proposals: strokes that an actor that proposes is trained with in each state; more than it
            paints, since the network costs the same.
    """

    model: str = "bezier"
    rate: float = 3e-3
    critic_rate: float = 0.3
    gamma: float = 0.95
    tau: float = 0.001
    critic: bool = True
    clip: float = 1.0
    precision: str = "bf16"
    proposals: int = 12

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model {self.model!r} is unknown; known: {', '.join(MODELS)}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r}")
        for name in ("rate", "critic_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if not 1 <= self.proposals <= 64:
            raise ValueError(f"proposals must be 1 to 64, got {self.proposals}")
        for name in ("gamma", "tau"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


class Learner:
    """Networks and optimisers of one agent in training.

    Args:
        policy_config: the networks.
        config: how they learn.
        process: the painting process of the environment.
        device: where.
        vgg: feature network of the rewards; None loads the shipped one when a reward needs it.
        group: the processes that train together.
    """

    def __init__(
        self,
        policy_config: PolicyConfig,
        config: UpdateConfig,
        process: painting.Config,
        device: torch.device,
        vgg: Vgg16 | None = None,
        group: Group | None = None,
    ) -> None:
        self.config, self.process, self.device = config, process, device
        self.group = group or Group()
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        if min(*process.size, policy_config.widths.view) < SMALLEST_BF16:
            self.dtype = torch.float32
        self.policy = Policy(policy_config).to(device)
        nn.utils.convert_conv2d_weight_memory_format(self.policy, torch.channels_last)
        self.reward_name = policy_config.reward
        self.networks = nn.ModuleDict({"policy": self.policy})
        self.critic: Critic | None = None
        if config.critic:
            width = policy_config.widths.resnet
            self.critic = Critic(STATE_CHANNELS, width).to(device)
            self.critic_target = _frozen_copy(self.critic)
            self.policy_target = _frozen_copy(self.policy)
            self.networks["critic"] = self.critic
            self.networks["critic_target"] = self.critic_target
            self.networks["policy_target"] = self.policy_target
        self.discriminator: Discriminator | None = None
        if self.reward_name == "wgan":
            self.discriminator = Discriminator().to(device)
            self.discriminator_target = _frozen_copy(self.discriminator)
            self.networks["discriminator"] = self.discriminator
            self.networks["discriminator_target"] = self.discriminator_target
        self.vgg = vgg
        self.model = self._model()
        self.reward = self._reward()
        self.optimisers = self._optimisers()
        self.generator = devices.generator(0)
        self.group.broadcast(self.networks)

    def _model(self) -> Paint:
        if self.config.model == "neural":
            return load_renderer().to(self.device).paint
        return partial(bezier.paint, softness=SOFTNESS)

    def _reward(self) -> rewards.Reward:
        name = self.reward_name
        if name == "wgan":
            return self._wgan
        if name in ("vgg", "masked", "focus", "full") and self.vgg is None:
            self.vgg = load_vgg().to(self.device)
        if name in ("focus", "full"):
            assert self.vgg is not None
            if self.policy.attention is None:
                raise ValueError(
                    f"reward {name!r} needs an attention module; agent "
                    f"{self.policy.config.agent!r} has none: choose attention or thesis"
                )
            focus = rewards.Focus(self.vgg, self.policy.attention, self.model)
            return focus if name == "focus" else rewards.Full(rewards.Masked(self.vgg), focus)
        if name in ("vgg", "masked"):
            assert self.vgg is not None
            return rewards.Vgg(self.vgg) if name == "vgg" else rewards.Masked(self.vgg)
        return rewards.find(name)

    def _wgan(self, before: painting.State, after: painting.State) -> Tensor:
        """The WGAN reward, also of gray canvases."""
        states = (
            state._replace(canvas=colours(state.canvas), target=colours(state.target))
            for state in (before, after)
        )
        # Scores have no fixed range: bfloat16 would round away what a step adds to them.
        with devices.autocast(self.device, torch.float32):
            return rewards.Wgan(self.discriminator_target)(*states)

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        rate, parts = self.config.rate, {}
        parts["actor"] = torch.optim.Adam(self.policy.actor.parameters(), rate, betas=ADAM)
        if self.critic is not None:
            critic_rate = rate * self.config.critic_rate
            parts["critic"] = torch.optim.Adam(self.critic.parameters(), critic_rate, betas=ADAM)
        if self.policy.attention is not None:
            # A fixed rate, Sec 6.4.1.
            attention = self.policy.attention.parameters()
            parts["attention"] = torch.optim.Adam(attention, ATTENTION_RATE)
        if self.discriminator is not None:
            parts["discriminator"] = torch.optim.Adam(
                self.discriminator.parameters(), 3e-4, betas=(0.5, 0.999)
            )
        optimisers: dict[str, torch.optim.Optimizer] = {**parts}
        return optimisers

    def set_rate(self, share: float) -> None:
        """Scale the learning rates of actor and critic to a share of the first ones."""
        for name, first in (("actor", 1.0), ("critic", self.config.critic_rate)):
            if name in self.optimisers:
                for group in self.optimisers[name].param_groups:
                    group["lr"] = self.config.rate * first * share

    def update(self, state: painting.State, noise: float = 0.0) -> dict[str, float]:
        """One update of all networks, in turn.

        Args:
            state: B states from the replay memory.
            noise: of exploration, see `Policy.forward`.

        Returns:
            Losses and rewards by name.

        Raises:
            FloatingPointError: a loss or a gradient is not finite (names it); the networks may be
                spoiled then, so go on from a checkpoint.
        """
        self.policy.train()
        figures = {}
        if self.policy.attention is not None:
            figures["attention_loss"] = self._update_attention(state)
        if self.discriminator is not None:
            figures |= self._update_discriminator(state)
        if self.critic is not None:
            figures["critic_loss"] = self._update_critic(state)
        figures |= self._update_actor(state, noise)
        if self.critic is not None:
            follow(self.critic_target, self.critic, self.config.tau)
            follow(self.policy_target, self.policy, self.config.tau)
        if self.discriminator is not None:
            follow(self.discriminator_target, self.discriminator, self.config.tau)
        # The statistics of batch norm are of the pictures that each process saw.
        self.group.average([b for b in self.networks.buffers() if b.is_floating_point()])
        return figures

    def _update_attention(self, state: painting.State) -> float:
        """Eq 6.3."""
        attention = self.policy.attention
        assert attention is not None
        canvas = colours(state.canvas)
        attention.train()
        with devices.autocast(self.device, self.dtype):
            image = attention(canvas).image
        attention.eval()
        return self._descend("attention", reconstruction_loss(image, canvas, state.mask))

    def _update_discriminator(self, state: painting.State) -> dict[str, float]:
        discriminator = self.discriminator
        assert discriminator is not None
        canvas, target = colours(state.canvas), colours(state.target)
        # In full precision: the penalty differentiates twice.
        parts = discriminator_loss(discriminator, canvas, target, self.generator)
        self._descend("discriminator", parts.loss)
        return {"wasserstein": parts.distance.item(), "penalty": parts.penalty.item()}

    def _update_critic(self, state: painting.State) -> float:
        """Eq 6.9, as a regression to what the target networks say."""
        critic = self.critic
        assert critic is not None
        with torch.no_grad():
            _, after, reward = self._imagine(self.policy_target, state, 0.0, None)
            truth = reward + self._discount(after) * self._value(self.critic_target, after)
        loss = functional.mse_loss(self._value(critic, state), truth)
        return self._descend("critic", loss)

    def _update_actor(self, state: painting.State, noise: float) -> dict[str, float]:
        """Eq 6.9 upwards through the model."""
        count = self.config.proposals if isinstance(self.policy.actor, ProposalActor) else None
        decision, after, reward = self._imagine(self.policy, state, noise, count)
        worth = reward
        if self.critic is not None:
            worth = reward + self._discount(after) * self._value(self.critic, after)
        loss = -worth.mean()
        if self.reward_name not in RELATIVE:
            # Brought to the size of a relative reward, or the scores' loss would outweigh it.
            loss = loss * (TYPICAL_REWARD / reward.detach().abs().mean().clamp(min=1e-8))
        figures = {"actor_loss": loss.item(), "reward": reward.mean().item()}
        if decision.scores is not None:
            truth = score_of(self._rewards_of_each(state, decision.strokes.detach()))
            score_loss = functional.smooth_l1_loss(decision.scores, truth)
            loss = loss + SCORE_WEIGHT * score_loss
            figures["score_loss"] = score_loss.item()
        figures["actor_gradient"] = self._descend("actor", loss)
        return figures

    def _imagine(
        self, policy: nn.Module, state: painting.State, noise: float, count: int | None
    ) -> tuple[Decision, painting.State, Tensor]:
        """What the policy would do, where the model says that leads, and what it is worth."""
        step = painting.observation(state, self.process)["step"]
        with devices.autocast(self.device, self.dtype):
            decision = policy(state.canvas, state.target, step, noise, self.generator, count)
        action = self.policy.act(decision.strokes, min(self.process.size))
        process = replace(self.process, bundle=decision.strokes.shape[1])
        after = painting.transition(state, action, process, self.model)
        with devices.autocast(self.device, self.dtype):
            reward = painting.reward(state, after, self.reward)
        return decision, after, reward

    def _value(self, critic: nn.Module, state: painting.State) -> Tensor:
        step = painting.observation(state, self.process)["step"]
        side = self.policy.config.widths.view
        x = state_image(colours(state.canvas), colours(state.target), step, side)
        with devices.autocast(self.device, self.dtype):
            value: Tensor = critic(x)
        return value

    def _discount(self, after: painting.State) -> Tensor:
        """gamma ** K for the K strokes that led there, and 0 after the last bundle, (B,)."""
        ended = painting.terminated(after, self.process) | painting.truncated(after, self.process)
        return self.config.gamma ** after.bundle.shape[1] * (~ended).float()

    @torch.no_grad()
    def _rewards_of_each(self, state: painting.State, strokes: Tensor) -> Tensor:
        """What each stroke of a bundle was worth by itself, (B, K)."""
        form, colour = self.process.form, self.process.colour
        painted = expand(reduce(strokes, form), form, colour)
        before, after = along(state, painted, self.model)
        with devices.autocast(self.device, self.dtype):
            return painting.reward(before, after, self.reward).view(strokes.shape[:2])

    def _descend(self, name: str, loss: Tensor) -> float:
        """One step of one optimiser; returns the norm of the gradient, or the loss if no actor."""
        optimiser = self.optimisers[name]
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        optimiser.zero_grad()
        loss.backward()
        self.group.average([p.grad for p in parameters if p.grad is not None])
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip)
        if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
            raise FloatingPointError(
                f"{name}: loss {loss.item():g}, gradient {norm.item():g}; lower the learning rate"
            )
        optimiser.step()
        return norm.item() if name == "actor" else loss.item()


def along(
    state: painting.State, strokes: Tensor, paint: Paint
) -> tuple[painting.State, painting.State]:
    """The states before and after each single stroke of a bundle.

    Args:
        state: B states.
        strokes: (B, K, 13).
        paint: the renderer.

    Returns:
        Two batches of B * K states, in the order of the strokes.
    """
    count = strokes.shape[1]
    canvases = [state.canvas]
    for k in range(count):
        canvases.append(paint(canvases[-1], strokes[:, k : k + 1]))
    target, mask = (image.repeat_interleave(count, 0) for image in (state.target, state.mask))
    befores = torch.stack(canvases[:-1], 1).flatten(0, 1)  # (B * K, C, H, W)
    afters = torch.stack(canvases[1:], 1).flatten(0, 1)
    numbers = {
        name: getattr(state, name).repeat_interleave(count, 0) for name in ("strokes", "initial")
    }
    distance = rewards.squared_distance(afters, target)
    first = state.distance[:, None]
    befores_distance = torch.cat([first, distance.view(-1, count)[:, :-1]], 1).flatten()
    bundle = strokes.flatten(0, 1)[:, None]  # (B * K, 1, 13)
    before = painting.State(
        canvas=befores,
        target=target,
        mask=mask,
        distance=befores_distance,
        bundle=torch.zeros_like(bundle),
        **numbers,
    )
    return before, before._replace(canvas=afters, distance=distance, bundle=bundle)


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, tau: float) -> None:
    """Soft update: target = (1 - tau) target + tau source; counts and buffers are copied.

    Args:
        target: the network that follows.
        source: the network that is followed.
        tau: share, 1 copies.
    """
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        old.lerp_(new, tau)
    for count, counted in zip(target.buffers(), source.buffers(), strict=True):
        count.copy_(counted)


def _frozen_copy(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval().requires_grad_(False)
