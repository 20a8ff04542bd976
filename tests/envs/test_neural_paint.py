"""The single environment."""

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import DependencyNotInstalled, ResetNeeded
from numpy.typing import NDArray

from neuralpaint.backend import media
from neuralpaint.envs import painting, rewards
from neuralpaint.envs.neural_paint import NeuralPaintEnv

GRAY_HALF = np.full((4, 4, 3), 0.5, dtype=np.float32)
BAD_ACTIONS: list[tuple[Any, str]] = [
    (np.full(13, np.nan, dtype=np.float32), "13 of the action's numbers are NaN or infinite"),
    (np.array([0.5] * 12 + [np.inf]), r"1 of .* the first at \[12\]; nothing was painted"),
    (np.array([-np.inf] + [0.5] * 12), r"the first at \[0\]"),
    (np.zeros(12, dtype=np.float32), r"must have shape \(13,\), got \(12,\)"),
    (np.zeros((1, 13), dtype=np.float32), r"must have shape \(13,\), got \(1, 13\)"),
    (0.5, r"must have shape \(13,\), got \(\)"),
    (["x"] * 13, "must hold numbers"),
    ([None] * 13, "must hold numbers"),
]


def make(**settings: Any) -> NeuralPaintEnv:
    chosen = {"canvas": 4, "bundle": 1, "budget": 3, "targets": GRAY_HALF, **settings}
    return NeuralPaintEnv(**chosen)


def disc(red: float, green: float, blue: float) -> NDArray[np.float32]:
    """A stroke that stays at the centre and has the largest thickness."""
    point = [0.5, 0.5]
    ends = [1.0, 1.0] * 2
    return np.array([*point, *point, *point, *ends, red, green, blue], dtype=np.float32)


def test_arrays_match_their_spaces_exactly(env_id: str) -> None:
    env = gym.make(env_id, canvas=(6, 4), budget=10)
    spaces = env.observation_space
    assert isinstance(spaces, gym.spaces.Dict)
    env.action_space.seed(0)
    observations = [env.reset(seed=0)[0], env.step(env.action_space.sample())[0]]
    for observation in observations:
        assert sorted(observation) == list(spaces)
        for name, values in observation.items():
            assert values.dtype == spaces[name].dtype
            assert values.shape == spaces[name].shape
            assert spaces[name].contains(values)


def test_action_sizes() -> None:
    sizes = {
        "NeuralPaint-v0": 65,
        "NeuralPaintGray-v0": 55,
        "NeuralPaintOpaque-v0": 40,
        "NeuralPaintL2-v0": 65,
        "NeuralPaintFaces-v0": 65,
        "NeuralPaintBirds-v0": 65,
    }
    for name, size in sizes.items():
        assert gym.make(name, canvas=4).action_space.shape == (size,)


def test_the_setting_of_learning_to_paint() -> None:
    env = gym.make("NeuralPaintL2-v0", canvas=4).unwrapped
    assert isinstance(env, NeuralPaintEnv)
    assert (env.config.background, env.config.reward) == ("black", "relative_l2")
    assert (env.config.bundle, env.config.budget, env.config.steps) == (5, 200, 40)


@pytest.mark.parametrize("name", ["NeuralPaintFaces-v0", "NeuralPaintBirds-v0"])
def test_the_settings_of_the_thesis(name: str) -> None:
    env = gym.make(name, canvas=32).unwrapped
    assert isinstance(env, NeuralPaintEnv)
    assert (env.config.background, env.config.reward) == ("black", "full")
    assert (env.config.bundle, env.config.budget) == (5, 400)
    assert isinstance(env.reward, rewards.Full)
    observation, _ = env.reset(seed=0)
    mask = observation["mask"]
    assert 0.03 < (mask == 255).mean() < (mask > 0).mean() < 0.9
    env.action_space.seed(0)
    before = env.state
    _, reward, *_ = env.step(env.action_space.sample())
    with torch.no_grad():
        assert reward == pytest.approx(env.reward(before, env.state).item(), abs=1e-6)


def test_subjects_can_be_turned_off() -> None:
    env = gym.make("NeuralPaintFaces-v0", canvas=4, targets=GRAY_HALF, subject="none", reward="l2")
    assert (env.reset()[0]["mask"] == 255).all()
    with (
        pytest.warns(UserWarning, match="skipped 1 of 1 target images: image 0: no subject"),
        pytest.raises(ValueError, match="has a subject; the last: image 0: no subject was found"),
    ):
        gym.make("NeuralPaintFaces-v0", canvas=4, targets=GRAY_HALF, reward="l2")


