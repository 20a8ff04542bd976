"""The painting environments, one painting at a time. Their docstrings are the specification."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from .. import renderers
from ..backend import device
from . import painting, rewards, spaces, targets
from .window import Window

Observation = dict[str, Any]
"""Arrays by name."""

RENDER_MODES = ["human", "rgb_array"]
METADATA: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 20}


class Parts(NamedTuple):
    """What an environment is put together from."""

    config: painting.Config
    device: torch.device
    paint: renderers.Paint
    reward: rewards.Reward
    source: targets.Source


Subject = Literal["none", "object", "face"]


class Pictures(NamedTuple):
    """Where the targets come from.

    Attributes:
        chosen: see `targets.open_source`.
        subject: the kind of subject to find in each; "none" looks for none.
    """

    chosen: targets.Targets
    subject: Subject

    def replaced(self, chosen: targets.Targets | None, subject: Subject | None) -> "Pictures":
        """The same with what a user asks for.

        Args:
            chosen: None keeps those that are there.
            subject: None keeps the one that is there.

        Returns:
            New pictures.
        """
        return Pictures(
            self.chosen if chosen is None else chosen,
            self.subject if subject is None else subject,
        )


def prepare(preset: Mapping[str, Any], settings: Mapping[str, Any], pictures: Pictures) -> Parts:
    """Check all arguments of an environment and make its parts.

    Args:
        preset: what the kind of environment fixes.
        settings: what the user asks for; it has the last word.
        pictures: the target source.

    Returns:
        The parts.

    Raises:
        TypeError: an unknown argument, or one of the wrong type.
        ValueError: an argument out of range, or targets of which none is readable.
        FileNotFoundError: weights that the reward needs are not there.
    """
    config = painting.configure({**preset, **settings})
    where = device.resolve(config.device)
    paint = config.renderer
    if isinstance(paint, str):
        paint = renderers.get(paint, where)
    canvas = targets.Canvas(config.channels, *config.size)
    subject = None if pictures.subject == "none" else pictures.subject
    source = targets.open_source(pictures.chosen, canvas, subject)
    return Parts(config, where, paint, rewards.load(config.reward, where, paint), source)


def check_render_mode(mode: str | None, known: Sequence[str]) -> str | None:
    """Refuse a render mode that does not exist.

    Args:
        mode: what the user asks for.
        known: the modes that exist.

    Returns:
        The mode.

    Raises:
        ValueError: it is unknown.
    """
    if mode is not None and mode not in known:
        raise ValueError(f"render_mode {mode!r} is unknown; known: {', '.join(known)}")
    return mode


class NeuralPaintEnv(gym.Env[Observation, Any]):
    """Paint a picture with coloured, translucent Bézier strokes.

    ## Description

    The agent sees a canvas and a target picture and puts strokes on the canvas, a few at a time,
    so that it comes to look like the target (thesis Sec 6.3.2). A stroke is a quadratic Bézier
    curve Q(t) = (1-t)² P0 + 2(1-t)t P1 + t² P2 whose thickness and opacity change linearly from
    end to end (Eq 6.1, 6.2). Strokes are blended one over the other in the order of the action:
    C' = a_c + (1 - a_r) C. The canvas is kept in float32 and never rounded.

    ## Action Space

    `Box(0, 1, (bundle * 13,), float32)`: the strokes of a bundle one after the other. Origin is
    the top left corner, x runs to the right and y down.

    | number | field  | 0                   | 1                                               |
    |--------|--------|---------------------|-------------------------------------------------|
    | 0      | x0     | left edge           | right edge (start point P0)                     |
    | 1      | y0     | top edge            | bottom edge (start point P0)                    |
    | 2      | x1     | P1.x = P0.x         | P1.x = P2.x (middle point, between the ends)    |
    | 3      | y1     | P1.y = P0.y         | P1.y = P2.y (middle point, between the ends)    |
    | 4      | x2     | left edge           | right edge (end point P2)                       |
    | 5      | y2     | top edge            | bottom edge (end point P2)                      |
    | 6      | z0     | radius half a pixel | radius a quarter of the shorter side, at P0     |
    | 7      | v0     | invisible           | opaque, at P0                                   |
    | 8      | z1     | radius half a pixel | radius a quarter of the shorter side, at P2     |
    | 9      | v1     | invisible           | opaque, at P2                                   |
    | 10     | r      | no red              | full red                                        |
    | 11     | g      | no green            | full green                                      |
    | 12     | b      | no blue             | full blue                                       |

    Finite numbers outside [0, 1] count as the nearer of the two. An action with NaN or infinity,
    or of another shape, raises `ValueError` and changes nothing.

    For a range of [-1, 1], which Stable-Baselines3 recommends, wrap the environment in
    `gymnasium.wrappers.RescaleAction(env, -1, 1)`; the adapter in `neuralpaint.envs.sb3` has it.

    ## Observation Space

    A `Dict`, images with channels first:

    | key    | space                               | meaning                                      |
    |--------|-------------------------------------|----------------------------------------------|
    | canvas | `Box(0, 255, (3, H, W), uint8)`     | the canvas, rounded to the nearest level     |
    | target | `Box(0, 255, (3, H, W), uint8)`     | the picture to paint                         |
    | mask   | `Box(0, 255, (1, H, W), uint8)`     | where the target matters; 255 everywhere     |
    |        |                                     | unless the source of targets has masks       |
    | step   | `Box(0, 1, (1,), float32)`          | fraction of the steps that are left          |

    Images have 8 bits because image networks and replay memories of RL libraries expect them so.
    Only what is seen is rounded, not the canvas; `env.unwrapped.state` holds the float32 tensors.

    ## Rewards

    | name         | reward of a step                                                          |
    |--------------|---------------------------------------------------------------------------|
    | l2 (default) | drop of the mean squared distance between canvas and target               |
    | l1           | drop of the mean absolute distance                                        |
    | l1_clipped   | drop of the mean absolute distance, clipped at 0.5 per value (Eq 6.4)     |
    | psnr         | rise of the PSNR over 10 dB                                               |
    | relative_l2  | drop of the mean squared distance over that of the empty canvas           |
    | vgg          | drop of the mean squared distance of VGG features, layer 17               |
    | masked       | R_m: l1_clipped, weighed by the target's VGG features, plus vgg (Eq 6.5)  |
    | focus        | R_focus: strokes on the subject, as an attention module sees it (Eq 6.7)  |
    | full         | 2 R_m + R_focus (Eq 6.8)                                                  |

    Or a function `(before, after) -> (B,) tensor` of two `painting.State` batches, such as the
    objects of `neuralpaint.envs.rewards`: `Vgg`, `Masked`, `Focus` and `Full` with other networks
    or with terms left out, and `Wgan(discriminator)`. The names from "vgg" on use the networks that
    ship with the package.

    ## Starting State

    A canvas of one colour, black by default, and a target from the source: drawn with the seed of
    `reset`, or given as `reset(options={"target": ...})`: the number of a picture of the source,
    a path, an image (H, W, 3) of uint8 or floats in [0, 1], or an image and its mask.
    Pictures of another size are cropped to the canvas's aspect ratio and resized.

    ## Episode End

    Truncated when `budget` strokes are painted. If a bundle does not divide the budget, only the
    strokes that are left of the last action are painted. Terminated when the canvas is
    at least as similar to the target as `similarity` asks for, which is off by default. A step
    after the end raises `gymnasium.error.ResetNeeded`.

    `info` of `reset` and `step` holds l2 (mean squared distance to the target), psnr (the same in
    dB) and strokes (how many are painted).

    ## Arguments

    | name        | default      | meaning                                                       |
    |-------------|--------------|---------------------------------------------------------------|
    | canvas      | 128          | size in pixels, or (height, width)                            |
    | bundle      | 5            | strokes in one action, k in the thesis                        |
    | budget      | 400          | strokes in one episode                                        |
    | form        | "colour"     | "colour", "gray" or "opaque": the numbers a stroke has        |
    | colour      | (0, 0, 0)    | r, g, b of opaque strokes                                     |
    | background  | "black"      | "black", "white" or "mean", the mean colour of the target     |
    | renderer    | "bezier"     | "bezier" (exact), "neural" (its differentiable model), or a   |
    |             |              | function that paints as `renderers.get` describes             |
    | reward      | "l2"         | a name from the table above, or a function                    |
    | similarity  | None         | PSNR in dB at which the painting is good enough               |
    | targets     | "procedural" | random pictures; or a folder, a path, an array (H, W, 3) or   |
    |             |              | (N, H, W, 3), a list of paths, images or (image, mask) pairs, |
    |             |              | or a generator of such items; "procedural-faces" and          |
    |             |              | "procedural-birds" have masks                                 |
    | subject     | "none"       | "face" (a close-up) or "object": give every target a mask of  |
    |             |              | its subject, from its data set or cut out (needs OpenCV), and |
    |             |              | leave out pictures that have none                             |
    | device      | "cpu"        | "cpu", "cuda", "cuda:1" or "auto"                             |
    | render_mode | None         | "rgb_array" or "human" (a window; needs matplotlib)           |

    `env.unwrapped.source.skipped` names the files of a folder that are left out. On the CPU, equal
    seeds and actions give equal episodes, bit for bit.

    ## Version History

    - v0: first version.
    """

    metadata = METADATA
    preset: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """What differs from the defaults of `painting.Config`."""
    pictures: ClassVar[Pictures] = Pictures("procedural", "none")
    """The targets and the kind of subject, where no others are asked for."""

    def __init__(
        self,
        *,
        targets: targets.Targets | None = None,
        subject: Subject | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.config, self.device, self.paint, self.reward, self.source = prepare(
            self.preset, settings, self.pictures.replaced(targets, subject)
        )
        self.render_mode = check_render_mode(render_mode, RENDER_MODES)
        self.action_space = spaces.action_space(self.config)
        self.observation_space = spaces.observation_space(self.config)
        self._state: painting.State | None = None
        self._finished = False
        self._window = Window("NeuralPaint") if render_mode == "human" else None

    @property
    def state(self) -> painting.State:
        """The painting as a batch of one, in float32; read it, do not write to it."""
        if self._state is None:
            raise ResetNeeded("call reset() first: there is no painting yet")
        return self._state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a painting.

        Args:
            seed: of the target's draw; None goes on with the random numbers of before.
            options: {"target": ...}, see Starting State.

        Returns:
            Observation and info.

        Raises:
            ValueError: an option is unknown or the target unreadable.
            IndexError: the source has no target of that number.
        """
        super().reset(seed=seed)
        choice = spaces.parse_options(options, ("target",)).get("target")
        target = targets.choose(self.source, choice, self.np_random)
        self._state = painting.initial(*targets.stack([target], self.device), self.config)
        self._finished = False
        self._show()
        return self._observation(), self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Paint one bundle of strokes.

        Args:
            action: (bundle * F,) in [0, 1], see Action Space.

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ValueError: wrong shape, NaN or infinity; the painting is unchanged.
            ResetNeeded: the painting is finished, or none was begun.
        """
        state = self.state
        if self._finished:
            raise ResetNeeded("the painting is finished: call reset() to begin another")
        strokes = spaces.parse_action(action, (self.config.action_size,), self.device)
        with torch.no_grad():
            outcome = painting.step(state, strokes[None], self.config, self.paint, self.reward)
        terminated, truncated = bool(outcome.terminated), bool(outcome.truncated)
        self._state, self._finished = outcome.state, terminated or truncated
        self._show()
        reward = float(outcome.reward)
        return self._observation(), reward, terminated, truncated, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """The canvas as an (H, W, 3) RGB picture; None where it is shown in a window.

        Returns:
            The picture in render mode "rgb_array".
        """
        if self.render_mode == "rgb_array":
            frame: NDArray[np.uint8] = spaces.frames(self.state.canvas)[0]
            return frame
        if self.render_mode is None:
            gym.logger.warn("render() shows nothing without a render_mode: give one to gym.make()")
        return None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def _show(self) -> None:
        if self._window is not None:
            self._window.show(spaces.frames(self.state.canvas)[0])

    def _observation(self) -> Observation:
        batch = spaces.numpy_observation(painting.observation(self.state, self.config))
        return {name: values[0] for name, values in batch.items()}

    def _info(self) -> dict[str, Any]:
        l2 = float(self.state.distance)
        return {"l2": l2, "psnr": painting.psnr(l2), "strokes": int(self.state.strokes)}
