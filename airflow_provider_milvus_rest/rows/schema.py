"""The schema of a collection, as far as it is needed to write rows."""

from functools import cached_property

from pydantic import BaseModel, Field

from airflow_provider_milvus_rest.exceptions import InputError, UnsupportedCollectionError

Key = int | str
DYNAMIC_FIELD = "$meta"
"""Milvus's name for the field that contains the dynamic fields."""
_KEY_TYPES: dict[str, type[int] | type[str]] = {"Int64": int, "VarChar": str}


class FieldSchema(BaseModel, frozen=True):
    """One field.

    ``type`` is Milvus's name without parameters. ``size`` is the dimension, or the maximum length in UTF-8 bytes, also
    for an Array's VarChar elements. ``element_type`` and ``capacity`` (maximum number of elements) are for an Array, if
    the server reports them: REST v2 does. ``function_output`` fields are filled by the server.
    """

    name: str
    type: str
    size: int | None = None
    primary_key: bool = False
    partition_key: bool = False
    auto_id: bool = False
    nullable: bool = False
    has_default: bool = False
    function_output: bool = False
    element_type: str | None = None
    capacity: int | None = None


class CollectionSchema(BaseModel, frozen=True):
    """What ``describe`` returns for a collection. ``name`` and ``db_name`` are those of the request.

    ``before_2_3_13`` is whether the server is older than Milvus 2.3.13, as far as its response shows. A different
    ``collection_id`` means a different collection of the same name; REST v1 does not report it. If ``is_indexed`` or
    ``is_loaded`` is False, rows are stored but cannot be searched or read.
    """

    name: str
    db_name: str | None = None
    fields_: tuple[FieldSchema, ...]
    dynamic: bool = False
    before_2_3_13: bool = False
    collection_id: int | None = None
    is_loaded: bool = Field(True, exclude=True)
    is_indexed: bool = Field(True, exclude=True)

    @cached_property
    def primary_key(self) -> FieldSchema:
        """The primary key field.

        :raises UnsupportedCollectionError: there is none of a supported type, or the server generates it (autoID).
        """
        where = f"Collection {self.name!r}"
        field = next((field for field in self.fields_ if field.primary_key), None)
        if field is None or field.type not in _KEY_TYPES:
            kind = f"of type {field.type}" if field else "missing"
            raise UnsupportedCollectionError(f"{where}: its primary key is {kind}, not Int64 or VarChar.")
        if field.auto_id:
            raise UnsupportedCollectionError(
                f"{where} has an autoID primary key ({field.name!r}): Milvus makes a new key for "
                "every row, so a row cannot be replaced and a retry would store it twice. Create the collection "
                "with autoID off, and give each row its key."
            )
        return field

    @property
    def key_type(self) -> type[int] | type[str]:
        """``int`` or ``str``."""
        return _KEY_TYPES[self.primary_key.type]

    def check_partition(self, partition_name: str | None) -> None:
        """Refuse a partition if the collection has a partition key: Milvus would refuse every row.

        :raises InputError: there is both a partition and a partition key.
        """
        key = next((field.name for field in self.fields_ if field.partition_key), None)
        if partition_name is not None and key is not None:
            raise InputError(
                f"partition_name: in collection {self.name!r}, the partition key {key!r} decides which partition a "
                "row goes to: leave it out"
            )

    def unreadable(self) -> str | None:
        """Why rows cannot be searched or read; None if they can."""
        load = f"client.load_collection({self.name!r}) in pymilvus."
        if not self.is_indexed:
            return f"Collection {self.name!r} has no index. Create one with client.create_index, and then call {load}"
        return None if self.is_loaded else f"Collection {self.name!r} is not loaded. Load it: {load}"
