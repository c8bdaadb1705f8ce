"""Files: one task writes JSON Lines, and the operator upserts them.

Unlike entities in XCom, files can have any size. If the workers share a disk, use a local path. Otherwise write to
``s3://…`` or any other URI that Airflow's ``ObjectStoragePath`` supports, and set ``source_conn_id`` to its connection.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

COLLECTION = "stdlib_docs_from_files"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["milvus", "example"],
)
def example_milvus_rest_files() -> None:
    @task
    def create_collection() -> None:
        import example_data

        example_data.create_collection(COLLECTION)

    @task
    def export() -> str:
        """Write one compressed file, and return its path."""
        import example_data

        return example_data.write_jsonl("stdlib_docs.jsonl.gz", example_data.load("docs"))

    # [START howto_upsert_files]
    upsert = MilvusRestUpsertOperator(
        task_id="upsert",
        collection_name=COLLECTION,
        files=export(),
    )
    # [END howto_upsert_files]

    @task
    def report(outputs: dict[str, Any]) -> None:
        print(f"{outputs['upsert_count']} of {outputs['read_count']} rows are in {COLLECTION!r}")
        assert outputs["upsert_count"] == outputs["read_count"] == 608

    create_collection() >> upsert
    report(upsert.output)


dag_object = example_milvus_rest_files()

if __name__ == "__main__":
    raise SystemExit(dag_object.test().state != "success")
