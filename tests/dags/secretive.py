"""Tasks that fail and succeed on a server that repeats the token; run by tests/system/test_secrets.py."""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import dag

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retry_budget": 1, "collection_name": "docs"},
)
def secretive() -> None:
    good, bad = {"id": 1, "vector": [0.5] * 4, "text": "x"}, {"id": "x", "vector": [0.5] * 4, "text": "x"}
    MilvusRestUpsertOperator(
        task_id="skips",
        entities=[good, bad],
        on_reject="skip",
        rejects_path=f"{os.environ.get('AIRFLOW_HOME')}/rejects",
        return_ids=True,
    )
    MilvusRestUpsertOperator(task_id="rejects", entities=[bad])
    MilvusRestUpsertOperator(task_id="refused", entities=[good], milvus_rest_conn_id="refused")
    MilvusRestUpsertOperator(task_id="down", entities=[good], milvus_rest_conn_id="down")
    MilvusRestUpsertOperator(task_id="wrong", entities=[good], milvus_rest_conn_id="wrong")
    MilvusRestUpsertOperator(task_id="redirected", entities=[good], milvus_rest_conn_id="redirected")


dag_object = secretive()
