"""From the list of a data set to pictures in memory: decoded by threads, bounded, none lost unseen.

A reader of a data set (`cub`, `oxford`, `coco`) makes a `Catalogue`; `load` turns it into
`Captioned`. Nothing is decoded before the size of the result is known to fit.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ...backend.files import MediaError, input_file
from ...backend.media import MAX_PIXELS
from .captioned import Captioned

MAX_BYTES = 8 * 2**30
"""Pictures of a data set may take this much memory unless the caller raises the limit."""
SIZES = range(8, 1025)
"""Pixels a side that pictures can be kept at."""

Box = tuple[float, float, float, float]
Report = Callable[[int, int], None]

NO_CAPTIONS = "no captions"
NO_IMAGE = "captions without an image"
ABSENT = "no such image"
DAMAGED = "damaged image"

_FORMATS = ("JPEG", "PNG")  # a closed list: Pillow also opens formats that start other programs


class Entry(NamedTuple):
    """One picture that a data set lists.

    Attributes:
        path: the file.
        captions: at least one.
        species: name of its class.
        held_out: never trained on.
        box: x, y, width, height in its pixels to frame; None = the whole picture.
    """

    path: Path
    captions: tuple[str, ...]
    species: str
    held_out: bool
    box: Box | None = None


class Catalogue(NamedTuple):
    """What a data set lists, before anything is decoded.

    Attributes:
        name: of the data set; says so where captions are generated.
        entries: its pictures.
        skipped: file -> why it is left out.
        generated_captions: at least one caption was written by a program.
    """

    name: str
    entries: list[Entry]
    skipped: dict[str, str]
    generated_captions: bool = False


def quiet(done: int, total: int) -> None:
    """Report nothing: the default where a caller may ask for progress."""


def load(
    catalogue: Catalogue,
    size: int,
    *,
    max_bytes: int = MAX_BYTES,
    threads: int | None = None,
    report: Report = quiet,
) -> Captioned:
    """Decode a catalogue.

    Those to train on come first, so that each side of the split is one block of memory. Classes
    are numbered anew in the order of their names, since a part of a data set may lack some.

    Args:
        catalogue: what to read.
        size: pixels a side to keep, see `SIZES`.
        max_bytes: refuse more than this, before decoding.
        threads: that decode at once; as many as processors, up to 8, if None.
        report: called after each picture with how many are done, of how many.

    Returns:
        The pictures that could be read; the others are named in `skipped`.

    Raises:
        ValueError: a size out of range, too much memory, or no picture left.
    """
    if size not in SIZES:
        raise ValueError(f"size {size}: expected {SIZES.start} to {SIZES.stop - 1} pixels a side")
    skipped = dict(catalogue.skipped)
    entries = sorted(catalogue.entries, key=lambda entry: entry.held_out)
    need = len(entries) * 3 * size * size
    if need > max_bytes:
        raise ValueError(
            f"{catalogue.name}: {len(entries)} pictures of {size}x{size} take "
            f"{need / 2**30:.2f} GiB of memory, more than the {max_bytes / 2**30:.2f} GiB allowed; "
            "choose a smaller size or raise the limit"
        )
    images = np.empty((len(entries), 3, size, size), np.uint8)

    def read(row: int, entry: Entry) -> str | None:
        try:
            images[row] = decode(entry.path, size, entry.box).transpose(2, 0, 1)
        except MediaError as error:
            return str(error)
        return None

    failed = dict[int, str]()
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        rows = {pool.submit(read, row, entry): row for row, entry in enumerate(entries)}
        try:
            for done, future in enumerate(as_completed(rows), 1):
                reason = future.result()
                if reason is not None:
                    failed[rows[future]] = reason
                report(done, len(entries))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for row, reason in sorted(failed.items()):
        skipped[str(entries[row].path)] = reason
    kept = [row for row in range(len(entries)) if row not in failed]
    if not kept:
        raise ValueError(f"{catalogue.name}: no picture left ({summary(skipped) or 'none listed'})")
    if failed:  # close the gaps in place: a copy would need the memory twice
        for to, row in enumerate(kept):
            images[to] = images[row]
        entries = [entries[row] for row in kept]
    species = sorted({entry.species for entry in entries})
    number = {name: label for label, name in enumerate(species)}
    return Captioned(
        name=catalogue.name,
        images=torch.from_numpy(images[: len(entries)]),
        captions=tuple(entry.captions for entry in entries),
        labels=torch.tensor([number[entry.species] for entry in entries]),
        held_out=torch.tensor([entry.held_out for entry in entries]),
        species=tuple(species),
        generated_captions=catalogue.generated_captions,
        skipped=skipped,
    )


def decode(path: Path, size: int, box: Box | None = None) -> NDArray[np.uint8]:
    """Read one picture and frame it: the largest centred square of what `box` leaves of it.

    JPEGs are decoded at the smallest scale of 1, 1/2, 1/4 and 1/8 that still has enough pixels.

    Args:
        path: a JPEG or PNG.
        size: pixels a side of the result.
        box: x, y, width, height to frame, see `surrounding`; None = the whole picture.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        MediaError: absent, damaged, too large, or the box is outside (the text is the reason and
            does not repeat the path).
    """
    with _opened(path) as image:
        width, height = image.size
        left, top, side = square(width, height, box)
        wanted = size / side
        image.draft("RGB", (math.ceil(width * wanted), math.ceil(height * wanted)))
        x, y = image.width / width, image.height / height
        region = (left * x, top * y, (left + side) * x, (top + side) * y)
        kept = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=region)
    return np.asarray(kept)


def original(path: Path) -> NDArray[np.uint8]:
    """Read one picture in its own size.

    Args:
        path: a JPEG or PNG.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        MediaError: see `decode`.
    """
    with _opened(path) as image:
        return np.asarray(image.convert("RGB"))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image of which the header is read; whatever goes wrong with it is a `MediaError`."""
    try:
        file = input_file(path)
    except ValueError as error:
        raise MediaError(f"{DAMAGED} ({error})" if path.exists() else ABSENT) from error
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise MediaError(f"image too large ({image.width}x{image.height})")
            yield image
    except MediaError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise MediaError(f"{DAMAGED} ({error})") from error


