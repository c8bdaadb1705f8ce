"""Milvus's REST API: calls out, data or exceptions back. No retries here."""

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

_READ_AT_ONCE = 1000  # rows; Milvus gives back 16,384 at most
_UNREADABLE_KEY = -(2**63)  # Milvus reads a filter's digits without their sign: out of range, and the whole call fails
_T = TypeVar("_T")


class MilvusRestClient:
    """Calls one server, also from several threads. Use it as a context manager, or :meth:`close` it.

    Every method raises a :class:`~airflow_provider_milvus_rest.exceptions.MilvusRestError`.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._dialect = DIALECTS[settings.api_version]
        self._is_milvus = False  # whether Milvus has answered
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
        """Cut the connections: a thread that waits for an answer gets a ConnectError."""
        self._transport.abort()

    def check_partition(self, partition_name: str) -> None:
        """Raise an InputError if this version of the API cannot write into a partition, as v1."""
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
        """Which of these primary keys a collection holds, as far as the server's consistency level shows.

        The ends of Int64 are never found: -2**63 cannot be asked for, and Milvus 2.3.5 does not find 2**63-1.

        :param partition_name: the partition to look in, with ``api_version`` v2; default all of them.
        :raises RequestRefusedError: for example, the collection is not loaded (code 101).
        """
        if partition_name is not None:
            self.check_partition(partition_name)
        return set(self.read_rows(schema, keys, partition_name, schema.primary_key.name))

    def read_rows(
        self, schema: CollectionSchema, keys: Sequence[Key], partition_name: str | None = None, fields: str = "*"
    ) -> dict[Key, dict[str, Any]]:
        """The rows of these primary keys that are stored, by key; as :meth:`stored_keys` else.

        :param fields: the name of one field; default all, and the dynamic ones.
        """
        keys = [key for key in keys if key != _UNREADABLE_KEY]
        found: dict[Key, dict[str, Any]] = {}
        for start in range(0, len(keys), _READ_AT_ONCE):
            asked = keys[start : start + _READ_AT_ONCE]
            call = self._dialect.find(schema, asked, partition_name, fields)
            found |= self._call(call, "rows of the keys asked for", partial(_rows_of, schema=schema, asked=set(asked)))
        return found

    def _call(self, call: Call, expected: str, read: Callable[[Any], _T]) -> _T:
        """What ``read`` makes of the answer's data."""
        try:
            answer = self._answer(*self._transport.send(call), call)
            try:
                return read(answer.data)
            except (AttributeError, KeyError, TypeError, ValueError):
                found = self._excerpt(json.dumps(answer.data))
                message = f"Milvus reported success, but the response has no {expected}: {found}"
                raise e.UnexpectedAnswerError(message, code=answer.code) from None
        except e.UnexpectedAnswerError:
            self.close()  # the answers on a connection may be out of step with the requests
            raise

    def _answer(self, response: requests.Response, text: str, call: Call) -> Answer:
        """The answer, if it reports success and nothing contradicts it."""
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
            found = f"not Milvus's JSON but {self._excerpt(text)!r}" if text.strip() else "an empty answer"
            message = f"{where} sent {found}."
            may_be_cut = '{"code"'.startswith(text.lstrip()[:7])  # Milvus's answers begin so
            if cls is e.UnexpectedAnswerError and not (self._is_milvus or call.has_rows or may_be_cut):
                cls, remedy = e.WrongEndpointError, codes.CHECK_PORT
        elif answer.code in self._dialect.success and answer.data is not None:
            if status == 200 and not rest.strip():
                return answer
            # Milvus appends a second answer when its limiter refuses; something else may follow, too.
            found = self._excerpt(rest) or f"HTTP {status}"
            message = f"Milvus reported success, but the response also contained {found!r}."
        else:
            code, said = answer.code, answer.message or ""
            cls, remedy = codes.told_by_message(code, said) or (codes.class_of_answer(status, code), None)
            if cls is e.DataRefusedError and not call.has_rows:
                cls = e.RequestRefusedError
            message = f"Milvus says: {self._excerpt(said) or 'no message'}."
            if cls is e.UnexpectedAnswerError:
                message = f"Milvus reported success, but the response has no data: {self._excerpt(text)}."
        remedy = remedy or codes.REMEDIES.get(cls)
        error = cls(f"{message} {remedy}" if remedy else message, code=code, http_status=status)
        error.retry_after = _retry_after(response.headers.get("Retry-After", ""))
        error.timed_out = status in (408, 504) or code == 10001
        raise error


def _acknowledged(data: Any, sent: list[Key]) -> UpsertResult:
    result = UpsertResult.model_validate(data)
    count, ids = result.upsert_count, result.upsert_ids
    if count != len(sent) or (ids != sent and [*map(str, ids)] != [*map(str, sent)]):  # some versions quote Int64
        raise e.UnexpectedAnswerError(
            f"Milvus reported {count} upserted rows and {len(ids)} keys, but these are not the {len(sent)} rows and "
            "keys that were sent. Read them back before you trust this collection."
        )
    return result.model_copy(update={"upsert_ids": sent})


def _rows_of(rows: Any, schema: CollectionSchema, asked: set[Key]) -> dict[Key, dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {schema.key_type(row[schema.primary_key.name]): row for row in rows}
    if not found.keys() <= asked:
        raise ValueError
    return found


def _first_json(text: str) -> tuple[Answer | None, str]:
    """The first JSON object of ``text`` as an answer, and what follows it. None if there is no such object."""
    with suppress(ValueError):  # most are nothing else
        return Answer.model_validate(orjson.loads(text)), ""
    try:
        value, end = json.JSONDecoder().raw_decode(text.lstrip())
        return Answer.model_validate(value), text.lstrip()[end:]
    except (ValueError, RecursionError):
        return None, ""


def _retry_after(header: str) -> float | None:
    """Seconds, of a header that has seconds or a date (RFC 9110); None if it has neither."""
    try:
        if header.strip().isdecimal():
            return float(header)
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
