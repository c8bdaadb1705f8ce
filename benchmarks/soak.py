"""``make soak``: upsert a million rows while worker and server are killed at random, then read every row back.

A real Airflow upserts files and a list into a real Milvus, in two tasks at the same time. Their processes and the
server get SIGKILL at random moments, which depend on a seed, until both tasks succeed.

    python benchmarks/soak.py [--seed 1] [--worker-kills 20] [--server-kills 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import numpy as np
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest.testing import LocalMilvus
from airflow_provider_milvus_rest.testing.local_milvus import NO_PROXY, free_ports

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "soak_dags"))
import soak_rows  # noqa: E402

AIRFLOW = str(Path(sys.executable).with_name("airflow"))
FILES = 10
SOURCES = {"files": soak_rows.FILES, "list": soak_rows.LIST}
LIMIT_SECONDS = 3600


class Airflow:
    """``airflow standalone`` with its own home, and its API."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        (port,) = free_ports(1)
        self.folder, self._url = folder, f"http://127.0.0.1:{port}"
        settings = {
            "CORE__DAGS_FOLDER": str(HERE / "soak_dags"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTION_API_SERVER_URL": f"{self._url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API__BASE_URL": self._url,
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        }
        # Without the settings of an Airflow that the user's shell may have.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self._environment |= {f"AIRFLOW__{name}": value for name, value in settings.items()} | environment
        self._environment |= {
            "AIRFLOW_HOME": str(folder),
            "PATH": f"{Path(AIRFLOW).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self._run = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        subprocess.run([AIRFLOW, "db", "migrate"], check=True, capture_output=True, env=self._environment)
        with (self.folder / "standalone.log").open("w") as log:
            process = subprocess.Popen(
                [AIRFLOW, "standalone"], stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def trigger(self) -> None:
        """Start a run, as soon as Airflow knows the DAG."""
        deadline = time.monotonic() + 180
        while True:
            with suppress(OSError):  # nobody listens yet, or HTTP 404
                self._run = quote(self._call("dagRuns", {"logical_date": None})["dag_run_id"])
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"Airflow does not start: see {self.folder}/standalone.log")
            time.sleep(1)

    def tasks(self) -> dict[str, dict[str, Any]]:
        """The task instances by task."""
        found = self._call(f"dagRuns/{self._run}/taskInstances")["task_instances"]
        return {instance["task_id"]: instance for instance in found}

    def outputs(self, task: str) -> dict[str, Any]:
        value = self._call(f"dagRuns/{self._run}/taskInstances/{task}/xcomEntries/return_value")["value"]
        return dict(json.loads(value) if isinstance(value, str) else value)

    def logs(self, task: str) -> list[str]:
        """The log of each try."""
        return [path.read_text() for path in (self.folder / "logs").rglob(f"**/task_id={task}/**/attempt=*.log")]

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        with urlopen(f"{self._url}/auth/token", timeout=30) as answer:
            headers = {"Authorization": f"Bearer {json.load(answer)['access_token']}"}
        data = None if body is None else json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
        with urlopen(Request(f"{self._url}/api/v2/dags/soak/{path}", data, headers), timeout=30) as answer:
            return json.load(answer)


class Killer:
    """Kill the tasks' processes and the server, at random moments."""

    def __init__(self, folder: Path, server: LocalMilvus, rng: random.Random, seconds: tuple[float, float]) -> None:
        self._folder, self._server, self._rng, self._seconds = folder, server, rng, seconds
        self.workers: dict[str, int] = dict.fromkeys(SOURCES, 0)
        self.servers = 0
        self.both = 0

    def run(self, workers: int, servers: int, running: Callable[[], list[str]]) -> None:
        """Kill this many times, while tasks are running. Must be called by the thread that started the server."""
        due = ["worker"] * workers + ["server"] * servers
        self._rng.shuffle(due)
        while due and (tasks := running()):
            time.sleep(self._rng.uniform(*self._seconds))
            if due[-1] == "server":
                self._server.kill()
                self.servers += 1
                if "worker" in due and self._rng.random() < 0.3 and self._kill_one(tasks):
                    due.remove("worker")
                    self.both += 1
                time.sleep(self._rng.uniform(0, 5))
                self._server.start()
                due.pop()
            elif self._kill_one(tasks):
                due.pop()
            print(f"killed: worker {sum(self.workers.values())} times, server {self.servers} times", flush=True)

    def _kill_one(self, tasks: list[str]) -> bool:
        """Kill the process of one task. Returns whether there was one: between two tries there may be none."""
        for task in sorted(tasks, key=lambda task: self.workers[task]):  # the least often killed first
            path = self._folder / f"{task}.pid"
            with suppress(OSError, ValueError):
                pid = int(path.read_text())
                path.unlink()
                os.kill(pid, signal.SIGKILL)
                self.workers[task] += 1
                return True
        return False


def create_collection(client: MilvusClient) -> None:
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=soak_rows.DIM)
    schema.add_field("text", DataType.VARCHAR, max_length=64)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection("soak", schema=schema, index_params=index, consistency_level="Strong")


def wrong_rows(client: MilvusClient, source: soak_rows.Rows) -> tuple[int, int]:
    """How many keys have a wrong row, have no row or should not exist, and how many rows were read."""
    expected, step, wrong, read = source.expected(), 5000, 0, 0
    for start in range(source.first_key, source.first_key + source.count, step):
        found = client.query(
            "soak",
            filter=f"{start} <= id < {start + step}",
            output_fields=["id", "vector", "text"],
            consistency_level="Strong",
        )
        read += len(found)
        rows = {row["id"]: row for row in found}
        wrong += len(found) - len(rows)  # one key is stored twice
        due = [key for key in range(start, start + step) if key in expected]
        wrong += len(rows.keys() ^ set(due))
        numbers = np.array([expected[key] for key in due], dtype=np.int64)
        for key, number, vector in zip(due, numbers.tolist(), soak_rows.vectors_of(numbers), strict=True):
            if row := rows.get(key):
                same = row["text"] == soak_rows.text_of(number) and np.array_equal(np.float32(row["vector"]), vector)
                wrong += not same
    return wrong, read


def wrong_rejects(source: soak_rows.Rows, outputs: dict[str, Any]) -> int:
    """How many rows are missing from the rejects file, or should not be in it."""
    lines = Path(outputs["rejects_path"]).read_text().splitlines()
    texts = [json.loads(line)["$reject"]["position"] for line in lines]
    bad = np.flatnonzero(source.bad()).tolist()
    if source is soak_rows.LIST:
        due = {f"[{number}]" for number in bad}
    else:
        size = source.count // FILES
        due = {f"part-{number // size:03}.jsonl:{number % size + 1}" for number in bad}
    named = {position.rpartition("/")[2] for position in texts}
    return len(named ^ due) + len(texts) - len(named)


def check(airflow: Airflow, client: MilvusClient) -> dict[str, Any]:
    """The figures of the result, by task."""
    figures: dict[str, Any] = {}
    for task, source in SOURCES.items():
        outputs, logs = airflow.outputs(task), airflow.logs(task)
        wrong, read = wrong_rows(client, source)
        bad = int(source.bad().sum())
        accounted = sum(outputs[f"{name}_count"] for name in ("upsert", "duplicate", "rejected", "unconfirmed"))
        text = "\n".join(logs)
        figures[task] = {
            "rows": source.count,
            "keys": len(source.expected()),
            "bad_rows": bad,
            "rows_read_back": read,
            "wrong_rows": wrong,
            "wrong_rejects": wrong_rejects(source, outputs),
            "wrong_counts": int(
                not (outputs["read_count"] == accounted == source.count and outputs["rejected_count"] == bad)
            ),
            "tries": len(logs),
            "resumes": [int(rows.replace(",", "")) for rows in re.findall(r"Resuming after ([\d,]+) rows", text)],
            "starts_over": re.findall(r"Starting over: ([^\"]*)", text),
            "last_try": outputs,
        }
    return figures


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--server-kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, nargs=2, default=(4, 30), help="between two kills")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ |= NO_PROXY
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    (folder / "airflow").mkdir()
    print(f"All is in {folder}. Writing the rows …", flush=True)
    soak_rows.FILES.write(folder / "rows", FILES)
    # All in this thread: the server is killed when the thread that started it ends.
    with LocalMilvus(folder / "milvus", auth=False) as server:
        create_collection(server.client())
        environment = {
            "SOAK_FOLDER": str(folder),
            "SOAK_BATCH_SIZE": str(arguments.batch),
            "AIRFLOW_CONN_MILVUS_REST_DEFAULT": server.connection_json(),
        }
        airflow = Airflow(folder / "airflow", environment)
        killer = Killer(folder, server, random.Random(arguments.seed), tuple(arguments.seconds))
        with airflow.running():
            airflow.trigger()
            begin = time.monotonic()

            def running() -> list[str]:
                if time.monotonic() - begin > LIMIT_SECONDS:
                    raise TimeoutError("The tasks do not come to an end.")
                return [task for task, instance in airflow.tasks().items() if not finished(instance["state"])]

            def finished(state: str | None) -> bool:
                if state == "failed":
                    raise AssertionError("A task has failed for good.")
                return state == "success"

            killer.run(arguments.worker_kills, arguments.server_kills, running)
            print("No more is killed. Waiting for the tasks …", flush=True)
            while running():
                time.sleep(5)
            seconds = time.monotonic() - begin
            print("Reading every row back …", flush=True)
            client = server.client()
            client.load_collection("soak")
            figures = check(airflow, client)
    result = {
        "seed": arguments.seed,
        "rows": sum(source.count for source in SOURCES.values()),
        "worker_kills": sum(killer.workers.values()),
        "worker_kills_by_task": killer.workers,
        "server_kills": killer.servers,
        "killed_together": killer.both,
        "tries": sum(part["tries"] for part in figures.values()),
        "resumed_rows": sum(sum(part["resumes"]) for part in figures.values()),
        "requests_of_the_last_tries": sum(part["last_try"]["request_count"] for part in figures.values()),
        "seconds": round(seconds),
        "wrong": sum(part[name] for part in figures.values() for name in part if name.startswith("wrong_")),
        "tasks": figures,
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    enough = result["worker_kills"] == arguments.worker_kills and result["server_kills"] == arguments.server_kills
    if result["wrong"] or not enough:
        print(f"FAILED. All is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
