"""HTTP to one server: bytes out and bytes back, or the error that fits. Knows nothing of what Milvus says in them."""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_milvus_rest import __version__
from airflow_provider_milvus_rest.exceptions import (
    ConnectError,
    ConnectionSettingsError,
    MilvusRestError,
    UnexpectedAnswerError,
)
from airflow_provider_milvus_rest.options import MAX_CONCURRENCY
from airflow_provider_milvus_rest.rest.dialects import Call
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings, check_tls_files

MAX_ANSWER_BYTES = 64 * 2**20
"""Of an answer's text: those of Milvus to these calls have some kilobytes."""
_CHUNK_BYTES = 16_384
"""Read at once, so that what is compressed does not unpack to more than that a thousand times."""

_PROXY = "The proxy that HTTP_PROXY or HTTPS_PROXY names"
PROXY_ASKS = f"{_PROXY} asks for credentials: write them into its URL, http://user:password@proxy:port."

# Marks of failures that only another setting ends.
_LASTING_FAULTS = {
    "CERTIFICATE_VERIFY_FAILED": "Give the file of the authority that signed the server's certificate as connection "
    "field 'verify', and the host by a name that the certificate holds.",
    "WRONG_VERSION_NUMBER": "This port does not use TLS: write the connection's host with http://.",
    "BAD_CERTIFICATE": "The server asks for a client certificate: connection fields 'client_cert' and 'client_key'.",
    "CERTIFICATE_REQUIRED": "The server asks for a client certificate: fields 'client_cert' and 'client_key'.",
    "PROTOCOL_VERSION": "The server and this machine have no version of TLS in common.",
}


