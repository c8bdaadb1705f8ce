"""The hook for Airflow connections of type ``milvus_rest``."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar

from airflow_provider_milvus_rest import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.connection import MilvusRestConnectionHook
from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.ingest.checkpoint import Checkpoint
from airflow_provider_milvus_rest.ingest.compare import Compare
from airflow_provider_milvus_rest.ingest.report import CompareReport, IngestReport, Progress, Report
from airflow_provider_milvus_rest.ingest.retry import Retry, Stop
from airflow_provider_milvus_rest.ingest.run import Ingest
from airflow_provider_milvus_rest.options import DEFAULTS, Options
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rows.arrow_rows import is_table
from airflow_provider_milvus_rest.rows.convert import Convert
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key
from airflow_provider_milvus_rest.rows.shape import FieldMap
from airflow_provider_milvus_rest.text import shown, without_connection

T = TypeVar("T")
SCHEMA_SECONDS = 60  # how long MilvusRestHook.upsert caches a schema


class MilvusRestHook(MilvusRestConnectionHook):
    """Upserts entities into Milvus over its REST API.

    ``collection_name``, ``db_name`` and ``partition_name`` have the same meaning as in
    :class:`~airflow_provider_milvus_rest.operators.milvus_rest.MilvusRestUpsertOperator`. Methods that reach the server
    raise a :class:`~airflow_provider_milvus_rest.exceptions.MilvusRestError`, which is also an ``AirflowFailException``
    if a retry cannot help.

    :param milvus_rest_conn_id: the Airflow connection to use.
    """

    def __init__(self, milvus_rest_conn_id: str = MilvusRestConnectionHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(milvus_rest_conn_id, **kwargs)
        self._stop = Stop()
        self._schemas: dict[tuple[str, str | None], tuple[float, CollectionSchema, RowEncoder]] = {}

    # Airflow before 3.2 looks these two up in the class that the provider info names, not in its bases.
    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The custom form fields, for Airflow before 3.2, which does not read them from the provider info."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import StringField

        widgets = {}
        for name, field in CONN_FIELDS.items():
            texts = {"description": field["description"], "default": str(field["schema"].get("default", ""))}
            widgets[name] = StringField(field["label"], widget=BS3TextFieldWidget(), **texts)
        return widgets

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels and placeholders of the standard form fields, for Airflow before 3.2."""
        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    def close(self) -> None:
        """Close the client's connections; the hook can be used again afterwards."""
        self._schemas.clear()
        if self._stop.now:  # otherwise a run in another thread could no longer be stopped
            self._stop = Stop()
        super().close()

    @final_errors()
    def upsert(
        self,
        collection_name: str,
        data: Mapping[str, Any] | list[Mapping[str, Any]],
        db_name: str | None = None,
        partition_name: str | None = None,
    ) -> UpsertResult:
        """Upsert one entity or a list of them in one request: ``POST /v1/vector/upsert``, or v2's ``entities/upsert``.

        :param data: one entity (a dict of field names and values) or a list of them, each with its own primary key.
        :return: the count and the primary keys Milvus acknowledged, in the order of ``data``.
        :raises RowError: an entity cannot be stored exactly as it is, or two have the same key. Nothing is sent.
        """
        single = isinstance(data, Mapping)
        if not single and not isinstance(data, (list, tuple)):
            raise e.InputError(f"data must be one entity (dict) or a list of them, not {type(data).__name__}")
        self._check_partition(partition_name)
        _, schema, encoder = self._described(collection_name, db_name)
        schema.check_partition(partition_name)
        encoded: dict[Key, bytes] = {}
        for index, entity in enumerate([data] if single else data):
            position = f"[{index}]"
            key, text = encoder.encode(entity, position)
            if key in encoded:
                reason = f"has the same primary key as [{list(encoded).index(key)}]: {shown(key)}"
                raise e.RowError(reason, position=position, key=key)
            encoded[key] = text
        if not encoded:
            return UpsertResult(upsert_count=0, upsert_ids=[])
        where = {"collection_name": schema.name, "db_name": schema.db_name, "partition_name": partition_name}
        request = UpsertRequest(**where, data=text if single else list(encoded.values()))
        try:
            return self.get_conn().upsert(request, list(encoded))
        except (e.DataRefusedError, e.NotFoundError):
            self._schemas.clear()  # the collection may have been replaced
            raise

    @final_errors()
    def ingest(
        self,
        collection_name: str,
        rows: Iterable[Any] | FileRows,
        *,
        db_name: str | None = None,
        partition_name: str | None = None,
        rows_path: str | None = None,
        field_map: FieldMap | None = None,
        key_from: Sequence[str] | None = None,
        convert: Convert | None = None,
        batch_size: int = DEFAULTS.batch_size,
        max_request_bytes: int = DEFAULTS.max_request_bytes,
        concurrency: int = DEFAULTS.concurrency,
        retry_budget: timedelta | float = DEFAULTS.retry_budget,
        on_reject: Literal["fail", "skip"] = "fail",
        max_rejects: int | None = None,
        rejects_file: Any = None,
        check_only: bool = False,
        verify_sample: int = 0,
        report: IngestReport | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> IngestReport:
        """Upsert any number of entities, streaming them in requests of limited size, several at a time.

        If several rows have the same primary key, the last one wins. Up to ``concurrency + 1`` requests are held in
        memory. The other parameters are those of
        :class:`~airflow_provider_milvus_rest.operators.milvus_rest.MilvusRestUpsertOperator`.

        :param rows: an iterable of entities (dicts) or of tables, one table, or
            :class:`~airflow_provider_milvus_rest.rows.readers.FileRows`.
        :param rejects_file: with ``on_reject="skip"``: a ``pathlib.Path`` or ``ObjectStoragePath`` to write, see
            :mod:`~airflow_provider_milvus_rest.rows.rejected`.
        :param report: the report to fill and return. It is correct even if this raises. Default: a new one.
        :param checkpoint: where to resume from and to save the progress of this run.
        :raises RowsRejectedError: too many rows are rejected. The message names the first ones.
        :raises StoppedError: :meth:`stop` was called.
        """
        limits = (batch_size, max_request_bytes, concurrency, retry_budget, on_reject, max_rejects, rejects_file)
        shape = (rows_path, field_map, key_from, convert)
        options = Options(*limits, partition_name, *shape, check_only, verify_sample)
        report = _of_type("report", report or IngestReport(), IngestReport)
        self.run(collection_name, rows, options, report, db_name, checkpoint)
        return report

    @final_errors()
    def compare(
        self,
        collection_name: str,
        rows: Iterable[Any] | FileRows,
        *,
        db_name: str | None = None,
        partition_name: str | None = None,
        rows_path: str | None = None,
        field_map: FieldMap | None = None,
        key_from: Sequence[str] | None = None,
        convert: Convert | None = None,
        batch_size: int = DEFAULTS.batch_size,
        max_request_bytes: int = DEFAULTS.max_request_bytes,
        concurrency: int = DEFAULTS.concurrency,
        retry_budget: timedelta | float = DEFAULTS.retry_budget,
        on_difference: Literal["fail", "report"] = "fail",
        differences_file: Any = None,
        report: CompareReport | None = None,
    ) -> CompareReport:
        """Compare any number of entities with the stored rows. The parameters are those of :meth:`ingest`, and:

        :param on_difference: ``"fail"`` raises if a row is different, missing or rejected; ``"report"`` only counts.
        :param differences_file: a ``pathlib.Path`` or ``ObjectStoragePath`` for the different and missing rows. To
            repair the collection, :meth:`ingest` this file.
        :raises RowsDifferError: with ``"fail"``. The message names the first rows.
        """
        on_reject = "fail" if differences_file is None else "skip"
        limits = (batch_size, max_request_bytes, concurrency, retry_budget, on_reject, None, differences_file)
        shape = (rows_path, field_map, key_from, convert)
        options = Options(*limits, partition_name, *shape, on_difference=on_difference)
        report = _of_type("report", report or CompareReport(), CompareReport)
        self.run(collection_name, rows, options, report, db_name)
        return report

    @final_errors()
    def run(
        self,
        collection_name: str,
        rows: Iterable[Any] | FileRows,
        options: Options,
        report: Report,
        db_name: str | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Do what :meth:`ingest` does, or :meth:`compare` if given its report, with all settings in ``options``."""
        source = rows if isinstance(rows, FileRows) else _entities(rows)
        if options.rejects is not None:
            _check_file(options.rejects, source)
        retry = Retry(options.retry_seconds, options.concurrency, self.log.warning, self._stop)
        client = self.get_conn()  # gets the connection from Airflow, in this thread
        self._check_partition(options.partition_name)
        schema = retry.in_thread(lambda: retry.call(lambda: self.describe_collection(collection_name, db_name)))
        schema.check_partition(options.partition_name)
        if warning := schema.unreadable():
            if options.verify_sample or isinstance(report, CompareReport):
                raise e.RequestRefusedError(f"{warning} Rows cannot be read back.")
            self.log.warning("%s Upserted rows cannot be searched until then.", warning)
        checkpoint = None if options.check_only else checkpoint
        if checkpoint:
            if report.read_count:  # its counts would be those of rows to skip
                raise e.InputError("report already has the counts of another run: with checkpoint, pass a new report")
            target = client.settings.base_url, client.settings.api_version
            checkpoint.bind(*target, schema.model_dump(mode="json"), *options.deciding())
        log = partial(self.log.info, "Collection %s: %s", schema.name)
        cls: Any = Compare if isinstance(report, CompareReport) else Ingest
        run = cls(client, schema, options, report, retry, Progress(report, source.share, log), checkpoint)
        try:
            run.run(source)
        finally:
            log(report.summary())
            for warning in report.warnings():
                self.log.warning("Collection %s: %s", schema.name, warning)
            try:
                report.check()
            except AssertionError as fault:  # the error of the run matters more
                self.log.error("%s", fault)
        report.check()
        if checkpoint:
            checkpoint.clear()

    def stop(self) -> None:
        """End each running :meth:`ingest` within about two seconds, or when its source returns the next row.

        It can be called in a signal handler. Until :meth:`close`, new calls of :meth:`ingest` end at once.
        """
        self._stop.now = True

    def _described(self, collection_name: str, db_name: str | None) -> tuple[float, CollectionSchema, RowEncoder]:
        """Describe a collection, cached for :data:`SCHEMA_SECONDS`. Otherwise each upsert takes two requests."""
        name, now = (collection_name, db_name), time.monotonic()
        if name not in self._schemas or self._schemas[name][0] < now:
            schema = self.describe_collection(collection_name, db_name)
            self._schemas[name] = now + SCHEMA_SECONDS, schema, RowEncoder(schema)
        return self._schemas[name]


def _entities(rows: Any) -> Entities:
    if isinstance(rows, (str, bytes, Mapping)) or not (isinstance(rows, Iterable) or is_table(rows)):
        raise e.InputError(f"rows must be an iterable of dicts, not {type(rows).__name__}")
    return Entities(rows)


def _of_type(name: str, value: Any, cls: type[T]) -> T:
    if not isinstance(value, cls):
        raise e.InputError(f"{name} must be of the class {cls.__name__}, not {type(value).__name__}")
    return value


def _check_file(file: Any, source: Entities | FileRows) -> None:
    """Refuse a file for rejected rows or differences that is not a path, or that is part of the source."""
    if not hasattr(file, "absolute"):
        raise e.InputError(
            f"rejects_file (differences_file) must be a pathlib.Path or ObjectStoragePath, not {type(file).__name__}"
        )
    if isinstance(source, FileRows) and source.reads(file):
        raise e.InputError(
            f"{without_connection(str(file))} would be read as a part of the source, now or by the next run: write the "
            "rows to another folder"
        )
