"""An upsert that takes some time, of a file; run under airflow standalone by tests/system/test_stops.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator


def note_pid(_: Any) -> None:
    Path(os.environ["TEST_PID_FILE"]).write_text(str(os.getpid()))


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False, is_paused_upon_creation=False)
def resumed() -> None:
    MilvusRestUpsertOperator(
        task_id="upsert",
        collection_name=os.environ.get("TEST_COLLECTION", "unset"),
        files=os.environ.get("TEST_FILE", "unset"),
        batch_size=10,
        concurrency=2,
        retries=1,
        retry_delay=pendulum.duration(seconds=3),
        pre_execute=note_pid,
    )


dag_object = resumed()
