"""What differs between versions of Milvus, on contract servers: see their docstring for what each rule rests on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import FileRows
from tests.contract_server import ContractServer, Field, Refused
from tests.servers import UPSERT, UPSERT_V2

KEY, VECTOR = Field("id", "Int64", primary=True), Field("vector", "FloatVector", {"dim": 2})
NULLABLE, DEFAULT = Field("x", "Int64", nullable=True), Field("x", "Int64", default=42)
BOTH = Field("x", "Int64", nullable=True, default=42)
USE_V2 = "set the connection's field api_version to v2"
UPSERTS = {"v1": UPSERT, "v2": UPSERT_V2}


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hook for a server."""
    hooks = []

    def connect(server: ContractServer, api_version: str) -> MilvusRestHook:
        monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", server.address(api_version).connection_json())
        hooks.append(MilvusRestHook())
        return hooks[-1]

    yield connect
    for hook in hooks:
        hook.close()


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": key, "vector": [0.5, 1.0], **more} for key in range(count)]


def upserts(server: ContractServer) -> int:
    return sum(request.path in UPSERTS.values() for request in server.requests)


# -- nullable and default-valued fields over v1 (item 1) ------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "field", "refused"),
    [
        *((version, field, True) for version in ("2.5.0", "2.5.27", "2.6.1") for field in (NULLABLE, DEFAULT, BOTH)),
        *((version, DEFAULT, True) for version in ("2.6.2", "2.6.11")),
        *((version, field, False) for version in ("2.6.2", "2.6.11") for field in (NULLABLE, BOTH)),
        *((version, field, False) for version in ("2.6.12", "2.6.17", "2.6.20") for field in (NULLABLE, DEFAULT)),
    ],
)
def test_values_that_are_all_there(version: str, field: Field, refused: bool, connect: Any, tmp_path: Path) -> None:
    """Where v1 refuses every row all the same, the first refusal ends the run, and no row is called rejected."""
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, field)
        hook, given = connect(server, "v1"), rows(100, x=5)
        skip = {"on_reject": "skip", "rejects_file": tmp_path / "rejects.jsonl"}
        if refused:
            with pytest.raises(
                e.RequestRefusedError,
                match=f"every row of a collection in which a field is nullable or has a default: {USE_V2}",
            ):
                hook.ingest("docs", given, batch_size=10, concurrency=1, **skip)
            assert upserts(server) == 1
            assert not (tmp_path / "rejects.jsonl").exists()
            hook = connect(server, "v2")  # which is the remedy
        assert hook.ingest("docs", given, batch_size=10, **skip).upsert_count == 100
        assert {row["x"] for row in server.rows("docs").values()} == {5}


@pytest.mark.parametrize(
    ("version", "field"), [("2.6.2", NULLABLE), ("2.6.17", NULLABLE), ("2.6.12", DEFAULT), ("2.6.17", BOTH)]
)
def test_nulls_that_v1_cannot_store_are_rejected_with_the_remedy(
    version: str, field: Field, connect: Any, tmp_path: Path
) -> None:
    """2.6.2 to 2.6.17 refuse only what has a null or leaves the value out, so only such rows are rejected."""
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, field)
        given = rows(40, x=5)
        del given[7]["x"]
        report = connect(server, "v1").ingest("docs", given, on_reject="skip", rejects_file=tmp_path / "rejects.jsonl")
        assert (report.upsert_count, report.rejected_count) == (39, 1)
        reject = json.loads((tmp_path / "rejects.jsonl").read_text())["$reject"]
        assert (reject["key"], reject["code"]) == (7, 1100)
        assert USE_V2 in reject["reason"]
        with pytest.raises(e.MilvusRestError, match=USE_V2):
            connect(server, "v1").ingest("docs", [given[7]])
        assert connect(server, "v2").ingest("docs", [given[7]]).upsert_count == 1
        assert server.rows("docs")[7]["x"] == field.default


@pytest.mark.parametrize("version", ["2.6.18", "2.6.20", "3.0.x", "master"])
def test_nulls_pass_over_v1_from_2_6_18(version: str, connect: Any) -> None:
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, NULLABLE)
        given = [*rows(2, x=5), {"id": 2, "vector": [0, 0], "x": None}, {"id": 3, "vector": [0, 0]}]
        assert connect(server, "v1").ingest("docs", given).upsert_count == 4
        assert [row["x"] for row in server.rows("docs").values()] == [5, 5, None, None]


