"""Assets: one DAG upserts into a collection, and another DAG runs after each upsert.

The collection is an asset, ``milvus://host:port/db/collection``, and an outlet of the upsert. Its event tells the
second DAG how many rows were upserted. The asset's host is a name for the server, and may differ from the connection's.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.assets.milvus_rest import create_asset
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

COLLECTION = "stdlib_docs_as_asset"
SETTINGS: dict[str, Any] = {
    "start_date": pendulum.datetime(2026, 1, 1, tz="UTC"),
    "catchup": False,
    "is_paused_upon_creation": False,
    "tags": ["milvus", "example"],
}

# [START howto_asset]
DOCS = create_asset(host="localhost", collection_name=COLLECTION)  # milvus://localhost:19530/default/…


@dag(schedule=None, **SETTINGS)
def example_milvus_rest_assets() -> None:
    @task
    def create_collection() -> None:
        import example_data

        example_data.create_collection(COLLECTION)

    @task
    def export() -> str:
        import example_data

        return example_data.write_jsonl("stdlib_docs_as_asset.jsonl", example_data.load("docs"))

    upsert = MilvusRestUpsertOperator(task_id="upsert", collection_name=COLLECTION, files=export(), outlets=[DOCS])
    create_collection() >> upsert


@dag(schedule=[DOCS], **SETTINGS)
def example_milvus_rest_assets_consumer() -> None:
    @task(inlets=[DOCS])
    def use(inlet_events: Any) -> int:
        """Print the counts of the last upsert."""
        events = inlet_events[DOCS]
        if not len(events):
            print(f"Nothing has come into {DOCS.uri} yet")
            return 0
        counts = events[-1].extra
        print(f"{counts['upsert_count']} rows came into {DOCS.uri}, {counts['rejected_count']} were rejected")
        return counts["upsert_count"]

    use()


# [END howto_asset]

producer = example_milvus_rest_assets()
consumer = example_milvus_rest_assets_consumer()

if __name__ == "__main__":
    states = [dag_object.test().state for dag_object in (producer, consumer)]
    raise SystemExit(set(states) != {"success"})
