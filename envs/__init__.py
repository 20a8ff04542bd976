"""The painting environments and the ids they have in Gymnasium.

    import gymnasium as gym
    import neuralpaint

    env = gym.make("NeuralPaint-v0")
    envs = gym.make_vec("NeuralPaint-v0", num_envs=96)

The docstring of each environment class in `neural_paint` and `variants` is its specification.
"""

from collections.abc import Iterable
from typing import NamedTuple

import gymnasium as gym


class Registration(NamedTuple):
    """One environment id: the classes behind it and what it is, in a line."""

    id: str
    env: str
    vector: str
    summary: str


REGISTRATIONS = (
    Registration(
        id="NeuralPaint-v0",
        env="neuralpaint.envs.neural_paint:NeuralPaintEnv",
        vector="neuralpaint.envs.vector:NeuralPaintVectorEnv",
        summary="coloured translucent strokes on a black canvas, 400 strokes",
    ),
    Registration(
        id="NeuralPaintGray-v0",
        env="neuralpaint.envs.variants:NeuralPaintGrayEnv",
        vector="neuralpaint.envs.vector:NeuralPaintGrayVectorEnv",
        summary="one-channel pencil on white paper, 400 strokes",
    ),
    Registration(
        id="NeuralPaintOpaque-v0",
        env="neuralpaint.envs.variants:NeuralPaintOpaqueEnv",
        vector="neuralpaint.envs.vector:NeuralPaintOpaqueVectorEnv",
        summary="opaque strokes of one colour on white, for plotters and robots, 400 strokes",
    ),
    Registration(
        id="NeuralPaintL2-v0",
        env="neuralpaint.envs.variants:NeuralPaintL2Env",
        vector="neuralpaint.envs.vector:NeuralPaintL2VectorEnv",
        summary="the setting of Learning to Paint: black canvas, relative L2 reward, 200 strokes",
    ),
    Registration(
        id="NeuralPaintFaces-v0",
        env="neuralpaint.envs.variants:NeuralPaintFacesEnv",
        vector="neuralpaint.envs.vector:NeuralPaintFacesVectorEnv",
        summary="faces with masks and the attention-aware reward, 400 strokes",
    ),
    Registration(
        id="NeuralPaintBirds-v0",
        env="neuralpaint.envs.variants:NeuralPaintBirdsEnv",
        vector="neuralpaint.envs.vector:NeuralPaintBirdsVectorEnv",
        summary="birds with masks and the attention-aware reward, 400 strokes",
    ),
)


def register(registrations: Iterable[Registration]) -> None:
    """Make environment ids known to Gymnasium.

    Registering the very same entry again changes nothing.

    Args:
        registrations: the ids and their classes.

    Raises:
        ValueError: an id is already taken by another environment.
    """
    for entry in registrations:
        known = gym.registry.get(entry.id)
        if known is None:
            gym.register(entry.id, entry_point=entry.env, vector_entry_point=entry.vector)
        elif (known.entry_point, known.vector_entry_point) != (entry.env, entry.vector):
            raise ValueError(f"environment id {entry.id} is already taken by {known.entry_point}")


register(REGISTRATIONS)
