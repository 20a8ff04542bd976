"""The checkers of Gymnasium and Stable-Baselines3, on every environment. Warnings are errors."""

import warnings
from pathlib import Path

import gymnasium as gym
import matplotlib as mpl
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from gymnasium.wrappers import RecordVideo, RescaleAction
from stable_baselines3.common.env_checker import check_env as check_stable_baselines

from neuralpaint.backend import media


def test_gymnasium_is_content(env_id: str) -> None:
    with mpl.rc_context({"backend": "agg"}):
        check_gymnasium(gym.make(env_id, canvas=(20, 16)).unwrapped)


def test_stable_baselines_is_content(env_id: str) -> None:
    env = gym.make(env_id, canvas=(36, 40))
    check_stable_baselines(RescaleAction(env, np.int64(-1), np.int64(1)))


def test_stable_baselines_has_one_wish_about_the_bare_environment(env_id: str) -> None:
    # Strokes live in [0, 1]; the wrapper above gives the range that it recommends.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_stable_baselines(gym.make(env_id, canvas=36).unwrapped)
    assert ["symmetric and normalized Box" in str(each.message) for each in caught] == [True]


def test_passive_checker_is_content_with_an_episode(env_id: str) -> None:
    env = gym.make(env_id, canvas=8, budget=12, bundle=5)
    env.action_space.seed(0)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[3] for _ in range(3)]
    assert ends == [False, False, True]


@pytest.mark.parametrize("size", [(36, 48), (35, 21)])
def test_videos_can_be_recorded(env_id: str, size: tuple[int, int], tmp_path: Path) -> None:
    env = gym.make(env_id, canvas=size, budget=20, render_mode="rgb_array")
    recorder = RecordVideo(env, str(tmp_path / "videos"), disable_logger=True)
    recorder.action_space.seed(0)
    recorder.reset(seed=0)
    for _ in range(4):
        recorder.step(recorder.action_space.sample())
    recorder.close()
    (video,) = tmp_path.rglob("*.mp4")
    frames, rate = media.read_video(video)
    assert (len(frames), rate) == (5, 20)
