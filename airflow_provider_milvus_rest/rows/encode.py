"""A collection's rows: checked against its schema, strictly, and encoded as the JSON that goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from airflow_provider_milvus_rest.exceptions import InputError, RowError, UnsupportedCollectionError
from airflow_provider_milvus_rest.rows import fields, vectors
from airflow_provider_milvus_rest.rows.schema import DYNAMIC_FIELD, CollectionSchema, FieldSchema, Key
from airflow_provider_milvus_rest.text import name_of

FieldMap = Mapping[str, str | None]
"""From a source's names to the collection's fields; None for what is to be left out."""
_NULL_FOR_DEFAULT = "is null, for which Milvus would store the field's default: leave it out to get that"
_GO_ESCAPES = ((b"<", 5), (b">", 5), (b"&", 5), ("\u2028".encode(), 3), ("\u2029".encode(), 3))
"""Go's encoder writes these as six bytes."""


class RowEncoder:
    """Checks and encodes the rows of one collection.

    :param field_map: names that the rows have for fields of the collection; None for one that is to be left out.
    :raises InputError: ``field_map`` names a field that the collection does not have.
    :raises UnsupportedCollectionError: the collection has a field that this server cannot be sent over REST, or keys of
        its own making (autoID).
    """

    def __init__(self, schema: CollectionSchema, field_map: FieldMap | None = None) -> None:
        self._key = schema.primary_key.name
        self._dynamic = schema.dynamic
        self._not_a_field = f"is not a field of {schema.name!r}, which has no dynamic fields"
        self._map = dict(field_map or {})
        self._unmap = {field: name for name, field in self._map.items() if field is not None}
        self._outputs = {field.name for field in schema.fields_ if field.function_output}
        # Vectors go last: Milvus looks for each field from the row's beginning, 10 us for a vector it has to pass.
        self._fields = {
            field.name: (b"," + orjson.dumps(field.name) + b":", _check_of(field, schema), field)
            for field in sorted(schema.fields_, key=lambda field: "Vector" in field.type)
            if not field.function_output
        }
        unknown = [name for name in self._unmap if name not in self._fields and name not in self._outputs]
        if unknown and not schema.dynamic:
            raise InputError(f"field_map: {unknown[0]!r} {self._not_a_field}")
        self.columns: dict[str, FieldSchema | None] = {
            self._unmap.get(field.name, field.name): field
            for field in schema.fields_
            if field.name in self._unmap or field.name not in self._map
        } | {name: None for name, field in self._map.items() if field is None}
        """The fields by the names that the rows have for them, and None for what is left out."""

    def encode(self, entity: Any, position: str | None = None) -> tuple[Key, bytes]:
        """The row's primary key, and its JSON text in UTF-8.

        :raises RowError: naming the first field that cannot be stored exactly as it is, and why.
        """
        row = entity
        if type(entity) is not dict:
            if not isinstance(entity, Mapping):
                reason = f"a row must be an object (dict) of field names and values, not {type(entity).__name__}"
                raise RowError(reason, position=position)
            row = dict(entity)
        if self._map:
            row = self._mapped(row, position)
        parts: list[bytes] = []
        name: Any = None
        try:
            for name, (prefix, check, field) in self._fields.items():
                if name in row:
                    value = row[name]
                    if value is None and field.has_default:
                        raise ValueError(_NULL_FOR_DEFAULT)
                    parts += (prefix, b"null" if value is None and field.nullable else check(value))
                elif not field.nullable and not field.has_default:
                    raise ValueError("is missing")
            if len(row) > len(parts) // 2:
                extras = []
                for name, value in row.items():
                    if name not in self._fields:
                        extras.append(self._extra(name, value))
                size = 1 + sum(map(_size_in_go, extras))
                if size > fields.MAX_JSON_BYTES:
                    name = max((name for name in row if name not in self._fields), key=lambda name: len(str(row[name])))
                    most = fields.MAX_JSON_BYTES
                    raise ValueError(f"makes the dynamic fields {size} bytes long, but they may be {most} together")
                parts += extras
        except ValueError as reason:
            at_fault = name_of(name)
            raise RowError(str(reason), position=position, field=at_fault, key=self._shown_key(row, at_fault)) from None
        parts[0] = b"{" + parts[0][1:]
        parts.append(b"}")
        return fields.plain(row[self._key]), b"".join(parts)

    def decode(self, text: bytes) -> dict[str, Any]:
        """An encoded row as it was given, but for what ``field_map`` left out."""
        return {self._unmap.get(name, name): value for name, value in orjson.loads(text).items()}

    def _mapped(self, row: dict[Any, Any], position: str | None) -> dict[Any, Any]:
        mapped: dict[Any, Any] = {}
        for name, value in row.items():
            field = self._map.get(name, name)
            if field in mapped:
                reason = f"comes twice: also as {self._unmap[field]!r}, by field_map"
                raise RowError(reason, position=position, field=field)
            if field is not None:
                mapped[field] = value
        return mapped

    def _extra(self, name: Any, value: Any) -> bytes:
        """A dynamic field, or why it cannot be one."""
        if not isinstance(name, str):
            raise ValueError(f"is a field name of type {type(name).__name__}, not str")
        if name in self._outputs:
            raise ValueError("is written by a function of the collection: leave it out")
        if not self._dynamic:
            raise ValueError(self._not_a_field)
        if name == DYNAMIC_FIELD:
            raise ValueError("is reserved by Milvus")
        return b"," + fields.string(name) + b":" + fields.dynamic(value)

    def _shown_key(self, row: Mapping[Any, Any], field: str) -> Key | None:
        """The primary key, if it is one, and not the field at fault."""
        key = fields.plain(row.get(self._key))
        is_key = isinstance(key, str) or (isinstance(key, int) and key.bit_length() < 64)
        return key if is_key and field != self._key else None


def _size_in_go(text: bytes) -> int:
    """The length of a text as Go's encoder writes it, by which the server measures dynamic fields."""
    return len(text) + sum(text.count(char) * more for char, more in _GO_ESCAPES)


def _check_of(field: FieldSchema, schema: CollectionSchema) -> fields.Check:
    """How a field's values are checked.

    :raises UnsupportedCollectionError: the field cannot be written over REST to this server.
    """
    kind, size, old = field.type, field.size, schema.before_2_3_13
    if kind in fields.SCALARS:
        return fields.SCALARS[kind]
    if kind == "VarChar":
        return partial(fields.varchar, size)
    if kind in vectors.VECTORS and size:
        return partial(vectors.VECTORS[kind], size)
    if kind == "BinaryVector" and size:
        return partial(vectors.binary_vector, old, size)
    if kind == "SparseFloatVector":
        return vectors.sparse_vector
    if kind == "JSON" and not old:
        return fields.json_field
    if kind == "Array" and not old:
        name = field.element_type or ""
        element = partial(fields.varchar, size) if name == "VarChar" else fields.SCALARS.get(name)
        return partial(fields.array_field, "Array", element, field.capacity)
    why = "this package cannot write fields of that type"
    if kind in ("JSON", "Array"):
        why = "Milvus before 2.3.6 cannot be sent one over REST, and one before 2.3.13 does not say which it is"
    raise UnsupportedCollectionError(f"Collection {schema.name!r}: field {field.name!r} is of type {kind}: {why}.")
