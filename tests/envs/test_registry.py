"""The list of registered environments."""

import importlib

import gymnasium as gym
import pytest
from gymnasium.envs.registration import load_env_creator

from neuralpaint import envs
from neuralpaint.envs import REGISTRATIONS, Registration, register
from neuralpaint.envs.neural_paint import NeuralPaintEnv
from neuralpaint.envs.vector import NeuralPaintVectorEnv

SECTIONS = [
    "## Description",
    "## Action Space",
    "## Observation Space",
    "## Rewards",
    "## Starting State",
    "## Episode End",
    "## Arguments",
    "## Version History",
]


def test_ids_are_listed_once() -> None:
    ids = [entry.id for entry in REGISTRATIONS]
    assert len(ids) == len(set(ids)) == 6


def test_docstring_is_a_specification(env_id: str) -> None:
    spec = gym.spec(env_id)
    assert isinstance(spec.entry_point, str)
    doc = load_env_creator(spec.entry_point).__doc__
    assert doc is not None
    found = [line.strip() for line in doc.splitlines() if line.strip().startswith("## ")]
    assert found == SECTIONS


def test_single_and_vector_belong_together(env_id: str) -> None:
    single = gym.make(env_id, canvas=4)
    vector = gym.make_vec(env_id, num_envs=2, canvas=4)
    assert isinstance(single.unwrapped, NeuralPaintEnv)
    assert isinstance(vector, NeuralPaintVectorEnv)
    assert single.unwrapped.config == vector.config
    assert single.observation_space == vector.single_observation_space
    assert single.action_space == vector.single_action_space


def test_a_class_alone_equals_its_id(env_id: str) -> None:
    made = gym.make(env_id, canvas=4).unwrapped
    assert isinstance(made, NeuralPaintEnv)
    assert type(made)(canvas=4).config == made.config


def test_importing_twice_changes_nothing() -> None:
    before = dict(gym.registry)
    importlib.reload(envs)
    assert dict(gym.registry) == before


def test_a_taken_id_is_refused() -> None:
    thief = Registration("NeuralPaint-v0", "somewhere:Else", "somewhere:ElseVector", "another")
    with pytest.raises(ValueError, match="NeuralPaint-v0 is already taken by neuralpaint"):
        register([thief])


def test_an_id_twice_in_one_list_is_refused() -> None:
    first = Registration("Twice-v0", "a:A", "a:V", "one")
    try:
        with pytest.raises(ValueError, match="Twice-v0 is already taken by a:A"):
            register([first, first._replace(env="b:B")])
    finally:
        gym.registry.pop("Twice-v0", None)


def test_an_unknown_id_names_a_known_one() -> None:
    with pytest.raises(gym.error.NameNotFound, match="NeuralPaint"):
        gym.make("NeuralPain-v0")


def test_spec_makes_the_environment_again(env_id: str) -> None:
    env = gym.make(env_id, canvas=(6, 4), bundle=2, budget=9)
    assert env.spec is not None
    again = gym.make(env.spec)
    assert again.observation_space == env.observation_space
    assert again.action_space == env.action_space
    first, _ = env.reset(seed=3)
    second, _ = again.reset(seed=3)
    assert (first["target"] == second["target"]).all()


def test_module_prefix_registers() -> None:
    assert gym.make("neuralpaint:NeuralPaint-v0", canvas=4).spec is not None
