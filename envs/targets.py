"""Where target pictures come from: procedural, files, arrays or a stream.

Every source hands out pictures that fit the canvas. A picture of another shape is cropped around
its centre to the canvas's aspect ratio, then resized, so that nothing is distorted.

A source may be asked for subjects: then every target has a mask of its subject, from the data set,
from the drawing, or cut out by `subjects`, and pictures in which none is found are left out.
"""

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backend import datasets, media
from . import procedural, procedural_subjects, subjects

Array = NDArray[np.float32]
Item = str | Path | NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]
"""A file, an image, or an image with its mask."""
Targets = str | Path | NDArray[Any] | Iterable[Item]

CACHE_BYTES = 256 * 2**20
CHECKED_BYTES = 16 * 2**20
CHECKED_SUBJECTS = 8
"""Pictures whose subjects are looked for at once; each takes about a tenth of a second."""
LARGEST_PROCEDURAL = 1024
"""Larger procedural pictures are enlarged from this size, which takes a tenth of the time."""
DRAWINGS = {
    "procedural-faces": procedural_subjects.face,
    "procedural-birds": procedural_subjects.bird,
}
"""Procedural pictures that have a subject."""
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Rec. 601 weights of red, green and blue."""


class NoSubjectError(media.MediaError):
    """A picture in which no subject was found."""


class Target(NamedTuple):
    """One picture to paint.

    Attributes:
        image: (C, H, W) float32 in [0, 1].
        mask: (1, H, W) float32 in [0, 1], 1 where the picture matters; ones if none is known.
    """

    image: Array
    mask: Array

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take."""
        return self.image.nbytes + self.mask.nbytes


class Canvas(NamedTuple):
    """The shape that targets are made to fit."""

    channels: int
    height: int
    width: int


class Source(Protocol):
    """A supply of targets.

    Attributes:
        canvas: what its targets fit.
        subject: the kind of subject that is looked for where a mask is not known; None: ones.
        skipped: why each picture was left out that was met so far and is unreadable, or has no
            subject though one is asked for, by its path.
    """

    canvas: Canvas
    subject: subjects.Kind | None
    skipped: dict[str, str]

    def draw(self, rng: np.random.Generator) -> Target:
        """The next target, chosen by `rng` alone."""

    def pick(self, index: int) -> Target:
        """Target number `index`."""


class Procedural:
    """Endless random pictures; number n is the same picture on every run.

    Args:
        canvas: what they fit.
        kind: "procedural", see `procedural`, or a name of `DRAWINGS`, which come with masks.
        subject: the kind of subject in pictures that are given by hand.

    Raises:
        MediaError: subjects are asked for, and this kind has none.
    """

    def __init__(
        self, canvas: Canvas, kind: str = "procedural", subject: subjects.Kind | None = None
    ) -> None:
        if subject is not None and kind not in DRAWINGS:
            known = ", ".join(DRAWINGS)
            raise media.MediaError(f'"{kind}" pictures have no subjects; take one of {known}')
        self.canvas = canvas
        self.kind = kind
        self.subject = subject
        self.skipped: dict[str, str] = {}

    def draw(self, rng: np.random.Generator) -> Target:
        """A random picture."""
        _, height, width = self.canvas
        scale = min(1.0, LARGEST_PROCEDURAL / max(height, width))
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        if self.kind not in DRAWINGS:
            return fit(procedural.picture(rng, rows, columns), None, self.canvas)
        image, mask = DRAWINGS[self.kind](rng, rows, columns)
        return fit(image, mask, self.canvas)

    def pick(self, index: int) -> Target:
        """Random picture number `index`, at least 0."""
        if index < 0:
            raise IndexError(f"target {index}: procedural pictures are numbered from 0")
        return self.draw(np.random.default_rng(index))


