"""Tasks that fail, with retries to spare; run by tests/system/test_dags.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={
        "retries": 2,
        "retry_delay": 0.1,
        "retry_budget": 0,
        "collection_name": os.environ.get("TEST_COLLECTION", "unset"),
    },
)
def failing() -> None:
    good, other, bad = ({"id": i, "vector": [0.5] * 4, "text": "text"} for i in (0, 1, "x"))
    MilvusRestUpsertOperator(task_id="wrong_password", entities=[good], milvus_rest_conn_id="wrong_password")
    MilvusRestUpsertOperator(task_id="nothing_listens", entities=[good], milvus_rest_conn_id="nothing_listens")
    MilvusRestUpsertOperator(task_id="bad_row", entities=[good, other, bad], batch_size=1)

    @task(retries=0)
    def yields() -> Iterator[dict[str, Any]]:
        yield good

    MilvusRestUpsertOperator(task_id="of_yields", entities=yields())


dag_object = failing()
