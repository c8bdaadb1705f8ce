"""A collection's rows: checked against its schema, strictly, and encoded as the JSON that goes over the wire."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import orjson

from airflow_provider_milvus_rest.exceptions import InputError, RowError, UnsupportedCollectionError
from airflow_provider_milvus_rest.rows import fields, vectors
from airflow_provider_milvus_rest.rows.convert import Convert
from airflow_provider_milvus_rest.rows.schema import DYNAMIC_FIELD, CollectionSchema, FieldSchema, Key
from airflow_provider_milvus_rest.rows.shape import KEY_CHARS, FieldMap, Shape
from airflow_provider_milvus_rest.text import excerpt, name_of

_NULL_FOR_DEFAULT = "is null; Milvus would store the field's default instead: leave it out if you want the default"
_GO_ESCAPES = ((b"<", 5), (b">", 5), (b"&", 5), ("\u2028".encode(), 3), ("\u2029".encode(), 3))
"""Go's encoder writes these as six bytes."""


class RowEncoder:
    """Shapes, checks and encodes the rows of one collection, whose parameters are those of the operator.

    :raises InputError: a parameter names a field that the collection does not have, or its keys cannot be made.
    :raises UnsupportedCollectionError: the collection has a field that this server cannot be sent over REST, or keys of
        its own making (autoID).
    """

    def __init__(
        self,
        schema: CollectionSchema,
        field_map: FieldMap | None = None,
        key_from: Sequence[str] | None = None,
        convert: Convert | None = None,
    ) -> None:
        key = schema.primary_key
        self._key, self._dynamic = key.name, schema.dynamic
        self._not_a_field = f"is not a field of {schema.name!r}, which has no dynamic fields"
        self._outputs = {field.name for field in schema.fields_ if field.function_output}
        # Vectors go last: Milvus looks for each field from the row's beginning, 10 us for a vector it has to pass.
        self._fields = {
            field.name: (b"," + orjson.dumps(field.name) + b":", _check_of(field, schema), field)
            for field in sorted(schema.fields_, key=lambda field: "Vector" in field.type)
            if not field.function_output
        }
        self.shape = Shape(schema, field_map, key_from, convert)
        self.columns = self.shape.columns()
        for parameter, names in {"field_map": self.shape.targets, "convert": convert or ()}.items():
            unknown = [name for name in names if name not in self._fields and name not in self._outputs]
            if unknown and not schema.dynamic:
                raise InputError(f"{parameter}: {unknown[0]!r} {self._not_a_field}")
        if key_from and (key.type != "VarChar" or (key.size or KEY_CHARS) < KEY_CHARS):
            kind = f"{key.type}({key.size})" if key.size else key.type
            why = "" if key.type == "VarChar" else ": a 63-bit hash would be the same for two of some billion rows"
            raise InputError(
                f"key_from makes keys of {KEY_CHARS} characters, which the primary key {key.name!r} of "
                f"{schema.name!r}, {kind}, cannot hold{why}. Use a VarChar key, or give each row its key"
            )

    def encode(self, entity: Any, position: str | None = None) -> tuple[Key, bytes]:
        """The row's primary key, and its JSON text in UTF-8.

        :raises RowError: naming the first field that cannot be stored exactly as it is, and why.
        """
        if not isinstance(entity, Mapping):
            raise RowError(_not_a_row(entity), position=position)
        row = entity if self.shape.is_trivial and type(entity) is dict else self.shape(entity, position)
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
                    raise ValueError(self._missing(entity, name))
            if len(row) > len(parts) // 2:
                extras = []
                for name, value in row.items():
                    if name not in self._fields and (extra := self._extra(name, value)):
                        extras.append(extra)
                size = 1 + sum(map(_size_in_go, extras))
                if size > fields.MAX_JSON_BYTES:
                    name = max((name for name in row if name not in self._fields), key=lambda name: len(str(row[name])))
                    most = fields.MAX_JSON_BYTES
                    raise ValueError(f"brings the dynamic fields to {size} bytes; together they may have {most}")
                parts += extras
        except ValueError as reason:
            at_fault = name_of(name)
            raise RowError(str(reason), position=position, field=at_fault, key=self._shown_key(row, at_fault)) from None
        parts[0] = b"{" + parts[0][1:]
        parts.append(b"}")
        return fields.plain(row[self._key]), b"".join(parts)

    def decode(self, text: bytes) -> dict[str, Any]:
        """A row as it was given, if ``shape.renames_only``, but for what ``field_map`` left out."""
        return self.shape.names(orjson.loads(text))

    def _missing(self, entity: Mapping[Any, Any], field: str) -> str:
        """Why a row has no such field, and what may help."""
        source = self.shape.source(field)
        has = excerpt(", ".join(map(name_of, [*entity][:10])), 200) + ("…" if len(entity) > 10 else "")
        lists = [name for name, value in entity.items() if isinstance(value, (list, tuple)) and value]
        if lists and len(lists) == len(entity) and len({len(entity[name]) for name in lists}) == 1:
            return f"is missing; the row has lists of the same length ({has}): one dict is one row, not columns"
        rows = [name for name in lists if all(isinstance(item, Mapping) for item in entity[name])]
        how = "field_map gives fields other names"
        if rows:
            how = f"if its rows are in {name_of(rows[0])!r}, set rows_path"
        elif field == self._key and self._fields[field][2].type == "VarChar":
            how += ", and key_from makes keys of other values"
        sought = f": the row has no {source!r}" if source != field else ""
        return f"is missing{sought}; it has {has or 'no fields'} ({how})"

    def _extra(self, name: Any, value: Any) -> bytes | None:
        """A dynamic field, or why it cannot be one. A null is none: Milvus drops it as well."""
        if not isinstance(name, str):
            raise ValueError(f"is a field name of type {type(name).__name__}; names must be str")
        if name in self._outputs:
            raise ValueError("is written by a function of the collection: leave it out")
        if not self._dynamic:
            raise ValueError(self._not_a_field)
        if name == DYNAMIC_FIELD:
            raise ValueError("is reserved by Milvus")
        return None if value is None else b"," + fields.string(name) + b":" + fields.dynamic(value)

    def _shown_key(self, row: Mapping[Any, Any], field: str) -> Key | None:
        """The primary key, if it is one, and not the field at fault."""
        key = fields.plain(row.get(self._key))
        is_key = isinstance(key, str) or (isinstance(key, int) and key.bit_length() < 64)
        return key if is_key and field != self._key else None


def _not_a_row(entity: Any) -> str:
    reason = f"a row must be an object (dict) of field names and values, not {type(entity).__name__}"
    if isinstance(entity, (list, tuple, np.ndarray)):
        reason += ": to pair vectors with keys, [{'id': id, 'vector': vector} for id, vector in zip(ids, vectors)]"
    return reason


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
        why = "Milvus before 2.3.6 does not accept it over REST, and versions before 2.3.13 cannot be told apart"
    raise UnsupportedCollectionError(f"Collection {schema.name!r}: field {field.name!r} is of type {kind}: {why}.")
