"""HTTP to one server: sends requests and returns responses, or raises the matching error. Does not interpret them."""

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

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_milvus_rest import __version__
from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.options import MAX_CONCURRENCY
from airflow_provider_milvus_rest.rest.dialects import Call
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings, check_tls_files

MAX_ANSWER_BYTES = 64 * 2**20  # of text; Milvus's responses to these calls are a few kilobytes
_READ_BYTES = 16_384  # per step: compressed data expands to at most a thousand times as much
_SEND_BYTES = 65_536  # per step with TLS, where the socket's timeout covers the whole buffer

_PROXY = "The proxy in HTTP_PROXY or HTTPS_PROXY"
_PROXY_ASKS = f"{_PROXY} asks for credentials: write them into its URL, http://user:password@proxy:port."
_NO_PROXY = "If the server needs no proxy, add its host to NO_PROXY."
_CANNOT_USE = "Cannot use {where}: {reason}. "
_CLIENT_CERT = (
    _CANNOT_USE + "The server asks for a client certificate that it trusts and that has not expired: set connection "
    "fields 'client_cert' and 'client_key'."
)
_BAD_PROXY = (requests.exceptions.InvalidProxyURL, urllib3.exceptions.LocationValueError)
_READ_TIMEOUT = "{settings.read_timeout:g} s (connection field 'read_timeout')."

_FAULTS: dict[type[e.MilvusRestError], dict[type[Exception] | tuple[type[Exception], ...] | str, str]] = {
    e.ConnectionSettingsError: {
        requests.exceptions.InvalidSchema: f"{_PROXY} is a SOCKS proxy, which needs the package PySocks: install it.",
        _BAD_PROXY: f"{_PROXY} is not a URL with a host and a port from 1 to 65535.",
        (requests.exceptions.InvalidURL, UnicodeError): "field 'host' is not a host name or address: {where}",
        "CERTIFICATE_VERIFY_FAILED": _CANNOT_USE + "Set connection field 'verify' to the CA file for the server's "
        "certificate, and the host to a name that is in the certificate, which must not have expired.",
        **dict.fromkeys(("BAD_CERTIFICATE", "ALERT_CERTIFICATE_", "ALERT_UNKNOWN_CA"), _CLIENT_CERT),
        "HANDSHAKE_FAILURE": _CANNOT_USE + "The server may need a client certificate (connection fields 'client_cert' "
        "and 'client_key').",
        "WRONG_VERSION_NUMBER": _CANNOT_USE + "This port does not use TLS: write the connection's host with http://.",
        "PROTOCOL_VERSION": _CANNOT_USE + "The server and this machine have no TLS version in common.",
        ", not HTTP": _CANNOT_USE + "This port does not use HTTP. With TLS, Milvus serves REST on a port of its own "
        "(proxy.http.port).",
    },
    e.UnexpectedAnswerError: {
        requests.exceptions.ContentDecodingError: "{where} sent a response that cannot be decompressed: {reason}."
    },
    e.ConnectError: {
        requests.ConnectTimeout: "{where} did not accept a connection within {settings.connect_timeout:g} s "
        "(connection field 'connect_timeout'). Check host and port, and that no firewall blocks them.",
        urllib3.exceptions.ReadTimeoutError: "{where} did not answer within " + _READ_TIMEOUT,
        TimeoutError: "{where} stopped reading the request: it accepted no bytes for " + _READ_TIMEOUT,
        Exception: "No connection to {where}: {reason}. Is Milvus running there?",
    },
}
"""What an error means, by its class, the class of the error it wraps, or a part of its text. The first match counts."""
_BEFORE_HTTP = ("WRONG_VERSION_NUMBER", "PROTOCOL_VERSION")  # after an HTTP response, they mean a broken connection