class Images:
    """A list of pictures and files, drawn uniformly.

    Pictures are kept, fitted to the canvas, in a bounded cache. The first of them are read at
    once, `CHECKED_BYTES` in all, the others when they are drawn. Files that turn out to be
    unreadable, or have no subject though one is asked for, are counted and named in a warning and
    listed in `skipped`; where one is drawn, the next in the list takes its place, so that a seed
    means the same pictures on every run.

    Args:
        items: the pictures.
        canvas: what they are made to fit.
        subject: the kind of subject to look for; None looks for none.

    Raises:
        MediaError: a file does not exist, or no picture is readable and has a subject.
    """

    def __init__(
        self, items: Sequence[Item], canvas: Canvas, subject: subjects.Kind | None = None
    ) -> None:
        if not items:
            raise media.MediaError("the list of target images is empty")
        for item in items:
            if isinstance(item, str | Path) and not Path(item).exists():
                raise media.MediaError(f"{item}: no such file; check the name")
        self.items = items
        self.canvas = canvas
        self.subject = subject
        self.skipped: dict[str, str] = {}
        self._unreadable: set[int] = set()
        self._cache: OrderedDict[int, Target] = OrderedDict()
        self._cached_bytes = 0
        first = self._first()
        if self._try(first) is None:
            self._try(range(len(first), len(items)), until_found=True)
        if len(self._unreadable) == len(self.items):
            raise self._nothing_left()

    def __len__(self) -> int:
        return len(self.items)

    def draw(self, rng: np.random.Generator) -> Target:
        """A random picture of the list."""
        first = int(rng.integers(len(self.items)))
        for offset in range(len(self.items)):
            index = (first + offset) % len(self.items)
            if index not in self._unreadable:
                target = self._try([index])
                if target is not None:
                    return target
        raise self._nothing_left()

    def pick(self, index: int) -> Target:
        """Picture number `index` of the list."""
        if not 0 <= index < len(self.items):
            raise IndexError(f"target {index} does not exist: there are {len(self.items)}")
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        target = load(self.items[index], self.canvas, self.subject)
        self._cache[index] = target
        self._cached_bytes += target.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return target

    def _try(self, indices: Iterable[int], until_found: bool = False) -> Target | None:
        """Read pictures, all or up to a good one; warn once of those that have to be left out."""
        target = None
        bad: dict[str, str] = {}
        for index in indices:
            try:
                target = self.pick(index)
            except media.MediaError as error:
                item = self.items[index]
                if isinstance(item, str | Path):
                    name = str(item)
                elif isinstance(error, NoSubjectError):
                    name = f"image {index}"
                else:
                    raise
                bad[name] = str(error) if isinstance(item, str | Path) else f"{name}: {error}"
                self._unreadable.add(index)
            else:
                if until_found:
                    break
        if bad:
            self.skipped.update(bad)
            warnings.warn(
                f"skipped {len(self.skipped)} of {len(self.items)} target images: "
                + "; ".join(bad.values()),
                stacklevel=2,
            )
        return target

    def _first(self) -> list[int]:
        """The pictures that are read at once."""
        room = CHECKED_BYTES
        indices = []
        most = len(self.items) if self.subject is None else CHECKED_SUBJECTS
        for index, item in enumerate(self.items[:most]):
            if isinstance(item, str | Path):
                room -= Path(item).stat().st_size
            elif isinstance(item, np.ndarray):
                room -= item.nbytes
            if room < 0:
                break
            indices.append(index)
        return indices

    def _nothing_left(self) -> media.MediaError:
        wanted = "" if self.subject is None else " and has a subject"
        last = list(self.skipped.values())[-1]
        return media.MediaError(f"no target image is readable{wanted}; the last: {last}")


class Stream:
    """Pictures in the order in which a generator yields them; seeds have no say in it.

    Those that have no subject, though one is asked for, are left out with a warning.

    Args:
        items: the pictures.
        canvas: what they are made to fit.
        subject: the kind of subject to look for; None looks for none.
    """

    def __init__(
        self, items: Iterator[Item], canvas: Canvas, subject: subjects.Kind | None = None
    ) -> None:
        self.items = items
        self.canvas = canvas
        self.subject = subject
        self.skipped: dict[str, str] = {}
        self._taken = 0

    def draw(self, rng: np.random.Generator) -> Target:
        """The next picture."""
        for item in self.items:
            self._taken += 1
            try:
                return load(item, self.canvas, self.subject)
            except NoSubjectError as error:
                name = f"picture {self._taken}"
                self.skipped[name] = str(error)
                warnings.warn(
                    f"skipped {len(self.skipped)} of {self._taken} target images: {name}: {error}",
                    stacklevel=2,
                )
        raise ValueError(f"the targets ran out after {self._taken} pictures")

    def pick(self, index: int) -> Target:
        """Not possible."""
        raise IndexError(f"target {index}: a generator's pictures have no numbers")


def open_source(targets: Targets, canvas: Canvas, subject: subjects.Kind | None = None) -> Source:
    """Find out what kind of source the user gave.

    Args:
        targets: "procedural", "procedural-faces" or "procedural-birds"; the path of an image or of
            a folder, whose images are found at any depth; one image (H, W) or (H, W, 3) or many
            (N, H, W, 3), uint8 or floats in [0, 1]; a list of paths, images and (image, mask)
            pairs; or a generator of such items.
        canvas: what the pictures must fit.
        subject: "face" or "object": every target gets a mask of its subject, see `load`. None: the
            masks are ones where none is given.

    Returns:
        The source.

    Raises:
        MediaError: nothing was found that is readable and, if one is asked for, has a subject.
        TypeError: none of these kinds.
        ValueError: an unknown kind of subject.
    """
    if subject is not None and subject not in subjects.KINDS:
        known = ", ".join(subjects.KINDS)
        raise ValueError(f"subject {subject!r} is unknown; known: {known}")
    if isinstance(targets, str | Path):
        if targets == "procedural" or targets in DRAWINGS:
            return Procedural(canvas, str(targets), subject)
        if not Path(targets).exists():
            known = ", ".join(f'"{name}"' for name in ("procedural", *DRAWINGS))
            raise media.MediaError(f"{targets}: no such file or folder, nor one of {known}")
        return Images(datasets.image_files(targets), canvas, subject)
    if isinstance(targets, np.ndarray):
        return Images(list(targets) if targets.ndim == 4 else [targets], canvas, subject)
    if isinstance(targets, Sequence):
        return Images(targets, canvas, subject)
    if isinstance(targets, Iterable):
        return Stream(iter(targets), canvas, subject)
    raise TypeError(f"targets must be a path, images or an iterable, got {type(targets).__name__}")


