from typing import Any

import numpy as np
import pytest

from neuralpaint.backend.device import spawn
from neuralpaint.zoo.arguments import check_count, item_seeds


def test_seeds_of_items() -> None:
    assert item_seeds(3, 4) == tuple(spawn(3, index) for index in range(4))
    assert item_seeds([5, 2**64 - 1], 2) == (5, 2**64 - 1)
    assert item_seeds(np.int64(3), 2) == item_seeds(3, 2)  # type: ignore[arg-type]
    random = {item_seeds(None, 1) for _ in range(8)}
    assert len(random) == 8


@pytest.mark.parametrize(
    ("seed", "count", "error", "message"),
    [
        ([1, 2], 3, ValueError, "2 seeds for 3 items"),
        ([], 1, ValueError, "0 seeds for 1 items"),
        (-1, 1, ValueError, "seed -1 is out of range"),
        (2**64, 1, ValueError, "is out of range"),
        ([1, -1], 2, ValueError, "seed -1 is out of range"),
        pytest.param(10**400, 1, ValueError, "seed is out of range", id="huge"),
        (1.5, 1, TypeError, "seed must be a whole number, not float"),
        (True, 1, TypeError, "seed must be a whole number, not bool"),
        ("1", 1, TypeError, "seed must be a whole number, not str"),
        ([None], 1, TypeError, "seed must be a whole number, not NoneType"),
    ],
)
def test_seeds_that_are_not_right(
    seed: Any, count: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        item_seeds(seed, count)


def test_counts() -> None:
    assert check_count(3, 3, "n") == 3
    for value in (0, 4, -1, 10**6):
        with pytest.raises(ValueError, match=f"n must be from 1 to 3, got {value}"):
            check_count(value, 3, "n")
    for wrong in (1.0, "1", None, True):
        with pytest.raises(TypeError, match="n must be a whole number"):
            check_count(wrong, 3, "n")
