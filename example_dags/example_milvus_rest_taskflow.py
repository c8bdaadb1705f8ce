"""TaskFlow: a task returns entities, the operator upserts them, and later tasks use its counts and search.

Run it with ``python example_dags/example_milvus_rest_taskflow.py``, as the README describes.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

COLLECTION = "stdlib_docs"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["milvus", "example"],
)
def example_milvus_rest_taskflow() -> None:
    @task
    def create_collection() -> None:
        import example_data

        example_data.create_collection(COLLECTION)

    @task(show_return_value_in_logs=False)  # otherwise Airflow writes every vector to the log
    def embed() -> list[dict[str, Any]]:
        import example_data

        return example_data.load("docs")

    # [START howto_upsert_entities]
    upsert = MilvusRestUpsertOperator(
        task_id="upsert",
        collection_name=COLLECTION,
        entities=embed(),
    )
    # [END howto_upsert_entities]

    @task
    def report(outputs: dict[str, Any], upsert_count: int) -> None:
        """Print the counts: they are one dict, and each has its own key."""
        for name, value in outputs.items():
            print(f"{name:>18}: {value}")
        assert upsert_count == outputs["read_count"]

    @task(show_return_value_in_logs=False)
    def search() -> list[dict[str, Any]]:
        """Search with questions that are not in the corpus, and show the best three answers to each."""
        import example_data

        queries = example_data.load("queries")
        found = example_data.milvus_client().search(
            COLLECTION, data=[query["vector"] for query in queries], limit=3, output_fields=["name", "text"]
        )
        answers = []
        print("+ if the right answer is among the best three, - if not")
        for query, hits in zip(queries, found, strict=True):
            names = [hit["entity"]["name"] for hit in hits]
            mark = "+" if query["expected"] in names else "-"
            print(f"{mark} {query['text']}? {', '.join(names)}: {hits[0]['entity']['text'][:70]}")
            answers.append({"question": query["text"], "expected": query["expected"], "found": names})
        first = sum(answer["found"][0] == answer["expected"] for answer in answers)
        print(f"{first} of {len(answers)} right answers come first")
        return answers

    create_collection() >> upsert
    report(upsert.output, upsert.output["upsert_count"]) >> search()


dag_object = example_milvus_rest_taskflow()

if __name__ == "__main__":
    raise SystemExit(dag_object.test().state != "success")
