"""A server that reads upserts and acknowledges them at once, to measure the client alone.

    python benchmarks/sink.py    prints its URL; ends when its standard input does

It describes every collection as the one of ``data.py``, and reads the keys from the beginning of the rows.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from data import DIM

FIELDS = [
    {"name": "id", "type": "Int64", "primaryKey": True},
    {"name": "title", "type": "VarChar(200)", "primaryKey": False},
    {"name": "vector", "type": f"FloatVector({DIM})", "primaryKey": False},
]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer({"enableDynamicField": False, "fields": FIELDS})

    def do_POST(self) -> None:
        rows = self.rfile.read(int(self.headers["Content-Length"])).split(b'{"id":')[1:]
        self._answer({"upsertCount": len(rows), "upsertIds": [int(row[: row.index(b",")]) for row in rows]})

    def _answer(self, data: object) -> None:
        body = json.dumps({"code": 200, "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
