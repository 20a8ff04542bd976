"""The vector environment: equal to single ones, in every autoreset mode."""

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from neuralpaint.envs.vector import NeuralPaintVectorEnv
from neuralpaint.renderers.neural import NeuralRenderer

NETWORKS = ("NeuralPaintFaces-v0", "NeuralPaintBirds-v0")
MODES = [mode.value for mode in AutoresetMode]


def make(num_envs: int = 3, **settings: Any) -> NeuralPaintVectorEnv:
    return NeuralPaintVectorEnv(num_envs, **{"canvas": 6, "bundle": 2, "budget": 5, **settings})


def same(one: Any, other: Any) -> bool:
    """Equal in type, dtype, shape and every bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple) or (isinstance(one, np.ndarray) and one.dtype == object):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return type(one) is type(other) and bool(one == other)


def sync(env_id: str, mode: str, num_envs: int, **settings: Any) -> SyncVectorEnv:
    """Gymnasium's own vectorisation of the single environment: the oracle of ours."""
    makers = [lambda: gym.make(env_id, **settings)] * num_envs
    return SyncVectorEnv(makers, autoreset_mode=mode)


def pixels_only(env_id: str) -> dict[str, Any]:
    """Rewards that ask networks differ in the last bits between a batch and its parts."""
    return {"reward": "l1_clipped"} if env_id in NETWORKS else {}


def test_make_vec_makes_ours(env_id: str) -> None:
    envs = gym.make_vec(env_id, num_envs=3, canvas=4)
    assert isinstance(envs, NeuralPaintVectorEnv)
    assert envs.num_envs == 3
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.spec is not None
    assert isinstance(gym.make_vec(envs.spec), NeuralPaintVectorEnv)


def test_the_singles_can_be_vectorised_by_gymnasium(env_id: str) -> None:
    envs = gym.make_vec(env_id, num_envs=2, vectorization_mode="sync", canvas=4)
    assert isinstance(envs, SyncVectorEnv)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())


@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_arrays_match_their_spaces_exactly(env_id: str, output: str) -> None:
    envs = gym.make_vec(env_id, num_envs=3, canvas=(6, 4), budget=10, output=output)
    spaces = envs.observation_space
    assert isinstance(spaces, gym.spaces.Dict)
    envs.action_space.seed(0)
    for observation in (envs.reset(seed=0)[0], envs.step(envs.action_space.sample())[0]):
        assert sorted(observation) == list(spaces)
        for name, values in observation.items():
            array = np.asarray(values)
            assert isinstance(values, np.ndarray if output == "numpy" else torch.Tensor)
            assert (array.dtype, array.shape) == (spaces[name].dtype, spaces[name].shape)
            assert spaces[name].contains(array)


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("budget", [4, 5])
def test_equals_single_environments_bit_for_bit(env_id: str, mode: str, budget: int) -> None:
    settings: dict[str, Any] = {"canvas": (9, 7), "bundle": 2, "budget": budget}
    settings |= pixels_only(env_id)
    ours = gym.make_vec(env_id, num_envs=3, autoreset_mode=mode, **settings)
    theirs = sync(env_id, mode, 3, **settings)
    ours.action_space.seed(1)
    assert same(ours.reset(seed=7), theirs.reset(seed=7))
    for _ in range(9):
        actions = ours.action_space.sample()
        one, other = ours.step(actions), theirs.step(actions)
        assert same(one, other)
    assert same(ours.reset(), theirs.reset())
    assert isinstance(ours, NeuralPaintVectorEnv)
    assert same(ours.reset(seed=[3, 1, 2]), theirs.reset(seed=[3, 1, 2]))


@pytest.mark.parametrize("env_id", NETWORKS)
def test_rewards_that_ask_networks_are_those_of_single_environments(env_id: str) -> None:
    settings: dict[str, Any] = {"canvas": (40, 36), "bundle": 2, "budget": 5}
    ours = gym.make_vec(env_id, num_envs=3, autoreset_mode="SameStep", **settings)
    theirs = sync(env_id, "SameStep", 3, **settings)
    ours.action_space.seed(1)
    assert same(ours.reset(seed=7), theirs.reset(seed=7))
    for _ in range(7):  # through two ends of an episode
        actions = ours.action_space.sample()
        one, other = ours.step(actions), theirs.step(actions)
        assert same(one[0], other[0])
        np.testing.assert_allclose(one[1], other[1], rtol=1e-4, atol=1e-5)
        assert np.abs(one[1]).min() > 0


