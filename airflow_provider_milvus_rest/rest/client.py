"""Milvus's REST API: calls out, answers or exceptions back. No retries here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

import requests

from airflow_provider_milvus_rest.exceptions import (
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
from airflow_provider_milvus_rest.rest.codes import class_of_answer, class_of_status, told_by_message
from airflow_provider_milvus_rest.rest.dialects import DIALECTS, Call
from airflow_provider_milvus_rest.rest.masking import Masking
from airflow_provider_milvus_rest.rest.models import Answer, UpsertData, UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rest.transport import PROXY_ASKS, Transport
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key

KEYS_PER_CALL = 20
"""That :meth:`MilvusRestClient.stored_keys` asks for at once."""
_UNREADABLE_KEY = -(2**63)
"""Milvus reads a filter's digits without their sign, and these are out of its range then: the whole call fails."""
_T = TypeVar("_T")

_REMEDIES: dict[type[MilvusRestError], str] = {
    NotAuthenticatedError: "Check login and password (or the API key, as password without login) of the connection.",
    ForbiddenError: "Grant the connection's user the privilege it lacks.",
    NotFoundError: "Create it first, or check its name and the database.",
    UnexpectedAnswerError: "If that goes on, check that host and port are those of Milvus's REST API.",
    WrongEndpointError: "Check that host and port are those of Milvus's REST API (19530, not 9091). A newer Milvus may "
    "have REST v1 switched off (proxy.http.enableV1): then try the connection's field api_version v2. One older than "
    "2.3.13 has no v2.",
}


