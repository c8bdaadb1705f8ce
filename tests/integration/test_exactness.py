"""The promise, against a real Milvus: every row is stored exactly as given, or named with the reason."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import requests
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest.exceptions import RowsRejectedError
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from airflow_provider_milvus_rest.rows.readers import Entities
from airflow_provider_milvus_rest.testing import MilvusAddress
from tests import runs
from tests.entities import entity

SEED = int(os.environ.get("TEST_SEED", "20261122"))
COLLECTIONS, ROWS = 12, 1_700
TYPE_NAMES = {
    DataType.INT8: "Int8",
    DataType.INT16: "Int16",
    DataType.INT32: "Int32",
    DataType.INT64: "Int64",
    DataType.BOOL: "Bool",
    DataType.FLOAT: "Float",
    DataType.DOUBLE: "Double",
}
BITS = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
ALPHABET = [
    "a",
    "Z",
    "0",
    " ",
    '"',
    "\\",
    "/",
    "<",
    "&",
    "\n",
    "\t",
    "\x00",
    "\x7f",
    "é",
    "ß",
    "\u2028",
    "漢",
    "😀",
    "𝕏",
]
FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    1e-7,
    -1e-7,
    1e22,
    1e16,
    123456789.0,
    2.0**53,
    1 / 3,
    5e-324,
    1.7976931348623157e308,
]
SINGLES = [0.0, -0.0, 1.0, 0.1, 1e-7, 1e22, 1 / 3, 1e-45, 3.4028234663852886e38, 16777217.0, 123456789]


class Field:
    """A field: what may be stored in it, what may not, and when a stored value is the one given."""

    def __init__(self, name: str, kind: DataType, size: int) -> None:
        self.name, self.kind, self.size = name, kind, size

    def add_to(self, schema: Any) -> None:
        vector = self.kind in (DataType.FLOAT_VECTOR, DataType.BINARY_VECTOR)
        more = {"dim": self.size} if vector else {"max_length": self.size} if self.kind == DataType.VARCHAR else {}
        schema.add_field(self.name, self.kind, is_primary=self.name == "key", **more)

    def good(self, rng: random.Random) -> Any:
        kind = self.kind
        if kind in BITS:
            limit = 2 ** (BITS[kind] - 1)
            value = rng.choice([-limit, limit - 2, 0, -1, 1, rng.randrange(-limit, limit - 1)])
            return np.int64(value) if rng.random() < 0.1 else value
        if kind == DataType.BOOL:
            return rng.choice([True, False, np.bool_(True)])
        if kind == DataType.FLOAT:
            return rng.choice([*SINGLES, rng.uniform(-1e3, 1e3), np.float32(rng.random()), 7])
        if kind == DataType.DOUBLE:
            return rng.choice([*FLOATS, rng.uniform(-1e300, 1e300), 7, 2**53])
        if kind == DataType.VARCHAR:
            return text(rng, self.size)
        if kind == DataType.FLOAT_VECTOR:
            values = [
                rng.choice([*SINGLES, 1e-60, 7]) if rng.random() < 0.2 else rng.gauss(0, 1) for _ in range(self.size)
            ]
            return rng.choice([values, tuple(values), np.array(values), np.array(values, dtype=np.float32)])
        bits = rng.randbytes(self.size // 8)
        return rng.choice([bits, list(bits), np.frombuffer(bits, dtype=np.uint8)])

    def bad(self, rng: random.Random) -> Any:
        kind = self.kind
        if kind in BITS:
            limit = 2 ** (BITS[kind] - 1)
            return rng.choice([limit, -limit - 1, 2**63, 2**64, 2**64 + 1, 10**30, 1.0, 1.5, "1", True, None, [1]])
        if kind == DataType.BOOL:
            return rng.choice([0, 1, "true", None, 1.0, []])
        if kind == DataType.FLOAT:
            return rng.choice(
                [1e39, -1e300, 1e-60, 16777217 * 10**30, float("nan"), float("inf"), "1", "NaN", True, None]
            )
        if kind == DataType.DOUBLE:
            return rng.choice([float("nan"), float("-inf"), 2**53 + 1, 10**400, "1.0", False, None, {}])
        if kind == DataType.VARCHAR:
            too_long = rng.choice(["x" * (self.size + 1), "é" * (self.size // 2 + 1), "😀" * (self.size // 4 + 1)])
            return rng.choice([too_long, 5, 1.5, True, None, b"x", ["x"], {"a": 1}, "\ud800"])
        vector: list[Any] = [0.5] * self.size
        if kind == DataType.BINARY_VECTOR:
            size = self.size // 8
            return rng.choice(
                [b"", bytes(size + 1), [256] * size, [-1] * size, [0.5] * size, None, "x" * size, [None] * size]
            )
        spoiled = list(vector)
        spoiled[rng.randrange(self.size)] = rng.choice([None, "1", True, float("nan"), float("inf"), 1e39, [1.0]])
        return rng.choice([spoiled, spoiled, vector[:-1], [*vector, 0.5], [], None, "[]", 5, np.array([vector])])

    def equal(self, stored: Any, given: Any) -> bool:
        if self.kind == DataType.FLOAT_VECTOR:
            with np.errstate(under="ignore"):
                return bool(np.array_equal(np.float32(stored), np.asarray(given, dtype=np.float64).astype(np.float32)))
        if self.kind == DataType.BINARY_VECTOR:
            return b"".join(stored) == bytes(given if isinstance(given, bytes) else list(map(int, given)))
        if self.kind == DataType.FLOAT:
            return bool(np.float32(stored) == np.float32(given))
        if self.kind == DataType.BOOL:
            return stored is bool(given)
        return bool(stored == given) and isinstance(stored, str) is isinstance(given, str)


def text(rng: random.Random, size: int) -> str:
    """At most ``size`` bytes, often exactly so many."""
    found, left = [], rng.choice([0, 1, size // 2, size, size])
    while left > 0:
        char = rng.choice(ALPHABET)
        if len(char.encode()) > left:
            char = "x"
        found.append(char)
        left -= len(char.encode())
    return "".join(found)


def nested(rng: random.Random, depth: int = 0) -> Any:
    """JSON without what Milvus's dynamic fields change."""
    scalars = [None, True, False, 0, 2**53, -(2**53), rng.choice(FLOATS), rng.random(), text(rng, 20)]
    if depth == 3 or rng.random() < 0.4:
        return rng.choice(scalars)
    if rng.random() < 0.5:
        return [nested(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {text(rng, 5): nested(rng, depth + 1) for _ in range(rng.randrange(4))}


def dynamic_good(rng: random.Random) -> Any:
    big = [2**63 - 1, -(2**63), 2**53 + 1, 10**16]
    scalars = [*big, rng.choice(FLOATS), True, False, None, text(rng, 40), rng.randrange(100)]
    return rng.choice([*scalars, [nested(rng)], {"k": nested(rng)}])


def dynamic_bad(rng: random.Random) -> Any:
    inner = rng.choice([2**53 + 1, 2**64, 4.748291543094505e17, float("nan"), b"x", {1: 2}])
    return rng.choice([2**63, 2**64, -(2**63) - 1, float("inf"), [inner], {"k": [inner]}, b"x", "x" * 66_000])


@pytest.fixture
def write(
    milvus_connection: MilvusAddress, tmp_path: Path
) -> Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Upsert with the operator, skipping; the outputs, and the rejects file's lines."""

    def write(collection: str, **arguments: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        upsert = MilvusRestUpsertOperator(
            task_id="upsert",
            collection_name=collection,
            on_reject="skip",
            rejects_path=tmp_path / "rejects",
            **arguments,
        )
        outputs = upsert.execute({})
        path = outputs["rejects_path"]
        return outputs, [json.loads(line) for line in Path(path).read_text().splitlines()] if path else []

    return write


@pytest.fixture
def random_collections(pymilvus: MilvusClient) -> Iterator[Callable[..., list[tuple[str, list[Field], bool]]]]:
    """Make collections of random fields, all at once: their names, fields, and whether they have dynamic ones."""
    names = []

    def create(name: str, fields: list[Field], dynamic: bool) -> None:
        schema = pymilvus.create_schema(auto_id=False, enable_dynamic_field=dynamic)
        for field in fields:
            field.add_to(schema)
        binary = any(field.kind == DataType.BINARY_VECTOR for field in fields)
        index = pymilvus.prepare_index_params()
        index.add_index(
            "vector", index_type="BIN_FLAT" if binary else "FLAT", metric_type="HAMMING" if binary else "L2"
        )
        pymilvus.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")

    def make(rng: random.Random, count: int) -> list[tuple[str, list[Field], bool]]:
        made = []
        for number in range(count):
            vector = (
                (DataType.BINARY_VECTOR, rng.choice([8, 32]))
                if number % 4 == 3
                else (DataType.FLOAT_VECTOR, rng.choice([2, 7]))
            )
            kinds = rng.choices(
                [*BITS, DataType.BOOL, DataType.FLOAT, DataType.DOUBLE, DataType.VARCHAR], k=rng.randint(2, 8)
            )
            fields = [
                Field("key", rng.choice([DataType.INT64, DataType.VARCHAR]), 64),
                Field("vector", *vector),
                *(Field(f"f{i}", kind, rng.choice([1, 8, 100])) for i, kind in enumerate(kinds)),
            ]
            rng.shuffle(fields)
            names.append(f"random_{uuid4().hex}")
            made.append((names[-1], fields, number % 2 == 0))
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(lambda arguments: create(*arguments), made))
        return made

    yield make
    for name in names:
        pymilvus.drop_collection(name)


def random_row(rng: random.Random, fields: list[Field], dynamic: bool) -> tuple[dict[str, Any], str | None]:
    """A row, and the field that is spoiled in it, if one is."""
    row = {field.name: field.good(rng) for field in fields}
    if isinstance(row["key"], (int, np.integer)):
        row["key"] = int(row["key"]) if rng.random() < 0.2 else rng.randrange(-500, 500)  # some keys come again
    if dynamic:
        row |= {rng.choice(["d1", "d.2", "$x", "é", "", 'q"']): dynamic_good(rng) for _ in range(rng.randrange(3))}
    if rng.random() > 0.3:
        return row, None
    choice = rng.random()
    field = rng.choice(fields)
    if choice < 0.2:
        del row[field.name]
        return row, field.name
    if choice < 0.35:
        row["extra"] = dynamic_bad(rng) if dynamic else 1
        return row, "extra"
    row[field.name] = field.bad(rng)
    return row, field.name


def test_random_rows_are_stored_exactly_or_named(
    pymilvus: MilvusClient, write: Any, random_collections: Any, measured: Callable[[str], None]
) -> None:
    rng = random.Random(SEED)
    total = stored_total = rejected_total = fields_total = 0
    for name, fields, dynamic in random_collections(rng, COLLECTIONS):
        by_name = {field.name: field for field in fields}
        rows = [random_row(rng, fields, dynamic) for _ in range(ROWS)]
        outputs, rejects = write(
            name, entities=[row for row, _ in rows], batch_size=rng.choice([1, 50, 400, 1000]) + 100
        )
        spoiled = {f"[{index}]": field for index, (_, field) in enumerate(rows) if field is not None}
        assert {line["$reject"]["position"]: line["$reject"]["field"] for line in rejects} == spoiled
        expected = {  # a null is no dynamic field, and other nulls are refused
            row["key"]: {name: value for name, value in row.items() if value is not None}
            for row, field in rows
            if field is None
        }
        key = "key >= 0 or key < 0" if by_name["key"].kind == DataType.INT64 else 'key >= ""'
        stored = [
            dict(row) for row in pymilvus.query(name, filter=key, output_fields=["*"], consistency_level="Strong")
        ]
        assert {row["key"] for row in stored} == set(expected)
        assert len(stored) == len(expected)
        for row in stored:
            given = expected[row["key"]]
            assert set(row) == set(given), (row, given)
            for field_name, value in row.items():
                field = by_name.get(field_name)
                same = field.equal(value, given[field_name]) if field else value == given[field_name]
                assert same, (field_name, value, given[field_name])
                fields_total += 1
        counts = [outputs[f"{count}_count"] for count in ("read", "upsert", "duplicate", "rejected", "unconfirmed")]
        assert counts[0] == ROWS == sum(counts[1:])
        assert (counts[3], counts[4]) == (len(spoiled), 0)
        total, rejected_total, stored_total = total + ROWS, rejected_total + len(spoiled), stored_total + len(stored)
    assert total >= 20_000
    assert rejected_total <= 0.4 * total
    measured(
        f"{total} rows into {COLLECTIONS} random collections (TEST_SEED={SEED}): {rejected_total} spoiled, each "
        f"named by its field; {stored_total} keys stored, {fields_total} values read back, 0 differ"
    )


TRAPS = [  # of the contract's section 3: a field's type, a value that Milvus 2.3.5 changes, accepts or breaks over REST
    ("Int8", 300),
    ("Int8", -129),
    ("Int8", "010"),
    ("Int16", 40_000),
    ("Int32", 2**31),
    ("Int64", "0x10"),
    ("Int64", 5.0),
    ("Bool", 1),
    ("Bool", "T"),
    ("Float", 1e-60),
    ("Float", "NaN"),
    ("Float", "Infinity"),
    ("Float", "1.5"),
    ("Double", "NaN"),
    ("Double", "1e400"),
    ("VarChar", 5),
    ("VarChar", 1e22),
    ("VarChar", True),
    ("VarChar", {"a": 1}),
    ("VarChar", None),
    ("VarChar", ...),
    ("FloatVector", [1.0, None]),
    ("FloatVector", ["2", 1.0]),
    ("FloatVector", [True, 1.0]),
    ("dynamic", 1e-7),
    ("dynamic", -1e-5),
    ("dynamic", 1e22),
    ("dynamic", 1e16),
    ("dynamic", 4.748291543094505e17),
    ("dynamic", {"x": 2.0**63}),
    ("dynamic", 2**64),
    ("dynamic", {"x": 9007199254740993}),
    ("dynamic", [9007199254740993]),
    ("dynamic", 9007199254740993),
    ("dynamic", None),
    ("$meta", {"a": 1}),
    ("key", ...),
    ("key", None),
]
"""``...`` is a field left out."""


@pytest.mark.own_server  # #52261 has fewer traps
@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_each_trap_is_rejected_or_exact(
    milvus: MilvusAddress, pymilvus: MilvusClient, write: Any, measured: Callable[[str], None]
) -> None:
    """And most of them spring when the rows are posted as they are."""
    name = f"traps_{uuid4().hex}"
    schema = pymilvus.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("key", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("FloatVector", DataType.FLOAT_VECTOR, dim=2)
    for kind in (*BITS, DataType.BOOL, DataType.FLOAT, DataType.DOUBLE):
        schema.add_field(TYPE_NAMES[kind], kind)
    schema.add_field("VarChar", DataType.VARCHAR, max_length=64)
    index = pymilvus.prepare_index_params()
    index.add_index("FloatVector", index_type="FLAT", metric_type="L2")
    pymilvus.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    whole = {"FloatVector": [0.5, 0.5], "Int8": 1, "Int16": 1, "Int32": 1, "Int64": 1, "Bool": True}
    whole |= {"Float": 0.5, "Double": 0.5, "VarChar": "x"}
    rows = []
    for number, (field, value) in enumerate(TRAPS):
        row = {"key": f"k{number}"} | whole | {field: value}
        rows.append({name: value for name, value in row.items() if value is not ...})

    def stored() -> dict[str, dict[str, Any]]:
        found = pymilvus.query(name, filter='key >= ""', output_fields=["*"], consistency_level="Strong")
        return {
            row["key"]: {n: v.tolist() if hasattr(v, "tolist") else v for n, v in dict(row).items()} for row in found
        }

    outputs, rejects = write(name, entities=rows)
    rejected = {int(line["$reject"]["position"][1:-1]): line["$reject"]["field"] for line in rejects}
    assert rejected == {number: TRAPS[number][0] for number in rejected}
    kept = {row["key"]: dict(row) for number, row in enumerate(rows) if number not in rejected}
    del kept[f"k{TRAPS.index(('dynamic', None))}"]["dynamic"]  # a null is no dynamic field
    assert stored() == kept
    assert outputs["upsert_count"] == len(rows) - len(rejected)

    raw, accepted = {}, []
    for number, row in enumerate(rows):
        row["key"] = row.get("key") and f"raw{number}"
        body = json.dumps({"collectionName": name, "data": [{n: v for n, v in row.items() if n != "key" or v}]})
        answer = requests.post(f"{milvus.uri}/v1/vector/upsert", data=body, timeout=10).json()
        raw[row["key"] or ""] = row
        if answer["code"] == 200:
            accepted.append(row["key"] or "")
    found = stored()
    changed = sum(found.get(key) != raw[key] for key in accepted)
    measured(
        f"{len(TRAPS)} traps: the operator stored {len(rows) - len(rejected)} exactly and rejected "
        f"{len(rejected)}; posted as they are, Milvus accepted {len(accepted)} and changed {changed} of them"
    )
    assert changed > 15
    pymilvus.drop_collection(name)


def lines_of(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_one_bad_row_among_ten_thousand(
    write: Any, make_collection: Callable[..., str], read_back: Callable[[str], dict[int, Any]], tmp_path: Path
) -> None:
    rows = [entity(key) for key in range(10_000)]
    rows[7_777]["text"] = 5
    file = lines_of(tmp_path / "rows.jsonl", rows)
    name = make_collection()
    with pytest.raises(RowsRejectedError, match=rf"{file}:7778: field 'text' must be a str \(VarChar\), not int 5"):
        MilvusRestUpsertOperator(task_id="fail", collection_name=name, files=file).execute({})
    outputs, (reject,) = write(name, files=file)
    assert (outputs["upsert_count"], outputs["rejected_count"], outputs["read_count"]) == (9_999, 1, 10_000)
    assert reject == rows[7_777] | {
        "$reject": {
            "position": f"{file}:7778",
            "key": 7_777,
            "field": "text",
            "reason": "must be a str (VarChar), not int 5",
            "code": None,
        }
    }
    # Mended, the rejects file is read as it is.
    mended = lines_of(tmp_path / "mended.jsonl", [reject | {"text": "five"}])
    assert write(name, files=mended)[0]["upsert_count"] == 1
    rows[7_777]["text"] = "five"
    assert read_back(name) == {row["id"]: row for row in rows}


def test_lines_that_are_not_json_are_named_too(
    write: Any, make_collection: Callable[..., str], read_back: Callable[[str], dict[int, Any]], tmp_path: Path
) -> None:
    name, file = make_collection(), tmp_path / "rows.jsonl"
    file.write_bytes(
        json.dumps(entity(1)).encode() + b'\n{"id": 2, "vector\n[3]\n\xff\n' + json.dumps(entity(4)).encode()
    )
    outputs, rejects = write(name, files=file)
    assert (outputs["read_count"], outputs["upsert_count"], outputs["rejected_count"]) == (5, 2, 3)
    assert [line["$reject"]["position"] for line in rejects] == [f"{file}:{number}" for number in (2, 3, 4)]
    assert rejects[0]["$reject"]["raw"] == '{"id": 2, "vector'
    assert read_back(name) == {key: entity(key) for key in (1, 4)}


@pytest.fixture
def narrowed(
    make_collection: Callable[..., str], pymilvus: MilvusClient, hook: MilvusRestHook, tmp_path: Path
) -> tuple[Callable[..., IngestReport], str]:
    """An ingest that knows a collection as it was before its text became VarChar(8), which only the server checks."""
    name = make_collection()
    known = hook.describe_collection(name)
    pymilvus.drop_collection(name)
    schema = pymilvus.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("text", DataType.VARCHAR, max_length=8)
    index = pymilvus.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    pymilvus.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")

    def ingest(rows: list[dict[str, Any]], rejects: Path | None) -> IngestReport:
        return runs.ingest(hook.get_conn(), known, Entities(rows), rejects=rejects)

    return ingest, name


def test_rows_that_only_the_server_refuses_are_found(
    narrowed: tuple[Callable[..., IngestReport], str],
    read_back: Callable[[str], dict[int, Any]],
    tmp_path: Path,
    measured: Callable[[str], None],
) -> None:
    ingest, name = narrowed
    spoiled = sorted(random.Random(SEED).sample(range(10_000), 10))
    rows = [entity(key, "too long a text" if key in spoiled else "text") for key in range(10_000)]
    report = ingest(rows, tmp_path / "rejects.jsonl")
    rejects = [json.loads(line)["$reject"] for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert sorted(reject["key"] for reject in rejects) == spoiled  # in the order in which the lanes found them
    assert {reject["code"] for reject in rejects} == {1100}
    assert "exceeds max length" in rejects[0]["reason"]
    assert (report.read_count, report.upsert_count, report.rejected_count) == (10_000, 9_990, 10)
    assert set(read_back(name)) == set(range(10_000)) - set(spoiled)
    assert report.request_count < 200
    measured(f"10 rows that only the server refuses, among 10,000: found in {report.request_count} requests")


def test_fail_names_what_the_server_refuses(narrowed: tuple[Callable[..., IngestReport], str]) -> None:
    ingest, _ = narrowed
    rows = [entity(key, "too long a text" if key == 700 else "text") for key in range(3000)]
    with pytest.raises(RowsRejectedError, match=r"\[700\]: is refused by the server: Milvus says: .*max length"):
        ingest(rows, None)


def test_the_row_before_a_refused_one_stands(
    narrowed: tuple[Callable[..., IngestReport], str], read_back: Callable[[str], dict[int, Any]], tmp_path: Path
) -> None:
    ingest, name = narrowed
    rows = [entity(1, "a"), entity(1, "b"), entity(2), entity(1, "much too long"), entity(2, "as well")]
    report = ingest(rows, tmp_path / "rejects.jsonl")
    assert read_back(name) == {1: entity(1, "b"), 2: entity(2, "as well")}
    counts = (report.read_count, report.upsert_count, report.duplicate_count, report.rejected_count)
    assert counts == (5, 2, 2, 1)


def test_more_rejects_than_may_be(
    write: Any, make_collection: Callable[..., str], read_back: Callable[[str], dict[int, Any]]
) -> None:
    name = make_collection()
    rows = [entity(key, "text" if key % 10 else 5) for key in range(100)]  # type: ignore[arg-type]
    with pytest.raises(
        RowsRejectedError, match=r"4 of 31 rows read so far are rejected \(max_rejects=3\)\. They are in /"
    ):
        write(name, entities=rows, max_rejects=3, batch_size=1)
    outputs, rejects = write(name, entities=rows, max_rejects=10)
    assert outputs["rejected_count"] == len(rejects) == 10
