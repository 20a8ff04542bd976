"""The shared batching service: single requests from any thread, run together in padded buckets."""

import logging
import math
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TypeAlias

import torch

from .buckets import Batch, BatchFunction, Bucketed, signature, stack, unstack
from .pending import PendingRequests, Ticket

_LOGGER = logging.getLogger(__name__)
_EXIT_SECONDS = 10.0


@dataclass(frozen=True)
class Counters:
    """What a batcher has done so far; exact whenever no request is on its way.

    Attributes:
        requests: Requests accepted.
        completed: Requests that have a result.
        failed: Requests that have an error.
        cancelled: Requests cancelled before they ran.
        batches: Calls of the function that returned.
        retries: Calls that failed and whose requests were run again in smaller batches.
        halvings: The retries after an out-of-memory error.
        mean_fill: Share of the computed rows that belong to requests, in [0, 1].
        mean_wait_seconds: Mean time from entering the queue to the start of the run.
    """

    requests: int
    completed: int
    failed: int
    cancelled: int
    batches: int
    retries: int
    halvings: int
    mean_fill: float
    mean_wait_seconds: float

    @property
    def pending(self) -> int:
        """Requests that wait or run."""
        return self.requests - self.completed - self.failed - self.cancelled


ProgressHook: TypeAlias = Callable[[Counters], None]


