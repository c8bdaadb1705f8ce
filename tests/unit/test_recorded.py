"""What real servers have answered, put to the contract server of the same version: see ``tests/recorder.py``."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_milvus_rest.rest.dialects import DIALECTS
from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.contract_server import ContractServer, Field
from tests.recorder import Recorder, plain

FILES = sorted((Path(__file__).parents[1] / "recorded").glob("*.jsonl"))
LOGINS = {"right": "root:Milvus", "other": "root:Milvus", "wrong": "root:wrong", "none": ""}
READS = ("/get", "/query")


def events(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text().splitlines():
        yield json.loads(line)


def answers(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a body, one after the other; of anything else, its text."""
    found: list[dict[str, Any]] = []
    while text.strip():
        try:
            value, end = json.JSONDecoder().raw_decode(text.lstrip())
        except ValueError:
            value = None
        if not isinstance(value, dict):
            return [*found, {"text": text}]
        found.append(value)
        text = text.lstrip()[end:]
    return found


class Replay:
    """One recording, against one contract server."""

    def __init__(self, server: ContractServer, api_version: str) -> None:
        self.server, self.api_version = server, api_version
        self.agreed, self.differ, self.unknown = 0, list[str](), set[str]()

    def play(self, event: dict[str, Any]) -> None:
        if "create" in event:
            fields = [Field(**field) for field in event["fields"]]
            options = {"dynamic": event["enable_dynamic_field"], "auto_id": event["auto_id"]}
            self.server.create_collection(event["create"], *fields, **options, db_name=event.get("db", "default"))
        elif "drop" in event:
            self.server.drop_collection(event["drop"], event.get("db", "default"))
        elif "partition" in event:
            self.server.create_partition(event["partition"], event["name"])
        elif "alias" in event:
            self.server.create_alias(event["alias"], event["name"])
        elif "unknown" in event:
            self.unknown.add(event["unknown"])
        elif "rows" in event and event["rows"] not in self.unknown and "db" not in event:
            found = self.server.rows(event["rows"])
            here = [{name: plain(value) for name, value in row.items()} for row in found.values()]
            self.compare(f"rows of {event['rows']}", *(sorted(map(as_text, rows)) for rows in (here, event["found"])))
        elif "request" in event:
            self.request(event["request"], event["answer"])

    def request(self, request: dict[str, Any], answer: dict[str, Any]) -> None:
        token = LOGINS[request["login"]]
        headers = request["headers"] | ({"Authorization": f"Bearer {token}"} if token else {})
        self.server.milvus.forbidden = request["login"] == "other" and answer["status"] == 403
        body = base64.b64decode(request["base64"]) if "base64" in request else request["body"].encode()
        found = requests.request(
            request["method"], self.server.url + request["path"], headers=headers, data=body, allow_redirects=False
        )
        path = request["path"].partition("?")[0]
        here, there = answers(found.text), answers(answer["body"])
        if path.endswith(READS) and self.is_stale(request, here, there):
            return
        self.compare(
            f"{request['method']} {request['path']} {body[:300]!r}",
            (found.status_code, [self.essence(path, one) for one in here]),
            (answer["status"], [self.essence(path, one) for one in there]),
        )

    def is_stale(self, request: dict[str, Any], here: list[Any], there: list[Any]) -> bool:
        """Whether REST read what was there some seconds ago, as it may, or rows that were not recorded."""
        if any(name in request.get("body", "") for name in self.unknown):
            return True
        rows, newer = (one[0].get("data") if one else None for one in (there, here))
        return rows != newer and isinstance(rows, list) and isinstance(newer, list) and len(rows) < len(newer)

    def essence(self, path: str, answer: dict[str, Any]) -> Any:
        """What counts of an answer: code and data; of a description, what this package reads of it."""
        data = answer.get("data")
        if path.endswith("/describe") and data:
            schema = DIALECTS[self.api_version].read_schema(data, "", None).model_dump()
            schema["fields_"] = sorted(schema["fields_"], key=lambda field: field["name"])
            data = schema | {"collection_id": None}
        elif path.endswith(("/collections", "/list")) and data:
            data = []  # also those of others
        return answer.get("code"), data, answer.get("text")

    def compare(self, what: str, here: Any, there: Any) -> None:
        self.agreed += here == there
        if here != there:
            self.differ.append(f"{what}\n   real {there!s:.600}\n   here {here!s:.600}")


