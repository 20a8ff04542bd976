"""Threads for compiled kernels that release the lock: one task list in, results in order out."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of one process: a forked child inherits the object but none of its threads."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="neuralpaint")


def run(function: Callable[..., T], tasks: Sequence[tuple[object, ...]]) -> list[T]:
    """Call function(*task) for every task, on as many threads as torch is allowed.

    The tasks, not the threads, decide what is computed, so results do not depend on the machine.

    Args:
        function: releases the interpreter lock for its heavy part; must not call `run` itself.
        tasks: argument tuples.

    Returns:
        The results in the order of the tasks.

    Raises:
        Whatever a failing task raised, after the other threads are done with theirs.
    """
    threads = min(torch.get_num_threads(), len(tasks))
    if threads <= 1:
        return [function(*task) for task in tasks]
    shares = [tasks[i::threads] for i in range(threads)]
    pool = _pool(os.getpid())
    futures = [pool.submit(_share, function, share) for share in shares[1:]]
    try:
        own = _share(function, shares[0])
    finally:
        wait(futures)  # nobody writes to the caller's arrays once this call is over
    parts = [own, *(future.result() for future in futures)]
    results: list[T] = []
    for i in range(len(tasks)):
        results.append(parts[i % threads][i // threads])
    return results


def _share(function: Callable[..., T], tasks: Sequence[tuple[object, ...]]) -> list[T]:
    return [function(*task) for task in tasks]
