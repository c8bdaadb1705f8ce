"""The operators: upsert entities from XCom or files, and compare them with what is stored."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import XComArg

from airflow_provider_milvus_rest.assets.milvus_rest import split_outlets
from airflow_provider_milvus_rest.assets.openlineage import lineage
from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.checkpoint import Checkpoint
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.operators.base import MilvusRestRowsOperator
from airflow_provider_milvus_rest.operators.compare import MilvusRestCompareOperator as MilvusRestCompareOperator
from airflow_provider_milvus_rest.operators.sources import as_paths
from airflow_provider_milvus_rest.operators.sources import plan_shards as plan_shards
from airflow_provider_milvus_rest.options import DEFAULTS, Options, check_bool
from airflow_provider_milvus_rest.rows.convert import Convert, described
from airflow_provider_milvus_rest.rows.files import Files
from airflow_provider_milvus_rest.rows.readers import FileRows, fingerprint, fingerprint_of_rows
from airflow_provider_milvus_rest.rows.shape import FieldMap
from airflow_provider_milvus_rest.rows.shape import key_of as key_of
from airflow_provider_milvus_rest.text import said_of, without_connection

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage


class MilvusRestUpsertOperator(MilvusRestRowsOperator):
    """Upsert entities into a Milvus collection, from memory or from files, and output the counts.

    The outputs are the counts of :class:`~airflow_provider_milvus_rest.ingest.report.IngestReport`, each under its own
    key (``upsert.output["upsert_count"]``) and all as a dict under ``return_value``, even if the task fails.
    ``read_count`` is always the sum of ``upsert_count``, ``valid_count``, ``duplicate_count``, ``rejected_count`` and
    ``unconfirmed_count``.

    If the collection's asset, ``milvus://host:port/db/collection``, is among the task's ``outlets``, the counts are
    in the ``extra`` of its event. OpenLineage gets the files, the collection, and the rows and bytes written.

    :param collection_name: a collection or an alias. Its primary key must not be autoID. (templated)
    :param entities: what to upsert: one entity (a dict of field names and values), an iterable of them, a table
        (Arrow, pandas, polars, anything with ``__arrow_c_stream__``; needs pyarrow), or the output of another task that
        is one of these (``task.output``, ``task.output["key"]``, ``.map()``, a mapped task's output, a list of outputs:
        lists in a list are flattened one level). Text is an error: templates are not rendered here, because this would
        copy every vector into Airflow's database.
    :param files: instead of ``entities``: a path, a glob, a folder, one of the shards of :func:`plan_shards`, or a
        list of them, on the worker or, as a URI (``s3://bucket/embeddings/*.jsonl``), on any storage that Airflow's
        ``ObjectStoragePath`` supports. JSON Lines (``.jsonl``, ``.ndjson``), CSV, Parquet and Arrow (``.arrow``,
        ``.feather``; both need pyarrow) are streamed; ``.json`` holds an array of objects, or one object, and is read
        whole; text may be compressed (``.jsonl.gz``, ``.bz2``, ``.xz``, ``.lzma``). (templated)
    :param file_format: the format of the files, if their suffixes do not show it: ``"jsonl"``, ``"json"``, ``"csv"``,
        ``"parquet"`` or ``"arrow"``.
    :param source_conn_id: the Airflow connection of the storage, for ``files`` that are URIs. (templated)
    :param rows_path: the path of the rows, a list or one object, in each entity, output or JSON document:
        ``"chunks"``, ``"hits.hits"``. A document without it is rejected.
    :param field_map: maps names in the source to fields of the collection (``{"text_vec": "vector"}``). A name can be a
        path: a dot enters an object, a number selects an element of a list (``"response.data.0.embedding"``). The value
        is moved. A name in the row that equals the path takes precedence. ``"*"`` as a field replaces an object with
        its members. None omits a name, or for ``"*"``, all names that are not listed.
    :param key_from: names or paths of the strings and integers from which to make a VarChar primary key, as
        :func:`~airflow_provider_milvus_rest.rows.shape.key_of` does: 32 hexadecimal digits, the same for equal values.
    :param convert: by field, how to convert a value that it does not accept: ``"iso"`` (dates and times to text),
        ``"epoch_ms"`` (datetimes with a time zone to whole milliseconds), ``"str"`` (numbers and UUIDs), ``"float"``
        (a Decimal to the nearest float), ``"uuid"`` (16 bytes or a UUID to text), ``"base64"`` (bytes to text); or a
        function, called with each value that is not None. If it raises, the row is rejected.
    :param db_name: the database; default: the connection's. (templated)
    :param partition_name: the partition, if the connection's ``api_version`` is v2; default: Milvus's default
        partition. A row with the same key in another partition is not changed. (templated)
    :param batch_size: the maximum number of rows in a request.
    :param max_request_bytes: the maximum bytes of encoded rows in a request; a larger row is sent in its own request.
    :param concurrency: the maximum number of requests in flight; never two that share a primary key.
    :param retry_budget: how long to retry a request after its first failure, with growing pauses, in seconds or as a
        timedelta; 0 for no retries. The limit is 30 s before the first response of a run, and for errors that the
        request itself may have caused.
    :param on_reject: what to do with a row that cannot be stored exactly as it is: ``"fail"`` fails the task with an
        error that names it; ``"skip"`` writes it, with the reason, to a file in ``rejects_path`` and continues.
    :param max_rejects: with ``"skip"``: fail if more rows are rejected; None for no limit.
    :param rejects_path: with ``"skip"``: a folder for the files of rejected rows, one per try of a task; local or a
        URI, which may name the storage's connection (``s3://conn_id@bucket/rejects``). The file's path is the output
        ``rejects_path``; fix the rows and pass it as ``files``. (templated)
    :param check_only: read and check all rows and write the rejects file, but send nothing. ``valid_count``
        counts the rows that would be sent.
    :param verify_sample: how many of the rows stored by this run, chosen at random, to read back and compare at the
        end. A row that differs from what was sent fails the task. The collection must be loaded.
    :param return_ids: whether to also output the primary keys of all upserted rows, as ``upsert_ids``.
    :param resume: whether an Airflow retry of the task skips the rows that the previous try has stored, if that is safe
        (Airflow 3.3 and later).
    :param milvus_rest_conn_id: the Airflow connection. (templated)
    :raises MilvusRestError: see :mod:`airflow_provider_milvus_rest.exceptions`. Acknowledged rows stay stored.
        Running the task again is safe, because an upsert by key can be repeated.
    """

    template_fields: Sequence[str] = (*MilvusRestRowsOperator.template_fields, "rejects_path")
    _folder = "rejects_path"

    def __init__(
        self,
        *,
        collection_name: str,
        entities: Any = None,
        files: Files | XComArg | None = None,
        file_format: str | None = None,
        source_conn_id: str | None = None,
        rows_path: str | None = None,
        field_map: FieldMap | None = None,
        key_from: Sequence[str] | None = None,
        convert: Convert | None = None,
        db_name: str | None = None,
        partition_name: str | None = None,
        batch_size: int = DEFAULTS.batch_size,
        max_request_bytes: int = DEFAULTS.max_request_bytes,
        concurrency: int = DEFAULTS.concurrency,
        retry_budget: timedelta | float = DEFAULTS.retry_budget,
        on_reject: Literal["fail", "skip"] = "fail",
        max_rejects: int | None = None,
        rejects_path: str | Path | None = None,
        check_only: bool = False,
        verify_sample: int = 0,
        return_ids: bool = False,
        resume: bool = True,
        milvus_rest_conn_id: str = MilvusRestHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        with final_errors():
            limits = (batch_size, max_request_bytes, concurrency, retry_budget, on_reject, max_rejects, rejects_path)
            shape = (rows_path, field_map, key_from, convert)
            options = Options(*limits, partition_name, *shape, check_only, verify_sample)
            check_bool("return_ids", return_ids)
            check_bool("resume", resume)
        names = {"collection_name": collection_name, "milvus_rest_conn_id": milvus_rest_conn_id}
        source = {"entities": entities, "files": files, "file_format": file_format, "source_conn_id": source_conn_id}
        super().__init__(**names, **source, db_name=db_name, options=options, **kwargs)
        with final_errors():
            self.rejects_path = as_paths(rejects_path, "rejects_path")
        self.return_ids = return_ids
        self.resume = resume
        self._lineage: tuple[str | None, list[str], IngestReport] = (None, [], IngestReport())
        self._own_outlets: list[Any] = []

    def _report(self) -> IngestReport:
        return IngestReport(upsert_ids=[] if self.return_ids else None)

    def _begin(self, uri: str, files: list[str], report: Any) -> None:
        self._own_outlets, others = split_outlets(self.outlets, uri)
        for other in others:
            self.log.warning("The event of outlet %s gets no counts, because the task upserts into %s", other.uri, uri)
        written = self._own_outlets[0].uri if self._own_outlets else uri
        self._lineage = None if self.check_only else written, files, report

    def _end(self, context: "Context", report: Any) -> None:
        for outlet in self._own_outlets if "outlet_events" in context else ():
            path = report.rejects_path and without_connection(report.rejects_path)
            event = context["outlet_events"][outlet]
            event.extra = {**(event.extra or {}), **replace(report, upsert_ids=None, rejects_path=path).outputs()}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage":
        """Called by Airflow's OpenLineage provider when the task succeeds or fails."""
        return lineage(*self._lineage)

    def _checkpoint(self, context: "Context", rows: Any) -> Checkpoint | None:
        """Return where an Airflow retry can resume (Airflow 3.3 and later). A cleared task starts over."""
        if not (self.retries and self.resume) or self.check_only:
            return None
        store, source = context.get("task_state_store"), None
        why = "this source cannot be checked for changes"
        if store is None:
            why = "this version of Airflow keeps no state between tries (3.3 and later do)"
        elif self.return_ids:
            why = "return_ids needs the keys of all rows"
        elif described(self.convert) is None:
            why = "a function in convert cannot be compared with that of an earlier try"
        else:
            try:
                source = rows.fingerprint() if isinstance(rows, FileRows) else fingerprint_of_rows(rows)
            except Exception as error:  # whatever the storage's client raises: resuming is optional
                why = f"the files cannot be checked for changes: {said_of(self.files, error)}"
        if source is None:
            self.log.info("A retry would start over: %s.", why)
            return None
        # Clearing does not clear the state store (Airflow 3.3.2), but increments one of these (clear_task_instances).
        cleared = getattr(context["ti"], "max_tries", None), getattr(context.get("dag_run"), "clear_number", None)
        return Checkpoint(store, fingerprint(source, cleared), self.log.warning)
