"""Oxford-102 (Nilsback and Zisserman 2008) in its official layout, captions of Reed et al. (2016).

    jpg/image_00001.jpg ... image_08189.jpg
    imagelabels.mat      labels (1, 8189): class of each picture, 1 to 102
    setid.mat            trnid, valid, tstid: numbers of the pictures of each part
    text_c10/class_00077/image_00001.txt

Its own split is by pictures: 1,020 + 1,020 to train and validate, 6,149 to test. Work on text to
image uses the split of Reed et al. by classes instead (82 to train on, 20 held out).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...backend.files import input_file
from . import reed
from .pictures import ABSENT, NO_CAPTIONS, Catalogue, Entry, is_there

NAME = "Oxford-102"
MAX_MAT_BYTES = 2**20
"""Of a .mat file; the official ones have 502 and 15,000 bytes."""
MAX_PICTURES = 1_000_000
PARTS = ("trnid", "valid", "tstid")


def is_here(root: Path) -> bool:
    """Whether a folder is laid out like this data set."""
    return (root / "jpg").is_dir() and (root / "imagelabels.mat").is_file()


def catalogue(root: Path, captions: Path | None = None, split: reed.Split = "images") -> Catalogue:
    """List the data set.

    Args:
        root: holds jpg/, imagelabels.mat and setid.mat.
        captions: where `reed.find` shall look; None = in `root` and beside it.
        split: "images" trains on trnid and valid and holds tstid out; "classes" as Reed et al.

    Returns:
        Its pictures that have captions; a class is called class_00001 to class_00102.

    Raises:
        ValueError: a list or the folder of captions is missing, malformed or too large.
    """
    folder = reed.find(root, captions)
    if folder is None:
        raise ValueError(
            f"{root}: no captions; put text_c10 of Reed et al. inside or beside it, or say where"
        )
    labels = _numbers(root / "imagelabels.mat", "labels")
    held_out = _held_out(root / "setid.mat", len(labels)) if split == "images" else {}
    classes = reed.classes(root, folder) if split == "classes" else None
    found = reed.index(folder)
    entries, used, skipped = list[Entry](), set[str](), dict[str, str]()
    for number, label in enumerate(labels, 1):
        name, species = f"image_{number:05d}", f"class_{label:05d}"
        file, key = root / "jpg" / f"{name}.jpg", f"{species}/{name}"
        if not is_there(file):
            skipped[str(file)] = ABSENT
            continue
        used.add(key)
        if key not in found:
            skipped[str(file)] = NO_CAPTIONS
            continue
        if classes is not None and species not in classes.train | classes.held_out:
            skipped[str(file)] = "class in neither part of the split"
            continue
        if classes is None and number not in held_out:
            skipped[str(file)] = "in no part of setid.mat"
            continue
        try:
            lines = reed.read(found[key])
        except ValueError as error:
            skipped[str(file)] = str(error)
            continue
        aside = held_out[number] if classes is None else species in classes.held_out
        entries.append(Entry(file, lines, species, aside))
    skipped.update(reed.orphans(found, used))
    return Catalogue(NAME, entries, skipped)


def _held_out(file: Path, count: int) -> dict[int, bool]:
    """Whether each picture is held out, by its number."""
    result = dict[int, bool]()
    for part in PARTS:
        for number in _numbers(file, part):
            if not 1 <= number <= count or number in result:
                raise ValueError(
                    f"{file}: {part} has picture {number} twice or beyond the {count} of "
                    "imagelabels.mat; fetch it again"
                )
            result[number] = part == "tstid"
    return result


def _numbers(file: Path, name: str) -> list[int]:
    """One variable of a MATLAB file: whole numbers >= 0."""
    from scipy.io import loadmat, whosmat

    size = input_file(file).stat().st_size
    if size > MAX_MAT_BYTES:
        raise ValueError(f"{file}: {size} bytes, more than the limit of {MAX_MAT_BYTES}")
    try:
        # The headers first: a small file can claim and unpack to a huge array.
        shapes = {variable: shape for variable, shape, _ in whosmat(file)}
        if name not in shapes:
            raise ValueError(f"no variable {name!r}")
        if not 0 < int(np.prod(shapes[name], dtype=np.float64)) <= MAX_PICTURES:
            raise ValueError(f"{name} has the shape {shapes[name]}")
        values: NDArray[np.generic] = loadmat(file, variable_names=[name])[name]
        if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
            raise ValueError(f"{name} are no numbers")
        real = values.astype(np.float64).ravel()
        if not (np.isfinite(real).all() and (real >= 0).all() and (real == np.rint(real)).all()):
            raise ValueError(f"{name} are not all whole numbers >= 0")
    except Exception as error:  # damaged files make SciPy raise nearly anything
        raise ValueError(f"{file}: not the MATLAB file expected ({error})") from error
    return [int(value) for value in real]
