"""``milvus://host:port/db/collection``: a collection as an asset of Airflow, and as a dataset of OpenLineage.

User, password, TLS and the version of the API are not part of it: however a collection is reached, its name is one.
OpenLineage has no convention for Milvus: names are those of a database, ``db.collection`` in ``milvus://host:port``.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_provider_milvus_rest.rest.settings import DEFAULT_PORT, base_url

if TYPE_CHECKING:
    from airflow.providers.common.compat.assets import Asset
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_milvus_rest.ingest.report import IngestReport

SCHEME = "milvus"
DEFAULT_DATABASE = "default"
_MAX_INPUTS = 100  # files in an event of OpenLineage


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


def convert_asset_to_openlineage(asset: "Asset", lineage_context: Any) -> "Dataset":
    """The dataset of an asset, for Airflow's OpenLineage provider, which calls this for inlets and outlets."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(**_names(asset.uri))


def lineage(uri: str | None, files: Iterable[str], report: "IngestReport") -> "OperatorLineage":
    """The files of a run, and the collection with the rows and bytes that it took in this try of the task alone.

    Of more than 100 files, their folders, at most as many, since an event has its limits. ``uri`` is None if the run
    did not get as far as to know it.
    """
    from airflow.providers.common.compat.openlineage import facet
    from airflow.providers.openlineage.extractors import OperatorLineage

    names = list(dict.fromkeys(files))
    if len(names) > _MAX_INPUTS:
        names = list(dict.fromkeys(name.rpartition("/")[0] or "/" for name in names))[:_MAX_INPUTS]
    count = report.upsert_count - report.resumed_count
    statistics = facet.OutputStatisticsOutputDatasetFacet(rowCount=count, size=report.bytes_sent)
    return OperatorLineage(
        inputs=[facet.Dataset(**_names(name)) for name in names],
        outputs=[facet.OutputDataset(**_names(uri), outputFacets={"outputStatistics": statistics})] if uri else [],
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
