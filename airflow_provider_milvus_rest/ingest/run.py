"""Rows from a source, checked, in batches, through lanes to the server, into a report."""

import math
import queue
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_milvus_rest.exceptions import InputError, RowError, RowsDifferError
from airflow_provider_milvus_rest.ingest.batches import Batch, Pending
from airflow_provider_milvus_rest.ingest.checkpoint import STALE_SECONDS, Checkpoint
from airflow_provider_milvus_rest.ingest.deliveries import Deliveries, Event
from airflow_provider_milvus_rest.ingest.lanes import Lanes, Sent
from airflow_provider_milvus_rest.ingest.rejects import Rejects, listed
from airflow_provider_milvus_rest.ingest.report import IngestReport, Progress
from airflow_provider_milvus_rest.ingest.retry import TICK, Retry
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rows.compare import first_difference
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key
from airflow_provider_milvus_rest.rows.shape import unfold
from airflow_provider_milvus_rest.rows.source import OCTETS, Row, columns_of

_STOP_SECONDS = 1.5
"""How long a run that is interrupted waits for answers: Airflow 3.3 kills a task 5 s after it asked it to end."""


@dataclass(eq=False)
class Ingest:
    """One run. Only the thread that calls :meth:`run` touches ``report``, which is true also when that raises."""

    client: MilvusRestClient
    schema: CollectionSchema
    options: Options
    report: IngestReport
    retry: Retry
    progress: Progress
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        self._encoder = RowEncoder(self.schema, self.options.field_map, self.options.key_from, self.options.convert)
        self._octets = columns_of(self._encoder.columns, *OCTETS)
        self._rejects = Rejects(self.options.rejects, self.options.max_rejects)
        self._batch = Batch(self.options.batch_size, self.options.max_request_bytes)
        self._lanes = Lanes(self._send, self.retry)
        self._deliveries = Deliveries(self.options, self._lanes, self.client.settings.read_timeout)
        self._in_hand = 0  # rows that were read, and are neither in a batch nor rejected
        self._ids: list[tuple[int, Key]] = []
        self._sample: dict[Key, Pending] = {}  # some of the stored rows, the last one of each key

    def run(self, source: Entities | FileRows) -> None:
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
                    raise self._rejects.error(self.report.read_count)
                if self._batch.rows or self._deliveries.unconfirmed():
                    raise AssertionError("The run has left rows behind. Please report this defect.")
                self._verify()
                failed = False
            except Exception:
                patience = math.inf  # what is on its way is answered, or runs into the connection's timeouts
                raise
            finally:
                self.retry.stopped = True
                self._deliveries.stop()
                self._await(patience)
        finally:  # also if a signal has ended the waiting
            self._finish(failed)

    def _read(self, source: Entities | FileRows) -> None:
        path = self.options.rows_path
        rows = unfold(source.rows(self._encoder.shape.columns(path)), path)
        self._skip(rows)
        checked_only = 0
        for row in rows:
            self.retry.check()
            self.report.read_count += 1
            self._in_hand += 1
            if pending := self._check(row):
                self._put(pending)
            checked_only += self._rejects.failed
            if checked_only and (checked_only >= self.options.batch_size or self._rejects.enough()):
                return
            self.progress.tick()

    def _skip(self, rows: Iterator[Row]) -> None:
        """Pass over what an earlier try has done."""
        if not self.checkpoint:
            return
        find = partial(self.client.stored_keys, self.schema, partition_name=self.options.partition_name)
        if not (progressed := self.checkpoint.resume(find, self.retry)):
            return
        count, duplicates = progressed.read_count, progressed.duplicate_count
        for number in range(count):
            self.retry.check()
            if next(rows, None) is None:
                raise InputError(f"the source has {number} rows, but had {count} before")
        self.report.read_count, self.report.duplicate_count = count, duplicates
        self.report.upsert_count = self.report.resumed_count = count - duplicates
        self._deliveries.accepted = True

    def _check(self, row: Row) -> Pending | None:
        """The row, ready to be sent; None if it is rejected."""
        try:
            if row.error:
                raise row.error
            key, text = self._encoder.encode(row.entity, row.position)
        except RowError as error:
            self._in_hand -= 1
            self.report.rejected_count += 1
            self._rejects.add(row.entity, error, self._octets)
            return None
        given = None if self._encoder.shape.renames_only else row.entity
        return Pending(key, text, row.position, self.report.read_count, given)

    def _put(self, row: Pending) -> None:
        """Put a row into the batch, which is sent first if it is full."""
        if not self._batch.has_room(row):
            self._submit(self.report.read_count - 1)
        if not self._rejects.failed:  # else no row is sent any more
            self._in_hand -= 1
            self.report.duplicate_count += self._batch.add(row)

    def _send(self, rows: list[Pending]) -> Any:
        """Send one request: called by the lanes, each in its thread."""
        where = {"db_name": self.schema.db_name, "partition_name": self.options.partition_name}
        request = UpsertRequest(collection_name=self.schema.name, **where, data=[row.text for row in rows])
        self.client.upsert(request, [row.key for row in rows])

    def _complete(self) -> None:
        """Send what is left, and wait for all answers."""
        self._submit(self.report.read_count)
        rejects, deliveries = self._rejects, self._deliveries
        while not rejects.enough() and (deliveries.busy() or (deliveries.in_doubt() and not rejects.failed)):
            self._collect()

    def _submit(self, read_count: int) -> None:
        """Hand over the batch as soon as it may be; it stays where it is if more rows are rejected than may be."""
        while self._batch.rows and not self._rejects.failed:
            if not self._deliveries.has_room(self._batch.rows):
                self._collect()
                continue
            rows, mark = self._batch.take(), None
            if self.options.check_only:
                self.report.valid_count += len(rows)
                self.report.drop([*rows.values()])
                return
            if self.checkpoint and not self.report.rejected_count:
                mark = self.checkpoint.mark(read_count, self.report.duplicate_count, [*rows])
            self._deliveries.submit(mark, rows)

    def _collect(self) -> None:
        """Take note of the next event, if there is one soon. Raises what ends the run."""
        try:
            self._note(self._deliveries.next(TICK))
        except queue.Empty:
            self.retry.check()
            self.progress.tick()

    def _note(self, event: Sent | Event) -> None:
        report = self.report
        if isinstance(event, Sent):
            report.request_count += 1
            report.retry_count += event.again
            report.bytes_sent += event.size
            return
        self._acknowledge(event.acknowledged, event.found)
        report.duplicate_count -= sum(row.earlier is not None for row, _ in event.refused)
        if event.too_large:
            self._batch.max_bytes = min(self._batch.max_bytes, event.too_large // 2)
        report.rejected_count += len(event.refused)
        for row, error in event.refused:
            reason = f"is refused by the server: {error.args[0]}"
            reject = RowError(reason, position=row.position, key=row.key, code=error.code)
            self._rejects.add(self._given(row), reject, self._octets)
        if event.stored and self.checkpoint:
            self.checkpoint.stored(event.stored)
        if event.error and not self._rejects.failed:
            raise event.error

    def _acknowledge(self, rows: list[Pending], _: Any) -> None:
        """Count rows that are stored, and keep some of them to be verified (reservoir sampling)."""
        size = self.options.verify_sample
        for count, row in enumerate(rows if size else (), self.report.upsert_count + 1):
            if row.key in self._sample or len(self._sample) < size:
                self._sample[row.key] = row
            elif random.randrange(count) < size:  # noqa: S311
                del self._sample[random.choice([*self._sample])]  # noqa: S311
                self._sample[row.key] = row
        self.report.upsert_count += len(rows)
        self.report.drop(rows)
        if self.report.upsert_ids is not None:
            self._ids += [(row.index, row.key) for row in rows]

    def _verify(self) -> None:
        """Read the sample back.

        :raises RowsDifferError: a row is not as it was sent, even after some seconds: reads may be stale.
        """
        rows, deadline = [*self._sample.values()], time.monotonic() + STALE_SECONDS
        while rows:
            found = self.retry.in_thread(partial(self.retry.call, partial(self._differences, rows)))
            differ = [(row, difference) for row, difference in zip(rows, found, strict=True) if difference]
            self.report.verified_count += len(rows) - len(differ)
            if differ and time.monotonic() >= deadline:
                named = listed([difference for _, difference in differ], len(differ))
                raise RowsDifferError(f"{len(differ)} of {len(self._sample)} rows are not stored as sent:{named}")
            rows = [row for row, _ in differ]
            self.retry.sleep(1 if rows else 0)

    def _differences(self, rows: list[Pending]) -> list[RowError | None]:
        """Read rows back: for each, how what is stored is not what it is."""
        stored = self.client.read_rows(self.schema, [row.key for row in rows], self.options.partition_name)
        found: list[RowError | None] = []
        for row in rows:
            difference: RowError | None = RowError("is not stored")
            if row.key in stored:
                difference = first_difference(self.schema, row.text, stored[row.key])
            if difference:
                difference = RowError(difference.reason, position=row.position, field=difference.field, key=row.key)
            found.append(difference)
        return found

    def _given(self, row: Pending) -> Any:
        """A row as it came out of the source, as far as it is known."""
        return self._encoder.decode(row.text) if row.given is None else row.given

    def _await(self, patience: float) -> None:
        """Take note of what is still on its way, for so many seconds, or a few if the task is to end at once."""
        deadline = time.monotonic() + patience
        while self._lanes.sending and time.monotonic() < deadline:
            if self.retry.stop.now and deadline == math.inf:
                deadline = time.monotonic() + _STOP_SECONDS
            with suppress(Exception):  # the run has failed before
                self._note(self._deliveries.next(TICK))

    def _finish(self, failed: bool) -> None:
        """Count what waits and what is still on its way as unconfirmed, and end everything."""
        report = self.report
        if self._lanes.sending:
            self.client.abort()  # so that no thread is left waiting for an answer
        report.unconfirmed_count = self._in_hand + len(self._batch.rows) + self._deliveries.unconfirmed()
        self._lanes.close(1)
        if self.checkpoint:
            self.checkpoint.save()
        self._close(failed)

    def _close(self, failed: bool) -> None:
        """Finish the report and the rejects file."""
        self.report._left_out = sorted(self._encoder.left_out)
        if self.report.upsert_ids is not None:
            self.report.upsert_ids += [key for _, key in sorted(self._ids)]
        self._rejects.close(failed=failed)
        self.report.rejects_path = self._rejects.path
