"""Labelled pictures of UTKFace (Zhang et al. 2017) and CUB-200-2011 (Wah et al. 2011).

They serve to train a feature network, see `features_train`. Both data sets are for non-commercial
research, as their authors state.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..backend import datasets
from ..backend.files import MediaError
from . import targets

SIDE = 128
"""Pixels a side that pictures are kept at; 13,500 of them take 660 MB."""
TASKS = ("age", "gender", "race", "species")
AGES = 12
"""Age groups of ten years, the last one open."""
UNKNOWN = -1
"""In place of a label that a picture does not have."""


@dataclass(frozen=True)
class Entry:
    """One picture of a folder: its file, its labels by task, whether it is held out."""

    path: Path
    labels: dict[str, int]
    held_out: bool


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures.

    Attributes:
        images: (N, 3, `SIDE`, `SIDE`) uint8.
        labels: (N, 4) int64, one column per task of `TASKS`, `UNKNOWN` where a picture has none.
        held_out: (N,) bool.
        weights: (N,) float64, how often a picture is drawn: 0 for those held out, and a data set
            as a whole as the square root of its size, so that a small one is not drowned.
        classes: number of classes of each task that has any.
    """

    images: NDArray[np.uint8]
    labels: Tensor
    held_out: Tensor
    weights: Tensor
    classes: dict[str, int]

    @property
    def checksum(self) -> int:
        """Tells one set of pictures from another by their number, order, labels and split."""
        known = np.column_stack([self.labels.numpy(), self.held_out.numpy()])
        return zlib.crc32(np.ascontiguousarray(known).tobytes())


def faces(folder: Path) -> tuple[list[Entry], list[Path]]:
    """The faces of a folder in UTKFace's layout, one tenth held out, and files named otherwise.

    Raises:
        ValueError: no file in it is named like one of UTKFace.
    """
    found = datasets.utkface(folder)
    entries = [
        Entry(
            face.path,
            {"age": min(face.age // 10, AGES - 1), "gender": face.gender, "race": face.race},
            datasets.tenth(face.path) == 0,
        )
        for face in found.faces
    ]
    return entries, found.misnamed


def birds(folder: Path) -> list[Entry]:
    """The pictures of a folder in the official layout of CUB-200-2011, split as it says.

    Raises:
        ValueError: a list or a line of it is missing or malformed (names it).
    """
    return [
        Entry(bird.path, {"species": bird.label}, not bird.train) for bird in datasets.cub(folder)
    ]


def load(
    folders: Sequence[Path], report: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Pictures, dict[str, str]]:
    """Read and decode data folders, of either layout.

    Args:
        folders: each one in the layout of UTKFace or, where it holds an images.txt, of CUB.
        report: called after each picture with how many are done, of how many.

    Returns:
        The pictures, and why each file that was left out was.

    Raises:
        ValueError: no such folder, or none with a picture to train on and one held out.
    """
    sets, skipped = list[list[Entry]](), dict[str, str]()
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder; give those of UTKFace or CUB-200-2011")
        if (folder / "images.txt").exists():
            sets.append(birds(folder))
        else:
            entries, bad = faces(folder)
            sets.append(entries)
            skipped.update(dict.fromkeys(map(str, bad), "not named as UTKFace's files"))
    total = sum(len(entries) for entries in sets)
    images = np.empty((total, 3, SIDE, SIDE), np.uint8)
    kept, weights, done = list[Entry](), list[float](), 0
    for entries in sets:
        first = len(kept)
        for entry in entries:
            done += 1
            report(done, total)
            try:
                picture = targets.load(entry.path, targets.Canvas(3, SIDE, SIDE)).image
            except MediaError as error:
                skipped[str(entry.path)] = str(error)
                continue
            images[len(kept)] = np.rint(255 * picture)
            kept.append(entry)
        training = sum(not entry.held_out for entry in kept[first:])
        weights += [0.0 if entry.held_out else training**-0.5 for entry in kept[first:]]
    if not 0 < sum(entry.held_out for entry in kept) < len(kept):
        raise ValueError(
            f"{', '.join(map(str, folders))}: needs a picture to train on and one held out, "
            f"found {len(kept)} pictures and left {len(skipped)} files out"
        )
    # Species are numbered anew, since a part of the data set may lack some.
    species = sorted({entry.labels["species"] for entry in kept if "species" in entry.labels})
    labels = torch.full((len(kept), len(TASKS)), UNKNOWN)
    for row, entry in enumerate(kept):
        for task, label in entry.labels.items():
            number = species.index(label) if task == "species" else label
            labels[row, TASKS.index(task)] = number
    sizes = {"age": AGES, "gender": 2, "race": 5, "species": len(species)}
    classes = {
        task: sizes[task] for column, task in enumerate(TASKS) if labels[:, column].max() >= 0
    }
    held_out = torch.tensor([entry.held_out for entry in kept])
    chance = torch.tensor(weights, dtype=torch.float64)
    return Pictures(images[: len(kept)], labels, held_out, chance, classes), skipped


def crop(pictures: Pictures, index: Tensor, frame: Tensor, size: int) -> Tensor:
    """Cut crops out of pictures.

    Args:
        pictures: where from.
        index: (B,) which ones.
        frame: (B, 4) half width (negative mirrors), half height and centre (x, y), in a picture
            that reaches from -1 to 1.
        size: pixels a side of the result.

    Returns:
        (B, 3, size, size) float32 in [0, 1].
    """
    images = torch.from_numpy(pictures.images[index.numpy()]).float() / 255
    zero = torch.zeros(len(index))
    wide, high, x, y = frame.unbind(1)
    theta = torch.stack([wide, zero, x, zero, high, y], 1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, [len(index), 3, size, size], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
