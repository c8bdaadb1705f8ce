"""Requests side by side: each lane sends one at a time, again where that may help, and returns what became of it."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_provider_milvus_rest.exceptions import DataRefusedError, MilvusRestError, StoppedError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.retry import Retry


class Sent(NamedTuple):
    """A request is sent: bytes of its rows, and whether it repeats an earlier one."""

    size: int
    again: bool


@dataclass(eq=False)
class Part:
    """Rows for one request, the ``delivery`` that they are of, and the other half of what was refused."""

    delivery: Any
    rows: list[Pending]
    rest: list[Pending] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of the rows in their request."""
        return sum(len(row.text) + 1 for row in self.rows)


class Outcome(NamedTuple):
    """What became of a part. Without an ``error``, all of its rows were sent, and ``found`` is what that returned.

    ``timed_out`` is when an attempt last timed out (``time.monotonic``): Milvus may still apply it.
    """

    part: Part
    error: BaseException | None = None
    timed_out: float | None = None
    found: Any = None


class Lanes:
    """Daemon threads that call ``send`` with the rows of a request; started when there is something to send."""

    def __init__(self, send: Callable[[list[Pending]], object], retry: Retry) -> None:
        self._send, self._retry = send, retry
        self._todo: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        # Not a SimpleQueue: before Python 3.13, its get waits for ever if a signal handler outlasts the timeout.
        self._done: queue.Queue[Sent | Outcome] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self.sending = 0

    def submit(self, part: Part) -> None:
        """Send rows, side by side with all that is being sent."""
        if len(self._threads) <= self.sending:
            thread = threading.Thread(target=self._run, name=f"milvus-rest-lane-{len(self._threads)}", daemon=True)
            thread.start()  # may fail, where a container limits them
            self._threads.append(thread)
        self.sending += 1
        self._todo.put(part)

    def next(self, timeout: float) -> Sent | Outcome:
        """Wait for what happens next; queue.Empty if nothing does within ``timeout`` seconds."""
        item = self._done.get(timeout=timeout)
        self.sending -= isinstance(item, Outcome)
        return item

    def close(self, seconds: float) -> None:
        """End the threads. One that is still sending after so many seconds ends with its request."""
        for _ in self._threads:
            self._todo.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while part := self._todo.get():
            self._done.put(self._outcome(part))

    def _outcome(self, part: Part) -> Outcome:
        """Send a part until it is acknowledged or refused, or a retry no longer helps."""
        rows, size = part.rows, part.size
        timed_out: float | None = None
        again = False

        def attempt() -> Any:
            nonlocal timed_out, again
            self._done.put(Sent(size, again))
            again = True
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
                error.args = (f"{error.args[0]} The request held {rows[0].position}{last}.",)
            return Outcome(part, error, timed_out)
        return Outcome(part, None, timed_out, found)
