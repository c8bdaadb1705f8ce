"""Writes down what a real Milvus answers, so that the contract server can be held against it afterwards.

With ``MILVUS_REST_TEST_RECORD=folder``, each request of the integration tests to a real server becomes a line of
``folder/milvus-VERSION-API.jsonl``, with its answer; so do collections, as pymilvus makes them, and rows, as it reads
them. Lines are JSON, with one of these keys:

- ``server``: the version, and the version of the API; the first line.
- ``create``, ``drop``, ``partition``, ``alias``: what pymilvus was asked to do, by the collection's name; ``db`` if it
  is in a database other than the default one.
- ``request`` (with ``answer``): method, path, what was asked for by headers, and the body. Credentials are left out:
  ``login`` says whether those of the server were sent, ``"none"``, ``"wrong"`` ones or those of an ``"other"`` user.
- ``rows``: all rows of a collection, as a query with strong consistency found them.
- ``unknown``: a collection into which more was written than is written down, so that nothing can be said of its rows.

``tests/unit/test_recorded.py`` replays them.
"""

import base64
import functools
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest.rest.dialects import Call
from airflow_provider_milvus_rest.rest.transport import Transport
from airflow_provider_milvus_rest.testing import MilvusAddress

MAX_BODY = 20_000
EVERY_KEY = re.compile(r'\w+ >= ""|(\w+) >=? (-1|0) or \1 < 0')
HEADERS = ("Accept-Type-Allow-Int64", "Request-Timeout", "DB-Name")
COLLECTION = re.compile(rb'"collectionName"\s*:\s*"([^"]*)"')
TYPES = {kind: "".join(word.capitalize() for word in kind.name.split("_")) for kind in DataType}
TYPES |= {DataType.VARCHAR: "VarChar", DataType.JSON: "JSON", DataType.BFLOAT16_VECTOR: "BFloat16Vector"}
"""Milvus's names of pymilvus's types."""


