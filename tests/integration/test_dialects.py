"""One suite over REST v1 against a real Milvus, and over v1 and v2 against contract servers.

With ``MILVUS_REST_TEST_URI`` (``…_TOKEN``, ``…_API_VERSION``), the real one is the server that it names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import requests

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.checkpoint import Checkpoint
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from airflow_provider_milvus_rest.testing import LocalMilvus, MilvusAddress
from airflow_provider_milvus_rest.testing.local_milvus import PASSWORD, TOKEN
from tests.contract_server import LATEST, ContractServer, Field, halves
from tests.entities import entity
from tests.servers import COLLECTIONS, DESCRIBE, UPSERT, UPSERT_V2, Reply, Request, ScriptedServer
from tests.targets import ContractTarget, RealTarget, Target

CONNECTION = "AIRFLOW_CONN_MILVUS_REST_DEFAULT"
UPSERTS = {"v1": UPSERT, "v2": UPSERT_V2}
OTHERS = (
    DESCRIBE,
    COLLECTIONS,
    "/v2/vectordb/collections/describe",
    "/v2/vectordb/collections/list",
)
TARGETS = [
    "real",
    "2.3.5 v1",
    "2.6.x v1",
    *(f"{version} v2" for version in LATEST),
    "master v2",
]
KEY, VECTOR, TEXT = (
    Field("id", "Int64", primary=True),
    Field("vector", "FloatVector", {"dim": 4}),
    Field("text", "VarChar", {"max_length": 64}),
)


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    version, _, api_version = request.param.partition(" ")
    if api_version:
        with ContractServer(version, auth=TOKEN) as server:
            yield ContractTarget(server, api_version)
    elif given := MilvusAddress.from_environment():
        yield RealTarget(given)
    else:
        with LocalMilvus(auth=True) as milvus:
            yield RealTarget(milvus)


@pytest.fixture
def hook(target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[MilvusRestHook]:
    monkeypatch.setenv(CONNECTION, target.address.connection_json())
    hook = MilvusRestHook()
    yield hook
    hook.close()


@pytest.fixture
def make(target: Target) -> Iterator[Callable[..., str]]:
    """Create collections that are dropped afterwards."""
    names = []

    def create(*fields: Field, **options: Any) -> str:
        names.append(f"test_{uuid4().hex}")
        target.create(names[-1], *(fields or (KEY, VECTOR, TEXT)), **options)
        return names[-1]

    yield create
    for name in names:
        target.drop(name)


@pytest.fixture
def between(target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A gateway on the way to the server, as the connection."""
    with ScriptedServer() as gateway:
        for path in (*UPSERTS.values(), *OTHERS):
            gateway.script(path, lambda request: forward(target, request))
        monkeypatch.setenv(CONNECTION, json.dumps(target.address.connection() | {"host": gateway.url}))
        yield gateway


def forward(target: Target, request: Request) -> Reply:
    kept = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "connection")}
    url = f"{target.address.uri}{request.path}?{request.query}"
    answer = requests.request(request.method, url, data=request.body, headers=kept, timeout=30)
    return Reply(answer.content, answer.status_code)


def test_one_and_many(hook: MilvusRestHook, make: Callable[..., str], target: Target) -> None:
    name, rows = make(), [entity(key, f"text {key}") for key in (0, -5, 2**53 + 1, -(2**63), 2**63 - 2)]
    one, many = hook.upsert(name, rows[0]), hook.upsert(name, rows[1:])
    assert (one.upsert_count, one.upsert_ids) == (1, [0])
    assert (many.upsert_count, many.upsert_ids) == (4, [row["id"] for row in rows[1:]])
    assert target.rows(name) == {row["id"]: row for row in rows}
    assert name in hook.list_collections()


def test_keys_that_are_texts(hook: MilvusRestHook, make: Callable[..., str], target: Target) -> None:
    name = make(Field("id", "VarChar", {"max_length": 16}, primary=True), VECTOR, TEXT)
    rows = [entity(0, "x") | {"id": key} for key in ("a", "7", "é\n\"'", "007")]
    assert hook.upsert(name, rows).upsert_ids == [row["id"] for row in rows]
    assert target.rows(name) == {row["id"]: row for row in rows}


