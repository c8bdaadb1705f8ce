"""Parallel requests: each lane sends one request at a time, retries it if that may help, and returns the outcome."""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_provider_milvus_rest.exceptions import DataRefusedError, MilvusRestError, StoppedError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.retry import Retry


class Sent(NamedTuple):
    """A request is being sent: the bytes of its rows, and whether it is a retry."""

    size: int
    is_retry: bool


@dataclass(eq=False)
class Part:
    """Rows for one request, the ``delivery`` they belong to, and ``rest``, the other half of a refused request."""

    delivery: Any
    rows: list[Pending]
    rest: list[Pending] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes that the rows take in a request."""
        return sum(len(row.text) + 1 for row in self.rows)


class Outcome(NamedTuple):
    """The outcome of a part. Without an ``error``, all its rows were sent, and ``found`` is what ``send`` returned.

    ``timed_out`` is the time of the last timeout (``time.monotonic``): Milvus may still apply that attempt.
    """

    part: Part
    error: BaseException | None = None
    timed_out: float | None = None
    found: Any = None


class Lanes:
    """Daemon threads that call ``send`` with the rows of a request. They are started when needed."""

    def __init__(self, send: Callable[[list[Pending]], object], retry: Retry) -> None:
        self._send, self._retry = send, retry
        self._todo: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        # A signal that raises may leave a Queue locked. It cannot interrupt a SimpleQueue, but before Python 3.13, one
        # whose handler runs past the timeout of its get makes it wait forever: so a lock is waited for, not the queue.
        self._done: queue.SimpleQueue[Sent | Outcome] = queue.SimpleQueue()
        self._news = threading.Lock()  # free if something is done
        self._threads: list[threading.Thread] = []
        self.sending = 0

    def submit(self, part: Part) -> None:
        """Send a part in parallel with the others."""
        if len(self._threads) <= self.sending:
            thread = threading.Thread(target=self._run, name=f"milvus-rest-lane-{len(self._threads)}", daemon=True)
            thread.start()  # may fail if a container limits the number of threads
            self._threads.append(thread)
        self.sending += 1
        self._todo.put(part)

    def next(self, timeout: float) -> Sent | Outcome:
        """Wait for the next event. Raises queue.Empty after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while self._done.empty():
            if not self._news.acquire(timeout=max(0.0, end - time.monotonic())):
                raise queue.Empty
        item = self._done.get()
        self.sending -= isinstance(item, Outcome)
        return item

    def close(self, seconds: float) -> None:
        """End the threads, and wait up to ``seconds``. A thread that is still sending ends after its request."""
        self._todo.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while part := self._todo.get():
            self._tell(self._outcome(part))
        self._todo.put(None)  # for the next thread: a signal may have kept one out of the list

    def _tell(self, item: Sent | Outcome) -> None:
        self._done.put(item)
        with suppress(RuntimeError):  # the lock is free already
            self._news.release()

    def _outcome(self, part: Part) -> Outcome:
        """Send a part until it is acknowledged or refused, or a retry no longer helps."""
        rows, size = part.rows, part.size
        timed_out: float | None = None
        is_retry = False

        def attempt() -> Any:
            nonlocal timed_out, is_retry
            self._tell(Sent(size, is_retry))
            is_retry = True
            try:
                return self._send(rows)
            except MilvusRestError as error:
                timed_out = time.monotonic() if error.timed_out else timed_out
                raise

        try:
            found = self._retry.call(attempt)
            self._retry.acknowledged = True
        except BaseException as error:  # for the main thread to raise
            if isinstance(error, MilvusRestError) and not isinstance(error, (DataRefusedError, StoppedError)):
                last = "" if len(rows) == 1 else f" to {rows[-1].position}"
                error.args = (f"{error.args[0]} The request contained {rows[0].position}{last}.",)
            return Outcome(part, error, timed_out)
        return Outcome(part, None, timed_out, found)
