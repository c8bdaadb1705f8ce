"""A collection's URI, what Airflow makes of it, and its names in OpenLineage."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.assets import Asset
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_milvus_rest.assets import milvus_rest as assets
from airflow_provider_milvus_rest.assets import openlineage
from airflow_provider_milvus_rest.exceptions import ConnectionSettingsError
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

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
        "milvus://milvus.example.com/default/docs#1",
        "milvus://milvus.example.com:70000/default/docs",
    ],
)
def test_what_is_no_collection_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"milvus://host:19530/default/collection|Port out of range"):
        assets.sanitize_uri(urlsplit(uri))


@given(NAMES, NAMES)
def test_names_come_back_out_of_the_uri(db_name: str, collection_name: str) -> None:
    uri = assets.collection_uri("http://localhost:19530", db_name, collection_name)
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


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("Localhost", None, "localhost:19530"),
        ("http://LOCALHOST", 19530, "localhost:19530"),
        ("localhost:19530", None, "localhost:19530"),
        ("https://localhost", None, "localhost:443"),
        ("::1", None, "[::1]:19530"),
        ("[::1]", 19531, "[::1]:19531"),
    ],
)
def test_create_asset_takes_the_host_of_the_connection(host: str, port: int | None, expected: str) -> None:
    asset = assets.create_asset(host=host, port=port, collection_name="docs", db_name="my_db", extra={"team": "search"})
    assert (asset.uri, asset.extra) == (f"milvus://{expected}/my_db/docs", {"team": "search"})
    assert asset == Asset(asset.uri, extra={"team": "search"})  # on Airflow 3 by its name too


def test_create_asset_refuses_a_host_that_is_none() -> None:
    with pytest.raises(ConnectionSettingsError, match="field 'host' contains credentials"):
        assets.create_asset(host="http://root:hunter2@localhost", collection_name="docs")


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("milvus://h:19530/my_db/docs", "milvus://h:19530", "my_db.docs"),
        ("s3://bucket/a/b.parquet", "s3://bucket", "a/b.parquet"),
        ("s3://bucket/a%20b#1?.jsonl", "s3://bucket", "a%20b#1?.jsonl"),
        ("file:///tmp/a#d.jsonl", "file", "/tmp/a#d.jsonl"),
        ("file:///tmp/rows.jsonl", "file", "/tmp/rows.jsonl"),
        ("/tmp/rows.jsonl", "file", "/tmp/rows.jsonl"),
    ],
)
def test_names_in_openlineage(uri: str, namespace: str, name: str) -> None:
    dataset = openlineage.convert_asset_to_openlineage(SimpleNamespace(uri=uri), None)  # type: ignore[arg-type]
    assert (dataset.namespace, dataset.name) == (namespace, name)


def test_many_files_are_named_by_their_folders() -> None:
    files = [f"s3://bucket/day={day}/{part}.parquet" for day in range(3) for part in range(50)]
    inputs = openlineage.lineage(ONE, files, IngestReport()).inputs
    assert [dataset.name for dataset in inputs] == ["day=0", "day=1", "day=2"]
    assert len(openlineage.lineage(ONE, files[:100] * 2, IngestReport()).inputs) == 100
    (root,) = openlineage.lineage(ONE, [f"/{part}.jsonl" for part in range(101)], IngestReport()).inputs
    assert root.name == "/"


def test_statistics_are_those_of_one_try() -> None:
    """The rows of earlier tries are in their events."""
    report = IngestReport(read_count=10, upsert_count=10, resumed_count=6, bytes_sent=400)
    (output,) = openlineage.lineage(ONE, [], report).outputs
    assert output.outputFacets["outputStatistics"].rowCount == 4


def test_a_check_has_no_output(server_connection: None) -> None:
    operator = MilvusRestUpsertOperator(task_id="check", collection_name="docs", entities=[], check_only=True)
    operator.execute({})
    assert operator.get_openlineage_facets_on_complete(None).outputs == []


def test_what_is_in_the_event_already_stays(server_connection: None, tmp_path: Path) -> None:
    asset = Asset("milvus://localhost/default/docs")
    event = SimpleNamespace(extra={"model": "bge"})
    operator = MilvusRestUpsertOperator(
        task_id="upsert",
        collection_name="docs",
        entities=[{"id": "x"}],
        outlets=[asset],
        on_reject="skip",
        rejects_path=f"file://my_conn@{tmp_path}",
        return_ids=True,
    )
    events = MagicMock(**{"__getitem__.side_effect": lambda outlet: {asset.uri: event}[outlet.uri]})  # as Airflow's
    operator.execute({"outlet_events": events})
    assert (event.extra["model"], event.extra["rejected_count"]) == ("bge", 1)
    assert "upsert_ids" not in event.extra
    assert "my_conn" not in event.extra["rejects_path"]


def test_outlets_without_airflow(server_connection: None) -> None:
    """Events are Airflow's; without them the operator works."""
    operator = MilvusRestUpsertOperator(
        task_id="upsert", collection_name="docs", entities=[], outlets=[Asset(ONE), Asset("s3://bucket/key")]
    )
    assert operator.execute({})["upsert_count"] == 0
