"""Upserts that end half-way and run again; copied, changed and run by tests/system/test_clears.py.

The file's changes are what a user would change: BATCH_SIZE, so that what runs again is quick, and ON_REJECT. Each way
to clear has a DAG of its own, and each DAG a collection of its name.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

FOLDER = Path(os.environ.get("TEST_FOLDER", "unset"))
BATCH_SIZE = 2
ON_REJECT: dict[str, Any] = {"on_reject": "fail"}
ROWS = 3000
BAD = 2600
SLOW = FOLDER / "slow"


def entity(key: int) -> dict[str, Any]:
    return {"id": key, "vector": [key / 8] * 4, "text": f"text {key}"}


def rows() -> list[dict[str, Any]]:
    return [entity(key) if key != BAD else entity(key) | {"text": None} for key in range(ROWS)]


def client() -> Any:
    from pymilvus import MilvusClient

    return MilvusClient(uri=json.loads(os.environ["AIRFLOW_CONN_MILVUS_REST_DEFAULT"])["host"])


def create(name: str) -> None:
    """Drop the collection and create it anew."""
    from pymilvus import DataType

    milvus = client()
    milvus.drop_collection(name)
    schema = milvus.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("text", DataType.VARCHAR, max_length=64)
    index = milvus.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    milvus.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


def stored(name: str) -> int:
    counted = client().query(name, filter="", output_fields=["count(*)"], consistency_level="Strong")
    return int(counted[0]["count(*)"])


def slow_from_half_way(key: int) -> int:
    """Return the key, after a while if the test has to find the task half-way, however slow the machine is."""
    if key >= ROWS // 2 and SLOW.exists():
        time.sleep(0.5)
    return key


def note_pid(context: Any) -> None:
    import airflow_provider_milvus_rest

    print(f"The package is {airflow_provider_milvus_rest.__file__}")
    (FOLDER / f"{context['ti'].dag_id}.pid").write_text(str(os.getpid()))


def load(dag_id: str, retries: int, file: str, retry_delay: float = 1) -> MilvusRestUpsertOperator:
    return MilvusRestUpsertOperator(
        task_id="load",
        collection_name=dag_id,
        files=str(FOLDER / file),
        convert={"id": slow_from_half_way},
        batch_size=BATCH_SIZE,
        concurrency=2,
        retry_budget=1,
        retries=retries,
        retry_delay=pendulum.duration(seconds=retry_delay),
        pre_execute=note_pid,
        **ON_REJECT,
    )


def make(dag_id: str, define: Any) -> Any:
    common = {"schedule": None, "start_date": pendulum.datetime(2026, 1, 1, tz="UTC"), "catchup": False}
    return dag(dag_id=dag_id, is_paused_upon_creation=False, **common)(define)()


def alone(dag_id: str, file: str, **arguments: Any) -> Any:
    """Load the file."""
    return make(dag_id, lambda: load(dag_id, 1, file, **arguments))


def recreated(dag_id: str, retries: int) -> Any:
    """Create the collection, load the file, count."""

    def define() -> None:
        @task
        def create_collection() -> None:
            create(dag_id)

        @task
        def count(upsert_count: int) -> None:
            found = stored(dag_id)
            assert found == upsert_count, f"{upsert_count} rows were upserted, {found} are stored"

        upsert = load(dag_id, retries, "good.jsonl")
        create_collection() >> upsert
        count(upsert.output["upsert_count"])

    return make(dag_id, define)


def listed(dag_id: str) -> Any:
    def define() -> None:
        task.milvus_rest_upsert(
            task_id="load", collection_name=dag_id, batch_size=BATCH_SIZE, retries=2, pre_execute=note_pid, **ON_REJECT
        )(rows)()

    return make(dag_id, define)


for way in ("task", "run", "cli"):
    globals()[f"recreated_{way}"] = recreated(f"recreated_{way}", retries=1)
    globals()[f"rejected_{way}"] = alone(f"rejected_{way}", "rows.jsonl")
    globals()[f"listed_{way}"] = listed(f"listed_{way}")
    globals()[f"running_{way}"] = alone(f"running_{way}", "good.jsonl")
recreated_without_retries = recreated("recreated_without_retries", retries=0)
killed = alone("killed", "good.jsonl", retry_delay=8)