def test_the_strokes_of_a_step_are_in_the_state() -> None:
    together = make(3, budget=3, autoreset_mode="NextStep")
    together.action_space.seed(0)
    together.reset(seed=0)
    assert not together.state.bundle.any()
    for step in range(2):
        actions = together.action_space.sample()
        together.step(actions)
        strokes = actions.reshape(3, 2, 13)
        strokes[:, 1:] *= step == 0  # the budget's last step paints one stroke
        np.testing.assert_array_equal(together.state.bundle[:, :2, [7, 9]], strokes[..., [7, 9]])
        np.testing.assert_array_equal(together.state.bundle[:, 0], strokes[:, 0])
    together.step(actions)  # begins anew
    assert not together.state.bundle.any()


@pytest.mark.parametrize("mode", MODES[:2])
def test_paintings_that_end_at_different_steps(mode: str) -> None:
    # Each colour on a black canvas takes its own number of strokes to 8 dB.
    settings: dict[str, Any] = {"canvas": 8, "bundle": 1, "budget": 9, "similarity": 8.0}
    ours = gym.make_vec("NeuralPaint-v0", num_envs=4, autoreset_mode=mode, **settings)
    theirs = sync("NeuralPaint-v0", mode, 4, **settings)
    ours.action_space.seed(3)
    assert same(ours.reset(seed=3), theirs.reset(seed=3))
    ends = set()
    for step in range(40):
        actions = ours.action_space.sample()
        one, other = ours.step(actions), theirs.step(actions)
        assert same(one, other)
        for kind, ended in (("terminated", one[2]), ("truncated", one[3])):
            if 0 < np.count_nonzero(ended) < 4:
                ends.add((step, kind))
    assert len({kind for _, kind in ends}) == 2  # some terminated, some truncated
    assert len(ends) > 4


def test_disabled_mode_resets_by_mask() -> None:
    settings: dict[str, Any] = {"canvas": 6, "bundle": 1, "budget": 12, "similarity": 9.0}
    ours = gym.make_vec("NeuralPaint-v0", num_envs=4, autoreset_mode="Disabled", **settings)
    theirs = sync("NeuralPaint-v0", "Disabled", 4, **settings)
    ours.action_space.seed(0)
    assert same(ours.reset(seed=0), theirs.reset(seed=0))
    partly = 0
    for _ in range(30):
        actions = ours.action_space.sample()
        one, other = ours.step(actions), theirs.step(actions)
        assert same(one, other)
        ended = one[2] | one[3]
        if ended.any():
            partly += not ended.all()
            with pytest.raises(ResetNeeded, match="are finished"):
                ours.step(actions)
            options = {"reset_mask": ended}
            assert same(ours.reset(options=options), theirs.reset(options=dict(options)))
            assert options == {"reset_mask": ended}
    assert partly > 2


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True, False, True], TypeError, "numpy array of bool"),
        (np.array([1, 0, 1]), TypeError, "numpy array of bool"),
        (np.array([True]), ValueError, r"shape \(3,\), got \(1,\)"),
        (np.zeros(3, dtype=np.bool_), ValueError, "chooses no painting"),
    ],
)
def test_bad_masks_are_refused(mask: Any, error: type[Exception], message: str) -> None:
    envs = make(autoreset_mode="Disabled")
    envs.reset(seed=0)
    with pytest.raises(error, match=message):
        envs.reset(options={"reset_mask": mask})


def test_a_mask_needs_paintings() -> None:
    with pytest.raises(ResetNeeded, match="must begin all paintings"):
        make().reset(options={"reset_mask": np.array([True, False, True])})
    with pytest.raises(ResetNeeded, match="call reset"):
        make().step(np.zeros((3, 26)))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_batch_equals_its_parts_on_odd_sizes(size: int) -> None:
    together = make(5, canvas=(size, 33), similarity=25.0)
    together.action_space.seed(0)
    together.reset(seed=10)
    actions = together.action_space.sample()
    observation, reward, *_ = together.step(actions)
    for i in range(5):
        alone = make(1, canvas=(size, 33), similarity=25.0)
        alone.reset(seed=10 + i)
        part = alone.step(actions[i : i + 1])
        assert part[1].tobytes() == reward[i : i + 1].tobytes()
        assert part[0]["canvas"].tobytes() == observation["canvas"][i : i + 1].tobytes()