class Transport:
    """Sends requests to one server, also from several threads.

    :param mask: makes a line for a message of what the server sent.
    """

    def __init__(self, settings: ConnectionSettings, mask: Callable[[str], str]) -> None:
        self._settings = settings
        self._mask = mask
        self._uses_http = False
        """Whether the server has answered in HTTP: anything else is a broken connection from then on."""
        self._open()

    def _open(self) -> None:
        settings, self._pid = self._settings, os.getpid()
        token = settings.token.get_secret_value() if settings.token else None
        self._adapter = _Adapter(settings.read_timeout)
        self._session = _Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)
        self._session.auth = _BearerAuth(token)
        self._session.headers.update(
            {
                "Accept": "application/json",
                "Content-Type": "application/json",
                "User-Agent": f"airflow-provider-milvus-rest/{__version__}",
                "Accept-Type-Allow-Int64": "true",  # else Milvus 2.3.3 to 2.3.10 answers Int64 keys as strings
                # v2 gives up then too, rather than after 30 s; v1 does not read it before Milvus 3.0.1.
                "Request-Timeout": str(int(max(1, settings.read_timeout))),
            }
        )
        if settings.client_cert:
            key = settings.client_key
            self._session.cert = (str(settings.client_cert), str(key)) if key else str(settings.client_cert)

    def close(self) -> None:
        """Close this process's connections that are not in use."""
        if self._pid == os.getpid():
            self._session.close()

    def abort(self) -> None:
        """Cut all connections of this process."""
        if self._pid == os.getpid():
            self._adapter.abort()

    def send(self, call: Call) -> tuple[requests.Response, str]:
        """The answer, and its text.

        :raises MilvusRestError: there is none, or it is not HTTP.
        """
        if self._pid != os.getpid():  # forked: the connections are the parent's, whose answers must not be read here
            self._open()
        verify = self._settings.verify
        try:
            with self._session.request(
                call.method,
                self._settings.base_url + call.path,
                params=call.params,
                data=call.body,
                timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                allow_redirects=False,
                stream=True,
                # Given per request, because requests lets REQUESTS_CA_BUNDLE override a session's setting.
                verify=verify if isinstance(verify, bool) else str(verify),
            ) as response:
                self._uses_http = True
                return response, self._text(response)
        except (OSError, urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise self._error(error) from None

    def _text(self, response: requests.Response) -> str:
        content = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise UnexpectedAnswerError(
                    f"{self._settings.base_url} sent an answer of more than {MAX_ANSWER_BYTES >> 20} MiB.",
                    http_status=response.status_code,
                )
        return content.decode(errors="replace")

    def _error(self, error: Exception) -> MilvusRestError:
        settings, where, inner = self._settings, self._settings.base_url, _innermost(error)
        reason = self._mask(re.split(r"[>)]: ", str(inner))[-1])
        timeout = f"{settings.read_timeout:g} s (connection field 'read_timeout')"
        if where.startswith("https:"):
            try:
                check_tls_files(settings)
            except ConnectionSettingsError as gone:  # since the settings were made
                return gone
        if isinstance(error, requests.exceptions.InvalidSchema):
            return ConnectionSettingsError(f"{_PROXY} is a SOCKS proxy, which needs the package PySocks: install it.")
        if isinstance(error, (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError, UnicodeError)):
            of_proxy = isinstance(inner, (requests.exceptions.InvalidProxyURL, urllib3.exceptions.LocationValueError))
            if of_proxy and _can_be_a_host(where):
                return ConnectionSettingsError(f"{_PROXY} is not a URL with a host and a port from 1 to 65535.")
            return ConnectionSettingsError(f"field 'host' is not a host name or address: {where}")
        if isinstance(error, requests.exceptions.ProxyError):
            if "failed: 407" in reason:
                return ConnectionSettingsError(PROXY_ASKS)
            return ConnectError(
                f"{_PROXY} does not lead to {where}: {reason}. If none is needed there, add the host to NO_PROXY."
            )
        for mark, remedy in _LASTING_FAULTS.items():
            if mark in reason and ("CERTIFICATE" in mark or not self._uses_http):
                return ConnectionSettingsError(f"Cannot use {where}: {reason}. {remedy}")
        if isinstance(inner, http.client.BadStatusLine) and not isinstance(inner, http.client.RemoteDisconnected):
            if not self._uses_http and not "HTTP/".startswith(str(inner)[:5]):
                return ConnectionSettingsError(
                    f"Cannot use {where}: it answers {reason!r}. This port does not use HTTP. With TLS, Milvus serves "
                    "REST on a port of its own (proxy.http.port)."
                )
            reason = "the answer was cut off in its first line"
        if isinstance(error, requests.ConnectTimeout):
            return ConnectError(
                f"{where} did not accept a connection within {settings.connect_timeout:g} s (connection field "
                "'connect_timeout'). Check host and port, and whether a firewall is between."
            )
        if isinstance(inner, urllib3.exceptions.ReadTimeoutError):
            late = ConnectError(f"{where} did not answer within {timeout}.")
            late.timed_out = True
            return late
        if isinstance(inner, TimeoutError):
            return ConnectError(f"{where} stopped reading the request: it accepted no bytes for {timeout}.")
        if isinstance(error, requests.exceptions.ContentDecodingError):
            return UnexpectedAnswerError(f"{where} sent an answer that cannot be unpacked: {reason}.")
        return ConnectError(f"No connection to {where}: {reason}. Is Milvus running there?")


def _innermost(error: BaseException) -> BaseException:
    """The error that requests and urllib3 have wrapped, each in its own way."""
    wrapped: Any = error
    while wrapped:
        error = wrapped
        inner = (getattr(error, "reason", None), *reversed(error.args))
        wrapped = next((one for one in inner if isinstance(one, BaseException)), None)
    return error


def _can_be_a_host(url: str) -> bool:
    try:
        return bool((urlsplit(url).hostname or "").encode("idna"))
    except UnicodeError:
        return False


class _BearerAuth(AuthBase):
    """Sets the Authorization header, or leaves it out.

    requests asks ``.netrc`` only where a session has no ``auth``, so even a connection without credentials has one.
    """

    def __init__(self, token: str | None) -> None:
        self._header = f"Bearer {token}".encode() if token else None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.pop("Authorization", None)
        if self._header:
            request.headers["Authorization"] = self._header  # type: ignore[assignment]  # bytes: any UTF-8 password
        return request


class _Session(requests.Session):
    """Does not look where a redirect leads to: it is not followed, and may lead to what is not a URL."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Adapter(HTTPAdapter):
    """Makes connections as below, and knows their sockets: urllib3 does not let go of those that are in use."""

    def __init__(self, read_timeout: float) -> None:
        self.read_timeout = read_timeout
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        super().__init__(pool_maxsize=MAX_CONCURRENCY)

    def get_connection_with_tls_context(self, *arguments: Any, **keywords: Any) -> Any:
        """A pool, of the server or of a proxy."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **keywords)
        if own := _CONNECTIONS.get(pool.ConnectionCls):
            pool.ConnectionCls = partial(own, adapter=self)
        return pool

    def opened(self, sock: Any) -> None:
        """Remember a connection's socket."""
        with self._lock:
            self._sockets.add(sock)

    def abort(self) -> None:
        """Cut all connections."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError):
                # Not SSLSocket's own, which makes a plain socket of it first, to which a lane may be writing.
                socket.socket.shutdown(getattr(sock, "socket", sock), socket.SHUT_RDWR)


class _Answer(http.client.HTTPResponse):
    """Must begin within the socket's timeout and end within twice that."""

    def __init__(self, sock: socket.socket, *arguments: Any, **keywords: Any) -> None:
        super().__init__(sock, *arguments, **keywords)
        self.fp = io.BufferedReader(_Limited(self.fp, sock))


class _Limited(io.RawIOBase):
    """A socket's file that ends with a TimeoutError when its time is over, even if it still gives a byte at times."""

    def __init__(self, file: Any, sock: socket.socket) -> None:
        self._file, self._sock = file, sock
        self._timeout = sock.gettimeout() or 0.0
        self._deadline = time.monotonic() + 2 * self._timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end")
        self._sock.settimeout(min(left, self._timeout))
        count: int | None = self._file.raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Connection(HTTPConnection):
    """Uses the connect timeout while it connects, and the read timeout for each step of sending and reading."""

    response_class = _Answer
    step: int | None = None
    """Bytes given to the socket at once."""

    def __init__(self, *arguments: Any, adapter: _Adapter, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._adapter = adapter

    def connect(self) -> None:
        try:
            super().connect()
        except TimeoutError as error:  # of the TLS handshake, or of a proxy
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
        self.sock.settimeout(self._adapter.read_timeout)
        self._adapter.opened(self.sock)

    def request(self, *arguments: Any, **keywords: Any) -> None:
        if self.sock is not None:
            self.timeout = self._adapter.read_timeout
        super().request(*arguments, **keywords)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        left = memoryview(data)
        try:
            while left:
                left = left[self.sock.send(left[: self.step]) :]  # not sendall, whose timeout is for all of it
        except (ssl.SSLError, ConnectionResetError) as error:
            # After a BrokenPipeError, urllib3 reads the answer that the server may have sent before it closed.
            raise BrokenPipeError(f"the connection was closed while the request was sent: {error}") from error


class _SecureConnection(_Connection, HTTPSConnection):
    step = 65_536  # an SSLSocket's timeout is for all that it is given


_CONNECTIONS: dict[Any, type[_Connection]] = {HTTPConnection: _Connection, HTTPSConnection: _SecureConnection}
