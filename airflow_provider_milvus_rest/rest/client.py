"""One connection to Milvus's REST API: requests out, answers or exceptions back. No retries here."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
import weakref
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, quote_plus

import requests
import urllib3
from pydantic import ValidationError
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from airflow_provider_milvus_rest import __version__
from airflow_provider_milvus_rest.exceptions import (
    ConnectError,
    ConnectionSettingsError,
    DataRefusedError,
    ForbiddenError,
    InputError,
    MilvusRestError,
    NotAuthenticatedError,
    NotFoundError,
    RequestRefusedError,
    UnexpectedAnswerError,
    WrongEndpointError,
    excerpt,
)
from airflow_provider_milvus_rest.rest.codes import class_of_answer, class_of_status
from airflow_provider_milvus_rest.rest.dialects import DIALECTS, Call
from airflow_provider_milvus_rest.rest.models import Answer, UpsertData, UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rows.schema import CollectionSchema

MAX_CONCURRENCY = 32
"""Connections that a client keeps open."""

_REMEDIES: dict[type[MilvusRestError], str] = {
    NotAuthenticatedError: "Check login and password (or the API key, as password without login) of the connection.",
    ForbiddenError: "Grant the connection's user the privilege it lacks.",
    NotFoundError: "Create it first, or check its name and the database.",
    UnexpectedAnswerError: "If that goes on, check that host and port are those of Milvus's REST API.",
    WrongEndpointError: "Check that host and port are those of Milvus's REST API (19530, not 9091). A newer Milvus may "
    "have REST v1 switched off (proxy.http.enableV1): then try the connection's field api_version v2. One older than "
    "2.3.13 has no v2.",
}

# Marks of failures that only another setting ends.
_LASTING_FAULTS = {
    "CERTIFICATE_VERIFY_FAILED": "Give the file of the authority that signed the server's certificate as connection "
    "field 'verify', and the host by a name that the certificate holds.",
    "WRONG_VERSION_NUMBER": "This port speaks no TLS: write the connection's host with http://.",
    "BAD_CERTIFICATE": "The server asks for a client certificate: connection fields 'client_cert' and 'client_key'.",
    "CERTIFICATE_REQUIRED": "The server asks for a client certificate: fields 'client_cert' and 'client_key'.",
    "PROTOCOL_VERSION": "The server and this machine have no version of TLS in common.",
    "BadStatusLine": "This port speaks no HTTP. With TLS, Milvus serves REST on a port of its own (proxy.http.port).",
}


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
    """Does not look where a redirect leads to: it is not followed, and may lead to what is no URL."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Adapter(HTTPAdapter):
    """Keeps the sockets of its connections, which urllib3 does not let go of as long as they are in use."""

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, **keywords)
        sockets = self.sockets = weakref.WeakSet[socket.socket]()

        class Kept:
            def connect(self) -> None:
                super().connect()  # type: ignore[misc]
                sockets.add(self.sock)  # type: ignore[attr-defined]

        class Plain(Kept, urllib3.connection.HTTPConnection):
            pass

        class Secure(Kept, urllib3.connection.HTTPSConnection):
            pass

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


