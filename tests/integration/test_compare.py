"""What compare finds: exactly what was spoiled, on a real Milvus, and with v2's types on the contract server."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest import checkpoint, compare
from airflow_provider_milvus_rest.ingest import run as run_module
from airflow_provider_milvus_rest.ingest.report import CompareReport, IngestReport
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestCompareOperator, MilvusRestUpsertOperator
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import FileRows
from tests.contract_server import ContractServer, Field

ROWS = 20_000
TYPES = {
    "i8": DataType.INT8,
    "i16": DataType.INT16,
    "i32": DataType.INT32,
    "i64": DataType.INT64,
    "flag": DataType.BOOL,
    "real": DataType.FLOAT,
    "double": DataType.DOUBLE,
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that differ are read again after a second, not ten."""
    for module in (compare, run_module, checkpoint):
        monkeypatch.setattr(module, "STALE_SECONDS", 1.0)


@pytest.fixture
def everything(pymilvus: MilvusClient, request: pytest.FixtureRequest) -> Iterator[str]:
    """A collection with a field of each type that REST can write to Milvus 2.3.5, and dynamic ones."""
    schema = pymilvus.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field(
        "id", request.param, is_primary=True, **({"max_length": 64} if request.param != DataType.INT64 else {})
    )
    for name, kind in TYPES.items():
        schema.add_field(name, kind)
    schema.add_field("text", DataType.VARCHAR, max_length=200)
    vector, kind, metric = (
        ("bits", "BIN_FLAT", "HAMMING") if request.param != DataType.INT64 else ("vector", "FLAT", "L2")
    )
    if vector == "vector":
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    else:
        schema.add_field("bits", DataType.BINARY_VECTOR, dim=32)
    index = pymilvus.prepare_index_params()
    index.add_index(vector, index_type=kind, metric_type=metric)
    name = f"test_{uuid4().hex}"
    pymilvus.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    yield name
    pymilvus.drop_collection(name)


def row_of(key: int, chance: random.Random, kind: type, binary: bool) -> dict[str, Any]:
    numbers = np.random.default_rng(key).standard_normal(8, dtype=np.float32)
    row: dict[str, Any] = {
        "id": kind(key),
        "i8": chance.randrange(-128, 128),
        "i16": chance.randrange(-(2**15), 2**15),
        "i32": chance.randrange(-(2**31), 2**31),
        "i64": chance.randrange(-(2**62), 2**62),
        "flag": chance.random() < 0.5,
        "real": float(np.float32(chance.gauss(0, 1))),
        "double": chance.gauss(0, 1e10),
        "text": chance.choice(["", "é", 'a "quoted" \\ text', "x" * 100, "\n"]) + str(key),
        "n": chance.choice([1, 2**60 + 1, 1.5, True, "x", [1, 2.5, None, "é"], {"a": {"b": [1]}, "c": 0.1}]),
    }
    if binary:
        row["bits"] = list(chance.randbytes(4))
    else:
        row["vector"] = [float(number) for number in numbers]
    if chance.random() < 0.5:
        row["sometimes"] = chance.choice([0, -5, "", "text"])
    return row


def next_float(value: float, pattern: str) -> float:
    """The next larger or smaller one of a format."""
    bits = struct.unpack(f"<{pattern[1]}", struct.pack(f"<{pattern[0]}", value))[0]
    return float(struct.unpack(f"<{pattern[0]}", struct.pack(f"<{pattern[1]}", bits ^ 1))[0])


def spoil(row: dict[str, Any], field: str) -> dict[str, Any]:
    """The row with the least possible change in a field."""
    value = row.get(field)
    spoiled: Any = {
        **{name: lambda: value ^ 1 for name in ("i8", "i16", "i32", "i64")},
        "flag": lambda: not value,
        "real": lambda: next_float(value, "fI"),
        "double": lambda: next_float(value, "dQ"),
        "text": lambda: value + " ",
        "vector": lambda: [*value[:-1], next_float(value[-1], "fI")],
        "bits": lambda: [*value[:-1], value[-1] ^ 1],
        "n": lambda: "other" if value != "other" else "x",
        "sometimes": lambda: "there" if value is None else "other",
        "extra": lambda: 1,
    }[field]()
    return row | {field: spoiled}