class Batcher:
    """Runs single requests of many callers together and gives each caller its own result.

    A request is a dict of tensors without a batch dimension. Requests of equal names, shapes,
    dtypes and devices (and equal `key`) are stacked, padded to a bucket and given to the function
    in one call on the batcher's own thread; see `Bucketed` for what the function may do, for the
    buckets and for what happens when memory runs out. When a call fails, its requests are run again
    in halves, so that only those which fail by themselves get the error.

    A result does not depend on the other requests: they bring their own random numbers, drawn
    before they are submitted, and sequences of different lengths come through `pad_length`.

        def network(batch):                          # {"noise": (n, 64)} -> {"image": (n, ...)}
            with autocast(gpu):                      # the thread's own: enter it here
                return {"image": generator_net(batch["noise"].to(gpu))}

        with Batcher(network, max_size=16) as batcher:
            seeds = [spawn(seed, index) for index in range(100)]
            requests = [{"noise": torch.randn(64, generator=generator(s))} for s in seeds]
            images = [result["image"] for result in batcher.map(requests)]

    `Future.add_done_callback` reports single requests. An exception in such a callback or in
    `on_progress` is logged, and nothing else happens. A batcher that is no longer referenced runs
    what it has accepted and ends; at the exit of the interpreter it cancels what has not started.

    Args:
        function: Takes a batch of n rows (n, ...) and returns one of n rows.
        max_size: Most requests in a call.
        max_wait: Longest time that a request waits for company, in seconds. With 0 whatever has
            arrived runs as soon as the function is free.
        capacity: Most requests that wait; `submit` blocks beyond.
        fixed: Always pad to the largest bucket, for bit-equal results; see `Bucketed`.
        key: Requests with different keys never share a call.
        on_progress: Called on the batcher's thread after every batch that was settled.

    Raises:
        ValueError: A size or time is out of range.
    """

    def __init__(
        self,
        function: BatchFunction,
        *,
        max_size: int = 32,
        max_wait: float = 0.002,
        capacity: int = 1024,
        fixed: bool = False,
        key: Callable[[Batch], Hashable] | None = None,
        on_progress: ProgressHook | None = None,
    ) -> None:
        if not (math.isfinite(max_wait) and max_wait >= 0):
            raise ValueError(f"max_wait {max_wait} is out of range: use seconds, 0 or more")
        if capacity < 1:
            raise ValueError(f"capacity {capacity} is too small: use 1 or more")
        bucketed = Bucketed(function, max_size=max_size, fixed=fixed)
        self._key = key
        self._queue = PendingRequests(max_size, max_wait, capacity)
        self._worker = _Worker(self._queue, bucketed, on_progress)
        # The thread knows the worker and not the batcher, so that a forgotten batcher can go.
        self._thread = threading.Thread(
            target=self._worker.serve, name="neuralpaint-batcher", daemon=True
        )
        weakref.finalize(self, self._queue.close_from_finalizer).atexit = False
        # A daemon thread that is inside PyTorch when the interpreter goes can crash the process.
        weakref.finalize(self._thread, _stop_at_exit, weakref.ref(self._thread), self._queue)
        self._thread.start()

    def submit(self, request: Batch, timeout: float | None = None) -> Future[Batch]:
        """Queue a request. Its tensors must not change until the future is done.

        Args:
            request: Tensors without a batch dimension.
            timeout: Longest wait for room in the queue in seconds; None for no limit.

        Returns:
            The future of the function's tensors for this request, without a batch dimension.
            Cancelled in time, it frees its place at once.

        Raises:
            TypeError: The request is not a non-empty dict of tensors.
            TimeoutError: The queue stayed full.
            RuntimeError: The batcher is closed, its thread died, or this is a forked process.
        """
        _check_request(request)
        group = (None if self._key is None else self._key(request), signature(request))
        if threading.current_thread() is self._thread:
            timeout = 0  # it would wait for itself
        return self._queue.put(group, request, timeout)

    def __call__(self, request: Batch) -> Batch:
        """Submit a request and wait for its result; the errors are those of `map`."""
        return self.map([request])[0]

    def map(self, requests: Iterable[Batch]) -> list[Batch]:
        """Submit requests and wait for all results.

        Args:
            requests: Any number of requests.

        Returns:
            Their results, in order.

        Raises:
            Exception: The first error of `submit`, of the function or of `requests`; requests that
                have not started are then cancelled.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("the batcher's own thread cannot wait for it: use submit")
        futures: list[Future[Batch]] = []
        try:
            for request in requests:
                futures.append(self.submit(request))
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()  # does nothing to those that are done

    def counters(self) -> Counters:
        """What was done so far."""
        return self._worker.counters()

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """Accept no more requests. Closing twice is allowed.

        Args:
            wait: Return when the last request has its result.
            cancel: Cancel the requests that have not started instead of running them.
        """
        self._queue.close(cancel)
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> "Batcher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(cancel=error is not None)


class _Worker:
    """The batcher's thread: takes groups from the queue, runs them, settles their futures."""

    def __init__(
        self, queue: PendingRequests, bucketed: Bucketed, on_progress: ProgressHook | None
    ) -> None:
        self._queue = queue
        self._bucketed = bucketed
        self._on_progress = on_progress
        self._completed = 0
        self._failed = 0
        self._splits = 0

    def serve(self) -> None:
        tickets: list[Ticket] | None = []
        try:
            while (tickets := self._queue.take()) is not None:
                self._run(tickets)
                if self._on_progress is not None:
                    _guarded(partial(self._on_progress, self.counters()))
        except BaseException as death:  # SystemExit from the function, for instance
            for ticket in (tickets or []) + self._queue.die(death):
                if not ticket.future.done():
                    self._failed += 1
                    error = RuntimeError(f"the batcher's worker died: {death!r}")
                    error.__cause__ = death
                    _guarded(partial(ticket.future.set_exception, error))

    def counters(self) -> Counters:
        queue, calls = self._queue, self._bucketed.calls
        return Counters(
            requests=queue.accepted,
            completed=self._completed,
            failed=self._failed,
            cancelled=queue.cancelled,
            batches=calls.batches,
            retries=calls.halvings + self._splits,
            halvings=calls.halvings,
            mean_fill=calls.mean_fill,
            mean_wait_seconds=queue.waited_seconds / queue.started if queue.started else 0.0,
        )

    def _run(self, tickets: list[Ticket]) -> None:
        """Settle the futures of these tickets, and empty the list.

        An error's traceback keeps this frame and those below it. If they kept the future, which
        keeps the error, all would stay in memory until the garbage collector comes.
        """
        try:
            results = unstack(self._bucketed(stack([ticket.request for ticket in tickets])))
        except Exception as error:
            if len(tickets) == 1:
                self._failed += 1
                _guarded(partial(tickets.pop().future.set_exception, error))
                return
        else:
            for ticket, result in zip(tickets, results, strict=True):
                self._completed += 1
                _guarded(partial(ticket.future.set_result, result))
            tickets.clear()
            return
        self._splits += 1
        middle = len(tickets) // 2
        self._run(tickets[:middle])
        self._run(tickets[middle:])
        tickets.clear()


def _guarded(action: Callable[[], object]) -> None:
    """Run what may call a caller's code, which must not end the thread that serves all callers."""
    try:
        action()
    except BaseException:
        _LOGGER.exception("an exception in a callback of a batcher")


def _stop_at_exit(thread: weakref.ref[threading.Thread], queue: PendingRequests) -> None:
    running = thread()
    if running is not None:  # else the thread ended long ago
        queue.close(cancel=True)
        running.join(_EXIT_SECONDS)


def _check_request(request: Batch) -> None:
    if not isinstance(request, dict) or not request:
        raise TypeError(f"a request is a non-empty dict of tensors, not {type(request).__name__}")
    for name, tensor in request.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"request[{name!r}] is not a tensor but {type(tensor).__name__}")
