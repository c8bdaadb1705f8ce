"""``milvus://host:port/db/collection``: a collection as an asset of Airflow, and by its names in OpenLineage.

User, password, TLS and the version of the API are not part of it: however a collection is reached, its name is one.
OpenLineage has no convention for Milvus; its names are formed as those of databases: namespace ``milvus://host:port``,
name ``db.collection``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.rest.settings import DEFAULT_PORT, base_url

if TYPE_CHECKING:
    from airflow.providers.common.compat.assets import Asset
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

SCHEME = "milvus"
DEFAULT_DATABASE = "default"
_MAX_INPUTS = 100


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
) -> Asset:
    """The asset of a collection, for ``outlets`` and schedules.

    :param host: as in the connection: a host name or address, which may have ``http://``, ``https://`` and a port.
    :param collection_name: as in Milvus.
    :param port: as in the connection; default 19530, or 443 with ``https://``.
    :param db_name: the database.
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


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:
    """The dataset of an asset, for Airflow's OpenLineage provider, which calls this for inlets and outlets."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(**_names(asset.uri))


def split_outlets(outlets: Iterable[Any], uri: str) -> tuple[list[Any], list[Any]]:
    """The outlets that are the collection at ``uri``, and those that are another one.

    Database and name decide: the host may have several names.
    """
    own: list[Any] = []
    others: list[Any] = []
    for outlet in outlets:
        parts = urlsplit(getattr(outlet, "uri", None) or "")
        if parts.scheme == SCHEME:
            (own if parts.path == urlsplit(uri).path else others).append(outlet)
    return own, others


def lineage(uri: str | None, files: Iterable[str], report: IngestReport) -> OperatorLineage:
    """What OpenLineage is told of a run: the files, and the collection with the rows and bytes that it took.

    :param uri: None if the run did not get as far as to know it.
    :param files: paths and URIs; of more than 100 the folders, at most as many, since an event has its limits.
    :param report: the rows and bytes are those of this try of the task alone, the bytes with all that was sent again.
    """
    from airflow.providers.common.compat.openlineage.facet import (
        Dataset,
        OutputDataset,
        OutputStatisticsOutputDatasetFacet,
    )
    from airflow.providers.openlineage.extractors import OperatorLineage

    names = list(dict.fromkeys(files))
    if len(names) > _MAX_INPUTS:
        names = list(dict.fromkeys(name.rpartition("/")[0] or "/" for name in names))[:_MAX_INPUTS]
    statistics = OutputStatisticsOutputDatasetFacet(
        rowCount=report.upsert_count - report.resumed_count, size=report.bytes_sent
    )
    facets = {"outputStatistics": statistics}
    return OperatorLineage(
        inputs=[Dataset(**_names(name)) for name in names],
        outputs=[OutputDataset(**_names(uri), outputFacets=facets)] if uri else [],
    )


def _names(uri: str) -> dict[str, str]:
    """Namespace and name in OpenLineage of a collection, a file or an object in a storage."""
    # Not by urlsplit: in the names of objects, "#", "?" and "%" are what they are.
    scheme, remote, rest = uri.partition("://")
    netloc, _, path = rest.partition("/")
    if not remote or scheme == "file":
        return {"namespace": "file", "name": str(Path(f"/{path}" if remote else uri).absolute())}
    name = unquote(path.replace("/", ".")) if scheme == SCHEME else path
    return {"namespace": f"{scheme}://{netloc}", "name": name or "/"}