def test_an_episode_by_hand() -> None:
    env = make(canvas=1, targets=np.array([[[0.0, 0.5, 1.0]]], dtype=np.float32))
    observation, info = env.reset(seed=0)
    assert observation["target"].tolist() == [[[0]], [[128]], [[255]]]
    assert observation["canvas"].tolist() == [[[0]], [[0]], [[0]]]
    assert observation["mask"].tolist() == [[[255]]]
    assert observation["step"].tolist() == [1]
    # (0 + .25 + 1) / 3
    assert info == {
        "l2": pytest.approx(1.25 / 3),
        "psnr": pytest.approx(-10 * math.log10(1.25 / 3)),
        "strokes": 0,
    }
    observation, reward, terminated, truncated, info = env.step(disc(0, 0.5, 0))
    assert observation["canvas"].tolist() == [[[0]], [[128]], [[0]]]
    assert observation["step"].tolist() == pytest.approx([2 / 3])
    assert reward == pytest.approx(0.25 / 3)
    assert (terminated, truncated, info["strokes"]) == (False, False, 1)
    env.step(disc(1, 1, 1))
    observation, reward, terminated, truncated, info = env.step(disc(0, 0.5, 1))
    assert reward == pytest.approx(1.25 / 3)  # from white, (1 + .25) / 3, to the target
    assert (terminated, truncated) == (False, True)
    assert info == {"l2": 0.0, "psnr": math.inf, "strokes": 3}


def test_similar_enough_terminates() -> None:
    env = make(canvas=1, similarity=30.0)
    env.reset(seed=0)
    assert env.step(disc(0.45, 0.45, 0.45))[2:4] == (False, False)  # 26 dB
    assert env.step(disc(0.48, 0.48, 0.48))[2:4] == (True, False)  # 34 dB
    with pytest.raises(ResetNeeded, match="finished"):
        env.step(disc(0, 0, 0))
    env.reset()
    env.step(disc(0, 0, 0))


def test_the_budget_is_spent_exactly() -> None:
    env = make(budget=7, bundle=3)
    env.action_space.seed(0)
    env.reset(seed=0)
    steps = [env.step(env.action_space.sample()) for _ in range(3)]
    assert [step[4]["strokes"] for step in steps] == [3, 6, 7]
    assert [step[3] for step in steps] == [False, False, True]
    with pytest.raises(ResetNeeded, match="finished"):
        env.step(env.action_space.sample())


def test_a_step_needs_a_reset() -> None:
    with pytest.raises(ResetNeeded, match="call reset"):
        make().step(disc(0, 0, 0))
    with pytest.raises(ResetNeeded, match="call reset"):
        make(render_mode="rgb_array").render()


@pytest.mark.parametrize(("action", "message"), BAD_ACTIONS)
def test_bad_actions_change_nothing(action: Any, message: str) -> None:
    env = make(targets="procedural")
    env.reset(seed=0)
    env.step(disc(0.2, 0.4, 0.6))
    before = env.state
    copies = [part.clone() for part in before]
    with pytest.raises(ValueError, match=message):
        env.step(action)
    assert env.state is before
    assert all(part.equal(copy) for part, copy in zip(before, copies, strict=True))
    assert env.step(disc(0, 0, 0))[4]["strokes"] == 2


def test_finite_actions_outside_the_box_count_as_its_edge() -> None:
    canvases = []
    for action in (disc(1, 0, 0.5), disc(1e30, -3, 0.5)):
        env = make()
        env.reset(seed=0)
        canvases.append(env.step(action)[0]["canvas"])
    assert (canvases[0] == canvases[1]).all()


@pytest.mark.parametrize("kind", [list, torch.tensor, np.float64])
def test_actions_may_be_lists_tensors_and_doubles(kind: Any) -> None:
    env = make()
    env.reset(seed=0)
    expected = env.step(disc(0.2, 0.4, 0.6))[0]["canvas"]
    env.reset(seed=0)
    assert (env.step(kind(disc(0.2, 0.4, 0.6)))[0]["canvas"] == expected).all()


def test_read_only_and_strided_actions() -> None:
    env = make()
    env.reset(seed=0)
    frozen = np.repeat(disc(0.2, 0.4, 0.6), 2)[::2]
    frozen.setflags(write=False)
    env.step(frozen)
    assert env.state.strokes.item() == 1


def test_seeds_repeat_bit_for_bit(env_id: str) -> None:
    def episode() -> list[Any]:
        env = gym.make(env_id, canvas=(9, 7), budget=15)
        env.action_space.seed(4)
        seen: list[Any] = [env.reset(seed=4)]
        seen += [env.step(env.action_space.sample()) for _ in range(3)]
        return [*seen, env.reset()]

    first, second = episode(), episode()
    for one, other in zip(first, second, strict=True):
        assert one[1:] == other[1:]
        for name in one[0]:
            assert one[0][name].tobytes() == other[0][name].tobytes()
    assert first[0][0]["target"].tobytes() != first[-1][0]["target"].tobytes()


