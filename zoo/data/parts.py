"""The annotated parts of CUB-200-2011: where they are in a picture, and what lies there.

    parts/parts.txt        part, name: back, beak, belly, ... (15)
    parts/part_locs.txt    picture, part, x, y, visible; in pixels of the original picture

A copy of the data set whose pictures are framed and resized already has a transform_256.csv with
the columns image_id, crop_x0, crop_y0, crop_x1, crop_y1, resized_w, resized_h, offset_x, offset_y;
it maps the parts to those pictures.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...backend.datasets import CubBird
from ...backend.files import input_file

TRANSFORM = "transform_256.csv"
MAX_LIST_BYTES = 16 * 2**20

GROUPS = {
    "beak": ("beak",),
    "crown": ("crown", "forehead"),
    "nape": ("nape",),
    "throat": ("throat",),
    "breast": ("breast",),
    "belly": ("belly",),
    "back": ("back",),
    "wings": ("left wing", "right wing"),
    "tail": ("tail",),
    "legs": ("left leg", "right leg"),
}
"""What captions speak of -> the annotated parts that show it."""

_HEAD = ("crown", "forehead", "nape", "left eye", "right eye")
_TRUNK = ("back", "belly", "breast", "left wing", "right wing")
_COLUMNS = (
    "crop_x0", "crop_y0", "crop_x1", "crop_y1", "resized_w", "resized_h", "offset_x", "offset_y",
)  # fmt: skip

# Radius of the patch that is looked at, by the extent of the bird.
_RADIUS = dict.fromkeys(_TRUNK, 0.03) | {"tail": 0.03} | dict.fromkeys(_HEAD, 0.022)
_RADIUS |= {"throat": 0.022, "beak": 0.012, "left leg": 0.012, "right leg": 0.012}
_LEAST_EXTENT, _LEAST_RADIUS = 40.0, 1.5  # pixels

Point = tuple[float, float]


class View(NamedTuple):
    """A picture and its visible parts.

    Attributes:
        path: the file.
        parts: name -> x, y in pixels of that file; may be outside where it was framed.
    """

    path: Path
    parts: dict[str, Point]


def read_views(root: Path, birds: Sequence[CubBird]) -> dict[int, View]:
    """Where the parts of birds are.

    Args:
        root: folder of the data set.
        birds: those of interest.

    Returns:
        Number of the picture -> what is visible in it; empty if the data set came without its
        parts.

    Raises:
        ValueError: a list or a line of it is malformed or too large (names it).
    """
    locations = root / "parts" / "part_locs.txt"
    if not locations.is_file():
        return {}
    names = dict[str, str]()
    for _, line in _lines(root / "parts" / "parts.txt"):
        number, _, name = line.partition(" ")
        names[number] = name.strip()
    place = _transform(root / TRANSFORM)
    views = {bird.number: View(bird.path, {}) for bird in birds}
    for count, line in _lines(locations):
        try:
            number, part, x, y, visible = line.split()
            view, name, point = views.get(int(number)), names[part], (float(x), float(y))
        except (ValueError, KeyError):
            raise ValueError(
                f"{locations}, line {count}: expected picture, part, x, y, visible; "
                f"got {line[:80]!r}"
            ) from None
        if view is None or visible != "1" or not all(map(math.isfinite, point)):
            continue
        if place is None:
            view.parts[name] = point
        elif int(number) in place:
            left, top, across, down = place[int(number)]
            view.parts[name] = ((point[0] - left) * across, (point[1] - top) * down)
    return views


def patches(picture: NDArray[np.uint8], view: View) -> dict[str, NDArray[np.uint8]]:
    """The pixels round the annotated parts.

    Annotators clicked on outlines as often as not, so points of the head and trunk are moved some
    way to its middle first. The size of a patch follows from the extent of the bird.

    Args:
        picture: (H, W, 3) uint8.
        view: of that picture.

    Returns:
        Name of a group -> (N, 3) uint8, N >= 1; groups that are not in the picture are absent.
    """
    height, width = picture.shape[:2]
    there = {
        part: np.array(point)
        for part, point in view.parts.items()
        if 0 <= point[0] < width and 0 <= point[1] < height
    }
    if not there:
        return {}
    spread = np.ptp(np.stack(list(there.values())), axis=0)
    extent = max(float(spread.max()), _LEAST_EXTENT)
    found = dict[str, NDArray[np.uint8]]()
    for group, members in GROUPS.items():
        discs = [
            _disc(picture, _inward(part, there), max(_RADIUS[part] * extent, _LEAST_RADIUS))
            for part in members
            if part in there
        ]
        if discs:
            found[group] = np.concatenate(discs)
    return found


def beak_length(view: View) -> float | None:
    """How long a beak looks: from its middle to the forehead, over crown to throat.

    Args:
        view: of a picture.

    Returns:
        The ratio; None where one of the four is not visible, or crown and throat coincide.
    """
    names = ("beak", "forehead", "crown", "throat")
    if any(name not in view.parts for name in names):
        return None
    beak, forehead, crown, throat = (view.parts[name] for name in names)
    head = math.dist(crown, throat)
    return math.dist(beak, forehead) / head if head >= 3 else None


def _inward(part: str, there: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Where to look for a part: off the outline of the bird."""
    point = there[part]
    if part in ("crown", "forehead", "nape"):
        return point + 0.15 * (_middle(_HEAD, there) - point)
    if part == "throat" and "breast" in there:
        return point + 0.3 * (there["breast"] - point)
    if part in ("back", "belly", "breast"):
        return point + 0.2 * (_middle(_TRUNK, there) - point)
    return point


def _middle(parts: Sequence[str], there: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = np.mean([there[part] for part in parts if part in there], axis=0)
    return middle


def _disc(
    picture: NDArray[np.uint8], centre: NDArray[np.float64], radius: float
) -> NDArray[np.uint8]:
    """(N, 3) pixels within a radius; N >= 1 for a centre inside the picture."""
    x, y = centre
    left, top = max(0, math.floor(x - radius)), max(0, math.floor(y - radius))
    patch = picture[top : math.ceil(y + radius) + 1, left : math.ceil(x + radius) + 1]
    rows, columns = np.ogrid[: patch.shape[0], : patch.shape[1]]
    chosen = patch[(rows + top - y) ** 2 + (columns + left - x) ** 2 <= radius**2]
    return chosen if len(chosen) else patch.reshape(-1, 3)


def _transform(file: Path) -> dict[int, tuple[float, float, float, float]] | None:
    """By picture: the origin of what is kept and the scale, across and down; None if absent."""
    if not file.is_file():
        return None
    result = dict[int, tuple[float, float, float, float]]()
    rows = csv.DictReader(line for _, line in _lines(file))
    for row in rows:
        try:
            x0, y0, x1, y1, wide, high, left, top = (float(row[column]) for column in _COLUMNS)
            across, down = wide / (x1 - x0), high / (y1 - y0)
            result[int(row["image_id"])] = (x0 + left / across, y0 + top / down, across, down)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            raise ValueError(
                f"{file}: expected image_id and {', '.join(_COLUMNS)}; got {str(row)[:200]}"
            ) from None
    return result


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a list that are not blank, with their numbers."""
    size = input_file(file).stat().st_size
    if size > MAX_LIST_BYTES:
        raise ValueError(f"{file}: {size} bytes, more than the limit of {MAX_LIST_BYTES}")
    lines = file.read_text("utf-8", "replace").splitlines()
    return [(count, line) for count, line in enumerate(lines, 1) if line.strip()]
