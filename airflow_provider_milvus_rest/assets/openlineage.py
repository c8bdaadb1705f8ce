"""Describes a run for OpenLineage.

OpenLineage has no convention for Milvus. Names follow the one for databases: ``db.collection`` in ``milvus://host:port``.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_milvus_rest.assets.milvus_rest import SCHEME
from airflow_provider_milvus_rest.ingest.report import IngestReport

if TYPE_CHECKING:
    from airflow.providers.common.compat.assets import Asset
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

_MAX_INPUTS = 100


def convert_asset_to_openlineage(asset: "Asset", lineage_context: Any) -> "Dataset":
    """The dataset of an asset, for Airflow's OpenLineage provider, which calls this for inlets and outlets."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(**_names(asset.uri))


def lineage(uri: str | None, files: Iterable[str], report: IngestReport) -> "OperatorLineage":
    """The files and the collection of a run, with the rows and bytes written by this try of the task only.

    More than 100 files are replaced by up to 100 of their folders, because events have a size limit. ``uri`` is None
    if the run failed before it was known, or writes nothing.
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
    """The OpenLineage namespace and name of a collection, a file or an object in a storage."""
    # Without urlsplit, because "#", "?" and "%" have no special meaning in object names.
    scheme, remote, rest = uri.partition("://")
    netloc, _, path = rest.partition("/")
    if not remote or scheme == "file":
        return {"namespace": "file", "name": str(Path(f"/{path}" if remote else uri).absolute())}
    name = unquote(path.replace("/", ".")) if scheme == SCHEME else path
    return {"namespace": f"{scheme}://{netloc}", "name": name or "/"}