class Transport:
    """Sends requests to one server. It is thread-safe.

    :param mask: turns what the server sent into one line without secrets.
    """

    def __init__(self, settings: ConnectionSettings, mask: Callable[[str], str]) -> None:
        self._settings, self._mask = settings, mask
        self._uses_http = False  # whether the server has sent an HTTP response
        self._open()

    def _open(self) -> None:
        settings, self._pid = self._settings, os.getpid()
        self._adapter = _Adapter(settings.read_timeout)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)
        self._session.auth = lambda request: request  # otherwise requests uses a password from .netrc
        # Redirects are not followed, and their target may not be a valid URL.
        self._session.get_redirect_target = lambda _: None  # type: ignore[assignment, method-assign]
        headers: dict[str, str | bytes] = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": f"airflow-provider-milvus-rest/{__version__}",
            "Accept-Type-Allow-Int64": "true",  # otherwise Milvus 2.3.3 to 2.3.10 returns Int64 keys as strings
            # v2 gives up after this time instead of 30 s; v1 reads the header since d7a539721b (2026).
            "Request-Timeout": str(int(max(1, settings.read_timeout))),
        }
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}".encode()  # a password may be UTF-8
        self._session.headers.update(headers)
        if settings.client_cert:
            self._session.cert = (str(settings.client_cert), str(settings.client_key or settings.client_cert))

    def close(self) -> None:
        """Close this process's connections that are not in use."""
        if self._pid == os.getpid():
            self._session.close()

    def abort(self) -> None:
        """Shut down all connections of this process. urllib3 cannot close those that are in use."""
        references = self._adapter.sockets.valuerefs() if self._pid == os.getpid() else []
        for sock in filter(None, [reference() for reference in references]):
            with suppress(OSError):
                # SSLSocket.shutdown would first turn it into a plain socket, while a lane may be writing to it.
                socket.socket.shutdown(getattr(sock, "socket", sock), socket.SHUT_RDWR)

    def send(self, call: Call) -> tuple[requests.Response, str]:
        """Return the response and its text.

        :raises MilvusRestError: there is no response, or it is not HTTP.
        """
        if self._pid != os.getpid():  # forked: the connections and their responses belong to the parent process
            self._open()
        settings, self._adapter.state.sent = self._settings, False
        try:
            with self._session.request(
                call.method,
                settings.base_url + call.path,
                params=call.params,
                data=call.body,
                timeout=(settings.connect_timeout, settings.read_timeout),
                allow_redirects=False,
                stream=True,
                # Given per request, because requests lets REQUESTS_CA_BUNDLE override a session's setting.
                verify=settings.verify if isinstance(settings.verify, bool) else str(settings.verify),
            ) as response:
                self._uses_http = True
                if response.status_code == 407:
                    raise e.ConnectionSettingsError(_PROXY_ASKS, http_status=407)
                return response, self._text(response, call)
        except (OSError, urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise self._error(error) from None

    def _text(self, response: requests.Response, call: Call) -> str:
        content = bytearray()
        for chunk in response.iter_content(_READ_BYTES):
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                message = f"{self._settings.base_url} sent a response of more than {MAX_ANSWER_BYTES >> 20} MiB."
                cls = e.RequestTooLargeError if call.reads else e.UnexpectedAnswerError
                raise cls(message, http_status=response.status_code)
        return content.decode(errors="replace")

    def _error(self, error: Exception) -> e.MilvusRestError:
        settings, where, inner = self._settings, self._settings.base_url, _innermost(error)
        reason = self._mask(re.split(r"[>)]: ", str(inner))[-1])
        try:
            if where.startswith("https:"):
                check_tls_files(settings)
        except e.ConnectionSettingsError as gone:  # the files have changed since the settings were made
            return gone
        if isinstance(error, requests.exceptions.ProxyError):
            if "failed: 407" in reason:
                return e.ConnectionSettingsError(_PROXY_ASKS)
            return e.ConnectError(
                f"No connection to {where} through the proxy in HTTP_PROXY or HTTPS_PROXY: {reason}. {_NO_PROXY}"
            )
        if isinstance(inner, http.client.BadStatusLine) and not isinstance(inner, http.client.RemoteDisconnected):
            is_http = self._uses_http or "HTTP/".startswith(str(inner)[:5])
            reason = "the response was cut off in its first line" if is_http else f"it sent {reason!r}, not HTTP"
        cls, message = next(
            (cls, message)
            for cls, faults in _FAULTS.items()
            for seen, message in faults.items()
            if not (self._uses_http and seen in _BEFORE_HTTP)
            if (seen in reason if isinstance(seen, str) else isinstance(error, seen) or isinstance(inner, seen))
        )
        found = cls(message.format(where=where, reason=reason, settings=settings))
        found.timed_out = cls is e.ConnectError and self._adapter.state.sent
        return found


def _innermost(error: BaseException) -> BaseException:
    """Return the original error inside those of requests and urllib3, which wrap it in different ways."""
    wrapped = (getattr(error, "reason", None), *reversed(error.args))
    inner = next((one for one in wrapped if isinstance(one, BaseException)), None)
    return _innermost(inner) if inner else error


class _Adapter(HTTPAdapter):
    """Creates the connections below, and keeps their sockets by id: copying a dict's references is atomic.

    ``state.sent`` is whether this thread's request was sent to its end.
    """

    def __init__(self, read_timeout: float) -> None:
        self.read_timeout = read_timeout
        self.sockets: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.state = threading.local()
        super().__init__(pool_maxsize=MAX_CONCURRENCY)

    def get_connection_with_tls_context(self, *arguments: Any, **keywords: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **keywords)  # to the server or to a proxy
        if own := _CONNECTIONS.get(pool.ConnectionCls):
            pool.ConnectionCls = partial(own, adapter=self)
        return pool


class _Limited(io.RawIOBase):
    """A response's bytes. TimeoutError if none arrive within the socket's timeout, or not all within twice that."""

    def __init__(self, file: Any, sock: socket.socket) -> None:
        self._file, self._sock = file, sock
        self._timeout = sock.gettimeout() or 0.0
        self._deadline = time.monotonic() + 2 * self._timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the response did not end")
        self._sock.settimeout(min(left, self._timeout))
        count: int | None = self._file.raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Connection(HTTPConnection):
    """Uses the connect timeout while it connects, and the read timeout for each step of sending and reading."""

    def __init__(self, *arguments: Any, adapter: _Adapter, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._adapter = adapter

    def connect(self) -> None:
        try:
            super().connect()
        except TimeoutError as error:  # in the TLS handshake or from a proxy
            raise urllib3.exceptions.ConnectTimeoutError(self, "timed out") from error
        self.sock.settimeout(self._adapter.read_timeout)
        self._adapter.sockets[id(self.sock)] = self.sock

    def request(self, *arguments: Any, **keywords: Any) -> None:
        if self.sock is not None:
            self.timeout = self._adapter.read_timeout
        super().request(*arguments, **keywords)
        self._adapter.state.sent = True

    def response_class(self, sock: socket.socket, **keywords: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        response = http.client.HTTPResponse(sock, **keywords)
        response.fp = io.BufferedReader(_Limited(response.fp, sock))
        return response

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        left = memoryview(data)
        step = _SEND_BYTES if isinstance(self, HTTPSConnection) else None
        try:
            while left:
                left = left[self.sock.send(left[:step]) :]  # not sendall, whose timeout covers the whole request
        except (ssl.SSLError, ConnectionResetError) as error:
            # After a BrokenPipeError, urllib3 reads a response that the server may have sent before it closed.
            raise BrokenPipeError(f"the connection was closed while the request was being sent: {error}") from error


class _SecureConnection(_Connection, HTTPSConnection):
    pass


_CONNECTIONS: dict[Any, type[_Connection]] = {HTTPConnection: _Connection, HTTPSConnection: _SecureConnection}
