"""A client for Milvus's REST API. Its methods return data or raise exceptions, and do not retry."""

import calendar
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

import orjson
import requests
from pydantic import TypeAdapter

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.rest import codes
from airflow_provider_milvus_rest.rest.dialects import DIALECTS, Call
from airflow_provider_milvus_rest.rest.masking import Masking
from airflow_provider_milvus_rest.rest.models import Answer, UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rest.transport import Transport
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, Key
from airflow_provider_milvus_rest.text import excerpt

_KEYS_PER_CALL = 1000  # Milvus returns at most 16,384 rows
UNREADABLE_KEYS = (-(2**63), 2**63 - 1)
"""Milvus parses a filter's digits without the sign, so the first is out of range, and the call fails. Milvus 2.3.5 does
not find the second."""
_T = TypeVar("_T")


class MilvusRestClient:
    """Calls one server. It is thread-safe. Use it as a context manager, or call :meth:`close`.

    Every method raises a :class:`~airflow_provider_milvus_rest.exceptions.MilvusRestError`.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._dialect = DIALECTS[settings.api_version]
        self._is_milvus = False  # whether Milvus has responded
        mask = Masking(settings.token.get_secret_value() if settings.token else None)
        # One line of what the server sent, without the token.
        self._excerpt: Callable[[str], str] = lambda text: excerpt(mask(text))
        self._transport = Transport(settings, self._excerpt)

    def __enter__(self) -> "MilvusRestClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    def abort(self) -> None:
        """Close all connections. A thread that waits for a response gets a ConnectError."""
        self._transport.abort()

    def check_partition(self, partition_name: str) -> None:
        """Raise InputError if this version of the API cannot write into a partition (v1)."""
        if not self._dialect.has_partitions:
            raise e.InputError(
                f"partition_name is {partition_name!r:.60}, but REST v1 writes only into the default partition: omit "
                "it, or set the connection's field api_version to v2"
            )

    def upsert(self, request: UpsertRequest, keys: Sequence[Key]) -> UpsertResult:
        """Send one upsert request.

        :param keys: the primary keys of its rows, in order.
        :raises UnexpectedAnswerError: Milvus reports success, but for other rows.
        """
        read = partial(_acknowledged, sent=list(keys))
        return self._call(self._dialect.upsert(request), "upsertCount and upsertIds", read)

    def describe_collection(self, collection_name: str, db_name: str | None = None) -> CollectionSchema:
        """The fields of a collection or of an alias."""
        read = partial(self._dialect.read_schema, collection_name=collection_name, db_name=db_name)
        call = self._dialect.ask(self._dialect.describe_path, db_name, collection_name)
        return self._call(call, "fields of a collection", read)

    def list_collections(self, db_name: str | None = None) -> list[str]:
        """The names of a database's collections."""
        call = self._dialect.ask(self._dialect.list_path, db_name)
        return self._call(call, "list of names", TypeAdapter(list[str]).validate_python)

    def stored_keys(self, schema: CollectionSchema, keys: Sequence[Key], partition_name: str | None = None) -> set[Key]:
        """Return those of these primary keys that the server finds. Its consistency level may hide recent writes.

        The ends of the Int64 range are not found: -2**63 is not queried, and Milvus 2.3.5 does not find 2**63-1.

        :param partition_name: the partition to search, with ``api_version`` v2; default: all.
        :raises RequestRefusedError: for example, if the collection was not loaded when it was described (code 101).
        :raises NotReadyError: for example, if it was, but is not now.
        """
        if partition_name is not None:
            self.check_partition(partition_name)
        return set(self.read_rows(schema, keys, partition_name, schema.primary_key.name))

    def read_rows(
        self, schema: CollectionSchema, keys: Sequence[Key], partition_name: str | None = None, fields: str = "*"
    ) -> dict[Key, dict[str, Any]]:
        """Return the stored rows with these primary keys, by key. The notes of :meth:`stored_keys` apply.

        :param fields: the name of one field; default: all fields, including dynamic ones.
        """
        keys = [key for key in keys if key != UNREADABLE_KEYS[0]]
        found: dict[Key, dict[str, Any]] = {}
        for start in range(0, len(keys), _KEYS_PER_CALL):
            asked = keys[start : start + _KEYS_PER_CALL]
            call = self._dialect.find(schema, asked, partition_name, fields)
            found |= self._call(call, "rows of the requested keys", partial(_rows_of, schema=schema, asked=set(asked)))
        return found

    def _call(self, call: Call, expected: str, read: Callable[[Any], _T]) -> _T:
        """Send a call, and return the response's data as parsed by ``read``."""
        try:
            answer = self._answer(*self._transport.send(call), call)
            try:
                return read(answer.data)
            except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
                found = self._excerpt(json.dumps(answer.data))
                message = f"Milvus reported success, but the response has no {expected}: {found}"
                raise e.UnexpectedAnswerError(message, code=answer.code) from None
        except e.UnexpectedAnswerError:
            self.close()  # responses on a connection may be out of step with the requests
            raise

    def _answer(self, response: requests.Response, text: str, call: Call) -> Answer:
        """Return the answer if it reports success and nothing contradicts it, or raise the error."""
        status, where = response.status_code, self.settings.base_url
        answer, rest = _first_json(text)
        cls, code, remedy = codes.class_of_answer(status), None, None
        self._is_milvus = self._is_milvus or answer is not None
        if answer is None and status == 400 and "HTTPS" in text:
            cls, message = e.ConnectionSettingsError, f"{where} uses TLS: write the connection's host with https://."
        elif answer is None and response.is_redirect:
            location = self._excerpt(response.headers["Location"])
            message = f"{where} sent a redirect to {location!r}, which is not followed."
        elif answer is None:
            found = f"{self._excerpt(text)!r} instead of Milvus's JSON" if text.strip() else "an empty response"
            message = f"{where} sent {found}."
            may_be_cut = '{"code"'.startswith(text.lstrip()[:7])  # how Milvus's responses begin
            if cls is e.UnexpectedAnswerError and not (self._is_milvus or call.has_rows or may_be_cut):
                cls, remedy = e.WrongEndpointError, codes.CHECK_PORT
        elif answer.code in self._dialect.success and answer.data is not None:
            if status == 200 and not rest.strip():
                return answer
            # Milvus appends a second response when its rate limiter refuses; other text may follow, too.
            found = self._excerpt(rest) or f"HTTP {status}"
            message = f"Milvus reported success, but the response also contained {found!r}."
        else:
            code, said = answer.code, answer.message or ""
            cls, remedy = codes.class_of_message(code, said) or (codes.class_of_answer(status, code), None)
            if cls is e.DataRefusedError and not call.has_rows:
                cls = e.RequestRefusedError
            if code == 101 and call.reads:  # a restarted Milvus accepts writes before reads
                cls = e.NotReadyError
            message = f"Milvus says: {self._excerpt(said) or 'no message'}."
            if cls is e.UnexpectedAnswerError:
                message = f"Milvus reported success, but the response has no data: {self._excerpt(text)}."
            elif cls is e.NotFoundError and call.collection_name:  # some versions name only its id
                message = f"Collection {call.collection_name!r}: {message}"
        remedy = remedy or codes.REMEDIES.get(cls)
        error = cls(f"{message} {remedy}" if remedy else message, code=code, http_status=status)
        error.retry_after = _retry_after(response.headers.get("Retry-After", ""))
        error.timed_out = status in (408, 502, 504) or code == 10001
        raise error


