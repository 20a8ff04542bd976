"""The painting environments, N paintings at a time on one device."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from ..backend.graphs import Graphed
from . import painting, spaces, targets
from .neural_paint import (
    METADATA,
    NeuralPaintEnv,
    Subject,
    check_render_mode,
    prepare,
)
from .variants import (
    NeuralPaintBirdsEnv,
    NeuralPaintFacesEnv,
    NeuralPaintGrayEnv,
    NeuralPaintL2Env,
    NeuralPaintOpaqueEnv,
)

Output = Literal["numpy", "torch"]
OUTPUTS: tuple[Output, ...] = get_args(Output)

Batch = Any
"""A numpy array, or a tensor where the output is "torch"."""


class NeuralPaintVectorEnv(VectorEnv[dict[str, Any], Batch, Batch]):
    """N paintings of `NeuralPaint-v0`, painted together.

    What each of them does is specified by `neural_paint.NeuralPaintEnv`, whose arguments are
    accepted here. Painting i equals a single environment that was reset with `seed + i`, on the
    CPU with the exact renderer bit for bit, save rewards that ask networks, which are equal up to
    rounding; a list of seeds is accepted as well. `info` holds
    one array per key, and a boolean array `_key` that says which paintings have it.

    Autoreset modes, as Gymnasium defines them:

    - NextStep (default): the step after a painting's end begins its next one; the action is
      ignored, whatever it holds, and the reward is 0.
    - SameStep: a painting that ends is followed by the next one at once; `info["final_obs"]` and
      `info["final_info"]` hold what was last seen of it.
    - Disabled: `reset(options={"reset_mask": mask})` begins the paintings where the (N,) bool array
      is True; stepping a finished one raises `gymnasium.error.ResetNeeded`.

    A list of N items as `options={"target": [...]}` gives each painting its own target.

    An action that is refused leaves all N paintings unchanged.

    Args:
        num_envs: N.
        autoreset_mode: the mode or its name.
        output: "numpy", or "torch" for tensors on the device: observations are then float32 in
            [0, 1], not rounded, and `final_obs` is one dictionary of batches whose rows count
            where `_final_obs` is True. The tensors are the environment's own: do not write to
            them.
        targets: as for the single environment; one source serves all paintings.
        subject: as for the single environment.
        render_mode: "rgb_array", one picture per painting, or None.
        **settings: the other arguments of the single environment.

    Raises:
        TypeError: an unknown argument, or one of the wrong type.
        ValueError: an argument out of range.
    """

    single: ClassVar[type[NeuralPaintEnv]] = NeuralPaintEnv

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        output: Output = "numpy",
        targets: targets.Targets | None = None,
        subject: Subject | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if output not in OUTPUTS:
            raise ValueError(f"output {output!r} is unknown; known: {', '.join(OUTPUTS)}")
        self.config, self.device, self.paint, self.reward, self.source = prepare(
            self.single.preset, settings, self.single.pictures.replaced(targets, subject)
        )
        self.num_envs = num_envs
        self.output = output
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.render_mode = check_render_mode(render_mode, ["rgb_array"])
        self.metadata = {
            **METADATA,
            "render_modes": ["rgb_array"],
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_action_space = spaces.action_space(self.config)
        self.single_observation_space = spaces.observation_space(
            self.config, rounded=output == "numpy"
        )
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._randoms = [seeding.np_random()[0] for _ in range(num_envs)]
        self._graph = Graphed(self._transition, self.device)
        self._rounded: dict[str, NDArray[np.uint8]] = {}
        self._state: painting.State | None = None
        self._finished = np.zeros(num_envs, dtype=np.bool_)

    @property
    def state(self) -> painting.State:
        """All paintings, in float32; read it, do not write to it."""
        if self._state is None:
            raise ResetNeeded("call reset() first: there are no paintings yet")
        return self._state

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Batch], dict[str, Any]]:
        """Begin all paintings, or those of a mask.

        Args:
            seed: seed + i for painting i; or one seed each; None goes on with the random numbers
                of before.
            options: "target" as for the single environment, or a list of N of them; "reset_mask",
                (N,) bool, the paintings to begin.

        Returns:
            Observation and info.

        Raises:
            ValueError: an option is unknown or misshapen, or a target unreadable.
        """
        known = spaces.parse_options(options, ("target", "reset_mask"))
        seeds = self._seeds(seed)
        if isinstance(seed, int):
            super().reset(seed=seed)
        chosen = np.ones(self.num_envs, dtype=np.bool_)
        if "reset_mask" in known:
            chosen = self._check_mask(known["reset_mask"])
        for i, number in enumerate(seeds):
            if chosen[i] and number is not None:
                self._randoms[i] = seeding.np_random(number)[0]
        self._state = self._begin(self._state, chosen, known.get("target"))
        self._finished = self._finished & ~chosen
        return self._observation(self._state), self._info(self._state, chosen)

    def step(self, actions: Batch) -> tuple[dict[str, Batch], Batch, Batch, Batch, dict[str, Any]]:
        """Paint one bundle of strokes on every canvas.

        Args:
            actions: (N, bundle * F) in [0, 1], array or tensor.

        Returns:
            Observation, reward (N,), terminated (N,), truncated (N,) and info. As arrays, rewards
            are float64 like those of Gymnasium's own vector environments.

        Raises:
            ValueError: wrong shape, NaN or infinity; all paintings are unchanged.
            ResetNeeded: no paintings were begun, or in mode Disabled one of them is finished.
        """
        state, finished = self.state, self._finished
        if self.autoreset_mode == AutoresetMode.DISABLED and finished.any():
            which = np.flatnonzero(finished).tolist()
            raise ResetNeeded(f"paintings {which} are finished: reset them with a reset_mask")
        shape = (self.num_envs, self.config.action_size)
        ignored = torch.from_numpy(finished)
        strokes = spaces.parse_action(actions, shape, self.device, ignored)
        with torch.no_grad():
            after = state._replace(**self._graph({**state._asdict(), "action": strokes}))
            reward = painting.reward(state, after, self.reward)
            terminated = painting.terminated(after, self.config)
            truncated = painting.truncated(after, self.config)
        if finished.any():  # only in mode NextStep
            begun = ignored.to(self.device)
            reward = reward.masked_fill(begun, 0)
            terminated, truncated = terminated & ~begun, truncated & ~begun
        ended = (terminated | truncated).cpu().numpy()

        info: dict[str, Any] = {}
        if finished.any():
            after = self._begin(after, finished)
        elif self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            info = self._final(after, ended)
            after = self._begin(after, ended)
            ended = np.zeros_like(ended)
        self._state, self._finished = after, ended
        info |= self._info(after, np.ones(self.num_envs, dtype=np.bool_))
        if self.output == "torch":
            return self._observation(after), reward, terminated, truncated, info
        return (
            self._observation(after),
            reward.cpu().numpy().astype(np.float64),
            terminated.cpu().numpy(),
            truncated.cpu().numpy(),
            info,
        )

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The canvases as (H, W, 3) RGB pictures.

        Returns:
            N pictures in render mode "rgb_array", else None.
        """
        if self.render_mode is None:
            return None
        return tuple(spaces.frames(self.state.canvas))

    def _transition(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`painting.transition` as CUDA graphs record it: only what changes comes out."""
        action = batch.pop("action")
        after = painting.transition(painting.State(**batch), action, self.config, self.paint)
        return {
            "canvas": after.canvas,
            "strokes": after.strokes,
            "distance": after.distance,
            "bundle": after.bundle,
        }

    def _begin(
        self, state: painting.State | None, chosen: NDArray[np.bool_], choice: Any = None
    ) -> painting.State:
        """Replace the chosen paintings by new ones, in new tensors."""
        rows = np.flatnonzero(chosen)
        choices = choice if isinstance(choice, list) else [choice] * self.num_envs
        if len(choices) != self.num_envs:
            raise ValueError(f"{len(choices)} targets for {self.num_envs} paintings")
        if state is None and len(rows) < self.num_envs:
            raise ResetNeeded("the first reset() must begin all paintings: leave out reset_mask")
        drawn = [targets.choose(self.source, choices[i], self._randoms[i]) for i in rows]
        fresh = painting.initial(*targets.stack(drawn, self.device), self.config)
        if self.output == "numpy":
            self._round(fresh, rows)
        if state is None or len(rows) == self.num_envs:
            return fresh
        where = torch.from_numpy(rows).to(self.device)
        kept = zip(state, fresh, strict=True)
        return painting.State(*(old.index_copy(0, where, new) for old, new in kept))

    def _round(self, fresh: painting.State, rows: NDArray[np.intp]) -> None:
        """Round targets and masks once per painting instead of once per step."""
        for name, images in (("target", fresh.target), ("mask", fresh.mask)):
            if name not in self._rounded:
                shape = (self.num_envs, *images.shape[1:])
                self._rounded[name] = np.empty(shape, dtype=np.uint8)
            self._rounded[name][rows] = spaces.to_bytes(images)

    def _final(self, state: painting.State, ended: NDArray[np.bool_]) -> dict[str, Any]:
        """The infos that keep the last sight of paintings that are replaced in the same step."""
        observation = self._observation(state)
        last: Batch = observation
        if self.output == "numpy":
            last = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(ended):
                last[i] = {name: values[i].copy() for name, values in observation.items()}
        return {
            "final_obs": last,
            "_final_obs": ended.copy(),
            "final_info": self._info(state, ended),
            "_final_info": ended.copy(),
        }

    def _observation(self, state: painting.State) -> dict[str, Batch]:
        observation = painting.observation(state, self.config)
        if self.output == "torch":
            return observation
        return spaces.numpy_observation(observation, self._rounded)

    def _info(self, state: painting.State, having: NDArray[np.bool_]) -> dict[str, Any]:
        """l2, psnr and strokes of the paintings that have them, zeros for the others."""
        distances = state.distance.cpu().numpy().astype(np.float64)
        values = {
            "l2": distances,
            "psnr": np.array([painting.psnr(distance) for distance in distances]),
            "strokes": state.strokes.cpu().numpy(),
        }
        info: dict[str, Any] = {}
        for name, numbers in values.items():
            info[name] = np.where(having, numbers, np.zeros_like(numbers))
            info[f"_{name}"] = having.copy()
        return info

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds for {self.num_envs} paintings")
        return seed

    def _check_mask(self, mask: Any) -> NDArray[np.bool_]:
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError("reset_mask must be a numpy array of bool")
        if mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must have shape ({self.num_envs},), got {mask.shape}")
        if not mask.any():
            raise ValueError("reset_mask chooses no painting: set at least one entry to True")
        return mask


class NeuralPaintGrayVectorEnv(NeuralPaintVectorEnv):
    """N paintings of `NeuralPaintGray-v0`, see `variants.NeuralPaintGrayEnv`."""

    single = NeuralPaintGrayEnv


class NeuralPaintOpaqueVectorEnv(NeuralPaintVectorEnv):
    """N paintings of `NeuralPaintOpaque-v0`, see `variants.NeuralPaintOpaqueEnv`."""

    single = NeuralPaintOpaqueEnv


class NeuralPaintL2VectorEnv(NeuralPaintVectorEnv):
    """N paintings of `NeuralPaintL2-v0`, see `variants.NeuralPaintL2Env`."""

    single = NeuralPaintL2Env


class NeuralPaintFacesVectorEnv(NeuralPaintVectorEnv):
    """N paintings of `NeuralPaintFaces-v0`, see `variants.NeuralPaintFacesEnv`."""

    single = NeuralPaintFacesEnv


class NeuralPaintBirdsVectorEnv(NeuralPaintVectorEnv):
    """N paintings of `NeuralPaintBirds-v0`, see `variants.NeuralPaintBirdsEnv`."""

    single = NeuralPaintBirdsEnv
