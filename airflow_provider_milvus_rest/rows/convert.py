"""``convert``: the conversions that a user declares for values that a field does not accept as they are."""

import base64
import datetime
import decimal
import inspect
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from airflow_provider_milvus_rest.rows.fields import plain
from airflow_provider_milvus_rest.text import excerpt

Convert = Mapping[str, str | Callable[[Any], Any]]
"""By field: a name in :data:`NAMED`, or a function of one value."""


def call(function: Callable[[Any], Any], value: Any) -> Any:
    """The result of a user's function for a value.

    :raises ValueError: the function raised an exception.
    """
    try:
        return function(value)
    except Exception as error:  # a user's function may raise anything
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(f"cannot be converted: {kind}{excerpt(str(error))}") from None


def _iso(value: Any) -> str:
    if isinstance(value, (datetime.date, datetime.time)) and value == value:  # pandas' NaT does not equal itself
        return value.isoformat()
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return str(value)
    return _text(value, "a date or time")


def _epoch_ms(value: Any) -> int:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if not isinstance(value, datetime.datetime):
        raise ValueError(f"must be a datetime with a time zone, or an int, not {type(value).__name__}")
    if value.tzinfo is None:
        raise ValueError("has no time zone")
    since: Any = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    milliseconds, rest = divmod(since, datetime.timedelta(milliseconds=1))
    if rest or getattr(value, "nanosecond", 0):  # only in pandas' Timestamp
        raise ValueError("has a fraction of a millisecond")
    return int(milliseconds)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, decimal.Decimal, np.integer, np.floating)):
        raise ValueError(f"must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("is too large for a float") from None


def _str(value: Any) -> str:
    if isinstance(value, (int, float, decimal.Decimal, uuid.UUID, np.number)) and not isinstance(value, bool):
        text = str(plain(value))
        if not isinstance(value, uuid.UUID) and not text.lstrip("-")[0].isdecimal():
            raise ValueError(f"is {text}, which is not a number: use None for no value")
        return text
    return _text(value, "a number or a UUID")


def _uuid(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)) and len(value) == 16:
        return str(uuid.UUID(bytes=bytes(value)))
    return str(value) if isinstance(value, uuid.UUID) else _text(value, "a UUID or its 16 bytes")


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else _text(value, "bytes")


def _text(value: Any, expected: str) -> str:
    """A str, which is already converted."""
    if isinstance(value, str):
        return value
    raise ValueError(f"must be {expected}, or a str, not {type(value).__name__}")


NAMED: dict[str, Callable[[Any], Any]] = {
    "iso": _iso,
    "epoch_ms": _epoch_ms,
    "str": _str,
    "float": _float,
    "uuid": _uuid,
    "base64": _base64,
}
"""The conversions that ``convert`` accepts by name. Each returns its own results unchanged."""


def described(convert: Convert | None) -> dict[str, Any] | None:
    """Conversions as JSON, functions by name and source; None if these do not fully describe one."""
    found: dict[str, Any] = dict(convert or {})
    for field, how in found.items():
        try:
            if not isinstance(how, str):
                state = how.__defaults__, how.__kwdefaults__
                json.dumps(state)
                found[field] = [how.__module__, how.__qualname__, inspect.getsource(how), *state]
        except (AttributeError, OSError, TypeError, ValueError):  # no function whose source and state are known
            return None
        if getattr(how, "__closure__", None) or hasattr(how, "__self__"):
            return None
    return found
