"""Faces: the one form in which every data set of faces reaches training."""

import hashlib
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..face_geometry import POINTS

OLDEST = 116
"""Years, of the oldest face of UTKFace; a higher age is taken for a mistake."""


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