def choose(source: Source, choice: int | Item | None, rng: np.random.Generator) -> Target:
    """The target of one episode.

    Args:
        source: where it comes from unless a picture is given.
        choice: None draws one, a whole number picks that one of the source, anything else is a
            path, an image, or an image and its mask.
        rng: what is drawn with.

    Returns:
        The target.

    Raises:
        MediaError: it cannot be read.
        IndexError: there is no such number.
    """
    if choice is None:
        return source.draw(rng)
    if isinstance(choice, int | np.integer):
        return source.pick(int(choice))
    return load(choice, source.canvas, source.subject)


def stack(targets: Sequence[Target], device: torch.device) -> tuple[Tensor, Tensor]:
    """Bring targets together in a batch.

    Args:
        targets: B of them.
        device: where to.

    Returns:
        New tensors: images (B, C, H, W) and masks (B, 1, H, W), float32.
    """
    images = torch.from_numpy(np.stack([target.image for target in targets]))
    masks = torch.from_numpy(np.stack([target.mask for target in targets]))
    return images.to(device), masks.to(device)


def load(item: Item, canvas: Canvas, subject: subjects.Kind | None = None) -> Target:
    """Read one picture and make it fit.

    Args:
        item: a path, an image, or an image and its mask.
        canvas: what it must fit.
        subject: the kind of subject to find where no mask is given. For a file, the mask that its
            data set brings along comes first; one that is cut out is kept in a cache on disk.

    Returns:
        The target.

    Raises:
        NoSubjectError: no subject was found.
        MediaError: it cannot be read, or the mask has another size than the image.
        ImportError: subjects have to be cut out, and OpenCV is not there.
    """
    if isinstance(item, tuple):
        image, mask = (media.as_image(part) for part in item)
        if image.shape != mask.shape:
            raise media.MediaError(f"image {image.shape[:2]} and mask {mask.shape[:2]} differ")
        return fit(image, mask[:, :, 0], canvas)
    if isinstance(item, str | Path):
        image, name = media.read_image(item), f"{item}: "
    else:
        image, name = media.as_image(item), ""
    if subject is None:
        return fit(image, None, canvas)
    if isinstance(item, str | Path):
        cut = datasets.known_mask(item)
        if cut is None:
            cut = subjects.cached_mask(item, subject, image=image)
    else:
        cut = subjects.subject_mask(image, subject)
    target = fit(image, cut, canvas)
    if not target.mask.any():
        remedy = "leave it out, or give the picture together with a mask"
        raise NoSubjectError(f"{name}no subject was found; {remedy}")
    return target


def fit(image: Array, mask: Array | None, canvas: Canvas) -> Target:
    """Crop around the centre to the canvas's aspect ratio, resize, and reduce to its channels.

    Args:
        image: (h, w, 3) float32 in [0, 1].
        mask: (h', w') float32 in [0, 1]; of another size it is resized first. None: ones.
        canvas: what to fit.

    Returns:
        The target; on a canvas of one channel it holds the luminance.
    """
    size = image.shape[:2]
    image = _crop_and_resize(image, canvas)
    pixels = image
    if canvas.channels == 1:
        pixels = np.clip(image @ LUMINANCE[:, None], 0, 1)
    if mask is None:
        weights = np.ones((1, canvas.height, canvas.width), dtype=np.float32)
    else:
        planes = np.repeat(mask[:, :, None], 3, axis=2)
        if mask.shape != size:
            planes = media.resize(planes, *size)
        weights = _crop_and_resize(planes, canvas)[None, :, :, 0]
    return Target(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), np.ascontiguousarray(weights))


def _crop_and_resize(image: Array, canvas: Canvas) -> Array:
    height, width = image.shape[:2]
    rows = min(height, max(1, round(width * canvas.height / canvas.width)))
    columns = min(width, max(1, round(height * canvas.width / canvas.height)))
    top, left = (height - rows) // 2, (width - columns) // 2
    cropped = image[top : top + rows, left : left + columns]
    if (rows, columns) == (canvas.height, canvas.width):
        return cropped
    return media.resize(cropped, canvas.height, canvas.width)
