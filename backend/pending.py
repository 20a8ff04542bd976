"""The bounded queue of a `Batcher`: requests wait here in groups until a group is ready to run."""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from operator import itemgetter

from .buckets import Batch


@dataclass(frozen=True, eq=False)
class Ticket:
    """One waiting request.

    Attributes:
        request: Its tensors.
        future: Where the caller finds the result.
        queued_at: When it entered the queue, in seconds of the monotonic clock.
    """

    request: Batch
    future: Future[Batch]
    queued_at: float


class PendingRequests:
    """Requests by group, oldest first; any thread puts and cancels, one worker takes.

    A group is ready when it fills a batch, when its oldest request has waited `max_wait`, when the
    queue is full, or when the queue is closed. Of several the one with the oldest request goes.

    Args:
        max_size: Most requests taken at once.
        max_wait: Longest wait for company, in seconds.
        capacity: Most requests that wait at a time.
    """

    def __init__(self, max_size: int, max_wait: float, capacity: int) -> None:
        self._max_size = max_size
        self._max_wait = max_wait
        self._capacity = capacity
        # Reentrant: a finalizer may cancel a future while its thread is in one of our methods.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        # Binary semaphore on which the worker sleeps. Unlike a condition's notify, a lock's release
        # is safe in a finalizer, and it is not lost if it comes before the wait.
        self._bell = threading.Lock()
        self._groups: dict[Hashable, dict[Future[Batch], Ticket]] = {}
        self._waiting = 0
        self._closed = False
        self._death: BaseException | None = None
        self._process = os.getpid()
        self.accepted = 0
        self.cancelled = 0
        self.started = 0
        self.waited_seconds = 0.0

    def put(self, key: Hashable, request: Batch, timeout: float | None) -> Future[Batch]:
        """Add a request, when there is room.

        Args:
            key: Its group.
            request: Its tensors.
            timeout: Longest wait for room in seconds; None for no limit.

        Returns:
            The future of its result.

        Raises:
            RuntimeError: The queue is closed, its worker died, or this is a forked process.
            TimeoutError: There was no room in time.
        """
        if os.getpid() != self._process:
            raise RuntimeError("a Batcher does not work in a forked process: make a new one in it")
        future: Future[Batch] = Future()
        future.add_done_callback(functools.partial(self._forget, key))
        with self._lock:
            self._room.wait_for(lambda: self._closed or self._waiting < self._capacity, timeout)
            if self._death is not None:
                raise RuntimeError("the batcher's worker has died; make a new one") from self._death
            if self._closed:
                raise RuntimeError("the batcher is closed; make a new one")
            if self._waiting >= self._capacity:
                raise TimeoutError(
                    f"the batcher's queue is full, {self._waiting} requests wait: submit more "
                    "slowly, or give a longer timeout or a larger capacity"
                )
            ticket = Ticket(request, future, time.monotonic())
            group = self._groups.setdefault(key, {})
            group[future] = ticket
            self._waiting += 1
            self.accepted += 1
            if len(group) in (1, self._max_size) or self._waiting == self._capacity:
                self._ring()
        return future

    def take(self) -> list[Ticket] | None:
        """Wait for a ready group and take its oldest requests; for the worker alone.

        Returns:
            Up to `max_size` tickets whose futures are now running; None when the queue is closed
            and empty.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                key, delay = self._next_group(now)
                if delay == 0:
                    tickets = self._take_from(key, now)
                    if tickets:
                        return tickets
                    continue  # all were cancelled at this very moment
                if self._closed and not self._groups:
                    return None
            self._bell.acquire(timeout=min(delay, threading.TIMEOUT_MAX))

    def close(self, cancel: bool) -> None:
        """Accept no more requests.

        Args:
            cancel: Cancel those that wait; else they are still taken.
        """
        if os.getpid() != self._process:
            return  # the lock may have been copied in its locked state
        with self._lock:
            self._closed = True
            dropped = self._empty() if cancel else []
            self._room.notify_all()
        self._ring()
        for ticket in dropped:
            ticket.future.cancel()
            ticket.future.set_running_or_notify_cancel()

    def close_from_finalizer(self) -> None:
        """Accept no more requests, without the lock: nobody can be in `put` any more."""
        self._closed = True
        self._ring()

    def die(self, death: BaseException) -> list[Ticket]:
        """Accept no more requests because the worker died.

        Args:
            death: What it died of.

        Returns:
            The tickets that were left, their futures now running.
        """
        with self._lock:
            self._closed = True
            self._death = death
            left = self._empty()
            self._room.notify_all()
        return [ticket for ticket in left if ticket.future.set_running_or_notify_cancel()]

    def _next_group(self, now: float) -> tuple[Hashable, float]:
        """The group to run next and the seconds until then; without any, None and for ever."""
        if not self._groups:
            return None, threading.TIMEOUT_MAX
        at_once = self._closed or self._waiting >= self._capacity
        ages: list[tuple[float, bool, Hashable]] = []  # (oldest request, ready, key)
        for key, group in self._groups.items():
            oldest = next(iter(group.values())).queued_at
            full = len(group) >= self._max_size
            ages.append((oldest, at_once or full or now >= oldest + self._max_wait, key))
        ready = [age for age in ages if age[1]]
        if ready:
            return min(ready, key=itemgetter(0))[2], 0.0
        oldest, _, key = min(ages, key=itemgetter(0))
        return key, oldest + self._max_wait - now

    def _take_from(self, key: Hashable, now: float) -> list[Ticket]:
        group = self._groups[key]
        tickets: list[Ticket] = []
        while group and len(tickets) < self._max_size:
            ticket = group.pop(next(iter(group)))
            self._waiting -= 1
            self._room.notify()
            if ticket.future.set_running_or_notify_cancel():
                tickets.append(ticket)
                self.started += 1
                self.waited_seconds += now - ticket.queued_at
        if not group:
            del self._groups[key]
        return tickets

    def _empty(self) -> list[Ticket]:
        left = [ticket for group in self._groups.values() for ticket in group.values()]
        self._groups.clear()
        self._waiting = 0
        return left

    def _forget(self, key: Hashable, future: Future[Batch]) -> None:
        """Give up the place of a request whose future was cancelled."""
        if not future.cancelled():
            return
        with self._lock:
            self.cancelled += 1
            group = self._groups.get(key, {})
            waiting = group.pop(future, None) is not None
            if waiting:
                self._waiting -= 1
                self._room.notify()
                if not group:
                    del self._groups[key]
        if waiting:
            # Without this, concurrent.futures.wait and as_completed do not see the cancellation.
            future.set_running_or_notify_cancel()

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it already rings
            self._bell.release()
