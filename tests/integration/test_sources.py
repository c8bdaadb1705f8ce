"""Every format and every form of memory into a real Milvus, in parallel lanes; pymilvus reads back what was stored."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator, plan_shards
from airflow_provider_milvus_rest.testing import MilvusAddress

pytestmark = pytest.mark.parametrize("milvus", ["plain"], indirect=True)
ROWS = 700


def entities(first: int) -> list[dict[str, Any]]:
    vectors = np.random.default_rng(first).standard_normal((ROWS, 4), dtype=np.float32).tolist()
    texts = ("plain", 'a "quoted", text', "line\nbreak", "[brackets]", "é 漢 🙂", "back\\slash")
    return [
        {"id": first + i, "vector": vector, "text": f"{texts[i % len(texts)]} {i}"} for i, vector in enumerate(vectors)
    ]


def write(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """A file of each format, with rows of its own."""
    written = {}

    def rows_of(name: str) -> list[dict[str, Any]]:
        written[name] = entities(len(written) * ROWS)
        return written[name]

    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of("a.jsonl")))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows_of("b.ndjson.gz"))
    (folder / "b.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "c.json").write_text(json.dumps(rows_of("c.json")))
    with (folder / "d.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "vector", "id"])
        writer.writerows((row["text"], json.dumps(row["vector"]), row["id"]) for row in rows_of("d.csv"))
    kind = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32())), ("text", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows_of("e.parquet"), kind), folder / "e.parquet", row_group_size=100)
    feather.write_feather(pa.Table.from_pylist(rows_of("f.feather"), kind), str(folder / "f.feather"))
    return written


def test_files_of_every_format(
    milvus_connection: MilvusAddress,
    make_collection: Callable[..., str],
    read_back: Callable[[str], dict[int, Any]],
    tmp_path: Path,
) -> None:
    written = write(tmp_path)
    name = make_collection()
    upsert = MilvusRestUpsertOperator(task_id="upsert", collection_name=name, files=tmp_path, batch_size=100)
    outputs = upsert.execute({})
    assert outputs["read_count"] == outputs["upsert_count"] == ROWS * len(written)
    assert read_back(name) == {row["id"]: row for rows in written.values() for row in rows}


def test_shards_of_files(
    milvus_connection: MilvusAddress,
    make_collection: Callable[..., str],
    read_back: Callable[[str], dict[int, Any]],
    tmp_path: Path,
) -> None:
    written = write(tmp_path)
    name = make_collection()
    shards = json.loads(json.dumps(plan_shards(tmp_path, 10_000)))
    assert len(shards) > 15
    counts = [
        MilvusRestUpsertOperator(task_id="upsert", collection_name=name, files=shard).execute({})["upsert_count"]
        for shard in shards
    ]
    assert sum(counts) == ROWS * len(written)
    assert read_back(name) == {row["id"]: row for rows in written.values() for row in rows}


def test_tables_in_memory(
    hook: MilvusRestHook, make_collection: Callable[..., str], read_back: Callable[[str], dict[int, Any]]
) -> None:
    name, rows = make_collection(), [entities(part * ROWS) for part in range(4)]
    frame = pd.DataFrame(rows[2])
    sources: list[Any] = [
        pa.Table.from_pylist(rows[0]),
        pa.RecordBatch.from_pylist(rows[1]),
        frame,
        (row | {"vector": np.array(row["vector"], np.float32)} for row in rows[3]),
    ]
    assert [hook.ingest(name, source).upsert_count for source in sources] == [ROWS] * 4
    assert read_back(name) == {row["id"]: row for part in rows for row in part}


def test_the_last_row_of_a_key_wins_over_lanes(
    hook: MilvusRestHook, make_collection: Callable[..., str], read_back: Callable[[str], dict[int, Any]]
) -> None:
    rng, name = random.Random(7), make_collection()
    keys = [rng.randrange(300) for _ in range(6000)]
    rows = [{"id": key, "vector": [float(n)] * 4, "text": f"row {n}"} for n, key in enumerate(keys)]
    report = hook.ingest(name, rows, batch_size=20, concurrency=8)
    assert report.read_count == 6000 == report.upsert_count + report.duplicate_count
    assert read_back(name) == {row["id"]: row for row in rows}
