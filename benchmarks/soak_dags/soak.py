"""Two upserts at the same time, of files and of a list. benchmarks/soak.py runs them and kills their processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

import airflow_provider_milvus_rest
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

FOLDER = Path(os.environ.get("SOAK_FOLDER", "unset"))


def note_pid(context: Any) -> None:
    print(f"The package is {airflow_provider_milvus_rest.__file__}")
    (FOLDER / f"{context['ti'].task_id}.pid").write_text(str(os.getpid()))


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    is_paused_upon_creation=False,
    default_args={
        "collection_name": "soak",
        "batch_size": int(os.environ.get("SOAK_BATCH_SIZE", "100")),
        "concurrency": 2,
        "on_reject": "skip",
        "rejects_path": str(FOLDER / "rejects"),
        "retries": 100,
        "retry_delay": pendulum.duration(seconds=1),
        "pre_execute": note_pid,
    },
)
def soak() -> None:
    MilvusRestUpsertOperator(task_id="files", files=str(FOLDER / "rows"))

    @task.milvus_rest_upsert(task_id="list")
    def rows() -> list[dict[str, Any]]:
        import soak_rows

        return soak_rows.LIST.entities(0, soak_rows.LIST.count)

    rows()


dag_object = soak()
