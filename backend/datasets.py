"""Data sets in their official layouts: their files, what is known of them, a split.

| data set      | layout                                                                        |
|---------------|-------------------------------------------------------------------------------|
| UTKFace       | `<age>_<gender>_<race>_<date>.jpg` (Zhang et al. 2017)                        |
| CUB-200-2011  | `images.txt`, `images/<class>/<name>.jpg`, `segmentations/` (Wah et al. 2011) |
| CelebAMask-HQ | `CelebA-HQ-img/<n>.jpg`, `CelebAMask-HQ-mask-anno/` (Lee et al. 2020)         |
"""

import hashlib
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import files, media

HELD_OUT = 200
"""Pictures of each set that are never trained on."""
MAX_LIST_BYTES = 16 * 2**20
OLDEST = 130

_UTKFACE = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)\.")
_CELEBA_IMAGES, _CELEBA_MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
_CELEBA_FOLDER = 2000  # pictures whose masks share a folder


def image_files(path: str | os.PathLike[str]) -> list[Path]:
    """The pictures of a folder, at any depth, sorted by their paths.

    Hidden files are left out. Of a data set in its official layout only the folder of its pictures
    is looked into, not that of its masks. Whether a file is readable is not looked at.

    Args:
        path: a folder, or one file.

    Returns:
        At least one path.

    Raises:
        MediaError: there are no files in the folder.
    """
    root = Path(path)
    if not root.is_dir():
        return [root]
    inside = root
    if (root / "images.txt").is_file() and (root / "images").is_dir():
        inside = root / "images"
    elif (root / _CELEBA_IMAGES).is_dir():
        inside = root / _CELEBA_IMAGES
    found = [
        file
        for file in sorted(inside.rglob("*"))
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(inside).parts)
    ]
    if not found:
        raise media.MediaError(f"{inside}: no files in this folder")
    return found


def split(
    pictures: Iterable[str | os.PathLike[str]], held_out: int = HELD_OUT
) -> tuple[list[Path], list[Path]]:
    """Set pictures aside for the evaluation.

    The choice hangs on the hashes of the file names alone. So the same pictures are held out
    whatever the folder and the order, and a picture that is held out of the whole set is held out
    of every part of it. (Files of one name in several folders are told apart by their paths.)
    The tenth of a set that `features_train` holds out comes first, so that 200 faces of UTKFace
    that an agent never saw were not seen by its feature network either.

    Args:
        pictures: files; their order does not matter.
        held_out: how many to set aside.

    Returns:
        The pictures to train on and those held out, each sorted by path.

    Raises:
        ValueError: `held_out` is negative, or leaves nothing to train on.
    """
    paths = [Path(picture) for picture in pictures]
    if not 0 <= held_out < len(paths):
        raise ValueError(
            f"cannot hold out {held_out} of {len(paths)} pictures: give more or hold out fewer"
        )

    def rank(file: Path) -> tuple[int, bytes, str]:
        return tenth(file), hashlib.sha256(file.name.encode()).digest(), file.as_posix()

    ranked = sorted(paths, key=rank)
    return sorted(ranked[held_out:]), sorted(ranked[:held_out])


def tenth(file: Path) -> int:
    """Which tenth of a set a picture is in, by the checksum of its name; 0 is held out first."""
    return zlib.crc32(file.name.encode()) % 10


class UtkFace(NamedTuple):
    """What the name of a UTKFace file says.

    Attributes:
        path: the file.
        age: in years.
        gender: 0 male, 1 female, as the data set has it.
        race: 0 White, 1 Black, 2 Asian, 3 Indian, 4 others, as the data set has it.
        date: when the picture was collected, digits as they stand.
    """

    path: Path
    age: int
    gender: int
    race: int
    date: str


class UtkFaces(NamedTuple):
    """A folder of UTKFace files.

    Attributes:
        faces: those whose names can be read, sorted by path.
        misnamed: the others; the official set has a few whose name lacks a field.
    """

    faces: list[UtkFace]
    misnamed: list[Path]


