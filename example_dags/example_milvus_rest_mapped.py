"""Dynamic task mapping: one task per file, and the sum of their counts.

The mapped tasks run at the same time, so two files must not contain rows with the same key: it would be undefined which
row wins.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

COLLECTION = "stdlib_docs_mapped"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["milvus", "example"],
)
def example_milvus_rest_mapped() -> None:
    @task
    def create_collection() -> None:
        import example_data

        example_data.create_collection(COLLECTION)

    @task
    def export() -> list[str]:
        """Write a file for each of four parts of the corpus, and return their paths."""
        import example_data

        rows = example_data.load("docs")
        return [example_data.write_jsonl(f"stdlib_docs_{part}.jsonl", rows[part::4]) for part in range(4)]

    # [START howto_upsert_mapped]
    upsert = MilvusRestUpsertOperator.partial(
        task_id="upsert",
        collection_name=COLLECTION,
        map_index_template="{{ task.files }}",
    ).expand(files=export())
    # [END howto_upsert_mapped]

    @task
    def total(outputs: list[dict[str, Any]]) -> int:
        """Add up the counts of the mapped tasks."""
        counts = [output["upsert_count"] for output in outputs]
        print(f"{' + '.join(map(str, counts))} = {sum(counts)} rows are in {COLLECTION!r}")
        assert sum(counts) == 608
        return sum(counts)

    create_collection() >> upsert
    total(upsert.output)


dag_object = example_milvus_rest_mapped()

if __name__ == "__main__":
    raise SystemExit(dag_object.test().state != "success")
