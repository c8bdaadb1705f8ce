"""Compare several ways to upsert the same rows into the same Milvus.

Each way upserts the same rows, with the same number per request, each time into a new collection. The ways take turns
within a round, so that other load on the machine affects all of them. The results are medians over the rounds.

    python benchmarks/upsert.py [--rows 16000] [--rounds 7] [--batch 800] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import data
import numpy as np
import orjson
import psutil
import requests
from airflow.providers.http.hooks.http import HttpHook
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.options import DEFAULTS
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import FileRows
from airflow_provider_milvus_rest.testing import LocalMilvus

COLLECTION = "bench"
UPSERT = "/v1/vector/upsert"


@dataclass
class Bench:
    """What all ways use."""

    server: LocalMilvus
    jsonl: Path
    parquet: Path
    entities: list[dict[str, Any]]
    batch: int
    bodies: list[bytes]
    hook: MilvusRestHook
    client: MilvusClient

    @property
    def url(self) -> str:
        return self.server.uri + UPSERT

    def lines(self) -> Iterator[list[dict[str, Any]]]:
        """The file's rows, as a script would read them."""
        with self.jsonl.open() as file:
            rows = map(json.loads, file)
            while batch := list(islice(rows, self.batch)):
                yield batch


def loop(bench: Bench) -> int:
    """(a) A loop as people write it by hand."""
    sent = 0
    for batch in bench.lines():
        response = requests.post(bench.url, json={"collectionName": COLLECTION, "data": batch}, timeout=60)
        assert response.json()["code"] == 200, response.text
        sent += int(response.request.headers["Content-Length"])
    return sent


def http_hook(bench: Bench) -> int:
    """(b) What HttpOperator does: one session and one connection per request."""
    sent = 0
    for batch in bench.lines():
        body = json.dumps({"collectionName": COLLECTION, "data": batch})
        hook = HttpHook(method="POST", http_conn_id="bench_http")
        response = hook.run(UPSERT, data=body, headers={"Content-Type": "application/json"})
        assert response.json()["code"] == 200, response.text
        sent += len(body)
    return sent


def pymilvus(bench: Bench) -> int:
    """(c) Milvus's own client, over gRPC."""
    for batch in bench.lines():
        bench.client.upsert(COLLECTION, batch)
    return 0


def ours(rows: Callable[[Bench], Any]) -> Callable[[Bench], int]:
    def run(bench: Bench) -> int:
        report = bench.hook.ingest(COLLECTION, rows(bench), batch_size=bench.batch)
        assert report.upsert_count == len(bench.entities)
        return report.bytes_sent

    return run


def ceiling(bench: Bench) -> int:
    """(e) The same bodies as ours, prepared beforehand, over as many connections: the client only sends."""
    bodies = iter(bench.bodies)
    lock = threading.Lock()
    failed = []

    def lane() -> None:
        with requests.Session() as session:
            while True:
                with lock:
                    body = next(bodies, None)
                if body is None:
                    return
                response = session.post(bench.url, data=body, headers={"Content-Type": "application/json"}, timeout=60)
                if response.json()["code"] != 200:
                    failed.append(response.text)

    lanes = [threading.Thread(target=lane) for _ in range(DEFAULTS.concurrency)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    assert not failed, failed
    return sum(map(len, bench.bodies))


WAYS: dict[str, tuple[str, Callable[[Bench], int]]] = {
    "loop": ("(a) requests.post in a loop, from JSONL", loop),
    "http_hook": ("(b) HttpHook, from JSONL", http_hook),
    "pymilvus": ("(c) pymilvus over gRPC, from JSONL", pymilvus),
    "jsonl": ("(d) this provider, from JSONL", ours(lambda bench: FileRows(find_files(bench.jsonl)))),
    "parquet": ("(d) this provider, from Parquet", ours(lambda bench: FileRows(find_files(bench.parquet)))),
    "list": ("(d) this provider, from a list of dicts", ours(lambda bench: bench.entities)),
    "ceiling": ("(e) the same bodies, made beforehand", ceiling),
}
GOALS = (
    *(("jsonl", "loop", "rows_per_second", 4.5), ("jsonl", "pymilvus", "rows_per_second", 1.0)),
    *(("jsonl", "ceiling", "rows_per_second", 0.85), ("parquet", "loop", "rows_per_second", 4.8)),
    *(("parquet", "ceiling", "rows_per_second", 0.9), ("loop", "jsonl", "client_us", 10.0)),
    ("loop", "parquet", "client_us", 14.0),
)
"""Ratios of the first to the second way, of which figure, and their minimum."""


def server_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def settle(process: psutil.Process) -> None:
    """Wait until the server has finished the work that it does after its response."""
    deadline = time.monotonic() + 15
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        before = server_seconds(process)
        time.sleep(0.25)
        quiet = quiet + 1 if server_seconds(process) - before < 0.25 * 0.2 else 0


def create(client: MilvusClient) -> None:
    client.drop_collection(COLLECTION)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("title", DataType.VARCHAR, max_length=200)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=data.DIM)
    client.create_collection(COLLECTION, schema=schema)


