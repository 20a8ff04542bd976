"""Captions in the layout of Reed et al. (2016): ten lines of text per picture.

    text_c10/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.txt     CUB-200-2011
    text_c10/class_00001/image_06734.txt                                       Oxford-102
    trainvalclasses.txt, testclasses.txt                                       split by classes

AttnGAN (Xu et al. 2018) ships the same files in a folder called `text`.
"""

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from ...backend.files import input_file
from .pictures import NO_IMAGE

MAX_CAPTION_BYTES = 64 * 2**10
"""Of one file; ten captions take about 800 bytes."""
MAX_FILES = 1_000_000
MAX_LIST_BYTES = 2**20

Split = Literal["images", "classes"]
"""The data set's own split by pictures, or that of Reed et al. by classes (zero-shot)."""

_NAMES = ("text_c10", "text")
_WORD = re.compile(r"\w")


def find(root: Path, given: Path | None = None) -> Path | None:
    """The folder of the captions: given, or inside or beside the data set.

    Args:
        root: folder of the data set.
        given: the folder, or the one that holds `text_c10`.

    Returns:
        The folder, or None if none is given and there is none.

    Raises:
        ValueError: `given` is no folder.
    """
    if given is not None and not given.is_dir():
        raise ValueError(f"{given}: no such folder of captions; check the path")
    places = [given] if given is not None else [root, root.absolute().parent]
    for place in places:
        for name in _NAMES:
            if (place / name).is_dir():
                return place / name
    return given


def index(folder: Path) -> dict[str, Path]:
    """The caption files of a folder.

    Args:
        folder: holds `<class>/<picture>.txt`.

    Returns:
        "<class>/<picture>" -> file, sorted.

    Raises:
        ValueError: more than `MAX_FILES`.
    """
    found = dict[str, Path]()
    with os.scandir(folder) as classes:
        names = sorted(entry.name for entry in classes if entry.is_dir())
    for name in names:
        if name.startswith("."):
            continue
        with os.scandir(folder / name) as inner:
            files = sorted(entry.name for entry in inner if entry.is_file())
        for file in files:
            if file.endswith(".txt") and not file.startswith("."):
                found[f"{name}/{file.removesuffix('.txt')}"] = folder / name / file
        if len(found) > MAX_FILES:
            raise ValueError(f"{folder}: more than {MAX_FILES} captions; give a folder of one set")
    return found


def read(file: Path) -> tuple[str, ...]:
    """The captions of one picture.

    Bytes that are no UTF-8 become spaces, as in AttnGAN; lines without a word are left out.

    Args:
        file: a caption a line.

    Returns:
        At least one caption, each with single spaces.

    Raises:
        ValueError: absent, empty, too large, or without a word (the text is a reason that does not
            repeat the path).
    """
    try:
        size = input_file(file).stat().st_size
    except ValueError as error:
        raise ValueError(f"unreadable captions ({error})") from error
    if size > MAX_CAPTION_BYTES:
        raise ValueError(f"captions too large ({size} bytes)")
    text = file.read_bytes().decode("utf-8", "replace").replace("\ufffd", " ")
    lines = tuple(" ".join(line.split()) for line in text.splitlines() if _WORD.search(line))
    if not lines:
        raise ValueError("captions without a word")
    return lines


def orphans(found: dict[str, Path], used: set[str]) -> dict[str, str]:
    """Caption files that belong to no listed picture, with the reason for `skipped`."""
    return {str(file): NO_IMAGE for key, file in found.items() if key not in used}


class Classes(NamedTuple):
    """The split by classes: names as those of the captions' folders."""

    train: frozenset[str]
    held_out: frozenset[str]


def classes(root: Path, captions: Path | None) -> Classes:
    """Read trainvalclasses.txt and testclasses.txt, which lie beside the captions.

    Args:
        root: folder of the data set.
        captions: folder of the captions.

    Returns:
        Names of the classes to train on and of those held out.

    Raises:
        ValueError: they are absent or too large, or a class is in both.
    """
    places = [root] if captions is None else [captions.absolute().parent, captions, root]
    for place in places:
        if (place / "testclasses.txt").is_file():
            train, held_out = (
                frozenset(_lines(place / name))
                for name in ("trainvalclasses.txt", "testclasses.txt")
            )
            if train & held_out:
                both = sorted(train & held_out)[0]
                raise ValueError(f"{place / 'testclasses.txt'}: {both} is to train on too")
            return Classes(train, held_out)
    raise ValueError(
        f"{places[0]}: no trainvalclasses.txt and testclasses.txt, which come with the captions of "
        "Reed et al.; choose the split by images"
    )


def _lines(file: Path) -> list[str]:
    size = input_file(file).stat().st_size
    if size > MAX_LIST_BYTES:
        raise ValueError(f"{file}: {size} bytes, more than the limit of {MAX_LIST_BYTES}")
    return file.read_text("utf-8", "replace").split()
