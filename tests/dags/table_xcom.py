"""A DataFrame, and a mapped task's DataFrames, through XCom; run by tests/system/test_dags.py."""

from __future__ import annotations

import os
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False)
def table_xcom() -> None:
    @task(show_return_value_in_logs=False)
    def embed(first: int) -> Any:
        import numpy as np
        import pandas as pd

        keys = range(first, first + 500)
        vectors = np.random.default_rng(first).random((500, 4), dtype=np.float32)
        return pd.DataFrame({"id": keys, "vector": list(vectors), "text": [f"text {key}" for key in keys]})

    collection = os.environ.get("TEST_COLLECTION", "unset")
    one = MilvusRestUpsertOperator(task_id="one", collection_name=collection, entities=embed(0))
    several = MilvusRestUpsertOperator(
        task_id="several",
        collection_name=collection,
        entities=embed.override(task_id="parts").expand(first=[500, 1000]),
    )
    one >> several


dag_object = table_xcom()
