"""Writes and reads the rejects file: JSON Lines of rows, each with the reason why it was rejected.

A line has the row's own keys, and ``$reject`` with ``position``, ``key``, ``field``, ``reason`` and ``code``, which is
removed when the file is read, so that a fixed file can be read as it is. An entity that is not an object is written as
``raw`` in ``$reject``. Fields whose values have no JSON form are listed there as ``altered``, and the row is refused
until ``altered`` is removed.
"""

import base64
import functools
import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from airflow_provider_milvus_rest.exceptions import RowError
from airflow_provider_milvus_rest.rows.source import Row
from airflow_provider_milvus_rest.text import excerpt, name_of, shown

REJECT = "$reject"
ALTERED = "altered"
_MAX_RAW_CHARS = 100_000


def row_of(position: str, entity: Any) -> Row:
    """A row of a file, without the ``$reject`` of a rejects file.

    If it lists altered fields, the row has an error: their values are not those of the original row.
    """
    if not isinstance(entity, dict) or REJECT not in entity:
        return Row(position, entity)
    reject = entity.pop(REJECT)
    was = reject.get("position") if isinstance(reject, dict) else None
    was = was if isinstance(was, str) else None
    altered = _altered(reject)
    if not altered:
        return Row(position, entity, was=was)
    entity[REJECT] = {ALTERED: altered}
    names = excerpt(", ".join(altered))
    reason = (
        f"{names} could not be written to JSON as it was: replace it with the correct value, and remove {ALTERED!r}"
    )
    return Row(position, entity, RowError(reason, position=position, field=REJECT), was)


def _altered(reject: Any) -> list[str]:
    """The names of the fields that a row's ``$reject`` lists as altered."""
    names = reject.get(ALTERED) if isinstance(reject, Mapping) else None
    return [name_of(name) for name in (names if isinstance(names, list) else [names] if names else [])]


def line_of(entity: Any, error: RowError, binary: Collection[str]) -> bytes:
    """A row as a line of a rejects file; ``binary`` are the names of fields that take base64 for bytes."""
    reject = {name: getattr(error, name) for name in ("position", "key", "field", "reason", "code")}
    try:
        text = json.dumps(_row(entity, reject, binary))
    except RecursionError:
        text = json.dumps({REJECT: reject | {"raw": "(nested too deeply to be written here)"}})
    return text.encode() + b"\n"


def _row(entity: Any, reject: dict[str, Any], binary: Collection[str]) -> dict[str, Any]:
    if not isinstance(entity, Mapping):
        raw = entity.decode(errors="replace") if isinstance(entity, bytes) else entity  # a line of a file
        return {REJECT: reject | {"raw": _jsonable(raw, bool)}}
    altered = dict.fromkeys(_altered(entity.get(REJECT)))  # from a row that was not fixed
    row = {}
    for name, value in entity.items():
        note = functools.partial(altered.setdefault, name_of(name))
        if name in binary and isinstance(value, (bytes, bytearray)):
            row[name] = base64.b64encode(value).decode()
            continue
        if not isinstance(name, str):
            note()
        row[name_of(name)] = _jsonable(value, note)
    return row | {REJECT: reject | ({ALTERED: list(altered)} if altered else {})}


def _jsonable(value: Any, note: Callable[[], Any]) -> Any:
    """The nearest JSON value; ``note`` is called if it is not the same."""
    if (
        value is None
        or (isinstance(value, int) and value.bit_length() < 10_000)
        or (isinstance(value, float) and math.isfinite(value))
        or (isinstance(value, str) and len(value) <= _MAX_RAW_CHARS)
    ):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufO" and value.dtype.itemsize <= 8:
        if isinstance(value, np.ma.MaskedArray):
            note()
        return _jsonable(value.tolist(), note)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            note()
        return {name_of(name): _jsonable(member, note) for name, member in value.items()}
    if not isinstance(value, (list, tuple)):
        note()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(member, note) for member in value]
    if isinstance(value, (bytes, bytearray)):
        value = value.decode(errors="replace")
    try:
        text = str(value)
    except Exception:  # see shown
        text = shown(value)
    return text if len(text) <= _MAX_RAW_CHARS else f"{text[:_MAX_RAW_CHARS]}…"