def test_a_network_can_be_the_renderer() -> None:
    torch.manual_seed(0)
    network = NeuralRenderer(width=8)
    together = make(3, renderer=network.paint, canvas=16)
    together.action_space.seed(0)
    together.reset(seed=0)
    actions = together.action_space.sample()
    _, reward, *_ = together.step(actions)
    assert not together.state.canvas.requires_grad
    for i in range(3):
        alone = make(1, renderer=network.paint, canvas=16)
        alone.reset(seed=i)
        _, part, *_ = alone.step(actions[i : i + 1])
        assert part[0] == pytest.approx(reward[i], abs=1e-6)


def test_the_shipped_network_stays_close_to_the_exact_renderer() -> None:
    canvases = []
    for renderer in ("bezier", "neural"):
        envs = make(4, renderer=renderer, canvas=32)
        envs.action_space.seed(0)
        envs.reset(seed=0)
        canvases.append(envs.step(envs.action_space.sample())[0]["canvas"].astype(np.float64))
    assert np.abs(canvases[0] - canvases[1]).mean() < 255 * 0.02


def test_threads_change_nothing() -> None:
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            envs = make(9, canvas=64, reward="l1_clipped", background="mean")
            envs.action_space.seed(0)
            envs.reset(seed=0)
            results.append(envs.step(envs.action_space.sample()))
    finally:
        torch.set_num_threads(threads)
    assert same(*results)


@pytest.mark.parametrize("mode", MODES)
def test_torch_output_says_the_same(mode: str) -> None:
    arrays = make(autoreset_mode=mode)
    tensors = make(autoreset_mode=mode, output="torch")
    arrays.action_space.seed(0)
    arrays.reset(seed=0)
    tensors.reset(seed=0)
    for _ in range(3):
        actions = arrays.action_space.sample()
        plain = arrays.step(actions)
        other = tensors.step(torch.from_numpy(actions))
        rounded = {name: values.numpy() for name, values in other[0].items()}
        for name in ("canvas", "target", "mask"):
            assert (np.floor(rounded[name] * 255 + 0.5) == plain[0][name]).all()
        assert (rounded["step"] == plain[0]["step"]).all()
        for number in (1, 2, 3):
            assert (np.asarray(other[number]) == plain[number]).all()
        assert same(other[4]["l2"], plain[4]["l2"])
        assert sorted(other[4]) == sorted(plain[4])
    if mode == "SameStep":
        last = other[4]["final_obs"]["canvas"].numpy()
        for i in range(3):
            levels = np.floor(last[i] * 255 + 0.5)
            assert (levels == plain[4]["final_obs"][i]["canvas"]).all()


def test_what_was_returned_does_not_change(env_id: str) -> None:
    envs = gym.make_vec(env_id, num_envs=2, canvas=6, budget=10, autoreset_mode="SameStep")
    envs.action_space.seed(0)
    returned = [envs.reset(seed=0)[0]]
    copies = [{name: values.copy() for name, values in returned[0].items()}]
    for _ in range(4):
        returned.append(envs.step(envs.action_space.sample())[0])
        copies.append({name: values.copy() for name, values in returned[-1].items()})
    assert same(dict(enumerate(returned)), dict(enumerate(copies)))
    returned[-1]["target"][:] = 0  # and what is done to it does not reach the environment
    assert envs.step(envs.action_space.sample())[0]["target"].any()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda actions: actions[:2],
        lambda actions: actions[:, :-1],
        lambda actions: np.where(np.arange(26) == 7, np.nan, actions),
        lambda actions: np.where(np.arange(3)[:, None] == 2, np.inf, actions),
        lambda actions: torch.full(actions.shape, torch.nan),
    ],
)
def test_bad_actions_change_nothing(spoil: Any) -> None:
    envs = make()
    envs.action_space.seed(0)
    envs.reset(seed=0)
    actions = envs.action_space.sample()
    before = envs.state
    copies = [part.clone() for part in before]
    with pytest.raises(ValueError, match=r"shape|nothing was painted"):
        envs.step(spoil(actions))
    assert envs.state is before
    assert all(part.equal(copy) for part, copy in zip(before, copies, strict=True))