def test_an_alias(hook: MilvusRestHook, make: Callable[..., str], target: Target) -> None:
    name, alias = make(), f"alias_{uuid4().hex}"
    target.alias(name, alias)
    assert hook.ingest(alias, [entity(1), entity(2)]).upsert_count == 2
    assert target.rows(name) == {1: entity(1), 2: entity(2)}
    target.unalias(alias)


@pytest.mark.parametrize("kind", ["Int64", "VarChar"])
def test_keys_read_back(hook: MilvusRestHook, make: Callable[..., str], kind: str) -> None:
    texts = [
        "a",
        "7",
        "",
        'say "hi"',
        "it's",
        "C:\\new",
        "tr\\",
        "äöü€😀",
        "new\nline",
        "\x01",
        "{x}",
        'x in ["a"]',
        "\\u0041",
    ]
    keys = [*range(45), -(2**63) + 1, 2**63 - 2, 2**53 + 1] if kind == "Int64" else [*texts, *map(str, range(100, 130))]
    missing = [-1, 99, -(2**63)] if kind == "Int64" else ["nope", '"', "\\"]
    name = make(Field("id", kind, {"max_length": 16} if kind == "VarChar" else {}, primary=True), VECTOR, TEXT)
    hook.upsert(name, [entity(0) | {"id": key} for key in keys])
    client, schema = hook.get_conn(), hook.describe_collection(name)
    deadline = time.monotonic() + 20
    while (found := client.stored_keys(schema, keys + missing)) != set(keys) and time.monotonic() < deadline:
        time.sleep(0.3)  # v1 of the real server reads what was there some seconds ago
    assert found == set(keys)
    assert client.stored_keys(schema, []) == set()


def test_keys_read_back_from_a_partition(hook: MilvusRestHook, make: Callable[..., str], target: Target) -> None:
    name = make(partitions=("p1",))
    client, schema = hook.get_conn(), hook.describe_collection(name)
    if target.address.api_version == "v1":
        with pytest.raises(e.InputError, match="REST v1 writes only into the default partition"):
            client.stored_keys(schema, [1], "p1")
        assert schema.collection_id is None
        return
    assert schema.collection_id
    assert schema.collection_id != hook.describe_collection(make()).collection_id
    hook.upsert(name, entity(1), partition_name="p1")
    hook.upsert(name, entity(2))
    assert client.stored_keys(schema, [1, 2, 3]) == {1, 2}
    assert client.stored_keys(schema, [1, 2, 3], "p1") == {1}


def test_every_row_is_accounted_for(
    hook: MilvusRestHook, make: Callable[..., str], target: Target, tmp_path: Path
) -> None:
    """Rejected rows, duplicates in a batch and over batches, of which the last one stands."""
    name = make()
    rows = [entity(n % 700, f"row {n}") for n in range(1000)]
    for spoiled, value in ((10, 5), (500, None), (990, "x" * 65)):
        rows[spoiled] = rows[spoiled] | {"text": value}
    file = tmp_path / "rejects.jsonl"
    report = hook.ingest(name, rows, batch_size=40, concurrency=3, on_reject="skip", rejects_file=file)
    assert [json.loads(line)["$reject"]["position"] for line in file.read_text().splitlines()] == [
        "[10]",
        "[500]",
        "[990]",
    ]
    counts = (report.read_count, report.upsert_count, report.duplicate_count, report.rejected_count)
    assert counts == (1000, 997 - report.duplicate_count, report.duplicate_count, 3)
    good = [row for n, row in enumerate(rows) if n not in (10, 500, 990)]
    assert target.rows(name) == {row["id"]: row for row in good}
    assert hook.ingest(name, [entity(1, "a"), entity(1, "b"), entity(1, "c")]).duplicate_count == 2
    assert target.rows(name)[1] == entity(1, "c")


