"""What sockets, TLS, proxies and forks do to a request."""

from __future__ import annotations

import base64
import gzip
import multiprocessing
import shutil
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.testing.certificates import Certificates
from tests.servers import COLLECTIONS, UPSERT, RawServer, Reply, ScriptedServer

ONE = UpsertRequest(collection_name="docs", data=b'{"id":1}')
ACCEPTED = b'{"code":200,"data":{"upsertCount":1,"upsertIds":[1]}}'
TLS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])


def client_of(url: str, **extra: Any) -> MilvusRestClient:
    if url.startswith("https:"):
        extra.setdefault("verify", False)
    return MilvusRestClient(ConnectionSettings.from_connection(host=url, extra=extra)[0])


def large(size: int) -> UpsertRequest:
    return UpsertRequest(collection_name="docs", data=b'{"id":1,"text":"%s"}' % (b"x" * size))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    return context


def head_of(connection: socket.socket) -> tuple[bytes, int]:
    """What came with a request's head, and how much of its body is to come."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(2048)
        if not chunk:
            raise ConnectionAbortedError
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")), 0)
    return head, length - len(body)


def answer(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), more, body)


def says(text: bytes) -> Callable[[socket.socket], None]:
    """A server that sends this, whatever it is asked, and closes."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(1)
        head_of(connection)
        connection.sendall(text)

    return serve


# -- the first line of the answer


@pytest.mark.parametrize("text", [b"", b"H", b"HTTP/", b"HTTP/1.1", b"HTTP/1.1 20"])
def test_an_answer_cut_within_its_first_line_is_a_broken_connection(text: bytes) -> None:
    with RawServer(says(text)) as server, client_of(server.url) as client:
        with pytest.raises(e.ConnectError) as caught:
            client.list_collections()
    assert caught.value.timed_out  # it has had the whole request


@TLS
def test_a_request_of_which_the_answer_is_cut_may_still_be_applied(tls: bool, context: ssl.SSLContext) -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"
    with RawServer(says(text), context if tls else None) as server, client_of(server.url) as client:
        with pytest.raises(e.ConnectError) as caught:
            client.upsert(ONE, [1])
    assert caught.value.timed_out
    with client_of(server.url) as client, pytest.raises(e.ConnectError, match="refused") as refused:
        client.upsert(ONE, [1])
    assert not refused.value.timed_out


@pytest.mark.parametrize(
    "text", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\0\0\x12\x04\0\0\0\0\0\0\x03", b"\x15\x03\x01\0\x02\x02\x46"]
)
def test_a_port_that_does_not_use_http(text: bytes) -> None:
    with RawServer(says(text)) as server, client_of(server.url) as client:
        with pytest.raises(e.ConnectionSettingsError, match="This port does not use HTTP"):
            client.list_collections()


def test_what_has_answered_in_http_does_use_it() -> None:
    texts = iter([answer(b'{"code":200,"data":[]}', b"Connection: close\r\n"), b"garbage\r\n\r\n"])
    with RawServer(lambda connection: says(next(texts))(connection)) as server, client_of(server.url) as client:
        assert client.list_collections() == []
        with pytest.raises(e.ConnectError, match="cut off in its first line"):
            client.list_collections()


# -- sending


def slow_reader(rate: int, seconds: float) -> Callable[[socket.socket], None]:
    """Reads so many bytes a second for a while, and the rest at once; then accepts."""

    def serve(connection: socket.socket) -> None:
        _, left = head_of(connection)
        end = time.monotonic() + seconds
        while left > 0:
            chunk = connection.recv(min(left, 65_536))
            left -= len(chunk)
            if time.monotonic() < end:
                time.sleep(len(chunk) / rate)
        connection.sendall(answer(ACCEPTED))

    return serve


@TLS
def test_the_connect_timeout_does_not_limit_the_sending(tls: bool, context: ssl.SSLContext) -> None:
    """16 MiB at 8 MiB/s, with a connect timeout of half a second."""
    with RawServer(slow_reader(8 << 20, 10), context if tls else None) as server:
        with client_of(server.url, connect_timeout=0.5, read_timeout=5) as client:
            begin = time.monotonic()
            assert client.upsert(large(16 << 20), [1]).upsert_count == 1
    assert time.monotonic() - begin > 1


@TLS
def test_a_peer_that_reads_no_more(tls: bool, context: ssl.SSLContext) -> None:
    def serve(connection: socket.socket) -> None:
        head_of(connection)
        time.sleep(4)

    with RawServer(serve, context if tls else None) as server:
        with client_of(server.url, connect_timeout=30, read_timeout=0.5) as client:
            begin = time.monotonic()
            with pytest.raises(e.ConnectError, match=r"stopped reading the request.* 0\.5 s") as caught:
                client.upsert(large(16 << 20), [1])
    assert time.monotonic() - begin < 3
    assert not caught.value.timed_out  # it has never had the whole request
    assert "Is Milvus running" not in str(caught.value)


