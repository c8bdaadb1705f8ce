"""The Airflow connection of type ``milvus_rest``."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from airflow.providers.common.compat.sdk import AirflowException, BaseHook

from airflow_provider_milvus_rest import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.assets.milvus_rest import DEFAULT_DATABASE, collection_uri
from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.ingest.checkpoint import Checkpoint
from airflow_provider_milvus_rest.ingest.report import IngestReport, Progress
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.ingest.run import Ingest
from airflow_provider_milvus_rest.options import DEFAULTS, Options
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rest.settings import EXTRAS, ConnectionSettings
from airflow_provider_milvus_rest.rows.arrow_rows import is_table
from airflow_provider_milvus_rest.rows.convert import Convert
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key
from airflow_provider_milvus_rest.rows.shape import FieldMap
from airflow_provider_milvus_rest.text import shown

SCHEMA_SECONDS = 60
"""How long :meth:`MilvusRestHook.upsert` goes by what it knows of a collection."""


class MilvusRestHook(BaseHook):
    """Upserts entities into Milvus over its REST API.

    In all methods, ``collection_name`` is a collection or an alias, ``db_name`` the database (default: the
    connection's), and ``partition_name`` a partition, with ``api_version`` v2 (default: Milvus's default partition). A
    row of the same key in another partition stays. Methods that reach the server raise a
    :class:`~airflow_provider_milvus_rest.exceptions.MilvusRestError`, which is also an ``AirflowFailException`` where
    a retry cannot help.

    :param milvus_rest_conn_id: the Airflow connection to use.
    """

    conn_name_attr = "milvus_rest_conn_id"
    default_conn_name = "milvus_rest_default"
    conn_type = "milvus_rest"
    hook_name = "Milvus (REST)"

    def __init__(self, milvus_rest_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.milvus_rest_conn_id = milvus_rest_conn_id
        self._client: MilvusRestClient | None = None
        self._retries: set[Retry] = set()
        self._stopped = False
        self._schemas: dict[tuple[str, str | None], tuple[float, tuple[CollectionSchema, RowEncoder]]] = {}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The form's own fields, for Airflow before 3.2, which does not read them from the provider info."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import StringField

        widgets = {}
        for name, field in CONN_FIELDS.items():
            texts = {"description": field["description"], "default": str(field["schema"].get("default", ""))}
            widgets[name] = StringField(field["label"], widget=BS3TextFieldWidget(), **texts)
        return widgets

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels and placeholders of the form's common fields, likewise."""
        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    @final_errors()
    def get_conn(self) -> MilvusRestClient:
        """The client for the connection, made once.

        :raises ConnectionSettingsError: naming the connection's field that cannot be used.
        """
        if self._client is None:
            connection = self.get_connection(self.milvus_rest_conn_id)
            fields = {name: getattr(connection, name) for name in ("host", "port", "login", "password", "schema")}
            try:
                settings, unknown = ConnectionSettings.from_connection(**fields, extra=_extra(connection.extra))
            except e.ConnectionSettingsError as error:
                raise e.ConnectionSettingsError(f"Connection {self.milvus_rest_conn_id!r}: {error}") from None
            if unknown:
                names, known = ", ".join(unknown), ", ".join(sorted(EXTRAS))
                self.log.warning(
                    "Connection %r has unknown extras: %s. Known: %s", self.milvus_rest_conn_id, names, known
                )
            self._client = MilvusRestClient(settings)
        return self._client

    def close(self) -> None:
        """Close the client's connections; the hook can be used again afterwards."""
        self._schemas.clear()
        self._stopped = False
        if self._client is not None:
            self._client.close()
            self._client = None

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
        :raises RowError: before anything is sent: an entity that cannot be stored exactly as it is, or two with one
            primary key.
        """
        single = isinstance(data, Mapping)
        if not single and not isinstance(data, (list, tuple)):
            raise e.InputError(f"data must be one entity (dict) or a list of them, not {type(data).__name__}")
        self._check_partition(partition_name)
        schema, encoder = self._described(collection_name, db_name)
        schema.check_partition(partition_name)
        seen: dict[Key, str] = {}
        encoded = []
        for index, entity in enumerate([data] if single else data):
            position = f"[{index}]"
            key, text = encoder.encode(entity, position)
            if key in seen:
                raise e.RowError(f"has the primary key {key!r}, as has {seen[key]}", position=position, key=key)
            seen[key] = position
            encoded.append(text)
        if not encoded:
            return UpsertResult(upsert_count=0, upsert_ids=[])
        where = {"collection_name": schema.name, "db_name": schema.db_name, "partition_name": partition_name}
        request = UpsertRequest(**where, data=encoded[0] if single else encoded)
        try:
            return self.get_conn().upsert(request, list(seen))
        except (e.DataRefusedError, e.NotFoundError):
            self._schemas.clear()  # another collection may have taken its place
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
        report: IngestReport | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> IngestReport:
        """Upsert any number of entities, streaming them in requests of limited size, several at a time.

        If several rows have one primary key, the last one stands. In memory are ``concurrency + 1`` requests. The
        parameters that are not described here are those of
        :class:`~airflow_provider_milvus_rest.operators.milvus_rest.MilvusRestUpsertOperator`.

        :param rows: an iterable of entities (dicts) or of tables, a table (Arrow, pandas, polars, whatever has
            ``__arrow_c_stream__``; needs pyarrow), or
            :class:`~airflow_provider_milvus_rest.rows.readers.FileRows`.
        :param rejects_file: with ``on_reject="skip"``: a ``pathlib.Path`` or ``ObjectStoragePath`` to write, see
            :mod:`~airflow_provider_milvus_rest.rows.rejected`.
        :param report: the report to fill; it stays true if this raises. Default: a new one.
        :param checkpoint: where to resume, and to save how far this run is.
        :return: the report.
        :raises RowsRejectedError: naming the first of the rejected rows.
        :raises StoppedError: there was a :meth:`stop`.
        """
        options = Options(
            *(batch_size, max_request_bytes, concurrency, retry_budget, on_reject, max_rejects, rejects_file),
            *(partition_name, rows_path, field_map, key_from, convert),
        )
        return self.run(collection_name, rows, options, db_name, report, checkpoint)

    @final_errors()
    def run(
        self,
        collection_name: str,
        rows: Iterable[Any] | FileRows,
        options: Options,
        db_name: str | None = None,
        report: IngestReport | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> IngestReport:
        """What :meth:`ingest` does, with the limits and choices as one value."""
        report = IngestReport() if report is None else report
        source = rows if isinstance(rows, FileRows) else _entities(rows)
        retry = Retry(options.retry_seconds, options.concurrency, self.log.warning)
        self._retries.add(retry)
        if self._stopped:
            retry.interrupt()
        try:
            client = self.get_conn()  # Airflow is asked for it by this thread
            self._check_partition(options.partition_name)
            schema = retry.in_thread(lambda: retry.call(lambda: self.describe_collection(collection_name, db_name)))
            schema.check_partition(options.partition_name)
            if checkpoint:
                target = client.settings.base_url, client.settings.api_version
                checkpoint.bind(*target, schema.model_dump(mode="json"), *options.deciding())
            log = partial(self.log.info, "Collection %s: %s", schema.name)
            run = Ingest(client, schema, options, report, retry, Progress(report, source.share, log), checkpoint)
            try:
                run.run(source)
                report.check()
            except BaseException:  # which matters more than a sum that does not hold
                try:
                    report.check()
                except AssertionError as fault:
                    self.log.error("%s", fault)
                raise
            finally:
                log(report.summary())
                if report.rejects_path:
                    self.log.warning("Rejected rows are in %s", report.rejects_path)
        finally:
            self._retries.discard(retry)
        if checkpoint:
            checkpoint.clear()
        return report

    def stop(self) -> None:
        """Let each :meth:`ingest` that runs end within some two seconds, or when its source has given the next row.

        Safe in a signal handler. Until :meth:`close`, another one ends at once.
        """
        self._stopped = True
        for retry in self._retries.copy():
            retry.interrupt()

    @final_errors()
    def describe_collection(self, collection_name: str, db_name: str | None = None) -> CollectionSchema:
        """A collection's fields, as the server describes them now."""
        database = self._database(db_name)
        _check_name("collection_name", collection_name)
        return self.get_conn().describe_collection(collection_name, database)

    @final_errors()
    def list_collections(self, db_name: str | None = None) -> list[str]:
        """The names of a database's collections."""
        return self.get_conn().list_collections(self._database(db_name))

    @final_errors()
    def collection_uri(self, collection_name: str, db_name: str | None = None) -> str:
        """A collection as an asset, ``milvus://host:port/db/collection``. An alias is not followed."""
        _check_name("collection_name", collection_name)
        return collection_uri(self.get_conn().settings.base_url, self._database(db_name), collection_name)

    def test_connection(self) -> tuple[bool, str]:
        """Whether the connection works, and the number of collections, or what is wrong and what to do about it."""
        try:
            names = self.list_collections()
        except (e.MilvusRestError, AirflowException) as error:
            return False, str(error)
        settings = self.get_conn().settings
        database = settings.database or DEFAULT_DATABASE
        count = "1 collection" if len(names) == 1 else f"{len(names)} collections"
        warning = ""
        if settings.token and settings.is_in_the_clear:
            warning = ". The password is sent unencrypted: enable TLS in Milvus, and write the host with https://"
        return True, f"Milvus at {settings.base_url}: {count} in {database!r}{warning}"

    def _described(self, collection_name: str, db_name: str | None) -> tuple[CollectionSchema, RowEncoder]:
        """A collection, from memory for :data:`SCHEMA_SECONDS`: describing for each row would double the requests."""
        name, now = (collection_name, db_name), time.monotonic()
        if name not in self._schemas or self._schemas[name][0] < now:
            schema = self.describe_collection(collection_name, db_name)
            self._schemas[name] = now + SCHEMA_SECONDS, (schema, RowEncoder(schema))
        return self._schemas[name][1]

    def _check_partition(self, partition_name: str | None) -> None:
        if partition_name is not None:
            _check_name("partition_name", partition_name)
            self.get_conn().check_partition(partition_name)

    def _database(self, db_name: str | None) -> str | None:
        """``db_name`` or the connection's; an empty name is an error, since it would mean another database."""
        if db_name is None:
            return self.get_conn().settings.database
        _check_name("db_name", db_name)
        return db_name


def _extra(text: str | None) -> dict[str, Any]:
    """A connection's extra, which Airflow takes for an empty one if it cannot be read."""
    try:
        extra = json.loads(text) if text and text.strip() else {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise e.ConnectionSettingsError("field 'extra' must be a JSON object")
    return extra


def _check_name(parameter: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise e.InputError(f"{parameter} must be a non-empty str that can be printed, not {shown(value)}")


def _entities(rows: Any) -> Entities:
    if isinstance(rows, (str, bytes, Mapping)) or not (isinstance(rows, Iterable) or is_table(rows)):
        raise e.InputError(f"rows must be an iterable of dicts, not {type(rows).__name__}")
    return Entities(rows)
