"""Local HTTP servers that answer what a healthy Milvus does not."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import Self

DESCRIBE = "/v1/vector/collections/describe"
UPSERT = "/v1/vector/upsert"
GET = "/v1/vector/get"
UPSERT_V2 = "/v2/vectordb/entities/upsert"
COLLECTIONS = "/v1/vector/collections"


@dataclass
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What to answer; ``body`` is sent as it is if bytes or str, else as JSON. ``before`` runs first."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def described(key: str = "Int64", *, auto_id: bool = False) -> Reply:
    """Milvus 2.3.5's answer to describe, for a collection with a key, a vector of 4 and a text."""
    fields = [
        {"autoId": auto_id, "description": "", "name": "id", "primaryKey": True, "type": key},
        {"autoId": False, "description": "", "name": "vector", "primaryKey": False, "type": "FloatVector(4)"},
        {"autoId": False, "description": "", "name": "text", "primaryKey": False, "type": "VarChar(64)"},
    ]
    data = {"collectionName": "docs", "enableDynamicField": False, "fields": fields, "load": "LoadStateLoaded"}
    return Reply({"code": 200, "data": data})


def accept(request: Request) -> Reply:
    """Milvus's answer to an upsert that it accepts."""
    data = request.json["data"]
    ids = [row["id"] for row in (data if isinstance(data, list) else [data])]
    return Reply({"code": 200, "data": {"upsertCount": len(ids), "upsertIds": ids}})


def find(request: Request) -> Reply:
    """Milvus's answer to get: as if all rows that are asked for were there."""
    return Reply({"code": 200, "data": [{"id": key} for key in request.json["id"]]})


class LocalServer:
    """Serves HTTP on a port of its own as long as the context lasts; ``handler`` and ``server`` are http.server's."""

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], server: type[ThreadingHTTPServer] = ThreadingHTTPServer
    ) -> None:
        self._server = server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class RawServer:
    """Gives each connection to ``serve``, in a thread of its own, and closes it afterwards.

    :param context: TLS, if it is to have it.
    """

    def __init__(self, serve: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                # Else a close with unread data may drop what waits for an acknowledgement to be sent.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                self._serve(connection)


class ScriptedServer(LocalServer):
    """Answers each path with the next of its scripted replies, the last one again and again; keeps the requests.

    A reply may be a function of the request. Out of the box it describes ``docs``, accepts every upsert and finds each
    key.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._script: dict[str, list[Reply | Callable[[Request], Reply]]] = {
            DESCRIBE: [described()],
            UPSERT: [accept],
            GET: [find],
            COLLECTIONS: [Reply({"code": 200, "data": ["docs"]})],
        }
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer may wait 40 ms for the client's acknowledgement

            def _answer(self) -> None:
                path, _, query = self.path.partition("?")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, path, query, dict(self.headers), body)
                outer.requests.append(request)
                script = outer._script.get(path) or [Reply("404 page not found", 404)]
                reply = script.pop(0) if len(script) > 1 else script[0]
                if not isinstance(reply, Reply):
                    reply = reply(request)
                reply.before()
                content = reply.encoded()
                self.send_response(reply.status)
                for name, value in ({"Content-Length": str(len(content))} | reply.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that went away is what some tests are about."""

        super().__init__(Handler, Server)

    def script(self, path: str, *replies: Reply | Callable[[Request], Reply]) -> None:
        self._script[path] = list(replies)

    def sent_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]
