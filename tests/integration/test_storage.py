"""Files on S3 (moto's server), on file:// and compressed, into a real Milvus."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath
from pymilvus import MilvusClient

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator, plan_shards
from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.entities import entity

pytestmark = pytest.mark.parametrize("milvus", ["plain"], indirect=True)


def lines(*keys: int) -> bytes:
    return b"".join(json.dumps(entity(key)).encode() + b"\n" for key in keys)


def table(*keys: int) -> pa.Table:
    return pa.Table.from_pylist([entity(key) for key in keys])


def parquet(*keys: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table(*keys), sink, row_group_size=10)
    return sink.getvalue()


def arrow(*keys: int) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table(*keys).schema) as writer:
        writer.write_table(table(*keys))
    return sink.getvalue()


@pytest.fixture(scope="module")
def bucket(s3: Any) -> None:
    """Files on S3."""
    s3.create_bucket(Bucket="bucket")
    for key, body in {
        "in/a.jsonl": lines(1, 2),
        "in/b.jsonl.gz": gzip.compress(lines(3)),
        "in/c.json": json.dumps([entity(4), entity(5)]).encode(),
        "in/notes.txt": b"",
        "in/deeper/d.ndjson": lines(6),
        "tables/e.csv": b'id,vector,text\n10,"[1.25, 0.5, -0.5, 1.0]",text 10\n',
        "tables/f.parquet": parquet(11, 12),
        "tables/g.arrow": arrow(13),
        "large/h.jsonl": lines(*range(20, 60)),
        "large/i.parquet": parquet(*range(60, 100)),
        "bad/x.jsonl": lines(7) + b"{\n",
    }.items():
        s3.put_object(Bucket="bucket", Key=key, Body=body)


@pytest.fixture
def upsert(
    bucket: None,
    s3_connection: None,
    milvus_connection: MilvusAddress,
    make_collection: Callable[..., str],
    read_back: Callable[[str], dict[int, Any]],
    pymilvus: MilvusClient,
) -> Callable[..., set[int]]:
    """Upsert files; the keys that are then in the collection, whose rows are as they should be."""
    name = make_collection()

    def run(files: Any, source_conn_id: str | None = "s3") -> set[int]:
        pymilvus.delete(name, filter="id >= 0")
        upsert = MilvusRestUpsertOperator(
            task_id="upsert", collection_name=name, files=files, source_conn_id=source_conn_id
        )
        outputs = upsert.execute({})
        rows = read_back(name)
        assert outputs["upsert_count"] == outputs["read_count"] == len(rows)
        assert rows == {key: entity(key) for key in rows}
        return set(rows)

    return run


def test_files_on_s3(upsert: Callable[..., set[int]]) -> None:
    assert upsert("s3://bucket/in/a.jsonl") == {1, 2}
    assert upsert("s3://bucket/in/*.jsonl*") == {1, 2, 3}
    assert upsert("s3://bucket/in") == {1, 2, 3, 4, 5}
    assert upsert("s3://bucket/in/**/*.ndjson") == {6}
    assert upsert(["s3://bucket/in/c.json", "s3://bucket/in/b.jsonl.gz"]) == {3, 4, 5}
    assert upsert(ObjectStoragePath("s3://bucket/in/a.jsonl", conn_id="s3"), source_conn_id=None) == {1, 2}
    assert upsert("s3://s3@bucket/in/a.jsonl", source_conn_id=None) == {1, 2}


def test_tables_on_s3(upsert: Callable[..., set[int]]) -> None:
    assert upsert("s3://bucket/tables") == {10, 11, 12, 13}


def test_shards_on_s3(upsert: Callable[..., set[int]]) -> None:
    shards = plan_shards("s3://bucket/large", 1000, source_conn_id="s3")
    assert len(shards) > 4
    found = [upsert(shard) for shard in shards]
    assert set.union(*found) == {*range(20, 100)}
    assert sum(map(len, found)) == 80


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ("s3://bucket/nope.jsonl", e.SourceNotFoundError, "^no such file: s3://bucket/nope.jsonl$"),
        ("s3://bucket/in/*.csv", e.SourceNotFoundError, r"^no file matches s3://bucket/in/\*.csv$"),
        ("s3://other/in/*.jsonl", e.SourceNotFoundError, "^no file matches"),
        ("s3://bucket/in/notes.txt", e.InputError, "^s3://bucket/in/notes.txt: the suffix is not one of"),
        ("s3://s3@bucket/bad/x.jsonl", e.RowsRejectedError, "\ns3://bucket/bad/x.jsonl:2: not JSON"),
        (
            "gs://bucket/x.jsonl",
            e.InputError,
            "^gs://bucket/x.jsonl: cannot use this storage: .*(gcsfs|scheme gs).*google",
        ),
        ("zork://bucket/x.jsonl", e.InputError, "^zork://bucket/x.jsonl: cannot use this storage"),
    ],
)
def test_what_is_wrong_with_a_remote_file(
    upsert: Callable[..., set[int]], files: str, error: type[e.MilvusRestError], message: str
) -> None:
    with pytest.raises(e.MilvusRestError, match=message) as caught:
        upsert(files)
    assert isinstance(caught.value, error)
    assert isinstance(caught.value, AirflowFailException) is not isinstance(caught.value, e.SourceNotFoundError)


def test_local_files_as_uri_and_compressed(upsert: Callable[..., set[int]], tmp_path: Path) -> None:
    (tmp_path / "1.jsonl.gz").write_bytes(gzip.compress(lines(1)))
    (tmp_path / "2.jsonl.bz2").write_bytes(bz2.compress(lines(2)))
    (tmp_path / "3.ndjson.xz").write_bytes(lzma.compress(lines(3)))
    (tmp_path / "4.json.gz").write_bytes(gzip.compress(json.dumps([entity(4)]).encode()))
    (tmp_path / "6.jsonl").write_bytes(lines(6))
    assert upsert(tmp_path, None) == {1, 2, 3, 4, 6}
    assert upsert(f"file://{tmp_path}/*.gz", None) == {1, 4}


def test_rejected_rows_go_to_s3_and_come_back(
    upsert: Callable[..., set[int]], make_collection: Callable[..., str]
) -> None:
    arguments = {"collection_name": make_collection(), "source_conn_id": "s3"}
    skip = {"on_reject": "skip", "rejects_path": "s3://s3@bucket/rejects"}
    task = MilvusRestUpsertOperator(task_id="upsert", files="s3://bucket/bad/x.jsonl", **arguments, **skip)
    outputs = task.execute({})
    assert (outputs["upsert_count"], outputs["rejected_count"]) == (1, 1)
    path = ObjectStoragePath(outputs["rejects_path"])
    with path.open("rb") as file:
        (line,) = map(json.loads, file.read().splitlines())
    assert line["$reject"]["position"] == "s3://bucket/bad/x.jsonl:2"
    assert line["$reject"]["raw"] == "{"
    with path.open("wb") as file:
        file.write(json.dumps(entity(8) | line).encode())
    again = MilvusRestUpsertOperator(task_id="again", files=outputs["rejects_path"], **arguments)
    assert again.execute({})["upsert_count"] == 1
