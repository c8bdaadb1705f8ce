"""Measure the client alone: CPU and memory with a sink that acknowledges at once, and a large file in two processes.

python benchmarks/client.py [--rows 20000] [--million 1000000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import data
import requests

HERE = Path(__file__).parent
FORMATS = {"jsonl": data.write_jsonl, "csv": data.write_csv, "parquet": data.write_parquet}


@contextmanager
def sink() -> Iterator[str]:
    """Run a sink in a separate process; yields its URL."""
    command = [sys.executable, str(HERE / "sink.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def peak_bytes() -> int:
    """Peak memory of this program: ``ru_maxrss`` would include that of the process that it was forked from."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def child(task: dict[str, Any]) -> dict[str, Any]:
    """One upsert in this process. Returns the count, CPU, time, and peak memory before and after."""
    import pyarrow.parquet  # noqa: F401  # otherwise reading the first file would import it

    from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
    from airflow_provider_milvus_rest.rows.files import find_files
    from airflow_provider_milvus_rest.rows.readers import FileRows

    os.environ["AIRFLOW_CONN_MILVUS_REST_DEFAULT"] = json.dumps({"conn_type": "milvus_rest", "host": task["url"]})
    hook = MilvusRestHook()
    hook.describe_collection("bench")
    before, cpu, start = peak_bytes(), time.process_time(), time.perf_counter()
    if task["how"] == "loop":
        count = loop(task)
    else:
        report = hook.ingest("bench", FileRows(find_files(task["files"])))
        count = report.upsert_count
        assert report.read_count == count
    return {
        "count": count,
        "cpu": time.process_time() - cpu,
        "seconds": time.perf_counter() - start,
        "before": before,
        "peak": peak_bytes(),
    }


def loop(task: dict[str, Any]) -> int:
    """A loop as people write it by hand, as in upsert.py."""
    count = 0
    with open(task["files"]) as file:
        while batch := [json.loads(line) for _, line in zip(range(800), file, strict=False)]:
            response = requests.post(task["url"] + "/v1/vector/upsert", json={"data": batch}, timeout=60)
            count += response.json()["data"]["upsertCount"]
    return count


def start(**task: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "client.py"), "--child", json.dumps(task)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return dict(json.loads(output.splitlines()[-1]))


def cpu(url: str, folder: Path, count: int, rounds: int) -> dict[str, float]:
    """Client CPU per row, in microseconds."""
    files = {name: str(write(folder / f"cpu.{name}", count)) for name, write in FORMATS.items()}
    ways = {"loop": ("loop", files["jsonl"]), **{name: ("ours", path) for name, path in files.items()}}
    figures: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (how, path) in ways.items():
            result = finish(start(how=how, url=url, files=path, rows=count))
            assert result["count"] == count, result
            figures[name].append(result["cpu"] / count * 1e6)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    print(f"\nClient CPU a row, against a sink, {count} rows, {rounds} rounds")
    for name, value in medians.items():
        print(f"  {name:8} {value:7.1f} us   1/{medians['loop'] / value:.1f} of the loop")
    return medians


def memory(url: str, folder: Path, rows_of: dict[str, int]) -> dict[str, dict[str, float]]:
    """Peak memory for an input, and for one of ten times its size."""
    figures = {}
    print("\nPeak memory of the process, and above the bare import")
    for name, write in FORMATS.items():
        peaks = []
        count = rows_of[name]
        for rows in (count, count * 10):
            path = write(folder / f"memory.{name}", rows)
            result = finish(start(how="ours", url=url, files=str(path), rows=rows))
            assert result["count"] == rows, result
            peaks.append(result)
            path.unlink()
        small, large = (peak["peak"] / 2**20 for peak in peaks)
        above = large - peaks[1]["before"] / 2**20
        figures[name] = {"small_mib": small, "large_mib": large, "ratio": large / small, "above_import_mib": above}
        print(
            f"  {name:8} {small:4.0f} MiB on {count} rows, {large:4.0f} MiB on {count * 10}: x {large / small:.3f};",
            end="",
        )
        print(f" {above:.0f} MiB above the import")
    return figures


def million(url: str, folder: Path, count: int) -> dict[str, Any]:
    """Read lines that are made at the same time, through a named pipe, so that no disk is needed."""
    pipe = folder / "million.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=data.write_jsonl, args=(pipe, count))
    process = start(how="ours", url=url, files=str(pipe), rows=count)
    writer.start()
    result = finish(process)
    writer.join()
    assert result["count"] == count, result
    above = (result["peak"] - result["before"]) / 2**20
    print(f"\n{count} rows of JSONL, made on the fly: {result['count']} acknowledged in {result['seconds']:.0f} s,")
    print(f"  {count / result['seconds']:.0f} rows/s, peak {above:.0f} MiB above the import")
    return result | {"above_import_mib": above}


def shards(url: str, folder: Path, count: int, rounds: int) -> dict[str, float]:
    """One file in one process, and its two halves in two processes."""
    from airflow_provider_milvus_rest.operators.milvus_rest import plan_shards

    path = data.write_jsonl(folder / "shards.jsonl", count)
    plan = plan_shards(str(path), path.stat().st_size // 2 + 1)
    assert len(plan) == 2
    one, two = [], []
    for _ in range(rounds):
        one.append(finish(start(how="ours", url=url, files=str(path), rows=count)))
        halves = [start(how="ours", url=url, files=shard, rows=count) for shard in plan]
        results = [finish(half) for half in halves]
        assert sum(result["count"] for result in results) == one[-1]["count"] == count
        two.append(max(result["seconds"] for result in results))
    ratio = statistics.median(single["seconds"] / both for single, both in zip(one, two, strict=True))
    print(f"\nplan_shards: {count} rows, by two processes {ratio:.2f} times as fast as by one; counts exact")
    return {"speedup": ratio}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--million", type=int, default=1_000_000, help="rows of the large run")
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(json.loads(arguments.child))))
        return 0
    with tempfile.TemporaryDirectory() as name, sink() as url:
        folder = Path(name)
        result = {
            "client_us": cpu(url, folder, arguments.rows, arguments.rounds),
            "memory": memory(url, folder, {name: arguments.rows * (3 if name == "parquet" else 1) for name in FORMATS}),
            "shards": shards(url, folder, arguments.rows * 2, arguments.rounds),
            "million": million(url, folder, arguments.million),
        }
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