class MilvusRestClient:
    """Speaks to one server, also from several threads. Use it as a context manager, or :meth:`close` it.

    Every method raises a :class:`~airflow_provider_milvus_rest.exceptions.MilvusRestError`.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._dialect = DIALECTS[settings.api_version]
        self._mask = Masking(settings.token.get_secret_value() if settings.token else None)
        self._transport = Transport(settings, self._excerpt)

    def __enter__(self) -> MilvusRestClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    def abort(self) -> None:
        """Cut the connections, so that whoever waits for an answer on one of them gets a ConnectError."""
        self._transport.abort()

    def check_partition(self, partition_name: str) -> None:
        """Refuse a partition that this version of the API cannot write into.

        :raises InputError: v1 has no partitions.
        """
        if not self._dialect.has_partitions:
            raise InputError(
                f"partition_name is {partition_name!r:.60}, but REST v1 writes into the default partition alone: leave "
                "it out, or set the connection's field api_version to v2"
            )

    def upsert(self, request: UpsertRequest, keys: Sequence[Key]) -> UpsertResult:
        """Send one upsert request.

        :param keys: the primary keys of its rows, in order.
        :raises UnexpectedAnswerError: Milvus reports success, but of other rows.
        """
        read = partial(_acknowledged, sent=list(keys))
        return self._call(self._dialect.upsert(request), "upsertCount and upsertIds", read)

    def describe_collection(self, collection_name: str, db_name: str | None = None) -> CollectionSchema:
        """The fields of a collection or of an alias."""
        call = self._dialect.describe(collection_name, db_name)
        return self._call(
            call, "fields of a collection", lambda data: self._dialect.read_schema(data, collection_name, db_name)
        )

    def list_collections(self, db_name: str | None = None) -> list[str]:
        """The names of a database's collections."""
        return self._call(self._dialect.list_collections(db_name), "list of names", self._dialect.read_names)

    def stored_keys(self, schema: CollectionSchema, keys: Sequence[Key], partition_name: str | None = None) -> set[Key]:
        """Which of these primary keys a collection holds, as far as the server's consistency level shows.

        The ends of Int64 are never found: -2**63 cannot be asked for, and Milvus 2.3.5 does not find 2**63-1.

        :param partition_name: the partition to look in, with ``api_version`` v2; all of them if not given.
        :raises RequestRefusedError: the collection is not loaded (code 101), for one.
        """
        if partition_name is not None:
            self.check_partition(partition_name)
        found, keys = set[Key](), [key for key in keys if key != _UNREADABLE_KEY]
        for start in range(0, len(keys), KEYS_PER_CALL):
            asked = keys[start : start + KEYS_PER_CALL]
            call = self._dialect.find(schema, asked, partition_name)
            found |= self._call(call, "rows of the keys asked for", partial(_keys_of, schema=schema, asked=asked))
        return found

    def _call(self, call: Call, expected: str, read: Callable[[Any], _T]) -> _T:
        """What ``read`` makes of the answer's data, if it reports success; else the exception that fits."""
        try:
            response, text = self._transport.send(call)
            try:
                answer = self._read_answer(response, text, call)
            except MilvusRestError as error:
                error.retry_after = _retry_after(response.headers.get("Retry-After"))
                error.timed_out = error.http_status in (408, 504) or error.code == 10001
                raise
            try:
                return read(answer.data)
            except (AttributeError, KeyError, TypeError, ValueError):
                found = self._excerpt(json.dumps(answer.data))
                message = f"Milvus reported success, but the response has no {expected}: {found}"
                raise UnexpectedAnswerError(message, code=answer.code) from None
        except UnexpectedAnswerError:
            self.close()  # the answers on a connection may be out of step with the requests
            raise

    def _read_answer(self, response: requests.Response, text: str, call: Call) -> Answer:
        status = response.status_code
        if status == 407:
            raise ConnectionSettingsError(PROXY_ASKS, http_status=status)
        answer, rest = _first_json(text)
        if answer is None:
            if status == 400 and "HTTPS" in text:
                message = f"{self.settings.base_url} uses TLS: write the connection's host with https://."
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
            message = f"Milvus reported success, but the response also contained {text!r}."
            raise self._error(class_of_status(status), message, status)
        said = answer.message or ""
        cls, remedy = told_by_message(answer.code, said) or (class_of_answer(status, answer.code), None)
        if cls is DataRefusedError and not call.has_rows:
            cls = RequestRefusedError
        message = f"Milvus says: {self._excerpt(said) or 'no message'}."
        if cls is UnexpectedAnswerError:
            message = f"Milvus reported success, but the response has no data: {self._excerpt(text)}."
        raise self._error(cls, message, status, answer.code, remedy)

    def _error(
        self,
        cls: type[MilvusRestError],
        message: str,
        status: int,
        code: int | None = None,
        remedy: str | None = None,
    ) -> MilvusRestError:
        remedy = remedy or _REMEDIES.get(cls)
        return cls(f"{message} {remedy}" if remedy else message, code=code, http_status=status)

    def _excerpt(self, text: str, limit: int = 300) -> str:
        """A line of what the server sent, without the token, should it have echoed it."""
        return excerpt(self._mask(text), limit)


def _acknowledged(data: Any, sent: list[Key]) -> UpsertResult:
    found = UpsertData.model_validate(data)
    count, ids = found.upsert_count, found.upsert_ids
    if count != len(sent) or (ids != sent and [*map(str, ids)] != [*map(str, sent)]):  # some versions quote Int64
        raise UnexpectedAnswerError(
            f"Milvus reported {count} upserted rows and {len(ids)} keys, but these are not the {len(sent)} rows and "
            "keys that were sent. Read them back before you trust this collection."
        )
    return UpsertResult.model_construct(upsert_count=count, upsert_ids=sent)


def _keys_of(rows: Any, schema: CollectionSchema, asked: list[Key]) -> set[Key]:
    found: set[Key] = {schema.key_type(row[schema.primary_key.name]) for row in rows}
    if not found.issubset(asked):
        raise ValueError
    return found


def _first_json(text: str) -> tuple[Answer | None, str]:
    """The first JSON object of ``text`` as an answer, and what follows it. None if there is no such object."""
    try:
        value, end = json.JSONDecoder().raw_decode(text.lstrip())
        return Answer.model_validate(value), text.lstrip()[end:]
    except (ValueError, RecursionError):
        return None, ""


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
