"""A collection's rows: checked against its schema, strictly, and encoded as the JSON that goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import NotRequired, Required, TypedDict

from airflow_provider_milvus_rest.exceptions import RowError, UnsupportedCollectionError
from airflow_provider_milvus_rest.rows import fields
from airflow_provider_milvus_rest.rows.schema import DYNAMIC_FIELD, CollectionSchema, FieldSchema, Key

# Go's encoder, by which the server measures dynamic fields, writes these as six bytes.
_GO_ESCAPES = ((b"<", 5), (b">", 5), (b"&", 5), ("\u2028".encode(), 3), ("\u2029".encode(), 3))


class EncodedRow(NamedTuple):
    """A row that may be sent: its primary key, and its JSON text in UTF-8."""

    key: Key
    text: bytes


class RowEncoder:
    """Checks and encodes the rows of one collection.

    The row type is a strict pydantic ``TypedDict`` made of the collection's fields, each of which turns its value
    into JSON text or says why it cannot.

    :raises UnsupportedCollectionError: the collection has a field that this server cannot be sent over REST v1, or
        keys of its own making (autoID).
    """

    def __init__(self, schema: CollectionSchema) -> None:
        self._key = schema.primary_key.name
        self._dynamic = schema.dynamic
        self._collection = schema.name
        self._prefixes = {field.name: orjson.dumps(field.name) + b":" for field in schema.fields_}
        self._outputs = {field.name for field in schema.fields_ if field.function_output}
        members: dict[str, Any] = {}
        for field in schema.fields_:
            if not field.function_output:
                members[field.name] = _member(field, _check_of(field, schema))
        make: Any = TypedDict  # at run time, of names that may be no identifiers
        row = with_config(ConfigDict(extra="ignore", hide_input_in_errors=True))(make("Row", members))
        self._adapter: TypeAdapter[dict[str, bytes]] = TypeAdapter(row)

    def encode(self, entity: Any, position: str | None = None) -> EncodedRow:
        """The row's key and text.

        :raises RowError: naming the first field that cannot be stored exactly as it is, and why.
        """
        if not isinstance(entity, Mapping):
            reason = f"a row must be an object (dict) of field names and values, not {type(entity).__name__}"
            raise RowError(reason, position=position)
        row = entity if isinstance(entity, dict) else dict(entity)
        try:
            texts = self._adapter.validate_python(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise self._error(row, str(first["loc"][0]), _reason(first), position) from None
        parts = [self._prefixes[name] + text for name, text in texts.items()]
        if len(row) > len(texts):
            parts += self._extras(row, position)
        return EncodedRow(fields.plain(row[self._key]), b"{" + b",".join(parts) + b"}")

    def _extras(self, row: dict[Any, Any], position: str | None) -> list[bytes]:
        """The dynamic fields of a row, or why there can be none."""
        parts = []
        size = 2
        for name, value in row.items():
            if name in self._prefixes and name not in self._outputs:
                continue
            try:
                text = self._extra(name, value)
            except PydanticCustomError as error:
                raise self._error(row, str(name), error.message(), position) from None
            size += len(text) + 1 + sum(text.count(char) * extra for char, extra in _GO_ESCAPES)
            parts.append(text)
        if size - 1 > fields.MAX_JSON_BYTES:
            longest = max((name for name in row if name not in self._prefixes), key=lambda name: len(str(row[name])))
            reason = f"makes the dynamic fields {size - 1} bytes long, but they may be {fields.MAX_JSON_BYTES} together"
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
        return fields.string(name) + b":" + fields.dynamic(value)

    def _error(self, row: Mapping[Any, Any], field: str, reason: str, position: str | None) -> RowError:
        key = fields.plain(row.get(self._key))
        shown = key if isinstance(key, (int, str)) and field != self._key else None
        return RowError(reason, position=position, field=field, key=shown)


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

    :raises UnsupportedCollectionError: the field cannot be written over REST v1 to this server.
    """
    kind, size = field.type, field.size
    if kind in fields.SCALARS:
        return fields.SCALARS[kind]
    if kind == "VarChar":
        return fields.varchar(size)
    if kind == "FloatVector" and size:
        return fields.float_vector(size)
    if kind == "BinaryVector" and size:
        return fields.binary_vector(size)
    if kind in ("JSON", "Array") and not schema.before_2_3_13:
        return fields.json_field if kind == "JSON" else fields.array_field(fields.SCALARS.get(field.element_type or ""))
    why = "this package cannot write fields of that type"
    if kind in ("JSON", "Array"):
        why = "Milvus before 2.3.6 cannot be sent one over REST, and one before 2.3.13 does not say which it is"
    raise UnsupportedCollectionError(f"Collection {schema.name!r}: field {field.name!r} is of type {kind}: {why}.")
