"""What decides a training of AVWnet, and what its step passes around."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ..avwnet_losses import Weights
from ..lipreader import READ

STAGES = ("coarse", "fine")
"""The two stages of the generator: frames of 64 and of 128 pixels."""
BEST = {"psnr_mouth": 1, "psnr": 1, "l1_mouth": -1, "l1": -1, "words": 1}
"""Held-out figures by which weights can be kept, and whether higher is better."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a training run; a resumed run must have the same.

    Attributes:
        steps: of G; D takes as many where a term needs it.
        batch: clips per step, over all processes.
        frames: T, consecutive frames of each (Sec 5.4.1: 16).
        rate: learning rate of Adam, of G and of D (Sec 5.4.1).
        decay: of the moving average of G, which is what is kept.
        weights: of the terms of the loss, see `avwnet_losses.Weights`.
        stages: that have losses of their own; the coarse one may be left to the fine one's.
        centred: share of the clips that are centred on a word, which the lip reader is asked about;
            the others begin anywhere.
        predicted: share of the clips whose landmarks are predicted from sound, as they are in use,
            and not the true ones, as in the thesis.
        judged: frames of each clip that the discriminators see, drawn anew each step; 0: all.
        apart: frames, at least, between a frame and the sound that does not match it; 0 takes the
            next frame's, as Eq 5.8 does.
        mirror: mirror half of the clips.
        tint: how much the colours of a clip are changed, see `clip_batches.tinted`, so that G looks
            for them in the example; 0 leaves them.
        best: held-out figure that decides which weights are kept, one of `BEST`.
        seed: of everything.
        precision: "bf16" or "fp32", of the networks' convolutions.
    """

    steps: int = 50_000
    batch: int = 4
    frames: int = READ
    rate: float = 2e-4
    decay: float = 0.999
    weights: Weights = field(default_factory=Weights)
    stages: tuple[str, ...] = STAGES
    centred: float = 0.5
    predicted: float = 0.0
    judged: int = 0
    apart: int = 7
    mirror: bool = True
    tint: float = 0.0
    best: str = "psnr_mouth"
    seed: int = 0
    precision: str = "bf16"

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch": 1, "frames": 2, "judged": 0, "apart": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} must be at least {value}, got {getattr(self, name)}")
        if self.judged > self.frames:
            raise ValueError(f"judged {self.judged} are more than the {self.frames} frames")
        if not 0 <= self.rate < math.inf:
            raise ValueError("rate must be finite and not negative")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}")
        for name in ("centred", "predicted", "tint"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.stages not in (STAGES, STAGES[:1], STAGES[1:]):
            raise ValueError(f"stages must be coarse, fine or both, got {self.stages!r:.40}")
        if self.best not in BEST:
            raise ValueError(f"best must be one of {', '.join(BEST)}, got {self.best!r:.40}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be bf16 or fp32, got {self.precision!r:.40}")


class Batch(NamedTuple):
    """What a process sees of a step; n clips of T frames.

    Attributes:
        example: I*, (n, 3, 128, 128) in [-1, 1], a frame of the same clip.
        example_landmarks: L*, (n, 136).
        frames: I, (n, T, 3, 128, 128) in [-1, 1].
        windows: A, (n, T, 28, 12).
        landmarks: L, (n, T, 136): the true ones.
        given: (n, T, 136), those that G is given: the true or the predicted ones.
        others: (n, T, 28, 12), sound that does not match the frames; empty where no term needs it.
        words: (n,) int64, what is said in the middle by the lip reader's numbers; -1 where it is
            not asked.
        asked: clips of all processes whose words are asked.
        seen: (n, j) int64, which frames the discriminators see.
    """

    example: Tensor
    example_landmarks: Tensor
    frames: Tensor
    windows: Tensor
    landmarks: Tensor
    given: Tensor
    others: Tensor
    words: Tensor
    asked: int
    seen: Tensor


class Stage(NamedTuple):
    """Frames of one stage; n clips.

    Attributes:
        name: "coarse" or "fine".
        made: (n, T, 3, S, S) in [-1, 1].
        colour: f_colour of Eq 5.5, the same shape.
        mask: f_gray, (n, T, 1, S, S).
        real: the true frames, as `made`.
    """

    name: str
    made: Tensor
    colour: Tensor
    mask: Tensor
    real: Tensor
