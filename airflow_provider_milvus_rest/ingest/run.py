"""Rows from a source, checked, in batches, to the server, into a report."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from airflow_provider_milvus_rest.exceptions import DataRefusedError, RequestTooLargeError, RowError
from airflow_provider_milvus_rest.ingest.batches import Batch, Pending
from airflow_provider_milvus_rest.ingest.rejects import NAMED, Rejects
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.readers import Row
from airflow_provider_milvus_rest.rows.schema import CollectionSchema

BATCH_SIZE = 1000
MAX_REQUEST_BYTES = 8 * 2**20
_HOPELESS = 50
"""Rows that the server refuses, each alone, before it has accepted any: more cannot be the rows' fault."""


class Ingest:
    """One run: upserts rows in order, at most ``batch_size`` rows and ``max_request_bytes`` of them a request.

    ``report`` is brought up to date as it goes and is true also when :meth:`run` raises.
    """

    def __init__(
        self,
        client: MilvusRestClient,
        schema: CollectionSchema,
        encoder: RowEncoder,
        report: IngestReport,
        rejects: Rejects,
        *,
        batch_size: int = BATCH_SIZE,
        max_request_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        self._client = client
        self._schema = schema
        self._encoder = encoder
        self._report = report
        self._rejects = rejects
        self._batch = Batch(batch_size, max_request_bytes)
        self._batch_size = batch_size
        self._refusals = 0
        self._open = 0  # rows read of which it is not known yet what becomes of them

    def run(self, rows: Iterable[Row]) -> None:
        """Upsert ``rows``.

        :raises RowsRejectedError: more rows are rejected than may be. Nothing is sent from then on; the rows up to
            the length of a batch are still checked, so that the error can name more than one.
        :raises MilvusRestError: a request that fails ends the run; requests before it stay written.
        """
        checked_only = 0
        try:
            for row in rows:
                self._report.read_count += 1
                self._open += 1
                pending = self._checked(row)
                if self._rejects.failed:
                    checked_only += 1
                    if checked_only >= self._batch_size or self._rejects.count >= NAMED:
                        break
                elif pending is not None:
                    self._add(pending)
            if not self._rejects.failed:
                self._send(self._batch.take())
            if self._rejects.failed:
                raise self._rejects.error(self._report.read_count)
        finally:
            self._report.unconfirmed_count += self._open
            self._rejects.close()
            self._report.rejects_path = self._rejects.path

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

    def _add(self, row: Pending) -> None:
        if not self._batch.has_room(row):
            self._send(self._batch.take())
        if self._batch.add(row):
            self._report.duplicate_count += 1
            self._open -= 1

    def _send(self, rows: list[Pending]) -> None:
        """Send rows, and again in parts what the server refuses, until the rows at fault stand alone."""
        if rows and (error := self._try(rows)):
            self._split(rows, error)

    def _split(self, rows: list[Pending], error: DataRefusedError) -> None:
        """Part refused rows. Every row is sent, and rejected only if it was refused alone."""
        if len(rows) == 1:
            self._refused(rows[0], error)
            return
        left, right = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        left_error = self._try(left)
        if left_error:
            self._split(left, left_error)
        elif len(right) > 1 and not isinstance(error, RequestTooLargeError):
            self._split(right, error)  # the fault must be there: no need to send it whole
            return
        if not (self._rejects.failed and self._rejects.count >= NAMED):
            self._send(right)

    def _try(self, rows: list[Pending]) -> DataRefusedError | None:
        """Send one request; the server's answer if the data is at fault."""
        texts = [row.text for row in rows]
        self._report.request_count += 1
        self._report.bytes_sent += sum(map(len, texts)) + len(texts)
        request = UpsertRequest(collection_name=self._schema.name, db_name=self._schema.db_name, data=texts)
        try:
            result = self._client.upsert(request, self._schema.key_type)
        except DataRefusedError as error:
            return error
        self._report.upsert_count += result.upsert_count
        self._open -= len(rows)
        if self._report.upsert_ids is not None:
            self._report.upsert_ids.extend(result.upsert_ids)
        return None

    def _refused(self, row: Pending, error: DataRefusedError) -> None:
        """Reject a row that the server refused; if it had taken an earlier one's place, that one stands."""
        self._refusals += 1
        if self._refusals > _HOPELESS and not self._report.upsert_count:
            raise error
        reason = f"is refused by the server: {error.args[0]}"
        self._reject(orjson.loads(row.text), RowError(reason, position=row.position, key=row.key, code=error.code))
        if row.earlier:
            self._report.duplicate_count -= 1
            self._open += 1
            self._send([row.earlier])

    def _reject(self, entity: object, error: RowError) -> None:
        self._rejects.add(entity, error)
        self._report.rejected_count += 1
        self._open -= 1
