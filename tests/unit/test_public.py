"""What users can name: a change here is a change for them, and needs a line in the changelog."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_milvus_rest import CONN_FIELDS, exceptions, get_provider_info
from airflow_provider_milvus_rest.assets.milvus_rest import create_asset
from airflow_provider_milvus_rest.decorators.milvus_rest import milvus_rest_upsert_task
from airflow_provider_milvus_rest.exceptions import InputError, MilvusRestError, RowError
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.report import CompareReport, IngestReport
from airflow_provider_milvus_rest.operators.milvus_rest import (
    MilvusRestCompareOperator,
    MilvusRestUpsertOperator,
    key_of,
    plan_shards,
)
from airflow_provider_milvus_rest.rest.models import UpsertResult
from airflow_provider_milvus_rest.rows.readers import FileRows
from airflow_provider_milvus_rest.rows.rejected import line_of
from airflow_provider_milvus_rest.testing import LocalMilvus, MilvusAddress

RUN = """db_name partition_name rows_path field_map key_from convert batch_size max_request_bytes concurrency
    retry_budget """
PARAMETERS: dict[Callable[..., Any], str] = {
    MilvusRestUpsertOperator.__init__: f"""collection_name entities files file_format source_conn_id {RUN} on_reject
        max_rejects rejects_path check_only verify_sample return_ids resume milvus_rest_conn_id kwargs""",
    MilvusRestCompareOperator.__init__: f"""collection_name entities files file_format source_conn_id {RUN}
        on_difference differences_path milvus_rest_conn_id kwargs""",
    MilvusRestHook.__init__: "milvus_rest_conn_id kwargs",
    MilvusRestHook.upsert: "collection_name data db_name partition_name",
    MilvusRestHook.ingest: f"""collection_name rows {RUN} on_reject max_rejects rejects_file check_only
        verify_sample report checkpoint""",
    MilvusRestHook.compare: f"collection_name rows {RUN} on_difference differences_file report",
    MilvusRestHook.describe_collection: "collection_name db_name",
    MilvusRestHook.list_collections: "db_name",
    MilvusRestHook.collection_uri: "collection_name db_name",
    MilvusRestHook.get_conn: "",
    MilvusRestHook.test_connection: "",
    MilvusRestHook.stop: "",
    MilvusRestHook.close: "",
    key_of: "values",
    plan_shards: "files target_bytes source_conn_id file_format",
    milvus_rest_upsert_task: "python_callable kwargs",
    create_asset: "host collection_name port db_name extra",
    LocalMilvus.__init__: "folder port auth tls start_timeout",
    MilvusRestError.__init__: "message code http_status retry_after",
    InputError.__init__: "message position",
    RowError.__init__: "reason position field key code",
    FileRows.__init__: "files",
}
TEMPLATED = "collection_name db_name partition_name files source_conn_id rejects_path milvus_rest_conn_id"
OUTPUTS = """read_count upsert_count duplicate_count rejected_count unconfirmed_count resumed_count request_count
    retry_count bytes_sent rejects_path duration_seconds upsert_ids valid_count verified_count"""
COMPARED = """read_count equal_count different_count missing_count duplicate_count rejected_count unconfirmed_count
    request_count retry_count bytes_sent differences_path duration_seconds"""
RETRYABLE = """SourceNotFoundError(InputError) SourceUnavailableError(InputError) SourceChangedError(InputError)
    ConnectError(MilvusRestError) UnexpectedAnswerError(MilvusRestError) StoppedError(MilvusRestError)
    NotReadyError(MilvusRestError) OverloadedError(MilvusRestError) ServerError(MilvusRestError)"""
FINAL = """MilvusRestError(Exception) ConnectionSettingsError(MilvusRestError) InputError(MilvusRestError)
    RowError(InputError) RowsRejectedError(MilvusRestError) RowsDifferError(MilvusRestError)
    UnsupportedCollectionError(MilvusRestError)
    WrongEndpointError(MilvusRestError) NotAuthenticatedError(MilvusRestError) ForbiddenError(MilvusRestError)
    NotFoundError(MilvusRestError) RequestRefusedError(MilvusRestError) DataRefusedError(MilvusRestError)
    RequestTooLargeError(DataRefusedError)"""


@pytest.mark.parametrize("function", PARAMETERS, ids=lambda function: function.__qualname__)
def test_parameters(function: Callable[..., Any]) -> None:
    names = [name for name in inspect.signature(inspect.unwrap(function)).parameters if name != "self"]
    assert sorted(names) == sorted(PARAMETERS[function].split())


def test_templated_parameters() -> None:
    assert sorted(MilvusRestUpsertOperator.template_fields) == sorted(TEMPLATED.split())


def test_outputs() -> None:
    assert sorted(IngestReport(upsert_ids=[]).outputs()) == sorted(OUTPUTS.split())
    assert sorted(CompareReport().outputs()) == sorted(COMPARED.split())
    assert [*UpsertResult.model_fields] == ["upsert_count", "upsert_ids"]


def test_exceptions() -> None:
    found: dict[bool, list[str]] = {True: [], False: []}
    for name, cls in vars(exceptions).items():
        if isinstance(cls, type) and issubclass(cls, Exception):
            found[cls.retryable].append(f"{name}({cls.__base__.__name__})")
    assert {retryable: sorted(names) for retryable, names in found.items()} == {
        True: sorted(RETRYABLE.split()),
        False: sorted(FINAL.split()),
    }
    assert issubclass(InputError, ValueError)
    assert issubclass(exceptions.ConnectionSettingsError, ValueError)


def test_keys_of_a_rejected_row() -> None:
    error = RowError("is missing", position="rows.jsonl:1", field="vector", key=7)
    reject = b'{"position": "rows.jsonl:1", "key": 7, "field": "vector", "reason": "is missing", "code": null'
    assert line_of({"id": 7}, error, {}) == b'{"id": 7, "$reject": %s}}\n' % reject
    assert line_of("text", error, {}) == b'{"$reject": %s, "raw": "text"}}\n' % reject
    assert line_of({"id": {1}}, error, {}) == b'{"id": [1], "$reject": %s, "altered": ["id"]}}\n' % reject


def test_names_in_airflow() -> None:
    info = get_provider_info()
    (connection,) = info["connection-types"]
    assert connection["connection-type"] == MilvusRestHook.conn_type == "milvus_rest"
    assert MilvusRestHook.default_conn_name == "milvus_rest_default"
    assert [*CONN_FIELDS] == ["api_version", "connect_timeout", "read_timeout", "verify", "client_cert", "client_key"]
    assert [decorator["name"] for decorator in info["task-decorators"]] == ["milvus_rest_upsert"]
    assert [scheme for uris in info["asset-uris"] for scheme in uris["schemes"]] == ["milvus"]


def test_names_for_tests() -> None:
    of_a_server = "api_version certificates client connection connection_json from_environment grpc_uri mutual token"
    assert [name for name in dir(MilvusAddress) if name[0] != "_"] == of_a_server.split()
    assert {"kill", "restart", "start", "stop"} <= set(dir(LocalMilvus))
