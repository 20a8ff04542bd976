"""What acts: an optional attention module and an actor, put together by name and size.

| agent       | attention | actor      | reward | what it is                                       |
|-------------|-----------|------------|--------|--------------------------------------------------|
| "proposals" | no        | proposals  | psnr   | our own: one proposal for each cell of a grid    |
| "attention" | yes       | proposals  | full   | the same with the thesis's attention and rewards |
| "thesis"    | yes       | ResNet-18  | full   | chapter 6 as it stands                           |
| "ltp"       | no        | ResNet-18  | wgan   | Learning to Paint (Huang et al. 2019)            |
"""

import json
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..backend.weights import load_weights, save_weights
from ..renderers.stroke import FORMS, STROKE_SIZE, Form, expand, reduce, rescale
from .actor import Actor
from .attention import Attention, build_attention, downsize
from .proposals import ProposalActor, Proposals, choose, gather, gumbel

AgentName = Literal["proposals", "attention", "thesis", "ltp"]
Size = Literal["small", "thesis"]

WEIGHTS = "painter.safetensors"
MAX_BYTES = 256 * 2**20


class Recipe(NamedTuple):
    """What an agent is made of."""

    attention: bool
    actor: Literal["proposals", "resnet"]
    reward: str


AGENTS: dict[AgentName, Recipe] = {
    "proposals": Recipe(attention=False, actor="proposals", reward="psnr"),
    "attention": Recipe(attention=True, actor="proposals", reward="full"),
    "thesis": Recipe(attention=True, actor="resnet", reward="full"),
    "ltp": Recipe(attention=False, actor="resnet", reward="wgan"),
}


class Widths(NamedTuple):
    """First channels of the networks and the side in pixels of what the ResNets see."""

    proposals: int
    resnet: int
    view: int


SIZES: dict[Size, Widths] = {
    "small": Widths(proposals=64, resnet=16, view=64),
    "thesis": Widths(proposals=128, resnet=64, view=128),
}


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Everything that decides the networks of an agent.

    Attributes:
        agent: a name of `AGENTS`.
        size: a name of `SIZES`.
        bundle: K, strokes per action.
        form: kind of stroke, see `renderers.stroke.FORMS`.
        reward: what it is trained for, a name of `envs.rewards`; empty takes the agent's own.
        canvas: shorter side in pixels of the canvas it is trained on; on others its strokes are
            given the same looks.
    """

    agent: AgentName = "proposals"
    size: Size = "small"
    bundle: int = 5
    form: Form = "colour"
    reward: str = ""
    canvas: int = 128

    def __post_init__(self) -> None:
        for name, known in (("agent", AGENTS), ("size", SIZES), ("form", FORMS)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ValueError(f"{name} {value!r:.80} is unknown; known: {', '.join(known)}")
        for name, most in (("bundle", 64), ("canvas", 16384)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} must be a whole number, 1 to {most}, got {value!r:.80}")
        if not isinstance(self.reward, str):
            raise ValueError(f"reward must be the name of one, got {self.reward!r:.80}")
        if not self.reward:
            object.__setattr__(self, "reward", AGENTS[self.agent].reward)

    @property
    def recipe(self) -> Recipe:
        """What the agent is made of."""
        return AGENTS[self.agent]

    @property
    def widths(self) -> Widths:
        """How large its networks are."""
        return SIZES[self.size]


class Decision(NamedTuple):
    """What the policy makes of B states.

    Attributes:
        strokes: (B, K, 13) float32 in [0, 1], in the order of painting, as the policy's kind of
            stroke has them.
        scores: (B, K), `proposals.score_of` the reward that the actor expects of each stroke; None
            from an actor that expects none.
    """

    strokes: Tensor
    scores: Tensor | None


class Policy(nn.Module):
    """The deterministic policy mu(s) of Fig 6.3: attention module, then actor.

    Args:
        config: see `PolicyConfig`.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        recipe, widths = config.recipe, config.widths
        self.attention: Attention | None = None
        if recipe.attention:
            self.attention = build_attention(config.size)
        self.actor: Actor | ProposalActor
        if recipe.actor == "proposals":
            self.actor = ProposalActor(widths.proposals, recipe.attention)
        else:
            inputs = STATE_CHANNELS + 3 * recipe.attention
            self.actor = Actor(inputs, config.bundle * STROKE_SIZE, widths.resnet)

    def forward(
        self,
        canvas: Tensor,
        target: Tensor,
        step: Tensor,
        noise: float = 0.0,
        generator: torch.Generator | None = None,
        count: int | None = None,
    ) -> Decision:
        """Choose a bundle of strokes.

        Args:
            canvas: (B, C, H, W) float32 in [0, 1], any size; one channel is taken as gray.
            target: the same shape.
            step: (B, 1), fraction of the steps that are left.
            noise: of exploration: temperature of the choice among proposals, or the standard
                deviation of the numbers of a ResNet's strokes.
            generator: on the CPU; draws the noise.
            count: how many proposals to choose; None: a bundle. A ResNet knows bundles only.

        Returns:
            The decision; strokes carry gradients to the actor's weights, not to the attention's.
        """
        canvas, target = colours(canvas), colours(target)
        focus = None
        if self.attention is not None:
            # Eq 6.3 alone trains the attention module; to the actor it is a part of the state.
            with torch.no_grad():
                focus = self.attention.eval()(canvas).image
        if isinstance(self.actor, ProposalActor):
            proposals: Proposals = self.actor(canvas, target, focus)
            drawn = None
            if noise > 0:
                drawn = noise * gumbel(proposals.scores, generator)
            chosen = choose(proposals, count or self.config.bundle, drawn)
            scores = proposals.scores.gather(1, chosen)
            return Decision(self._in_form(gather(proposals.strokes, chosen)), scores)
        x = state_image(canvas, target, step, self.config.widths.view, focus)
        strokes = self.actor(x).unflatten(1, (self.config.bundle, STROKE_SIZE))
        if noise > 0:
            shift = torch.randn(strokes.shape, generator=generator).to(strokes.device)
            strokes = (strokes + noise * shift).clamp(0, 1)
        return Decision(self._in_form(strokes), None)

    def _in_form(self, strokes: Tensor) -> Tensor:
        """What the kind of stroke leaves of 13 numbers: gray ones, or opaque black ones."""
        return expand(reduce(strokes, self.config.form), self.config.form)

    def act(self, strokes: Tensor, side: int) -> Tensor:
        """Strokes as an action of the environment.

        Args:
            strokes: (B, K, 13).
            side: shorter side of the environment's canvas in pixels.

        Returns:
            (B, K * F) in [0, 1].
        """
        if side != self.config.canvas:
            strokes = rescale(strokes, self.config.canvas, side).clamp(0, 1)
        return reduce(strokes, self.config.form).flatten(1)


