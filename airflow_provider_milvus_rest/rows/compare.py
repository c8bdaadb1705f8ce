"""Compares a row that Milvus returns with the encoded row, as ``docs/exactness.md`` promises."""

import base64
import decimal
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from airflow_provider_milvus_rest.exceptions import RowError, UnsupportedCollectionError
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.text import name_of, shown

_MISSING: Any = object()


def first_difference(schema: CollectionSchema, text: bytes, row: Mapping[str, Any]) -> RowError | None:
    """The first field in which a stored row differs from the encoded one; None if there is none.

    Fields that Milvus fills are not compared: outputs of functions, and defaults of fields that a row leaves out.

    :raises UnsupportedCollectionError: REST does not return a field.
    """
    encoded, stored = orjson.loads(text), dict(row)
    for field in schema.fields_:
        name, is_given, is_found = field.name, field.name in encoded, field.name in stored
        given, found = encoded.pop(name, None), stored.pop(name, None)
        if field.function_output or (field.has_default and not is_given):
            continue
        if not is_found and not field.nullable:
            raise UnsupportedCollectionError(
                f"Collection {schema.name!r}: Milvus's REST API does not return the field {name!r} "
                f"({field.type}), so its rows cannot be compared."
            )
        try:
            values = _read(field, given, found)
        except (AttributeError, TypeError, ValueError):  # not what Milvus sends for such a field
            values = given, found
        if not _same(*values):
            return _named(name, given, found, *values)
    for name in [*stored, *encoded]:  # dynamic fields
        given, found = encoded.get(name, _MISSING), stored.get(name, _MISSING)
        if not _same(given, found) and not _same(_as_returned(given), found):
            return _named(name, given, found, given, found)
    return None


def _as_returned(value: Any) -> Any:
    """A dynamic field's integer as REST returns it: Milvus reads it as a float64, whatever is stored."""
    return int(decimal.Decimal(repr(float(value)))) if type(value) is int else value


def _named(name: str, given: Any, found: Any, *values: Any) -> RowError:
    """How a field differs, by its JSON; of lists, the first element whose ``values`` differ."""
    at = ""
    if isinstance(given, list) and isinstance(found, list) and len(given) == len(found):
        index = next((i for i, pair in enumerate(zip(*values, strict=True)) if not _same(*pair)), 0)
        at, given, found = f"[{index}] ", given[index], found[index]
    if found is _MISSING:
        return RowError("is not stored", field=name_of(name))
    expected = "but the row does not have it" if given is _MISSING else f"not {shown(given)}"
    return RowError(f"{at}is {shown(found)} in Milvus, {expected}", field=name_of(name))


def _read(field: FieldSchema, given: Any, found: Any) -> tuple[Any, Any]:
    """The values that the JSON of a field stands for."""
    if given is None or found is None:
        return given, found
    kind = field.type
    if kind == "Array":
        kind = f"{field.element_type}Data"
        if field.element_type is None and isinstance(found, list) and {*map(type, given)} == {float}:
            numbers = {*map(type, found)} <= {int, float}  # of Float or Double: REST v1 does not report it
            kind = "FloatData" if numbers and not _same(given, found) else kind
        if isinstance(found, dict):  # Milvus 2.3: {"Data": {"FloatData": {"data": [0.5, 2]}}}
            ((kind, values),) = (found.get("Data") or {"": {}}).items()
            found = values.get("data") or []
    read = _READ.get(kind)
    return (read(given), read(found)) if read else (given, found)


def _same(given: Any, found: Any) -> bool:
    """Whether two JSON values are equal: 1 equals 1.0, but not true."""
    if isinstance(given, bool) or isinstance(found, bool):
        return given is found
    if isinstance(given, dict) and isinstance(found, dict):
        return given.keys() == found.keys() and all(_same(value, found[name]) for name, value in given.items())
    if isinstance(given, list) and isinstance(found, list):
        return len(given) == len(found) and all(map(_same, given, found))
    return np.array_equal(given, found) if isinstance(given, np.ndarray) else bool(given == found)


def _json(value: Any) -> Any:
    if isinstance(value, str):  # JSON text, which REST v1 of Milvus 2.3 and 2.4 returns in base64
        return orjson.loads(value if value[:1] in ("{", "[") else base64.b64decode(value))
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    # Some versions quote Int64.
    **dict.fromkeys(("Int8", "Int16", "Int32", "Int64"), lambda n: int(n) if isinstance(n, str) else n),
    **dict.fromkeys(("Float", "FloatVector", "FloatData"), lambda value: np.asarray(value, np.float32)),
    **dict.fromkeys(
        ("BinaryVector", "Float16Vector", "BFloat16Vector", "Int8Vector"),
        lambda value: base64.b64decode(value) if isinstance(value, str) else bytes(n & 0xFF for n in value),
    ),
    "SparseFloatVector": lambda weights: {int(index): np.float32(weight) for index, weight in weights.items()},
    "JSON": _json,
}
"""By field type, how to read its JSON forms; values of other types are compared as they are."""
