"""How far the contract server can be trusted: at 2.3.5, it and the real server answer the same requests."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from airflow_provider_milvus_rest.testing import LocalMilvus
from airflow_provider_milvus_rest.testing.local_milvus import TOKEN
from tests.contract_server import ContractServer, Field
from tests.targets import create, rows_of

MISSING = object()
UPSERT, GET, QUERY = "/v1/vector/upsert", "/v1/vector/get", "/v1/vector/query"
LIST, DESCRIBE = "/v1/vector/collections", "/v1/vector/collections/describe"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
SESSION = requests.Session()
NUMBERS = {"Accept-Type-Allow-Int64": "true"}
SCALARS = ("Int8", "Int16", "Int32", "Int64", "Bool", "Float", "Double")

KEY, VECTOR = Field("key", "Int64", primary=True), Field("vector", "FloatVector", {"dim": 2})
COLLECTIONS: dict[str, tuple[list[Field], dict[str, bool]]] = {
    "typed": (
        [KEY, VECTOR, *(Field(kind, kind) for kind in SCALARS), Field("VarChar", "VarChar", {"max_length": 8})],
        {"dynamic": True},
    ),
    "plain": ([KEY, VECTOR, Field("text", "VarChar", {"max_length": 8})], {}),
    "named": (
        [Field("key", "VarChar", {"max_length": 8}, primary=True), Field("bits", "BinaryVector", {"dim": 16})],
        {},
    ),
    "twice": ([KEY, VECTOR, Field("text", "VarChar", {"max_length": 8})], {}),
    "json": ([KEY, VECTOR, Field("x", "JSON")], {}),
    "array": ([KEY, VECTOR, Field("x", "Array", {"max_capacity": 4}, element_type="Int64")], {}),
    "auto": ([KEY, VECTOR], {"auto_id": True}),
    "parted": ([KEY, VECTOR, Field("part", "Int64", partition_key=True)], {}),
}
WHOLE = (
    {"vector": [0.5, 0.5], "VarChar": "x", "Bool": True}
    | dict.fromkeys(SCALARS[:4], 1)
    | dict.fromkeys(SCALARS[5:], 0.5)
)
VALUES: dict[str, list[Any]] = {
    "Int8": [
        127,
        128,
        300,
        -129,
        "5",
        "010",
        "0x10",
        "5.0",
        "+5",
        " 5",
        5.0,
        5.5,
        1e2,
        True,
        None,
        MISSING,
        "",
        "x",
        [1],
        {"a": 1},
        2**63,
        2**64,
    ],
    "Int16": [40_000, -32_768, "7"],
    "Int32": [2**31, -(2**31), 2**32 + 5],
    "Int64": [2**53 + 1, "9007199254740993", 2**63 - 2, -(2**63), 2**63, "0x10", "010", 5.0, 5.5, 1e3, "1e3", None],
    "Bool": [True, False, 1, 0, 2, "T", "TRUE", "true", "yes", "", None, MISSING, 1.0, 0.5],
    "Float": [
        0.1,
        1e-45,
        1e-60,
        3.5e38,
        -0.0,
        16_777_217,
        "1.5",
        "NaN",
        "Infinity",
        "-inf",
        "1e400",
        "x",
        "",
        True,
        None,
    ],
    "Double": [0.1, 5e-324, 1e22, 2**53 + 1, "1.5", "NaN", "1e400", None, MISSING],
    "VarChar": ["é" * 4, "é" * 5, "", "\0", "\u2028<&>", 5, 1.5, 1e22, True, None, MISSING, {"a": 1}, [1, 2]],
    "vector": [
        [1, 2],
        [0.1, 1e-60],
        [1, None],
        ["2", 1],
        [True, 1],
        [1, 2, 3],
        [1],
        [],
        None,
        MISSING,
        "[1,2]",
        5,
        [1e300, 1],
        [[1, 2], 3],
        [{}, 3],
        {"a": 1},
    ],
    "dynamic": [
        1e-7,
        -1e-5,
        1e22,
        1e16,
        2**64,
        2**63 - 1,
        2**53 + 1,
        1.5,
        1.0,
        -0.0,
        0,
        True,
        None,
        "x",
        "",
        [1, 2**53 + 1],
        {"x": 2**53 + 1},
        {"x": 1.5},
        [1.0, None, "a", [True]],
        {},
        [],
    ],
    "$meta": [{"a": 1}],
    "key": ["77", "0x4f", 5.5, None, MISSING, True],
}
"""What is put into a field of a row that is in order otherwise."""


@dataclass
class Case:
    """A request; ``body`` is sent as JSON unless it is text. ``stored``: the collection and keys to compare."""

    path: str
    body: Any = None
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: AUTH)
    stored: tuple[str, list[Any]] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body!r:.200} {self.headers if self.headers != AUTH else ''}"

    def send(self, url: str) -> tuple[Any, ...]:
        """HTTP status and, of each JSON object in the body, its code and data; of anything else, the text."""
        data = (
            self.body
            if isinstance(self.body, (str, bytes))
            else json.dumps(self.body)
            if self.body is not None
            else None
        )
        answer = SESSION.request(
            self.method, url + self.path, data=data, headers=self.headers, allow_redirects=False, timeout=10
        )
        found, text = [], answer.text
        while text.strip():
            try:
                value, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                return answer.status_code, text
            if not isinstance(value, dict):
                return answer.status_code, text
            content = value.get("data")
            found.append(
                (value["code"], sorted(content) if self.path.partition("?")[0] == LIST and content else content)
            )
            text = text[end:]
        return answer.status_code, found


def upserts() -> Iterator[Case]:
    number = 100
    for name, values in VALUES.items():
        for value in values:
            number += 1
            row = {"key": number} | WHOLE | {name: value}
            body = {"collectionName": "typed", "data": [{n: v for n, v in row.items() if v is not MISSING}]}
            yield Case(UPSERT, body, stored=("typed", [number, 77, 79, 0, 1]))
    for raw in (
        "9007199254740993.0",
        "1.50",
        "1E2",
        "-0",
        "1e400",
        "NaN",
        "-Infinity",
        "1e-400",
        "01",
    ):  # as no json.dumps writes them
        number += 1
        row = json.dumps({"key": number} | WHOLE)[:-1]
        yield Case(UPSERT, f'{{"collectionName": "typed", "data": {row}, "more": {raw}}}}}', stored=("typed", [number]))
    good = {"vector": [0.5, 0.25], "text": "x"}
    rows: list[Any] = [
        [{"key": 1} | good, {"key": 2} | good],
        {"key": 3} | good,
        [{"key": 5} | good, {"key": 6} | good | {"text": "much too long"}],
        [{"key": 7} | good, {"key": 8} | good | {"vector": [1]}],
        [{"key": 1} | good | {"text": "again"}],
        [{"key": 9} | good | {"extra": 1}],
        [{"key": 10, "text": "x"}],
        [{"key": 11} | good | {"$meta": {"a": 1}}],
    ]
    for data in rows:
        yield Case(
            UPSERT,
            {"collectionName": "plain", "data": data, "partitionName": "nope"},
            stored=("plain", list(range(1, 12))),
        )
    for number, header in enumerate(("true", "false", "1", "junk"), 20):
        body = {"collectionName": "plain", "data": {"key": number} | good}
        yield Case(UPSERT, body, headers=AUTH | {"Accept-Type-Allow-Int64": header}, stored=("plain", [number]))
    for number, (name, value) in enumerate(
        (("dbName", None), ("dbName", "default"), ("dbName", ""), ("dbName", "nope"), ("dbName", 5)), 30
    ):
        yield Case(
            UPSERT, {"collectionName": "plain", "data": {"key": number} | good, name: value}, stored=("plain", [number])
        )
    bits: list[Any] = [[1, 255], [256, -1], "AAE=", [1], [1, 2, 3], [1.7, 2], ["1", 2], [None, 2], None]
    for index, value in enumerate(bits):
        yield Case(
            UPSERT,
            {"collectionName": "named", "data": {"key": f"b{index}", "bits": value}},
            stored=("named", [f"b{index}"]),
        )
    for value in ("", 5, None, MISSING, "é" * 5, {"a": 1}):
        row = {"bits": [1, 2]} | ({} if value is MISSING else {"key": value})
        yield Case(UPSERT, {"collectionName": "named", "data": row}, stored=("named", ["", "5", '{"a": 1}']))
    # In a collection of their own: beside them, 2.3.5 hides as many other rows from a query by a range of keys.
    twice = [{"key": 4} | good, {"key": 4} | good | {"text": "second"}, {"key": 4} | good | {"text": "third"}]
    yield Case(UPSERT, {"collectionName": "twice", "data": twice}, stored=("twice", [4]))
    for name in ("json", "array"):
        for value in ({"a": 1}, [1], None):
            yield Case(
                UPSERT, {"collectionName": name, "data": {"key": 1, "vector": [1, 2], "x": value}}, stored=(name, [1])
            )
    for row in ({"vector": [1, 2]}, {"key": 1, "vector": [1, 2]}, {"vector": [1]}):
        yield Case(UPSERT, {"collectionName": "auto", "data": row})
    yield Case(
        UPSERT, {"collectionName": "parted", "data": {"key": 1, "part": 1, "vector": [1, 2]}}, stored=("parted", [1])
    )


def others() -> Iterator[Case]:
    for body in (
        *(
            "",
            " ",
            "x",
            "[]",
            "5",
            '"x"',
            "null",
            '{"collectionName": "plain", "data": [',
            '{"collectionName": "plain"} x',
        ),
        *(
            {},
            {"collectionName": "plain"},
            {"data": [{}]},
            {"collectionName": "", "data": [{}]},
            {"collectionName": "nope", "data": [{}]},
        ),
        *({"collectionName": 5, "data": [{}]}, {"collectionName": None, "data": [{}]}),
        *({"collectionName": "plain", "data": data} for data in ([], {}, [{}], None, 5, "x", [5], [[]], [None])),
        gzip.compress(b'{"collectionName": "plain", "data": [{"key": 1}]}'),
    ):
        yield Case(UPSERT, body)
    for path in (
        *(f"{DESCRIBE}?collectionName={name}" for name in (*COLLECTIONS, "nope", "")),
        *(DESCRIBE, f"{DESCRIBE}?collectionName=plain&dbName=nope", f"{DESCRIBE}?collectionName=plain&dbName=default"),
        *(LIST, f"{LIST}?dbName=nope", f"{LIST}?dbName=default", "/v1/vector/nope", UPSERT, f"{UPSERT}/"),
    ):
        yield Case(path, method="GET")
    for path in (f"{UPSERT}/", "/v2/vectordb/entities/upsert", "/v2/vectordb/collections/list", "/v1/vector"):
        yield Case(path, {})
    basic = base64.b64encode(TOKEN.encode()).decode()
    for header in (
        TOKEN,
        f"Basic {basic}",
        "Bearer root:wrong",
        "Bearer an-api-key",
        "Bearer ",
        f"bearer {TOKEN}",
        None,
    ):
        yield Case(LIST, method="GET", headers={"Authorization": header} if header else {})
        body = {"collectionName": "plain", "data": {"key": 90, "vector": [1, 2], "text": "x"}}
        yield Case(UPSERT, body, headers={"Authorization": header} if header else {}, stored=("plain", [90]))


def reads() -> Iterator[Case]:
    for id_ in (101, [101, 102], 999, "101", "x", [], 5.5):
        yield Case(GET, {"collectionName": "typed", "id": id_})
    for key in range(101, 240, 3):
        yield Case(GET, {"collectionName": "typed", "id": [key]}, headers=AUTH | NUMBERS)
    for body in (
        *(
            {"collectionName": "nope", "id": 1},
            {"id": 1},
            {"collectionName": "typed"},
            {"collectionName": "plain", "id": 1, "dbName": "nope"},
        ),
        {"collectionName": "typed", "id": 101, "outputFields": ["VarChar", "Int64"]},
        *({"collectionName": "named", "id": id_} for id_ in ("b0", ["b0"], 5)),
    ):
        yield Case(GET, body)
    for body in (
        {"collectionName": "typed", "filter": "key in [101, 102]"},
        {"collectionName": "typed", "filter": "key in [101, 102]", "outputFields": ["VarChar"]},
        {"collectionName": "named", "filter": 'key in ["b0", "b1", "x"]'},
        *({"collectionName": "typed"}, {"collectionName": "nope", "filter": "key in [1]"}),
    ):
        yield Case(QUERY, body)


@pytest.fixture(scope="module")
def real() -> Iterator[LocalMilvus]:
    """Always 2.3.5, whatever server the other tests use."""
    with LocalMilvus(auth=True) as server:
        yield server


def as_text(rows: dict[Any, dict[str, Any]]) -> dict[Any, str]:
    """Rows so that NaN equals NaN, and -0.0 does not equal 0.0."""
    return {key: repr({name: row[name] for name in sorted(row)}) for key, row in rows.items()}


@pytest.mark.own_server
def test_the_contract_server_answers_as_the_real_one(real: LocalMilvus, measured: Callable[[str], None]) -> None:
    client = real.client()
    agreed, differ, statuses = 0, [], set()
    with ContractServer("2.3.5", auth=TOKEN) as contract:
        for name, (fields, more) in COLLECTIONS.items():
            create(client, name, *fields, **more)
            contract.create_collection(name, *fields, **more)

        def compare(case: Case, found: Any, expected: Any) -> None:
            nonlocal agreed
            agreed += found == expected
            if found != expected:
                differ.append(f"{case}\n   real {expected}\n   here {found}")

        writes = [*upserts(), *others()]
        answers = [(case, case.send(contract.url), case.send(real.uri)) for case in writes]
        rows = {name: (as_text(rows_of(client, name, [])), as_text(contract.rows(name))) for name in COLLECTIONS}
        for case, here, there in answers:
            name, keys = case.stored or ("typed", [])
            expected, found = rows[name]
            compare(case, (here, [found.get(key) for key in keys]), (there, [expected.get(key) for key in keys]))
            statuses.add((there[0], there[1][0][0] if isinstance(there[1], list) and there[1] else None))
        unexpected = {name: set(found) ^ set(expected) for name, (expected, found) in rows.items()}
        until = time.monotonic() + 20  # REST reads with bounded staleness
        newest = Case(GET, {"collectionName": "typed", "id": max(rows["typed"][0])})
        while newest.send(real.uri)[1] == [(200, [])] and time.monotonic() < until:
            time.sleep(0.1)
        for case in reads():
            compare(case, case.send(contract.url), case.send(real.uri))
    total = agreed + len(differ)
    measured(f"the contract server at 2.3.5 and the real one agree on {agreed} of {total} requests (answer, row)")
    measured(f"HTTP statuses and codes among them: {sorted(statuses, key=str)}")
    assert not differ, "\n".join(differ)
    assert not any(unexpected.values()), unexpected
    assert agreed >= 80
