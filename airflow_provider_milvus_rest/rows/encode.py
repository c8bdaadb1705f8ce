"""An entity as the JSON text that goes over the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_milvus_rest.exceptions import InputError

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_entity(entity: Mapping[str, Any], position: str | None = None) -> bytes:
    """UTF-8 JSON of ``entity``.

    :raises InputError: naming the field whose value JSON cannot hold (NaN, a datetime, a lone surrogate, …).
    """
    if not isinstance(entity, Mapping):
        raise InputError(
            f"a row must be an object (dict) of field names and values, not {type(entity).__name__}", position=position
        )
    try:
        return _encode(entity if isinstance(entity, dict) else dict(entity)).encode()
    except (TypeError, ValueError, RecursionError):
        for name, value in entity.items():
            if not isinstance(name, str):
                raise InputError(f"a field name must be a str, not {type(name).__name__}", position=position) from None
            reason = _why_not(value)
            if reason:
                raise InputError(f"field {name!r}: {reason}", position=position) from None
        raise


def _why_not(value: Any) -> str | None:
    """Why JSON cannot hold ``value``; None if it can."""
    try:
        _encode(value).encode()
    except UnicodeEncodeError:
        return "text with a lone surrogate, which UTF-8 cannot hold"
    except TypeError as error:
        return f"{error}; convert it before (str(), .tolist(), .isoformat(), …)"
    except ValueError:
        return "NaN, an infinity or a circular reference, none of which JSON can hold"
    except RecursionError:
        return "nested too deeply"
    return None
