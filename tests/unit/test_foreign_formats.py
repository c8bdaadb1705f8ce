"""What other tools write, one sample of each, into Milvus by parameters alone: no Python between."""

import datetime
import decimal
import json
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from tests.servers import DESCRIBE, UPSERT, Reply, ScriptedServer

VECTOR = [0.5, -0.25, 1.0]
OTHER = [0.1, 1e-07, 2.0]  # as text, the shortest that gives the same float32
UUID = "6f2b5c1e-0000-4000-8000-0123456789ab"
FIELDS = [
    {"name": "id", "type": "VarChar(64)", "primaryKey": True, "autoId": False, "description": ""},
    {"name": "vector", "type": "FloatVector(3)", "primaryKey": False, "autoId": False, "description": ""},
]
"""All other fields are dynamic."""


class Sample(NamedTuple):
    """What a tool writes, by the page that says so; ``name`` is a file's, if it is one."""

    tool: str
    page: str
    content: Any
    parameters: dict[str, Any]
    rows: list[dict[str, Any]]
    name: str = ""


def lines(*documents: Any) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


def chunk(text: str, vector: list[float]) -> dict[str, Any]:
    return {"text": text, "metadata": {"file_name": "a.md", "file_path": "/docs/a.md"}, "vector": vector}


TABLE = pa.table(
    {
        "id": pa.array([uuid.UUID(UUID).bytes], pa.binary(16)),
        "vector": pa.array([VECTOR], pa.list_(pa.float32())),
        "at": pa.array(
            [datetime.datetime(2026, 11, 25, 6, 30, 0, 250_000, datetime.timezone.utc)], pa.timestamp("us", "UTC")
        ),
        "day": pa.array([datetime.date(2026, 11, 25)], pa.date32()),
        "price": pa.array([decimal.Decimal("9.99")], pa.decimal128(10, 2)),
        "exact": pa.array([decimal.Decimal("9.90")], pa.decimal128(10, 2)),
        "hash": pa.array([b"\x00\xff"], pa.binary()),
    }
)

