"""What goes in and out of the environments: spaces, and arrays that match them exactly."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .painting import Config


def action_space(config: Config) -> gym.spaces.Box:
    """The space of one action: K strokes of F numbers, one after the other.

    Args:
        config: bundle and form.

    Returns:
        Box [0, 1] of shape (K * F,), float32.
    """
    return gym.spaces.Box(0.0, 1.0, (config.action_size,), np.float32)


def observation_space(config: Config, rounded: bool = True) -> gym.spaces.Dict:
    """The space of one observation.

    Args:
        config: canvas size and channels.
        rounded: images in 8 bits, as `numpy_observation` gives them; else float32 in [0, 1], as
            `painting.observation` does.

    Returns:
        Dict of canvas and target (C, H, W), mask (1, H, W) and step (1,).
    """
    high, dtype = (255, np.uint8) if rounded else (1.0, np.float32)
    picture = (config.channels, *config.size)
    return gym.spaces.Dict(
        {
            "canvas": gym.spaces.Box(0, high, picture, dtype),
            "target": gym.spaces.Box(0, high, picture, dtype),
            "mask": gym.spaces.Box(0, high, (1, *config.size), dtype),
            "step": gym.spaces.Box(0.0, 1.0, (1,), np.float32),
        }
    )


def to_bytes(image: Tensor) -> NDArray[np.uint8]:
    """Round an image to 8 bits, to the nearest level.

    Args:
        image: (B, ...) float32 in [0, 1], on any device.

    Returns:
        A new array of the same shape.
    """
    if image.is_cuda:
        return (image * 255).add_(0.5).to(torch.uint8).cpu().numpy()
    # One image at a time: a batch-sized temporary costs more than the arithmetic.
    pictures = image.numpy()
    levels = np.empty(pictures.shape, dtype=np.uint8)
    buffer = np.empty(pictures.shape[1:], dtype=np.float32)
    for picture, rounded in zip(pictures, levels, strict=True):
        np.add(np.multiply(picture, 255, out=buffer), 0.5, out=buffer)
        np.copyto(rounded, buffer, casting="unsafe")
    return levels


def numpy_observation(
    observation: Mapping[str, Tensor], known: Mapping[str, NDArray[np.uint8]] | None = None
) -> dict[str, NDArray[Any]]:
    """An observation as Gymnasium wants it: arrays, images in 8 bits.

    Replay memories and image networks of RL libraries expect 8 bits, which take a quarter of the
    space. The canvas itself stays in float32 inside the environment, so nothing drifts.

    Args:
        observation: from `painting.observation`.
        known: images that were rounded before; they are copied.

    Returns:
        New arrays that match `observation_space`, with the batch axis in front.
    """
    known = known or {}
    images = {
        name: known[name].copy() if name in known else to_bytes(observation[name])
        for name in ("canvas", "target", "mask")
    }
    return {**images, "step": observation["step"].cpu().numpy()}


def frames(canvas: Tensor) -> NDArray[np.uint8]:
    """Canvases as pictures for the screen or a video.

    Args:
        canvas: (B, C, H, W) float32 in [0, 1]; one channel is shown as gray.

    Returns:
        (B, H, W, 3) RGB.
    """
    pixels = to_bytes(canvas).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], 3)))


def parse_options(options: dict[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """Refuse options of `reset` that mean nothing.

    Args:
        options: what the user gave.
        known: the names that mean something.

    Returns:
        A new dictionary.

    Raises:
        ValueError: an unknown name.
    """
    options = dict(options or {})
    unknown = ", ".join(sorted(map(str, set(options) - set(known))))
    if unknown:
        raise ValueError(f"unknown reset option {unknown}; known: {', '.join(known)}")
    return options


def parse_action(
    action: Any, shape: tuple[int, ...], device: torch.device, ignored: Tensor | None = None
) -> Tensor:
    """Check an action before anything is painted.

    Args:
        action: array, tensor or nested list of finite numbers.
        shape: the shape it must have.
        device: where it is needed.
        ignored: (B,) bool, rows of the action that nobody will look at; they come back as zeros.

    Returns:
        float32 tensor of that shape, numbers outside [0, 1] moved to the nearer of the two.

    Raises:
        ValueError: another shape, no numbers, or NaN or infinity among them.
    """
    if not isinstance(action, Tensor):
        array = np.asarray(action)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"an action must hold numbers, got {array.dtype}")
        action = torch.from_numpy(np.array(array, dtype=np.float64, order="C"))
    if tuple(action.shape) != shape:
        raise ValueError(f"an action must have shape {shape}, got {tuple(action.shape)}")
    if ignored is not None:
        action = action.masked_fill(ignored[:, None].to(action.device), 0)
    finite = torch.isfinite(action)
    if not finite.all():
        wrong = (~finite).nonzero()
        raise ValueError(
            f"{len(wrong)} of the action's numbers are NaN or infinite, the first at "
            f"{wrong[0].tolist()}; nothing was painted"
        )
    strokes: Tensor = action.detach().clamp(0, 1).to(device, torch.float32)
    return strokes