STATE_CHANNELS = 9  # canvas 3, target 3, step 1, coordinates 2


def state_image(
    canvas: Tensor, target: Tensor, step: Tensor, side: int, focus: Tensor | None = None
) -> Tensor:
    """A state as the convolutional networks of Learning to Paint see it.

    Args:
        canvas: (B, 3, H, W).
        target: (B, 3, H, W).
        step: (B, 1), fraction of the steps that are left.
        side: rows and columns that the pictures are brought to where they have more.
        focus: (B, 3, h, w) or None, the focused image of Eq 6.3.

    Returns:
        (B, 9 or 12, h, w): canvas, target, step, x and y in [0, 1], and the focused image.
    """
    height, width = (min(side, length) for length in canvas.shape[-2:])
    pictures = [downsize(image, (height, width)) for image in (canvas, target)]
    steps = step[:, :, None, None].expand(-1, -1, height, width)
    y = torch.linspace(0, 1, height, device=canvas.device).view(1, 1, -1, 1)
    x = torch.linspace(0, 1, width, device=canvas.device).view(1, 1, 1, -1)
    places = [place.expand(len(canvas), 1, height, width) for place in (x, y)]
    parts = [*pictures, steps, *places]
    if focus is not None:
        parts.append(nn.functional.interpolate(focus, (height, width), mode="bilinear"))
    return torch.cat(parts, 1)


def colours(image: Tensor) -> Tensor:
    """Gray images as colour ones, (B, 1 or 3, H, W) to (B, 3, H, W)."""
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image


def save_policy(policy: Policy, path: Path, facts: dict[str, str] | None = None) -> None:
    """Write a policy in half precision as safetensors, atomically.

    Args:
        policy: its configuration is kept in the file's metadata.
        path: file to write.
        facts: more metadata.
    """
    meta = {"config": json.dumps(asdict(policy.config)), **(facts or {})}
    save_weights(policy, path, meta, half=True)


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy that `save_policy` wrote.

    Args:
        path: a safetensors file; None means the one shipped with the package.

    Returns:
        The policy in float32 on the CPU, in evaluation mode, its parameters frozen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, or a weight that is missing, extra, mis-shaped or not finite.
    """
    source = path or Path(str(resources.files(__package__) / "weights" / WEIGHTS))
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no weights of a painter; train it first")
    policy = load_weights(source, lambda meta: Policy(parse_config(meta)), MAX_BYTES)
    # A tenth faster on a CPU, with the same results.
    nn.utils.convert_conv2d_weight_memory_format(policy, torch.channels_last)
    return policy.eval().requires_grad_(False)


def parse_config(meta: dict[str, str]) -> PolicyConfig:
    """The configuration in a file's metadata.

    Args:
        meta: the metadata.

    Returns:
        The checked configuration.

    Raises:
        ValueError: it is missing, or not such a configuration.
    """
    try:
        given: Any = json.loads(meta["config"])
        names = {field.name for field in fields(PolicyConfig)}
        if not isinstance(given, dict) or set(given) != names:
            raise ValueError(f"its fields must be {', '.join(sorted(names))}")
        return PolicyConfig(**given)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"holds no configuration of a painter ({error})") from None