SAMPLES = [
    Sample(
        "Airflow's LlamaIndexEmbeddingOperator",
        "airflow.apache.org/docs/apache-airflow-providers-common-ai/stable/operators/llamaindex_embedding.html",
        [
            {
                "document_count": 1,
                "chunk_count": 2,
                "persist_dir": None,
                "chunks": [chunk("a", VECTOR), chunk("b", OTHER)],
            }
        ],
        {"rows_path": "chunks", "field_map": {"metadata": "*"}, "key_from": ["metadata.file_path", "text"]},
        [
            {
                "id": "2027fbddc02e4defbcb413b949377b2c",
                "text": "a",
                "file_name": "a.md",
                "file_path": "/docs/a.md",
                "vector": VECTOR,
            },
            {
                "id": "c08dce5998bd2094ff11af200222eee8",
                "text": "b",
                "file_name": "a.md",
                "file_path": "/docs/a.md",
                "vector": OTHER,
            },
        ],
    ),
    Sample(
        "Milvus' bulk writer, JSON",
        "milvus.io/docs/v2.3.x/import_data.md",
        {"rows": [{"id": "1", "vector": VECTOR, "words": 13}, {"id": "2", "vector": OTHER, "words": 25}]},
        {"rows_path": "rows"},
        [{"id": "1", "vector": VECTOR, "words": 13}, {"id": "2", "vector": OTHER, "words": 25}],
        "1.json",
    ),
    Sample(
        "Elasticsearch, answer to a search",
        "elastic.co/docs/api/doc/elasticsearch/operation/operation-search",
        {
            "took": 5,
            "timed_out": False,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": {
                "total": {"value": 1, "relation": "eq"},
                "max_score": 1.0,
                "hits": [
                    {
                        "_index": "docs",
                        "_id": "x1",
                        "_score": 1.0,
                        "_source": {"title": "a", "embedding": VECTOR, "tags": ["x", "y"]},
                    }
                ],
            },
        },
        {
            "rows_path": "hits.hits",
            "field_map": {"_id": "id", "_source.embedding": "vector", "_source": "*", "*": None},
        },
        [{"id": "x1", "vector": VECTOR, "title": "a", "tags": ["x", "y"]}],
        "search.json",
    ),
    Sample(
        "Elasticsearch, dumped line by line (elasticdump)",
        "github.com/elasticsearch-dump/elasticsearch-dump",
        lines({"_index": "docs", "_id": "x1", "_score": 1, "_source": {"title": "a", "vector": VECTOR}}),
        {"field_map": {"_id": "id", "_source": "*", "*": None}},
        [{"id": "x1", "title": "a", "vector": VECTOR}],
        "dump.jsonl",
    ),
    Sample(
        "Airbyte, JSON Lines on S3",
        "docs.airbyte.com/integrations/destinations/s3",
        lines(
            {
                "_airbyte_ab_id": "26d73cde-7eb1-4e1e-b7db-a4c03b4cf206",
                "_airbyte_emitted_at": 1622135805000,
                "_airbyte_data": {"user_id": 123, "name": {"first": "John", "last": "Doe"}, "vector": VECTOR},
            }
        ),
        {"field_map": {"_airbyte_data": "*", "*": None}, "key_from": ["_airbyte_data.user_id"]},
        [
            {
                "id": "e47d6fc3ef38f238d866cf4f22c5006f",
                "user_id": 123,
                "name": {"first": "John", "last": "Doe"},
                "vector": VECTOR,
            }
        ],
        "2026_11_25_1.jsonl",
    ),
    Sample(
        "OpenAI's batch API",
        "platform.openai.com/docs/guides/batch",
        lines(
            {
                "id": "batch_req_123",
                "custom_id": "doc-1",
                "response": {
                    "status_code": 200,
                    "request_id": "req_123",
                    "body": {
                        "object": "list",
                        "data": [{"object": "embedding", "index": 0, "embedding": OTHER}],
                        "model": "text-embedding-3-small",
                        "usage": {"prompt_tokens": 8, "total_tokens": 8},
                    },
                },
                "error": None,
            }
        ),
        {"field_map": {"custom_id": "id", "response.body.data.0.embedding": "vector", "*": None}},
        [{"id": "doc-1", "vector": OTHER}],
        "batch_output.jsonl",
    ),
    Sample(
        "Bedrock's batch inference, Titan",
        "docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html",
        lines(
            {
                "recordId": "CALL0000001",
                "modelInput": {"inputText": "a"},
                "modelOutput": {"embedding": VECTOR, "inputTextTokenCount": 2},
            }
        ),
        {
            "file_format": "jsonl",
            "field_map": {
                "recordId": "id",
                "modelOutput.embedding": "vector",
                "modelInput.inputText": "text",
                "*": None,
            },
        },
        [{"id": "CALL0000001", "vector": VECTOR, "text": "a"}],
        "input.jsonl.out",
    ),
    Sample(
        "Vertex AI's batch predictions",
        "cloud.google.com/vertex-ai/generative-ai/docs/embeddings/batch-prediction-genai-embeddings",
        lines(
            {
                "instance": {"content": "a"},
                "predictions": [
                    {"embeddings": {"statistics": {"token_count": 8, "truncated": False}, "values": VECTOR}}
                ],
                "status": "",
            }
        ),
        {
            "field_map": {"instance.content": "text", "predictions.0.embeddings.values": "vector", "*": None},
            "key_from": ["instance.content"],
        },
        [{"id": "f53b3155b302982e196b7645b7b614b1", "text": "a", "vector": VECTOR}],
        "000000000000.jsonl",
    ),
    Sample(
        "Qdrant, answer to a scroll",
        "api.qdrant.tech/api-reference/points/scroll-points",
        {
            "usage": None,
            "time": 0.002,
            "status": "ok",
            "result": {
                "points": [
                    {"id": 1, "payload": {"city": "Berlin", "pages": [1, 2]}, "vector": VECTOR},
                    {"id": UUID, "payload": None, "vector": OTHER},
                ],
                "next_page_offset": None,
            },
        },
        {"rows_path": "result.points", "field_map": {"payload": "*"}, "convert": {"id": "str"}},
        [{"id": "1", "city": "Berlin", "pages": [1, 2], "vector": VECTOR}, {"id": UUID, "vector": OTHER}],
        "scroll.json",
    ),
    Sample(
        "Qdrant, named vectors",
        "qdrant.tech/documentation/concepts/vectors",
        lines({"id": UUID, "payload": {"city": "Berlin"}, "vector": {"title": VECTOR, "body": [1.0]}}),
        {"field_map": {"vector.title": "vector", "payload": "*", "id": "id", "*": None}},
        [{"id": UUID, "city": "Berlin", "vector": VECTOR}],
        "points.jsonl",
    ),
    Sample(
        "Weaviate, answer to objects?include=vector",
        "docs.weaviate.io/weaviate/api/rest",
        {
            "deprecations": [],
            "objects": [
                {
                    "class": "Article",
                    "creationTimeUnix": 1764052200000,
                    "id": UUID,
                    "lastUpdateTimeUnix": 1764052200000,
                    "properties": {"title": "a", "wordCount": 12},
                    "vector": VECTOR,
                    "vectorWeights": None,
                }
            ],
            "totalResults": 1,
        },
        {"rows_path": "objects", "field_map": {"id": "id", "vector": "vector", "properties": "*", "*": None}},
        [{"id": UUID, "title": "a", "wordCount": 12, "vector": VECTOR}],
        "objects.json",
    ),
    Sample(
        "Pinecone's Vector.to_dict()",
        "sdk.pinecone.io/python",
        [{"id": "vec1", "values": VECTOR, "metadata": {"genre": "drama", "year": 2020}}],
        {"field_map": {"values": "vector", "metadata": "*"}},
        [{"id": "vec1", "genre": "drama", "year": 2020, "vector": VECTOR}],
    ),
    Sample(
        "LangChain's Document.model_dump(), and a vector",
        "reference.langchain.com/python/langchain_core/documents",
        [{"id": None, "metadata": {"source": "a.txt"}, "page_content": "a", "type": "Document", "vector": VECTOR}],
        {
            "field_map": {"page_content": "text", "metadata": "*", "vector": "vector", "*": None},
            "key_from": ["metadata.source", "page_content"],
        },
        [{"id": "95f55e500d1a9a87caa10e69a629accf", "text": "a", "source": "a.txt", "vector": VECTOR}],
    ),
    Sample(
        "LlamaIndex' TextNode.to_dict()",
        "developers.llamaindex.ai/python/framework-api-reference/schema",
        [
            {
                "id_": "n1",
                "embedding": VECTOR,
                "metadata": {"file_name": "a.txt"},
                "excluded_embed_metadata_keys": [],
                "excluded_llm_metadata_keys": [],
                "relationships": {},
                "metadata_template": "{key}: {value}",
                "metadata_separator": "\n",
                "text": "a",
                "mimetype": "text/plain",
                "start_char_idx": 0,
                "end_char_idx": 1,
                "text_template": "{metadata_str}\n\n{content}",
                "class_name": "TextNode",
            }
        ],
        {"field_map": {"id_": "id", "embedding": "vector", "text": "text", "metadata": "*", "*": None}},
        [{"id": "n1", "text": "a", "file_name": "a.txt", "vector": VECTOR}],
    ),
    Sample(
        "Parquet with times, decimals and a UUID",
        "github.com/apache/parquet-format/blob/master/LogicalTypes.md",
        TABLE,
        {
            "convert": {
                "id": "uuid",
                "at": "epoch_ms",
                "day": "iso",
                "price": "float",
                "exact": "str",
                "hash": "base64",
            }
        },
        [
            {
                "id": UUID,
                "vector": VECTOR,
                "at": 1795588200250,
                "day": "2026-11-25",
                "price": 9.99,
                "exact": "9.90",
                "hash": "AP8=",
            }
        ],
        "part-0.parquet",
    ),
    Sample(
        "The same table in memory",
        "arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html",
        TABLE.select(["id", "vector", "at"]),
        {"convert": {"id": "uuid", "at": "iso"}},
        [{"id": UUID, "vector": VECTOR, "at": "2026-11-25T06:30:00.250000+00:00"}],
    ),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.tool)
def test_a_sample_of_each(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sample: Sample
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", json.dumps({"conn_type": "milvus_rest", "host": server.url}))
    data = {"collectionName": "docs", "enableDynamicField": True, "fields": FIELDS, "load": "LoadStateLoaded"}
    server.script(DESCRIBE, Reply({"code": 200, "data": data}))
    source: dict[str, Any] = {"entities": sample.content}
    if sample.name:
        source = {"files": tmp_path / sample.name}
        if isinstance(sample.content, pa.Table):
            pq.write_table(sample.content, source["files"])
        else:
            text = sample.content if isinstance(sample.content, str) else json.dumps(sample.content)
            source["files"].write_text(text)
    upsert = MilvusRestUpsertOperator(task_id="upsert", collection_name="docs", **source, **sample.parameters)
    outputs = upsert.execute({})
    assert outputs["read_count"] == outputs["upsert_count"] == len(sample.rows)
    (request,) = server.sent_to(UPSERT)
    # As text, since 1 == 1.0 == True in Python.
    assert _texts(request.json["data"]) == _texts(sample.rows)


def _texts(rows: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(row, sort_keys=True) for row in rows]
