"""The Airflow connection of type ``milvus_rest``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from airflow.providers.common.compat.sdk import AirflowFailException, BaseHook

from airflow_provider_milvus_rest import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_milvus_rest.exceptions import (
    ConnectionSettingsError,
    DataRefusedError,
    InputError,
    MilvusRestError,
    NotFoundError,
    RowError,
)
from airflow_provider_milvus_rest.ingest.rejects import Rejects
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.ingest.run import BATCH_SIZE, MAX_REQUEST_BYTES, Ingest
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rest.settings import EXTRAS, ConnectionSettings
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.readers import Row, iter_entities
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key

SCHEMA_SECONDS = 60
"""How long :meth:`MilvusRestHook.upsert` goes by what it knows of a collection."""


class MilvusRestHook(BaseHook):
    """Upserts entities into Milvus over its REST API.

    :param milvus_rest_conn_id: the Airflow connection to use.

    Methods that reach the server raise a :class:`~airflow_provider_milvus_rest.exceptions.MilvusRestError`; where a
    retry cannot help, the exception is also an ``AirflowFailException``.
    """

    conn_name_attr = "milvus_rest_conn_id"
    default_conn_name = "milvus_rest_default"
    conn_type = "milvus_rest"
    hook_name = "Milvus (REST)"

    def __init__(self, milvus_rest_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.milvus_rest_conn_id = milvus_rest_conn_id
        self._client: MilvusRestClient | None = None
        self._schemas: dict[tuple[str, str | None], tuple[float, tuple[CollectionSchema, RowEncoder]]] = {}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The form's own fields, for Airflow before 3.2, which does not read them from the provider info."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import StringField

        return {
            name: StringField(
                field["label"],
                description=field["description"],
                default=str(field["schema"].get("default", "")),
                widget=BS3TextFieldWidget(),
            )
            for name, field in CONN_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels and placeholders of the form's common fields, likewise."""
        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    def get_conn(self) -> MilvusRestClient:
        """The client for the connection, made once.

        :raises ConnectionSettingsError: naming the connection's field that cannot be used.
        """
        if self._client is None:
            connection = self.get_connection(self.milvus_rest_conn_id)
            with final_errors():
                try:
                    settings, unknown = ConnectionSettings.from_connection(
                        host=connection.host,
                        port=connection.port,
                        login=connection.login,
                        password=connection.password,
                        schema=connection.schema,
                        extra=_extra(connection.extra),
                    )
                except ConnectionSettingsError as error:
                    raise ConnectionSettingsError(f"Connection {self.milvus_rest_conn_id!r}: {error}") from None
            if unknown:
                self.log.warning(
                    "Connection %r: extra fields without a meaning here: %s. There are: %s",
                    self.milvus_rest_conn_id,
                    ", ".join(unknown),
                    ", ".join(sorted(EXTRAS)),
                )
            self._client = MilvusRestClient(settings)
        return self._client

    def close(self) -> None:
        """Close the client's connections; the hook can be used again afterwards."""
        self._schemas.clear()
        if self._client is not None:
            self._client.close()
            self._client = None

    def upsert(
        self, collection_name: str, data: Mapping[str, Any] | list[Mapping[str, Any]], db_name: str | None = None
    ) -> UpsertResult:
        """Upsert one entity or a list of them in one request: Milvus's ``POST /v1/vector/upsert``.

        :param collection_name: a collection or an alias, whose primary key is not autoID.
        :param data: one entity (a dict of field names and values) or a list of them, each with its own primary key.
        :param db_name: the database; the connection's if not given.
        :return: the count and the primary keys Milvus acknowledged, in the order of ``data``.
        :raises RowError: before anything is sent: an entity that cannot be stored exactly as it is, or two with one
            primary key.
        """
        with final_errors():
            single = isinstance(data, Mapping)
            if not single and not isinstance(data, (list, tuple)):
                raise InputError(f"data must be one entity (dict) or a list of them, not {type(data).__name__}")
            schema, encoder = self._described(collection_name, db_name)
            seen: dict[Key, str] = {}
            encoded = []
            for row in iter_entities([data] if single else data):
                key, text = encoder.encode(row.entity, row.position)
                if key in seen:
                    raise RowError(f"has the primary key {key!r}, as has {seen[key]}", position=row.position, key=key)
                seen[key] = row.position
                encoded.append(text)
            if not encoded:
                return UpsertResult(upsert_count=0, upsert_ids=[])
            request = UpsertRequest(
                collection_name=schema.name, db_name=schema.db_name, data=encoded[0] if single else encoded
            )
            try:
                return self.get_conn().upsert(request, schema.key_type)
            except (DataRefusedError, NotFoundError):
                self._schemas.clear()  # another collection may have taken its place
                raise

    def ingest(
        self,
        collection_name: str,
        rows: Iterable[Mapping[str, Any] | Row],
        *,
        db_name: str | None = None,
        batch_size: int = BATCH_SIZE,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        on_reject: Literal["fail", "skip"] = "fail",
        max_rejects: int | None = None,
        rejects_file: Any = None,
        report: IngestReport | None = None,
    ) -> IngestReport:
        """Upsert any number of entities, streaming them in requests of limited size.

        If several rows have one primary key, the last one stands.

        :param collection_name: a collection or an alias, whose primary key is not autoID.
        :param rows: entities, or :class:`~airflow_provider_milvus_rest.rows.readers.Row` with positions.
        :param db_name: the database; the connection's if not given.
        :param batch_size: rows in a request, at most.
        :param max_request_bytes: bytes of encoded rows in a request, at most; one larger row still goes, alone.
        :param on_reject: what a row that cannot be stored exactly as it is does: ``"fail"`` raises, ``"skip"`` writes
            it into ``rejects_file`` and goes on.
        :param max_rejects: with ``"skip"``: raise when more rows than that are rejected; None for no limit.
        :param rejects_file: with ``"skip"``: a ``pathlib.Path`` or ``ObjectStoragePath`` to write, see
            :class:`~airflow_provider_milvus_rest.ingest.rejects.Rejects`.
        :param report: the report to fill; it stays true if this raises. A new one if not given.
        :return: the report.
        :raises RowsRejectedError: naming the first of the rejected rows.
        """
        report = IngestReport() if report is None else report
        with final_errors():
            for name, value in (("batch_size", batch_size), ("max_request_bytes", max_request_bytes)):
                if type(value) is not int or value < 1:
                    raise InputError(f"{name} must be an int of at least 1, not {value!r}")
            check_reject_options(on_reject, max_rejects, rejects_file)
            schema, encoder = self._describe(collection_name, db_name)
            run = Ingest(
                self.get_conn(),
                schema,
                encoder,
                report,
                Rejects(rejects_file, max_rejects),
                batch_size=batch_size,
                max_request_bytes=max_request_bytes,
            )
            try:
                run.run(_positioned(rows))
            finally:
                self.log.info("Collection %s: %s", schema.name, report.summary())
                if report.rejects_path:
                    self.log.warning("Rejected rows are in %s", report.rejects_path)
        report.check()
        return report

    def describe_collection(self, collection_name: str, db_name: str | None = None) -> CollectionSchema:
        """A collection's fields, asked of the server anew.

        :param collection_name: a collection or an alias.
        :param db_name: the database; the connection's if not given.
        """
        with final_errors():
            database = self._database(db_name)
            _check_name("collection_name", collection_name)
            return self.get_conn().describe_collection(collection_name, database)

    def list_collections(self, db_name: str | None = None) -> list[str]:
        """The names of the collections in ``db_name``, or in the connection's database."""
        with final_errors():
            return self.get_conn().list_collections(self._database(db_name))

    def test_connection(self) -> tuple[bool, str]:
        """Whether the connection works, and the number of collections, or what is wrong and what to do about it."""
        try:
            names = self.list_collections()
        except MilvusRestError as error:
            return False, str(error)
        settings = self.get_conn().settings
        database = settings.database or "default"
        count = "1 collection" if len(names) == 1 else f"{len(names)} collections"
        return True, f"Milvus at {settings.base_url}: {count} in {database!r}"

    def _describe(self, collection_name: str, db_name: str | None) -> tuple[CollectionSchema, RowEncoder]:
        """A collection that cannot be upserted into raises here, before a row is read."""
        schema = self.describe_collection(collection_name, db_name)
        return schema, RowEncoder(schema)

    def _described(self, collection_name: str, db_name: str | None) -> tuple[CollectionSchema, RowEncoder]:
        """The same, from memory for :data:`SCHEMA_SECONDS`: describing for each row would double the requests."""
        name, now = (collection_name, db_name), time.monotonic()
        if name not in self._schemas or self._schemas[name][0] < now:
            self._schemas[name] = now + SCHEMA_SECONDS, self._describe(collection_name, db_name)
        return self._schemas[name][1]

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
        raise ConnectionSettingsError("field 'extra' must be a JSON object")
    return extra


