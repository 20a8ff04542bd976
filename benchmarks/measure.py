"""What the benchmark scripts share: timing and the one-line format `name value unit`."""

import time
from collections.abc import Callable


def rate(call: Callable[[], object], items: int, seconds: float = 3.0) -> float:
    """Items per second of a call that handles `items`, best of the repeats that fit in.

    The best repeat is the least disturbed one on a machine that others use too.
    """
    call()
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = max(best, items / (time.perf_counter() - start))
    return best


def show(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    print(f"{name} {value:.4g} {unit}", flush=True)
