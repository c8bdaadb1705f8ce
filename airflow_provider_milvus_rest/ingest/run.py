"""Rows from a source, in batches, to the server, into a report."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.ingest.batches import Batch
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rows.encode import encode_entity
from airflow_provider_milvus_rest.rows.readers import Row
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key

BATCH_SIZE = 1000
MAX_REQUEST_BYTES = 8 * 2**20


def ingest(
    client: MilvusRestClient,
    schema: CollectionSchema,
    rows: Iterable[Row],
    report: IngestReport,
    *,
    batch_size: int = BATCH_SIZE,
    max_request_bytes: int = MAX_REQUEST_BYTES,
) -> None:
    """Upsert ``rows`` in order, at most ``batch_size`` rows and ``max_request_bytes`` of them a request.

    ``report`` is brought up to date as it goes and is true also when this raises.

    :raises MilvusRestError: the first row that cannot be sent or request that fails ends the run; requests before
        it stay written.
    """
    batch = Batch(batch_size, max_request_bytes)
    in_hand = 0  # a row that has been read and is in no batch yet

    def send() -> None:
        report.request_count += 1
        report.bytes_sent += batch.size
        request = UpsertRequest(collection_name=schema.name, db_name=schema.db_name, data=batch.rows)
        result = client.upsert(request, schema.key_type)
        report.upsert_count += result.upsert_count
        if report.upsert_ids is not None:
            report.upsert_ids.extend(result.upsert_ids)
        batch.clear()

    try:
        for row in rows:
            report.read_count += 1
            in_hand = 1
            try:
                key, encoded = _prepare(row, schema)
            except InputError:
                report.rejected_count += 1
                in_hand = 0
                raise
            if not batch.has_room(encoded):
                send()
            report.duplicate_count += batch.add(key, encoded)
            in_hand = 0
        if len(batch):
            send()
    finally:
        report.unconfirmed_count += len(batch) + in_hand


def _prepare(row: Row, schema: CollectionSchema) -> tuple[Key, bytes]:
    if row.error:
        raise row.error
    encoded = encode_entity(row.entity, row.position)
    return schema.key_of(row.entity, row.position), encoded
