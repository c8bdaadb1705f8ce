"""A collection's URI, what Airflow makes of it, and its names in OpenLineage."""

from __future__ import annotations

import json
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.assets import Asset
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_milvus_rest.assets import milvus_rest as assets
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from tests.servers import ScriptedServer

ONE = "milvus://milvus.example.com:19530/default/docs"
SAME = {
    "milvus://milvus.example.com/default/docs": ONE,
    "milvus://MILVUS.Example.COM:19530/default/docs/": ONE,
    "milvus://someone@milvus.example.com/default/docs": ONE,
    "milvus://milvus.example.com:443/default/docs": "milvus://milvus.example.com:443/default/docs",
    "milvus://milvus.example.com/other/Docs": "milvus://milvus.example.com:19530/other/Docs",
    "milvus://[::1]:19530/default/docs": "milvus://[::1]:19530/default/docs",
}
NAMES = st.text(min_size=1, max_size=20)


@pytest.mark.parametrize(("given", "expected"), SAME.items())
def test_one_collection_has_one_uri(given: str, expected: str) -> None:
    assert Asset(given).uri == expected


@pytest.mark.parametrize(
    "uri",
    [
        "milvus://milvus.example.com",
        "milvus://milvus.example.com/docs",
        "milvus://milvus.example.com/default/docs/partition",
        "milvus://milvus.example.com//docs",
        "milvus:///default/docs",
        "milvus://milvus.example.com/default/docs?version=1",
        "milvus://milvus.example.com:70000/default/docs",
    ],
)
def test_what_is_no_collection_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"milvus://host:19530/default/collection|Port out of range"):
        assets.sanitize_uri(urlsplit(uri))


@given(NAMES, NAMES)
def test_names_come_back_out_of_the_uri(db_name: str, collection_name: str) -> None:
    uri = assets.collection_uri("localhost", 19530, db_name, collection_name)
    assert assets.sanitize_uri(urlsplit(uri)).geturl() == uri
    assert [assets.unquote(part) for part in urlsplit(uri).path.split("/")[1:]] == [db_name, collection_name]


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ('{"host": "https://Milvus.Example.com", "password": "hunter2-key"}', "milvus.example.com:443/default/docs"),
        ('{"host": "10.0.0.1", "port": 19531, "schema": "my_db"}', "10.0.0.1:19531/my_db/docs"),
        ('{"host": "::1", "login": "root", "password": "hunter2"}', "[::1]:19530/default/docs"),
    ],
)
def test_the_uri_of_a_connection(connection: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = f'{{"conn_type": "milvus_rest", {connection[1:]}'
    monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", connection)
    uri = MilvusRestHook().collection_uri("docs")
    assert uri == Asset(uri).uri == f"milvus://{expected}"


def test_create_asset() -> None:
    asset = assets.create_asset(host="Localhost", collection_name="docs", db_name="my_db", extra={"team": "search"})
    assert (asset.uri, asset.extra) == ("milvus://localhost:19530/my_db/docs", {"team": "search"})


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("milvus://h:19530/my_db/docs", "milvus://h:19530", "my_db.docs"),
        ("s3://bucket/a/b.parquet", "s3://bucket", "a/b.parquet"),
        ("file:///tmp/rows.jsonl", "file", "/tmp/rows.jsonl"),
        ("/tmp/rows.jsonl", "file", "/tmp/rows.jsonl"),
    ],
)
def test_names_in_openlineage(uri: str, namespace: str, name: str) -> None:
    dataset = assets.convert_asset_to_openlineage(SimpleNamespace(uri=uri), None)  # type: ignore[arg-type]
    assert (dataset.namespace, dataset.name) == (namespace, name)


def test_many_files_are_named_by_their_folders() -> None:
    files = [f"s3://bucket/day={day}/{part}.parquet" for day in range(3) for part in range(50)]
    inputs = assets.lineage(ONE, files, IngestReport()).inputs
    assert [dataset.name for dataset in inputs] == ["day=0", "day=1", "day=2"]
    assert len(assets.lineage(ONE, files[:100] * 2, IngestReport()).inputs) == 100


def test_outlets_without_airflow(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are Airflow's; without them the operator works."""
    monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", json.dumps({"conn_type": "milvus_rest", "host": server.url}))
    operator = MilvusRestUpsertOperator(
        task_id="upsert", collection_name="docs", entities=[], outlets=[Asset(ONE), Asset("s3://bucket/key")]
    )
    assert operator.execute({})["upsert_count"] == 0