def utkface(folder: str | os.PathLike[str]) -> UtkFaces:
    """List a folder of UTKFace files.

    Args:
        folder: holds them at any depth.

    Returns:
        The faces, and the files that are named otherwise.

    Raises:
        MediaError: no file in it is named like one of UTKFace.
    """
    faces, misnamed = [], []
    for path in image_files(folder):
        match = _UTKFACE.match(path.name)
        if match is None or int(match[1]) > OLDEST:
            misnamed.append(path)
        else:
            faces.append(UtkFace(path, int(match[1]), int(match[2]), int(match[3]), match[4]))
    if not faces:
        raise media.MediaError(
            f"{folder}: no file here is named <age>_<gender>_<race>_<date>, as those of UTKFace are"
        )
    return UtkFaces(faces, misnamed)


class CubBird(NamedTuple):
    """One picture of CUB-200-2011.

    Attributes:
        path: the file.
        number: its number in images.txt.
        label: number of the species, from 1.
        species: name of the species, as in classes.txt.
        train: in the official training part.
        box: x, y, width, height of the bird in pixels of the original picture.
    """

    path: Path
    number: int
    label: int
    species: str
    train: bool
    box: tuple[float, float, float, float]


def cub(folder: str | os.PathLike[str], train: bool | None = None) -> list[CubBird]:
    """List CUB-200-2011, or a part of it in the same layout.

    Args:
        folder: holds images.txt, image_class_labels.txt, classes.txt, train_test_split.txt,
            bounding_boxes.txt and images/.
        train: True or False for one part of the official split, None for both.

    Returns:
        The pictures of images.txt in the order of their numbers.

    Raises:
        ValueError: a list or a line of it is missing or malformed (names it).
    """
    root = Path(folder)
    images = _table(root / "images.txt", 1)
    labels = _table(root / "image_class_labels.txt", 1)
    species = _table(root / "classes.txt", 1)
    parts = _table(root / "train_test_split.txt", 1)
    boxes = _table(root / "bounding_boxes.txt", 4)
    birds = []
    for number, (name,) in sorted(images.items()):
        inner = PurePosixPath(name)
        if inner.is_absolute() or ".." in inner.parts:
            raise ValueError(f"{root / 'images.txt'}: {name} leads out of the data set")
        try:
            label, in_train = int(labels[number][0]), ("0", "1").index(parts[number][0]) == 1
            x, y, width, height = map(float, boxes[number])
            kind = species[label][0]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{root}: picture {number} has no valid entry in one of the lists ({error}); "
                "fetch the data set again"
            ) from error
        if train is None or in_train == train:
            path = root / "images" / inner
            birds.append(CubBird(path, number, label, kind, in_train, (x, y, width, height)))
    return birds


def known_mask(path: str | os.PathLike[str]) -> NDArray[np.float32] | None:
    """The mask that a data set brings along for one of its pictures.

    CUB-200-2011: what most annotators marked. CelebAMask-HQ: all parts of the person but the
    clothes.

    Args:
        path: the picture, inside the official layout.

    Returns:
        (h, w) float32 of 0 and 1, in the mask's own size; None if there is none.

    Raises:
        MediaError: there is one but it cannot be read.
    """
    picture = Path(path).absolute()
    above = picture.parents
    if len(above) > 2 and above[1].name == "images":
        file = above[2] / "segmentations" / above[0].name / f"{picture.stem}.png"
        if file.is_file():
            return _binary(file)
    if above[0].name == _CELEBA_IMAGES and picture.stem.isdecimal():
        number = int(picture.stem)
        folder = above[1] / _CELEBA_MASKS / str(number // _CELEBA_FOLDER)
        parts = [
            _binary(file)
            for file in sorted(folder.glob(f"{number:05d}_*.png"))
            if not file.stem.endswith("_cloth")
        ]
        if parts:
            union: NDArray[np.float32] = np.max(parts, axis=0)
            return union
    return None


def _binary(file: Path) -> NDArray[np.float32]:
    return (media.read_image(file)[:, :, 0] >= 0.5).astype(np.float32)


def _table(path: Path, columns: int) -> dict[int, list[str]]:
    """Lines of a number and `columns` words, by the number."""
    size = files.input_file(path).stat().st_size
    if size > MAX_LIST_BYTES:
        raise ValueError(f"{path}: {size} bytes, more than the limit of {MAX_LIST_BYTES}")
    table = {}
    for count, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if len(words) != columns + 1 or not words[0].isdecimal():
            raise ValueError(
                f"{path}, line {count}: expected a number and {columns} more; got {line[:80]!r}"
            )
        table[int(words[0])] = words[1:]
    return table
