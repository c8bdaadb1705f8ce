"""Shared by the examples: a real corpus with real embeddings, and a collection to store it in.

Needs the extra ``[local]``, for pymilvus: this provider does not create collections or search them.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook

DATA = Path(__file__).parent / "data"


def load(stem: str) -> list[dict[str, Any]]:
    """Rows of ``data/<stem>.jsonl``, each with its embedding from ``data/<stem>.npy`` as ``vector``."""
    rows = [json.loads(line) for line in (DATA / f"{stem}.jsonl").read_text().splitlines()]
    vectors = np.load(DATA / f"{stem}.npy").astype(np.float32)
    return [row | {"vector": vector.tolist()} for row, vector in zip(rows, vectors, strict=True)]


def milvus_client() -> MilvusClient:
    """A pymilvus client for the server of the connection ``milvus_rest_default``."""
    settings = MilvusRestHook().get_conn().settings
    return MilvusClient(uri=settings.base_url, token=settings.token.get_secret_value() if settings.token else "")


def create_collection(name: str, key: str = "name", texts: tuple[str, ...] = ("text",), dim: int = 384) -> None:
    """Create an empty collection, by default for the corpus. Drops an existing one."""
    client = milvus_client()
    client.drop_collection(name)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(key, DataType.VARCHAR, max_length=128, is_primary=True)
    for text in texts:
        schema.add_field(text, DataType.VARCHAR, max_length=1024)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


def write_jsonl(name: str, rows: list[dict[str, Any]]) -> str:
    """Write rows as JSON Lines to a temporary folder, compressed if the name ends in ``.gz``. Returns the path."""
    path = Path(tempfile.gettempdir()) / "milvus_rest_examples" / name
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)
