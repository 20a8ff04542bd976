"""The drawing: strokes, and what is needed to paint them again; the content of strokes.json.

    {
      "format": "neuralpaint-strokes",
      "version": 1,
      "canvas": {"height": 128, "width": 96, "background": [0.0, 0.0, 0.0]},
      "control": "relative",
      "seed": 0, "method": "optimise", "source": "photo.jpg", "extra": {},
      "columns": ["x0", "y0", ..., "b"],
      "strokes": [
        [0.25, 0.5, ...],
        ...
      ]
    }

One stroke a line, in the order of painting. Every number is the shortest decimal that gives the
same float32 back, so a saved drawing replays bit for bit.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..backend import files
from .stroke import CONTROLS, STROKE_FIELDS, STROKE_SIZE, Control

FORMAT = "neuralpaint-strokes"
VERSION = 1
MAX_STROKES = 100_000
MAX_FILE_BYTES = 2**25
MAX_SIDE = 16384
MAX_TEXT = 1000

_KEYS = (
    "format",
    "version",
    "canvas",
    "control",
    "seed",
    "method",
    "source",
    "extra",
    "columns",
    "strokes",
)
_CANVAS_KEYS = ("height", "width", "background")


@dataclass(frozen=True, eq=False)
class Drawing:
    """Strokes with the canvas they were painted on.

    Attributes:
        strokes: (N, 13) float32 in [0, 1], columns as in `stroke.STROKE_FIELDS`, first painted
            first; N may be 0. Copied, read-only.
        height: rows of the canvas it was painted on; thickness refers to it.
        width: columns of that canvas.
        background: r, g, b of the empty canvas, in [0, 1].
        control: how the middle control point is read, see `stroke`.
        seed: of the run, >= 0; None if there was none.
        method: what painted it.
        source: file name of the picture, without its folder, which is nobody's business.
        extra: further facts that JSON can say.

    Raises:
        ValueError: a field is out of its range; the text names it.
    """

    strokes: NDArray[np.float32]
    height: int
    width: int
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    control: Control = "relative"
    seed: int | None = None
    method: str = ""
    source: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strokes = np.array(self.strokes, dtype=np.float32)
        strokes.setflags(write=False)
        object.__setattr__(self, "strokes", strokes)
        _check_strokes(strokes)
        for name, side in (("height", self.height), ("width", self.width)):
            if not _is_int(side) or not 1 <= side <= MAX_SIDE:
                raise ValueError(f"{name}: {side!r:.40}; must be a whole number, 1 to {MAX_SIDE}")
        if len(self.background) != 3 or not all(_is_share(value) for value in self.background):
            raise ValueError(f"background: {self.background!r:.80}; must be 3 numbers in [0, 1]")
        r, g, b = (float(value) for value in self.background)
        object.__setattr__(self, "background", (r, g, b))
        if self.control not in CONTROLS:
            raise ValueError(f"control: {self.control!r:.40}; known: {', '.join(CONTROLS)}")
        if self.seed is not None and (not _is_int(self.seed) or not 0 <= self.seed < 2**64):
            raise ValueError(f"seed: {self.seed!r:.40}; must be a whole number from 0, or null")
        for name, text in (("method", self.method), ("source", self.source)):
            if not isinstance(text, str) or len(text) > MAX_TEXT:
                raise ValueError(f"{name}: must be text of at most {MAX_TEXT} characters")
        if "/" in self.source:
            raise ValueError(f"source: {self.source!r:.80}; must be a file name without a folder")
        if not isinstance(self.extra, Mapping):
            raise ValueError("extra: must be an object of names and values")

    def __len__(self) -> int:
        return len(self.strokes)

    def first(self, count: int) -> "Drawing":
        """The drawing as it was after `count` strokes.

        Args:
            count: 0 to the number of strokes.

        Returns:
            A drawing of the first `count` strokes, all else equal.

        Raises:
            ValueError: it has fewer strokes, or `count` is negative.
        """
        if not 0 <= count <= len(self):
            raise ValueError(f"first {count} strokes: ask for 0 to {len(self)}, which it has")
        return replace(self, strokes=self.strokes[:count])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write strokes.json atomically.

        Args:
            path: where to.

        Raises:
            ValueError: `extra` holds NaN, infinity or something JSON cannot say, or the file
                would be too large to be loaded again.
            OSError: the file cannot be written.
        """
        head = {
            "format": FORMAT,
            "version": VERSION,
            "canvas": {
                "height": self.height,
                "width": self.width,
                "background": list(self.background),
            },
            "control": self.control,
            "seed": self.seed,
            "method": self.method,
            "source": self.source,
            "extra": dict(self.extra),
            "columns": list(STROKE_FIELDS),
        }
        try:
            opening = json.dumps(head, indent=2, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"extra: JSON cannot say it ({error})") from error
        # str() of a float32 is its shortest decimal; through float() JSON keeps exactly that.
        rows = [f"    {json.dumps([float(str(x)) for x in row])}" for row in self.strokes]
        body = "[\n" + ",\n".join(rows) + "\n  ]" if rows else "[]"
        data = (opening.removesuffix("\n}") + f',\n  "strokes": {body}\n}}\n').encode()
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"{path}: more than {MAX_FILE_BYTES} bytes; shorten extra")
        files.write_bytes(path, data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Drawing":
        """Read strokes.json, trusting nothing in it.

        Args:
            path: the file.

        Returns:
            The drawing.

        Raises:
            ValueError: absent, too large, not JSON, another format, from a newer version, or a
                field missing, unknown or out of range; the text names file and field.
        """
        value = files.read_json(path, max_bytes=MAX_FILE_BYTES)
        try:
            return cls._from_json(value)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error

    @classmethod
    def _from_json(cls, value: Any) -> "Drawing":
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise ValueError(f'format: is not "{FORMAT}"; give a strokes.json of this program')
        version = value.get("version")
        if not _is_int(version) or version < 1:
            raise ValueError(f"version: {version!r:.40}; must be a whole number from 1")
        if version > VERSION:
            raise ValueError(
                f"version: {version} is newer than this program reads ({VERSION}); "
                "upgrade neuralpaint"
            )
        _check_keys(value, _KEYS, "")
        canvas = value["canvas"]
        if not isinstance(canvas, dict):
            raise ValueError("canvas: must be an object")
        _check_keys(canvas, _CANVAS_KEYS, "canvas.")
        background = canvas["background"]
        if not isinstance(background, list) or len(background) != 3:
            raise ValueError("canvas.background: must be a list of 3 numbers")
        if value["columns"] != list(STROKE_FIELDS):
            raise ValueError(f"columns: must be {', '.join(STROKE_FIELDS)}, in this order")
        if not isinstance(value["extra"], dict):
            raise ValueError("extra: must be an object")
        return cls(
            strokes=_parse_strokes(value["strokes"]),
            height=canvas["height"],
            width=canvas["width"],
            background=(background[0], background[1], background[2]),
            control=value["control"],
            seed=value["seed"],
            method=value["method"],
            source=value["source"],
            extra=value["extra"],
        )


def _check_strokes(strokes: NDArray[np.float32]) -> None:
    if strokes.ndim != 2 or strokes.shape[1] != STROKE_SIZE:
        raise ValueError(f"strokes: shape {strokes.shape}; must be (N, {STROKE_SIZE})")
    if len(strokes) > MAX_STROKES:
        raise ValueError(f"strokes: {len(strokes)}, more than the limit of {MAX_STROKES}")
    good = (strokes >= 0) & (strokes <= 1)  # false for NaN too
    if not good.all():
        row, column = np.argwhere(~good)[0]
        raise ValueError(
            f"strokes[{row}].{STROKE_FIELDS[column]}: {strokes[row, column]}; must lie in [0, 1]"
        )


def _parse_strokes(rows: Any) -> NDArray[np.float32]:
    if not isinstance(rows, list):
        raise ValueError("strokes: must be a list")
    if len(rows) > MAX_STROKES:
        raise ValueError(f"strokes: {len(rows)}, more than the limit of {MAX_STROKES}")
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != STROKE_SIZE:
            raise ValueError(f"strokes[{index}]: must be a list of {STROKE_SIZE} numbers")
        for name, number in zip(STROKE_FIELDS, row, strict=True):
            if not _is_share(number):
                raise ValueError(f"strokes[{index}].{name}: {number!r:.40}; must lie in [0, 1]")
    return np.array(rows, np.float32).reshape(-1, STROKE_SIZE)


def _check_keys(value: dict[str, Any], keys: tuple[str, ...], prefix: str) -> None:
    for key in keys:
        if key not in value:
            raise ValueError(f"{prefix}{key}: is missing")
    unknown = sorted(set(value) - set(keys))
    if unknown:
        raise ValueError(f"{prefix}{unknown[0]:.40}: is not a field of version {VERSION}")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: object) -> bool:
    """A number in [0, 1]; bool is not a number here."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        return False
    return bool(0 <= value <= 1)  # false for NaN too