def _acknowledged(data: Any, sent: list[Key]) -> UpsertResult:
    result = UpsertResult.model_validate(data)
    count, ids = result.upsert_count, result.upsert_ids
    if count != len(sent) or (ids != sent and [*map(str, ids)] != [*map(str, sent)]):  # some versions quote Int64
        raise e.UnexpectedAnswerError(
            f"Milvus reported {count} upserted rows and {len(ids)} keys, but these are not the {len(sent)} rows and "
            "keys that were sent. Read the rows back before you rely on this collection."
        )
    return result.model_copy(update={"upsert_ids": sent})


def _rows_of(rows: Any, schema: CollectionSchema, asked: set[Key]) -> dict[Key, dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {schema.key_type(row[schema.primary_key.name]): row for row in rows}
    if not found.keys() <= asked:
        raise ValueError
    return found


def _first_json(text: str) -> tuple[Answer | None, str]:
    """Return the first JSON object of ``text`` as an answer (None if there is none), and the text that follows it."""
    with suppress(ValueError):  # usually nothing follows
        return Answer.model_validate(orjson.loads(text)), ""
    try:
        value, end = json.JSONDecoder().raw_decode(text.lstrip())
        return Answer.model_validate(value), text.lstrip()[end:]
    except (ValueError, RecursionError):
        return None, ""


def _retry_after(header: str) -> float | None:
    """Return the seconds of a header with seconds or a date (RFC 9110), or None if it is neither."""
    try:
        if header.strip().isdecimal():
            return float(header)
        date = parsedate_to_datetime(header)  # without a time zone if it is in the form of C's asctime
        return max(0.0, calendar.timegm(date.utctimetuple()) - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
