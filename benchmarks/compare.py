"""Compare operator and upsert: rows per second of both in turn, and peak memory for ten times the rows.

python benchmarks/compare.py [--rows 8000] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import data
import psutil
from client import peak_bytes
from upsert import COLLECTION, create, settle

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import FileRows
from airflow_provider_milvus_rest.testing import LocalMilvus


def timed(hook: MilvusRestHook, how: str, path: Path) -> float:
    start = time.perf_counter()
    report: Any = getattr(hook, how)(COLLECTION, FileRows(find_files(path)))
    assert report.done == report.read_count
    return float(report.read_count / (time.perf_counter() - start))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.getLogger("airflow").setLevel(logging.WARNING)
    if arguments.child:
        hook = MilvusRestHook()
        hook.describe_collection(COLLECTION)
        before = peak_bytes()
        timed(hook, "compare", arguments.child)
        print(f"PEAK {peak_bytes() - before}")
        return 0
    with tempfile.TemporaryDirectory() as folder, LocalMilvus(auth=False) as server:
        os.environ["AIRFLOW_CONN_MILVUS_REST_DEFAULT"] = server.connection_json()
        hook, client = MilvusRestHook(), server.client()
        process = next(p for p in psutil.Process().children() if p.name() == "milvus")
        paths = [data.write_jsonl(Path(folder, f"{n}.jsonl"), n) for n in (arguments.rows, 10 * arguments.rows)]
        create(client)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="L2")
        client.create_index(COLLECTION, index)
        client.load_collection(COLLECTION)
        rounds = []
        for _ in range(arguments.rounds):
            found = {}
            for how in ("ingest", "compare"):
                found[how] = timed(hook, how, paths[0])
                settle(process)
            rounds.append(found)
        timed(hook, "ingest", paths[1])
        settle(process)
        peaks = []
        for path in paths:
            command = [sys.executable, __file__, "--child", str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            peaks.append(int(done.stdout.rpartition("PEAK ")[2]))
    rates = {how: statistics.median(found[how] for found in rounds) for how in rounds[0]}
    ratio = statistics.median(found["compare"] / found["ingest"] for found in rounds)
    print(f"upsert {rates['ingest']:,.0f} rows/s, compare {rates['compare']:,.0f}: {ratio:.2f} (goal 0.5)")
    print(f"memory of {arguments.rows:,} rows {peaks[0] >> 20} MiB, of ten times as many {peaks[1] >> 20} MiB")
    result = {"rows": arguments.rows, "rows_per_second": rates, "ratio": ratio, "peak_bytes": peaks}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