def measure(bench: Bench, way: Callable[[Bench], int], process: psutil.Process) -> dict[str, float]:
    create(bench.client)
    settle(process)
    count = len(bench.entities)
    server, client, start = server_seconds(process), time.process_time(), time.perf_counter()
    sent = way(bench)
    seconds, client = time.perf_counter() - start, time.process_time() - client
    settle(process)
    server = server_seconds(process) - server
    return {
        "rows_per_second": count / seconds,
        "client_us": client / count * 1e6,
        "server_us": server / count * 1e6,
        "body_bytes": sent / count,
    }


def validation_us(bench: Bench) -> tuple[float, float]:
    """Client CPU for checking and encoding a row, and for encoding alone."""
    encoder = RowEncoder(bench.hook.describe_collection(COLLECTION))
    rows = [{**row, "vector": np.array(row["vector"], dtype=np.float32)} for row in bench.entities]

    def timed(encode: Callable[[Any], Any]) -> float:
        best = []
        for _ in range(7):
            start = time.process_time()
            for row in rows:
                encode(row)
            best.append((time.process_time() - start) / len(rows) * 1e6)
        return statistics.median(best)

    return timed(encoder.encode), timed(lambda row: orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY))


def encode_bodies(encoder: RowEncoder, entities: list[dict[str, Any]], batch: int) -> list[bytes]:
    rows = iter([encoder.encode(entity)[1] for entity in entities])
    head = b'{"collectionName": "%s", "data": [' % COLLECTION.encode()
    return [head + b",".join(part) + b"]}" for part in iter(lambda: list(islice(rows, batch)), [])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=800)
    parser.add_argument("--only", default=",".join(WAYS), help="names of ways, with commas between")
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    arguments = parser.parse_args()
    ways = arguments.only.split(",")

    with tempfile.TemporaryDirectory() as folder, LocalMilvus(auth=False) as server:
        os.environ["AIRFLOW_CONN_MILVUS_REST_DEFAULT"] = server.connection_json()
        host, port = server.uri.removeprefix("http://").split(":")
        os.environ["AIRFLOW_CONN_BENCH_HTTP"] = json.dumps({"conn_type": "http", "host": host, "port": int(port)})
        logging.getLogger("airflow").setLevel(logging.WARNING)
        hook, client = MilvusRestHook(), server.client()
        create(client)
        entities = list(data.rows(arguments.rows))
        bench = Bench(
            server,
            data.write_jsonl(Path(folder, "rows.jsonl"), arguments.rows),
            data.write_parquet(Path(folder, "rows.parquet"), arguments.rows),
            entities,
            arguments.batch,
            encode_bodies(RowEncoder(hook.describe_collection(COLLECTION)), entities, arguments.batch),
            hook,
            client,
        )
        process = next(p for p in psutil.Process().children() if p.name() == "milvus")
        for name in ways:  # warm-up: connections, caches, the server's first collection
            measure(bench, WAYS[name][1], process)
        rounds = []
        for number in range(arguments.rounds):
            order = random.Random(number).sample(ways, len(ways))
            rounds.append({name: measure(bench, WAYS[name][1], process) for name in order})
        checked, encoded = validation_us(bench)

    medians = {
        name: {what: statistics.median(r[name][what] for r in rounds) for what in rounds[0][name]} for name in ways
    }
    print(f"{arguments.rows} rows of {data.DIM} dimensions, {arguments.batch} a request, {arguments.rounds} rounds")
    print(f"{'':42}{'rows/s':>8}{'x (a)':>7}{'client us':>11}{'server us':>11}{'bytes':>8}  a row")
    for name, median in medians.items():
        ratio = median["rows_per_second"] / medians["loop"]["rows_per_second"] if "loop" in medians else 0
        figures = f"{median['rows_per_second']:8.0f}{ratio:7.2f}{median['client_us']:11.1f}{median['server_us']:11.1f}"
        print(f"{WAYS[name][0]:42}{figures}{median['body_bytes']:8.0f}")
    print(f"Checking and encoding a row: {checked:.1f} us, encoding alone: {encoded:.1f} us")
    goals = []
    for first, second, what, goal in GOALS:
        if first in medians and second in medians:
            # The median of the rounds' ratios: within a round, the machine's load is the same for two ways.
            ratio = statistics.median(r[first][what] / r[second][what] for r in rounds)
            goals.append({"ratio": f"{what} {first}/{second}", "goal": goal, "measured": round(ratio, 3)})
            print(f"{what} of {first} / {second}: {ratio:.2f} (goal {goal})")
    result = {
        "rows": arguments.rows,
        "rounds": arguments.rounds,
        "batch": arguments.batch,
        "medians": medians,
        "validation_us": {"checked": checked, "encoded": encoded},
        "ratios": goals,
    }
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
