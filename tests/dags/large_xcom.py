"""2,000 x 768 floats through XCom; run by tests/system/test_dags.py."""

from __future__ import annotations

import os
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False)
def large_xcom() -> None:
    @task(show_return_value_in_logs=False)
    def embed() -> list[dict[str, Any]]:
        import numpy as np

        vectors = np.random.default_rng(7).random((2000, 768), dtype=np.float32)
        return [{"id": i, "vector": vector.tolist(), "text": f"text {i}"} for i, vector in enumerate(vectors)]

    collection = os.environ.get("TEST_COLLECTION", "unset")
    MilvusRestUpsertOperator(task_id="upsert", collection_name=collection, entities=embed())


dag_object = large_xcom()
