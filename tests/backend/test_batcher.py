import dataclasses
import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuralpaint.backend.batcher import Batcher, Counters
from neuralpaint.backend.buckets import Batch
from neuralpaint.backend.device import generator, spawn

SOON = 60.0  # seconds until a thing that must happen counts as not happening
NEVER = 3600.0  # a max_wait that no test lives to see


class Gate:
    """A function that halves x, and that can be held at its entrance."""

    def __init__(self, *, held: bool = False) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.seen: list[list[float]] = []
        if not held:
            self.opened.set()

    def __call__(self, batch: Batch) -> Batch:
        self.seen.append(batch["x"].tolist())
        self.entered.set()
        assert self.opened.wait(SOON)
        return {"half": batch["x"] / 2}


def number(value: float) -> Batch:
    return {"x": torch.tensor(float(value))}


def half(future: Future[Batch]) -> float:
    return float(future.result(SOON)["half"])


def busy(gate: Gate, batcher: Batcher) -> Future[Batch]:
    """Submit -1, the request that the function is held with while others queue up behind it."""
    first = batcher.submit(number(-1))
    assert gate.entered.wait(SOON)
    return first


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A held function; opened at the end, so that no failed test hangs."""
    held = Gate(held=True)
    yield held
    held.opened.set()


# --- results ---


def test_one_call_and_many() -> None:
    with Batcher(Gate(), max_size=4) as batcher:
        assert batcher(number(3))["half"].shape == ()
        assert float(batcher(number(3))["half"]) == 1.5
        results = batcher.map(number(value) for value in range(10))
        assert [float(result["half"]) for result in results] == [v / 2 for v in range(10)]
        assert batcher.map([]) == []


def test_full_batch_does_not_wait() -> None:
    gate = Gate()
    with Batcher(gate, max_size=4, max_wait=NEVER) as batcher:
        batcher.map(number(value) for value in range(8))
    assert gate.seen == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_requests_that_queue_up_run_together_in_a_padded_bucket(gate: Gate) -> None:
    with Batcher(gate, max_size=8, max_wait=0) as batcher:
        busy(gate, batcher)
        futures = [batcher.submit(number(value)) for value in (5, 6, 7)]
        gate.opened.set()
        assert [half(future) for future in futures] == [2.5, 3, 3.5]
    assert gate.seen == [[-1], [5, 6, 7, 7]]


def test_a_lone_request_runs_after_the_wait() -> None:
    with Batcher(Gate(), max_size=8, max_wait=0.01) as batcher:
        assert half(batcher.submit(number(1))) == 0.5


def test_what_differs_in_shape_dtype_name_or_key_is_apart(gate: Gate) -> None:
    def by_sign(request: Batch) -> bool:
        return bool((request["x"] > 0).all())

    requests = [
        number(1),
        number(-2),
        {"x": torch.tensor([3.0])},
        {"x": torch.tensor(4.0, dtype=torch.float64)},
        {"x": torch.tensor(5.0), "y": torch.tensor(0)},
        number(6),
        number(-7),
    ]
    with Batcher(gate, max_size=8, max_wait=0, key=by_sign) as batcher:
        busy(gate, batcher)
        futures = [batcher.submit(request) for request in requests]
        gate.opened.set()
        for future, request in zip(futures, requests, strict=True):
            result = future.result(SOON)["half"]
            assert torch.equal(result, request["x"] / 2)
            assert result.dtype == request["x"].dtype
    assert gate.seen == [[-1], [1, 6], [-2, -7], [[3]], [4], [5]]  # oldest group first


def test_results_are_the_callers_own() -> None:
    with Batcher(lambda batch: batch, max_size=2, max_wait=NEVER) as batcher:
        first, second = batcher.map([number(1), number(2)])
    first["x"].zero_()
    assert float(second["x"]) == 2
    assert first["x"].untyped_storage().nbytes() == 4


def test_eight_threads_get_their_own_results() -> None:
    together = threading.Barrier(8)

    def ask(thread: int) -> list[float]:
        together.wait(SOON)
        return [float(batcher(number(1000 * thread + i))["half"]) for i in range(100)]

    with (
        Batcher(Gate(), max_size=8, capacity=4) as batcher,
        ThreadPoolExecutor(max_workers=8) as threads,
    ):
        for thread, answers in enumerate(threads.map(ask, range(8))):
            assert answers == [(1000 * thread + i) / 2 for i in range(100)]
    counters = batcher.counters()
    assert counters.requests == counters.completed == 800
    assert counters.pending == counters.failed == counters.cancelled == counters.retries == 0
    assert 100 <= counters.batches <= 800


def test_requests_together_equal_requests_alone() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(16, 6 * 8 * 8),
        nn.Unflatten(1, (6, 8, 8)),
        nn.ReLU(),
        nn.Conv2d(6, 20, 3, padding=1),
        nn.GroupNorm(4, 20),
        nn.ReLU(),
        nn.ConvTranspose2d(20, 3, 4, stride=2, padding=1),
    ).eval()

    def function(batch: Batch) -> Batch:
        return {"image": net(batch["noise"])}

    def request(index: int) -> Batch:
        return {"noise": torch.randn(16, generator=generator(spawn(5, index)))}

    for fixed in (True, False):
        with Batcher(function, max_size=8, fixed=fixed) as batcher:
            together = batcher.map(request(index) for index in range(13))
            alone = [batcher(request(index)) for index in reversed(range(13))][::-1]
        for one, other in zip(together, alone, strict=True):
            if fixed:
                assert torch.equal(one["image"], other["image"])
            torch.testing.assert_close(one["image"], other["image"])


# --- errors ---


def refuse_negative(batch: Batch) -> Batch:
    if (batch["x"] < 0).any():
        raise ValueError(f"negative: {batch['x'].tolist()}")
    return {"half": batch["x"] / 2}


@pytest.mark.parametrize("guilty", [{0}, {7}, {2, 3}, {0, 5, 7}, set(range(8))])
def test_an_error_reaches_only_its_caller(guilty: set[int]) -> None:
    with Batcher(refuse_negative, max_size=8, max_wait=NEVER) as batcher:
        values = [-i - 1 if i in guilty else i for i in range(8)]
        futures = [batcher.submit(number(value)) for value in values]
        for index, future in enumerate(futures):
            if index in guilty:
                with pytest.raises(ValueError, match=rf"negative: \[{values[index]}\.0\]$"):
                    future.result(SOON)
            else:
                assert half(future) == index / 2
    assert batcher.counters().completed == 8 - len(guilty)
    assert batcher.counters().failed == len(guilty)


def test_map_raises_and_cancels_the_rest(gate: Gate) -> None:
    def bad_third() -> Iterator[Batch]:
        yield number(1)
        yield number(2)
        raise KeyError("third")

    with Batcher(gate, max_size=8, max_wait=NEVER) as batcher:
        with pytest.raises(KeyError, match="third"):
            batcher.map(bad_third())
        assert batcher.counters().cancelled == 2
    assert gate.seen == []


def test_what_is_not_a_request() -> None:
    with Batcher(Gate()) as batcher:
        for wrong, message in (
            ({}, "a request is a non-empty dict of tensors, not dict"),
            (torch.zeros(1), "a request is a non-empty dict of tensors, not Tensor"),
            ({"x": 1.0}, r"request\['x'\] is not a tensor but float"),
        ):
            anything: Any = wrong
            with pytest.raises(TypeError, match=message):
                batcher.submit(anything)
    assert batcher.counters().requests == 0


def test_out_of_memory_is_retried_in_smaller_batches_for_good() -> None:
    sizes: list[int] = []

    def small_memory(batch: Batch) -> Batch:
        sizes.append(len(batch["x"]))
        if len(batch["x"]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {"half": batch["x"] / 2}

    with Batcher(small_memory, max_size=8, max_wait=NEVER) as batcher:
        for _ in range(2):
            results = batcher.map(number(value) for value in range(8))
            assert [float(result["half"]) for result in results] == [v / 2 for v in range(8)]
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    counters = batcher.counters()
    assert (counters.halvings, counters.retries, counters.batches) == (2, 2, 8)
    assert counters.mean_fill == 1


def test_a_request_too_large_by_itself_fails_alone() -> None:
    def no_room_for_nine(batch: Batch) -> Batch:
        if (batch["x"] == 9).any():
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return {"half": batch["x"] / 2}

    with Batcher(no_room_for_nine, max_size=4, max_wait=NEVER) as batcher:
        futures = [batcher.submit(number(value)) for value in (1, 9, 3, 4)]
        with pytest.raises(RuntimeError, match="allocate memory"):
            futures[1].result(SOON)
        assert [half(futures[i]) for i in (0, 2, 3)] == [0.5, 1.5, 2]


@pytest.mark.parametrize("values", [(1, 2), (1, -1), (-1, 1), (-1, -2)])
def test_results_and_errors_do_not_wait_for_the_garbage_collector(values: tuple[int, int]) -> None:
    settled = threading.Event()

    def on_progress(counters: Counters) -> None:
        settled.set()

    gc.collect()
    gc.disable()
    try:
        with Batcher(
            refuse_negative, max_size=2, max_wait=NEVER, on_progress=on_progress
        ) as batcher:
            futures = [batcher.submit(number(value)) for value in values]
            assert settled.wait(SOON)
            left = [weakref.ref(future) for future in futures]
            del futures
            assert [future() for future in left] == [None, None]
    finally:
        gc.enable()


# --- hooks and counters ---


def test_progress_is_reported_after_each_batch() -> None:
    reports: list[Counters] = []
    with Batcher(
        refuse_negative, max_size=2, max_wait=NEVER, on_progress=reports.append
    ) as batcher:
        batcher.map(number(value) for value in range(4))
        with pytest.raises(ValueError, match="negative"):
            batcher.map([number(-1), number(1)])
    assert [(r.completed, r.failed, r.batches) for r in reports] == [
        (2, 0, 1),
        (4, 0, 2),
        (5, 1, 3),
    ]


def test_exceptions_in_hooks_are_logged_and_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def hook(counters: Counters) -> None:
        raise SystemExit("hook")

    def callback(future: Future[Batch]) -> None:
        raise KeyboardInterrupt("callback")

    with (
        caplog.at_level(logging.ERROR),
        Batcher(Gate(), max_size=2, max_wait=NEVER, on_progress=hook) as batcher,
    ):
        for _ in range(2):
            first = batcher.submit(number(1))
            first.add_done_callback(callback)
            second = batcher.submit(number(2))
            assert [half(first), half(second)] == [0.5, 1]
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(error) for error in logged] == [KeyboardInterrupt, SystemExit] * 2


def test_counters_are_exact(gate: Gate) -> None:
    def function(batch: Batch) -> Batch:
        gate(batch)
        return refuse_negative(batch)

    batcher = Batcher(function, max_size=4, max_wait=0)
    assert batcher.counters() == Counters(0, 0, 0, 0, 0, 0, 0, 0.0, 0.0)
    first = batcher.submit(number(0))
    assert gate.entered.wait(SOON)
    futures = [batcher.submit(number(value)) for value in (1, 2, -3, 4, 5)]
    futures[1].cancel()
    assert batcher.counters().pending == 5
    gate.opened.set()
    batcher.close()
    assert first.exception() is None
    # [0] runs; [1, -3, 4, 5] fails, [1, -3] fails, [1] runs, [-3] fails for good, [4, 5] runs.
    assert gate.seen == [[0], [1, -3, 4, 5], [1, -3], [1], [-3], [4, 5]]
    counters = batcher.counters()
    assert dataclasses.replace(counters, mean_wait_seconds=0) == Counters(
        requests=6,
        completed=4,
        failed=1,
        cancelled=1,
        batches=3,
        retries=2,
        halvings=0,
        mean_fill=1.0,
        mean_wait_seconds=0,
    )
    assert counters.mean_wait_seconds > 0
    assert counters.pending == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        counters.requests = 0  # type: ignore[misc]


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="max_size 0 is too small"):
        Batcher(Gate(), max_size=0)
    with pytest.raises(ValueError, match="capacity 0 is too small"):
        Batcher(Gate(), capacity=0)
    for wait in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"max_wait .* is out of range"):
            Batcher(Gate(), max_wait=wait)


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.integers(-3, 20), st.integers(1, 3), st.booleans()), max_size=30
    ),
    max_size=st.integers(1, 9),
    memory=st.integers(1, 9),
    capacity=st.integers(1, 12),
    fixed=st.booleans(),
    max_wait=st.sampled_from([0, 0.0005]),
)
def test_any_requests_get_their_own_answers(
    requests: list[tuple[int, int, bool]],
    max_size: int,
    memory: int,
    capacity: int,
    fixed: bool,
    max_wait: float,
) -> None:
    """Requests are (value, length, whether to cancel); negative values fail."""

    def function(batch: Batch) -> Batch:
        assert len(set((batch["x"][:, 0] % 2).tolist())) == 1, "keys were mixed"
        if len(batch["x"]) > memory:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return refuse_negative(batch)

    with Batcher(
        function,
        max_size=max_size,
        max_wait=max_wait,
        capacity=capacity,
        fixed=fixed,
        key=lambda request: float(request["x"][0] % 2),
    ) as batcher:
        futures = []
        for value, length, cancel in requests:
            futures.append(batcher.submit({"x": torch.full((length,), float(value))}, timeout=SOON))
            if cancel:
                futures[-1].cancel()
    cancelled = failed = 0
    for future, (value, length, cancel) in zip(futures, requests, strict=True):
        assert future.done()
        if future.cancelled():
            assert cancel
            cancelled += 1
        elif value < 0:
            assert isinstance(future.exception(), ValueError)
            failed += 1
        else:
            assert future.result()["half"].tolist() == [value / 2] * length
    counters = batcher.counters()
    assert (counters.requests, counters.pending) == (len(requests), 0)
    assert (counters.cancelled, counters.failed) == (cancelled, failed)
    assert counters.completed == len(requests) - cancelled - failed
