"""What the benchmark scripts share: timing and the one-line format `name value unit`."""

import time
from collections.abc import Callable, Mapping


def rates(
    calls: Mapping[str, tuple[Callable[[], object], int]], seconds: float = 6.0
) -> dict[str, float]:
    """Items per second of several calls, measured in turns.

    Taking turns exposes all of them to the same disturbances of a machine that others use too,
    and the best turn of each is the least disturbed one.

    Args:
        calls: name -> (call, items that one call handles).
        seconds: how long to go on, after one warm-up call each.

    Returns:
        name -> items per second of the best turn.
    """
    for call, _ in calls.values():
        call()
    best = dict.fromkeys(calls, 0.0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, (call, items) in calls.items():
            start = time.perf_counter()
            call()
            best[name] = max(best[name], items / (time.perf_counter() - start))
    return best


def show(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    print(f"{name} {value:.4g} {unit}".rstrip(), flush=True)