def test_what_is_wrong_is_named(
    hook: MilvusRestHook, make: Callable[..., str], target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in (lambda: hook.upsert("nope", []), lambda: hook.ingest("docs", [], db_name="nope")):
        with pytest.raises(e.NotFoundError, match="nope"):
            call()
    with pytest.raises(e.UnsupportedCollectionError, match="autoID off"):
        hook.upsert(make(KEY, VECTOR, TEXT, auto_id=True), entity(1))
    wrong = target.address.connection() | {"login": "root", "password": "hunter2-wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps(wrong))
    for call in (lambda: MilvusRestHook("wrong").upsert("docs", entity(1)), MilvusRestHook("wrong").list_collections):
        with pytest.raises(e.NotAuthenticatedError) as caught:
            call()
        assert "hunter2" not in str(caught.value)


def test_values_are_stored_as_given(hook: MilvusRestHook, make: Callable[..., str], target: Target) -> None:
    """Those that the API changes when they are posted as Python writes them, too."""
    scalars = ("Int8", "Int16", "Int32", "Int64", "Bool", "Float", "Double")
    name = make(KEY, VECTOR, TEXT, *(Field(kind, kind) for kind in scalars), dynamic=True)
    single = float(np.float32(0.1))
    values: list[dict[str, Any]] = [
        {
            "Int8": -128,
            "Int16": 32_767,
            "Int32": -(2**31),
            "Int64": 2**53 + 1,
            "Bool": False,
            "Float": single,
            "Double": 5e-324,
        },
        {
            "Int8": 127,
            "Int16": -32_768,
            "Int32": 2**31 - 1,
            "Int64": -(2**63),
            "Bool": True,
            "Float": 1.0,
            "Double": 1e22,
        },
        {
            "tiny": 1e-7,
            "huge": 1e22,
            "big": 2**63 - 1,
            "nested": {"a": [1.5, None, True, "x"], "b": 2**53},
            "text": "é\0\u2028",
        },
        {"vector": [single, float(np.float32(1e-45)), -0.0, float(np.float32(3.4e38))], "yes": True, "list": [[], {}]},
    ]
    whole = dict.fromkeys(scalars[:4], 1) | {"Bool": True, "Float": 0.5, "Double": 0.5}
    rows = [entity(key) | whole | value for key, value in enumerate(values)]
    hook.upsert(name, [*rows[:-1], rows[-1] | {"gone": None}])  # a null is no dynamic field
    assert target.rows(name) == dict(enumerate(rows))
    for field, value in (
        ("Int8", 300),
        ("Bool", 1),
        ("text", 5),
        ("vector", [1.0, None, 0.5, 0.5]),
        ("$meta", None),
        ("$meta", {}),
    ):
        with pytest.raises(e.RowError, match=f"'{field}'".replace("$", r"\$")):
            hook.upsert(name, rows[0] | {field: value})
    assert target.rows(name) == dict(enumerate(rows))


def test_a_retry_after_a_503_and_after_a_timeout_that_hid_a_write(
    target: Target, make: Callable[..., str], between: ScriptedServer
) -> None:
    """Counts stay true, and nothing is stored twice."""

    def hidden(request: Request) -> Reply:
        forward(target, request)
        return Reply({"code": 10001, "message": "request timeout"}, 408)

    name, path = make(), UPSERTS[target.address.api_version]
    between.script(path, Reply("no upstream", 503), hidden, Reply("timeout", 408), lambda r: forward(target, r))
    hook = MilvusRestHook()
    report = hook.ingest(name, [entity(key) for key in range(10)], concurrency=1)
    assert (report.upsert_count, report.request_count, report.retry_count) == (10, 4, 3)
    assert target.rows(name) == {key: entity(key) for key in range(10)}
    between.script(path, hidden)
    report = IngestReport()
    with pytest.raises(e.NotReadyError, match="HTTP 408"):
        hook.ingest(name, [entity(10)], retry_budget=0, report=report)
    assert (report.upsert_count, report.unconfirmed_count) == (0, 1)
    assert target.rows(name)[10] == entity(10)
    hook.close()


def test_partitions(hook: MilvusRestHook, make: Callable[..., str], target: Target, between: ScriptedServer) -> None:
    name = make(partitions=("p1",))
    between_hook = MilvusRestHook()
    if target.address.api_version == "v1":
        for call in (
            lambda: between_hook.upsert(name, entity(1), partition_name="p1"),
            lambda: between_hook.ingest(name, [entity(1)], partition_name="p1"),
        ):
            with pytest.raises(e.InputError, match="REST v1 writes only into the default partition"):
                call()
        assert between.requests == []
        return
    hook.upsert(name, entity(1, "default"))
    hook.upsert(name, entity(1), partition_name="p1")
    upsert = MilvusRestUpsertOperator(
        task_id="upsert", collection_name=name, entities=[entity(2), entity(3)], partition_name="p1"
    )
    assert upsert.execute({})["upsert_count"] == 2
    assert target.rows(name, "p1") == {key: entity(key) for key in (1, 2, 3)}
    assert target.rows(name, "_default") == {1: entity(1, "default")}
    with pytest.raises(e.NotFoundError, match="partition not found"):
        hook.ingest(name, [entity(4)], partition_name="p2")
    keyed = make(KEY, VECTOR, TEXT, Field("part", "Int64", partition_key=True))
    with pytest.raises(e.InputError, match="the partition key 'part' decides"):
        hook.ingest(keyed, [entity(4) | {"part": 1}], partition_name="_default")
    assert hook.upsert(keyed, entity(4) | {"part": 1}).upsert_count == 1
    with pytest.raises(e.InputError, match="partition_name must be a non-empty str"):
        hook.upsert(name, entity(1), partition_name="")


# -- what only newer versions have: contract servers alone ----------------------------------------------------------


def test_switching_the_api_version_changes_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same operator, with another word in the connection."""
    found, paths = [], []
    rows = [entity(n % 60, f"row {n}") for n in range(100)] + [entity(7) | {"text": 5}, entity(8) | {"vector": [1]}]
    upsert = MilvusRestUpsertOperator(
        task_id="upsert",
        collection_name="docs",
        entities=rows,
        batch_size=30,
        on_reject="skip",
        rejects_path=tmp_path,
        return_ids=True,
    )
    for api_version in ("v1", "v2"):
        with ContractServer("2.6.x", auth=TOKEN) as server:
            server.create_collection("docs", KEY, VECTOR, TEXT)
            connection = {"conn_type": "milvus_rest", "host": server.url, "login": "root", "password": PASSWORD}
            monkeypatch.setenv(CONNECTION, json.dumps(connection | {"extra": {"api_version": api_version}}))
            outputs = upsert.execute({})
            rejects = [json.loads(line)["$reject"] for line in Path(outputs["rejects_path"]).read_text().splitlines()]
            for name in ("rejects_path", "duration_seconds"):
                outputs.pop(name)
            upsert.hook.close()
            found.append((outputs, rejects, server.rows("docs")))
            paths.append({request.path.partition("?")[0] for request in server.requests})
    assert found[0] == found[1]
    assert found[0][0]["upsert_count"] + found[0][0]["duplicate_count"] == 100
    assert paths == [{UPSERTS["v1"], OTHERS[0]}, {UPSERTS["v2"], OTHERS[2]}]


def client_of(
    server: ContractServer, monkeypatch: pytest.MonkeyPatch, api_version: str, **extra: Any
) -> MilvusRestHook:
    connection = server.address(api_version).connection()
    monkeypatch.setenv(CONNECTION, json.dumps(connection | {"extra": {"api_version": api_version} | extra}))
    return MilvusRestHook()


NEWER: dict[str, tuple[Field, list[tuple[Any, Any]], list[Any]]] = {
    "2.4.x JSON": (
        Field("x", "JSON"),
        [(value, value) for value in ({"a": [1, 2.5, None, "é"]}, [], {}, [2**63 - 1, 1e-7], {"<": {"": True}})],
        ["text", 5, None, ..., {"a": float("nan")}, {"x": "y" * 65_536}],
    ),
    "2.3.x Array": (
        Field("x", "Array", {"max_capacity": 3}, element_type="Int8"),
        [([], []), ([1, -128, 127], [1, -128, 127])],
        [[128], [1, None], ["1"], [1.0], "[1]", None, ...],
    ),
    "2.4.x Array": (
        Field("x", "Array", {"max_capacity": 4, "max_length": 4}, element_type="VarChar"),
        [(["", "éé"], ["", "éé"])],
        [["ééé"], [1], [None]],
    ),
    "2.5.x Array": (
        Field("x", "Array", {"max_capacity": 4}, element_type="Float"),
        [([0.5, 3.0], [0.5, 3.0]), ([0.1], [float(np.float32(0.1))])],
        [[1e39], [None], [True]],
    ),
    "2.6.x Array": (
        Field("x", "Array", {"max_capacity": 4}, element_type="Bool"),
        [([True, False],) * 2],
        [[1], [None]],
    ),
    "2.4.x Float16Vector": (
        Field("x", "Float16Vector", {"dim": 2}),
        [
            ([0.5, 65504.0], halves("Float16Vector", [0.5, 65504.0])),
            (np.array([-0.0, 6e-8], np.float16), halves("Float16Vector", [-0.0, float(np.float16(6e-8))])),
            (b"\x00\x3c\x00\xbc", b"\x00\x3c\x00\xbc"),
        ],
        [[0.1, 0.5], [65520.0, 0.5], [float("nan"), 0.5], [0.5], b"\x00\x7c\x00\x00", "text", None],
    ),
    "2.6.x BFloat16Vector": (
        Field("x", "BFloat16Vector", {"dim": 2}),
        [
            ([1.0, 2.0**-130], halves("BFloat16Vector", [1.0, 2.0**-130])),
            ("gD+Avw==", b"\x80\x3f\x80\xbf"),
        ],
        [[1.00001, 0.5], [float("inf"), 0.5]],
    ),
    "master BinaryVector": (
        Field("x", "BinaryVector", {"dim": 16}),
        [(b"\x01\xff", b"\x01\xff"), ([0, 255], b"\x00\xff"), ("AAE=", b"\x00\x01")],
        [b"\x01", [256, 0], "AAEC", None],
    ),
    "2.3.x BinaryVector": (Field("x", "BinaryVector", {"dim": 16}), [(b"\x01\xff", b"\x01\xff")], []),
    "2.4.x SparseFloatVector": (
        Field("x", "SparseFloatVector"),
        [
            ({3: 0.5, 1: 2}, {1: 2.0, 3: 0.5}),
            ({"7": 0.1}, {7: float(np.float32(0.1))}),
            ({"indices": [2**32 - 2, 0], "values": [1.0, 0.0]}, {0: 0.0, 2**32 - 2: 1.0}),
            ({}, {}),
        ],
        [{1: -0.5}, {2**32 - 1: 1.0}, {-1: 1.0}, {"a": 1.0}, {1: None}, [0.5], None],
    ),
    "2.6.x Int8Vector": (
        Field("x", "Int8Vector", {"dim": 2}),
        [([-128, 127], [-128, 127]), (np.array([1, 2], np.int8), [1, 2])],
        [[128, 0], [1.0, 2], [1], "AAE=", None],
    ),
    "2.6.x nullable": (
        Field("x", "Int64", nullable=True),
        [(None, None), (..., None), (5, 5), (0, 0)],
        ["5", 5.0],
    ),
    "3.0.x nullable": (
        Field("x", "VarChar", {"max_length": 4}, nullable=True),
        [(None, None), (..., None), ("", "")],
        [5],
    ),
    "2.6.x default": (Field("x", "Int64", default=42), [(..., 42), (5, 5)], [None, "5"]),
}
"""A version and what is new in it; values and what is stored of them; values that are refused. ``...`` is left out."""


def with_x(key: int, value: Any) -> dict[str, Any]:
    return entity(key) if value is ... else entity(key) | {"x": value}


@pytest.mark.parametrize("api_version", ["v1", "v2"])
@pytest.mark.parametrize("case", NEWER)
def test_newer_types(case: str, api_version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    field, good, bad = NEWER[case]
    version, _, kind = case.partition(" ")
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, TEXT, field)
        hook = client_of(server, monkeypatch, api_version)
        rows = [with_x(key, value) for key, value in enumerate([given for given, _ in good] + bad)]
        file = tmp_path / "rejects.jsonl"
        report = hook.ingest("docs", rows, on_reject="skip", rejects_file=file)
        rejects = [json.loads(line)["$reject"] for line in file.read_text().splitlines()] if bad else []
        assert {reject["key"] for reject in rejects} == set(range(len(good), len(rows)))
        if (api_version, kind) != ("v1", "Array"):  # of which v1 does not tell the elements, so the server refuses some
            assert {(reject["field"], reject["code"]) for reject in rejects} <= {("x", None)}
        assert (report.upsert_count, report.rejected_count) == (len(good), len(bad))
        assert {key: row["x"] for key, row in server.rows("docs").items()} == {
            key: stored for key, (_, stored) in enumerate(good)
        }


@pytest.mark.parametrize("kind", ["Geometry", "Timestamptz", "ArrayOfStruct"])
def test_types_that_are_refused_by_name(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ContractServer("3.0.x") as server:
        server.create_collection("docs", KEY, VECTOR, Field("x", kind))
        hook = client_of(server, monkeypatch, "v2")
        with pytest.raises(e.UnsupportedCollectionError, match=f"field 'x' is of type {kind}"):
            hook.upsert("docs", entity(1))
        assert not server.rows("docs")


def test_what_a_function_writes_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("2.5.x", "master"):
        with ContractServer(version) as server:
            server.create_collection(
                "docs", KEY, VECTOR, TEXT, Field("bm25", "SparseFloatVector", function_output=True)
            )
            hook = client_of(server, monkeypatch, "v2")
            assert hook.upsert("docs", entity(1)).upsert_count == 1
            with pytest.raises(e.RowError, match="'bm25' is written by a function"):
                hook.upsert("docs", entity(1) | {"bm25": {1: 0.5}})


@pytest.mark.parametrize(
    ("version", "api_version", "failures"),
    [
        ("2.4.x", "v1", ["rate limit", "quota"]),
        ("3.0.x", "v1", ["rate limit", "quota", "503"]),
        ("2.4.x", "v2", ["rate limit", "quota", "timeout", "503"]),
        ("2.6.x", "v2", ["rate limit", "quota", "timeout", "503"]),
    ],
)
def test_limits_and_timeouts_pass(
    version: str, api_version: str, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limiter's doubled answers of v1, its 1807 of v2, and HTTP 408 for what was stored all the same."""
    with ContractServer(version) as server:
        server.create_collection("docs", KEY, VECTOR, TEXT)
        server.fail(*failures)
        report = client_of(server, monkeypatch, api_version).ingest("docs", [entity(1), entity(2)])
        assert (report.upsert_count, report.retry_count) == (2, len(failures))
        assert server.rows("docs") == {1: entity(1), 2: entity(2)}
        server.fail("rate limit")
        with pytest.raises(e.OverloadedError):
            client_of(server, monkeypatch, api_version).upsert("docs", entity(3))


@pytest.mark.parametrize(("read_timeout", "sent"), [(60, "60"), (7.9, "7"), (0.5, "1"), (86_400, "86400")])
def test_the_server_is_told_when_to_give_up(read_timeout: float, sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ContractServer("3.0.x") as server:
        server.create_collection("docs", KEY, VECTOR, TEXT)
        client_of(server, monkeypatch, "v2", read_timeout=read_timeout).upsert("docs", entity(1))
        assert [request.headers["Request-Timeout"] for request in server.requests] == [sent, sent]


def test_v2_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    with ContractServer("2.3.5") as server:
        with pytest.raises(e.WrongEndpointError, match=r"Milvus before 2\.3\.13 has no v2"):
            client_of(server, monkeypatch, "v2").list_collections()


def test_autoid_is_refused_where_v2_would_store_a_row_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Posted as it is, the same row twice is two rows from 2.4.17 on, so a retry would be a duplicate."""
    with ContractServer("2.6.x") as server:
        server.create_collection("docs", KEY, VECTOR, TEXT, auto_id=True)
        for _ in range(2):
            requests.post(server.url + UPSERTS["v2"], json={"collectionName": "docs", "data": [entity(1)]}, timeout=10)
        assert len(server.rows("docs")) == 2
        for api_version in UPSERTS:
            hook = client_of(server, monkeypatch, api_version)
            with pytest.raises(e.UnsupportedCollectionError, match="a retry would store it twice"):
                hook.ingest("docs", [entity(1)])
        assert len(server.rows("docs")) == 2


def test_a_retry_starts_over_when_partition_or_version_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint says where rows were written, too."""
    kept: dict[str, Any] = {}

    class Store:
        get, set = staticmethod(kept.get), staticmethod(kept.__setitem__)

        def delete(self, _: str) -> None:
            """So that the next run finds what this one has left."""

    with ContractServer("2.6.x") as server:
        server.create_collection("docs", KEY, VECTOR, TEXT, partitions=("p1",))
        resumed = []
        for api_version, partition in (("v2", "p1"), ("v2", "p1"), ("v2", None), ("v1", None), ("v2", "p1")):
            hook = client_of(server, monkeypatch, api_version)
            rows = [entity(key) for key in range(10)]
            checkpoint = Checkpoint(Store(), "source", lambda _: None)
            report = hook.ingest("docs", rows, partition_name=partition, checkpoint=checkpoint)
            resumed.append(report.resumed_count)
        assert resumed == [0, 10, 0, 0, 0]
