"""The adapter for Stable-Baselines3 and its algorithms on the environments."""

import importlib.util
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RescaleAction
from stable_baselines3 import DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from neuralpaint.envs import sb3
from neuralpaint.envs.neural_paint import NeuralPaintEnv
from neuralpaint.envs.sb3 import StableBaselinesVecEnv
from neuralpaint.envs.vector import NeuralPaintVectorEnv


def small_nets() -> dict[str, Any]:
    """New at each call: the algorithms write into it."""
    return {"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 8}}


def make(num_envs: int = 3, **settings: Any) -> StableBaselinesVecEnv:
    chosen = {"canvas": 36, "bundle": 2, "budget": 5, "autoreset_mode": "SameStep", **settings}
    return StableBaselinesVecEnv(NeuralPaintVectorEnv(num_envs, **chosen))


def oracle(num_envs: int = 3, **settings: Any) -> DummyVecEnv:
    """Stable-Baselines3's own vectorisation of the single environment."""
    chosen = {"canvas": 36, "bundle": 2, "budget": 5, **settings}

    def one() -> gym.Env[Any, Any]:
        return RescaleAction(NeuralPaintEnv(**chosen), np.float32(-1), np.float32(1))

    return DummyVecEnv([one] * num_envs)


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
    else:
        assert type(one) is type(other)
        assert one == other


@pytest.mark.parametrize("similarity", [None, 8.0])
def test_equals_the_vectorisation_of_stable_baselines(similarity: float | None) -> None:
    ours, theirs = make(similarity=similarity), oracle(similarity=similarity)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ours.seed(4)
    theirs.seed(4)
    assert_same(ours.reset(), theirs.reset())
    assert_same(ours.reset_infos, theirs.reset_infos)
    ours.action_space.seed(0)
    ends = 0
    for _ in range(7):
        # Multiples of 1/64: both ways of moving [-1, 1] to [0, 1] are exact for them.
        actions = np.stack([ours.action_space.sample() for _ in range(3)])
        actions = np.round(actions * 64) / np.float32(64)
        one, other = ours.step(actions), theirs.step(actions)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
        assert_same(ours.reset_infos, theirs.reset_infos)
        ends += int(one[2].sum())
    assert ends > 3


def test_actions_may_be_left_as_strokes() -> None:
    envs = [NeuralPaintVectorEnv(3, canvas=8, bundle=2, autoreset_mode="SameStep") for _ in "ab"]
    scaled, plain = StableBaselinesVecEnv(envs[0]), StableBaselinesVecEnv(envs[1], rescale=False)
    assert scaled.action_space == gym.spaces.Box(-1, 1, (26,), np.float32)
    assert plain.action_space == envs[1].single_action_space
    scaled.seed(4)
    plain.seed(4)
    assert_same(scaled.reset(), plain.reset())
    strokes = np.random.default_rng(0).integers(0, 65, (3, 26)) / np.float32(64)
    for one, other in zip(scaled.step(2 * strokes - 1), plain.step(strokes), strict=True):
        assert_same(one, other)


def test_the_end_of_an_episode() -> None:
    envs = make(budget=2)
    envs.seed(0)
    first = envs.reset()
    assert isinstance(first, dict)
    observation, _, done, infos = envs.step(np.ones((3, 26), dtype=np.float32))
    assert isinstance(observation, dict)
    assert done.all()
    for i, info in enumerate(infos):
        assert info["TimeLimit.truncated"] is True
        assert info["strokes"] == 2
        assert (info["terminal_observation"]["target"] == first["target"][i]).all()
        assert (info["terminal_observation"]["canvas"] == 255).any()
        assert envs.reset_infos[i]["strokes"] == 0
    assert not observation["canvas"].any()


def test_a_finished_painting_is_not_truncated() -> None:
    envs = make(similarity=-100.0)  # any canvas will do
    envs.reset()
    _, _, done, infos = envs.step(np.zeros((3, 26), dtype=np.float32))
    assert done.all()
    assert not any(info["TimeLimit.truncated"] for info in infos)


def test_options_reach_the_paintings_once() -> None:
    envs = make()
    pictures = [np.full((36, 36, 3), level, dtype=np.uint8) for level in (10, 20, 30)]
    envs.set_options([{"target": picture} for picture in pictures])
    observation = envs.reset()
    assert isinstance(observation, dict)
    assert observation["target"][:, 0, 0, 0].tolist() == [10, 20, 30]
    again = envs.reset()
    assert isinstance(again, dict)
    assert again["target"][:, 0, 0, 0].tolist() != [10, 20, 30]
    envs.set_options({"traget": 0})
    with pytest.raises(ValueError, match="unknown reset option traget"):
        envs.reset()


def test_frames_and_attributes() -> None:
    envs = make(4, render_mode="rgb_array")
    envs.reset()
    tiled = envs.render()
    assert tiled is not None
    assert tiled.shape == (72, 72, 3)
    assert envs.get_attr("render_mode", [0, 2]) == ["rgb_array"] * 2
    assert envs.has_attr("config")
    assert not envs.has_attr("nothing")
    assert envs.env_is_wrapped(gym.Wrapper) == [False] * 4
    with pytest.raises(NotImplementedError, match="single paintings"):
        envs.set_attr("render_mode", None)
    with pytest.raises(NotImplementedError, match="single paintings"):
        envs.env_method("reset")
    envs.close()
    assert envs.envs.closed


@pytest.mark.parametrize("settings", [{"autoreset_mode": "NextStep"}, {"output": "torch"}])
def test_other_vector_environments_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"autoreset_mode='SameStep' and output='numpy'"):
        make(**settings)


