"""``docs/compatibility.md`` says what can be written to which Milvus: its table is what the servers here take."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from tests.contract_server import SINCE, ContractServer, Field
from tests.unit.test_recorded import FILES, events

PAGE = Path(__file__).parents[2] / "docs/compatibility.md"
VERSIONS = ("2.3.5", "2.3.17", "2.4.23", "2.5.27", "2.6.1", "2.6.17", "2.6.20", "3.0.0", "master")
KEY, VECTOR = Field("id", "Int64", primary=True), Field("vector", "FloatVector", {"dim": 16})
DIM, INDEX = {"dim": 16}, {1: 0.5}
VALUES: dict[str, tuple[Field | None, list[Any]]] = {
    **{kind: (Field("x", kind), [5]) for kind in ("Int8", "Int16", "Int32", "Int64", "Float", "Double")},
    "Bool": (Field("x", "Bool"), [True]),
    "VarChar": (Field("x", "VarChar", {"max_length": 8}), ["x"]),
    "FloatVector": (Field("x", "FloatVector", DIM), [[0.5] * 16]),
    "BinaryVector": (Field("x", "BinaryVector", DIM), [b"\0\1"]),
    "dynamic": (None, [{"a": [1, "x"]}]),
    "JSON": (Field("x", "JSON"), [{"a": 1}]),
    "Array": (Field("x", "Array", {"max_capacity": 4}, element_type="Int64"), [[1, 2]]),
    "Float16Vector": (Field("x", "Float16Vector", DIM), [[0.5] * 16]),
    "BFloat16Vector": (Field("x", "BFloat16Vector", DIM), [[0.5] * 16]),
    "SparseFloatVector": (Field("x", "SparseFloatVector"), [INDEX]),
    "Int8Vector": (Field("x", "Int8Vector", DIM), [[1] * 16]),
    "Text": (Field("x", "Text"), ["x"]),
    "nullable": (Field("x", "Int64", nullable=True), [5, None, ...]),
    "nullable, without nulls": (Field("x", "Int64", nullable=True), [5]),
    "nullable vector": (Field("x", "FloatVector", DIM, nullable=True), [[0.5] * 16, None, ...]),
    "with a default": (Field("x", "Int64", default=42), [5, ...]),
    "output of a function": (Field("x", "SparseFloatVector", function_output=True), [...]),
    "partition key": (Field("x", "Int64", partition_key=True), [5]),
    "Geometry": (Field("x", "Geometry"), ["POINT (1 1)"]),
    "Timestamptz": (Field("x", "Timestamptz"), ["2026-01-01T00:00:00Z"]),
    "array of structs": (Field("x", "ArrayOfStruct"), [[{"a": 1}]]),
}
"""What a field is called in the table; the field, None for a dynamic one; values of which all are to be stored."""


def measured() -> Iterator[tuple[str, str, str]]:
    """Version, API version and type of each field into which a real server has stored a value, by its recordings."""
    for file in FILES:
        first, *rest = events(file)
        version = re.findall(r"\d+\.\d+\.\d+", first["server"])[0]
        kinds: dict[str, set[str]] = {}
        for event in rest:
            if "create" in event:
                kinds[event["create"]] = {field["type"] for field in event["fields"]}
                kinds[event["create"]] |= {"dynamic"} if event["enable_dynamic_field"] else set()
            path = event["request"]["path"] if "request" in event else ""
            if path.endswith("/upsert") and "upsertIds" in event["answer"]["body"]:
                name = json.loads(event["request"]["body"].partition("} x")[0])["collectionName"]
                yield from ((version, first["api_version"], kind) for kind in kinds.get(name, ()))


def can_write(kind: str, server: ContractServer, hook: MilvusRestHook) -> bool:
    field, values = VALUES[kind]
    try:
        server.create_collection("docs", KEY, VECTOR, *([field] if field else []), dynamic=field is None)
    except ValueError:
        return False
    rows = [{"id": key, "vector": [0.5] * 16} | ({} if x is ... else {"x": x}) for key, x in enumerate(values)]
    try:
        return hook.ingest("docs", rows).upsert_count == len(server.rows("docs")) == len(rows)
    except e.MilvusRestError:
        return False


def table(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    known, cells = set(measured()), dict[tuple[str, str], str]()
    for version in VERSIONS:
        with ContractServer(version) as server:
            found = dict[str, list[str]]()
            for api in ("v1", "v2"):
                monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", server.address(api).connection_json())
                hook = MilvusRestHook()
                for kind in VALUES:
                    shown = f"**{api}**" if (version, api, kind) in known else api
                    found.setdefault(kind, []).extend([shown] if can_write(kind, server, hook) else [])
                hook.close()
        cells |= {(kind, version): " ".join(apis) or "–" for kind, apis in found.items()}
    lines = [f"| {kind} | {' | '.join(cells[kind, version] for version in VERSIONS)} |" for kind in VALUES]
    return [f"| Field | {' | '.join(VERSIONS)} |", "|---" * (len(VERSIONS) + 1) + "|", *lines]


def test_the_table_is_what_the_servers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = table(monkeypatch)
    found = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert found[: len(expected)] == expected, "\n" + "\n".join(expected)


def test_every_type_that_a_version_brought_is_in_the_table() -> None:
    assert set(SINCE) <= set(VALUES)


def test_the_page_names_every_recording() -> None:
    for file in FILES:
        first = next(events(file))
        assert f"`{file.name}`" in PAGE.read_text(), first
