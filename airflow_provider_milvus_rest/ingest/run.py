"""One run: reads rows from a source, checks them, sends them in batches, and counts the results."""

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
from airflow_provider_milvus_rest.ingest.batches import Batch, Pending, by_size
from airflow_provider_milvus_rest.ingest.checkpoint import STALE_SECONDS, Checkpoint
from airflow_provider_milvus_rest.ingest.deliveries import Deliveries, Event
from airflow_provider_milvus_rest.ingest.lanes import Lanes, Sent
from airflow_provider_milvus_rest.ingest.rejects import Rejects, listed
from airflow_provider_milvus_rest.ingest.report import IngestReport, Progress
from airflow_provider_milvus_rest.ingest.retry import TICK, Retry
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rest.client import UNREADABLE_KEYS, MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rows.compare import first_difference
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key
from airflow_provider_milvus_rest.rows.shape import unfold
from airflow_provider_milvus_rest.rows.source import Row, copied

_READ_BYTES = 2**22  # of rows that are read back at once: a response is limited too
_STOP_SECONDS = 1.5
"""How long an interrupted run waits for responses. Airflow 3.3 kills a task 5 s after asking it to stop."""


@dataclass(eq=False)
class Ingest:
    """One run. Only the thread that calls :meth:`run` changes ``report``, which is correct even if it raises."""

    client: MilvusRestClient
    schema: CollectionSchema
    options: Options
    report: IngestReport
    retry: Retry
    progress: Progress
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        self._encoder = RowEncoder(self.schema, self.options.field_map, self.options.key_from, self.options.convert)
        self._rejects = Rejects(self.options.rejects, self.options.max_rejects)
        self._batch = Batch(self.options.batch_size, self.options.max_request_bytes)
        self._lanes = Lanes(self._send, self.retry)
        self._deliveries = Deliveries(self.options, self._lanes, self.client.settings.read_timeout)
        self._copies = False  # whether the source may change a row later
        self._in_hand = 0  # rows that were read but are neither in a batch nor rejected yet
        self._ids: list[tuple[int, Key]] = []
        self._sample: dict[int, Pending] = {}  # some of the stored rows, by place
        self._places: dict[Key, int] = {}  # so that a later row replaces an earlier one with its key

    def run(self, source: Entities | FileRows) -> None:
        """Upsert the rows of ``source``.

        :raises RowsRejectedError: more rows are rejected than ``max_rejects`` allows. No more batches are sent, but up
            to ``batch_size`` rows are still checked, so that the error can name more than one.
        :raises MilvusRestError: a request fails after its retries, or Milvus accepts none of the rows.
        """
        try:
            self._run(source)
        except Exception:
            raise
        except BaseException:
            self.report.interrupted()
            raise

    def _run(self, source: Entities | FileRows) -> None:
        failed, seconds = True, _STOP_SECONDS
        try:
            try:
                self._read(source)
                self._complete()
                if self._rejects.failed:
                    self._stop(math.inf)  # the error names a file that must be complete
                    raise self._rejects.error(self.report.read_count)
                if self._batch.rows or self._deliveries.unconfirmed():
                    raise AssertionError("The run ended with rows that were not sent. Please report this bug.")
                if self._sample and self.checkpoint:  # a retry must start over: its sample would be empty
                    self.checkpoint.clear()
                    self.checkpoint = None
                self._verify()
                failed = False
            except Exception:
                # Requests in flight get a response or time out, unless they had the time.
                seconds = 0.0 if self.retry.stopped else math.inf
                raise
            finally:
                self._stop(seconds)
        finally:  # also if a signal interrupts the wait
            self._finish(failed)

    def _read(self, source: Entities | FileRows) -> None:
        path = self.options.rows_path
        self._copies = isinstance(source, Entities) and source.may_reuse
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
        """Skip the rows that an earlier try has stored."""
        if not self.checkpoint:
            return
        find = partial(self.client.stored_keys, self.schema, partition_name=self.options.partition_name)
        if not (progressed := self.checkpoint.resume(find, self.retry)):
            return
        count, duplicates = progressed.read_count, progressed.duplicate_count
        for number in range(count):
            self.retry.check()
            if next(rows, None) is None:
                raise InputError(f"the source has {number} rows, but had at least {count} in an earlier try")
        self.report.read_count, self.report.duplicate_count = count, duplicates
        self.report.upsert_count = self.report.resumed_count = count - duplicates
        self._deliveries.accepted = True

    def _check(self, row: Row) -> Pending | None:
        """Return the encoded row, or None if it is rejected."""
        try:
            if row.error:
                raise row.error
            key, text = self._encoder.encode(row.entity, row.position)
        except RowError as error:
            self._rejects.add(row.entity, error, self._encoder.columns, row.rows_path)
            self._in_hand -= 1  # only now: what is counted as rejected is in the file, even after a signal
            self.report.rejected_count += 1
            return None
        given = None if self._encoder.shape.renames_only else copied(row.entity) if self._copies else row.entity
        return Pending(key, text, row.position, self.report.read_count, given, row.rows_path)

    def _put(self, row: Pending) -> None:
        """Add a row to the batch. If it does not fit, send the batch first."""
        if not self._batch.has_room(row):
            self._submit(self.report.read_count - 1)
        if not self._rejects.failed:  # otherwise nothing more is sent
            self._in_hand -= 1
            self.report.duplicate_count += self._batch.add(row)

    def _send(self, rows: list[Pending]) -> Any:
        """Send one request. Each lane calls this in its own thread."""
        where = {"db_name": self.schema.db_name, "partition_name": self.options.partition_name}
        request = UpsertRequest(collection_name=self.schema.name, **where, data=[row.text for row in rows])
        self.client.upsert(request, [row.key for row in rows])

    def _complete(self) -> None:
        """Send the remaining rows and wait for all responses."""
        self._submit(self.report.read_count)
        rejects, deliveries = self._rejects, self._deliveries
        while not rejects.enough() and (deliveries.busy() or (deliveries.in_doubt() and not rejects.failed)):
            self._collect()

    def _submit(self, read_count: int) -> None:
        """Submit the batch as soon as there is room. Do nothing if too many rows are rejected."""
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
        """Process the next event, if one arrives within :data:`TICK` seconds. Raises the error that ends the run."""
        try:
            self._note(self._deliveries.next(TICK))
        except queue.Empty:
            self.retry.check()
            self.progress.tick()

    def _note(self, event: Sent | Event) -> None:
        report = self.report
        if isinstance(event, Sent):
            report.request_count += 1
            report.retry_count += event.is_retry
            report.bytes_sent += event.size
            return
        if event.acknowledged:
            self._acknowledge(event.acknowledged, event.found)
        report.duplicate_count -= sum(row.earlier is not None for row, _ in event.refused)
        if event.too_large:
            self._batch.max_bytes = min(self._batch.max_bytes, event.too_large // 2)
        report.rejected_count += len(event.refused)
        for row, error in event.refused:
            reason = f"is refused by the server: {error.args[0]}"
            reject = RowError(reason, position=row.position, key=row.key, code=error.code)
            self._rejects.add(self._given(row), reject, self._encoder.columns, row.rows_path)
        if event.stored and self.checkpoint:
            self.checkpoint.stored(event.stored)
        if event.error and not self._rejects.failed:
            raise event.error

    def _acknowledge(self, rows: list[Pending], _: Any) -> None:
        """Count stored rows and keep a sample of them to verify (reservoir sampling)."""
        size = self.options.verify_sample
        for count, row in enumerate(rows if size else (), self.report.done + 1):
            if row.key in UNREADABLE_KEYS:
                continue
            place = len(self._sample) if len(self._sample) < size else random.randrange(count)  # noqa: S311
            place = self._places.get(row.key, place)
            if place < size:
                if place in self._sample:
                    del self._places[self._sample[place].key]
                self._sample[place], self._places[row.key] = row, place
        self.report.upsert_count += len(rows)
        self.report.drop(rows)
        if self.report.upsert_ids is not None:
            self._ids += [(row.index, row.key) for row in rows]

    def _verify(self) -> None:
        """Read the sample back.

        :raises RowsDifferError: a row still differs after :data:`STALE_SECONDS`; until then, reads may be stale.
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
        """Read rows back. Return the first difference of each row, or None if it has none."""
        stored: dict[Key, dict[str, Any]] = {}
        for group in by_size(rows, _READ_BYTES):
            stored |= self.client.read_rows(self.schema, [row.key for row in group], self.options.partition_name)
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
        """The row as it was read, or if that was not kept, decoded from its text."""
        return self._encoder.decode(row.text) if row.given is None else row.given

    def _stop(self, seconds: float) -> None:
        """Send nothing more, and process requests in flight for up to ``seconds``.

        If the task is told to stop, wait only :data:`_STOP_SECONDS`.
        """
        self.retry.stopped = True
        self._deliveries.stop()
        deadline = time.monotonic() + seconds
        while self._lanes.sending and time.monotonic() < deadline:
            if self.retry.stop.now and deadline == math.inf:
                deadline = time.monotonic() + _STOP_SECONDS
            with suppress(Exception):  # the run has already failed
                self._note(self._deliveries.next(TICK))

    def _finish(self, failed: bool) -> None:
        """Count rows that are not sent or not answered as unconfirmed, and end the run."""
        report = self.report
        if self._lanes.sending or self.retry.waiting:
            self.client.abort()  # so that no thread keeps waiting for a response
        report.unconfirmed_count += self._in_hand + len(self._batch.rows) + self._deliveries.unconfirmed()
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
