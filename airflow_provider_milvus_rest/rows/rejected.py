"""Writes and reads the rejects file: JSON Lines of rows, each with the reason why it was rejected.

A line has the row's own keys, and ``$reject`` with ``position``, ``key``, ``field``, ``reason`` and ``code``, and for a
row of a document the ``rows_path`` where it was. ``$reject`` is removed when the row is read, so that a fixed file can
be read as it is. An entity that is not an object is written as ``raw`` in ``$reject``. Fields whose values have no JSON
form are listed there as ``altered``, and the row is refused until ``altered`` is removed.
"""

import base64
import functools
import json
import math
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from airflow_provider_milvus_rest.exceptions import RowError
from airflow_provider_milvus_rest.rows.fields import plain
from airflow_provider_milvus_rest.rows.schema import FieldSchema
from airflow_provider_milvus_rest.rows.source import BINARY, Columns, Row
from airflow_provider_milvus_rest.text import excerpt, name_of, shown

REJECT = "$reject"
ALTERED = "altered"
_MAX_RAW_CHARS = 100_000
_NO_COLUMNS: Columns = {}


def restored(row: Row) -> Row:
    """A row of any source without the ``$reject`` of a rejects file.

    If it lists altered fields, the row has an error: their values are not those of the original row.
    """
    entity = row.entity
    if (type(entity) is not dict and not isinstance(entity, Mapping)) or REJECT not in entity:
        return row
    reject = entity[REJECT] if isinstance(entity[REJECT], Mapping) else {}
    entity, error = {name: value for name, value in entity.items() if name != REJECT}, row.error
    if altered := _altered(reject):
        entity[REJECT] = {ALTERED: altered}
        reason = "could not be written to JSON as it was: replace it with the correct value, and remove "
        reason += f"{shown(altered[0])} from {ALTERED!r}"
        if altered[1:]:
            reason += f"; the same for {excerpt(', '.join(altered[1:]))}"
        error = error or RowError(reason, position=row.position, field=altered[0])
    elif "raw" in reject and not entity:
        entity = reject["raw"]
    path = reject.get("rows_path")
    return Row(row.position, entity, error, row.rows_path or (path if isinstance(path, str) else None))


def _altered(reject: Any) -> list[str]:
    """The names of the fields that a row's ``$reject`` lists as altered."""
    names = reject.get(ALTERED) if isinstance(reject, Mapping) else None
    names = names.tolist() if isinstance(names, np.ndarray) else names  # pandas
    return [name_of(name) for name in (names if isinstance(names, list) else [names] if names else [])]


def line_of(entity: Any, error: RowError, columns: Columns, rows_path: str | None = None) -> bytes:
    """A row as a line of a rejects file; ``rows_path`` is the row's (see :class:`Row`)."""
    reject = {name: getattr(error, name) for name in ("position", "key", "field", "reason", "code")}
    if rows_path:
        reject["rows_path"] = rows_path
    try:
        text = json.dumps(_row(entity, reject, columns))
    except RecursionError:
        text = json.dumps({REJECT: reject | {"raw": "(nested too deeply to be written here)"}})
    return text.encode() + b"\n"


def _row(entity: Any, reject: dict[str, Any], columns: Columns) -> dict[str, Any]:
    if not isinstance(entity, Mapping):
        raw = entity.decode(errors="replace") if isinstance(entity, bytes) else entity  # a line of a file
        return {REJECT: reject | {"raw": _jsonable(raw, bool)}}
    altered = dict.fromkeys(_altered(entity.get(REJECT)))  # from a row that was not fixed
    row = _object(entity, lambda name: functools.partial(altered.setdefault, name), columns)
    return row | {REJECT: reject | ({ALTERED: list(altered)} if altered else {})}


def _object(value: Mapping[Any, Any], note_of: Callable[[str], Callable[[], Any]], columns: Columns) -> dict[str, Any]:
    """The nearest JSON object. ``columns`` are the fields by their names or paths in the object."""
    found, paths = {}, {path: field for path, field in columns.items() if path not in value}
    for key, member in value.items():
        name = name_of(key)
        note = note_of(name)
        if not isinstance(key, str):
            note()
        inner = {path.removeprefix(f"{name}."): field for path, field in paths.items() if path.startswith(f"{name}.")}
        found[name] = _jsonable(member, note, columns.get(key), inner)
    return found


def _jsonable(
    value: Any, note: Callable[[], Any], field: FieldSchema | None = None, columns: Columns = _NO_COLUMNS
) -> Any:
    """The nearest JSON value; ``note`` is called if it is not the same, also for the ``field`` that it is stored in."""
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
    if isinstance(value, array):
        return _jsonable(value.tolist(), note)
    if isinstance(value, Mapping):
        if field and field.type == "SparseFloatVector":
            indices = [plain(name) for name in value]
            names = [str(n) if type(n) is int and n.bit_length() < 64 else n for n in indices]
            value = dict(zip(names, value.values(), strict=True)) if len({*names}) == len(names) else value
        return _object(value, lambda _: note, columns)
    if isinstance(value, (bytes, bytearray)):
        if field and field.type in BINARY:
            return base64.b64encode(value).decode()
        value = value.decode(errors="replace")
        note()
    elif not isinstance(value, (list, tuple)):
        note()
    if isinstance(value, (list, tuple, set, frozenset)):
        if columns:
            return [*_object({str(index): item for index, item in enumerate(value)}, lambda _: note, columns).values()]
        return [_jsonable(item, note) for item in value]
    try:
        text = str(value)
    except Exception:  # see shown
        text = shown(value)
    return text if len(text) <= _MAX_RAW_CHARS else f"{text[:_MAX_RAW_CHARS]}…"
