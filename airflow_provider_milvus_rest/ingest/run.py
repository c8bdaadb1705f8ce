"""Rows from a source, checked, in batches, through lanes to the server, into a report."""

from __future__ import annotations

import itertools
import math
import queue
import time
from collections.abc import Iterator
from contextlib import suppress

from airflow_provider_milvus_rest.exceptions import InputError, RowError, StoppedError
from airflow_provider_milvus_rest.ingest.batches import Batch, Pending
from airflow_provider_milvus_rest.ingest.checkpoint import Checkpoint
from airflow_provider_milvus_rest.ingest.lanes import Lanes, Outcome, Sender
from airflow_provider_milvus_rest.ingest.pace import TICK, Pace
from airflow_provider_milvus_rest.ingest.progress import Progress
from airflow_provider_milvus_rest.ingest.rejects import Rejects
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key
from airflow_provider_milvus_rest.rows.source import OCTETS, Row, Source, columns_of

BATCH_SIZE = 1000
MAX_REQUEST_BYTES = 8 * 2**20
CONCURRENCY = 4
_STOP_SECONDS = 1.5
"""How long a run that is interrupted waits for answers: Airflow 3.3 kills a task 5 s after it asked it to end."""


class Ingest:
    """One run: upserts rows in requests of at most ``batch_size`` rows and ``max_request_bytes`` of them.

    Up to ``concurrency`` requests are on their way at the same time, but never two that share a primary key, so that
    the last row of a key wins. ``report`` is only touched by the thread that calls :meth:`run`, is brought up to date
    as it goes, and is true also when that raises.
    """

    def __init__(
        self,
        client: MilvusRestClient,
        schema: CollectionSchema,
        encoder: RowEncoder,
        report: IngestReport,
        rejects: Rejects,
        *,
        partition_name: str | None = None,
        batch_size: int = BATCH_SIZE,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        concurrency: int = CONCURRENCY,
        pace: Pace,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._encoder = encoder
        self._octets = columns_of(encoder.columns, *OCTETS)
        self._report = report
        self._rejects = rejects
        self._progress = progress
        self._checkpoint = checkpoint
        self._batch = Batch(batch_size, max_request_bytes)
        self._batch_size = batch_size
        self._client = client
        self._pace = pace
        self._lanes = Lanes(concurrency, Sender(client, schema, pace, rejects.enough, partition_name))
        self._batches = 0
        self._ids: dict[int, list[int | str]] = {}

    def run(self, source: Source) -> None:
        """Upsert the rows of ``source``.

        :raises RowsRejectedError: more rows are rejected than may be. Nothing is sent from then on; the rows up to
            the length of a batch are still checked, so that the error can name more than one.
        :raises MilvusRestError: a request that fails ends the run; requests before it stay written.
        """
        failed, patience = True, _STOP_SECONDS
        try:
            try:
                self._read(source)
                self._drain()
                if self._rejects.failed:
                    raise self._rejects.error(self._report.read_count)
                failed = False
            except Exception:
                patience = math.inf  # what is on its way is answered, or runs into the connection's timeouts
                raise
            finally:
                self._pace.stopped = True
                self._await(patience)
        finally:  # also if a signal has ended the waiting
            self._finish(failed)

    def _read(self, source: Source) -> None:
        checked_only = 0
        rows = source.rows(self._encoder.columns)
        self._skip(rows)
        for row in rows:
            self._check_stopped()
            self._report.read_count += 1
            pending = self._checked(row)
            if self._rejects.failed:
                checked_only += 1
                if checked_only >= self._batch_size or self._rejects.enough():
                    return
            elif pending is not None:
                if not self._batch.has_room(pending):
                    self._submit(self._batch.take(), self._report.read_count - 1)
                if self._batch.add(pending):
                    self._report.duplicate_count += 1
            if self._progress:
                self._progress.tick()
        if not self._rejects.failed:
            self._submit(self._batch.take(), self._report.read_count)

    def _skip(self, rows: Iterator[Row]) -> None:
        """Pass over what an earlier try has done."""
        progressed = self._checkpoint and self._checkpoint.resume()
        if not progressed:
            return
        report = self._report
        for _ in itertools.islice(rows, progressed.read_count):
            self._check_stopped()
            report.read_count += 1
        if report.read_count < progressed.read_count:
            raise InputError(f"the source has {report.read_count} rows, but had {progressed.read_count} before")
        report.duplicate_count = progressed.duplicate_count
        report.upsert_count = report.resumed_count = progressed.read_count - progressed.duplicate_count

    def _checked(self, row: Row) -> Pending | None:
        """The row, ready to be sent; None if it is rejected."""
        try:
            if row.error:
                raise row.error
            key, text = self._encoder.encode(row.entity, row.position)
        except RowError as error:
            self._reject(row.entity, error)
            return None
        return Pending(key, text, row.position)

    def _submit(self, rows: dict[Key, Pending], read_count: int) -> None:
        """Hand a batch to a lane, when there is one and no batch on its way has one of its keys."""
        if self._checkpoint and not self._report.rejected_count:
            self._checkpoint.mark(self._batches, read_count, self._report.duplicate_count)
        while rows and (self._lanes.full or self._lanes.shares_a_key(rows)):
            self._collect()
        if rows and not self._rejects.failed:
            self._lanes.submit(self._batches, rows)
            self._batches += 1

    def _drain(self) -> None:
        while self._lanes.sending:
            self._collect()

    def _collect(self) -> None:
        """Take note of what became of a batch. Raises what ended it."""
        while True:
            try:
                outcome = self._lanes.next(TICK)
                break
            except queue.Empty:
                self._check_stopped()
                if self._progress:
                    self._progress.tick()
        self._note(outcome)
        if outcome.error and not self._rejects.failed:
            raise outcome.error

    def _check_stopped(self) -> None:
        if self._pace.interrupted:
            raise StoppedError("The run was stopped before everything was read and sent.")

    def _note(self, outcome: Outcome) -> None:
        self._report.request_count += outcome.requests
        self._report.retry_count += outcome.retries
        self._report.bytes_sent += outcome.bytes_sent
        # Read once: a lane that was left behind may go on counting.
        acknowledged, refused = outcome.acknowledged, list(outcome.refused)
        self._report.upsert_count += acknowledged
        self._report.duplicate_count -= outcome.reinstated
        if self._report.upsert_ids is not None:
            self._ids[outcome.number] = outcome.ids
        for row, error in refused:
            reason = f"is refused by the server: {error.args[0]}"
            reject = RowError(reason, position=row.position, key=row.key, code=error.code)
            self._reject(self._encoder.decode(row.text), reject)
        if self._checkpoint and acknowledged == len(outcome.rows) and not refused:
            self._checkpoint.stored(outcome.number)
        if outcome.too_large:
            self._batch.limit(outcome.too_large // 2)
        if self._rejects.failed:
            self._pace.stopped = True

    def _reject(self, entity: object, error: RowError) -> None:
        self._report.rejected_count += 1
        self._rejects.add(entity, error, self._octets)

    def _await(self, patience: float) -> None:
        """Take note of what is still on its way, for so many seconds, or a few if the task is to end at once."""
        deadline = time.monotonic() + patience
        while self._lanes.sending and time.monotonic() < deadline:
            if self._pace.interrupted and deadline == math.inf:
                deadline = time.monotonic() + _STOP_SECONDS
            with suppress(queue.Empty, InputError):  # the run has failed before the rejects file did
                self._note(self._lanes.next(TICK))

    def _finish(self, failed: bool) -> None:
        """Count what is still on its way, and what was never sent, as unconfirmed."""
        report = self._report
        if self._lanes.sending:
            self._client.abort()  # so that no thread is left waiting for an answer
        for outcome in self._lanes.sending.values():
            with suppress(InputError):
                self._note(outcome)
        if failed:
            accounted = report.upsert_count + report.duplicate_count + report.rejected_count
            report.unconfirmed_count = report.read_count - accounted
        self._lanes.close(1)
        if self._checkpoint:
            self._checkpoint.save()
        if report.upsert_ids is not None:
            report.upsert_ids += [key for number in sorted(self._ids) for key in self._ids[number]]
        report.rejects_path = self._rejects.path
        try:
            self._rejects.close()
        except InputError:
            if not failed:  # else what the run failed with matters more
                raise
