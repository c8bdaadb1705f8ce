"""Whether a row that Milvus gives back is the one that was encoded, by what ``docs/exactness.md`` promises."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from airflow_provider_milvus_rest.exceptions import RowError, UnsupportedCollectionError
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.text import name_of, shown

_MISSING: Any = object()


class Comparison:
    """Compares rows of one collection.

    Not compared are the fields that Milvus fills: outputs of functions, and defaults of fields that a row leaves out.
    """

    def __init__(self, schema: CollectionSchema) -> None:
        self._name = schema.name
        self._fields = {field.name: (field, _KINDS.get(field.type, _same)) for field in schema.fields_}

    def difference(self, text: bytes, stored: Mapping[str, Any]) -> RowError | None:
        """The first field in which a stored row is not the encoded one.

        :raises UnsupportedCollectionError: REST does not give a field back.
        """
        row = orjson.loads(text)
        for name, (field, same) in self._fields.items():
            given, found = row.pop(name, _MISSING), stored.get(name, _MISSING)
            if field.function_output or (given is _MISSING and field.has_default):
                continue
            if found is _MISSING and not field.nullable:
                raise UnsupportedCollectionError(
                    f"Collection {self._name!r}: Milvus's REST API does not give back the field {name!r} "
                    f"({field.type}), so its rows cannot be compared."
                )
            given, found = (None if value is _MISSING else value for value in (given, found))
            if (given is None) != (found is None) or (given is not None and not same(given, found, field)):
                return _named(name, given, found)
        for name, value in stored.items():
            if name not in self._fields and (name not in row or not _same(row.pop(name), value, None)):
                return _named(name, row.get(name, _MISSING), value)
        for name, value in row.items():
            return _named(name, value, _MISSING)
        return None


def _named(name: str, given: Any, found: Any) -> RowError:
    at = ""
    if isinstance(given, list) and isinstance(found, list) and len(given) == len(found):
        index = next((i for i, pair in enumerate(zip(given, found, strict=True)) if pair[0] != pair[1]), 0)
        at, given, found = f"[{index}] ", given[index], found[index]
    if found is _MISSING:
        return RowError("is not stored", field=name_of(name))
    expected = "the row does not have it" if given is _MISSING else f"not {shown(given)}"
    return RowError(f"{at}is {shown(found)} in Milvus, {expected}", field=name_of(name))


def _same(given: Any, found: Any, _: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(given, bool) or isinstance(found, bool):
        return given is found
    if isinstance(given, dict) and isinstance(found, dict):
        return given.keys() == found.keys() and all(_same(value, found[name], None) for name, value in given.items())
    if isinstance(given, list) and isinstance(found, list):
        return len(given) == len(found) and all(map(_same, given, found, given))
    return bool(given == found)


def _integer(given: Any, found: Any, _: Any) -> bool:
    return bool(given == (int(found) if isinstance(found, str) else found))  # some versions quote Int64


def _single(given: Any, found: Any, _: Any) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(np.asarray(given, np.float32), np.asarray(found, np.float32)))


def _octets(given: Any, found: Any, _: Any) -> bool:
    given, found = (base64.b64decode(v) if isinstance(v, str) else bytes(n & 0xFF for n in v) for v in (given, found))
    return bool(given == found)


def _sparse(given: Any, found: Any, _: Any) -> bool:
    given, found = ({int(i): np.float32(w) for i, w in weights.items()} for weights in (given, found))
    return bool(given == found)


def _json(given: Any, found: Any, _: Any) -> bool:
    if isinstance(found, str):  # its text, which v1 of Milvus 2.3 and 2.4 gives back in base64
        found = orjson.loads(found if found[:1] in ("{", "[") else base64.b64decode(found))
    return _same(given, found, None)


def _array(given: Any, found: Any, field: FieldSchema) -> bool:
    kind = field.element_type
    if isinstance(found, dict):  # Milvus 2.3: {"Data": {"LongData": {"data": [1, 2]}}}
        ((kind, values),) = (found.get("Data") or {"": {}}).items()
        found = values.get("data") or []
    return (_single if kind in ("Float", "FloatData") else _same)(given, found, None)


_KINDS: dict[str, Callable[[Any, Any, Any], bool]] = {
    **dict.fromkeys(("Int8", "Int16", "Int32", "Int64"), _integer),
    **dict.fromkeys(("Float", "FloatVector"), _single),
    **dict.fromkeys(("BinaryVector", "Float16Vector", "BFloat16Vector", "Int8Vector"), _octets),
    **{"SparseFloatVector": _sparse, "JSON": _json, "Array": _array},
}
"""By type of field; the others are equal as JSON."""
