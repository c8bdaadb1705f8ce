"""The operator that compares a source with what is stored."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from airflow.providers.common.compat.sdk import XComArg

from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.report import CompareReport
from airflow_provider_milvus_rest.operators.base import MilvusRestRowsOperator
from airflow_provider_milvus_rest.operators.sources import as_paths
from airflow_provider_milvus_rest.options import DEFAULTS, Options
from airflow_provider_milvus_rest.rows.convert import Convert
from airflow_provider_milvus_rest.rows.files import Files
from airflow_provider_milvus_rest.rows.shape import FieldMap


class MilvusRestCompareOperator(MilvusRestRowsOperator):
    """Read back the rows of a source by their keys, compare each field, and output the counts.

    The task's outputs are the counts of :class:`~airflow_provider_milvus_rest.ingest.report.CompareReport`, pushed
    even if it fails: ``read_count == equal_count + different_count + missing_count + duplicate_count +
    rejected_count + unconfirmed_count``, always. Rows of the collection that are not in the source
    are not checked. If several rows have the same key, the last one counts. The collection must be loaded.

    The other parameters are those of
    :class:`~airflow_provider_milvus_rest.operators.milvus_rest.MilvusRestUpsertOperator`.

    :param on_difference: ``"fail"`` fails the task if a row is different, missing or rejected, with an error that names
        the first ten; ``"report"`` only counts.
    :param differences_path: a folder for a file of the different and missing rows, in the format of a rejects file. To
        repair the collection, pass the file to the upsert operator as ``files``. (templated)
    """

    template_fields: Sequence[str] = (*MilvusRestRowsOperator.template_fields, "differences_path")
    _folder = "differences_path"

    def __init__(
        self,
        *,
        collection_name: str,
        entities: Any = None,
        files: Files | XComArg | None = None,
        file_format: str | None = None,
        source_conn_id: str | None = None,
        rows_path: str | None = None,
        field_map: FieldMap | None = None,
        key_from: Sequence[str] | None = None,
        convert: Convert | None = None,
        db_name: str | None = None,
        partition_name: str | None = None,
        batch_size: int = DEFAULTS.batch_size,
        max_request_bytes: int = DEFAULTS.max_request_bytes,
        concurrency: int = DEFAULTS.concurrency,
        retry_budget: timedelta | float = DEFAULTS.retry_budget,
        on_difference: Literal["fail", "report"] = "fail",
        differences_path: str | Path | None = None,
        milvus_rest_conn_id: str = MilvusRestHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        with final_errors():
            on_reject = "fail" if differences_path is None else "skip"
            limits = (batch_size, max_request_bytes, concurrency, retry_budget, on_reject, None, differences_path)
            shape = (rows_path, field_map, key_from, convert)
            options = Options(*limits, partition_name, *shape, on_difference=on_difference)
        names = {"collection_name": collection_name, "milvus_rest_conn_id": milvus_rest_conn_id}
        source = {"entities": entities, "files": files, "file_format": file_format, "source_conn_id": source_conn_id}
        super().__init__(**names, **source, db_name=db_name, options=options, **kwargs)
        with final_errors():
            self.differences_path = as_paths(differences_path, "differences_path")

    def _options(self, rejects: Any) -> Options:
        self.on_reject = "fail" if rejects is None else "skip"
        return super()._options(rejects)

    def _report(self) -> CompareReport:
        return CompareReport()
