"""An HTTP proxy before a real Milvus that spoils upserts in every way a network and a server can."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import Any

import requests

from tests.servers import UPSERT, UPSERT_V2

STALL_SECONDS = 1.5
CODES = {"code 1": 1, "code 8": 8, "code 9": 9, "code 1807": 1807}
STATUSES = {"408": 408, "429": 429, "502": 502, "503": 503, "504": 504}
KINDS = (
    *("refused", "reset before", "reset after", "stall", "truncated", "empty 200", "html", "glued"),
    *(*STATUSES, *CODES),
)


class FaultProxy:
    """Passes requests on, and spoils a ``share`` of the upserts; each of :data:`KINDS` comes as often."""

    def __init__(self, upstream: str, share: float, seed: int) -> None:
        self._upstream = upstream
        self._share = share
        self._rng = random.Random(seed)
        self._next: list[str] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = True
        self.injected: Counter[str] = Counter()
        self.upserts = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._listener.shutdown(socket.SHUT_RDWR)  # else accept() would go on waiting
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while self._open:
            try:
                connection, address = self._listener.accept()
            except OSError:
                time.sleep(0.01)
                continue
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        try:
            _Handler(connection, address, self)  # type: ignore[arg-type]
        except OSError:
            pass
        finally:
            connection.close()

    def fault(self) -> str | None:
        """What becomes of the next upsert."""
        with self._lock:
            self.upserts += 1
            if self._rng.random() >= self._share:
                return None
            if not self._next:
                self._next = self._rng.sample(KINDS, len(KINDS))
            kind = self._next.pop()
            self.injected[kind] += 1
            return kind

    def refuse(self, seconds: float) -> None:
        """Listen no more for a while."""
        with self._lock:
            address = self._listener.getsockname()
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            time.sleep(seconds)
            self._listener = socket.create_server(address)

    def forward(self, method: str, path: str, headers: Any, body: bytes) -> requests.Response:
        kept = {name: value for name, value in headers.items() if name.lower() not in ("host", "connection")}
        return requests.request(method, self._upstream + path, headers=kept, data=body, timeout=60)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def _answer(self) -> None:
        proxy: FaultProxy = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = proxy.fault() if self.path in (UPSERT, UPSERT_V2) else None
        if kind == "refused":
            self._cut()
            proxy.refuse(0.4)
        elif kind == "reset before":
            self._cut()
        elif kind in STATUSES:
            self._send(STATUSES[kind], b"no", {"Retry-After": "0"} if kind == "429" else {})
        elif kind in CODES:
            self._send(200, b'{"code": %d, "message": "injected"}' % CODES[kind])
        elif kind == "empty 200":
            self._send(200, b"")
        elif kind == "html":
            self._send(200, b"<html><body>gateway</body></html>")
        elif kind == "glued":
            self._send(200, b'{"code": 8, "message": "rate limit"}{"code": 8, "message": "rate limit"}')
        else:
            answer = proxy.forward(self.command, self.path, self.headers, body)
            if kind == "reset after":
                self._cut()
            elif kind == "stall":
                time.sleep(STALL_SECONDS)
                self._cut()
            elif kind == "truncated":
                self._send(200, answer.content, cut=len(answer.content) // 2)
            else:
                self._send(answer.status_code, answer.content)

    do_GET = do_POST = _answer  # noqa: N815

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self._cut()

    def _cut(self) -> None:
        """Reset the connection, rather than close it."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass
