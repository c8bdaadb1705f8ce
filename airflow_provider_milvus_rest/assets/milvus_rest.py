"""``milvus://host:port/db/collection``: a collection as an asset of Airflow.

User, password, TLS and the version of the API are not part of it: however a collection is reached, its name is one.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_provider_milvus_rest.rest.settings import DEFAULT_PORT, base_url

if TYPE_CHECKING:
    from airflow.providers.common.compat.assets import Asset

SCHEME = "milvus"
DEFAULT_DATABASE = "default"


def collection_uri(server: str, db_name: str | None, collection_name: str) -> str:
    """The URI of a collection on the server at an ``http://host:port``; of ``default`` if ``db_name`` is None."""
    path = "/".join(quote(name, safe="") for name in (db_name or DEFAULT_DATABASE, collection_name))
    return f"{SCHEME}://{server.partition('://')[2].lower()}/{path}"


def create_asset(
    *,
    host: str,
    collection_name: str,
    port: int | None = None,
    db_name: str = DEFAULT_DATABASE,
    extra: dict[str, Any] | None = None,
) -> "Asset":
    """The asset of a collection, for ``outlets`` and schedules.

    :param host: as in the connection: a host name or address, which may have ``http://``, ``https://`` and a port.
    :param port: as in the connection; default 19530, or 443 with ``https://``.
    :param extra: the asset's own, which is not that of its events.
    :raises ConnectionSettingsError: ``host`` cannot be used.
    """
    from airflow.providers.common.compat.assets import Asset

    return Asset(uri=collection_uri(base_url(host, port), db_name, collection_name), extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """One form for each collection, for Airflow: the host in lower case, with a port, without a user.

    :raises ValueError: it is not the URI of a collection.
    """
    names = uri.path.split("/")[1:]
    if not uri.hostname or len(names) != 2 or not all(names) or uri.query:
        raise ValueError(
            f"URI format {SCHEME}:// must name host, database and collection, and nothing else: "
            f"{SCHEME}://host:{DEFAULT_PORT}/{DEFAULT_DATABASE}/collection"
        )
    return urlsplit(collection_uri(base_url(uri.hostname, uri.port), unquote(names[0]), unquote(names[1])))


def split_outlets(outlets: Iterable[Any], uri: str) -> tuple[list[Any], list[Any]]:
    """The outlets that are the collection at ``uri``, by database and name, as hosts may have several; and others."""
    own: list[Any] = []
    others: list[Any] = []
    for outlet in outlets:
        parts = urlsplit(getattr(outlet, "uri", None) or "")
        if parts.scheme == SCHEME:
            (own if parts.path == urlsplit(uri).path else others).append(outlet)
    return own, others