def test_other_environments_are_refused() -> None:
    singles = gym.make_vec("NeuralPaint-v0", num_envs=2, vectorization_mode="sync", canvas=4)
    with pytest.raises(TypeError, match="not a NeuralPaint vector environment"):
        StableBaselinesVecEnv(singles)


def test_without_stable_baselines_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("neuralpaint.envs.sb3_again", sb3.__file__)
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    with pytest.raises(ImportError, match=r"pip install 'neuralpaint\[train\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


ALGORITHMS: dict[type[BaseAlgorithm], dict[str, Any]] = {
    DDPG: {"buffer_size": 40, "learning_starts": 6, "batch_size": 4, "train_freq": 2},
    TD3: {"buffer_size": 40, "learning_starts": 6, "batch_size": 4, "train_freq": 2},
    SAC: {"buffer_size": 40, "learning_starts": 6, "batch_size": 4, "train_freq": 2},
    PPO: {"n_steps": 6, "batch_size": 9, "n_epochs": 1},
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms_train_through_the_adapter(algorithm: type[BaseAlgorithm]) -> None:
    envs = VecMonitor(make())
    model = algorithm(
        "MultiInputPolicy",
        envs,
        seed=0,
        policy_kwargs=small_nets(),
        device="cpu",
        **ALGORITHMS[algorithm],
    )
    before = [weights.clone() for weights in model.policy.parameters()]
    model.learn(24)
    assert model.num_timesteps >= 24
    after = list(model.policy.parameters())
    assert any(not old.equal(new) for old, new in zip(before, after, strict=True))
    mean, _ = evaluate_policy(model, envs, n_eval_episodes=3)
    assert np.isfinite(mean)


def test_an_algorithm_trains_on_a_single_environment() -> None:
    env = RescaleAction(
        NeuralPaintEnv(canvas=36, bundle=2, budget=4), np.float32(-1), np.float32(1)
    )
    model = PPO(
        "MultiInputPolicy", env, n_steps=6, batch_size=6, n_epochs=1, policy_kwargs=small_nets()
    )
    model.learn(6)
    assert model.num_timesteps == 6


def test_wrappers_of_stable_baselines_fit() -> None:
    envs = VecNormalize(make(), norm_obs=False)
    envs.reset()
    _, rewards, _, _ = envs.step(np.zeros((3, 26), dtype=np.float32))
    assert np.isfinite(rewards).all()
