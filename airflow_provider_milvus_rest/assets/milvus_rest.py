"""``milvus://host:port/db/collection``: a collection as an Airflow asset.

User, password, TLS and API version are not part of the URI: a collection has one URI, however it is reached.
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
    """The URI of a collection on ``server`` (``http://host:port``), in database ``default`` if ``db_name`` is None."""
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
    :param extra: the asset's extra, not that of its events.
    :raises ConnectionSettingsError: ``host`` cannot be used.
    """
    from airflow.providers.common.compat.assets import Asset

    return Asset(uri=collection_uri(base_url(host, port), db_name, collection_name), extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Normalize a collection's URI for Airflow: the host in lower case, with a port, without a user.

    :raises ValueError: ``uri`` is not the URI of a collection.
    """
    names = uri.path.split("/")[1:]
    if not uri.hostname or len(names) != 2 or not all(names) or uri.query or uri.fragment:
        raise ValueError(
            f"URI format {SCHEME}:// must contain a host, a database and a collection, and nothing else: "
            f"{SCHEME}://host:{DEFAULT_PORT}/{DEFAULT_DATABASE}/collection"
        )
    return urlsplit(collection_uri(base_url(uri.hostname, uri.port), unquote(names[0]), unquote(names[1])))


def split_outlets(outlets: Iterable[Any], uri: str) -> tuple[list[Any], list[Any]]:
    """Split Milvus outlets into the collection at ``uri`` and others. A host can have several names and is ignored."""
    own: list[Any] = []
    others: list[Any] = []
    for outlet in outlets:
        parts = urlsplit(getattr(outlet, "uri", None) or "")
        if parts.scheme == SCHEME:
            (own if parts.path == urlsplit(uri).path else others).append(outlet)
    return own, others
