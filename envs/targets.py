"""Where target pictures come from: procedural, files, arrays or a stream.

Every source hands out pictures that fit the canvas. A picture of another shape is cropped around
its centre to the canvas's aspect ratio, then resized, so that nothing is distorted.
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

from ..backend import media
from . import procedural

Array = NDArray[np.float32]
Item = str | Path | NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]
"""A file, an image, or an image with its mask."""
Targets = str | Path | NDArray[Any] | Iterable[Item]

CACHE_BYTES = 256 * 2**20
CHECKED_BYTES = 16 * 2**20
LARGEST_PROCEDURAL = 1024
"""Larger procedural pictures are enlarged from this size, which takes a tenth of the time."""
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Rec. 601 weights of red, green and blue."""


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
        skipped: why each unreadable file met so far was left out, by its path.
    """

    canvas: Canvas
    skipped: dict[str, str]

    def draw(self, rng: np.random.Generator) -> Target:
        """The next target, chosen by `rng` alone."""

    def pick(self, index: int) -> Target:
        """Target number `index`."""


class Procedural:
    """Endless random pictures, see `procedural`; number n is the same picture on every run."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.skipped: dict[str, str] = {}

    def draw(self, rng: np.random.Generator) -> Target:
        """A random picture."""
        _, height, width = self.canvas
        scale = min(1.0, LARGEST_PROCEDURAL / max(height, width))
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        return fit(procedural.picture(rng, rows, columns), None, self.canvas)

    def pick(self, index: int) -> Target:
        """Random picture number `index`, at least 0."""
        if index < 0:
            raise IndexError(f"target {index}: procedural pictures are numbered from 0")
        return self.draw(np.random.default_rng(index))


class Images:
    """A list of pictures and files, drawn uniformly.

    Pictures are kept, fitted to the canvas, in a bounded cache. The first of them are read at
    once, `CHECKED_BYTES` in all, the others when they are drawn. Files that turn out to be
    unreadable are counted and named in a warning and listed in `skipped`; where one is drawn, the
    next in the list takes its place, so that a seed means the same pictures on every run.

    Raises:
        MediaError: a file does not exist, or no picture is readable.
    """

    def __init__(self, items: Sequence[Item], canvas: Canvas) -> None:
        if not items:
            raise media.MediaError("the list of target images is empty")
        for item in items:
            if isinstance(item, str | Path) and not Path(item).exists():
                raise media.MediaError(f"{item}: no such file; check the name")
        self.items = items
        self.canvas = canvas
        self.skipped: dict[str, str] = {}
        self._unreadable: set[int] = set()
        self._cache: OrderedDict[int, Target] = OrderedDict()
        self._cached_bytes = 0
        self._try(self._first())
        if len(self._unreadable) == len(self.items):
            raise media.MediaError(f"no target image is readable; the last: {self._last_reason()}")

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
        raise media.MediaError(f"no target image is readable; the last: {self._last_reason()}")

    def pick(self, index: int) -> Target:
        """Picture number `index` of the list."""
        if not 0 <= index < len(self.items):
            raise IndexError(f"target {index} does not exist: there are {len(self.items)}")
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        target = load(self.items[index], self.canvas)
        self._cache[index] = target
        self._cached_bytes += target.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return target

    def _try(self, indices: Iterable[int]) -> Target | None:
        """Read pictures; warn once of the files among them that are unreadable."""
        target = None
        bad: dict[str, str] = {}
        for index in indices:
            try:
                target = self.pick(index)
            except media.MediaError as error:
                item = self.items[index]
                if not isinstance(item, str | Path):
                    raise
                bad[str(item)] = str(error)
                self._unreadable.add(index)
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
        for index, item in enumerate(self.items):
            if isinstance(item, str | Path):
                room -= Path(item).stat().st_size
            elif isinstance(item, np.ndarray):
                room -= item.nbytes
            if room < 0:
                break
            indices.append(index)
        return indices

    def _last_reason(self) -> str:
        return list(self.skipped.values())[-1]


class Stream:
    """Pictures in the order in which a generator yields them; seeds have no say in it."""

    def __init__(self, items: Iterator[Item], canvas: Canvas) -> None:
        self.items = items
        self.canvas = canvas
        self.skipped: dict[str, str] = {}
        self._taken = 0

    def draw(self, rng: np.random.Generator) -> Target:
        """The next picture."""
        try:
            item = next(self.items)
        except StopIteration:
            raise ValueError(f"the targets ran out after {self._taken} pictures") from None
        self._taken += 1
        return load(item, self.canvas)

    def pick(self, index: int) -> Target:
        """Not possible."""
        raise IndexError(f"target {index}: a generator's pictures have no numbers")


def open_source(targets: Targets, canvas: Canvas) -> Source:
    """Find out what kind of source the user gave.

    Args:
        targets: "procedural"; the path of an image or of a folder, whose images are found at any
            depth; one image (H, W) or (H, W, 3) or many (N, H, W, 3), uint8 or floats in [0, 1];
            a list of paths, images and (image, mask) pairs; or a generator of such items.
        canvas: what the pictures must fit.

    Returns:
        The source.

    Raises:
        MediaError: nothing readable was found.
        TypeError: none of these kinds.
    """
    if isinstance(targets, str | Path):
        if targets == "procedural":
            return Procedural(canvas)
        if not Path(targets).exists():
            raise media.MediaError(f'{targets}: no such file or folder, nor "procedural"')
        return Images(_find_files(Path(targets)), canvas)
    if isinstance(targets, np.ndarray):
        return Images(list(targets) if targets.ndim == 4 else [targets], canvas)
    if isinstance(targets, Sequence):
        return Images(targets, canvas)
    if isinstance(targets, Iterable):
        return Stream(iter(targets), canvas)
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
    return load(choice, source.canvas)


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


def load(item: Item, canvas: Canvas) -> Target:
    """Read one picture and make it fit.

    Args:
        item: a path, an image, or an image and its mask.
        canvas: what it must fit.

    Returns:
        The target.

    Raises:
        MediaError: it cannot be read, or the mask has another size than the image.
    """
    if isinstance(item, str | Path):
        return fit(media.read_image(item), None, canvas)
    if isinstance(item, tuple):
        image, mask = (media.as_image(part) for part in item)
        if image.shape != mask.shape:
            raise media.MediaError(f"image {image.shape[:2]} and mask {mask.shape[:2]} differ")
        return fit(image, mask, canvas)
    return fit(media.as_image(item), None, canvas)


def fit(image: Array, mask: Array | None, canvas: Canvas) -> Target:
    """Crop around the centre to the canvas's aspect ratio, resize, and reduce to its channels.

    Args:
        image: (h, w, 3) float32 in [0, 1].
        mask: the same shape, with equal channels; None stands for ones.
        canvas: what to fit.

    Returns:
        The target; on a canvas of one channel it holds the luminance.
    """
    image = _crop_and_resize(image, canvas)
    pixels = image
    if canvas.channels == 1:
        pixels = np.clip(image @ LUMINANCE[:, None], 0, 1)
    if mask is None:
        weights = np.ones((1, canvas.height, canvas.width), dtype=np.float32)
    else:
        weights = _crop_and_resize(mask, canvas)[None, :, :, 0]
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


def _find_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not files:
        raise media.MediaError(f"{path}: no files in this folder")
    return files
