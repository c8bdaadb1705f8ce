"""Which numbers of rows and bytes per request and of lanes are fastest, for different kinds of rows.

Each choice upserts the same rows into a new collection of the same Milvus. Within a round, the choices take turns in a
changing order. The result is each choice's speed relative to the fastest of its round, as the median over the rounds.

    python benchmarks/defaults.py [--rounds 6] [--seconds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pymilvus import DataType, MilvusClient
from upsert import COLLECTION, settle

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.testing import LocalMilvus

MIB = 2**20
CHOICES = [
    *((1000, 8 * MIB, 4), (1000, 8 * MIB, 2), (2000, 16 * MIB, 2), (500, 8 * MIB, 2), (500, 8 * MIB, 3)),
    *((500, 8 * MIB, 4), (250, 8 * MIB, 4), (250, 8 * MIB, 8), (1000, 4 * MIB, 4), (1000, 2 * MIB, 4)),
    *((1000, 4 * MIB, 3), (1000, 2 * MIB, 3)),
]
"""The maximum of rows and bytes per request, and the number of lanes."""
KINDS = {"128 dimensions": (128, 0), "768 dimensions": (768, 0), "1,536 dimensions": (1536, 0), "text": (128, 4000)}
"""The number of dimensions, and of characters of text."""


def rows(dim: int, chars: int, count: int) -> list[dict[str, Any]]:
    vectors = np.random.default_rng(1).standard_normal((count, dim), dtype=np.float32)
    text = "Every word is one that somebody has written before. " * 100
    return [
        {"id": key, "title": text[key % 50 : key % 50 + max(chars, 20)], "vector": vector}
        for key, vector in enumerate(vectors)
    ]


def create(client: MilvusClient, dim: int, chars: int) -> None:
    client.drop_collection(COLLECTION)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("title", DataType.VARCHAR, max_length=chars + 100)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    client.create_collection(COLLECTION, schema=schema)


def measure(
    hook: MilvusRestHook, entities: list[Any], choice: tuple[int, int, int], again: Callable[[], None]
) -> float:
    again()
    batch, size, lanes = choice
    start = time.perf_counter()
    report = hook.ingest(COLLECTION, entities, batch_size=batch, max_request_bytes=size, concurrency=lanes)
    assert report.upsert_count == len(entities)
    return len(entities) / (time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long one upsert takes")
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    with LocalMilvus(auth=False) as server:
        os.environ["AIRFLOW_CONN_MILVUS_REST_DEFAULT"] = server.connection_json()
        logging.getLogger("airflow").setLevel(logging.WARNING)
        hook, client = MilvusRestHook(), server.client()
        process = next(p for p in psutil.Process().children() if p.name() == "milvus")
        for kind, (dim, chars) in KINDS.items():

            def again(dim: int = dim, chars: int = chars) -> None:
                create(client, dim, chars)
                settle(process)

            measure(hook, rows(dim, chars, 2000), CHOICES[0], again)  # warm-up
            speed = measure(hook, rows(dim, chars, 2000), CHOICES[0], again)
            entities = rows(dim, chars, int(speed * arguments.seconds))
            rounds: list[dict[str, float]] = []
            for number in range(arguments.rounds):
                order = random.Random(number).sample(CHOICES, len(CHOICES))
                rounds.append({str(choice): measure(hook, entities, choice, again) for choice in order})
            print(f"\n{kind}, {len(entities):,} rows")
            result[kind] = {"rows": len(entities), "choices": []}
            for choice in CHOICES:
                speed = statistics.median(found[str(choice)] for found in rounds)
                ratio = statistics.median(found[str(choice)] / max(found.values()) for found in rounds)
                batch, size, lanes = choice
                print(
                    f"{batch:6} rows {size // MIB:3} MiB {lanes:3} lanes {speed:8,.0f} rows/s {ratio:5.2f}", flush=True
                )
                found = {"batch_size": batch, "max_request_bytes": size, "concurrency": lanes}
                result[kind]["choices"].append(
                    found | {"rows_per_second": round(speed), "of_the_fastest": round(ratio, 3)}
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
