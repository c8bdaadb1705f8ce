"""A collection's fields as far as writing rows needs them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from airflow_provider_milvus_rest.exceptions import InputError, UnsupportedCollectionError, excerpt

Key = int | str
_KEY_TYPES: dict[str, type[int] | type[str]] = {"Int64": int, "VarChar": str}
_INT64 = range(-(2**63), 2**63)


class FieldSchema(BaseModel):
    """One field. ``type`` is Milvus's name without parameters; ``size`` is the dim or the maximum length in bytes."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    size: int | None = None
    primary_key: bool = False
    auto_id: bool = False


class CollectionSchema(BaseModel):
    """What ``describe`` says of a collection. ``name`` and ``db_name`` are those it was asked for by."""

    model_config = ConfigDict(frozen=True)

    name: str
    db_name: str | None = None
    fields_: tuple[FieldSchema, ...]
    dynamic: bool = False

    @cached_property
    def primary_key(self) -> FieldSchema:
        """The primary key field.

        :raises UnsupportedCollectionError: there is none of a known type, or the server makes the keys (autoID).
        """
        field = next((field for field in self.fields_ if field.primary_key), None)
        if field is None or field.type not in _KEY_TYPES:
            kind = f"of type {field.type}" if field else "missing"
            raise UnsupportedCollectionError(
                f"Collection {self.name!r}: its primary key is {kind}, not Int64 or VarChar."
            )
        if field.auto_id:
            raise UnsupportedCollectionError(
                f"Collection {self.name!r} has an autoID primary key ({field.name!r}): Milvus makes a new key for "
                "every row, so a row cannot be replaced and a retry would store it twice. Create the collection "
                "with autoID off, and give each row its key."
            )
        return field

    @property
    def key_type(self) -> type[int] | type[str]:
        """``int`` or ``str``."""
        return _KEY_TYPES[self.primary_key.type]

    def key_of(self, entity: Mapping[str, Any], position: str | None = None) -> Key:
        """The entity's primary key, exactly as given.

        :raises InputError: it is missing, of another type (a bool is no int), or beyond 64 bits.
        """
        name, kind = self.primary_key.name, self.key_type
        if name not in entity:
            found = ", ".join(repr(key) for key in list(entity)[:10])
            raise InputError(
                f"the primary key {name!r} is missing; the row has {found or 'no fields'}", position=position
            )
        key = entity[name]
        if type(key) is not kind:
            raise InputError(
                f"the primary key {name!r} must be {_article(kind)}, not {type(key).__name__} {excerpt(repr(key), 60)}",
                position=position,
            )
        if isinstance(key, int) and key not in _INT64:
            raise InputError(f"the primary key {name!r} is beyond 64 bits: {key}", position=position)
        return key


def _article(kind: type) -> str:
    return "an int (Int64)" if kind is int else "a str (VarChar)"
