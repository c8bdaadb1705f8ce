"""The connection to Milvus: its client, and methods that describe collections."""

import json
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, BaseHook

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.assets.milvus_rest import DEFAULT_DATABASE, collection_uri
from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.settings import EXTRAS, ConnectionSettings
from airflow_provider_milvus_rest.rows.schema import CollectionSchema
from airflow_provider_milvus_rest.text import shown


class MilvusRestConnectionHook(BaseHook):
    """The part of the hook that handles its connection.

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

    @final_errors()
    def get_conn(self) -> MilvusRestClient:
        """Return the client, which is created once. A ConnectionSettingsError names a field that cannot be used."""
        if self._client is None:
            connection = self.get_connection(self.milvus_rest_conn_id)
            fields = {name: getattr(connection, name) for name in ("host", "port", "login", "password", "schema")}
            where = f"Connection {self.milvus_rest_conn_id!r}"
            try:
                settings, unknown = ConnectionSettings.from_connection(**fields, extra=_extra(connection.extra))
            except e.ConnectionSettingsError as error:
                typed = connection.conn_type or connection.host
                hint = "" if typed else " In a URI, the type has a hyphen: milvus-rest://"
                raise e.ConnectionSettingsError(f"{where}: {error}{hint}") from None
            if unknown:
                known = ", ".join(sorted(EXTRAS))
                self.log.warning("%s has unknown extras: %s. Known: %s", where, ", ".join(unknown), known)
            self._client = MilvusRestClient(settings)
        return self._client

    def close(self) -> None:
        """Close the client's connections; the hook can be used again afterwards."""
        if self._client is not None:
            self._client.close()
            self._client = None

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
        """Return a collection's asset URI, ``milvus://host:port/db/collection``. An alias is not resolved."""
        _check_name("collection_name", collection_name)
        return collection_uri(self.get_conn().settings.base_url, self._database(db_name), collection_name)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection works, and a message with the number of collections or the error."""
        try:
            names = self.list_collections()
        except (e.MilvusRestError, AirflowException) as error:
            return False, str(error)
        settings = self.get_conn().settings
        count = "1 collection" if len(names) == 1 else f"{len(names)} collections"
        found = f"Milvus at {settings.base_url}: {count} in {settings.database or DEFAULT_DATABASE!r}"
        if settings.token and settings.is_in_the_clear:
            found += ". The password is sent unencrypted: enable TLS in Milvus, and write the host with https://"
        return True, found

    def _check_partition(self, partition_name: str | None) -> None:
        if partition_name is not None:
            _check_name("partition_name", partition_name)
            self.get_conn().check_partition(partition_name)

    def _database(self, db_name: str | None) -> str | None:
        """Return ``db_name`` or the connection's database. An empty name is refused: it would mean another database."""
        if db_name is not None:
            _check_name("db_name", db_name)
        return db_name or self.get_conn().settings.database


def _extra(text: str | None) -> dict[str, Any]:
    """Parse a connection's extra. Airflow itself treats an extra that it cannot parse as empty."""
    try:
        extra = json.loads(text) if text and text.strip() else {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise e.ConnectionSettingsError("field 'extra' must be a JSON object")
    return extra


def _check_name(parameter: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise e.InputError(f"{parameter} must be a non-empty str of printable characters, not {shown(value)}")
