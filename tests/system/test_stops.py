"""A worker that is killed or told to stop, under Airflow's own scheduler."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from pymilvus import MilvusClient

from tests.entities import entity
from tests.system.conftest import read_xcom, wait_for

ROWS = 60_000
PLAIN = pytest.mark.parametrize("milvus", ["plain"], indirect=True)
pytestmark = [PLAIN, pytest.mark.heavy, pytest.mark.airflow_3, pytest.mark.timeout(600)]


@pytest.fixture
def dags_folder() -> Path:
    return Path(__file__).parents[1] / "dags"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_collection: Callable[..., str]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(entity(key)) + "\n" for key in range(ROWS)))
    for name, value in {
        "TEST_FILE": str(path),
        "TEST_PID_FILE": str(tmp_path / "pid"),
        "TEST_COLLECTION": make_collection(),
    }.items():
        monkeypatch.setenv(name, value)
    return path


@pytest.fixture
def task(file: Path, standalone: Callable[..., Any], pymilvus: MilvusClient) -> Task:
    return Task(file, standalone, pymilvus)


class Task:
    """The task of a run that is under way."""

    def __init__(self, file: Path, standalone: Callable[..., Any], pymilvus: MilvusClient) -> None:
        self.file = file
        self._pid_file = file.with_name("pid")
        self._pymilvus = pymilvus
        wait_for(lambda: "resumed" in {dag["dag_id"] for dag in standalone("dags", "list")}, 90, lambda: "no DAG")
        self._run_id = standalone("dags", "trigger", "resumed")[0]["dag_run_id"]
        wait_for(lambda: self.stored() > ROWS * 0.48, 180, self.stored)

    @property
    def pid(self) -> int:
        return int(self._pid_file.read_text())

    def stored(self) -> int:
        name = os.environ["TEST_COLLECTION"]
        rows = self._pymilvus.query(name, filter="", output_fields=["count(*)"], consistency_level="Strong")
        return int(rows[0]["count(*)"])

    def instance(self) -> TaskInstance:
        with create_session() as session:
            return session.query(TaskInstance).filter(TaskInstance.run_id == self._run_id).one()

    def state(self) -> str | None:
        return self.instance().state

    def outputs(self) -> Any:
        return read_xcom(run_id=self._run_id, dag_id="resumed", key="return_value")

    def _logs(self, try_number: int | str) -> list[str]:
        folder = Path(os.environ["AIRFLOW_HOME"]) / "logs"
        paths = folder.rglob(f"dag_id=resumed/run_id={self._run_id}/**/attempt={try_number}.log")
        return [path.read_text() for path in sorted(paths)]

    def log(self, try_number: int) -> str:
        (log,) = self._logs(try_number)
        return log

    def succeed(self) -> None:
        wait_for(lambda: self.state() in ("success", "failed"), 180, self.state)
        assert self.state() == "success", "\n".join(self._logs("*"))


def test_killed_at_half_way(
    task: Task, read_back: Callable[[str], dict[int, Any]], measured: Callable[[str], None]
) -> None:
    os.kill(task.pid, signal.SIGKILL)
    task.succeed()
    outputs = task.outputs()
    sent = outputs["upsert_count"] - outputs["resumed_count"]
    measured(f"killed with SIGKILL: the retry sent {sent} of {ROWS} rows")
    assert outputs["read_count"] == outputs["upsert_count"] == ROWS
    assert 0 < sent < 0.6 * ROWS
    assert f"Resuming after {outputs['resumed_count']:,} rows stored by an earlier try" in task.log(2)
    assert read_back(os.environ["TEST_COLLECTION"]) == {key: entity(key) for key in range(ROWS)}


def test_killed_and_the_input_changed(task: Task, read_back: Callable[[str], dict[int, Any]]) -> None:
    os.kill(task.pid, signal.SIGKILL)
    with task.file.open("a") as file:
        file.write(json.dumps(entity(ROWS)) + "\n")
    task.succeed()
    outputs = task.outputs()
    assert (outputs["upsert_count"], outputs["resumed_count"]) == (ROWS + 1, 0)
    why = "the input, the collection or the settings have changed or a task was cleared since the earlier try"
    assert f"Starting over: {why}." in task.log(2)
    assert read_back(os.environ["TEST_COLLECTION"]) == {key: entity(key) for key in range(ROWS + 1)}


@pytest.mark.alone
def test_told_to_stop(task: Task, measured: Callable[[str], None]) -> None:
    """The outputs are there in time, and the retry resumes where it was."""
    process, begin = psutil.Process(task.pid), time.monotonic()
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: task.outputs() is not None, 10, task.state, every=0.05)
    seconds, outputs = time.monotonic() - begin, task.outputs()
    measured(f"SIGTERM: outputs after {seconds:.1f} s: {outputs}")
    assert seconds < 3
    counts = [outputs[f"{name}_count"] for name in ("upsert", "duplicate", "rejected", "unconfirmed")]
    assert outputs["read_count"] == sum(counts)
    assert outputs["unconfirmed_count"] > 0
    process.wait(10)
    task.succeed()
    assert task.outputs()["resumed_count"] >= outputs["upsert_count"] - 100
