"""Files that are written to while they are read, on the worker and on S3 (moto): never rows of two versions."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.operators.milvus_rest import plan_shards
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import FileRows
from airflow_provider_milvus_rest.rows.source import Columns, Row
from tests import runs
from tests.unit.test_hostile import SCHEMA, Store

ROWS = 3000


def rows(version: str, count: int = ROWS) -> list[dict[str, Any]]:
    """Some megabytes of them, so that a part is read after the change; those of one version are of one length."""
    return [
        {"id": 10_000 + key, "vector": [key / 8, -0.5, 1.0, 0.25], "text": version, "n": os.urandom(450).hex()}
        for key in range(count)
    ]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows[0])
    writer.writerows([json.dumps(v) if isinstance(v, list) else v for v in row.values()] for row in rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=200, compression="none", use_dictionary=False)
    return sink.getvalue()


def as_arrow(rows: list[dict[str, Any]]) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    return sink.getvalue()


def as_stream(rows: list[dict[str, Any]]) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "a.jsonl": lines,
    "a.json": lambda rows: json.dumps(rows).encode(),
    "a.csv": as_csv,
    "a.jsonl.gz": lambda rows: gzip.compress(lines(rows), 1),
    "a.csv.bz2": lambda rows: bz2.compress(as_csv(rows), 1),
    "a.jsonl.xz": lambda rows: lzma.compress(lines(rows), preset=0),
    "a.parquet": as_parquet,
    "a.feather": as_arrow,
    "a.arrow": as_stream,
}


class Folder:
    """On the worker; what is written into an existing file is written in place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: bytes) -> str:
        path = self.path / name
        if path.exists():
            with path.open("r+b") as file:
                file.write(content)
                file.truncate()
        else:
            path.write_bytes(content)
            os.utime(path, (1e9, 1e9))  # the clock of file systems is a coarse one
        return str(path)


class Bucket:
    def __init__(self, client: Any) -> None:
        self.client = client

    def write(self, name: str, content: bytes) -> str:
        self.client.put_object(Bucket="changes", Key=f"in/{name}", Body=content)
        return f"s3://changes/in/{name}"


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Folder | Bucket:
    if request.param == "local":
        return Folder(tmp_path)
    request.getfixturevalue("s3_connection")
    client = request.getfixturevalue("s3")
    client.create_bucket(Bucket="changes")
    return Bucket(client)


class Changing:
    """A source whose file changes after so many rows of it were read."""

    def __init__(self, files: Any, at: int, change: Callable[[], Any]) -> None:
        self.source = FileRows(find_files(files, lambda uri: ObjectStoragePath(uri, conn_id="s3")))
        self.at, self.change = at, change

    def rows(self, columns: Columns) -> Iterator[Row]:
        for number, row in enumerate(self.source.rows(columns)):
            if number == self.at:
                self.change()
            yield row

    def share(self) -> float | None:
        return self.source.share()


def ingest(files: Any, at: int = -1, change: Callable[[], Any] = lambda: None) -> tuple[Store, IngestReport]:
    """What was stored, and the counts; they add up, whatever is raised."""
    store, report = Store(), IngestReport()
    try:
        runs.ingest(store, SCHEMA, Changing(files, at, change), report=report, batch_size=50, concurrency=1)
    finally:
        assert report.upsert_count == len(store.rows)
        assert report.read_count >= at
        assert report.read_count == report.upsert_count + report.duplicate_count + report.unconfirmed_count
    return store, report


def changed(content: Callable[[list[dict[str, Any]]], bytes], how: str) -> bytes:
    if how == "shrunk":
        return content(rows("a", ROWS * 2 // 3))
    if how == "cut":
        whole = content(rows("a"))
        return whole[: len(whole) * 2 // 3]
    return content(rows("a", ROWS + 10) if how == "grown" else rows("b"))


@pytest.mark.parametrize("how", ["shrunk", "cut", "grown", "rewritten"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_changes_while_it_is_read(store: Folder | Bucket, name: str, how: str) -> None:
    content = FORMATS[name]
    path = store.write(name, content(rows("a")))
    assert ingest(path)[1].upsert_count == ROWS
    with pytest.raises(e.SourceChangedError, match=rf"{name}: changed while it was being read: its ") as caught:
        ingest(path, 100, lambda: store.write(name, changed(content, how)))
    assert caught.value.retryable
    if how != "cut":
        assert ingest(path)[1].upsert_count == {"shrunk": ROWS * 2 // 3, "grown": ROWS + 10, "rewritten": ROWS}[how]


@pytest.mark.parametrize("how", ["shrunk", "cut", "grown", "rewritten"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_shard_whose_file_changes(store: Folder | Bucket, name: str, how: str) -> None:
    """While it is read, and between the plan and the reading."""
    content = FORMATS[name]
    path = store.write(name, content(rows("a")))
    source = {"source_conn_id": "s3"} if "://" in path else {}
    shards = json.loads(json.dumps(plan_shards(path, 2**20, **source)))  # type: ignore[arg-type]
    assert len(shards) > 2
    assert sum(ingest(shard)[1].upsert_count for shard in shards) == ROWS
    with pytest.raises(e.SourceChangedError, match=rf"{name}: changed while it was being read: its "):
        ingest(shards[1], 100, lambda: store.write(name, changed(content, how)))
    with pytest.raises(e.InputError, match=rf"{name} has changed since the shards were planned .*: run plan_shards"):
        ingest(shards[2])


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_an_end_before_the_end_of_a_part(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](rows("a", 400)))
    (shard,) = plan_shards(path, 2**30)
    end = {"unit": "row_groups", "end": 3} if "parquet" in name else {"end": path.stat().st_size + 1}
    with pytest.raises(
        e.InputError, match=rf"{name}: the file (ends at byte|has 2 row groups).*this part ends"
    ) as caught:
        ingest([shard[0] | end])
    assert not caught.value.retryable


def test_an_object_that_is_read_in_two_requests_and_changes_in_between(
    s3: Any, monkeypatch: pytest.MonkeyPatch, store: Folder | Bucket
) -> None:
    """s3fs itself refuses the second one."""
    name = "large.jsonl"
    path = store.write(name, lines(rows("a", 8000)))
    open_ = ObjectStoragePath.open
    monkeypatch.setattr(ObjectStoragePath, "open", lambda path, mode: open_(path, mode, block_size=2**20))
    with pytest.raises(e.SourceChangedError, match=rf"{name}: changed while it was being read"):
        ingest(path, 100, lambda: store.write(name, lines(rows("b", 8000))))