def test_other_seeds_give_other_targets(env_id: str) -> None:
    env = gym.make(env_id, canvas=8)
    seen = {env.reset(seed=seed)[0]["target"].tobytes() for seed in range(10)}
    assert len(seen) == 10


def test_a_target_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "target.png"
    media.write_image(path, np.full((4, 4, 3), 51, dtype=np.uint8))
    mask = np.eye(4, dtype=np.float32)
    pictures = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (10, 20)]
    env = make(targets=pictures)
    for choice, level in [(0, 10), (1, 20), (np.int64(1), 20), (path, 51), (GRAY_HALF, 128)]:
        observation, _ = env.reset(options={"target": choice})
        assert (observation["target"] == level).all()
    observation, _ = env.reset(options={"target": (GRAY_HALF, mask)})
    assert (observation["mask"] == mask * 255).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"targets": 0}, ValueError, "unknown reset option targets; known: target"),
        ({"target": 5}, IndexError, "target 5 does not exist: there are 1"),
        ({"target": "absent.png"}, ValueError, "no such file"),
        ({"target": np.zeros((2, 2, 7))}, ValueError, "shape"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    env = make()
    env.reset(seed=0)
    before = env.state
    with pytest.raises(error, match=message):
        env.reset(options=options)
    assert env.state is before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"renderer": "cubist"}, "renderer 'cubist' is unknown; known: bezier, neural"),
        ({"reward": "fame"}, "reward 'fame' is unknown"),
        ({"reward": "wgan"}, "reward 'wgan' needs a discriminator"),
        ({"subject": "cat"}, "subject 'cat' is unknown; known: object, face"),
        ({"targets": "procedural", "subject": "face"}, '"procedural" pictures have no subjects'),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"render_mode": "ansi"}, "render_mode 'ansi' is unknown; known: human, rgb_array"),
        ({"targets": "nowhere"}, "nowhere: no such file"),
    ],
)
def test_bad_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_a_reward_of_ones_own() -> None:
    def redness(before: painting.State, after: painting.State) -> torch.Tensor:
        return (after.canvas - before.canvas)[:, 0].mean((1, 2))

    env = make(canvas=1, reward=redness)
    env.reset(seed=0)
    assert env.step(disc(0.75, 0, 0))[1] == pytest.approx(0.75)


def test_a_renderer_of_ones_own() -> None:
    def blend(canvas: torch.Tensor, strokes: torch.Tensor) -> torch.Tensor:
        return canvas / 2 + strokes[:, -1, 10:, None, None] / 2

    env = make(renderer=blend)
    env.reset(seed=0)
    assert (env.step(disc(0.2, 0.4, 0.6))[0]["canvas"][:, 0, 0] == [26, 51, 77]).all()


def test_the_canvas_is_never_rounded() -> None:
    env = make(canvas=1, budget=100)
    env.reset(seed=0)
    faint = disc(1, 1, 1)
    faint[[7, 9]] = 0.001  # a quarter of a grey level each
    for _ in range(100):
        observation = env.step(faint)[0]
    assert env.state.canvas.flatten()[0].item() == pytest.approx(1 - 0.999**100, rel=1e-4)
    assert observation["canvas"].flatten()[0] == round((1 - 0.999**100) * 255)


def test_paper_of_the_mean_colour(env_id: str) -> None:
    targets = [(GRAY_HALF, np.ones((4, 4)))]
    env = gym.make(env_id, canvas=4, background="mean", targets=targets)
    assert (env.reset(seed=0)[0]["canvas"] == 128).all()


def test_frames(env_id: str) -> None:
    env = gym.make(env_id, canvas=(5, 7), render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    frame = env.render()
    assert isinstance(frame, np.ndarray)
    assert frame.shape == (5, 7, 3)
    assert frame.dtype == np.uint8
    assert (frame == observation["canvas"].transpose(1, 2, 0)).all()


def test_render_without_a_mode_says_so() -> None:
    env = make()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert env.render() is None


def test_the_window_shows_every_state(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(canvas=1, render_mode="human")
    shown: list[list[int]] = []
    monkeypatch.setattr(env._window, "show", lambda image: shown.append(image[0, 0].tolist()))
    env.reset(seed=0)
    env.step(disc(0, 0.2, 1))
    assert env.render() is None
    assert shown == [[0, 0, 0], [0, 51, 255]]


def test_the_window_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(DependencyNotInstalled, match=r"neuralpaint\[train\]"):
        make(render_mode="human")


def test_closing_twice_is_fine() -> None:
    env = make(render_mode="human")
    env.close()
    env.close()
