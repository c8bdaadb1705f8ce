"""Rows from a source, checked, in batches, through lanes to the server, into a report."""

from __future__ import annotations

import itertools
import math
import queue
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from airflow_provider_milvus_rest.exceptions import InputError, RowError
from airflow_provider_milvus_rest.ingest.batches import Batch, Pending
from airflow_provider_milvus_rest.ingest.checkpoint import LOOK_UP_SECONDS, Checkpoint
from airflow_provider_milvus_rest.ingest.deliveries import Deliveries, Event
from airflow_provider_milvus_rest.ingest.lanes import Lanes
from airflow_provider_milvus_rest.ingest.rejects import Rejects
from airflow_provider_milvus_rest.ingest.report import IngestReport, Progress
from airflow_provider_milvus_rest.ingest.retry import TICK, Retry
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key
from airflow_provider_milvus_rest.rows.shape import unfold
from airflow_provider_milvus_rest.rows.source import OCTETS, Row, Source, columns_of

_STOP_SECONDS = 1.5
"""How long a run that is interrupted waits for answers: Airflow 3.3 kills a task 5 s after it asked it to end."""


class Ingest:
    """One run. Only the thread that calls :meth:`run` touches ``report``, which is true also when that raises."""

    def __init__(
        self,
        client: MilvusRestClient,
        schema: CollectionSchema,
        options: Options,
        report: IngestReport,
        retry: Retry,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._client, self._schema, self._options = client, schema, options
        self._report, self._retry = report, retry
        self._progress = progress or Progress(report, lambda: None, lambda _: None)
        self._checkpoint = checkpoint
        self._encoder = RowEncoder(schema, options.field_map, options.key_from, options.convert)
        self._octets = columns_of(self._encoder.columns, *OCTETS)
        self._rejects = Rejects(options.rejects, options.max_rejects)
        self._batch = Batch(options.batch_size, options.max_request_bytes)
        self._lanes = Lanes(client, schema, options, retry)
        self._deliveries = Deliveries(options, self._lanes, client.settings.read_timeout)
        self._batches = itertools.count()
        self._in_hand = 0  # rows that were read, and are neither in a batch nor rejected
        self._ids: list[tuple[int, Key]] = []

    def run(self, source: Source) -> None:
        """Upsert the rows of ``source``.

        :raises RowsRejectedError: more rows are rejected than ``max_rejects`` allows. No batch is sent from then on;
            the rows up to the length of a batch are still checked, so that the error can name more than one.
        :raises MilvusRestError: a request that fails, or is refused with all others, ends the run.
        """
        failed, patience = True, _STOP_SECONDS
        try:
            try:
                self._read(source)
                self._complete()
                if self._rejects.failed:
                    raise self._rejects.error(self._report.read_count)
                if self._batch.rows or self._deliveries.unconfirmed():
                    raise AssertionError("The run has left rows behind. Please report this defect.")
                failed = False
            except Exception:
                patience = math.inf  # what is on its way is answered, or runs into the connection's timeouts
                raise
            finally:
                self._retry.stopped = True
                self._deliveries.stop()
                self._await(patience)
        finally:  # also if a signal has ended the waiting
            self._finish(failed)

    def _read(self, source: Source) -> None:
        path = self._options.rows_path
        rows = unfold(source.rows(self._encoder.shape.columns(path)), path)
        self._skip(rows)
        checked_only = 0
        for row in rows:
            self._retry.check()
            self._report.read_count += 1
            self._in_hand += 1
            self._take(row)
            checked_only += self._rejects.failed
            if checked_only and (checked_only >= self._options.batch_size or self._rejects.enough()):
                return
            self._progress.tick()

    def _skip(self, rows: Iterator[Row]) -> None:
        """Pass over what an earlier try has done."""
        if not (self._checkpoint and (progressed := self._checkpoint.resume(self._look_up, self._retry.sleep))):
            return
        count, duplicates = progressed.read_count, progressed.duplicate_count
        for number in range(count):
            self._retry.check()
            if next(rows, None) is None:
                raise InputError(f"the source has {number} rows, but had {count} before")
        self._report.read_count, self._report.duplicate_count = count, duplicates
        self._report.upsert_count = self._report.resumed_count = count - duplicates
        self._deliveries.accepted = True

    def _look_up(self, keys: list[Key]) -> set[Key]:
        ask = partial(self._client.stored_keys, self._schema, keys, self._options.partition_name)
        return self._retry.in_thread(ask, LOOK_UP_SECONDS)

    def _take(self, row: Row) -> None:
        """Check a row, and put it into the batch."""
        try:
            if row.error:
                raise row.error
            key, text = self._encoder.encode(row.entity, row.position)
        except RowError as error:
            self._in_hand -= 1
            self._report.rejected_count += 1
            self._rejects.add(row.entity, error, self._octets)
            return
        given = None if self._encoder.shape.renames_only else row.entity
        pending = Pending(key, text, row.position, self._report.read_count, given)
        if not self._batch.has_room(pending):
            self._submit(self._report.read_count - 1)
        if self._rejects.failed:
            return  # it was checked, and is not sent
        self._in_hand -= 1
        self._report.duplicate_count += self._batch.add(pending)

    def _complete(self) -> None:
        """Send what is left, and wait for all answers."""
        self._submit(self._report.read_count)
        self._settle(last=True)
        while self._deliveries.busy() and not self._rejects.enough():
            self._collect()
            self._settle(last=True)

    def _submit(self, read_count: int) -> None:
        """Hand over the batch as soon as it may be; it stays where it is if more rows are rejected than may be."""
        while self._batch.rows and not self._rejects.failed:
            if not self._deliveries.has_room(self._batch.rows):
                self._settle(last=True) if self._deliveries.in_doubt() else self._collect()
                continue
            number, rows = next(self._batches), self._batch.take()
            if self._checkpoint and not self._report.rejected_count:
                self._checkpoint.mark(number, read_count, self._report.duplicate_count, [*rows])
            self._deliveries.submit(number, rows)
            self._settle()

    def _settle(self, last: bool = False) -> None:
        """In doubt, send some rows alone; DataRefusedError if none of them is accepted and it is time to decide."""
        while self._deliveries.in_doubt() and not self._rejects.failed:
            if self._deliveries.busy():
                self._collect()
            elif not self._deliveries.try_one(last):
                if last:
                    self._note(self._deliveries.give_up())
                return

    def _collect(self) -> None:
        """Take note of the next event, if there is one soon. Raises what ends the run."""
        try:
            self._note(self._deliveries.next(TICK))
        except queue.Empty:
            self._retry.check()
            self._progress.tick()

    def _note(self, event: Event) -> None:
        report = self._report
        if event.sent:
            report.request_count += 1
            report.retry_count += event.sent.again
            report.bytes_sent += event.sent.size
        report.upsert_count += len(event.acknowledged)
        report.duplicate_count -= sum(row.earlier is not None for row, _ in event.refused)
        if report.upsert_ids is not None:
            self._ids += [(row.index, row.key) for row in event.acknowledged]
        if event.too_large:
            self._batch.limit(event.too_large // 2)
        report.rejected_count += len(event.refused)
        for row, error in event.refused:
            reason = f"is refused by the server: {error.args[0]}"
            reject = RowError(reason, position=row.position, key=row.key, code=error.code)
            entity = self._encoder.decode(row.text) if row.given is None else row.given
            self._rejects.add(entity, reject, self._octets)
        if event.stored is not None and self._checkpoint:
            self._checkpoint.stored(event.stored)
        if event.error and not self._rejects.failed:
            raise event.error

    def _await(self, patience: float) -> None:
        """Take note of what is still on its way, for so many seconds, or a few if the task is to end at once."""
        deadline = time.monotonic() + patience
        while self._lanes.sending and time.monotonic() < deadline:
            if self._retry.interrupted and deadline == math.inf:
                deadline = time.monotonic() + _STOP_SECONDS
            with suppress(Exception):  # the run has failed before
                self._note(self._deliveries.next(TICK))

    def _finish(self, failed: bool) -> None:
        """Count what waits and what is still on its way as unconfirmed, and end everything."""
        report = self._report
        if self._lanes.sending:
            self._client.abort()  # so that no thread is left waiting for an answer
        report.unconfirmed_count = self._in_hand + len(self._batch.rows) + self._deliveries.unconfirmed()
        self._lanes.close(1)
        if self._checkpoint:
            self._checkpoint.save()
        if report.upsert_ids is not None:
            report.upsert_ids += [key for _, key in sorted(self._ids)]
        try:
            self._rejects.close()
        except InputError:
            if not failed:  # else what the run failed with matters more
                raise
        finally:
            report.rejects_path = self._rejects.path
