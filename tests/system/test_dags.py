"""DAGs run by Airflow itself (``dag.test()``), against a real Milvus."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS
from airflow.utils.session import create_session

from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.entities import entity
from tests.system.conftest import read_xcom

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.parametrize("milvus", ["secure"], indirect=True)


@dataclass
class Run:
    """A finished DAG run, and all that it wrote to the log."""

    dag_run: Any
    log: str

    def ti(self, task_id: str, map_index: int = -1) -> Any:
        return self.dag_run.get_task_instance(task_id, map_index=map_index)

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        run = {"dag_id": self.dag_run.dag_id, "run_id": self.dag_run.run_id}
        return read_xcom(**run, task_id=task_id, key=key, map_index=map_index)

    def rendered(self, task_id: str) -> str:
        with create_session() as session:
            return str(RenderedTaskInstanceFields.get_templated_fields(self.ti(task_id), session=session))


@pytest.fixture
def run_dag(
    airflow_db: None,
    milvus_connection: MilvusAddress,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., Run]:
    def run(path: Path, **environment: str) -> Run:
        monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(path.parent))
        monkeypatch.syspath_prepend(path.parent)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        dag = module.dag_object
        capfd.readouterr()
        dag_run = dag.test()
        return Run(dag_run, "".join(capfd.readouterr()))

    return run


DAGS = REPO / "tests" / "dags"
# The dag.test of Airflow 3.0 logs each request of its own, with XComs and connections, and variables in tracebacks.
LOGS_LITTLE = AIRFLOW_V_3_1_PLUS or not AIRFLOW_V_3_0_PLUS


def test_entities_in_every_form_of_xcom(
    run_dag: Callable[..., Run], make_collection: Callable[..., str], read_back: Callable[[str], dict[int, Any]]
) -> None:
    name = make_collection()
    run = run_dag(DAGS / "xcom_forms.py", TEST_COLLECTION=name)
    assert run.dag_run.state == "success"
    counts = {"whole": 3, "single": 1, "key": 2, "mapped": 4, "mapped_single": 3, "map": 2, "several": 5, "literal": 1}
    assert {task_id: run.xcom(task_id, "upsert_count") for task_id in counts} == counts
    assert [run.xcom("expand", "upsert_count", index) for index in (0, 1)] == [2, 2]
    assert [run.xcom("group.in_group", "upsert_count", index) for index in (0, 1)] == [2, 1]
    assert run.xcom("use") == 3000
    keys = [
        *range(3),
        10,
        20,
        21,
        30,
        31,
        40,
        41,
        50,
        51,
        60,
        61,
        62,
        70,
        71,
        72,
        80,
        81,
        90,
        91,
        95,
        96,
        100,
        110,
        111,
        120,
    ]
    assert read_back(name) == {key: entity(key) for key in keys}


def test_vectors_stay_out_of_rendered_fields_and_logs(
    run_dag: Callable[..., Run], make_collection: Callable[..., str]
) -> None:
    run = run_dag(DAGS / "large_xcom.py", TEST_COLLECTION=make_collection(dim=768))
    assert run.dag_run.state == "success"
    assert run.xcom("upsert", "upsert_count") == 2000
    assert "collection_name" in run.rendered("upsert")
    assert len(run.rendered("upsert")) < 500
    assert "upserted 2,000 rows" in run.log
    if LOGS_LITTLE:
        assert not re.search(r"0\.\d+, ?0\.\d+", run.log)
        assert len(run.log) < 100_000


def test_what_cannot_succeed_is_not_retried_and_what_may_is(
    run_dag: Callable[..., Run], make_collection: Callable[..., str], milvus: MilvusAddress
) -> None:
    run = run_dag(
        DAGS / "failing.py",
        TEST_COLLECTION=make_collection(),
        AIRFLOW_CONN_WRONG_PASSWORD=json.dumps(milvus.connection() | {"password": "hunter2!"}),
        AIRFLOW_CONN_NOTHING_LISTENS='{"conn_type": "milvus_rest", "host": "127.0.0.1", "port": 1}',
    )
    tries = {"wrong_password": 1, "bad_row": 1, "of_yields": 1, "nothing_listens": 3}
    assert {task_id: run.ti(task_id).try_number for task_id in tries} == tries
    assert {run.ti(task_id).state for task_id in tries} == {"failed"}
    if LOGS_LITTLE:
        assert "NotAuthenticatedError: Milvus says: user hasn't authenticated. Check login and password" in run.log
        assert "hunter2" not in run.log
    assert "[2]: field 'id' must be an int (Int64), not str 'x'" in run.log
    assert "entities: task 'yields' returned None, or was skipped. Return a list" in run.log
    outputs = run.xcom("bad_row")
    counts = [outputs[f"{name}_count"] for name in ("read", "upsert", "rejected", "unconfirmed")]
    assert counts == [3, 1, 1, 1]
    assert run.xcom("bad_row", "upsert_count") == 1


def test_names_of_files_are_not_templates_and_nothing_is_not_no_rows(
    run_dag: Callable[..., Run],
    make_collection: Callable[..., str],
    read_back: Callable[[str], dict[int, Any]],
    tmp_path: Path,
) -> None:
    name = make_collection()
    names = ["a{# old #}", "a", "{{ 6 * 7 }}", "42"]
    for key, stem in enumerate(names):
        (tmp_path / f"{stem}.jsonl").write_text(json.dumps(entity(key)))
    run = run_dag(DAGS / "names_and_nothing.py", TEST_COLLECTION=name, TEST_FOLDER=str(tmp_path))
    assert read_back(name) == {key: entity(key) for key in range(4)}
    for task_id in ("listed", "planned"):
        assert [run.xcom(task_id, "upsert_count", index) for index in range(4)] == [1] * 4
    assert [run.xcom(task_id, "upsert_count") for task_id in ("both", "empty", "of_map")] == [4, 0, 0]
    assert run.xcom("compare", "equal_count") == 4
    if AIRFLOW_V_3_1_PLUS or not AIRFLOW_V_3_0_PLUS:  # Airflow 3.0 cannot store the None that says so
        assert run.xcom("repair", "read_count") == 0
    refused = ["nothing", "mistyped", "no_files", "optional", "some", "joined", "listed_nothing", "of_group"]
    assert {task_id: run.ti(task_id).state for task_id in refused} == dict.fromkeys(refused, "failed")
    assert [run.ti("group.upsert", index).state for index in range(2)] == ["failed", "success"]
    if AIRFLOW_V_3_1_PLUS:  # 3.0 wraps what it logs
        assert "entities: 2 of 2 mapped instances of task 'of_yields' returned None. Return a list" in run.log
        assert "entities: 1 of 2 mapped instances of task 'of_some' returned None." in run.log
        assert "entities: 1 of 1 mapped instances of task 'b' (key 'x') returned None." in run.log
        assert "files: 1 of 1 mapped instances of task 'c' returned None." in run.log
        assert "entities: 1 of 2 mapped instances of task 'group.g' returned None." in run.log


def test_what_another_task_returned_is_not_rendered_and_what_airflow_has_read_is_refused(
    run_dag: Callable[..., Run],
    make_collection: Callable[..., str],
    read_back: Callable[[str], dict[int, Any]],
    tmp_path: Path,
) -> None:
    name = make_collection()
    for stem, key in (("{{ ds }}", 5), ("4", 4), ("2026-01-01", 99)):
        (tmp_path / f"{stem}.jsonl").write_text(json.dumps(entity(key)))
    run = run_dag(DAGS / "mapped_arguments.py", TEST_COLLECTION=name, TEST_FOLDER=str(tmp_path))
    texts = ["line\n", "a {{ 1 + 1 }} b", "{#id}"]
    assert read_back(name) == {key: entity(key, *texts[key : key + 1]) for key in range(6)}
    counts = {"load": 3, "dicts": 1, "named": 1, "resolved": 2, "rendered": 1, "one_of_a_list": 1, "shards": 1}
    for task_id, count in counts.items():
        assert [run.xcom(task_id, "upsert_count", index) for index in range(count)] == [1] * count
    assert run.xcom("repair", "read_count", 0) == 0
    refused = {
        "read": 0,
        "iterators_of_files": 0,
        "nested": 0,
        "iterators": 0,
        "unset": 0,
        "default": -1,
        "default_of_one": 0,
    }
    assert {run.ti(task_id, index).state for task_id, index in refused.items()} == {"failed"}
    if AIRFLOW_V_3_1_PLUS:
        assert "a mapped argument is a list_iterator, which Airflow has read while it parsed the DAG: use a" in run.log
        assert "use .map(lambda o: o.get('rejects_path') or [])" in run.log
        assert (
            "db_name: the task's output or the template is None. For the connection's database, omit db_name."
            in run.log
        )


@pytest.mark.heavy
def test_tables_and_the_xcom_backend_for_object_storage(
    airflow_db: None,
    milvus_connection: MilvusAddress,
    make_collection: Callable[..., str],
    read_back: Callable[[str], dict[int, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a process of its own: Airflow chooses its backend when it is imported."""
    name, stored = make_collection(), tmp_path / "xcom"
    backend = "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"
    for variable, value in {
        "TEST_COLLECTION": name,
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__XCOM_BACKEND": backend,
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"file://{stored}",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "1000",
    }.items():
        monkeypatch.setenv(variable, value)
    command = [str(Path(sys.executable).with_name("airflow")), "dags", "test", "table_xcom"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([path for path in stored.rglob("*") if path.is_file()]) >= 3
    rows = read_back(name)
    expected = {}
    for first in (0, 500, 1000):
        for key, vector in enumerate(np.random.default_rng(first).random((500, 4), dtype=np.float32).tolist(), first):
            expected[key] = {"id": key, "vector": vector, "text": f"text {key}"}
    assert rows == expected
