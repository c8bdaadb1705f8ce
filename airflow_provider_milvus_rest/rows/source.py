"""A row, and the columns that it has in its source."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_milvus_rest.exceptions import RowError
from airflow_provider_milvus_rest.rows.fields import MAX_JSON_BYTES, SCALARS
from airflow_provider_milvus_rest.rows.schema import FieldSchema

EACH = "[]"
"""In a path of :data:`Columns`: each element of a list."""
OCTETS = ("BinaryVector", "Float16Vector", "BFloat16Vector")
"""The types of field that take bytes, and the same in base64."""
ANYTHING = FieldSchema(name="", type="")
"""In :data:`Columns`: no field of the collection, but dynamic, or a document with fields in it."""
Columns = Mapping[str, FieldSchema | None]
"""The collection's fields by the names that the source has for them, or by paths; None for what is left out."""
_MAX_CAPACITY = 4096  # of an Array
_SPARE = 2**19  # dynamic fields, which have 64 KiB together, and $reject, with a text of 100,000 characters; generously
_MOST = 2**23  # so many empty lists take half a gigabyte; a line of 32 MiB holds fewer numbers of a model's output


class Row(NamedTuple):
    """An entity and where it came from: ``path:line``, ``path@byte``, ``path#row``, ``path[index]`` or ``[index]``.

    ``error`` says why the entity is only the source's text, where that could not be read as one; ``was`` is where a row
    of a rejects file came from.
    """

    position: str
    entity: Any
    error: RowError | None = None
    was: str | None = None


def columns_of(columns: Columns, *types: str) -> frozenset[str]:
    """The columns that hold fields of these types."""
    return frozenset(name for name, field in columns.items() if field and field.type in types)


def most_values(*fields: FieldSchema | None) -> int:
    """How many brackets, braces and commas the JSON of such fields holds at most, those in texts too.

    Each takes at least a byte of what Milvus stores, whatever white space or digits are around it.
    """
    most = _SPARE
    for field in fields:
        if field in (None, ANYTHING) or (field.type == "SparseFloatVector" and not field.function_output):
            return _MOST
        kind = field.element_type if field.type == "Array" else field.type
        values = 1 if kind in SCALARS else field.size or MAX_JSON_BYTES
        if field.type == "Array":
            values = (field.capacity or _MAX_CAPACITY) * (values + 1)
        most += len(field.name) + values
    return min(_MOST, most)
