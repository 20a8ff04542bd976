import concurrent.futures
import contextlib
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from neuralpaint.backend.batcher import Batcher
from neuralpaint.backend.buckets import Batch

ROOT = Path(__file__).parents[2]
SOON = 60.0  # seconds until a thing that must happen counts as not happening
NEVER = 3600.0  # a max_wait that no test lives to see


class Gate:
    """A function that halves x, held at its entrance until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.seen: list[list[float]] = []

    def __call__(self, batch: Batch) -> Batch:
        self.seen.append(batch["x"].tolist())
        self.entered.set()
        assert self.opened.wait(SOON)
        return {"half": batch["x"] / 2}


@pytest.fixture
def gate() -> Iterator[Gate]:
    held = Gate()
    yield held
    held.opened.set()  # no failed test hangs


def number(value: float) -> Batch:
    return {"x": torch.tensor(float(value))}


def half(future: Future[Batch]) -> float:
    return float(future.result(SOON)["half"])


def busy(gate: Gate, batcher: Batcher) -> Future[Batch]:
    """Submit -1, the request that the function is held with while others queue up behind it."""
    first = batcher.submit(number(-1))
    assert gate.entered.wait(SOON)
    return first


def held_back(batcher: Batcher, value: float) -> Future[Future[Batch]]:
    """Submit a request from a thread of its own, and return once that thread waits for room."""
    room = batcher._queue._room
    wait_for, waits = room.wait_for, threading.Event()

    def watched(predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        assert not predicate()
        waits.set()  # under the lock, which is free again only when this thread waits
        return wait_for(predicate, timeout)

    submitted: Future[Future[Batch]] = Future()

    def run() -> None:
        try:
            submitted.set_result(batcher.submit(number(value)))
        except Exception as error:
            submitted.set_exception(error)

    with mock.patch.object(room, "wait_for", watched):
        threading.Thread(target=run, daemon=True).start()
        assert waits.wait(SOON)
    return submitted


class Bell:
    """Stands in for the lock that the worker sleeps on, and tells when it does."""

    def __init__(self) -> None:
        self.asleep = threading.Event()
        self._lock = threading.Lock()
        self.release = self._lock.release

    def acquire(self, timeout: float) -> bool:
        if self._lock.locked():
            self.asleep.set()
        return self._lock.acquire(timeout=timeout)


def let_worker_sleep(batcher: Batcher) -> None:
    """Return once the worker has seen all there is and sleeps: only a ring wakes it now."""
    bell: Any = Bell()
    old, batcher._queue._bell = batcher._queue._bell, bell
    with contextlib.suppress(RuntimeError):
        old.release()
    assert bell.asleep.wait(SOON)


# --- a bounded queue ---


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 2, 3)])
def test_a_full_queue_does_not_wait_for_company(gate: Gate, sizes: tuple[int, ...]) -> None:
    gate.opened.set()
    with Batcher(gate, max_size=8, max_wait=NEVER, capacity=3) as batcher:
        futures = [batcher.submit({"x": torch.ones(size)}) for size in sizes[:2]]
        let_worker_sleep(batcher)
        assert not futures[0].running()
        batcher.submit({"x": torch.ones(sizes[2])})
        assert futures[0].result(SOON)["half"].tolist() == [0.5]


def test_a_full_batch_does_not_wait(gate: Gate) -> None:
    gate.opened.set()
    with Batcher(gate, max_size=2, max_wait=NEVER) as batcher:
        first = batcher.submit(number(1))
        let_worker_sleep(batcher)
        batcher.submit(number(2))
        assert half(first) == 0.5


def test_a_full_queue_holds_callers_back(gate: Gate) -> None:
    with Batcher(gate, max_size=1, max_wait=NEVER, capacity=2) as batcher:
        busy(gate, batcher)
        batcher.submit(number(1))
        batcher.submit(number(2))
        with pytest.raises(
            TimeoutError, match="queue is full, 2 requests wait: submit more slowly"
        ):
            batcher.submit(number(3), timeout=0)
        with pytest.raises(TimeoutError):
            batcher.submit(number(3), timeout=0.01)
        blocked = held_back(batcher, 4)
        assert not blocked.done()
        assert batcher.counters().requests == 3
        gate.opened.set()
        assert half(blocked.result(SOON)) == 2
    assert batcher.counters().completed == 4


def test_cancelled_requests_are_dropped_and_make_room(gate: Gate) -> None:
    with Batcher(gate, max_size=2, max_wait=0, capacity=3) as batcher:
        running = busy(gate, batcher)
        kept, dropped, last = (batcher.submit(number(value)) for value in (1, 2, 3))
        blocked = held_back(batcher, 4)
        assert not running.cancel()
        assert dropped.cancel()
        assert dropped.cancel()  # twice is once
        assert concurrent.futures.wait([dropped], timeout=SOON).done == {dropped}
        late = blocked.result(SOON)
        gate.opened.set()
        assert [half(future) for future in (running, kept, last, late)] == [-0.5, 0.5, 1.5, 2]
    assert gate.seen == [[-1], [1, 3], [4]]
    counters = batcher.counters()
    assert (counters.requests, counters.completed, counters.cancelled) == (5, 4, 1)
    assert counters.mean_fill == 1


def test_a_group_of_cancelled_requests_never_runs(gate: Gate) -> None:
    with Batcher(gate, max_size=4, max_wait=0) as batcher:
        busy(gate, batcher)
        for future in [batcher.submit(number(value)) for value in (1, 2, 3)]:
            assert future.cancel()
        gate.opened.set()
    assert gate.seen == [[-1]]
    assert batcher.counters().batches == 1


# --- the end ---


def test_closing_runs_what_was_accepted(gate: Gate) -> None:
    batcher = Batcher(gate, max_size=8, max_wait=NEVER)
    futures = [batcher.submit(number(value)) for value in (1, 2, 3)]
    gate.opened.set()
    batcher.close()
    batcher.close()
    assert all(future.done() for future in futures)
    assert [half(future) for future in futures] == [0.5, 1, 1.5]
    with pytest.raises(RuntimeError, match="the batcher is closed"):
        batcher.submit(number(4))
    with pytest.raises(RuntimeError, match="the batcher is closed"):
        batcher(number(4))


def test_closing_can_cancel(gate: Gate) -> None:
    batcher = Batcher(gate, max_size=2, max_wait=0, capacity=3)
    running = busy(gate, batcher)
    waiting = [batcher.submit(number(value)) for value in (1, 2, 3)]
    blocked = held_back(batcher, 4)
    batcher.close(wait=False, cancel=True)
    assert concurrent.futures.wait(waiting, timeout=SOON).not_done == set()
    assert all(future.cancelled() for future in waiting)
    with pytest.raises(RuntimeError, match="the batcher is closed"):
        blocked.result(SOON)
    gate.opened.set()
    batcher.close()
    assert half(running) == -0.5
    counters = batcher.counters()
    assert (counters.requests, counters.completed, counters.cancelled) == (4, 1, 3)


def test_an_error_in_the_with_block_cancels(gate: Gate) -> None:
    futures: list[Future[Batch]] = []

    def fail() -> None:
        with Batcher(gate, max_size=8, max_wait=NEVER) as batcher:
            futures.append(batcher.submit(number(1)))
            raise KeyError("user")

    with pytest.raises(KeyError, match="user"):
        fail()
    assert futures[0].cancelled()
    assert gate.seen == []


def test_a_dead_thread_leaves_nobody_waiting(gate: Gate) -> None:
    def deadly(batch: Batch) -> Batch:
        gate(batch)
        raise SystemExit("enough")

    batcher = Batcher(deadly, max_size=1, max_wait=0, capacity=2)
    futures = [busy(gate, batcher), batcher.submit(number(1)), batcher.submit(number(2))]
    blocked = held_back(batcher, 3)
    gate.opened.set()
    for future in futures:
        with pytest.raises(RuntimeError, match="worker died: SystemExit"):
            future.result(SOON)
        assert isinstance(future.exception(), RuntimeError)
    with pytest.raises(RuntimeError, match="worker has died"):
        blocked.result(SOON)
    with pytest.raises(RuntimeError, match="worker has died") as refusal:
        batcher.submit(number(4))
    assert isinstance(refusal.value.__cause__, SystemExit)
    assert batcher.counters().failed == 3
    batcher.close()


def test_a_forgotten_batcher_finishes_and_ends(gate: Gate) -> None:
    gate.opened.set()
    batcher = Batcher(gate, max_size=8, max_wait=NEVER)
    thread = batcher._thread
    future = batcher.submit(number(3))
    let_worker_sleep(batcher)
    del batcher
    gc.collect()
    assert half(future) == 1.5
    thread.join(SOON)
    assert not thread.is_alive()


def test_the_interpreter_can_exit() -> None:
    program = """if True:
        import threading, torch
        from neuralpaint.backend.batcher import Batcher
        def function(batch):
            inside.set()
            leave.wait()
            return batch
        inside, leave = threading.Event(), threading.Event()
        busy = Batcher(function, max_size=1, max_wait=0)
        running, waiting = (busy.submit({"x": torch.zeros(1)}) for _ in range(2))
        inside.wait()
        idle = Batcher(function, max_wait=3600)
        lonely = idle.submit({"x": torch.zeros(1)})
        forgotten = Batcher(function)
        del forgotten
        waiting.add_done_callback(lambda future: (print(future.cancelled()), leave.set()))
        running.add_done_callback(lambda future: print(len(future.result())))
    """
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (child.returncode, child.stdout, child.stderr) == (0, "True\n1\n", "")


def test_a_forked_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Batcher(Gate()) as batcher:
        own = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: own + 1)
        with pytest.raises(RuntimeError, match="forked process: make a new one"):
            batcher.submit(number(1))
        monkeypatch.undo()


def test_the_batchers_own_thread_cannot_wait_for_it(gate: Gate) -> None:
    errors: list[BaseException | None] = []

    def ask_again(future: Future[Batch]) -> None:
        for again in (batcher, batcher.submit):  # the queue is full: submit would block
            try:
                again(number(0))
            except (RuntimeError, TimeoutError) as error:
                errors.append(error)
        batcher.close()  # cannot wait either, and need not
        closed.set()

    closed = threading.Event()
    batcher = Batcher(gate, max_size=1, max_wait=0, capacity=1)
    busy(gate, batcher).add_done_callback(ask_again)
    last = batcher.submit(number(1))
    gate.opened.set()
    assert half(last) == 0.5
    batcher.close()
    assert [type(error) for error in errors] == [RuntimeError, TimeoutError]
    assert closed.is_set()
