"""CUB-200-2011 (Wah et al. 2011) in its official layout, captions of Reed et al. (2016).

    images.txt, images/001.Black_footed_Albatross/...jpg, image_class_labels.txt, classes.txt,
    train_test_split.txt, bounding_boxes.txt, parts/parts.txt, parts/part_locs.txt
    text_c10/001.Black_footed_Albatross/...txt

Birds are framed as StackGAN and AttnGAN do. A copy of the data set whose pictures are framed
already has a transform_256.csv, which maps original pixels to them; they are taken whole.

Its own split is by pictures (5,994 to train on, 5,794 held out). Work on text to image uses the
split of Reed et al. by classes as well (150 to train on, 50 held out).
"""

from pathlib import Path
from typing import Literal

from ...backend import datasets
from ...backend.files import MediaError
from . import describe, reed
from .parts import TRANSFORM, read_views
from .pictures import ABSENT, NO_CAPTIONS, SIZES, Catalogue, Entry, Report, decode, is_there, quiet

NAME = "CUB-200-2011"

Describe = Literal["never", "missing", "all"]
"""Which pictures get captions written by a program: none, those without, all."""


def is_here(root: Path) -> bool:
    """Whether a folder is laid out like this data set."""
    return (root / "images.txt").is_file() and (root / "images").is_dir()


def catalogue(
    root: Path,
    captions: Path | None = None,
    split: reed.Split = "images",
    describing: Describe = "never",
    report: Report = quiet,
) -> Catalogue:
    """List the data set.

    Args:
        root: holds images.txt and what else the layout says.
        captions: where `reed.find` shall look; None = in `root` and beside it.
        split: "images" is the official train_test_split.txt; "classes" as Reed et al.
        describing: which pictures get captions from `describe`; the catalogue's name says so.
        report: called after each picture that is looked at to describe it.

    Returns:
        Its pictures that have captions.

    Raises:
        ValueError: a list or the folder of captions is missing, malformed or too large.
    """
    birds = datasets.cub(root)
    folder = None if describing == "all" else reed.find(root, captions)
    if folder is None and (describing == "never" or not (root / "parts").is_dir()):
        raise ValueError(
            f"{root}: no captions; put text_c10 of Reed et al. inside or beside it, say where, or "
            'have them written from parts/ (describing "missing" or "all")'
        )
    classes = reed.classes(root, folder or captions) if split == "classes" else None
    found = {} if folder is None else reed.index(folder)
    boxes = {bird.number: None if (root / TRANSFORM).is_file() else bird.box for bird in birds}
    people, used, skipped = dict[int, tuple[str, ...]](), set[str](), dict[str, str]()
    listed = list[datasets.CubBird]()
    for bird in birds:
        key = bird.path.relative_to(root / "images").with_suffix("").as_posix()
        if not is_there(bird.path):
            skipped[str(bird.path)] = ABSENT
            continue
        used.add(key)
        if classes is not None and bird.species not in classes.train | classes.held_out:
            skipped[str(bird.path)] = "class in neither part of the split"
            continue
        if key in found:
            try:
                people[bird.number] = reed.read(found[key])
            except ValueError as error:
                skipped[str(bird.path)] = str(error)
        elif describing == "never":
            skipped[str(bird.path)] = NO_CAPTIONS
        listed.append(bird)
    skipped.update(reed.orphans(found, used))
    written = dict[int, tuple[str, ...]]()
    if describing != "never" and len(people) < len(listed):
        # A bird is weighed against all of its species, those with captions too.
        lacking = {bird.species for bird in listed if bird.number not in people}
        asked = [bird for bird in listed if bird.species in lacking]
        written = describe.captions(asked, read_views(root, asked), report)
    entries = list[Entry]()
    for bird in listed:
        lines = people.get(bird.number) or written.get(bird.number)
        if lines:
            skipped.pop(str(bird.path), None)
            aside = not bird.train if classes is None else bird.species in classes.held_out
            entries.append(Entry(bird.path, lines, bird.species, aside, boxes[bird.number]))
        elif describing != "never" and str(bird.path) not in skipped:
            skipped[str(bird.path)] = _undescribed(bird)
    generated = sum(bird.number not in people for bird in listed if bird.number in written)
    return Catalogue(_name(len(entries), generated), entries, skipped, generated > 0)


def _undescribed(bird: datasets.CubBird) -> str:
    """Why there are no captions for a bird."""
    try:
        decode(bird.path, SIZES.start)
    except MediaError as error:
        return str(error)
    return f"{NO_CAPTIONS} (and too few visible parts to write any)"


def _name(count: int, generated: int) -> str:
    if not generated:
        return NAME
    some = "" if generated == count else f" for {generated} of {count} pictures"
    return f"{NAME}, generated captions{some}"
