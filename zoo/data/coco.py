"""COCO captions (Lin et al. 2014, Chen et al. 2015) in the official layout.

    annotations/captions_train2014.json    images: id, file_name; annotations: image_id, caption
    annotations/captions_val2014.json
    train2014/COCO_train2014_000000000009.jpg
    val2014/

and the same for 2017. The folders of pictures may also lie in `images/`. The official validation
part is what is held out: 82,783 and 40,504 pictures for 2014, five captions each.
"""

from pathlib import Path
from typing import Any

from ...backend.files import read_json
from .pictures import ABSENT, NO_CAPTIONS, NO_IMAGE, Catalogue, Entry, inside, is_there

NAME = "COCO"
YEARS = ("2014", "2017")
MAX_JSON_BYTES = 512 * 2**20
"""Of one annotation file; captions_train2014.json has 64 MiB."""
MAX_CAPTION = 2000
"""Characters; longer captions are cut."""


def is_here(root: Path) -> bool:
    """Whether a folder is laid out like this data set."""
    return any(_annotations(root, part, year).is_file() for year in YEARS for part in _PARTS)


def catalogue(root: Path) -> Catalogue:
    """List the data set: that of 2014, the thesis's, or that of 2017 if it alone is there.

    It has no classes. Each picture is a class of its own, as in AttnGAN (Xu et al. 2018), so that
    no pair of pictures counts as of one class.

    Args:
        root: holds annotations/ and the folders of pictures.

    Returns:
        Its pictures that have captions.

    Raises:
        ValueError: an annotation file is missing, malformed or too large, or leads out of the
            data set.
    """
    year = next(
        year for year in YEARS if any(_annotations(root, part, year).is_file() for part in _PARTS)
    )
    entries, skipped = list[Entry](), dict[str, str]()
    for part in _PARTS:
        source = _annotations(root, part, year)
        if not source.is_file():
            skipped[str(source)] = "no such list"
            continue
        places = [root / f"{part}{year}", root / "images" / f"{part}{year}"]
        folder = next((place for place in places if place.is_dir()), places[0])
        names, captions = _read(source)
        for number, name in names.items():
            file = inside(folder, name, source)
            lines = captions.pop(number, None)
            if not is_there(file):
                skipped[str(file)] = ABSENT
            elif not lines:
                skipped[str(file)] = NO_CAPTIONS
            else:
                entries.append(Entry(file, tuple(lines), name, part == "val"))
        skipped.update({f"{source}: image {number}": NO_IMAGE for number in captions})
    return Catalogue(f"{NAME} {year}", entries, skipped)


_PARTS = ("train", "val")


def _annotations(root: Path, part: str, year: str) -> Path:
    return root / "annotations" / f"captions_{part}{year}.json"


def _read(source: Path) -> tuple[dict[int, str], dict[int, list[str]]]:
    """File names and captions by the number of the picture."""
    content = read_json(source, max_bytes=MAX_JSON_BYTES)
    names, captions = dict[int, str](), dict[int, list[str]]()
    for item in _rows(source, content, "images"):
        number, name = _field(source, item, "id", int), _field(source, item, "file_name", str)
        if number in names:
            raise ValueError(f"{source}: image {number} twice; fetch it again")
        names[number] = name
    for item in _rows(source, content, "annotations"):
        number, text = _field(source, item, "image_id", int), _field(source, item, "caption", str)
        line = " ".join(text[:MAX_CAPTION].split())
        if any(character.isalnum() for character in line):
            captions.setdefault(number, []).append(line)
    return names, captions


def _rows(source: Path, content: Any, name: str) -> list[Any]:
    rows = content.get(name) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"{source}: no list {name!r}; expected the captions of COCO")
    return rows


def _field(source: Path, item: Any, name: str, kind: type) -> Any:
    value = item.get(name) if isinstance(item, dict) else None
    if type(value) is not kind:
        raise ValueError(f"{source}: {name} is {str(value)[:80]!r}, expected {kind.__name__}")
    return value
