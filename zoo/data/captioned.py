"""Captioned pictures: the one form in which every data set of the zoo reaches training."""

import hashlib
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Captioned:
    """Pictures in memory, each with its captions, its class and its side of the split.

    Attributes:
        name: of the data set, for cards and logs.
        images: (N, 3, S, S) uint8 RGB, N >= 1.
        captions: N groups of one caption or more, each with a word in it.
        labels: (N,) int64, indices into `species`.
        held_out: (N,) bool, True for what is never trained on.
        species: names of the classes.
        generated_captions: the captions were written by a program, not by people.
        skipped: file -> why it was left out.
        attributes: name -> (N,) int64, exact truth of a made-up picture; -1 = does not apply.
            Empty for photographs.
    """

    name: str
    images: Tensor
    captions: tuple[tuple[str, ...], ...]
    labels: Tensor
    held_out: Tensor
    species: tuple[str, ...]
    generated_captions: bool = False
    skipped: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, Tensor] = field(default_factory=dict)

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
        if len(self.captions) != shape[0]:
            raise ValueError(
                f"{self.name}: {len(self.captions)} groups of captions for {shape[0]} images"
            )
        if isinstance(self.captions, str) or any(
            isinstance(group, str) or not group for group in self.captions
        ):
            raise ValueError(f"{self.name}: every image needs a tuple of at least one caption")
        columns = {"labels": self.labels, **self.attributes}
        for column, values in columns.items():
            if values.dtype != torch.int64 or tuple(values.shape) != shape[:1]:
                raise ValueError(
                    f"{self.name}: {column} are {values.dtype} {tuple(values.shape)}; "
                    f"expected int64 ({shape[0]},)"
                )
            if int(values.min()) < (0 if column == "labels" else -1):
                raise ValueError(f"{self.name}: {column} has the value {int(values.min())}")
        if int(self.labels.max()) >= len(self.species):
            raise ValueError(
                f"{self.name}: label {int(self.labels.max())} of {len(self.species)} classes"
            )
        if self.held_out.dtype != torch.bool or tuple(self.held_out.shape) != shape[:1]:
            raise ValueError(
                f"{self.name}: held_out is {self.held_out.dtype} {tuple(self.held_out.shape)}; "
                f"expected bool ({shape[0]},)"
            )

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def size(self) -> int:
        """Pixels a side, S."""
        return int(self.images.shape[3])

    @property
    def checksum(self) -> str:
        """Tells one set from another: 16 hex digits of its captions, classes, split and size.

        Of the pictures only the middle pixels are read, so that it costs little.
        """
        digest = hashlib.sha256()
        middle = self.images[:, :, self.size // 2, self.size // 2]
        texts = (self.name, self.species, self.captions, self.generated_captions, self.size)
        digest.update(repr(texts).encode("utf-8", "surrogatepass"))
        for tensor in (self.labels, self.held_out, middle):
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def part(self, held_out: bool) -> "Captioned":
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
            raise ValueError(f"{self.name}: no picture is {side}; the split has one side only")
        first, last = int(rows[0]), int(rows[-1])
        together = last - first + 1 == len(rows)
        where = slice(first, last + 1) if together else rows
        return replace(
            self,
            images=self.images[where],
            captions=tuple(self.captions[row] for row in rows.tolist()),
            labels=self.labels[where],
            held_out=self.held_out[where],
            attributes={name: values[where] for name, values in self.attributes.items()},
        )
