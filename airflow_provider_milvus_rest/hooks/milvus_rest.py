"""The Airflow connection of type ``milvus_rest``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseHook

from airflow_provider_milvus_rest.exceptions import ConnectionSettingsError, InputError, MilvusRestError
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.ingest.run import BATCH_SIZE, MAX_REQUEST_BYTES, ingest
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rows.encode import encode_entity
from airflow_provider_milvus_rest.rows.readers import Row, iter_entities
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key


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
        self._schemas: dict[tuple[str, str | None], CollectionSchema] = {}

    def get_conn(self) -> MilvusRestClient:
        """The client for the connection, made once.

        :raises ConnectionSettingsError: naming the connection's field that cannot be used.
        """
        if self._client is None:
            connection = self.get_connection(self.milvus_rest_conn_id)
            with final_errors():
                try:
                    extra = connection.extra_dejson
                    settings, unknown = ConnectionSettings.from_connection(
                        host=connection.host,
                        port=connection.port,
                        login=connection.login,
                        password=connection.password,
                        schema=connection.schema,
                        extra=extra,
                    )
                except ConnectionSettingsError as error:
                    raise ConnectionSettingsError(f"Connection {self.milvus_rest_conn_id!r}: {error}") from None
            if unknown:
                self.log.warning(
                    "Connection %r: extra fields without a meaning here: %s",
                    self.milvus_rest_conn_id,
                    ", ".join(unknown),
                )
            self._client = MilvusRestClient(settings)
        return self._client

    def close(self) -> None:
        """Close the client's connections; the hook can be used again afterwards."""
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
        :raises InputError: before anything is sent: an entity that cannot be sent, or two with one primary key.
        """
        with final_errors():
            single = isinstance(data, Mapping)
            if not single and not isinstance(data, (list, tuple)):
                raise InputError(f"data must be one entity (dict) or a list of them, not {type(data).__name__}")
            schema = self._schema(collection_name, db_name)
            seen: dict[Key, str] = {}
            encoded = []
            for row in iter_entities([data] if single else data):
                encoded.append(encode_entity(row.entity, row.position))
                key = schema.key_of(row.entity, row.position)
                if key in seen:
                    raise InputError(f"has the primary key {key!r}, as has {seen[key]}", position=row.position)
                seen[key] = row.position
            if not encoded:
                return UpsertResult(upsert_count=0, upsert_ids=[])
            request = UpsertRequest(
                collection_name=schema.name, db_name=schema.db_name, data=encoded[0] if single else encoded
            )
            return self.get_conn().upsert(request, schema.key_type)

    def ingest(
        self,
        collection_name: str,
        rows: Iterable[Mapping[str, Any] | Row],
        *,
        db_name: str | None = None,
        batch_size: int = BATCH_SIZE,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        report: IngestReport | None = None,
    ) -> IngestReport:
        """Upsert any number of entities, streaming them in requests of limited size.

        If several rows have one primary key, the last one stands.

        :param collection_name: a collection or an alias, whose primary key is not autoID.
        :param rows: entities, or :class:`~airflow_provider_milvus_rest.rows.readers.Row` with positions.
        :param db_name: the database; the connection's if not given.
        :param batch_size: rows in a request, at most.
        :param max_request_bytes: bytes of encoded rows in a request, at most; one larger row still goes, alone.
        :param report: the report to fill; it stays true if this raises. A new one if not given.
        :return: the report.
        """
        report = IngestReport() if report is None else report
        with final_errors():
            for name, value in (("batch_size", batch_size), ("max_request_bytes", max_request_bytes)):
                if type(value) is not int or value < 1:
                    raise InputError(f"{name} must be an int of at least 1, not {value!r}")
            schema = self._schema(collection_name, db_name)
            try:
                ingest(
                    self.get_conn(),
                    schema,
                    _positioned(rows),
                    report,
                    batch_size=batch_size,
                    max_request_bytes=max_request_bytes,
                )
            finally:
                self.log.info("Collection %s: %s", schema.name, report.summary())
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
        return True, f"Milvus at {settings.base_url}: {len(names)} collections in {settings.database or 'default'!r}"

    def _schema(self, collection_name: str, db_name: str | None) -> CollectionSchema:
        """Described once a hook. A collection that cannot be upserted into raises here, before a row is read."""
        name = (collection_name, db_name)
        if name not in self._schemas:
            schema = self.describe_collection(collection_name, db_name)
            schema.primary_key  # noqa: B018  # raises if rows cannot be upserted by key
            self._schemas[name] = schema
        return self._schemas[name]

    def _database(self, db_name: str | None) -> str | None:
        """``db_name`` or the connection's; an empty name is an error, since it would mean another database."""
        if db_name is None:
            return self.get_conn().settings.database
        _check_name("db_name", db_name)
        return db_name


def _check_name(parameter: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{parameter} must be a non-empty str, not {value!r:.60}")


def _positioned(rows: Iterable[Any]) -> Iterator[Row]:
    for row in iter_entities(rows):
        yield row.entity if isinstance(row.entity, Row) else row


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
            names = {"__doc__": cls.__doc__, "__module__": cls.__module__}
            _FINAL[cls] = type(cls.__name__, (cls, AirflowFailException), names)
        final = _FINAL[cls].__new__(_FINAL[cls], *error.args)
        final.__dict__.update(error.__dict__)
        raise final.with_traceback(error.__traceback__) from error.__cause__
