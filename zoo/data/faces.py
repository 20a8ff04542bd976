"""Faces: the one form in which every data set of faces reaches training."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...backend import datasets
from ...backend.files import MediaError
from ..face_geometry import POINTS
from .face_landmarks import landmarks_of
from .pictures import MAX_BYTES, SIZES, decode, summary

NAME = "UTKFace"
OLDEST = 116
"""Years, of the oldest face of UTKFace; a higher age is taken for a mistake."""
MISNAMED = "not named <age>_<gender>_<race>_<date>"
TOO_OLD = f"age above {OLDEST}"

Report = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, of how much)."""


@dataclass(frozen=True, eq=False)
class Faces:
    """Aligned faces in memory, each with its age, its landmarks and its side of the split.

    Attributes:
        name: of the data set, for cards and logs.
        images: (N, 3, S, S) uint8 RGB, N >= 1.
        ages: (N,) int64, years, 0 to `OLDEST`.
        landmarks: (N, 136) float32, x0, y0, x1, y1, ... of 68 points as shares of the picture's
            side: (0, 0) is the top left corner, x to the right, y down. A point may lie a little
            outside. A row of NaN: none are known.
        identity: (N,) int64, faces of one person have the same number; -1 = unknown.
        held_out: (N,) bool, True for what is never trained on.
        skipped: file -> why it was left out.
    """

    name: str
    images: Tensor
    ages: Tensor
    landmarks: Tensor
    identity: Tensor
    held_out: Tensor
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what the fields have to do with each other.

        Raises:
            ValueError: a shape, dtype or range is not as documented (names the field).
        """
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3:
            raise ValueError(
                f"{self.name}: images are {self.images.dtype} {shape}; expected uint8 (N, 3, S, S)"
            )
        if not shape[0] or shape[2] != shape[3] or not shape[3]:
            raise ValueError(f"{self.name}: images {shape} are not square, or there are none")
        expected = {
            "ages": (self.ages, torch.int64, (shape[0],)),
            "landmarks": (self.landmarks, torch.float32, (shape[0], 2 * POINTS)),
            "identity": (self.identity, torch.int64, (shape[0],)),
            "held_out": (self.held_out, torch.bool, (shape[0],)),
        }
        for column, (values, dtype, wanted) in expected.items():
            if values.dtype != dtype or tuple(values.shape) != wanted:
                raise ValueError(
                    f"{self.name}: {column} are {values.dtype} {tuple(values.shape)}; "
                    f"expected {dtype} {wanted}"
                )
        youngest, oldest = int(self.ages.min()), int(self.ages.max())
        if youngest < 0 or oldest > OLDEST:
            raise ValueError(
                f"{self.name}: ages from {youngest} to {oldest}; expected 0 to {OLDEST}"
            )
        if int(self.identity.min()) < -1:
            raise ValueError(f"{self.name}: identity has the value {int(self.identity.min())}")
        unknown = self.landmarks.isnan()
        known = self.landmarks[~unknown.any(1)]
        if bool((unknown.any(1) != unknown.all(1)).any()):
            raise ValueError(f"{self.name}: a row of landmarks has some NaN; expected all or none")
        if known.numel() and not bool(((known >= -1) & (known <= 2)).all()):
            raise ValueError(
                f"{self.name}: landmarks from {float(known.min()):.4g} to {float(known.max()):.4g}"
                "; expected shares of the picture's side"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Pixels a side, S."""
        return int(self.images.shape[3])

    @property
    def has_landmarks(self) -> Tensor:
        """(N,) bool, whose landmarks are known."""
        return ~self.landmarks[:, 0].isnan()

    @property
    def checksum(self) -> str:
        """Tells one set from another: 16 hex digits of its ages, landmarks, split and size.

        Of the pictures only the middle pixels are read, so that it costs little.
        """
        digest = hashlib.sha256(repr((self.name, self.size)).encode("utf-8", "surrogatepass"))
        middle = self.images[:, :, self.size // 2, self.size // 2]
        known = self.has_landmarks
        for tensor in (
            *(self.ages, self.identity, self.held_out, middle),
            *(known, self.landmarks.nan_to_num()),  # NaN has many bit patterns
        ):
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def part(self, held_out: bool) -> "Faces":
        """Those held out, or those to train on.

        The pictures are shared, not copied, where they stand together, as they do in what this
        package loads.

        Args:
            held_out: which side of the split.

        Returns:
            The same set with that side only, in the same order.

        Raises:
            ValueError: that side is empty.
        """
        rows = torch.nonzero(self.held_out == held_out).flatten()
        if not len(rows):
            side = "held out" if held_out else "to train on"
            raise ValueError(f"{self.name}: no face is {side}; the split has one side only")
        first, last = int(rows[0]), int(rows[-1])
        where = slice(first, last + 1) if last - first + 1 == len(rows) else rows
        return replace(
            self,
            images=self.images[where],
            ages=self.ages[where],
            landmarks=self.landmarks[where],
            identity=self.identity[where],
            held_out=self.held_out[where],
        )


def open_utkface(
    path: Path,
    size: int = 128,
    landmarks: bool = True,
    *,
    cache: Path | None = None,
    held_out: int | None = None,
    threads: int | None = None,
    workers: int = 1,
    max_bytes: int = MAX_BYTES,
    report: Report = lambda stage, done, total: None,
) -> Faces:
    """Read a folder of aligned faces in the naming of UTKFace (Zhang et al. 2017) into memory.

    Those to train on come first, so that each side of the split is one block of memory. The data
    set does not say who is who, so identities are unknown.

    Args:
        path: holds `<age>_<gender>_<race>_<date>.jpg` files at any depth.
        size: pixels a side that the faces are kept at.
        landmarks: have dlib find 68 landmarks in each face, once: they are cached. False = none.
        cache: folder of the landmarks; None = in the user's cache, see `face_landmarks`.
        held_out: faces to set aside, see `datasets.split`. None = the tenth of the set whose
            names have the checksum 0, wherever they lie: also what `envs.features_train` holds out.
        threads: that decode; None = as many as processors, up to 8.
        workers: processes that find landmarks, see `face_landmarks.landmarks_of`.
        max_bytes: memory that the pictures may take.
        report: called with what is being done, "faces" or "landmarks", how many are done, of how
            many.

    Returns:
        The faces that could be read; the other files are named in `skipped`. Where no face was
        found in a picture it stays, with landmarks of NaN: `len(faces) - faces.has_landmarks.sum()`
        counts them.

    Raises:
        ValueError: no such folder, no face in it, nothing left to train on, a size out of range,
            or too much memory.
        ImportError: landmarks are wanted, are not cached, and the `faces` extra is not installed.
        UnwritableFolderError: the cache cannot be written to.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; give that of UTKFace's pictures")
    if size not in SIZES:
        raise ValueError(f"size {size}: expected {SIZES.start} to {SIZES.stop - 1} pixels a side")
    listed = datasets.utkface(root)
    skipped = {str(file): MISNAMED for file in listed.misnamed}
    ages = {face.path: face.age for face in listed.faces}
    for file, age in list(ages.items()):
        if age > OLDEST:
            skipped[str(file)] = f"{TOO_OLD} ({age})"
            del ages[file]
    if not ages:
        raise ValueError(f"{root}: no face left ({summary(skipped)})")
    if held_out is None:
        tenth = sum(datasets.tenth(file) == 0 for file in ages)
        held_out = max(1, min(tenth, len(ages) - 1))
    train, aside = datasets.split(ages, held_out)
    order = train + aside
    need = len(order) * 3 * size * size
    if need > max_bytes:
        raise ValueError(
            f"{root}: {len(order)} faces of {size}x{size} take {need / 2**30:.2f} GiB of memory, "
            f"more than the {max_bytes / 2**30:.2f} GiB allowed; choose a smaller size or raise "
            "the limit"
        )
    images, kept = _decoded(order, size, threads, skipped, report)
    if not kept:
        raise ValueError(f"{root}: no face left ({summary(skipped)})")
    points = torch.full((len(kept), 2 * POINTS), torch.nan)
    if landmarks:
        points = landmarks_of(
            images,
            cache=cache,
            workers=workers,
            report=lambda done, total: report("landmarks", done, total),
        )
    return Faces(
        name=NAME,
        images=images,
        ages=torch.tensor([ages[order[row]] for row in kept]),
        landmarks=points,
        identity=torch.full((len(kept),), -1),
        held_out=torch.tensor([row >= len(train) for row in kept]),
        skipped=skipped,
    )


def _decoded(
    order: list[Path], size: int, threads: int | None, skipped: dict[str, str], report: Report
) -> tuple[Tensor, list[int]]:
    """Pictures (K, 3, S, S) and which of the files they are; the others go to `skipped`."""
    images = np.empty((len(order), 3, size, size), np.uint8)

    def read(row: int) -> str | None:
        try:
            images[row] = decode(order[row], size).transpose(2, 0, 1)
        except MediaError as error:
            return str(error)
        return None

    kept = list[int]()
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        try:
            for row, reason in enumerate(pool.map(read, range(len(order)))):
                if reason is None:
                    images[len(kept)] = images[row]  # closes the gaps; rows before are done
                    kept.append(row)
                else:
                    skipped[str(order[row])] = reason
                report("faces", row + 1, len(order))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return torch.from_numpy(images[: len(kept)]), kept
