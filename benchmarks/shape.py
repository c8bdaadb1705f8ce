"""The cost of shaping: CPU microseconds to read and encode a row of JSON Lines, plain and shaped in several ways.

python benchmarks/shape.py [--rows 2000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import data

from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.json_rows import JsonParser, vectors_in
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema

SCHEMA = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="VarChar", size=64, primary_key=True),
        FieldSchema(name="title", type="VarChar", size=200),
        FieldSchema(name="vector", type="FloatVector", size=data.DIM),
    ),
    dynamic=True,
)


def flat(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"id": str(row["id"])}


def nested(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(row["id"]), "title": row["title"], "response": {"body": {"data": [{"embedding": row["vector"]}]}}}


WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "flat": (flat, {}),
    "a name": (flat, {"field_map": {"title": "title"}}),
    "a path": (
        lambda row: {"id": str(row["id"]), "meta": {"title": row["title"]}, "vector": row["vector"]},
        {"field_map": {"meta.title": "title", "meta": None}},
    ),
    "key_from": (lambda row: {name: row[name] for name in ("title", "vector")}, {"key_from": ["title"]}),
    "a nested vector": (nested, {"field_map": {"response.body.data.0.embedding": "vector", "response": None}}),
}
"""Rows with the same values, and the parameters that shape them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rows = list(data.rows(arguments.rows))
    lines = {name: [json.dumps(make(row)).encode() for row in rows] for name, (make, _) in WAYS.items()}
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(arguments.rounds):
        for name, (_, shape) in WAYS.items():
            encoder, parser_ = RowEncoder(SCHEMA, **shape), JsonParser()
            vectors = vectors_in(encoder.columns)
            start = time.process_time()
            for line in lines[name]:
                encoder.encode(parser_.entity(line, vectors))
            found[name].append((time.process_time() - start) / len(rows) * 1e6)
    base = found["flat"]
    for name, times in found.items():
        more = statistics.median(us - plain for us, plain in zip(times, base, strict=True))
        ratio = statistics.median(us / plain for us, plain in zip(times, base, strict=True))
        print(f"{name:16} {statistics.median(times):6.1f} us a row, {more:+5.1f} us, x {ratio:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
