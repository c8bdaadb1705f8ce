"""Requests side by side: each lane sends one batch at a time, and in parts what the server refuses.

Lanes know nothing of the report, and nothing of Airflow: what became of a batch goes back to the main thread.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_provider_milvus_rest.exceptions import DataRefusedError, RequestTooLargeError, StoppedError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.pace import Pace
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key

_HOPELESS = 50
"""Rows that the server refuses, each alone, before it has accepted any: more cannot be the rows' fault."""


@dataclass
class Outcome:
    """What became of a batch: rows acknowledged, rows refused alone, and how much was sent for it.

    ``reinstated`` rows are sent because the later row with their key was refused. ``too_large`` is the number of bytes
    of the smallest request of several rows that was. ``error`` ended it, with the other rows unconfirmed.
    """

    number: int
    rows: dict[Key, Pending]
    acknowledged: int = 0
    ids: list[int | str] = field(default_factory=list)
    refused: list[tuple[Pending, DataRefusedError]] = field(default_factory=list)
    reinstated: int = 0
    requests: int = 0
    retries: int = 0
    bytes_sent: int = 0
    too_large: int | None = None
    error: BaseException | None = None


class Sender:
    """Sends batches; all lanes share one.

    :param enough: whether so many more rejected rows would end the run, so that nothing more is sent.
    """

    def __init__(
        self,
        client: MilvusRestClient,
        schema: CollectionSchema,
        pace: Pace,
        enough: Callable[[int], bool],
        partition_name: str | None = None,
    ) -> None:
        self._client = client
        self._schema = schema
        self._pace = pace
        self._enough = enough
        self._partition = partition_name
        self._lock = threading.Lock()
        self._refusals = 0
        self._accepted = False

    def send(self, outcome: Outcome) -> None:
        """Send a batch, and again in parts what the server refuses, until the rows at fault stand alone."""
        try:
            self._send(list(outcome.rows.values()), outcome)
        except BaseException as error:  # for the main thread to raise
            outcome.error = error

    def _send(self, rows: list[Pending], outcome: Outcome) -> None:
        if rows and (error := self._try(rows, outcome)):
            self._split(rows, error, outcome)

    def _split(self, rows: list[Pending], error: DataRefusedError, outcome: Outcome) -> None:
        """Part refused rows. Every row is sent, and rejected only if it was refused alone."""
        if len(rows) == 1:
            self._refused(rows[0], error, outcome)
            return
        left, right = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        if left_error := self._try(left, outcome):
            self._split(left, left_error, outcome)
        elif len(right) > 1 and not isinstance(error, RequestTooLargeError):
            self._split(right, error, outcome)  # the fault must be there: no need to send it whole
            return
        self._send(right, outcome)

    def _try(self, rows: list[Pending], outcome: Outcome) -> DataRefusedError | None:
        """Send one request; the server's answer if the data is at fault."""
        if self._enough(len(outcome.refused)):
            raise StoppedError("More rows are rejected than may be.")
        texts = [row.text for row in rows]
        size = sum(map(len, texts)) + len(texts)
        request = UpsertRequest(
            collection_name=self._schema.name, db_name=self._schema.db_name, partition_name=self._partition, data=texts
        )

        def send() -> UpsertResult:
            outcome.requests += 1
            outcome.bytes_sent += size
            return self._client.upsert(request, [row.key for row in rows])

        def count() -> None:
            outcome.retries += 1

        try:
            result = self._pace.call(send, count)
        except DataRefusedError as error:
            if isinstance(error, RequestTooLargeError) and len(rows) > 1:
                outcome.too_large = min(size, outcome.too_large or size)
            return error
        self._accepted = True
        outcome.acknowledged += result.upsert_count
        outcome.ids += result.upsert_ids
        return None

    def _refused(self, row: Pending, error: DataRefusedError, outcome: Outcome) -> None:
        """Reject a row that the server refused; if it had taken an earlier one's place, that one stands."""
        refusal: DataRefusedError | None = error
        while refusal:
            with self._lock:
                self._refusals += 1
                if self._refusals > _HOPELESS and not self._accepted:
                    raise refusal
            outcome.refused.append((row, refusal))
            if not row.earlier:
                return
            row = row.earlier
            outcome.reinstated += 1
            refusal = self._try([row], outcome)


class Lanes:
    """Up to ``count`` daemon threads that send; started when there is something to send."""

    def __init__(self, count: int, sender: Sender) -> None:
        self._count = count
        self._sender = sender
        self._todo: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.sending: dict[int, Outcome] = {}

    @property
    def full(self) -> bool:
        """Whether every lane is busy."""
        return len(self.sending) >= self._count

    def shares_a_key(self, rows: dict[Key, Pending]) -> bool:
        """Whether a batch on its way has one of these keys: sent beside it, either of the two could win."""
        return any(not rows.keys().isdisjoint(outcome.rows) for outcome in self.sending.values())

    def submit(self, number: int, rows: dict[Key, Pending]) -> None:
        """Send a batch; there must be a free lane."""
        if len(self._threads) <= len(self.sending):
            thread = threading.Thread(target=self._run, name=f"milvus-rest-lane-{len(self._threads)}", daemon=True)
            thread.start()  # may fail, where a container limits them
            self._threads.append(thread)
        outcome = self.sending[number] = Outcome(number, rows)
        self._todo.put(outcome)

    def next(self, timeout: float | None = None) -> Outcome:
        """Wait for a batch to be done with.

        :raises queue.Empty: none was within ``timeout`` seconds.
        """
        outcome = self._done.get(timeout=timeout)
        del self.sending[outcome.number]
        return outcome

    def close(self, seconds: float) -> None:
        """End the threads, those that are still sending after that time excepted: they end with their request."""
        for _ in self._threads:
            self._todo.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while outcome := self._todo.get():
            self._sender.send(outcome)
            self._done.put(outcome)