def test_ignored_actions_may_hold_anything() -> None:
    envs = make(budget=2)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    assert envs.step(envs.action_space.sample())[3].all()
    _, reward, terminated, truncated, info = envs.step(np.full((3, 26), np.nan))
    for values in (reward, terminated, truncated, info["strokes"]):
        assert not values.any()


def test_each_painting_may_have_its_own_target() -> None:
    pictures = [np.full((6, 6, 3), level, dtype=np.uint8) for level in (10, 20, 30)]
    envs = make()
    observation, _ = envs.reset(options={"target": pictures})
    assert observation["target"][:, 0, 0, 0].tolist() == [10, 20, 30]
    observation, _ = envs.reset(options={"target": pictures[1]})
    assert observation["target"][:, 0, 0, 0].tolist() == [20, 20, 20]
    with pytest.raises(ValueError, match="2 targets for 3 paintings"):
        envs.reset(options={"target": pictures[:2]})


def test_one_generator_serves_all_paintings() -> None:
    def pictures() -> Iterator[NDArray[np.uint8]]:
        for level in range(7):
            yield np.full((6, 6, 3), level, dtype=np.uint8)

    envs = make(targets=pictures(), budget=2, autoreset_mode="SameStep")
    envs.action_space.seed(0)
    assert envs.reset()[0]["target"][:, 0, 0, 0].tolist() == [0, 1, 2]
    assert envs.step(envs.action_space.sample())[0]["target"][:, 0, 0, 0].tolist() == [3, 4, 5]
    before = envs.state
    with pytest.raises(ValueError, match="ran out after 7"):
        envs.step(envs.action_space.sample())
    assert envs.state is before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"output": "jax"}, "output 'jax' is unknown; known: numpy, torch"),
        ({"autoreset_mode": "Never"}, "Never"),
        ({"render_mode": "human"}, "render_mode 'human' is unknown; known: rgb_array"),
        ({"canvas": 0}, "canvas sides"),
    ],
)
def test_bad_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.parametrize("seed", [[1, 2], [0] * 4])
def test_wrong_number_of_seeds(seed: list[int]) -> None:
    with pytest.raises(ValueError, match="seeds for 3 paintings"):
        make().reset(seed=seed)


def test_frames() -> None:
    envs = make(render_mode="rgb_array", canvas=(5, 7))
    observation, _ = envs.reset(seed=0)
    frames = envs.render()
    assert frames is not None
    assert (np.stack(frames) == observation["canvas"].transpose(0, 2, 3, 1)).all()
    assert make().render() is None


def memory_in_use() -> tuple[int, int]:
    """Bytes of all tensors and of all arrays that are alive."""
    gc.collect()
    # isinstance would ask lazy objects for their class, and some of them warn.
    tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
    storages = {each.data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    traces = tracemalloc.take_snapshot().filter_traces([arrays]).traces
    return sum(storages.values()), sum(trace.size for trace in traces)


@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_memory_is_flat_over_time(output: str) -> None:
    envs = make(4, canvas=16, budget=6, autoreset_mode="SameStep", output=output)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    actions = envs.action_space.sample()
    envs.step(actions)  # compiles, which tracing would slow down a lot
    tracemalloc.start()
    try:
        in_use = []
        for _ in range(3):
            for _ in range(9):
                envs.step(actions)
            in_use.append(memory_in_use())
    finally:
        tracemalloc.stop()
    for kind in zip(*in_use, strict=True):
        # One observation of one painting, once in 9 steps, would be more.
        assert max(kind) - min(kind) < 1024 < min(kind)


def test_memory_is_linear_in_the_number_of_paintings() -> None:
    def state_bytes(num_envs: int) -> int:
        envs = make(num_envs, canvas=16)
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())
        kept = [each.untyped_storage().nbytes() for each in envs.state]
        return sum(kept) + sum(each.nbytes for each in envs._rounded.values())

    sizes = [state_bytes(number) for number in (1, 2, 4, 8)]
    assert sizes == [sizes[0] * number for number in (1, 2, 4, 8)]
