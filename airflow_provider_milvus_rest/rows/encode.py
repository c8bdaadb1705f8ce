"""Checks a collection's rows strictly against its schema, and encodes them as the JSON that is sent."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import orjson

from airflow_provider_milvus_rest.exceptions import InputError, RowError, UnsupportedCollectionError
from airflow_provider_milvus_rest.rows import fields, vectors
from airflow_provider_milvus_rest.rows.convert import Convert
from airflow_provider_milvus_rest.rows.rejected import REJECT
from airflow_provider_milvus_rest.rows.schema import DYNAMIC_FIELD, CollectionSchema, FieldSchema, Key
from airflow_provider_milvus_rest.rows.shape import KEY_CHARS, FieldMap, Shape
from airflow_provider_milvus_rest.text import excerpt, name_of

_NULL_FOR_DEFAULT = "is null; Milvus would store the field's default instead: leave it out if you want the default"
# How many bytes longer these are in Go's JSON, in which the server measures dynamic fields.
_GO_ESCAPES = {b"<": 5, b">": 5, b"&": 5, "\u2028".encode(): 3, "\u2029".encode(): 3}
_LISTS = (list, tuple, np.ndarray)
_PAIR = "to pair vectors with keys, use [{'id': id, 'vector': vector} for id, vector in zip(ids, vectors)]"


class RowEncoder:
    """Shapes, checks and encodes the rows of one collection. The parameters are the operator's.

    :raises InputError: a parameter names a field that is not in the collection, or ``key_from`` cannot make its keys.
    :raises UnsupportedCollectionError: the collection has a field that cannot be sent to this server over REST, or
        generates its keys (autoID).
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
        self._vectors = {field.name for field in schema.fields_ if "Vector" in field.type}
        # Vectors go last: Milvus searches for each field from the start of the row, and takes 10 us to skip a vector.
        self._fields = {
            field.name: (b"," + orjson.dumps(field.name) + b":", _check_of(field, schema), field)
            for field in sorted(schema.fields_, key=lambda field: field.name in self._vectors)
            if not field.function_output
        }
        # The nullable fields that no row has contained so far, not even as null.
        self.left_out = {name for name, (_, _, field) in self._fields.items() if field.nullable}
        self.shape = Shape(schema, field_map, key_from, convert)
        self.columns = self.shape.columns()
        for parameter, names in {"field_map": self.shape.sources, "convert": convert or ()}.items():
            unknown = [name for name in names if name not in self._fields and name not in self._outputs]
            if unknown and not schema.dynamic:
                raise InputError(f"{parameter}: {unknown[0]!r} {self._not_a_field}")
        if key_from and (key.type != "VarChar" or (key.size or KEY_CHARS) < KEY_CHARS):
            kind = f"{key.type}({key.size})" if key.size else key.type
            why = "" if key.type == "VarChar" else ": a 63-bit hash would give two of a few billion rows the same key"
            raise InputError(
                f"key_from makes keys of {KEY_CHARS} characters, which the primary key {key.name!r} of "
                f"{schema.name!r}, {kind}, cannot hold{why}. Use a VarChar key, or give each row a key"
            )

    def encode(self, entity: Any, position: str | None = None) -> tuple[Key, bytes]:
        """The row's primary key, and its JSON text in UTF-8.

        :raises RowError: a field cannot be stored exactly as it is. Names the first such field and the reason.
        """
        if not isinstance(entity, Mapping):
            hint = f": {_PAIR}" if isinstance(entity, (*_LISTS, float, int, np.number)) else ""
            hint = next((f": use {method}()" for method in ("_asdict", "model_dump") if hasattr(entity, method)), hint)
            reason = f"a row must be an object (dict) of field names and values, not {type(entity).__name__}{hint}"
            raise RowError(reason, position=position)
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
                    raise ValueError("is missing")
            if len(row) > len(parts) // 2:
                extras = {}
                for name, value in row.items():
                    if name not in self._fields and (extra := self._extra(name, value)):
                        extras[name] = extra
                text = b"".join(extras.values())
                size = 1 + len(text) + sum(text.count(char) * more for char, more in _GO_ESCAPES.items())
                if size > fields.MAX_JSON_BYTES:
                    name = max(extras, key=lambda name: len(extras[name]))
                    limit = fields.JSON_LIMIT
                    raise ValueError(f"brings the dynamic fields to {size} bytes; their limit is {limit}")
                parts.append(text)
        except ValueError as error:
            at_fault, reason = name_of(name), self._explained(str(error), entity, row, name)
            raise RowError(reason, position=position, field=at_fault, key=self._shown_key(row, at_fault)) from None
        if self.left_out:
            self.left_out = self.left_out.difference(row)
        parts[0] = b"{" + parts[0][1:]
        parts.append(b"}")
        key = row[self._key]
        return str.__str__(key) if isinstance(key, str) else fields.plain(key), b"".join(parts)

    def decode(self, text: bytes) -> dict[str, Any]:
        """A row as it was given, without what ``field_map`` left out. Only works if ``shape.renames_only``."""
        return {self.shape.sources.get(field, field): value for field, value in orjson.loads(text).items()}

    def _explained(self, reason: str, entity: Mapping[Any, Any], row: Mapping[Any, Any], name: Any) -> str:
        """Why a field is refused, with a hint if it is missing, or if the entity is not a single row."""
        has = excerpt(", ".join(map(name_of, [*entity][:10])), 200) + ("…" if len(entity) > 10 else "")
        lists = {key: value for key, value in entity.items() if _is_list(value)}
        nested = {vector for vector in self._vectors if _is_list(row.get(vector)) and all(map(_is_list, row[vector]))}
        alike = len(lists) == len(entity) > 1 and len(set(map(len, lists.values()))) == 1
        if alike and self._vectors & row.keys() <= nested:
            return f"{reason}; the row has lists of the same length ({has}): one dict is one row, not columns"
        if name in row:
            return f"is a list of vectors ({len(row[name])}), but a row has one: {_PAIR}" if name in nested else reason
        source = self.shape.sources.get(name, name)
        if source == name in entity:
            why = "field_map renames" if name in self.shape.sources.values() else "field_map leaves out"
            return f"{reason}: {why} {name!r}; the row has {has}"
        sought = f": the row has no {source!r}" if source != name else ""
        how = "field_map can rename fields"
        if rows := [key for key, value in lists.items() if all(isinstance(item, Mapping) for item in value)]:
            how = f"if its rows are in {name_of(rows[0])!r}, set rows_path"
        elif name == self._key and self._fields[name][2].type == "VarChar":
            how += ", and key_from can make the key"
        return f"{reason}{sought}; the row has {has or 'no fields'} ({how})"

    def _extra(self, name: Any, value: Any) -> bytes | None:
        """A dynamic field as JSON, or ValueError with the reason. None for null: Milvus drops it, too."""
        if not isinstance(name, str):
            raise ValueError(f"is a field name of type {type(name).__name__}; names must be str")
        if name in self._outputs:
            raise ValueError(
                "is written by a function of the collection, and this package never sends such a field, even if Milvus "
                "is configured to accept it: leave it out (field_map can do it)"
            )
        if not self._dynamic:
            raise ValueError(self._not_a_field)
        if name == REJECT:
            raise ValueError("is not part of the row: fix the row, and leave it out")
        if name == DYNAMIC_FIELD:
            raise ValueError("is reserved by Milvus")
        return None if value is None else b"," + fields.string(name) + b":" + fields.dynamic(value)

    def _shown_key(self, row: Mapping[Any, Any], field: str) -> Key | None:
        """The primary key, if it is valid and not the field at fault."""
        key = fields.plain(row.get(self._key))
        is_key = isinstance(key, str) or (isinstance(key, int) and key.bit_length() < 64)
        return key if is_key and field != self._key else None


