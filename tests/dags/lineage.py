"""Upserts of files that OpenLineage is told of; run by tests/system/test_lineage.py."""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import dag

from airflow_provider_milvus_rest.assets.milvus_rest import create_asset
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator, plan_shards

FOLDER = Path(os.environ.get("TEST_FOLDER", "unset"))
COLLECTION = os.environ.get("TEST_COLLECTION", "unset")


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"collection_name": COLLECTION, "concurrency": 1},
)
def lineage() -> None:
    MilvusRestUpsertOperator(task_id="two_files", files=str(FOLDER / "good" / "*.jsonl"))
    MilvusRestUpsertOperator(task_id="bad_row", files=str(FOLDER / "bad.jsonl"), batch_size=2)
    MilvusRestUpsertOperator(task_id="no_file", files=str(FOLDER / "missing.jsonl"))
    MilvusRestUpsertOperator(
        task_id="in_memory",
        entities=[{"id": 100, "vector": [0.5] * 4, "text": "text"}],
        outlets=[
            create_asset(host="OTHER.name", collection_name=COLLECTION),
            create_asset(host="localhost", collection_name="another_collection"),
        ],
    )
    if FOLDER.exists():
        shards = plan_shards(FOLDER / "good" / "a.jsonl", target_bytes=60)
        MilvusRestUpsertOperator.partial(task_id="shards").expand(files=shards)


dag_object = lineage()

if __name__ == "__main__":
    dag_object.test()
