"""What networks and servers do to a run: it comes through, and every row is there as it should be."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.testing import LocalMilvus, MilvusAddress
from tests.proxy import KINDS, FaultProxy

CONNECTION = "AIRFLOW_CONN_MILVUS_REST_DEFAULT"


def entity(key: int, n: int) -> dict[str, Any]:
    return {"id": key, "vector": [float(n), 0.5, -0.5, float(key)], "text": f"row {n}"}


def stored(client: MilvusClient, name: str) -> dict[int, dict[str, Any]]:
    """All rows, of which each key has one."""
    found = client.query_iterator(
        name, batch_size=10_000, filter="id >= 0", output_fields=["*"], consistency_level="Strong"
    )
    rows: dict[int, dict[str, Any]] = {}
    while batch := found.next():
        for row in batch:
            assert row["id"] not in rows
            rows[row["id"]] = dict(row)
    return rows


@pytest.mark.heavy
@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_through_every_fault(
    milvus: MilvusAddress,
    pymilvus: MilvusClient,
    make_collection: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    measured: Callable[[str], None],
) -> None:
    rng, name = random.Random(7), make_collection()
    rows = [entity(rng.randrange(15_000), n) for n in range(22_000)]
    with FaultProxy(milvus.uri, share=0.25, seed=7) as proxy:
        connection = milvus.connection()
        connection |= {"host": proxy.url, "extra": connection.get("extra", {}) | {"read_timeout": 1}}
        monkeypatch.setenv(CONNECTION, json.dumps(connection))
        hook = MilvusRestHook()
        report = hook.ingest(name, rows, batch_size=20, retry_budget=60)
        hook.close()
    faults = sum(proxy.injected.values())
    measured(f"{faults} of {proxy.upserts} upserts spoiled: {dict(sorted(proxy.injected.items()))}")
    measured(f"{report.summary()}, {report.retry_count} retries")
    assert proxy.upserts >= 1000
    assert faults >= 0.2 * proxy.upserts
    assert set(proxy.injected) == set(KINDS)
    assert min(proxy.injected.values()) >= 5
    assert report.retry_count >= faults
    assert report.read_count == 22_000 == report.upsert_count + report.duplicate_count
    last = {row["id"]: row for row in rows}
    assert stored(pymilvus, name) == last


@pytest.mark.heavy
@pytest.mark.own_server
@pytest.mark.timeout(600)
def test_a_server_killed_three_times(monkeypatch: pytest.MonkeyPatch, measured: Callable[[str], None]) -> None:
    count = 24_000
    # One thread to the end: the server is killed when the thread that started it ends.
    with LocalMilvus(auth=False) as server, ThreadPoolExecutor(1) as killer:
        client = server.client()
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
        schema.add_field("text", DataType.VARCHAR, max_length=64)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="L2")
        client.create_collection("docs", schema=schema, index_params=index, consistency_level="Strong")
        monkeypatch.setenv(CONNECTION, server.connection_json())
        kills: list[Future[None]] = []

        def kill() -> None:
            server.kill()
            time.sleep(5)
            server.restart()

        def rows() -> Iterator[dict[str, Any]]:
            for key in range(count):
                if key in (count // 4, count // 2, count * 3 // 4):
                    for earlier in kills:
                        earlier.result()
                    kills.append(killer.submit(kill))
                yield entity(key, key)

        hook = MilvusRestHook()
        report = hook.ingest("docs", rows(), batch_size=100)
        hook.close()
        measured(f"killed {len(kills)} times: {report.summary()}, {report.retry_count} retries")
        assert len(kills) == 3
        assert report.retry_count > 0
        assert (report.read_count, report.upsert_count) == (count, count)
        client = server.client()
        client.load_collection("docs")
        assert stored(client, "docs") == {key: entity(key, key) for key in range(count)}
