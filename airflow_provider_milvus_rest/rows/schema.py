"""A collection's fields as far as writing rows needs them."""

from functools import cached_property

from pydantic import BaseModel, Field

from airflow_provider_milvus_rest.exceptions import InputError, UnsupportedCollectionError

Key = int | str
DYNAMIC_FIELD = "$meta"
"""What Milvus calls the field that holds the dynamic ones."""
_KEY_TYPES: dict[str, type[int] | type[str]] = {"Int64": int, "VarChar": str}


class FieldSchema(BaseModel, frozen=True):
    """One field.

    ``type`` is Milvus's name without parameters; ``size`` is the dim, or the maximum length in bytes of UTF-8, of an
    Array's VarChar elements too; ``element_type`` and ``capacity`` (elements, at most) are an Array's, where the server
    tells them: REST v2 does. ``function_output`` fields are filled by the server.
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
    """What ``describe`` says of a collection. ``name`` and ``db_name`` are those it was asked for by.

    ``before_2_3_13`` is whether the server is older than Milvus 2.3.13, as far as its description tells. Another
    ``collection_id`` means another collection of the same name; REST v1 does not tell it. Without ``is_loaded`` and
    ``is_indexed``, rows are stored, but can be neither searched nor read.
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

        :raises UnsupportedCollectionError: there is none of a known type, or the server makes the keys (autoID).
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
        """Refuse a partition where a partition key decides: Milvus would refuse every row.

        :raises InputError: saying so.
        """
        key = next((field.name for field in self.fields_ if field.partition_key), None)
        if partition_name is not None and key is not None:
            raise InputError(
                f"partition_name: in collection {self.name!r}, the partition key {key!r} decides which partition a "
                "row goes to: leave it out"
            )

    def unreadable(self) -> str | None:
        """Why rows can be neither searched nor read, if that is so."""
        if not self.is_indexed:
            return f"Collection {self.name!r} has no index: create one, and load it."
        return None if self.is_loaded else f"Collection {self.name!r} is not loaded: load it."
