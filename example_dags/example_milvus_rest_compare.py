"""Proof: rows are upserted, damaged by another program, found by a comparison, and repaired.

The compare operator reads back what is stored, row by row. It writes rows that are different or missing to a file,
which the upsert operator reads.
"""

from __future__ import annotations

import tempfile
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestCompareOperator, MilvusRestUpsertOperator

COLLECTION = "stdlib_docs_compared"
FOLDER = f"{tempfile.gettempdir()}/milvus_rest_examples/differences"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["milvus", "example"],
)
def example_milvus_rest_compare() -> None:
    @task
    def create_collection() -> None:
        import example_data

        example_data.create_collection(COLLECTION)

    @task
    def export() -> str:
        import example_data

        return example_data.write_jsonl("stdlib_docs_compared.jsonl", example_data.load("docs"))

    @task
    def meddle() -> None:
        """Change a text and the last bit of a vector, and delete three rows, as another program might."""
        import time

        import example_data
        import numpy as np

        rows = example_data.load("docs")
        rows[0]["text"] += " "
        rows[1]["vector"][0] = float(np.nextafter(np.float32(rows[1]["vector"][0]), np.float32(1)))
        client = example_data.milvus_client()
        client.upsert(COLLECTION, rows[:2])
        client.delete(COLLECTION, ids=[row["name"] for row in rows[2:5]])
        time.sleep(10)  # REST v1 reads what was stored some seconds ago

    path = export()
    upsert = MilvusRestUpsertOperator(task_id="upsert", collection_name=COLLECTION, files=path, verify_sample=20)
    # [START howto_compare]
    compare = MilvusRestCompareOperator(
        task_id="compare",
        collection_name=COLLECTION,
        files=path,
        on_difference="report",
        differences_path=FOLDER,
    )
    repair = MilvusRestUpsertOperator(
        task_id="repair",
        collection_name=COLLECTION,
        files=compare.output["differences_path"],
    )
    # [END howto_compare]
    compare_again = MilvusRestCompareOperator(task_id="compare_again", collection_name=COLLECTION, files=path)

    @task
    def report(found: dict[str, Any], repaired: dict[str, Any], again: dict[str, Any]) -> None:
        print(
            f"{found['different_count']} rows were different, {found['missing_count']} missing, "
            f"{repaired['upsert_count']} repaired, {again['equal_count']} are equal now"
        )
        assert again["equal_count"] == again["read_count"] == 608

    create_collection() >> upsert >> meddle() >> compare >> repair >> compare_again
    report(compare.output, repair.output, compare_again.output)


dag_object = example_milvus_rest_compare()

if __name__ == "__main__":
    raise SystemExit(dag_object.test().state != "success")
