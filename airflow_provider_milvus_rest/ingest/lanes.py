"""Requests side by side: each lane sends one at a time, again where that may help, and returns what became of it."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_provider_milvus_rest.exceptions import DataRefusedError, MilvusRestError, StoppedError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rows.schema import CollectionSchema


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


class Outcome(NamedTuple):
    """What became of rows that were sent in one request. Without an ``error``, Milvus has acknowledged all of them.

    ``timed_out`` is when an attempt last timed out (``time.monotonic``): Milvus may still apply it.
    """

    part: Part
    error: BaseException | None = None
    timed_out: float | None = None


class Lanes:
    """Up to ``concurrency`` daemon threads that send; started when there is something to send."""

    def __init__(self, client: MilvusRestClient, schema: CollectionSchema, options: Options, retry: Retry) -> None:
        self._client, self._schema, self._options, self._retry = client, schema, options, retry
        self._todo: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Sent | Outcome] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.sending = 0

    def submit(self, part: Part) -> None:
        """Send rows. More than ``concurrency`` at a time is not meant."""
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
            self._done.put(self._send(part))

    def _send(self, part: Part) -> Outcome:
        """Send one request until it is acknowledged or refused, or a retry no longer helps."""
        rows = part.rows
        timed_out: float | None = None
        again = False

        def attempt() -> None:
            nonlocal timed_out, again
            self._done.put(Sent(size, again))
            again = True
            try:
                self._client.upsert(request, keys)
            except MilvusRestError as error:
                timed_out = time.monotonic() if error.timed_out else timed_out
                raise

        try:
            texts, keys = [row.text for row in rows], [row.key for row in rows]
            size = sum(map(len, texts)) + len(texts)
            where = {"db_name": self._schema.db_name, "partition_name": self._options.partition_name}
            request = UpsertRequest(collection_name=self._schema.name, **where, data=texts)
            self._retry.call(attempt)
            self._retry.acknowledged = True
        except BaseException as error:  # for the main thread to raise
            if isinstance(error, MilvusRestError) and not isinstance(error, (DataRefusedError, StoppedError)):
                last = "" if len(rows) == 1 else f" to {rows[-1].position}"
                error.args = (f"{error.args[0]} The request held {rows[0].position}{last}.",)
            return Outcome(part, error, timed_out)
        return Outcome(part, None, timed_out)
