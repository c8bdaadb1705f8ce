"""One large file, cut into shards that mapped tasks upsert in parallel, on any number of workers.

No row is in two shards. The keys in the file are unique: with repeated keys, it would be undefined which row wins.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator, plan_shards

COLLECTION = "stdlib_docs_sharded"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["milvus", "example"],
)
def example_milvus_rest_shards() -> None:
    @task
    def create_collection() -> None:
        import example_data

        example_data.create_collection(COLLECTION)

    @task
    def export() -> str:
        """Write the corpus as one file, and return its path."""
        import example_data

        return example_data.write_jsonl("stdlib_docs_whole.jsonl", example_data.load("docs"))

    # [START howto_upsert_shards]
    @task
    def plan(path: str) -> list[list[dict[str, Any]]]:
        return plan_shards(path, target_bytes=2**19)  # for real files, use hundreds of megabytes

    upsert = MilvusRestUpsertOperator.partial(
        task_id="upsert",
        collection_name=COLLECTION,
        max_active_tis_per_dag=2,  # at most two shards at a time: the limit of the server, not of Airflow
    ).expand(files=plan(export()))
    # [END howto_upsert_shards]

    @task
    def total(outputs: list[dict[str, Any]]) -> int:
        """Add up the counts of the mapped tasks."""
        counts = [output["upsert_count"] for output in outputs]
        print(f"{' + '.join(map(str, counts))} = {sum(counts)} rows of one file are in {COLLECTION!r}")
        assert sum(counts) == sum(output["read_count"] for output in outputs) == 608
        return sum(counts)

    create_collection() >> upsert
    total(upsert.output)


dag_object = example_milvus_rest_shards()

if __name__ == "__main__":
    raise SystemExit(dag_object.test().state != "success")
