"""A collection's rows: checked against its schema, strictly, and encoded as the JSON that goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import NotRequired, Required, TypedDict

from airflow_provider_milvus_rest.exceptions import InputError, RowError, UnsupportedCollectionError
from airflow_provider_milvus_rest.rows import fields
from airflow_provider_milvus_rest.rows.schema import DYNAMIC_FIELD, CollectionSchema, FieldSchema, Key
from airflow_provider_milvus_rest.text import name_of

FieldMap = Mapping[str, str | None]
"""From a source's names to the collection's fields; None for what is to be left out."""
# Go's encoder, by which the server measures dynamic fields, writes these as six bytes.
_GO_ESCAPES = ((b"<", 5), (b">", 5), (b"&", 5), ("\u2028".encode(), 3), ("\u2029".encode(), 3))


class RowEncoder:
    """Checks and encodes the rows of one collection.

    The row type is a strict pydantic ``TypedDict`` made of the collection's fields, each of which turns its value
    into JSON text or says why it cannot.

    :param field_map: names that the rows have for fields of the collection; None for one that is to be left out.
    :raises InputError: ``field_map`` names a field that the collection does not have.
    :raises UnsupportedCollectionError: the collection has a field that this server cannot be sent over REST, or keys of
        its own making (autoID).
    """

    def __init__(self, schema: CollectionSchema, field_map: FieldMap | None = None) -> None:
        self._key = schema.primary_key.name
        self._dynamic = schema.dynamic
        self._collection = schema.name
        self._prefixes = {field.name: b"," + orjson.dumps(field.name) + b":" for field in schema.fields_}
        self._outputs = {field.name for field in schema.fields_ if field.function_output}
        self._map = dict(field_map or {})
        self._unmap = {field: name for name, field in self._map.items() if field is not None}
        if not schema.dynamic and (unknown := [field for field in self._unmap if field not in self._prefixes]):
            raise InputError(f"field_map: {unknown[0]!r} is no field of {schema.name!r}, which has no dynamic fields")
        members: dict[str, Any] = {}
        # Vectors go last: Milvus looks for each field from the row's beginning, 10 us for a vector it has to pass.
        for field in sorted(schema.fields_, key=lambda field: "Vector" in field.type):
            if not field.function_output:
                members[field.name] = _member(field, _check_of(field, schema))
        make: Any = TypedDict  # at run time, of names that may be no identifiers
        row = with_config(ConfigDict(extra="ignore", hide_input_in_errors=True))(make("Row", members))
        self.columns: dict[str, FieldSchema | None] = {
            self._unmap.get(field.name, field.name): field
            for field in schema.fields_
            if field.name in self._unmap or field.name not in self._map
        } | {name: None for name, field in self._map.items() if field is None}
        """The fields by the names that the rows have for them, and None for what is left out."""
        self._validate = TypeAdapter(row).validator.validate_python

    def encode(self, entity: Any, position: str | None = None) -> tuple[Key, bytes]:
        """The row's primary key, and its JSON text in UTF-8.

        :raises RowError: naming the first field that cannot be stored exactly as it is, and why.
        """
        if type(entity) is not dict and not isinstance(entity, Mapping):
            reason = f"a row must be an object (dict) of field names and values, not {type(entity).__name__}"
            raise RowError(reason, position=position)
        row = entity if isinstance(entity, dict) else dict(entity)
        if self._map:
            row = self._mapped(row, position)
        try:
            texts: dict[str, bytes] = self._validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise self._error(row, str(first["loc"][0]), _reason(first), position) from None
        parts: list[bytes] = []
        for name, text in texts.items():
            parts += (self._prefixes[name], text)
        if len(row) > len(texts):
            parts += self._extras(row, position)
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

    def _extras(self, row: dict[Any, Any], position: str | None) -> list[bytes]:
        """The dynamic fields of a row, or why there can be none."""
        parts = []
        size = 1
        for name, value in row.items():
            if name in self._prefixes and name not in self._outputs:
                continue
            try:
                text = self._extra(name, value)
            except PydanticCustomError as error:
                raise self._error(row, name_of(name), error.message(), position) from None
            size += len(text) + sum(text.count(char) * extra for char, extra in _GO_ESCAPES)
            parts.append(text)
        if size > fields.MAX_JSON_BYTES:
            longest = max((name for name in row if name not in self._prefixes), key=lambda name: len(str(row[name])))
            reason = f"makes the dynamic fields {size} bytes long, but they may be {fields.MAX_JSON_BYTES} together"
            raise self._error(row, longest, reason, position)
        return parts

    def _extra(self, name: Any, value: Any) -> bytes:
        if not isinstance(name, str):
            raise fields.refuse(f"is a field name of type {type(name).__name__}, not str")
        if name in self._outputs:
            raise fields.refuse("is written by a function of the collection: leave it out")
        if not self._dynamic:
            raise fields.refuse(f"is no field of {self._collection!r}, which has no dynamic fields")
        if name == DYNAMIC_FIELD:
            raise fields.refuse("is a name that Milvus keeps for itself")
        return b"," + fields.string(name) + b":" + fields.dynamic(value)

    def _error(self, row: Mapping[Any, Any], field: str, reason: str, position: str | None) -> RowError:
        key = fields.plain(row.get(self._key))
        is_key = field != self._key and (isinstance(key, str) or (isinstance(key, int) and key.bit_length() < 64))
        return RowError(reason, position=position, field=field, key=key if is_key else None)


def _reason(error: Any) -> str:
    return "is missing" if error["type"] == "missing" else str(error["msg"])


def _member(field: FieldSchema, check: fields.Check) -> Any:
    """The type of one key of the row type."""

    def nullable(value: Any) -> bytes:
        return b"null" if value is None else check(value)

    def defaulting(value: Any) -> bytes:
        if value is None:
            raise fields.refuse("is null, for which Milvus would store the field's default: leave it out to get that")
        return check(value)

    if field.has_default:
        return NotRequired[Annotated[Any, PlainValidator(defaulting)]]
    if field.nullable:
        return NotRequired[Annotated[Any, PlainValidator(nullable)]]
    return Required[Annotated[Any, PlainValidator(check)]]


def _check_of(field: FieldSchema, schema: CollectionSchema) -> fields.Check:
    """How a field's values are checked.

    :raises UnsupportedCollectionError: the field cannot be written over REST to this server.
    """
    kind, size = field.type, field.size
    if kind in fields.SCALARS:
        return fields.SCALARS[kind]
    if kind == "VarChar":
        return fields.varchar(size)
    if kind == "BinaryVector" and size:
        return fields.binary_vector(size, as_list=schema.before_2_3_13)
    if kind in fields.VECTORS and size:
        return fields.VECTORS[kind](size)
    if kind == "SparseFloatVector":
        return fields.sparse_vector
    if kind == "JSON" and not schema.before_2_3_13:
        return fields.json_field
    if kind == "Array" and not schema.before_2_3_13:
        name = field.element_type or ""
        element = fields.varchar(size) if name == "VarChar" else fields.SCALARS.get(name)
        return fields.array_field(element, field.capacity)
    why = "this package cannot write fields of that type"
    if kind in ("JSON", "Array"):
        why = "Milvus before 2.3.6 cannot be sent one over REST, and one before 2.3.13 does not say which it is"
    raise UnsupportedCollectionError(f"Collection {schema.name!r}: field {field.name!r} is of type {kind}: {why}.")