# -- what a whole collection is refused for (items 2, 4) ------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "api_version", "requests_sent"),
    [("2.6.x", "v1", 1), ("2.6.x", "v2", 1), ("3.0.x", "v1", 1), ("3.0.x", "v2", 0), ("master", "v2", 0)],
)
def test_arrays_of_structs(version: str, api_version: str, requests_sent: int, connect: Any, tmp_path: Path) -> None:
    """Named before a row is sent where describe lists them (v2 from 3.0), and else by the first refusal."""
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, structs=("clips",))
        error = e.RequestRefusedError if requests_sent else e.UnsupportedCollectionError
        with pytest.raises(error, match="arrays of structs" if requests_sent else "'clips' is of type ArrayOfStruct"):
            connect(server, api_version).ingest(
                "docs", rows(100), batch_size=10, concurrency=1, on_reject="skip", rejects_file=tmp_path / "rejects"
            )
        assert upserts(server) == requests_sent


@pytest.mark.parametrize("api_version", ["v1", "v2"])
def test_namespaces(api_version: str, connect: Any, tmp_path: Path) -> None:
    with ContractServer("2.6.x") as server:
        server.create_collection("docs", KEY, VECTOR, namespace=True)
        with pytest.raises(e.RequestRefusedError, match="cannot write into a collection with namespaces"):
            connect(server, api_version).ingest(
                "docs", rows(100), batch_size=10, concurrency=1, on_reject="skip", rejects_file=tmp_path / "rejects"
            )
        assert upserts(server) == 1


@pytest.mark.parametrize(
    ("version", "quotas", "code"), [("2.4.0", True, 200), ("2.4.10", True, 1807), ("3.0.x", False, 200)]
)
def test_an_unknown_partition(version: str, quotas: bool, code: int, connect: Any) -> None:
    """From 2.4.10 on, the limiter does not find it, unless quotas are off; no time is spent on retries."""
    with ContractServer(version) as server:
        server.milvus.quotas = quotas
        server.create_collection("docs", KEY, VECTOR)
        with pytest.raises(e.NotFoundError, match="partition not found") as caught:
            connect(server, "v2").ingest("docs", rows(3), partition_name="nope")
        assert caught.value.code == code
        assert upserts(server) == 1


@pytest.mark.parametrize("version", ["2.3.5", "2.6.x"])
@pytest.mark.parametrize("api_version", ["v1", "v2"])
def test_a_missing_privilege(version: str, api_version: str, connect: Any) -> None:
    if (version, api_version) == ("2.3.5", "v2"):
        return
    with ContractServer(version, auth="bob:hunter2") as server:
        server.create_collection("docs", KEY, VECTOR)
        server.milvus.forbidden = True
        with pytest.raises(e.ForbiddenError, match=r"permission deny to bob.*Grant") as caught:
            connect(server, api_version).ingest("docs", rows(3))
        assert (caught.value.http_status, caught.value.code) == (403, 65535)
        assert upserts(server) == 1


@pytest.mark.parametrize("api_version", ["v1", "v2"])
def test_an_alias(api_version: str, connect: Any) -> None:
    with ContractServer("2.6.x") as server:
        server.create_collection("docs_1", KEY, VECTOR)
        server.create_alias("docs_1", "docs")
        hook = connect(server, api_version)
        assert hook.ingest("docs", rows(3)).upsert_count == 3
        assert hook.describe_collection("docs").name == "docs"
        assert set(server.rows("docs_1")) == {0, 1, 2}


# -- types and values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.0.x", "master"])
@pytest.mark.parametrize("api_version", ["v1", "v2"])
def test_text_fields(version: str, api_version: str, connect: Any, tmp_path: Path) -> None:
    """A text of any length."""
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, Field("x", "Text"))
        long, file = "é" * 100_000, tmp_path / "rejects.jsonl"
        given = [row | {"x": value} for row, value in zip(rows(5), ("", "a", long, 5, None), strict=True)]
        report = connect(server, api_version).ingest("docs", given, on_reject="skip", rejects_file=file)
        assert (report.upsert_count, report.rejected_count) == (3, 2)
        assert [row["x"] for row in server.rows("docs").values()] == ["", "a", long]