@TLS
def test_an_early_413_is_read(tls: bool, context: ssl.SSLContext) -> None:
    def serve(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with RawServer(serve, context if tls else None) as server, client_of(server.url) as client:
        with pytest.raises(e.RequestTooLargeError, match="HTTP 413"):
            client.upsert(large(16 << 20), [1])


@TLS
def test_a_connection_that_breaks_while_sending(tls: bool, context: ssl.SSLContext) -> None:
    with RawServer(lambda connection: bool(head_of(connection)), context if tls else None) as server:  # type: ignore[arg-type]
        with client_of(server.url) as client, pytest.raises(e.ConnectError) as caught:
            client.upsert(large(16 << 20), [1])
    assert not caught.value.timed_out


# -- reading


def test_a_bomb_is_not_unpacked() -> None:
    packed = gzip.compress(b'{"code":200,"data":[' + b" " * (200 << 20))
    with RawServer(says(answer(packed, b"Content-Encoding: gzip\r\n"))) as server, client_of(server.url) as client:
        with pytest.raises(e.UnexpectedAnswerError, match="more than 64 MiB"):
            client.list_collections()


def test_an_answer_without_an_end() -> None:
    def serve(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * (1 << 20))

    with RawServer(serve) as server, client_of(server.url) as client:
        with pytest.raises(e.UnexpectedAnswerError, match="more than 64 MiB"):
            client.list_collections()


def test_an_answer_that_is_packed_badly() -> None:
    text = answer(b"not gzip", b"Content-Encoding: gzip\r\n")
    with RawServer(says(text)) as server, client_of(server.url) as client:
        with pytest.raises(e.UnexpectedAnswerError, match="cannot be decompressed"):
            client.list_collections()


@TLS
@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"], ids=["head", "body"])
def test_an_answer_that_drips(tls: bool, begin: bytes, context: ssl.SSLContext) -> None:
    def serve(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(begin)
        for octet in b"HTTP/1.1 200 OK\r\n" + b"x" * 1000:
            connection.sendall(bytes([octet]))
            time.sleep(0.1)

    with RawServer(serve, context if tls else None) as server, client_of(server.url, read_timeout=0.5) as client:
        start = time.monotonic()
        with pytest.raises(e.ConnectError, match=r"did not answer within 0\.5 s") as caught:
            client.list_collections()
    assert 0.5 < time.monotonic() - start < 2
    assert caught.value.timed_out


# -- connections


def test_a_tls_handshake_that_is_not_answered_has_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with client_of(f"https://127.0.0.1:{silent.getsockname()[1]}", connect_timeout=0.3) as client:
            with pytest.raises(
                e.ConnectError, match=r"not accept a connection within 0\.3 s.*'connect_timeout'"
            ) as caught:
                client.list_collections()
    assert not caught.value.timed_out


def test_answers_out_of_step_end_the_connection() -> None:
    """A server whose answers to one request count for the next one."""

    def serve(connection: socket.socket) -> None:
        for count in (2, 1):
            _, left = head_of(connection)
            while left > 0:
                left -= len(connection.recv(left))
            connection.sendall(answer(b'{"code":200,"data":{"upsertCount":1,"upsertIds":[%d]}}' % count))

    with RawServer(serve) as server, client_of(server.url) as client:
        for _ in range(2):  # on one connection, the second answer would be that of a 1
            with pytest.raises(e.UnexpectedAnswerError, match="not the 1 rows and keys"):
                client.upsert(ONE, [1])
    assert server.connections == 2


def test_a_fork_has_connections_of_its_own(server: ScriptedServer) -> None:
    ports: list[int] = []

    with client_of(server.url) as client:
        assert client.list_collections() == ["docs"]
        (parent,) = client._transport._adapter.sockets.values()
        ports.append(parent.getsockname()[1])
        fork = multiprocessing.get_context("fork")
        receiving, sending = fork.Pipe(duplex=False)

        def child() -> None:
            client.abort()  # must not cut the parent's
            client.list_collections()
            sending.send([sock.getsockname()[1] for sock in client._transport._adapter.sockets.values()])

        process = fork.Process(target=child)
        process.start()
        assert receiving.poll(10)
        ports += receiving.recv()
        process.join()
        assert client.list_collections() == ["docs"]
        assert [sock.getsockname()[1] for sock in client._transport._adapter.sockets.values()] == ports[:1]
    assert len(set(ports)) == 2


def test_abort_while_lanes_connect() -> None:
    """It walks the sockets that others add to."""
    with client_of("127.0.0.1") as client:
        adapter = client._transport._adapter
        kept = [socket.socket() for _ in range(200)]
        for sock in kept:
            adapter.sockets[id(sock)] = sock
        done = threading.Event()

        def connect() -> None:
            while not done.is_set():
                with socket.socket() as sock:
                    adapter.sockets[id(sock)] = sock

        lanes = [threading.Thread(target=connect) for _ in range(3)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for lane in lanes:
                lane.start()
            for _ in range(200):
                client.abort()
        finally:
            sys.setswitchinterval(interval)
            done.set()
            for lane in lanes:
                lane.join()
            for sock in kept:
                sock.close()


@pytest.mark.parametrize("field", ["verify", "client_cert", "client_key"])
def test_a_file_that_goes_away_during_a_run(
    field: str, certificates: Certificates, context: ssl.SSLContext, tmp_path: Path
) -> None:
    files = {"verify": certificates.ca, "client_cert": certificates.client_cert, "client_key": certificates.client_key}
    extra = {name: shutil.copy(path, tmp_path / name) for name, path in files.items()}
    text = answer(b'{"code":200,"data":[]}', b"Connection: close\r\n")
    with (
        RawServer(says(text), context) as server,
        client_of(server.url, **{k: str(v) for k, v in extra.items()}) as client,
    ):
        assert client.list_collections() == []
        extra[field].unlink()
        with pytest.raises(e.ConnectionSettingsError, match=f"field '{field}' is not an existing file"):
            client.list_collections()


# -- proxies


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(url: str) -> None:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, url)

    return use


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_asks_for_credentials(scheme: str, proxy: Callable[[str], None]) -> None:
    text = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with RawServer(says(text)) as server:
        proxy(server.url.replace("://", "://root:hunter2@"))
        with client_of(f"{scheme}://milvus.example.com") as client:
            with pytest.raises(
                e.ConnectionSettingsError, match="asks for credentials: write them into its URL"
            ) as caught:
                client.list_collections()
    assert "hunter2" not in str(caught.value)


def test_the_password_of_a_proxy_that_repeats_it(proxy: Callable[[str], None]) -> None:
    login = base64.b64encode(b"root:hunter2").decode()
    with RawServer(says(f"HTTP/1.1 403 Denied for Basic {login}\r\n\r\n".encode())) as server:
        proxy(server.url.replace("://", "://root:hunter2@"))
        with client_of("https://milvus.example.com") as client:
            with pytest.raises(e.ConnectError, match=r"403 Denied for Basic \*\*\*"):
                client.list_collections()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://root:hunter2@proxy:99999", "PROXY is not a URL with a host and a port"),
        ("http://root:hunter2@a..b:8080", "PROXY is not a URL with a host and a port"),
        ("http://root:hunter2@:8080", "PROXY is not a URL"),
        ("ftp://root:hunter2@proxy", "PROXY is not a URL"),
        ("socks5://root:hunter2@proxy:1080", "needs the package PySocks"),
    ],
)
def test_a_proxy_that_cannot_be_used(
    url: str, message: str, proxy: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    proxy(url)
    with client_of("milvus.example.com") as client, pytest.raises(e.ConnectionSettingsError, match=message) as caught:
        client.list_collections()
    assert "hunter2" not in str(caught.value)


def test_through_a_proxy(proxy: Callable[[str], None], server: ScriptedServer) -> None:
    """Its connections are cut like the others."""
    release = threading.Event()
    server.script("http://milvus.example.com:19530" + COLLECTIONS, Reply(before=lambda: bool(release.wait(20))))  # type: ignore[arg-type,return-value]
    proxy(server.url)
    with client_of("milvus.example.com") as client:
        threading.Timer(0.5, client.abort).start()
        begin = time.monotonic()
        with pytest.raises(e.ConnectError):
            client.list_collections()
    release.set()
    assert time.monotonic() - begin < 3


def test_what_may_still_be_applied(server: ScriptedServer) -> None:
    server.script(
        UPSERT,
        Reply("timeout", 408),
        Reply(b"", 502),
        Reply(b"", 504),
        Reply({"code": 10001, "message": "request timeout"}),
        Reply(b"", 503),
        Reply({"code": 1, "message": "not ready"}),
    )
    with client_of(server.url) as client:
        found = []
        for _ in range(6):
            with pytest.raises(e.NotReadyError) as caught:
                client.upsert(ONE, [1])
            found.append(caught.value.timed_out)
        assert found == [True] * 4 + [False] * 2
    server.script(COLLECTIONS, Reply(before=lambda: time.sleep(1)))
    with client_of(server.url, read_timeout=0.2) as client, pytest.raises(e.ConnectError) as late:
        client.list_collections()
    assert late.value.timed_out
    assert e.ConnectError("x").timed_out is False