def for_pymilvus(row: dict[str, Any]) -> dict[str, Any]:
    return row | ({"bits": bytes(row["bits"])} if "bits" in row else {})


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("everything", "seed"),
    [(DataType.INT64, 1), (DataType.INT64, 2), (DataType.VARCHAR, 3)],
    indirect=["everything"],
    ids=["Int64-1", "Int64-2", "VarChar-3"],
)
@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_exactly_what_was_spoiled_is_found_and_repaired(
    milvus_connection: Any,
    hook: MilvusRestHook,
    pymilvus: MilvusClient,
    everything: str,
    tmp_path: Path,
    seed: int,
    soon: None,
) -> None:
    chance = random.Random(seed)
    key = pymilvus.describe_collection(everything)["fields"][0]["type"]
    kind, binary = (int, False) if key == DataType.INT64 else (str, True)
    rows = [row_of(number, chance, kind, binary) for number in range(ROWS)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert hook.ingest(everything, FileRows(find_files(path))).upsert_count == ROWS

    fields = [*TYPES, "text", "n", "sometimes", "extra", "bits" if binary else "vector"]
    numbers = chance.sample(range(ROWS), 10 * len(fields))
    changed = dict(zip(numbers, fields * 10, strict=True))
    gone = set(chance.sample(sorted(set(range(ROWS)) - changed.keys()), 50))
    pymilvus.upsert(everything, [for_pymilvus(spoil(rows[number], field)) for number, field in changed.items()])
    pymilvus.upsert(
        everything, [for_pymilvus(row_of(number, chance, kind, binary)) for number in range(ROWS, ROWS + 20)]
    )
    pymilvus.delete(everything, ids=[rows[number]["id"] for number in gone])

    client, known = hook.get_conn(), hook.describe_collection(everything)
    while client.stored_keys(known, [rows[number]["id"] for number in gone]):  # reads may be stale
        time.sleep(0.2)

    compared = MilvusRestCompareOperator(
        task_id="compare",
        collection_name=everything,
        files=path,
        differences_path=tmp_path / "differences",
        on_difference="report",
    ).execute({})
    assert compared["different_count"] == len(changed)
    assert compared["missing_count"] == len(gone)
    assert compared["equal_count"] == ROWS - len(changed) - len(gone)
    found = [json.loads(line) for line in Path(compared["differences_path"]).read_text().splitlines()]
    assert {(line["id"], line["$reject"]["field"]) for line in found} == {
        *((rows[number]["id"], field) for number, field in changed.items()),
        *((rows[number]["id"], None) for number in gone),
    }
    repaired = MilvusRestUpsertOperator(
        task_id="repair", collection_name=everything, files=compared["differences_path"], verify_sample=10
    ).execute({})
    assert (repaired["upsert_count"], repaired["verified_count"]) == (len(found), 10)
    assert hook.compare(everything, FileRows(find_files(path))).equal_count == ROWS


@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_rows_of_one_key(hook: MilvusRestHook, make_collection: Any, soon: None) -> None:
    """The last one counts, in the same request or in a later one."""
    name = make_collection()
    rows = [{"id": key, "vector": [turn, 0, 0, 0], "text": "x"} for turn in range(3) for key in (1, 2, 2, 3)]
    hook.ingest(name, rows, batch_size=4)
    report = hook.compare(name, rows, batch_size=4)
    assert (report.read_count, report.equal_count, report.duplicate_count) == (12, 3, 9)
    with pytest.raises(e.RowsDifferError, match=r"read 1, equal 0, missing 1 rows\.\n\[0\]: is not stored"):
        hook.compare(name, [rows[0] | {"id": 9}])
    with pytest.raises(e.RowsDifferError, match=r"\n\[0\]: field 'vector' \[0\] is 2\.?0? in Milvus, not 0"):
        hook.compare(name, rows[:1])
    with pytest.raises(e.RowsDifferError, match=r"rejected 1 rows\.\n\[0\]: field 'text' is missing"):
        hook.compare(name, [{"id": 1, "vector": [0] * 4}])


@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_what_is_written_late_is_read_again(
    hook: MilvusRestHook, make_collection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, row = make_collection(), {"id": 1, "vector": [1, 2, 3, 4], "text": "x"}
    monkeypatch.setattr(compare, "STALE_SECONDS", 1.0)
    lines: list[str] = []
    monkeypatch.setattr(hook.log, "info", lambda text, *values: lines.append(text % values))
    slept = sleeps(monkeypatch, lambda: hook.upsert(name, row))
    assert hook.compare(name, [row]).equal_count == 1
    assert slept == [1.0]
    assert lines[0] == f"Collection {name}: reading 1 row again in 1 s, because recent writes may not be visible yet"


def sleeps(monkeypatch: pytest.MonkeyPatch, then: Any) -> list[float]:
    from airflow_provider_milvus_rest.ingest.retry import Retry

    slept: list[float] = []

    def sleep(self: Retry, seconds: float) -> None:
        slept.append(seconds)
        then()
        time.sleep(seconds)

    monkeypatch.setattr(Retry, "sleep", sleep)
    return slept


@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_a_collection_that_cannot_be_read(
    hook: MilvusRestHook, make_collection: Any, pymilvus: MilvusClient, caplog: pytest.LogCaptureFixture
) -> None:
    name, rows = make_collection(), [{"id": 1, "vector": [1, 2, 3, 4], "text": "x"}]
    pymilvus.release_collection(name)
    for call in (lambda: hook.compare(name, rows), lambda: hook.ingest(name, rows, verify_sample=1)):
        with pytest.raises(e.RequestRefusedError, match=rf"client.load_collection\('{name}'\) .* cannot be read back"):
            call()
    pymilvus.drop_index(name, "vector")
    with pytest.raises(e.RequestRefusedError, match=r"has no index. Create one with client.create_index, and then"):
        hook.compare(name, rows)
    report = IngestReport()
    assert hook.ingest(name, rows, report=report).upsert_count == 1


@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_a_sample_is_verified(
    hook: MilvusRestHook, make_collection: Any, pymilvus: MilvusClient, monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    name = make_collection()
    rows = [{"id": key % 30, "vector": [key, 0, 0, 0], "text": str(key)} for key in range(50)]
    for size, verified in [(1, 1), (20, 20), (100, 30)]:
        assert hook.ingest(name, rows, verify_sample=size, batch_size=7).verified_count == verified
    told = run_module.Ingest._verify

    def meddle(self: Any) -> None:
        pymilvus.upsert(name, [rows[-1] | {"text": "other"}])
        while self.client.read_rows(self.schema, [19])[19]["text"] != "other":  # reads may be stale
            time.sleep(0.1)
        told(self)

    monkeypatch.setattr(run_module.Ingest, "_verify", meddle)
    report = IngestReport()
    match = r"1 of 30 rows are not stored as sent:\n\[49\]: field 'text' is 'other' in Milvus, not '49'"
    with pytest.raises(e.RowsDifferError, match=match):
        hook.ingest(name, rows, verify_sample=100, report=report)
    assert (report.upsert_count, report.duplicate_count, report.verified_count) == (30, 20, 29)


# -- the types of v2 ------------------------------------------------------------------------------------------------

FIELDS = (
    Field("id", "Int64", primary=True),
    Field("half", "Float16Vector", {"dim": 2}),
    Field("brain", "BFloat16Vector", {"dim": 2}),
    Field("small", "Int8Vector", {"dim": 2}),
    Field("sparse", "SparseFloatVector"),
    Field("json", "JSON"),
    Field("floats", "Array", {"max_capacity": 4}, element_type="Float"),
    Field("ints", "Array", {"max_capacity": 4}, element_type="Int64"),
    Field("maybe", "VarChar", {"max_length": 20}, nullable=True),
)
ROW: dict[str, Any] = {
    "id": 1,
    "half": [0.5, -1.5],
    "brain": [0.5, -1.5],
    "small": [-128, 127],
    "sparse": {"1": 0.1, "17": 2.5},
    "json": {"a": [1, 2.5, None, True], "b": {"c": 2**60 + 1}},
    "floats": [0.1, 1.5],
    "ints": [2**62 + 1, -1],
    "maybe": None,
}
CHANGES: dict[str, Any] = {
    "half": [0.5, -1.501953125],
    "brain": [0.5, -1.5078125],
    "small": [-127, 127],
    "sparse": {"1": 0.1, "18": 2.5},
    "json": {"a": [1, 2.5, None, 1], "b": {"c": 2**60 + 1}},
    "floats": [0.1, 1.5000001],
    "ints": [2**62, -1],
    "maybe": "",
}


def test_the_types_of_v2(monkeypatch: pytest.MonkeyPatch, soon: None) -> None:
    with ContractServer("2.6.20") as server:
        monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", server.address("v2").connection_json())
        server.create_collection("docs", *FIELDS)
        hook = MilvusRestHook()
        rows = [ROW, *(ROW | {"id": key, name: value} for key, (name, value) in enumerate(CHANGES.items(), 2))]
        hook.ingest("docs", rows)
        assert hook.compare("docs", rows).equal_count == len(rows)
        for row, (name, value) in zip(rows[1:], CHANGES.items(), strict=True):
            report = CompareReport()
            with pytest.raises(e.RowsDifferError, match=f"field '{name}' "):
                hook.compare("docs", [row | {name: ROW[name]}, ROW], report=report)
            assert (report.equal_count, report.different_count) == (1, 1), (name, value)
        assert hook.compare("docs", [ROW | {"maybe": None}]).equal_count == 1
        del rows[0]["maybe"]
        assert hook.compare("docs", rows[:1]).equal_count == 1