def test_text_fields_in_csv(connect: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('id,vector,x\n1,"[0, 0]",007\n2,"[0, 0]",\n')
    with ContractServer("3.0.x") as server:
        server.create_collection("docs", KEY, VECTOR, Field("x", "Text"))
        assert connect(server, "v2").ingest("docs", FileRows(find_files(str(tmp_path / "rows.csv")))).upsert_count == 2
        assert [row["x"] for row in server.rows("docs").values()] == ["007", ""]


def test_text_fields_before_3_0(connect: Any) -> None:
    with ContractServer("2.6.x") as server:
        with pytest.raises(ValueError, match="has no Field"):
            server.create_collection("docs", KEY, VECTOR, Field("x", "Text"))


@pytest.mark.parametrize(("version", "checked"), [("2.4.x", False), ("2.6.x", False), ("3.0.x", True)])
def test_an_array_beyond_its_capacity(version: str, checked: bool, connect: Any) -> None:
    """Upsert of 2.4 to 2.6 does not check it: v2 tells the capacity, so this package does; v1 does not."""
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, Field("x", "Array", {"max_capacity": 2}, element_type="Int64"))
        given = rows(1, x=[1, 2, 3])
        with pytest.raises(e.MilvusRestError, match="has 3 elements, but the Array takes 2"):
            connect(server, "v2").ingest("docs", given)
        if checked:
            with pytest.raises(e.MilvusRestError, match="exceeds max capacity"):
                connect(server, "v1").ingest("docs", given)
        else:
            assert connect(server, "v1").ingest("docs", given).upsert_count == 1


@pytest.mark.parametrize("api_version", ["v1", "v2"])
@pytest.mark.parametrize("version", ["2.6.x", "3.0.x", "master"])
def test_nullable_vectors(version: str, api_version: str, connect: Any) -> None:
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, Field("x", "FloatVector", {"dim": 2}, nullable=True))
        given = [row | {"x": x} for row, x in zip(rows(2), ([1.0, 2.0], None), strict=True)] + [rows(3)[2]]
        assert connect(server, api_version).ingest("docs", given).upsert_count == 3
        assert [row["x"] for row in server.rows("docs").values()] == [[1.0, 2.0], None, None]


@pytest.mark.parametrize(
    ("version", "kind"), [("master", "Float"), ("master", "SparseFloatVector"), ("2.4.x", "SparseFloatVector")]
)
def test_the_largest_float32(version: str, kind: str, connect: Any) -> None:
    """Its shortest text, 3.4028235e+38, is refused."""
    largest = float(np.finfo(np.float32).max)
    value: Any = {1: largest} if kind == "SparseFloatVector" else largest
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, Field("x", kind))
        shortest = json.dumps({"collectionName": "docs", "data": rows(1, x=value)}).replace(
            str(largest), "3.4028235e+38"
        )
        answer = requests.post(server.url + UPSERT_V2, data=shortest).json()
        assert answer["code"] == 1804
        assert connect(server, "v2").ingest("docs", rows(1, x=value)).upsert_count == 1
        assert server.rows("docs")[0]["x"] == value


def test_null_for_a_default_and_no_rows_at_all(connect: Any) -> None:
    """Milvus stores the default for null, and calls an empty list an error: this package differs, on purpose."""
    with ContractServer("2.6.x") as server:
        server.create_collection("docs", KEY, VECTOR, DEFAULT)
        for data, code in ((rows(1, x=None), 0), ([], 1804)):
            answer = requests.post(server.url + UPSERT_V2, json={"collectionName": "docs", "data": data}).json()
            assert answer["code"] == code
        assert server.rows("docs")[0]["x"] == 42
        hook = connect(server, "v2")
        with pytest.raises(
            e.RowError, match="'x' is null; Milvus would store the field's default instead: leave it out"
        ):
            hook.upsert("docs", rows(1, x=None))
        assert hook.upsert("docs", []).upsert_count == 0


# -- fields that are left out (item 9) ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ([{"x": 1}, {}], False),
        ([{}, {"x": None}], False),  # null in so many words
        ([{}, {}], True),
    ],
)
def test_a_nullable_field_that_no_row_has(
    given: list[dict[str, Any]], warned: bool, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ContractServer("2.6.x") as server:
        server.create_collection("docs", KEY, VECTOR, NULLABLE, Field("y", "Int64", default=1))
        hook = connect(server, "v2")
        texts: list[str] = []
        monkeypatch.setattr(hook.log, "warning", lambda text, *values: texts.append(text % values))
        hook.ingest("docs", [row | more for row, more in zip(rows(2), given, strict=True)])
        text = "Collection docs: No row had x: Milvus now stores null there, because an upsert replaces whole rows."
        assert texts == ([text] if warned else [])


def test_versions() -> None:
    for version in ("2.3.5-lite", "v2.3.5", "2.3.5"):
        assert ContractServer(version).milvus.version == (2, 3, 5)
    with pytest.raises(AssertionError, match="no version of Milvus"):
        ContractServer("latest")
    assert Refused(1, "x").status == 200
