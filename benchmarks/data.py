"""Rows for the benchmarks: made from a seed, with 768 dimensions, in float32."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DIM = 768
_CHUNK = 1000


def vectors(count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Unit vectors, up to 1,000 at a time, each time with the key of the first one."""
    for start in range(0, count, _CHUNK):
        chunk = np.random.default_rng(start).standard_normal((min(_CHUNK, count - start), DIM), dtype=np.float32)
        yield start, chunk / np.linalg.norm(chunk, axis=1, keepdims=True)


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Entities whose vectors are lists of floats that float32 holds exactly, as an embedding model gives them."""
    for start, chunk in vectors(count):
        for key, vector in enumerate(chunk, start):
            yield {"id": key, "title": title(key), "vector": vector.tolist()}


def title(key: int) -> str:
    return f"The title of document {key}"


def lines(count: int) -> Iterator[str]:
    """Rows as ``json.dumps`` writes them, 17 digits per number; the vectors repeat after 5,000 rows."""
    tails = [json.dumps(row).partition(",")[2] for row in rows(min(count, 5000))]
    for key in range(count):
        yield f'{{"id": {key},{tails[key % len(tails)]}\n'


def write_jsonl(path: Path, count: int) -> Path:
    with path.open("w") as file:
        file.writelines(lines(count))
    return path


def write_csv(path: Path, count: int) -> Path:
    """Write the vector as JSON text in a cell."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "vector"])
        for line in lines(count):
            head, _, vector = line.rstrip()[:-1].partition(', "vector": ')
            writer.writerow([*json.loads(head + "}").values(), vector])
    return path


def write_parquet(path: Path, count: int) -> Path:
    """Write row groups of at most 1,000,000 rows, pyarrow's default, with vectors as lists of float32."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.int64()), ("title", pa.string()), ("vector", pa.list_(pa.float32()))])

    def batches() -> Iterator[pa.RecordBatch]:
        for start, chunk in vectors(count):
            keys = range(start, start + len(chunk))
            lists = pa.ListArray.from_arrays(np.arange(len(chunk) + 1, dtype=np.int32) * DIM, chunk.ravel())
            yield pa.record_batch([pa.array(keys), pa.array(map(title, keys)), lists], schema=schema)

    table = pa.Table.from_batches(batches(), schema)
    pq.write_table(table, path)
    return path
