"""Model-based DDPG (Sec 6.3.1) as an algorithm of Stable-Baselines3.

    agent = neuralpaint.agents.ModelBasedDDPG("NeuralPaint-v0", targets="photos/", canvas=64)
    agent.learn(200_000)
    action, _ = agent.predict(observation)
    agent.save("painter")
    agent = neuralpaint.agents.ModelBasedDDPG.load("painter")

It has learn, predict, save, load, callbacks and the logger of its base class, and works with
`evaluate_policy`. Rollouts, replay and updates stay on the device as tensors; the environment that
`get_env` returns is the same painting process for whoever wants numpy arrays.

Only this module and `envs.sb3` import Stable-Baselines3, which the extra `train` brings along.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor

from ..backend import checkpoints, distributed
from ..backend import device as devices
from ..backend.files import writable_folder
from ..envs import painting
from ..envs.features import Vgg16
from ..envs.targets import Canvas, Images, Procedural, Source, Targets
from ..envs.vector import NeuralPaintVectorEnv
from .learner import Learner, UpdateConfig
from .policy import Policy, PolicyConfig, save_policy
from .replay import Replay
from .rollout import Augmented, Rollout

try:
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
    from stable_baselines3.common.policies import BasePolicy
    from stable_baselines3.common.type_aliases import RolloutReturn, TensorDict
    from stable_baselines3.common.vec_env import VecMonitor

    from ..envs.sb3 import StableBaselinesVecEnv
except ImportError as error:
    raise ImportError(
        "neuralpaint.agents.ModelBasedDDPG needs Stable-Baselines3: "
        "pip install 'neuralpaint[train]'"
    ) from error

WARM_UP = 200
"""Updates over which the learning rate rises to its first value."""
LAST_SHARE = 0.01
"""Share of the first learning rate that is left at the end."""


class PaintingPolicy(BasePolicy):
    """The policy as Stable-Baselines3 wants it: numpy observations in, numpy actions out.

    Args:
        observation_space: of one painting.
        action_space: of one painting.
        network: the policy.
        noise: of exploration, used where `deterministic` is false.
    """

    def __init__(
        self,
        observation_space: gym.spaces.Space[Any],
        action_space: gym.spaces.Space[Any],
        network: Policy,
        noise: float,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.network, self.noise = network, noise

    def _predict(self, observation: TensorDict, deterministic: bool = False) -> Tensor:  # type: ignore[override]
        seen = {name: _unit(values) for name, values in observation.items()}
        noise = 0.0 if deterministic else self.noise
        decision = self.network(seen["canvas"], seen["target"], seen["step"], noise)
        return self.network.act(decision.strokes, min(seen["canvas"].shape[-2:]))


def _unit(values: Tensor) -> Tensor:
    return values.float() / 255 if values.dtype == torch.uint8 else values


class ModelBasedDDPG(OffPolicyAlgorithm):
    """Train a painter through the differentiable model of its environment.

    Args:
        env: id of an environment, or a `NeuralPaintVectorEnv` made with
            autoreset_mode="SameStep", whose process and targets are used.
        agent: "proposals", "attention", "thesis" or "ltp", see `agents.policy`.
        size: "small" or "thesis".
        reward: a name of `envs.rewards`; empty takes the agent's own.
        targets: of the environment, where an id is given.
        canvas: size of the canvas in pixels, or (height, width); strokes fit any size, and 64
            trains three times as fast as 128.
        n_envs: paintings that are rolled out together.
        buffer_size: states in the replay memory.
        batch_size: states per update.
        gradient_steps: updates after each step of the paintings.
        learning_starts: environment steps before the first update; None: one step of each painting.
        noise: of exploration: temperature among proposals, standard deviation of a ResNet's
            numbers.
        backgrounds: of the empty canvases, one after the other; none takes the environment's own.
        augment: mirror the targets and cut random parts out of half of them.
        update: learning rates, reward, model and the rest, see `learner.UpdateConfig`.
        vgg: feature network of the rewards; None loads the shipped one when a reward needs it.
        env_kwargs: more arguments of the environment.
        seed: of networks, targets, replay and exploration.
        device: "auto", "cpu", "cuda", "cuda:1".
        tensorboard_log: folder for TensorBoard.
        verbose: 1 prints the figures of the logger.

    Raises:
        TypeError: another kind of environment.
        ValueError: an argument out of range.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {}

    def __init__(
        self,
        env: str | NeuralPaintVectorEnv = "NeuralPaint-v0",
        *,
        agent: str = "proposals",
        size: str = "small",
        reward: str = "",
        targets: Targets | None = None,
        canvas: int | tuple[int, int] = 128,
        n_envs: int = 64,
        buffer_size: int = 8192,
        batch_size: int = 64,
        gradient_steps: int = 4,
        learning_starts: int | None = None,
        noise: float = 0.5,
        backgrounds: Sequence[str] = (),
        augment: bool = False,
        update: UpdateConfig | None = None,
        vgg: Vgg16 | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        tensorboard_log: str | None = None,
        verbose: int = 0,
    ) -> None:
        for name, value in (("n_envs", n_envs), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if buffer_size < n_envs:
            raise ValueError(f"buffer_size must be at least n_envs = {n_envs}, got {buffer_size}")
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise must be 0 or more, got {noise}")
        if isinstance(env, str):
            chosen = {} if targets is None else {"targets": targets}
            env = _make(env, {"canvas": canvas, **chosen, **(env_kwargs or {})}, device)
        elif not isinstance(env, NeuralPaintVectorEnv):
            raise TypeError(
                f"env must be an id or a NeuralPaintVectorEnv, got {type(env).__name__}"
            )
        self.painting_env = env
        process = env.config
        self.policy_config = PolicyConfig(
            agent=agent,  # type: ignore[arg-type]  # checked there
            size=size,  # type: ignore[arg-type]
            bundle=process.bundle,
            form=process.form,
            reward=reward,
            canvas=min(process.size),
        )
        self.update_config = update or UpdateConfig()
        self.n_paintings, self.noise, self.vgg = n_envs, noise, vgg
        self.backgrounds, self.augment = tuple(backgrounds), augment
        super().__init__(
            PaintingPolicy,
            VecMonitor(StableBaselinesVecEnv(env, rescale=False)),
            learning_rate=self.update_config.rate,
            buffer_size=buffer_size,
            learning_starts=n_envs if learning_starts is None else learning_starts,
            batch_size=batch_size,
            tau=self.update_config.tau,
            gamma=self.update_config.gamma,
            gradient_steps=gradient_steps,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=env.device,
            support_multi_env=True,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(gym.spaces.Box,),
        )
        self._setup_model()

    def _setup_model(self) -> None:
        self._convert_train_freq()
        self.group = distributed.start(self.device)
        seed = self.seed or 0
        torch.manual_seed(seed)
        self.action_space.seed(seed)
        env = self.painting_env
        assert self.env is not None
        self.env.seed(seed)  # of what `get_env` returns; the paintings below have their own
        self.learner = Learner(
            self.policy_config, self.update_config, env.config, self.device, self.vgg, self.group
        )
        # Each process paints other pictures.
        seeds = [devices.spawn(seed, 3 * self.group.rank + i) for i in range(3)]
        self.learner.generator = devices.generator(seeds[0])
        self.generator = devices.generator(seeds[1])
        self.rollout = Rollout(
            env.config,
            env.paint,
            self._source(),
            self.n_paintings,
            seeds[2],
            self.device,
            self.backgrounds,
        )
        self.replay = Replay(self.buffer_size, self.device)
        self.policy = PaintingPolicy(
            self.observation_space, self.action_space, self.learner.policy, self.noise
        )

    def _source(self) -> Source:
        """The environment's targets; for cutting out parts, twice as large."""
        env = self.painting_env
        if not self.augment:
            return env.source
        channels, height, width = env.source.canvas
        double = Canvas(channels, 2 * height, 2 * width)
        source = env.source
        if isinstance(source, Images):
            return Augmented(Images(source.items, double, source.subject))
        if isinstance(source, Procedural):
            return Augmented(Procedural(double, source.kind, source.subject))
        raise ValueError("augment needs targets that can be drawn again: files, images, procedural")

    def collect_rollouts(
        self, env: Any, callback: BaseCallback, *_: Any, **__: Any
    ) -> RolloutReturn:
        """One step of every painting, on the device.

        Args:
            env: not used; the paintings are tensors.
            callback: called after the step.

        Returns:
            How many steps were made, and whether to go on.
        """
        callback.on_rollout_start()
        self.policy.set_training_mode(False)
        state = self.rollout.state
        self.replay.add(state)
        step = painting.observation(state, self.rollout.process)["step"]
        with torch.no_grad(), devices.autocast(self.device, self.learner.dtype):
            decision = self.learner.policy(
                state.canvas, state.target, step, self.noise, self.generator
            )
        side = min(self.rollout.process.size)
        after = self.rollout.advance(self.learner.policy.act(decision.strokes, side))
        process = self.rollout.process
        last = painting.terminated(after, process) | painting.truncated(after, process)
        ended = int(last.sum())
        self._episode_num += ended
        if ended:
            distance = after.distance[last].clamp(min=1e-8)
            self.logger.record("rollout/psnr_at_end", -10 * distance.log10().mean().item())
        self.num_timesteps += self.n_paintings
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        callback.update_locals(locals())
        go_on = callback.on_step()
        callback.on_rollout_end()
        return RolloutReturn(self.n_paintings, ended, go_on)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Updates of all networks.

        Args:
            gradient_steps: how many.
            batch_size: states in each.

        Raises:
            FloatingPointError: see `Learner.update`.
        """
        sums: dict[str, float] = {}
        for _ in range(gradient_steps):
            self.learner.set_rate(self._rate_share())
            state = self.replay.sample(batch_size, self.generator)
            figures = self.learner.update(state, self.noise)
            self._n_updates += 1
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value / gradient_steps
        for name, value in sums.items():
            self.logger.record_mean(f"train/{name}", value)
        self.logger.record("train/updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/rate", self.learner.optimisers["actor"].param_groups[0]["lr"])
        if self._n_updates % (25 * gradient_steps) == 0:
            seconds = max((time.time_ns() - self.start_time) / 1e9, 1e-9)
            done = self.num_timesteps - self._num_timesteps_at_start
            self.logger.record("time/steps_per_second", done / seconds)
            if self.group.leads:
                self.logger.dump(self.num_timesteps)

    def _rate_share(self) -> float:
        """A linear rise, then half a cosine down."""
        rise = min(1.0, (self._n_updates + 1) / WARM_UP)
        passed = 1 - self._current_progress_remaining
        return rise * (LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * passed)))

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that training needs to go on: tensors by name and JSON values."""
        learner = self.learner
        tensors = checkpoints.pack(learner.networks, learner.optimisers)
        rolled, facts = self.rollout.state_dict()
        tensors |= {f"rollout.{name}": tensor for name, tensor in rolled.items()}
        tensors |= {f"replay.{name}": tensor for name, tensor in self.replay.state_dict().items()}
        tensors["random.agent"] = self.generator.get_state()
        tensors["random.learner"] = learner.generator.get_state()
        counts = {"updates": self._n_updates, "episodes": self._episode_num}
        return tensors, {**facts, **counts, "settings": self.settings()}

    def restore(self, saved: checkpoints.Checkpoint, where: Path) -> None:
        """Go on from a checkpoint.

        Args:
            saved: what `checkpoint` gave, with the number of steps.
            where: named in errors.

        Raises:
            ValueError: it was made with other settings (names the field).
        """
        checkpoints.same_settings(saved.facts["settings"], self.settings(), where)
        checkpoints.unpack(saved.tensors, self.learner.networks, self.learner.optimisers)
        self.rollout.load_state_dict(checkpoints.under(saved.tensors, "rollout."), saved.facts)
        self.replay.load_state_dict(checkpoints.under(saved.tensors, "replay."))
        self.generator.set_state(saved.tensors["random.agent"])
        self.learner.generator.set_state(saved.tensors["random.learner"])
        self._n_updates = int(saved.facts["updates"])
        self._episode_num = int(saved.facts["episodes"])
        self.num_timesteps = saved.step

    def settings(self) -> dict[str, Any]:
        """What decides a run, as JSON values."""
        process = {
            name: value
            for name, value in asdict(self.painting_env.config).items()
            if isinstance(value, str | int | float | list | tuple | None) and name != "device"
        }
        return {
            **asdict(self.policy_config),
            **asdict(self.update_config),
            **{f"env_{k}": list(v) if isinstance(v, tuple) else v for k, v in process.items()},
            "paintings": self.n_paintings,
            "buffer_size": self.buffer_size,
            "batch_size": self.batch_size,
            "gradient_steps": self.gradient_steps,
            "noise": self.noise,
            "backgrounds": list(self.backgrounds),
            "augment": self.augment,
            "seed": self.seed,
            "processes": self.group.size,
        }

    def save(self, path: str | Path, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Write everything into a folder of safetensors files, atomically.

        Args:
            path: the folder; `load` takes it again. What was saved there before is replaced, and
                the ".zip" that callbacks of Stable-Baselines3 append is left out.

        Raises:
            OSError: it cannot be written; what was saved there before stands.
        """
        folder = Path(path)
        folder = writable_folder(folder.with_suffix("") if folder.suffix == ".zip" else folder)
        tensors, facts = self.checkpoint()
        kept = checkpoints.Checkpoints(folder)
        # An agent that was saved here before may have made more steps and would count as newer.
        for old in kept.paths()[1:]:
            old.unlink()
        new = kept.save(self.num_timesteps, tensors, facts)
        for old in kept.paths():
            if old != new:
                old.unlink()
        save_policy(self.learner.policy, folder / "painter.safetensors")

    @classmethod
    def load(  # type: ignore[override]
        cls,
        path: str | Path,
        env: str | NeuralPaintVectorEnv | None = None,
        device: str | torch.device = "auto",
        **settings: Any,
    ) -> "ModelBasedDDPG":
        """Read what `save` wrote.

        Args:
            path: the folder.
            env: as for the constructor.
            device: where to.
            **settings: arguments of the constructor that `save` cannot keep, such as targets.

        Returns:
            The agent, ready to go on learning with ``reset_num_timesteps=False``.

        Raises:
            ValueError: no such folder, a damaged file, or a setting that differs.
        """
        folder = Path(path)
        if folder.suffix == ".zip":
            raise ValueError(f"{folder}: zip files of Stable-Baselines3 can run code; not read")
        saved = checkpoints.Checkpoints(folder).newest() if folder.is_dir() else None
        if saved is None:
            raise ValueError(f"{folder}: no agent was saved in this folder")
        try:
            kept = {**_arguments(saved.facts["settings"]), **settings}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{folder}: its settings are not those of an agent ({error})"
            ) from None
        agent = cls(env or "NeuralPaint-v0", device=device, **kept)
        agent.restore(saved, folder)
        return agent


def _make(
    env: str, settings: Mapping[str, Any], device: str | torch.device
) -> NeuralPaintVectorEnv:
    made = gym.make_vec(
        env, num_envs=1, autoreset_mode="SameStep", device=str(devices.resolve(device)), **settings
    )
    if not isinstance(made.unwrapped, NeuralPaintVectorEnv):
        raise TypeError(f"{env} is not a NeuralPaint environment: `neuralpaint envs` lists them")
    return made.unwrapped


def _arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments in what `ModelBasedDDPG.settings` gave."""
    update = UpdateConfig(**{f.name: settings[f.name] for f in fields(UpdateConfig)})
    process = {
        name.removeprefix("env_"): tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if name.startswith("env_")
    }
    names = ("agent", "size", "reward", "buffer_size", "batch_size", "gradient_steps", "noise")
    return {
        **{name: settings[name] for name in (*names, "augment", "seed", "backgrounds")},
        "canvas": process.pop("canvas"),
        "n_envs": settings["paintings"],
        "update": update,
        "env_kwargs": process,
    }
