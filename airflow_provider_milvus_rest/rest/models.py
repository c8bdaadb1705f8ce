"""Requests and responses of the REST API, as Milvus documents them."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictInt, StrictStr, StringConstraints

Name = Annotated[StrictStr, StringConstraints(min_length=1)]


class UpsertRequest(BaseModel, frozen=True):
    """The body of an upsert. ``data`` is one entity as JSON text in UTF-8, or a list of them.

    Entities are already encoded: batches are limited by encoded bytes, and nothing should be encoded twice.
    """

    collection_name: Name
    db_name: Name | None = None
    partition_name: Name | None = None
    data: bytes | Annotated[list[bytes], Field(min_length=1)]


class Answer(BaseModel):
    """The envelope of every response. A failure has a ``message`` and no ``data``."""

    code: StrictInt
    message: str | None = None
    data: Any = None


class UpsertResult(BaseModel, frozen=True, populate_by_name=True):
    """What one upsert request wrote: the ``data`` of a successful response.

    ``upsert_ids`` holds the primary keys in the order of the request: ``int`` for an Int64 key, ``str`` for VarChar.
    """

    upsert_count: StrictInt = Field(validation_alias="upsertCount", ge=0)
    upsert_ids: list[StrictInt | StrictStr] = Field(validation_alias="upsertIds")