def square(width: int, height: int, box: Box | None = None) -> tuple[int, int, int]:
    """The part of a picture that is kept.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        box: x, y, width, height to frame; None = the whole picture.

    Returns:
        Left, top and side of a square inside the picture.

    Raises:
        MediaError: nothing of the box is inside the picture.
    """
    left, top, right, bottom = surrounding(width, height, box) if box else (0, 0, width, height)
    side = min(right - left, bottom - top)
    if side < 1:
        raise MediaError(f"bounding box {box} outside the image ({width}x{height})")
    return left + (right - left - side) // 2, top + (bottom - top - side) // 2, side


def surrounding(width: int, height: int, box: Box) -> tuple[int, int, int, int]:
    """What StackGAN (Zhang et al. 2017) and AttnGAN (Xu et al. 2018) cut out round a bird.

    A square about the centre of the box with half a side of 0.75 times the longer side of the box,
    rounded down, and of that what is inside the picture: so the bird fills at least three quarters.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        box: x, y, width, height of the bird.

    Returns:
        Left, top, right and bottom, pixels.
    """
    x, y, wide, high = box
    reach = int(0.75 * max(wide, high))
    centre_x, centre_y = int(x + wide / 2), int(y + high / 2)
    return (
        max(0, centre_x - reach),
        max(0, centre_y - reach),
        min(width, centre_x + reach),
        min(height, centre_y + reach),
    )


def is_there(path: Path) -> bool:
    """Whether a path is a file; False too where it cannot be one, as with a name too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def inside(root: Path, name: str, source: Path) -> Path:
    """A file that a list names, refused where the name leads out of its folder.

    Args:
        root: the folder.
        name: what the list says, with forward slashes.
        source: the list, for the error.

    Returns:
        The path; whether it exists is not looked at.

    Raises:
        ValueError: an absolute name, or one with `..`.
    """
    inner = PurePosixPath(name)
    if not name or inner.is_absolute() or ".." in inner.parts or "\\" in name or "\0" in name:
        raise ValueError(f"{source}: {name[:80]!r} leads out of the data set")
    return root / inner


def summary(skipped: dict[str, str]) -> str:
    """Count the reasons why files were left out, the most frequent first.

    Args:
        skipped: file -> reason; what stands in brackets is detail.

    Returns:
        As "2346 × no captions, 1 × damaged image"; empty if nothing was skipped.
    """
    counts = Counter(reason.split(" (")[0] for reason in skipped.values())
    return ", ".join(f"{count} × {reason}" for reason, count in counts.most_common())
