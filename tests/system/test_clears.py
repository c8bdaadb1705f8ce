"""Tasks that are cleared and run again under Airflow's own scheduler: every row is there, whatever happened before.

Airflow 3.3.2 does not clear a task's state store with the task. Each test clears in all three ways that there are: a
task and a run through the API, with the bodies that the UI sends, and with ``airflow tasks clear``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from pymilvus import MilvusClient

import airflow_provider_milvus_rest
from airflow_provider_milvus_rest.ingest.checkpoint import KEY
from airflow_provider_milvus_rest.testing import LocalMilvus
from airflow_provider_milvus_rest.testing.local_milvus import NO_PROXY
from tests.dags import cleared
from tests.dags.cleared import BAD, ROWS, entity
from tests.system.conftest import AIRFLOW, run_standalone, wait_for

pytestmark = [pytest.mark.heavy, pytest.mark.airflow_3, pytest.mark.own_server, pytest.mark.timeout(600)]

WAYS = ("task", "run", "cli")
OVER = "Starting over: the input, the collection or the settings have changed or a task was cleared since the"
SKIP = '{"on_reject": "skip", "rejects_path": str(FOLDER / "rejects")}'
GOOD = {key: entity(key) for key in range(ROWS)}


class Airflow:
    """Its API, as the UI calls it, and its CLI."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dag_file = folder / "dags" / "cleared.py"
        passwords = Path(os.environ["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"
        login = {"username": "admin", "password": json.loads(passwords.read_text())["admin"]}
        self._headers = {"Content-Type": "application/json"}
        self._headers["Authorization"] = f"Bearer {self.call('/auth/token', login)['access_token']}"

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What it answers to a GET, or with a body to a POST."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(os.environ["AIRFLOW__API__BASE_URL"] + path, data, self._headers), timeout=30) as answer:
            return json.load(answer)

    def edit(self, old: str, new: str) -> None:
        """Change the DAGs' file. Each try of a task reads it anew."""
        text = self.dag_file.read_text()
        assert old in text
        self.dag_file.write_text(text.replace(old, new))


class Run:
    """A run of a DAG, whose upsert is the task ``load``."""

    def __init__(self, airflow: Airflow, dag_id: str) -> None:
        self.dag_id = dag_id
        self._airflow = airflow
        self._dag = f"/api/v2/dags/{dag_id}"
        self._id = airflow.call(f"{self._dag}/dagRuns", {"logical_date": None})["dag_run_id"]
        self._path = f"{self._dag}/dagRuns/{quote(self._id)}"

    def state(self) -> str:
        return str(self._airflow.call(self._path)["state"])

    def load(self) -> dict[str, Any]:
        """The task instance."""
        return dict(self._airflow.call(f"{self._path}/taskInstances/load"))

    def checkpoint(self) -> int:
        """How many rows a retry would skip."""
        try:
            found = self._airflow.call(f"{self._path}/taskInstances/load/state-store/{KEY}")["value"]
        except HTTPError:
            return 0
        return int((json.loads(found) if isinstance(found, str) else found)["read_count"])

    def outputs(self) -> dict[str, Any]:
        value = self._airflow.call(f"{self._path}/taskInstances/load/xcomEntries/return_value")["value"]
        return dict(json.loads(value) if isinstance(value, str) else value)

    def log(self) -> str:
        """Of the last try."""
        folder = Path(os.environ["AIRFLOW_HOME"]) / "logs" / f"dag_id={self.dag_id}" / f"run_id={self._id}"
        number = self.load()["try_number"]
        return (folder / "task_id=load" / f"attempt={number}.log").read_text()

    def clear(self, way: str, first_task: str = "load") -> None:
        for _ in range(5):
            try:
                self._clear(way, first_task)
                return
            except (HTTPError, subprocess.CalledProcessError) as error:  # SQLite's database is locked
                failed = error
            time.sleep(2)
        raise failed

    def _clear(self, way: str, first_task: str) -> None:
        if way == "task":
            body = {"dag_run_id": self._id, "task_ids": [first_task], "dry_run": False, "only_failed": False}
            body |= {
                f"include_{which}": which == "downstream" for which in ("downstream", "future", "past", "upstream")
            }
            self._airflow.call(f"{self._dag}/clearTaskInstances", body)
        elif way == "run":
            body = {"dry_run": False, "only_failed": False, "only_new": False}
            self._airflow.call(f"{self._path}/clear", body)
        else:
            subprocess.run([AIRFLOW, "tasks", "clear", self.dag_id, "--yes"], check=True, capture_output=True)

    def pid(self) -> int:
        return int((self._airflow.folder / f"{self.dag_id}.pid").read_text())

    def wait(self, state: str) -> None:
        wait_for(lambda: self.state() in ("success", "failed"), 120, lambda: (self.dag_id, self.load()))
        assert self.state() == state, (self.dag_id, self.load(), self.log())

    def wait_for_checkpoint(self, count: int) -> None:
        wait_for(lambda: self.checkpoint() >= count, 120, lambda: (self.dag_id, self.load()), every=0.2)


@pytest.fixture(scope="module")
def milvus() -> Iterator[LocalMilvus]:
    with LocalMilvus(auth=False) as server:
        yield server


@pytest.fixture(scope="module")
def airflow(airflow_db: None, milvus: LocalMilvus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("clears")
    (folder / "dags").mkdir()
    shutil.copy(cleared.__file__, folder / "dags")
    for name, rows in {"rows": cleared.rows(), "good": GOOD.values()}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TEST_FOLDER", str(folder))
        environment.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", milvus.connection_json())
        for name, value in NO_PROXY.items():
            environment.setenv(name, value)
        with run_standalone(folder / "dags", environment, folder / "standalone.log"):
            airflow = Airflow(folder)
            wait_for(lambda: airflow.call("/api/v2/dags?dag_id_pattern=killed")["total_entries"], 60, lambda: "no DAG")
            yield airflow


@pytest.fixture
def pymilvus(milvus: LocalMilvus) -> MilvusClient:
    return milvus.client()


@pytest.fixture
def dags(airflow: Airflow) -> Iterator[Airflow]:
    """The DAGs as they are in the repository, at the end again."""
    text = airflow.dag_file.read_text()
    yield airflow
    airflow.dag_file.write_text(text)


@pytest.fixture
def slow(airflow: Airflow) -> Iterator[Path]:
    """The rows from half-way on come slowly until this file is deleted."""
    file = airflow.folder / cleared.SLOW.name
    file.touch()
    yield file
    file.unlink(missing_ok=True)


def check_started_over(run: Run) -> None:
    assert f"The package is {airflow_provider_milvus_rest.__file__}" in run.log()
    assert OVER in run.log()
    assert "Resuming after" not in run.log()
    assert run.outputs()["resumed_count"] == 0


def test_the_server_dies_and_the_collection_is_created_anew(
    dags: Airflow, slow: Path, milvus: LocalMilvus, read_back: Callable[[str], dict[int, Any]]
) -> None:
    """Create >> load >> count; the server dies half-way, all tries fail, the run is cleared."""
    without = Run(dags, "recreated_without_retries")
    runs = {way: Run(dags, f"recreated_{way}") for way in WAYS}
    for run in runs.values():
        run.wait_for_checkpoint(ROWS // 4)
    wait_for(lambda: without.load()["state"] == "running", 120, without.load)
    wait_for(lambda: cleared.stored(without.dag_id) >= ROWS // 4, 120, without.load)  # it has no checkpoint
    milvus.kill()
    try:
        for run in (*runs.values(), without):
            run.wait("failed")
    finally:
        milvus.start()
    slow.unlink()
    assert without.checkpoint() == 0
    assert 0 < without.outputs()["upsert_count"] < ROWS
    assert all(0 < run.checkpoint() < ROWS for run in runs.values())
    dags.edit("BATCH_SIZE = 2", "BATCH_SIZE = 500")
    without.clear("run")
    for way, run in runs.items():
        run.clear(way, first_task="create_collection")
    for run in (*runs.values(), without):
        run.wait("success")  # the task `count` has compared the counts too
        outputs = run.outputs()
        assert (outputs["read_count"], outputs["upsert_count"], outputs["resumed_count"]) == (ROWS, ROWS, 0)
        assert read_back(run.dag_id) == GOOD
        if run is not without:
            check_started_over(run)


def test_a_rejected_row_is_to_be_skipped_now(
    dags: Airflow, pymilvus: MilvusClient, read_back: Callable[[str], dict[int, Any]]
) -> None:
    """A file and a list with a bad row. What was stored is dropped, or in part deleted by a client; then cleared."""
    runs = {f"{story}_{way}": way for story in ("rejected", "listed") for way in WAYS}
    for name in runs:
        cleared.create(name)
    dags.edit("BATCH_SIZE = 2", "BATCH_SIZE = 20")
    started = {name: Run(dags, name) for name in runs}
    for name, run in started.items():
        run.wait("failed")
        assert run.checkpoint() > BAD // 2, name
        if name.startswith("rejected"):
            cleared.create(name)
        else:  # but for the rows at the edges of batches, which a retry would look up
            pymilvus.delete(name, ids=[key for key in range(2000) if key % 20 not in (0, 19)])
    dags.edit('{"on_reject": "fail"}', SKIP)
    for name, run in started.items():
        run.clear(runs[name])
    expected = {key: row for key, row in GOOD.items() if key != BAD}
    for name, run in started.items():
        run.wait("success")
        outputs = run.outputs()
        counts = [outputs[f"{count}_count"] for count in ("read", "upsert", "rejected", "resumed")]
        assert counts == [ROWS, ROWS - 1, 1, 0], name
        assert read_back(name) == expected
        check_started_over(run)


def test_cleared_while_it_runs(
    dags: Airflow, slow: Path, pymilvus: MilvusClient, read_back: Callable[[str], dict[int, Any]]
) -> None:
    """Airflow ends the try and begins another one, which counts as a retry: ``max_tries`` stays as it was."""
    for way in WAYS:
        cleared.create(f"running_{way}")
    runs = {way: Run(dags, f"running_{way}") for way in WAYS}
    for run in runs.values():
        run.wait_for_checkpoint(ROWS // 6)
    dags.edit("BATCH_SIZE = 2", "BATCH_SIZE = 500")
    for way, run in runs.items():
        pymilvus.delete(run.dag_id, ids=list(range(4, run.checkpoint() - 4)))
        assert run.load()["state"] == "running"
        run.clear(way)
    slow.unlink()
    for run in runs.values():
        run.wait("success")
        assert run.load()["try_number"] >= 2
        check_started_over(run)
        assert run.outputs()["upsert_count"] == ROWS
        assert read_back(run.dag_id) == GOOD


def test_killed_and_the_collection_created_anew(
    dags: Airflow, slow: Path, read_back: Callable[[str], dict[int, Any]]
) -> None:
    """Airflow's own retry looks up some of the rows that it would skip."""
    cleared.create("killed")
    run = Run(dags, "killed")
    run.wait_for_checkpoint(ROWS // 3)
    os.kill(run.pid(), signal.SIGKILL)
    slow.unlink()
    cleared.create("killed")
    dags.edit("BATCH_SIZE = 2", "BATCH_SIZE = 500")
    run.wait("success")
    assert run.load()["try_number"] == 2
    assert re.search(r"Starting over: (\d+) of \1 rows stored by the earlier try are no longer there\.", run.log())
    assert '"warning"' in next(line for line in run.log().splitlines() if "Starting over: " in line)
    outputs = run.outputs()
    assert (outputs["upsert_count"], outputs["resumed_count"]) == (ROWS, 0)
    assert read_back("killed") == GOOD
