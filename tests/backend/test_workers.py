"""Threads for compiled kernels: order, concurrency, errors, forked processes."""

import multiprocessing
import threading
from collections.abc import Iterator
from queue import Queue

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralpaint.backend import workers

PATIENCE = 60  # seconds until a test that would hang fails instead


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Restore torch's number of threads after each test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def square(number: int) -> int:
    return number * number


@given(count=st.integers(0, 20), threads=st.integers(1, 5))
def test_results_come_in_the_order_of_the_tasks(count: int, threads: int) -> None:
    torch.set_num_threads(threads)
    tasks = [(number,) for number in range(count)]
    assert workers.run(square, tasks) == [number * number for number in range(count)]


def test_every_argument_is_passed() -> None:
    torch.set_num_threads(2)
    assert workers.run(pow, [(2, 10, 1000), (3, 4, 7), (5, 0, 3)]) == [24, 4, 1]


def test_two_threads_work_at_the_same_time() -> None:
    torch.set_num_threads(2)
    meeting = threading.Barrier(2)

    def meet(number: int) -> int:
        meeting.wait(PATIENCE)  # breaks, and fails the test, unless both tasks run at once
        return number

    assert workers.run(meet, [(1,), (2,)]) == [1, 2]


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_threads_than_torch_is_allowed(threads: int) -> None:
    torch.set_num_threads(threads)
    seen = workers.run(lambda _: threading.get_ident(), [(i,) for i in range(30)])
    assert len(set(seen)) <= threads
    assert threading.get_ident() in seen


def test_one_task_stays_in_the_calling_thread() -> None:
    torch.set_num_threads(4)
    assert workers.run(lambda _: threading.get_ident(), [(0,)]) == [threading.get_ident()]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bad", [0, 1, 4])
def test_the_error_of_a_task_reaches_the_caller(threads: int, bad: int) -> None:
    torch.set_num_threads(threads)

    def fail(number: int) -> int:
        if number == bad:
            raise ArithmeticError(f"task {number}")
        return number

    with pytest.raises(ArithmeticError, match=f"task {bad}"):
        workers.run(fail, [(i,) for i in range(5)])
    assert workers.run(square, [(3,), (4,)]) == [9, 16]  # the pool is still of use


def test_no_task_outlives_a_call_that_fails() -> None:
    torch.set_num_threads(2)
    failed = threading.Event()
    rows = np.zeros(2)

    def work(row: int) -> None:
        if row == 0:
            failed.set()
            raise ArithmeticError("row 0")
        failed.wait(PATIENCE)
        sum(range(200_000))  # long enough for the caller to go on, if it would
        rows[row] = 1

    with pytest.raises(ArithmeticError, match="row 0"):
        workers.run(work, [(0,), (1,)])
    assert rows[1] == 1


def test_callers_on_several_threads_get_their_own_results() -> None:
    torch.set_num_threads(3)
    results: Queue[tuple[int, list[int]]] = Queue()

    def call(base: int) -> None:
        results.put((base, workers.run(square, [(base + i,) for i in range(7)])))

    callers = [threading.Thread(target=call, args=(10 * i,)) for i in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert results.qsize() == 6
    while not results.empty():
        base, squares = results.get()
        assert squares == [(base + i) ** 2 for i in range(7)]


def _child(answers: "multiprocessing.Queue[list[int]]") -> None:
    answers.put(workers.run(square, [(1,), (2,), (3,)]))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    """As the asynchronous vector env of Gymnasium does; inherited threads would never answer."""
    torch.set_num_threads(2)
    workers.run(square, [(1,), (2,)])
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[list[int]] = context.Queue()
    child = context.Process(target=_child, args=(answers,), daemon=True)
    child.start()
    try:
        assert answers.get(timeout=PATIENCE) == [1, 4, 9]
    finally:
        child.kill()
        child.join()