def _is_list(value: Any) -> bool:
    return isinstance(value, _LISTS) and getattr(value, "ndim", 1) > 0 and len(value) > 0


def _check_of(field: FieldSchema, schema: CollectionSchema) -> fields.Check:
    """The check of a field's values, or UnsupportedCollectionError if they cannot be sent to this server."""
    kind, size, old = field.type, field.size, schema.before_2_3_13
    varchar = partial(fields.varchar, size)
    checks = fields.SCALARS | {
        "VarChar": varchar,
        "Text": partial(fields.varchar, None),
        "SparseFloatVector": vectors.sparse_vector,
    }
    if size:
        checks |= {name: partial(check, size) for name, check in vectors.VECTORS.items()}
        checks["BinaryVector"] = partial(vectors.binary_vector, old, size)
    if not old:
        element = varchar if field.element_type == "VarChar" else fields.SCALARS.get(field.element_type or "")
        checks |= {"JSON": fields.json_field, "Array": partial(fields.array_field, "Array", element, field.capacity)}
    if kind not in checks:
        why = "this package cannot write fields of that type"
        if kind in ("JSON", "Array"):
            why = "Milvus before 2.3.6 does not accept it over REST, and versions before 2.3.13 cannot be told apart"
        raise UnsupportedCollectionError(f"Collection {schema.name!r}: field {field.name!r} is of type {kind}: {why}.")
    return checks[kind]
