"""The promise, against a real Milvus: every row is stored exactly as given, or named with the reason."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from airflow_provider_milvus_rest.testing import MilvusAddress

SEED = int(os.environ.get("TEST_SEED", "20261122"))
COLLECTIONS, ROWS = 12, 1_700
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
    scalars = [*big, rng.choice(FLOATS), True, False, text(rng, 40), rng.randrange(100)]
    return rng.choice([*scalars, [nested(rng)], {"k": nested(rng)}])


def dynamic_bad(rng: random.Random) -> Any:
    inner = rng.choice([2**53 + 1, 2**64, float("nan"), b"x", {1: 2}])
    return rng.choice([None, 2**63, 2**64, -(2**63) - 1, float("inf"), [inner], {"k": [inner]}, b"x", "x" * 66_000])


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
def random_collection(pymilvus: MilvusClient) -> Iterator[Callable[..., tuple[str, list[Field], bool]]]:
    names = []

    def make(rng: random.Random, number: int) -> tuple[str, list[Field], bool]:
        kinds = [*BITS, DataType.BOOL, DataType.FLOAT, DataType.DOUBLE, DataType.VARCHAR]
        binary, dynamic = number % 4 == 3, number % 2 == 0
        vector = (
            (DataType.BINARY_VECTOR, rng.choice([8, 32])) if binary else (DataType.FLOAT_VECTOR, rng.choice([2, 7]))
        )
        fields = [
            Field("key", rng.choice([DataType.INT64, DataType.VARCHAR]), 64),
            Field("vector", *vector),
            *(
                Field(f"f{i}", kind, rng.choice([1, 8, 100]))
                for i, kind in enumerate(rng.choices(kinds, k=rng.randint(2, 8)))
            ),
        ]
        rng.shuffle(fields)
        schema = pymilvus.create_schema(auto_id=False, enable_dynamic_field=dynamic)
        for field in fields:
            field.add_to(schema)
        index = pymilvus.prepare_index_params()
        index.add_index(
            "vector", index_type="BIN_FLAT" if binary else "FLAT", metric_type="HAMMING" if binary else "L2"
        )
        names.append(f"random_{uuid4().hex}")
        pymilvus.create_collection(names[-1], schema=schema, index_params=index, consistency_level="Strong")
        return names[-1], fields, dynamic

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


@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_random_rows_are_stored_exactly_or_named(
    pymilvus: MilvusClient, write: Any, random_collection: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    total = stored_total = rejected_total = fields_total = 0
    for number in range(COLLECTIONS):
        name, fields, dynamic = random_collection(rng, number)
        by_name = {field.name: field for field in fields}
        rows = [random_row(rng, fields, dynamic) for _ in range(ROWS)]
        outputs, rejects = write(
            name, entities=[row for row, _ in rows], batch_size=rng.choice([1, 50, 400, 1000]) + 100
        )
        spoiled = {f"[{index}]": field for index, (_, field) in enumerate(rows) if field is not None}
        assert {line["$reject"]["position"]: line["$reject"]["field"] for line in rejects} == spoiled
        expected = {row["key"]: row for row, field in rows if field is None}
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
    with capsys.disabled():
        print(
            f"\n{total} rows into {COLLECTIONS} random collections (TEST_SEED={SEED}): {rejected_total} spoiled, each "
            f"named by its field; {stored_total} keys stored, {fields_total} values read back, 0 differ"
        )
