"""Every form in which another task's entities reach the operator; run by tests/system/test_dags.py."""

from __future__ import annotations

import os
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task, task_group

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from tests.entities import entity


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False)
def xcom_forms() -> None:
    @task
    def rows(first: int = 0, count: int = 3) -> list[dict[str, Any]]:
        return [entity(first + i) for i in range(count)]

    @task
    def one(key: int) -> dict[str, Any]:
        return entity(key)

    @task(multiple_outputs=True)
    def named() -> dict[str, Any]:
        return {"rows": [entity(40), entity(41)], "count": 2}

    @task
    def keys() -> list[int]:
        return [50, 51]

    def upsert(task_id: str, entities: Any) -> MilvusRestUpsertOperator:
        collection = os.environ.get("TEST_COLLECTION", "unset")
        return MilvusRestUpsertOperator(task_id=task_id, collection_name=collection, entities=entities)

    whole = upsert("whole", rows())
    upsert("single", one(10))
    upsert("key", named()["rows"])
    upsert("mapped", rows.partial(count=2).expand(first=[20, 30]))
    upsert("mapped_single", one.expand(key=[60, 61, 62]))
    upsert("map", keys().map(entity))
    upsert("several", [rows(70), one(80), entity(81)])
    MilvusRestUpsertOperator.partial(
        task_id="expand", collection_name=os.environ.get("TEST_COLLECTION", "unset")
    ).expand(entities=rows.override(task_id="batches").partial(count=2).expand(first=[90, 95]))
    upsert("literal", [entity(100)])

    @task
    def batches() -> list[list[dict[str, Any]]]:
        return [[entity(110), entity(111)], [entity(120)]]

    @task_group
    def group(batch: Any) -> None:
        upsert("in_group", batch)

    group.expand(batch=batches())

    @task
    def use(upsert_count: int) -> int:
        return upsert_count * 1000

    use(whole.output["upsert_count"])


dag_object = xcom_forms()
