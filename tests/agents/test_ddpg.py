"""The agent as an algorithm of Stable-Baselines3."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from torch import Tensor

import neuralpaint
from neuralpaint.agents import ModelBasedDDPG, ddpg, policy
from neuralpaint.agents.learner import UpdateConfig
from neuralpaint.agents.policy import Widths, load_policy
from neuralpaint.backend import files
from neuralpaint.backend.checkpoints import Checkpoints
from neuralpaint.envs.targets import Procedural
from neuralpaint.envs.vector import NeuralPaintVectorEnv

TINY = Widths(proposals=8, resnet=4, view=16)
IDS = ("NeuralPaint-v0", "NeuralPaintGray-v0", "NeuralPaintOpaque-v0", "NeuralPaintL2-v0")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policy.SIZES, "small", TINY)


def make(env: str | NeuralPaintVectorEnv = "NeuralPaint-v0", **settings: Any) -> ModelBasedDDPG:
    chosen: dict[str, Any] = {
        "canvas": 16,
        "n_envs": 4,
        "batch_size": 4,
        "buffer_size": 24,
        "gradient_steps": 2,
        "device": "cpu",
        "env_kwargs": {"budget": 20},
        "update": UpdateConfig(critic=False, proposals=5),
        **settings,
    }
    return ModelBasedDDPG(env, **chosen)


class Watch(BaseCallback):
    """Counts the calls, and stops at a number of steps."""

    def __init__(self, stop: int = 10**9) -> None:
        super().__init__()
        self.stop = stop
        self.calls: list[str] = []
        self.figures: dict[str, float] = {}

    def _on_training_start(self) -> None:
        self.calls.append("start")

    def _on_rollout_start(self) -> None:
        self.figures |= self.logger.name_to_value

    def _on_step(self) -> bool:
        assert self.locals["after"].strokes.shape == (4,)
        self.calls.append("step")
        return self.num_timesteps < self.stop

    def _on_training_end(self) -> None:
        self.calls.append("end")


def weights(agent: ModelBasedDDPG) -> list[Tensor]:
    return [weight.clone() for weight in agent.learner.policy.parameters()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


# --- learn ---------------------------------------------------------------------------------------


def test_learn_with_a_callback() -> None:
    agent, watch = make(), Watch()
    before = weights(agent)
    assert agent.learn(16, callback=watch) is agent
    assert watch.calls == ["start", "step", "step", "step", "step", "end"]
    assert agent.num_timesteps == 16
    assert agent._n_updates == 6  # none after the first step of each painting, two after the others
    assert not equal(before, weights(agent))
    assert {"train/actor_loss", "train/reward", "train/rate"} <= watch.figures.keys()
    # 20 strokes are four bundles
    assert agent._episode_num == 4


def test_a_callback_stops_early() -> None:
    agent = make()
    agent.learn(400, callback=Watch(stop=8))
    assert agent.num_timesteps == 8


def test_learning_goes_on_or_begins_anew() -> None:
    agent = make()
    agent.learn(8)
    agent.learn(8, reset_num_timesteps=False)
    assert agent.num_timesteps == 16
    agent.learn(8)
    assert agent.num_timesteps == 8


def test_one_seed_is_one_run() -> None:
    runs = [weights(make(seed=seed).learn(12)) for seed in (3, 3, 4)]
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


@pytest.mark.parametrize("env", IDS)
def test_environments(env: str) -> None:
    agent = make(env)
    agent.learn(12)
    single = gym.make(env, canvas=16, budget=20)
    observation, _ = single.reset(seed=0)
    action, _ = agent.predict(observation, deterministic=True)
    assert agent.action_space == single.action_space
    single.step(action)


@pytest.mark.parametrize("agent", ["attention", "thesis", "ltp"])
def test_agents_learn_through_the_same_loop(agent: str) -> None:
    painter = make(agent=agent, update=UpdateConfig(proposals=5))
    before = weights(painter)
    painter.learn(12)
    assert painter._n_updates == 4
    assert not equal(before, weights(painter))


def test_an_environment_of_ones_own() -> None:
    env = NeuralPaintVectorEnv(1, canvas=(16, 24), bundle=3, budget=7, autoreset_mode="SameStep")
    agent = make(env)
    agent.learn(12)
    assert agent.painting_env is env
    assert agent.policy_config.bundle == 3
    assert agent.rollout.state.canvas.shape == (4, 3, 16, 24)


def test_the_rate_rises_and_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ddpg, "WARM_UP", 4)
    agent = make()
    agent._n_updates, agent._current_progress_remaining = 1, 1.0
    assert agent._rate_share() == pytest.approx(0.5)
    agent._n_updates, agent._current_progress_remaining = 50, 0.5
    assert agent._rate_share() == pytest.approx(0.01 + 0.99 / 2)
    agent._current_progress_remaining = 0.0
    assert agent._rate_share() == pytest.approx(0.01)


def test_figures_reach_the_logger(tmp_path: Path) -> None:
    agent = make(gradient_steps=1)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(4 * 26)
    agent.logger.close()
    head, row = (tmp_path / "progress.csv").read_text().splitlines()
    figures = dict(zip(head.split(","), row.split(","), strict=True))
    assert figures["train/updates"] == "25"
    assert float(figures["time/steps_per_second"]) > 0
    assert np.isfinite(float(figures["rollout/psnr_at_end"]))


def test_tensorboard(tmp_path: Path) -> None:
    agent = make(tensorboard_log=str(tmp_path))
    agent.learn(8, tb_log_name="run")
    agent.logger.close()
    assert list(tmp_path.glob("run_1/events.out.tfevents.*"))


def test_it_learns_to_paint() -> None:
    """Better on pictures it never saw than before, and than leaving the canvas empty."""
    agent = make(
        canvas=32,
        n_envs=16,
        batch_size=16,
        buffer_size=512,
        gradient_steps=4,
        env_kwargs={"budget": 20, "background": "mean"},
        update=UpdateConfig(critic=False, rate=6e-3),
    )
    empty, before = psnr_after(agent, 0), psnr_after(agent, 4)
    agent.learn(16 * 40)
    after = psnr_after(agent, 4)
    assert after > before + 0.5
    assert after > empty + 1.0


def psnr_after(agent: ModelBasedDDPG, steps: int) -> float:
    """Mean PSNR on eight pictures that are not drawn in training."""
    envs = gym.make_vec("NeuralPaint-v0", num_envs=8, canvas=32, budget=40, background="mean")
    observation, info = envs.reset(seed=10**6)
    for _ in range(steps):
        action, _ = agent.predict(observation, deterministic=True)
        observation, _, _, _, info = envs.step(action)
    return float(np.mean(info["psnr"]))


# --- predict and evaluate ------------------------------------------------------------------------


def test_predict_one_and_many() -> None:
    agent = make()
    single = gym.make("NeuralPaint-v0", canvas=16, budget=20)
    observation, _ = single.reset(seed=0)
    assert observation["canvas"].dtype == np.uint8
    action, state = agent.predict(observation, deterministic=True)
    assert state is None
    assert action.shape == (65,)
    assert action.dtype == np.float32
    assert single.action_space.contains(action)

    envs = gym.make_vec("NeuralPaint-v0", num_envs=3, canvas=16, budget=20)
    batch, _ = envs.reset(seed=0)
    actions, _ = agent.predict(batch, deterministic=True)
    assert actions.shape == (3, 65)
    np.testing.assert_allclose(actions[0], action, atol=1e-5)
    again, _ = agent.predict(batch, deterministic=True)
    np.testing.assert_array_equal(again, actions)
    explored, _ = agent.predict(batch)
    assert not np.array_equal(explored, actions)


def test_strokes_keep_their_looks_on_another_canvas() -> None:
    agent = make()
    picture = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    thickness = []
    for side in (16, 64):
        seen = {
            "canvas": np.zeros((1, 3, side, side), np.uint8),
            "target": picture.repeat(side // 8, 1).repeat(side // 8, 2)[None],
            "step": np.ones((1, 1), np.float32),
        }
        with torch.no_grad():
            tensors = {name: torch.from_numpy(values) for name, values in seen.items()}
            action = agent.policy._predict(tensors, deterministic=True)
        thickness.append(action.view(5, 13)[:, 6])
    # half a pixel of 16 is two of 64: 4 * 0.5 * (1 / 16 - 1 / 64) more of a quarter of the side
    torch.testing.assert_close(
        thickness[1] - thickness[0], torch.full((5,), 0.09375), atol=1e-3, rtol=0
    )


def test_evaluate_policy() -> None:
    agent = make()
    env = agent.get_env()
    assert env is not None
    returns, lengths = evaluate_policy(agent, env, n_eval_episodes=2, return_episode_rewards=True)
    assert lengths == [4, 4]
    assert np.isfinite(returns).all()


def test_the_environment_repeats_with_the_seed() -> None:
    first = []
    for _ in range(2):
        env = make(seed=5).get_env()
        assert env is not None
        observation = env.reset()
        assert isinstance(observation, dict)
        first.append(observation["target"])
    np.testing.assert_array_equal(first[0], first[1])


# --- save and load -------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    agent = make(
        "NeuralPaintGray-v0", canvas=(16, 24), noise=0.25, backgrounds=("white", "mean"), seed=3
    )
    agent.learn(12)
    agent.save(tmp_path / "painter")
    again = ModelBasedDDPG.load(tmp_path / "painter", device="cpu")
    assert again.settings() == agent.settings()
    assert again.num_timesteps == 12
    env = agent.get_env()
    assert env is not None
    observation = env.reset()
    assert isinstance(observation, dict)
    for deterministic in (True, False):
        actions = []
        for one in (agent, again):
            torch.manual_seed(0)
            actions.append(one.predict(observation, deterministic=deterministic)[0])
        np.testing.assert_array_equal(actions[0], actions[1])


def test_loaded_agents_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    update = UpdateConfig(proposals=5)  # with a critic
    straight, stopped = make(update=update), make(update=update)
    for agent in (straight, stopped):
        agent.learn(12)
    stopped.save(tmp_path)
    loaded = ModelBasedDDPG.load(tmp_path, device="cpu")
    for agent in (straight, loaded):
        agent.learn(12, reset_num_timesteps=False)
    expected, facts = straight.checkpoint()
    got, again = loaded.checkpoint()
    assert got.keys() == expected.keys()
    assert all(got[name].equal(expected[name]) for name in expected)
    assert again == facts


def test_the_policy_is_saved_by_itself(tmp_path: Path) -> None:
    agent = make()
    agent.save(tmp_path)
    alone = load_policy(tmp_path / "painter.safetensors")
    assert alone.config == agent.policy_config


def test_saving_replaces_whatever_was_there(tmp_path: Path) -> None:
    long = make().learn(20)
    long.save(tmp_path)
    short = make(seed=1).learn(8)
    short.save(tmp_path)
    again = ModelBasedDDPG.load(tmp_path, device="cpu")
    assert again.num_timesteps == 8
    assert equal(weights(again), weights(short))
    assert len(list(tmp_path.glob("checkpoint-*"))) == 1


def test_a_full_disk_leaves_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make()
    agent.save(tmp_path)
    before = weights(agent)
    agent.learn(12)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_synchronise", full)
    with pytest.raises(OSError, match="No space left"):
        agent.save(tmp_path)
    assert equal(weights(ModelBasedDDPG.load(tmp_path, device="cpu")), before)


def test_checkpoints_of_stable_baselines_callbacks(tmp_path: Path) -> None:
    agent = make()
    agent.learn(8, callback=CheckpointCallback(1, str(tmp_path), "mine"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine_4_steps", "mine_8_steps"]
    assert ModelBasedDDPG.load(tmp_path / "mine_8_steps", device="cpu").num_timesteps == 8


@pytest.mark.parametrize(
    ("name", "message"), [("a.zip", "not read"), ("empty", "no agent"), ("no", "no agent")]
)
def test_what_cannot_be_loaded(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=message):
        ModelBasedDDPG.load(tmp_path / name)


def test_settings_of_something_else(tmp_path: Path) -> None:
    agent = make()
    tensors, facts = agent.checkpoint()
    Checkpoints(tmp_path).save(0, tensors, {**facts, "settings": {"agent": "x"}})
    with pytest.raises(ValueError, match="not those of an agent"):
        ModelBasedDDPG.load(tmp_path)


def test_other_settings_are_named(tmp_path: Path) -> None:
    make().save(tmp_path)
    with pytest.raises(ValueError, match=r"batch_size=4, now 5"):
        ModelBasedDDPG.load(tmp_path, device="cpu", batch_size=5)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"n_envs": 0},
        {"batch_size": 0},
        {"buffer_size": 3},
        {"noise": -1.0},
        {"agent": "dqn"},
        {"size": "huge"},
        {"reward": "beauty"},
        {"backgrounds": ("green",)},
    ],
)
def test_bad_arguments_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings)).rstrip("s")):
        make(**settings)


def test_other_environments_are_refused() -> None:
    with pytest.raises(TypeError, match="NeuralPaintVectorEnv"):
        make(gym.make("NeuralPaint-v0", canvas=16))  # type: ignore[arg-type]


def test_targets_that_cannot_be_drawn_again_are_not_augmented() -> None:
    stream = (np.zeros((16, 16, 3), np.uint8) for _ in range(9))
    with pytest.raises(ValueError, match="augment needs targets"):
        make(targets=stream, augment=True)


def test_augmented_targets_keep_their_kind() -> None:
    agent = make(targets="procedural-faces", augment=True)
    source = agent.rollout.source.source  # type: ignore[attr-defined]
    assert isinstance(source, Procedural)
    assert (source.kind, source.canvas) == ("procedural-faces", (3, 32, 32))
    assert 0 < agent.rollout.state.mask.mean() < 1


def test_without_stable_baselines_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert neuralpaint.agents.ModelBasedDDPG is ModelBasedDDPG
    spec = importlib.util.spec_from_file_location("neuralpaint.agents.ddpg_again", ddpg.__file__)
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.callbacks", None)
    with pytest.raises(ImportError, match=r"pip install 'neuralpaint\[train\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
