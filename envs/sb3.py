"""The vector environment for Stable-Baselines3, which has a vector interface of its own.

    envs = gym.make_vec("NeuralPaint-v0", num_envs=8, autoreset_mode="SameStep")
    model = stable_baselines3.PPO("MultiInputPolicy", StableBaselinesVecEnv(envs))

Only this module imports Stable-Baselines3, which the extra `train` brings along.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from .spaces import parse_options
from .vector import NeuralPaintVectorEnv

try:
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import (
        VecEnvIndices,
        VecEnvObs,
        VecEnvStepReturn,
    )
except ImportError as error:
    raise ImportError(
        "neuralpaint.envs.sb3 needs Stable-Baselines3: pip install 'neuralpaint[train]'"
    ) from error


class StableBaselinesVecEnv(VecEnv):
    """Lets the algorithms of Stable-Baselines3 train on all paintings at once.

    Actions have the range [-1, 1], which its Gaussian policies start in the middle of; they are
    moved to the [0, 1] of the strokes. The last observation of an episode is in
    `info["terminal_observation"]`, and `info["TimeLimit.truncated"]` tells a spent budget from a
    painting that is similar enough.

    Args:
        envs: made with autoreset_mode="SameStep" and numpy output.
        rescale: False leaves actions in the [0, 1] of the strokes, for policies that answer so.

    Raises:
        TypeError: another kind of environment, or a wrapped one.
        ValueError: another autoreset mode or output.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], *, rescale: bool = True) -> None:
        if not isinstance(envs, NeuralPaintVectorEnv):
            raise TypeError(f"not a NeuralPaint vector environment: {envs}; make it with make_vec")
        if envs.autoreset_mode != AutoresetMode.SAME_STEP or envs.output != "numpy":
            raise ValueError(
                "Stable-Baselines3 needs a vector environment that was made with "
                "autoreset_mode='SameStep' and output='numpy'"
            )
        self.envs, self.rescale = envs, rescale
        self._actions: NDArray[np.float32] | None = None
        shape, low = envs.single_action_space.shape, -1.0 if rescale else 0.0
        action_space = gym.spaces.Box(low, 1.0, shape, np.float32)
        super().__init__(envs.num_envs, envs.single_observation_space, action_space)

    def reset(self) -> VecEnvObs:
        """Begin all paintings, with the seeds and options that were set before.

        Returns:
            Arrays by name, the paintings along the first axis.
        """
        observation, info = self.envs.reset(seed=self._seeds, options=self._merge_options())
        self.reset_infos = self._split(info)
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Take the actions of the next step.

        Args:
            actions: (N, bundle * F) in the range of the action space.
        """
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Do the step.

        Returns:
            Observations, rewards (N,) float32, dones (N,) and N dictionaries of info.
        """
        assert self._actions is not None, "call step_async() first"
        strokes = (self._actions + 1) / 2 if self.rescale else self._actions
        observation, reward, terminated, truncated, info = self.envs.step(strokes)
        done = terminated | truncated
        infos = self._split(info)
        if done.any():
            last = self._split(info["final_info"])
            for i in np.flatnonzero(done).tolist():
                self.reset_infos[i], infos[i] = infos[i], last[i]
                infos[i]["terminal_observation"] = info["final_obs"][i]
        for i in range(self.num_envs):
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observation, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """The canvases, (H, W, 3) each; None without render mode "rgb_array"."""
        return self.envs.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the vector environment, once for each painting asked for."""
        return [getattr(self.envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible: the paintings are rows of one batch, not objects."""
        raise NotImplementedError(f"cannot set {attr_name} of single paintings")

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Not possible: the paintings are rows of one batch, not objects."""
        raise NotImplementedError(f"cannot call {method_name} of single paintings")

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Never: single paintings cannot be wrapped."""
        return [False for _ in self._get_indices(indices)]

    def _merge_options(self) -> dict[str, Any]:
        options = [parse_options(each, ("target",)) for each in self._options]
        chosen = [each.get("target") for each in options]
        return {} if all(each is None for each in chosen) else {"target": chosen}

    def _split(self, info: dict[str, Any]) -> list[dict[str, Any]]:
        """One dictionary per painting out of arrays by name."""
        names = [name for name in ("l2", "psnr", "strokes") if name in info]
        return [{name: info[name][i].item() for name in names} for i in range(self.num_envs)]
