"""AVWnet's configurations, and what its networks share (chapter 5).

B batch, T frames at 25 a second. A window holds the MFCC of one frame's sound, (28, 12) float32 as
they come out of the transform: rows are 10 ms apart, the frame's own time is after row 12.
Landmarks are 68 points in the stabilised crop as (136,) float32: x0, y0, x1, y1 and so on, as
shares of the crop's side, y down.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from .ldcgan_parts import COORDINATES
from .talking.geometry import TEMPLATE

SIDE = 128
"""Pixels a side of the frames; those of the coarse stage have half as many."""
LOUDNESS = 16.0
"""MFCC are divided by it: their usual size, so that networks see numbers about 1."""
MOVEMENT = 32.0
"""Landmarks' steps are multiplied by it: lips move by about 1/32 of the crop's side."""
MOST_WORDS = 1024
LONGEST_WORD = 40

Config = TypeVar("Config", bound="Limited")


# --- configurations ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Limited:
    """Numbers with largest values, as JSON and back.

    A file must not ask for networks beyond a few hundred MB, so every number has a limit.
    """

    most: ClassVar[Mapping[str, int]] = {}
    what: ClassVar[str] = "a network"

    def _check(self) -> None:
        """Raise ValueError for a number that is not whole or out of range (names it)."""
        for name, most in self.most.items():
            value = getattr(self, name)
            if not _whole(value, most):
                raise ValueError(f"{name} must be an integer from 1 to {most}, got {value!r:.40}")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_json(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """From JSON values.

        Args:
            values: fields by name.

        Returns:
            The configuration.

        Raises:
            ValueError: an unknown field (names it) or a bad value.
        """
        unknown = values.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown field {min(unknown)!r:.40} in the configuration of {cls.what}"
            )
        return cls(**values)


def _whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


@dataclass(frozen=True, kw_only=True)
class LipReaderConfig(Limited):
    """What decides a lip reader; the defaults are ResNet-34 (He et al. 2016) as in the thesis.

    Attributes:
        words: the classes in the order of the outputs, without repetition.
        width: channels of the first stage; the last has 8 times as many.
        blocks: residual blocks of the four stages.
        hidden: units of the LSTM in either direction.
    """

    words: tuple[str, ...]
    width: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    hidden: int = 256

    most: ClassVar[Mapping[str, int]] = {"width": 64, "hidden": 512}
    what: ClassVar[str] = "a lip reader"

    def __post_init__(self) -> None:
        self._check()
        words, blocks = self.words, self.blocks
        if not isinstance(words, (list, tuple)) or not 2 <= len(words) <= MOST_WORDS:
            raise ValueError(f"words must be 2 to {MOST_WORDS} texts")
        for word in words:
            if not isinstance(word, str) or not 1 <= len(word) <= LONGEST_WORD:
                raise ValueError(f"words must be short texts, got {word!r:.40}")
        if len(set(words)) != len(words):
            raise ValueError("words must not repeat")
        if not isinstance(blocks, (list, tuple)) or len(blocks) != 4:
            raise ValueError(f"blocks must be four numbers, got {blocks!r:.40}")
        if not all(_whole(count, 8) for count in blocks):
            raise ValueError(f"blocks must be four integers from 1 to 8, got {blocks!r:.40}")
        object.__setattr__(self, "words", tuple(words))
        object.__setattr__(self, "blocks", tuple(blocks))

    @classmethod
    def of(cls, name: str, words: Sequence[str], **more: Any) -> "LipReaderConfig":
        """A named size.

        Args:
            name: "thesis" or "small".
            words: the classes.
            more: fields to set otherwise.

        Returns:
            The configuration.

        Raises:
            ValueError: no such name, or a bad value.
        """
        sizes: dict[str, dict[str, Any]] = {
            "thesis": {},
            "small": {"width": 16, "blocks": (1, 1, 1, 1), "hidden": 96},
        }
        return cls(words=tuple(words), **{**_named(name, sizes, cls.what), **more})


@dataclass(frozen=True, kw_only=True)
class TalkingLandmarksConfig(Limited):
    """What decides the landmark predictor.

    Attributes:
        components: of the PCA (Chen et al. 2019 keep 6 of GRID and 20 of LRW).
        hidden: units of the LSTM.
        layers: of the LSTM.
    """

    components: int = 20
    hidden: int = 256
    layers: int = 1

    most: ClassVar[Mapping[str, int]] = {"components": COORDINATES, "hidden": 1024, "layers": 4}
    what: ClassVar[str] = "a landmark predictor"

    def __post_init__(self) -> None:
        self._check()


@dataclass(frozen=True, kw_only=True)
class AvwnetConfig(Limited):
    """What decides the networks of an AVWnet.

    Attributes:
        ni: N_i of Sec 5.4.1; the recurrent layer has 4 N_i channels.
        nd: N_d, channels of the discriminators' first layer.
        audio: channels of the first layer of the audio encoders; the fifth has 8 times as many.
        residual: the colours are what the colour layer adds to the example image instead of all
            of the picture (not in the thesis). Training then begins with the example's face, so
            that a mask has no reason to close; see `avwnet_layers.Heads`.
        landmarks: see `TalkingLandmarksConfig`.
        reader: see `LipReaderConfig`.
    """

    ni: int = 128
    nd: int = 64
    audio: int = 64
    residual: bool = False
    landmarks: TalkingLandmarksConfig = field(default_factory=TalkingLandmarksConfig)
    reader: LipReaderConfig

    most: ClassVar[Mapping[str, int]] = {"ni": 128, "nd": 64, "audio": 64}
    what: ClassVar[str] = "an AVWnet"

    def __post_init__(self) -> None:
        self._check()
        if self.ni % 4:
            raise ValueError(f"ni must be a multiple of 4, got {self.ni}")
        if not isinstance(self.residual, bool):
            raise ValueError(f"residual must be true or false, got {self.residual!r:.40}")
        if not isinstance(self.landmarks, TalkingLandmarksConfig):
            raise ValueError("landmarks must be the configuration of a landmark predictor")
        if not isinstance(self.reader, LipReaderConfig):
            raise ValueError("reader must be the configuration of a lip reader")

    @classmethod
    def of(cls, name: str, *, reader: LipReaderConfig, **more: Any) -> "AvwnetConfig":
        """A named size.

        Args:
            name: "thesis" or "small".
            reader: the lip reader that belongs to the model.
            more: fields to set otherwise.

        Returns:
            The configuration.

        Raises:
            ValueError: no such name, or a bad value.
        """
        sizes: dict[str, dict[str, Any]] = {
            "thesis": {},
            "small": {"ni": 32, "nd": 16, "audio": 16, "residual": True},
        }
        return cls(reader=reader, **{**_named(name, sizes, cls.what), **more})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "AvwnetConfig":
        """See `Limited.from_json`."""
        parts: dict[str, type[Limited]] = {
            "landmarks": TalkingLandmarksConfig,
            "reader": LipReaderConfig,
        }
        built: dict[str, Any] = {
            name: _part(parts[name], name, value) if name in parts else value
            for name, value in values.items()
        }
        unknown = values.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown field {min(unknown)!r:.40} in the configuration of an AVWnet"
            )
        if "reader" not in built:
            raise ValueError("reader is missing in the configuration of an AVWnet")
        return cls(**built)


def _named(name: str, sizes: Mapping[str, dict[str, Any]], what: str) -> dict[str, Any]:
    if name not in sizes:
        raise ValueError(f"unknown size {name!r:.40} of {what}; use {' or '.join(sizes)}")
    return sizes[name]


def _part(kind: type[Limited], name: str, values: object) -> Limited:
    if not isinstance(values, dict):
        raise ValueError(f"{name} must be an object in the configuration of an AVWnet")
    return kind.from_json(values)


def read_config(meta: Mapping[str, str], name: str, kind: type[Config]) -> Config:
    """The configuration in the texts of a file of weights.

    Args:
        meta: the texts.
        name: of the one that holds it as JSON.
        kind: of configuration.

    Returns:
        The configuration.

    Raises:
        ValueError: it is not there, or not one.
    """
    try:
        values: Any = json.loads(meta[name])
    except (KeyError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"not weights of {kind.what} of this package")
    try:
        return kind.from_json(values)
    except TypeError:
        raise ValueError(f"a field is missing in the configuration of {kind.what}") from None


class Shape(nn.Module):
    """Landmarks as networks take them: steps from the average face, about 1 in size.

    The crop is aligned to that face, so what is left is the person's shape and what the face does.
    """

    neutral: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("neutral", torch.from_numpy(TEMPLATE.ravel().copy()).float())

    def forward(self, landmarks: Tensor) -> Tensor:
        """(..., 136) to the same shape."""
        return (landmarks - self.neutral) * MOVEMENT

    def back(self, steps: Tensor) -> Tensor:
        """What `forward` was given, float32."""
        return self.neutral + steps.float() / MOVEMENT
