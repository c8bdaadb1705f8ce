"""The hook and the operator against a real Milvus; pymilvus reads back what REST wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from airflow_provider_milvus_rest.testing import MilvusAddress

Make = Callable[..., str]
SECURE = pytest.mark.parametrize("milvus", ["secure"], indirect=True)
Read = Callable[[str], dict[Any, dict[str, Any]]]


def entities(count: int, key: type = int, text: str = "text") -> list[dict[str, Any]]:
    vectors = np.random.default_rng(7).random((count, 4), dtype=np.float32).tolist()
    return [{"id": key(i), "vector": vector, "text": f"{text} {i}"} for i, vector in enumerate(vectors)]


def by_key(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {row["id"]: row for row in rows}


@pytest.mark.parametrize("key", [DataType.INT64, DataType.VARCHAR])
def test_both_forms_of_data(hook: MilvusRestHook, make_collection: Make, read_back: Read, key: DataType) -> None:
    name, kind = make_collection(key), int if key == DataType.INT64 else str
    first, *others = entities(5, kind)
    one, many = hook.upsert(name, first), hook.upsert(name, others)
    assert (one.upsert_count, one.upsert_ids) == (1, [first["id"]])
    assert (many.upsert_count, many.upsert_ids) == (4, [row["id"] for row in others])
    assert read_back(name) == by_key([first, *others])


def test_keys_at_the_ends_of_int64(hook: MilvusRestHook, make_collection: Make, read_back: Read) -> None:
    # 2**63 - 1 is stored too, but Milvus 2.3.5 has no query that finds it, whoever wrote it.
    name, keys = make_collection(), [-(2**63), -1, 0, 2**53 + 1, 2**63 - 2]
    rows = [row | {"id": key} for row, key in zip(entities(5), keys, strict=True)]
    assert hook.upsert(name, rows).upsert_ids == keys
    assert read_back(name) == by_key(rows)


def test_what_the_operator_writes_is_there(
    milvus_connection: MilvusAddress, make_collection: Make, read_back: Read, tmp_path: Path
) -> None:
    name, rows = make_collection(), entities(2500)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:1200]))
    (tmp_path / "b.json").write_text(json.dumps(rows[1200:]))
    upsert = MilvusRestUpsertOperator(task_id="upsert", collection_name=name, files=tmp_path, return_ids=True)
    outputs = upsert.execute({})
    assert (outputs["read_count"], outputs["upsert_count"], outputs["request_count"]) == (2500, 2500, 3)
    assert outputs["upsert_ids"] == list(range(2500))
    assert read_back(name) == by_key(rows)


def test_writing_again_replaces_and_the_last_row_of_a_key_stands(
    milvus_connection: MilvusAddress, make_collection: Make, read_back: Read
) -> None:
    name, old, new = make_collection(), entities(10, text="old"), entities(10, text="new")
    outputs = MilvusRestUpsertOperator(task_id="a", collection_name=name, entities=old + new).execute({})
    assert (outputs["read_count"], outputs["upsert_count"], outputs["duplicate_count"]) == (20, 10, 10)
    assert read_back(name) == by_key(new)
    batches = MilvusRestUpsertOperator(task_id="b", collection_name=name, entities=new + old, batch_size=7)
    assert batches.execute({})["upsert_count"] == 20
    assert read_back(name) == by_key(old)


def test_another_database(
    milvus_connection: MilvusAddress, hook: MilvusRestHook, pymilvus: MilvusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pymilvus.create_database("other_db")
    other = milvus_connection.client("other_db")
    try:
        other.create_collection("docs", dimension=4, auto_id=False)
        row = entities(1)[0]
        assert hook.upsert("docs", row, db_name="other_db").upsert_count == 1
        in_other = json.loads(milvus_connection.connection_json()) | {"schema": "other_db"}
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(in_other))
        there = MilvusRestHook("other")
        assert there.list_collections() == ["docs"]
        assert there.upsert("docs", row).upsert_count == 1
        assert there.test_connection() == (True, f"Milvus at {milvus_connection.uri}: 1 collection in 'other_db'")
    finally:
        other.drop_collection("docs")
        pymilvus.drop_database("other_db")


def test_what_is_missing_is_named(hook: MilvusRestHook) -> None:
    for call in (lambda: hook.upsert("nope", []), lambda: hook.upsert("docs", [], db_name="nope")):
        with pytest.raises(e.NotFoundError, match=r"nope.* Create it first") as caught:
            call()
        assert isinstance(caught.value, AirflowFailException)


def test_an_autoid_collection(hook: MilvusRestHook, make_collection: Make, read_back: Read) -> None:
    name = make_collection(auto_id=True)
    with pytest.raises(e.UnsupportedCollectionError, match="autoID off"):
        hook.upsert(name, entities(1))


@SECURE
@pytest.mark.parametrize(
    "credentials", [{"login": "root", "password": "hunter2-wrong"}, {"password": "hunter2-wrong"}, {}]
)
def test_wrong_credentials(milvus: MilvusAddress, monkeypatch: pytest.MonkeyPatch, credentials: dict[str, str]) -> None:
    right = {name: value for name, value in milvus.connection().items() if name not in ("login", "password")}
    wrong = right | credentials
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps(wrong))
    hook = MilvusRestHook("wrong")
    with pytest.raises(e.NotAuthenticatedError, match="Check login and password") as caught:
        hook.upsert("docs", {"id": 1})
    assert isinstance(caught.value, AirflowFailException)
    assert "hunter2" not in str(caught.value)
    assert hook.test_connection()[0] is False


@SECURE
def test_forbidden(
    milvus: MilvusAddress, pymilvus: Any, make_collection: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make_collection()
    pymilvus.create_user("bob", "bobs-password")
    try:
        bob = milvus.connection() | {"login": "bob", "password": "bobs-password"}
        monkeypatch.setenv("AIRFLOW_CONN_BOB", json.dumps(bob))
        with pytest.raises(e.ForbiddenError, match="Grant the missing privilege to the connection's user"):
            MilvusRestHook("bob").upsert(name, entities(1))
    finally:
        pymilvus.drop_user("bob")