class Recorder:
    """One file for each server version and API version, written anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[str, tuple[MilvusAddress, Path]] = {}
        self._files: set[Path] = set()
        self._lock = threading.Lock()

    def install(self) -> None:
        """Listen to the package, to ``requests`` and to pymilvus, for the rest of the process."""
        recorder = self

        def after(owner: type, name: str, note: Callable[..., None]) -> None:
            real = getattr(owner, name)

            @functools.wraps(real)
            def wrapper(self: Any, *arguments: Any, **keywords: Any) -> Any:
                done = real(self, *arguments, **keywords)
                note(self, done, *arguments, **keywords)
                return done

            setattr(owner, name, wrapper)

        def client_made(address: MilvusAddress, client: MilvusClient, db_name: str = "") -> None:
            recorder.know(address, client)
            client.recorded_as = address.uri, db_name  # type: ignore[attr-defined]

        def called(transport: Transport, answer: tuple[requests.Response, str], call: Call) -> None:
            url = requests.Request(call.method, transport._settings.base_url + call.path, params=call.params).prepare()
            token = transport._settings.token
            recorder.request(
                str(url.url), call.method, transport._session.headers, call.body, *answer,
                token=token.get_secret_value() if token else "",
            )  # fmt: skip

        def requested(
            _: requests.Session, answer: requests.Response, method: str, url: str, *, stream: bool = False, **more: Any
        ) -> None:
            if not stream:  # the package's own requests are noted above
                headers = more.get("headers") or {}
                data = more["json"] if "json" in more else more.get("data")
                body = data if isinstance(data, (bytes, str, type(None))) else json.dumps(data)
                token = str(headers.get("Authorization", "")).removeprefix("Bearer ")
                if token.startswith("Basic "):
                    token = base64.b64decode(token[6:]).decode()
                recorder.request(url, method, headers, body, answer, answer.text, token=token)

        after(MilvusAddress, "client", client_made)
        after(Transport, "send", called)
        after(requests.Session, "request", requested)
        notes: dict[str, Callable[..., None]] = {
            "create_collection": lambda client, _, name, *__, **___: recorder.created(client, name),
            "drop_collection": lambda client, _, name, **__: recorder.note(client, {"drop": name}),
            "create_partition": lambda client, _, name, partition, **__: recorder.note(
                client, {"partition": name, "name": partition}
            ),
            "create_alias": lambda client, _, name, alias, **__: recorder.note(client, {"alias": name, "name": alias}),
            "query": lambda client, rows, name, **asked: recorder.found(client, rows, name, **asked),
        }
        for name, note in notes.items():
            after(MilvusClient, name, note)

    def know(self, address: MilvusAddress, client: MilvusClient) -> None:
        """Record what is sent to this server from now on."""
        version = re.sub(r"[^\w.-]+", "_", client.get_server_version().removeprefix("v"))
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        file = self._folder / f"milvus-{version}-{address.api_version}{worker and '-'}{worker}.jsonl"
        self._servers[address.uri] = address, file
        if file not in self._files:
            self._files.add(file)
            self._folder.mkdir(parents=True, exist_ok=True)
            file.write_text("")
            self._write(file, {"server": version, "api_version": address.api_version})

    def note(self, client: Any, event: dict[str, Any]) -> None:
        """Write down what pymilvus has done."""
        uri, db_name = getattr(client, "recorded_as", ("", ""))
        if known := self._servers.get(uri):
            self._write(known[1], event | ({"db": db_name} if db_name else {}))

    def created(self, client: MilvusClient, name: str) -> None:
        described = client.describe_collection(name)
        fields = [
            {
                "name": field["name"],
                "type": TYPES[field["type"]],
                "params": {key: int(value) for key, value in field.get("params", {}).items() if str(value).isdecimal()},
                "primary": field.get("is_primary", False),
                "nullable": field.get("nullable", False),
                "element_type": TYPES[field["element_type"]] if field.get("element_type") else None,
                "partition_key": field.get("is_partition_key", False),
                "function_output": field.get("is_function_output", False),
            }
            for field in described["fields"]
        ]
        fields = [{key: value for key, value in field.items() if value} for field in fields]
        names = ("auto_id", "enable_dynamic_field")
        self.note(client, {"create": name, "fields": fields, **{key: bool(described.get(key)) for key in names}})

    def found(self, client: Any, rows: Any, name: str, **asked: Any) -> None:
        everything = asked.get("output_fields") == ["*"] and not asked.get("partition_names")
        everything = everything and EVERY_KEY.fullmatch(asked.get("filter", "")) is not None
        if everything and asked.get("consistency_level") == "Strong":
            event = {"rows": name, "found": [{key: plain(value) for key, value in row.items()} for row in rows]}
            if len(json.dumps(event)) < MAX_BODY:
                self.note(client, event)

    def request(
        self, url: str, method: str, headers: Any, body: Any, answer: requests.Response, text: str, token: str
    ) -> None:
        """Write down a request to a server that is known, and its answer."""
        uri = next((uri for uri in self._servers if url.startswith(uri + "/")), None)
        if uri is None:
            return
        address, file = self._servers[uri]
        content = body.encode() if isinstance(body, str) else body or b""
        if len(content) + len(text) > MAX_BODY:
            if path_ends_with_upsert(url) and (match := COLLECTION.search(content[:500])):
                self._write(file, {"unknown": match[1].decode()})
            return
        login = "right" if token == address.token else "none" if not token else "other"
        login = "wrong" if login == "other" and answer.status_code == 401 else login
        request = {
            "method": method,
            "path": url.removeprefix(uri),
            "headers": {name: str(headers[name]) for name in HEADERS if name in headers},
            "login": login,
        }
        try:
            request["body"] = content.decode()
        except UnicodeDecodeError:
            request["base64"] = base64.b64encode(content).decode()
        self._write(file, {"request": request, "answer": {"status": answer.status_code, "body": text}})

    def _write(self, file: Path, event: dict[str, Any]) -> None:
        line = json.dumps(event)
        for address, _ in self._servers.values():
            for secret in (address.token, address.token.partition(":")[2]):
                if secret not in ("", "Milvus"):  # Milvus's own default password
                    line = line.replace(secret, "***")
        with self._lock, file.open("a", encoding="utf-8") as out:
            out.write(line + "\n")


def path_ends_with_upsert(url: str) -> bool:
    return url.partition("?")[0].endswith("/upsert")


def plain(value: Any) -> Any:
    """A value that pymilvus returned, as JSON has it."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        value = b"".join(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): plain(member) for key, member in value.items()}
    return value