def _check_name(parameter: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{parameter} must be a non-empty str, not {value!r:.60}")


def check_reject_options(on_reject: Any, max_rejects: Any, rejects_path: Any) -> None:
    """Refuse options that do not go together.

    :raises InputError: saying which.
    """
    if on_reject not in ("fail", "skip"):
        raise InputError(f"on_reject must be 'fail' or 'skip', not {on_reject!r:.60}")
    if on_reject == "skip" and rejects_path is None:
        raise InputError("on_reject='skip' needs a place for the rows that it skips: give rejects_path")
    if on_reject == "fail" and (rejects_path is not None or max_rejects is not None):
        raise InputError("max_rejects and rejects_path go with on_reject='skip'")
    if max_rejects is not None and (type(max_rejects) is not int or max_rejects < 0):
        raise InputError(f"max_rejects must be an int of at least 0, or None, not {max_rejects!r:.60}")


def _positioned(rows: Iterable[Any]) -> Iterator[Row]:
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise InputError(f"rows must be an iterable of dicts, not {type(rows).__name__}")
    for row in iter_entities(rows):
        yield row.entity if isinstance(row.entity, Row) else row


def _unpickled(cls: type[MilvusRestError], args: tuple[Any, ...], state: dict[str, Any]) -> MilvusRestError:
    """A final error, which has no importable class of its own."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


_FINAL: dict[type[MilvusRestError], type[MilvusRestError]] = {}


@contextmanager
def final_errors() -> Iterator[None]:
    """Give an exception that a retry cannot help the base class by which Airflow knows that."""
    try:
        yield
    except MilvusRestError as error:
        cls = type(error)
        if error.retryable or isinstance(error, AirflowFailException):
            raise
        if cls not in _FINAL:
            members = {
                "__doc__": cls.__doc__,
                "__module__": cls.__module__,
                "__reduce__": lambda self: (_unpickled, (cls, self.args, self.__dict__)),
            }
            _FINAL[cls] = type(cls.__name__, (cls, AirflowFailException), members)
        final = _FINAL[cls].__new__(_FINAL[cls], *error.args)
        final.__dict__.update(error.__dict__)
        raise final.with_traceback(error.__traceback__) from error.__cause__
