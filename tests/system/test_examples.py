"""Every example DAG, run in each of the ways that the README names, against a real Milvus."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from pymilvus import MilvusClient

from airflow_provider_milvus_rest.testing import MilvusAddress

EXAMPLES = Path(__file__).parents[2] / "example_dags"
AIRFLOW = str(Path(sys.executable).with_name("airflow"))
COLLECTIONS = {
    "example_milvus_rest_taskflow": "stdlib_docs",
    "example_milvus_rest_files": "stdlib_docs_from_files",
    "example_milvus_rest_mapped": "stdlib_docs_mapped",
}
PRINTS = {
    "example_milvus_rest_taskflow": r"^ +upsert_count: 608$(.|\n)*^11 of 12 right answers come first$",
    "example_milvus_rest_files": r"^608 of 608 rows are in 'stdlib_docs_from_files'$",
    "example_milvus_rest_mapped": r"^152 \+ 152 \+ 152 \+ 152 = 608 rows are in 'stdlib_docs_mapped'$",
}
PLAIN = pytest.mark.parametrize("milvus", ["plain"], indirect=True)


@pytest.fixture
def stored(
    airflow_db: None, milvus_connection: MilvusAddress, pymilvus: MilvusClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], int]]:
    """Rows in an example's collection; there is none before the test."""
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(EXAMPLES))
    for name in COLLECTIONS.values():
        pymilvus.drop_collection(name)

    def count(dag_id: str) -> int:
        return pymilvus.query(COLLECTIONS[dag_id], filter="", output_fields=["count(*)"])[0]["count(*)"]

    yield count
    for name in COLLECTIONS.values():
        pymilvus.drop_collection(name)


def test_there_is_no_example_that_is_not_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("example_milvus_*.py")} == set(COLLECTIONS)


@PLAIN
@pytest.mark.parametrize("dag_id", COLLECTIONS)
@pytest.mark.parametrize("way", ["python", pytest.param("airflow dags test", marks=pytest.mark.heavy)])
def test_run(stored: Callable[[str], int], dag_id: str, way: str) -> None:
    file = str(EXAMPLES / f"{dag_id}.py")
    command = [sys.executable, file] if way == "python" else [AIRFLOW, "dags", "test", dag_id]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(PRINTS[dag_id], done.stdout, re.MULTILINE)
    assert stored(dag_id) == 608


@pytest.fixture
def standalone(
    stored: Callable[[str], int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Any]]:
    """``airflow standalone`` on a port of its own; the function calls the Airflow CLI beside it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {
        "PATH": f"{Path(AIRFLOW).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
    }.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "standalone.log"
    with log.open("w") as output:
        process = subprocess.Popen([AIRFLOW, "standalone"], stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for(lambda: is_healthy(port), 120, lambda: log.read_text()[-5000:])

        def call(*arguments: str) -> Any:
            done = subprocess.run([AIRFLOW, *arguments, "--output", "json"], capture_output=True, text=True, check=True)
            output = re.search(r"^\[[{\]](.|\n)*", done.stdout, re.MULTILINE)  # after whatever is logged
            return json.loads(output[0]) if output else None

        yield call
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its session: all that it started
        process.wait()


def is_healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
    except OSError:
        return False
    return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))


def wait_for(done: Callable[[], bool], seconds: float, why: Callable[[], Any]) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, why()
        time.sleep(1)


@PLAIN
@pytest.mark.heavy
def test_under_airflow_standalone(standalone: Callable[..., Any], stored: Callable[[str], int]) -> None:
    wait_for(lambda: {dag["dag_id"] for dag in standalone("dags", "list")} >= set(COLLECTIONS), 60, lambda: "no DAGs")
    for dag_id in COLLECTIONS:
        standalone("dags", "trigger", dag_id)

    def states() -> dict[str, str]:
        return {dag_id: standalone("dags", "list-runs", dag_id)[0]["state"] for dag_id in COLLECTIONS}

    wait_for(lambda: set(states().values()) <= {"success", "failed"}, 180, states)
    assert set(states().values()) == {"success"}
    assert {dag_id: stored(dag_id) for dag_id in COLLECTIONS} == dict.fromkeys(COLLECTIONS, 608)
