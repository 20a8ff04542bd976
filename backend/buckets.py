"""Padded buckets: a function meets few batch sizes, and smaller ones when memory runs out.

Batches are dicts of tensors that share their first dimension, one row per request. A vector
environment, whose rows arrive together, calls `Bucketed`; callers with one request each share a
`Batcher`, which stands on it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from . import device

Batch: TypeAlias = dict[str, torch.Tensor]
BatchFunction: TypeAlias = Callable[[Batch], Batch]
Signature: TypeAlias = tuple[tuple[str, torch.Size, torch.dtype, torch.device], ...]


@dataclass(frozen=True)
class Calls:
    """Counts of a bucketed function's calls.

    Attributes:
        batches: Calls that returned.
        rows: Rows that were asked for in these calls.
        slots: Rows that were computed in these calls, padding included.
        halvings: Calls that ran out of memory and were made again in smaller buckets.
    """

    batches: int = 0
    rows: int = 0
    slots: int = 0
    halvings: int = 0

    @property
    def mean_fill(self) -> float:
        """Share of the computed rows that were asked for, in [0, 1]; 0 before the first call."""
        return self.rows / self.slots if self.slots else 0.0


class Bucketed:
    """Runs a function of a batch in padded buckets; halves the bucket when memory runs out.

    Rows beyond `max_size` are computed in several calls. Every call's size is a power of two or the
    limit, so that a GPU meets few shapes and `Graphed` few graphs; padding repeats the last row,
    which keeps it a possible input. After an out-of-memory error the limit for tensors of those
    shapes is halved for good. Gradients are off.

    The function must compute each row from that row alone (no batch normalisation in training mode,
    no random numbers of its own), keep no state and change no input. A row's result then depends on
    its neighbours only through the order in which a kernel, chosen by the batch's size, adds
    numbers up: the last bits of float32. With `fixed` every call has the size of the limit, and
    the same kernel gives the same bits however many rows there are.

    Args:
        function: Takes and returns a batch of n rows, (n, ...) each.
        max_size: Most rows in a call, at least 1.
        fixed: Pad every call to the limit: bit-equal results, at the price of a full batch's time
            for a single row.

    Raises:
        ValueError: `max_size` is less than 1.
    """

    def __init__(self, function: BatchFunction, *, max_size: int = 32, fixed: bool = False) -> None:
        if max_size < 1:
            raise ValueError(f"max_size {max_size} is too small: use 1 or more")
        self._function = function
        self._max_size = max_size
        self._fixed = fixed
        self._lock = threading.Lock()
        self._limits: dict[Signature, int] = {}  # only of shapes that ran out of memory
        self._calls = Calls()

    @property
    def calls(self) -> Calls:
        """Counts so far."""
        return self._calls

    def limit(self, batch: Batch) -> int:
        """Most rows that go into one call, for rows of these shapes.

        Args:
            batch: Rows whose names, shapes, dtypes and devices matter, not their number.

        Returns:
            `max_size`, or less after an out-of-memory error.
        """
        return self._limits.get(_row_signature(batch), self._max_size)

    def __call__(self, batch: Batch) -> Batch:
        """Compute all rows of a batch.

        Args:
            batch: Tensors (n, ...), n >= 1.

        Returns:
            The function's tensors for these rows, (n, ...).

        Raises:
            ValueError: The batch is empty or its tensors disagree on the number of rows.
            RuntimeError: The function returned something else than a batch of the same rows.
            Exception: Whatever the function raises, out of memory only when one row is too much.
        """
        total = count_rows(batch)
        pieces: list[Batch] = []
        done = 0
        with torch.no_grad():
            while done < total:
                limit = self.limit(batch)
                end = min(done + limit, total)
                part = {name: rows[done:end] for name, rows in batch.items()}
                piece = self._attempt(part, end - done, limit)
                if piece is not None:
                    pieces.append(piece)
                    done = end
        if len(pieces) == 1:
            return pieces[0]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

    def _attempt(self, part: Batch, rows: int, limit: int) -> Batch | None:
        """Compute rows in one call; None if memory ran out and the limit was lowered."""
        slots = limit if self._fixed else min(limit, 1 << (rows - 1).bit_length())
        try:
            result = self._function(_padded(part, slots - rows))
        except Exception as error:
            if slots == 1 or not device.is_out_of_memory(error):
                raise
        else:
            _check_result(result, slots)
            self._count(batches=1, rows=rows, slots=slots)
            return {name: values[:rows] for name, values in result.items()}
        # Only here is the error gone, and with it the tensors that its traceback held.
        device.release_cached_memory()
        with self._lock:
            shapes = _row_signature(part)
            self._limits[shapes] = min(self._limits.get(shapes, limit), slots // 2)
        self._count(halvings=1)
        return None

    def _count(self, batches: int = 0, rows: int = 0, slots: int = 0, halvings: int = 0) -> None:
        with self._lock:
            self._calls = replace(
                self._calls,
                batches=self._calls.batches + batches,
                rows=self._calls.rows + rows,
                slots=self._calls.slots + slots,
                halvings=self._calls.halvings + halvings,
            )


def stack(requests: Sequence[Batch]) -> Batch:
    """Stack requests into a batch.

    Args:
        requests: Dicts of the same names, shapes and dtypes, without a batch dimension.

    Returns:
        Tensors (n, ...) for n requests.
    """
    return {name: torch.stack([request[name] for request in requests]) for name in requests[0]}


def unstack(batch: Batch) -> list[Batch]:
    """Split a batch into its rows.

    Args:
        batch: Tensors (n, ...).

    Returns:
        n dicts of tensors (...). Each is a copy: a caller who keeps one does not keep the batch.
    """
    rows = range(count_rows(batch))
    return [{name: values[row].clone() for name, values in batch.items()} for row in rows]


def signature(request: Batch) -> Signature:
    """What two requests must have in common to be stacked.

    Args:
        request: Tensors of any shapes.

    Returns:
        Names, shapes, dtypes and devices, sorted by name; hashable.
    """
    return tuple(
        (name, item.shape, item.dtype, item.device) for name, item in sorted(request.items())
    )


def pad_length(tensor: torch.Tensor, lengths: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad a sequence with zeros to one of a few lengths, so that sequences can share a batch.

    The padded length follows from the sequence's own length and never from its neighbours'.

    Args:
        tensor: (L, ...), L >= 1; for instance the tokens of a text.
        lengths: Lengths to choose from; the smallest that is enough is taken.

    Returns:
        The padded tensor (length, ...), and a bool mask (length,), True where it is real.

    Raises:
        ValueError: The sequence is longer than every length.
    """
    real = len(tensor)
    if not lengths or real > max(lengths):
        raise ValueError(f"a sequence of {real} is too long: the lengths are {list(lengths)}")
    length = min(choice for choice in lengths if choice >= real)
    padded = torch.cat([tensor, tensor.new_zeros((length - real, *tensor.shape[1:]))])
    return padded, torch.arange(length, device=tensor.device) < real


def count_rows(batch: Batch) -> int:
    """Number of rows of a batch.

    Args:
        batch: Tensors (n, ...).

    Returns:
        n, at least 1.

    Raises:
        ValueError: The batch is empty or its tensors disagree.
    """
    sizes = {name: tensor.shape[0] if tensor.ndim else 0 for name, tensor in batch.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise ValueError(f"not a batch of one or more rows: {sizes} rows")
    return next(iter(sizes.values()))


def _row_signature(batch: Batch) -> Signature:
    return tuple((name, shape[1:], dtype, where) for name, shape, dtype, where in signature(batch))


def _padded(batch: Batch, missing: int) -> Batch:
    if missing == 0:
        return batch
    return {
        name: torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])
        for name, rows in batch.items()
    }


def _check_result(result: Batch, slots: int) -> None:
    if not isinstance(result, dict) or not result:
        raise RuntimeError(f"the function must return a dict of tensors, not {result!r}")
    for name, values in result.items():
        if not isinstance(values, torch.Tensor) or values.shape[:1] != (slots,):
            found = list(values.shape) if isinstance(values, torch.Tensor) else type(values)
            raise RuntimeError(
                f"the function returned {name!r} with {found}: a tensor of {slots} rows is due"
            )