def as_text(row: dict[str, Any]) -> str:
    """So that NaN equals NaN, and -0.0 does not equal 0.0."""
    return json.dumps(row, sort_keys=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_contract_server_agrees_with_what_was_recorded(file: Path, measured: Callable[[str], None]) -> None:
    first, *rest = events(file)
    with ContractServer(first["server"], auth=LOGINS["right"]) as server:
        replay = Replay(server, first["api_version"])
        for event in rest:
            replay.play(event)
    total = replay.agreed + len(replay.differ)
    measured(f"recorded from Milvus {first['server']}, {first['api_version']}: {replay.agreed} of {total} agree")
    assert not replay.differ, "\n".join(replay.differ)


def test_there_is_enough_of_2_3_5() -> None:
    recorded = [event for file in FILES for event in events(file) if file.stem.startswith("milvus-2.3.5")]
    assert sum("request" in event for event in recorded) >= 300
    assert sum("rows" in event for event in recorded) >= 20


def test_no_recording_has_credentials() -> None:
    for file in FILES:
        text = file.read_text().lower()
        assert "authorization" not in text
        assert "bearer" not in text
        assert "root:" not in text


def test_secrets_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # which would be in the file's name

    class Client:
        def get_server_version(self) -> str:
            return "v2.6.20"

    recorder = Recorder(tmp_path)
    with ContractServer("2.6.20", auth="bob:hunter2") as server:
        address = MilvusAddress(server.url, "bob:hunter2", api_version="v2")
        recorder.know(address, Client())  # type: ignore[arg-type]
        for token in ("bob:hunter2", "bob:nope", ""):
            headers = {"Authorization": f"Bearer {token}", "Accept-Type-Allow-Int64": "true"} if token else {}
            body = json.dumps({"collectionName": "bob:hunter2", "data": [{"text": "hunter2"}]})
            answer = requests.post(f"{server.url}/v2/vectordb/entities/upsert", data=body, headers=headers)
            recorder.request(answer.url, "POST", headers, body, answer, answer.text, token=token)
        recorder.request("http://elsewhere/v2/vectordb/entities/upsert", "POST", {}, "{}", answer, "", token="")
    (file,) = tmp_path.iterdir()
    assert file.name == "milvus-2.6.20-v2.jsonl"
    assert "hunter2" not in file.read_text()
    server_line, *recorded = events(file)
    assert server_line == {"server": "2.6.20", "api_version": "v2"}
    assert [event["request"]["login"] for event in recorded] == ["right", "wrong", "none"]
    assert recorded[0]["request"]["headers"] == {"Accept-Type-Allow-Int64": "true"}
    assert [event["answer"]["status"] for event in recorded] == [200, 401, 401]


def test_a_replay_notices_what_differs() -> None:
    with ContractServer("2.3.5", auth=LOGINS["right"]) as server:
        replay = Replay(server, "v1")
        request = {"method": "POST", "path": "/v1/vector/upsert", "headers": {}, "login": "right", "body": "{}"}
        replay.play({"request": request, "answer": {"status": 200, "body": '{"code":1802,"message":"x"}'}})
        replay.play({"request": request, "answer": {"status": 200, "body": '{"code":1801,"message":"x"}'}})
        replay.play({"request": request | {"login": "none"}, "answer": {"status": 200, "body": '{"code":1802}'}})
    assert (replay.agreed, len(replay.differ)) == (1, 2)
