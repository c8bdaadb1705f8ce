"""Every example DAG, run in each of the ways that the README names, against a real Milvus."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.models import TaskInstance
from airflow.utils.session import create_session
from pymilvus import MilvusClient

from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.system.conftest import read_xcom, wait_for

EXAMPLES = Path(__file__).parents[2] / "example_dags"
AIRFLOW = str(Path(sys.executable).with_name("airflow"))
COLLECTIONS = {
    "example_milvus_rest_taskflow": "stdlib_docs",
    "example_milvus_rest_files": "stdlib_docs_from_files",
    "example_milvus_rest_mapped": "stdlib_docs_mapped",
    "example_milvus_rest_shards": "stdlib_docs_sharded",
    "example_milvus_rest_assets": "stdlib_docs_as_asset",
    "example_milvus_rest_compare": "stdlib_docs_compared",
    "example_milvus_rest_ai": "handbook",
}
COUNTS = dict.fromkeys(COLLECTIONS, 608) | {"example_milvus_rest_ai": None}
"""None: into how many chunks the documents are cut depends on how long their paths are."""
PRINTS = {
    "example_milvus_rest_taskflow": r"^ +upsert_count: 608$(.|\n)*^11 of 12 right answers come first$",
    "example_milvus_rest_files": r"^608 of 608 rows are in 'stdlib_docs_from_files'$",
    "example_milvus_rest_shards": r"^\d+( \+ \d+)+ = 608 rows of one file are in 'stdlib_docs_sharded'$",
    "example_milvus_rest_compare": "2 rows were different, 3 missing, 5 repaired, 608 are equal now",
    "example_milvus_rest_assets": r"",  # its rows are counted, and its second DAG has a test of its own
    "example_milvus_rest_mapped": r"^152 \+ 152 \+ 152 \+ 152 = 608 rows are in 'stdlib_docs_mapped'$",
    "example_milvus_rest_ai": r"^(?P<n>\d+) chunks of 3 documents are in 'handbook'$(.|\n)*^My laptop was stolen: sec",
}
HEAVY = pytest.mark.heavy
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


MARKS: dict[str, Any] = {  # all but one are heavy: together they take a minute
    "example_milvus_rest_taskflow": (),
    "example_milvus_rest_ai": (HEAVY, pytest.mark.airflow_3),  # its provider needs Python 3.11
}


@PLAIN
@pytest.mark.parametrize("dag_id", [pytest.param(name, marks=MARKS.get(name, HEAVY)) for name in COLLECTIONS])
@pytest.mark.parametrize("way", ["python", pytest.param("airflow dags test", marks=HEAVY)])
def test_run(stored: Callable[[str], int], dag_id: str, way: str) -> None:
    file = str(EXAMPLES / f"{dag_id}.py")
    command = [sys.executable, file] if way == "python" else [AIRFLOW, "dags", "test", dag_id]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = re.search(PRINTS[dag_id], done.stdout, re.MULTILINE)
    assert printed
    assert stored(dag_id) == (COUNTS[dag_id] or int(printed["n"]))


@PLAIN
@HEAVY
def test_the_asset_tells_the_next_dag(stored: Callable[[str], int]) -> None:
    # Airflow 2 makes events only of datasets that it has found in a DAG file.
    subprocess.run([AIRFLOW, "dags", "reserialize"], check=True, capture_output=True)
    command = [sys.executable, str(EXAMPLES / "example_milvus_rest_assets.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = r"^608 rows came into milvus://localhost:19530/default/stdlib_docs_as_asset, 0 were rejected$"
    assert re.search(expected, done.stdout, re.MULTILINE)


@pytest.fixture
def dags_folder() -> Path:
    return EXAMPLES


def failed_logs() -> str:
    """What the tasks that failed have logged."""
    with create_session() as session:
        failed = session.query(TaskInstance).filter(TaskInstance.state == "failed").all()
    logs = Path(os.environ["AIRFLOW_HOME"]) / "logs"
    folders = [logs / f"dag_id={task.dag_id}" / f"run_id={task.run_id}" / f"task_id={task.task_id}" for task in failed]
    return "\n".join(f"{path}:\n{path.read_text()}" for folder in folders for path in folder.rglob("*.log"))


@PLAIN
@pytest.mark.heavy
@pytest.mark.airflow_3
def test_under_airflow_standalone(stored: Callable[[str], int], standalone: Callable[..., Any]) -> None:
    from airflow.models.asset import AssetEvent  # Airflow 3's

    wait_for(lambda: {dag["dag_id"] for dag in standalone("dags", "list")} >= set(COLLECTIONS), 60, lambda: "no DAGs")
    runs = {dag_id: standalone("dags", "trigger", dag_id)[0]["dag_run_id"] for dag_id in COLLECTIONS}

    def states() -> dict[str, str]:
        return {dag_id: standalone("dags", "list-runs", dag_id)[0]["state"] for dag_id in COLLECTIONS}

    wait_for(lambda: set(states().values()) <= {"success", "failed"}, 180, states)
    assert set(states().values()) == {"success"}, failed_logs()
    producer = "example_milvus_rest_assets"

    def next_runs() -> list[tuple[str, str | None]]:
        """What the event of the asset has set off; events of earlier tests set off runs too."""
        with create_session() as session:
            events = session.query(AssetEvent).filter_by(source_dag_id=producer, source_run_id=runs[producer])
            return [(run.run_id, run.state) for event in events for run in event.created_dagruns]

    wait_for(lambda: [state for _, state in next_runs()] == ["success"], 60, next_runs)
    (next_run, _), *_ = next_runs()
    assert read_xcom(run_id=next_run, dag_id=f"{producer}_consumer", task_id="use", key="return_value") == 608
    counts = {dag_id: stored(dag_id) for dag_id in COLLECTIONS}
    assert counts == {dag_id: COUNTS[dag_id] or counts[dag_id] for dag_id in COLLECTIONS}