class MilvusRestClient:
    """Speaks to one server, also from several threads. Use it as a context manager, or :meth:`close` it.

    Every method raises a :class:`~airflow_provider_milvus_rest.exceptions.MilvusRestError`.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._dialect = DIALECTS[settings.api_version]
        token = settings.token.get_secret_value() if settings.token else None
        parts = [part for part in (token, (token or "").partition(":")[2]) if part and len(part) > 4]
        self._secrets = [text for part in parts for text in _forms(part)]
        self._session = _Session()
        self._adapter = _Adapter(pool_maxsize=MAX_CONCURRENCY)
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

    def __enter__(self) -> MilvusRestClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def abort(self) -> None:
        """Cut the connections, so that whoever waits for an answer on one of them gets a ConnectError."""
        for sock in list(self._adapter.sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def check_partition(self, partition_name: str) -> None:
        """Refuse a partition that this version of the API cannot write into.

        :raises InputError: v1 has no partitions.
        """
        if not self._dialect.has_partitions:
            raise InputError(
                f"partition_name is {partition_name!r:.60}, but REST v1 writes into the default partition alone: leave "
                "it out, or set the connection's field api_version to v2"
            )

    def upsert(self, request: UpsertRequest, key_type: type[int] | type[str]) -> UpsertResult:
        """Send one upsert request.

        :param key_type: of the collection's primary key; ids are normalised to it (some versions quote Int64).
        :raises UnexpectedAnswerError: Milvus says success but counts other than the rows sent.
        """
        answer = self._send(self._dialect.upsert(request))
        try:
            data = UpsertData.model_validate(answer.data)
            ids: list[int | str] = [key_type(key) for key in data.upsert_ids]
        except (ValidationError, ValueError):
            raise self._not_understood("upsertCount and upsertIds", answer) from None
        if not data.upsert_count == len(ids) == request.row_count:
            raise UnexpectedAnswerError(
                f"Milvus says it upserted {data.upsert_count} rows and names {len(ids)} keys, "
                f"but {request.row_count} rows were sent. Read them back before you trust this collection."
            )
        return UpsertResult.model_construct(upsert_count=data.upsert_count, upsert_ids=ids)

    def describe_collection(self, collection_name: str, db_name: str | None = None) -> CollectionSchema:
        """The fields of a collection or of an alias."""
        answer = self._send(self._dialect.describe(collection_name, db_name))
        try:
            return self._dialect.read_schema(answer.data, collection_name, db_name)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._not_understood("a collection's fields", answer) from None

    def list_collections(self, db_name: str | None = None) -> list[str]:
        """The names of a database's collections."""
        answer = self._send(self._dialect.list_collections(db_name))
        try:
            return self._dialect.read_names(answer.data)
        except ValueError:
            raise self._not_understood("a list of names", answer) from None

    def _send(self, call: Call) -> Answer:
        """The answer if it says success; else the exception that fits."""
        url = self.settings.base_url + call.path
        try:
            response = self._session.request(
                call.method,
                url,
                params=call.params,
                data=call.body,
                timeout=(self.settings.connect_timeout, self.settings.read_timeout),
                allow_redirects=False,
                # Given per request, because requests lets REQUESTS_CA_BUNDLE override a session's setting.
                verify=self.settings.verify if isinstance(self.settings.verify, bool) else str(self.settings.verify),
            )
        except requests.RequestException as error:
            raise self._transport_error(error) from None
        except (urllib3.exceptions.LocationValueError, UnicodeError):
            raise ConnectionSettingsError(
                f"field 'host' is not a host name or address: {self.settings.base_url}"
            ) from None
        return self._read(response, call)

    def _read(self, response: requests.Response, call: Call) -> Answer:
        try:
            return self._read_answer(response, call)
        except MilvusRestError as error:
            error.retry_after = _retry_after(response.headers.get("Retry-After"))
            raise

    def _read_answer(self, response: requests.Response, call: Call) -> Answer:
        status, text = response.status_code, response.content.decode(errors="replace")
        answer, rest = _first_json(text)
        if answer is None:
            if status == 400 and "HTTPS" in text:
                message = f"{self.settings.base_url} speaks TLS: write the connection's host with https://."
                raise ConnectionSettingsError(message, http_status=status)
            cls = class_of_answer(status, None)
            what = "an empty answer" if not text.strip() else f"not Milvus's JSON but {self._excerpt(text)!r}"
            if response.is_redirect:
                what = f"a redirect to {self._excerpt(response.headers['Location'])!r}, which is not followed"
            raise self._error(cls, f"{self.settings.base_url} sent {what}.", status)
        if self._dialect.is_success(answer.code) and answer.data is not None:
            if status == 200 and not rest.strip():
                return answer
            # Milvus glues answers together when its limiter refuses, and not only then may something follow.
            text = self._excerpt(rest) or f"HTTP {status}"
            raise self._error(class_of_status(status), f"Milvus sent success, but with it {text!r}.", status)
        cls = class_of_answer(status, answer.code)
        if cls is DataRefusedError and not call.has_rows:
            cls = RequestRefusedError
        raise self._error(cls, f"Milvus says: {self._excerpt(answer.message or 'no message')}.", status, answer.code)

    def _error(self, cls: type[MilvusRestError], message: str, status: int, code: int | None = None) -> MilvusRestError:
        remedy = _REMEDIES.get(cls)
        return cls(f"{message} {remedy}" if remedy else message, code=code, http_status=status)

    def _transport_error(self, error: requests.RequestException) -> MilvusRestError:
        where = self.settings.base_url
        reason = self._excerpt(_reason(error), 200)
        if isinstance(error, requests.exceptions.InvalidProxyURL):
            return ConnectionSettingsError("The proxy that HTTP_PROXY or HTTPS_PROXY names is not a URL.")
        if isinstance(error, requests.exceptions.ProxyError):
            return ConnectError(
                f"The proxy that HTTP_PROXY or HTTPS_PROXY names does not lead to {where}: {reason}. If none is needed "
                "there, add the host to NO_PROXY."
            )
        for mark, remedy in _LASTING_FAULTS.items():
            if mark in reason:
                return ConnectionSettingsError(f"No use of {where}: {reason}. {remedy}")
        if isinstance(error, requests.ConnectTimeout):
            return ConnectError(
                f"{where} did not accept a connection within {self.settings.connect_timeout:g} s. Check host and port, "
                "and whether a firewall is between."
            )
        if isinstance(error, requests.Timeout):
            return ConnectError(
                f"{where} did not answer within {self.settings.read_timeout:g} s (connection field 'read_timeout')."
            )
        if isinstance(error, requests.exceptions.InvalidURL):
            return ConnectionSettingsError(f"field 'host' is not a host name or address: {where}")
        return ConnectError(f"No connection to {where}: {reason}. Is Milvus running there?")

    def _not_understood(self, expected: str, answer: Answer) -> UnexpectedAnswerError:
        found = self._excerpt(json.dumps(answer.data))
        return UnexpectedAnswerError(f"Milvus says success, but without {expected}: {found}", code=answer.code)

    def _excerpt(self, text: str, limit: int = 300) -> str:
        """A line of what the server sent, without the token, should it have echoed it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return excerpt(text, limit)


def _first_json(text: str) -> tuple[Answer | None, str]:
    """The first JSON object of ``text`` as an answer, and what follows it. None if there is no such object."""
    try:
        value, end = json.JSONDecoder().raw_decode(text.lstrip())
        return Answer.model_validate(value), text.lstrip()[end:]
    except (ValueError, RecursionError):
        return None, ""


def _reason(error: requests.RequestException) -> str:
    """The innermost reason, without the layers of class names and object names around it."""
    reason: Any = error.args[0] if error.args else error
    reason = getattr(reason, "reason", reason)
    return re.split(r"[>)]: ", str(reason))[-1]


def _forms(secret: str) -> tuple[str, ...]:
    """A secret as a server or a gateway may write it."""
    return secret, quote(secret), quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode()


def _retry_after(header: str | None) -> float | None:
    """Seconds, of a header that gives seconds or a date (RFC 9110); None if it gives neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header) if header.strip().isdecimal() else _until(header))
    except (TypeError, ValueError, OverflowError):
        return None


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
