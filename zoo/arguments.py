"""Arguments that every `generate` of the zoo takes: how many items, and their seeds."""

import os
from collections.abc import Sequence

from ..backend.device import spawn

MAX_ITEMS = 1024
"""Items of one call of `generate`, at most: its results are all in memory."""


def check_count(count: object, most: int, name: str) -> int:
    """A whole number from 1 to `most`.

    Raises:
        TypeError: not a whole number.
        ValueError: out of range.
    """
    number = _whole(count, name)
    if not 1 <= number <= most:
        raise ValueError(f"{name} must be from 1 to {most}, got {number}")
    return number


def item_seeds(seed: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    """A seed for each item.

    Args:
        seed: an int, from which item i takes `device.spawn(seed, i)`; one for each item; or None
            for a random one.
        count: of the items.

    Returns:
        `count` seeds in [0, 2**64).

    Raises:
        TypeError: not whole numbers.
        ValueError: one is out of range, or there are not as many as items.
    """
    if seed is None:
        seed = int.from_bytes(os.urandom(7), "little")
    if isinstance(seed, Sequence) and not isinstance(seed, (str, bytes)):
        if len(seed) != count:
            raise ValueError(f"{len(seed)} seeds for {count} items: give one for each, or an int")
        return tuple(_seed(value) for value in seed)
    first = _seed(seed)
    return tuple(spawn(first, index) for index in range(count))


def _seed(value: object) -> int:
    number = _whole(value, "seed")
    if not 0 <= number < 2**64:
        shown = f" {number}" if number.bit_length() <= 128 else ""
        raise ValueError(f"seed{shown} is out of range: use an integer in [0, 2**64)")
    return number


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    number: int = value.__index__()
    return number
