"""A row, and the columns of its source."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from airflow_provider_milvus_rest.exceptions import RowError
from airflow_provider_milvus_rest.rows.fields import MAX_JSON_BYTES, SCALARS
from airflow_provider_milvus_rest.rows.schema import FieldSchema

EACH = "[]"
"""In a path of :data:`Columns`: each element of a list."""
BINARY = ("BinaryVector", "Float16Vector", "BFloat16Vector")
"""The field types that accept bytes, and the same in base64."""
ANYTHING = FieldSchema(name="", type="")
"""In :data:`Columns`: a column of which no field is known."""
CALLED = FieldSchema(name="", type="()")
"""In :data:`Columns`: a column that a ``convert`` function gets as it is, for a field that is not text."""
ENTERED = FieldSchema(name="", type="{}")
"""In :data:`Columns`: an object or list that a path goes into, or text if another column is only named like a path."""
OBJECT = FieldSchema(name="", type="object")
"""In :data:`Columns`: an object that is replaced by its members."""
OTHERS = "*"
"""In :data:`Columns`: all columns that are not listed, if they are left out."""
Columns = Mapping[str, FieldSchema | None]
"""The collection's fields by their names or paths in the source; None for a column that is left out."""
_IMMUTABLE = frozenset((bool, int, float, str, type(None)))
_MAX_CAPACITY = 4096  # of an Array
_SPARE = 2**19  # generous: all dynamic fields together have 64 KiB, and $reject has a text of 100,000 characters
_MOST = 2**23  # this many empty lists take half a gigabyte; 32 MiB of a model's output have fewer numbers


class Row(NamedTuple):
    """An entity and where it came from: ``path:line``, ``path@byte``, ``path#row``, ``path[index]`` or ``[index]``.

    ``error`` is why the row cannot be read, if it cannot; ``entity`` is then what the source contains. ``rows_path`` is
    the path at which the row was in a document; it is kept in rejects files, where the row is no longer in one.
    """

    position: str
    entity: Any
    error: RowError | None = None
    rows_path: str | None = None


def copied(value: Any, levels: int = 20) -> Any:
    """A copy of a row, down to ``levels`` below it."""
    if levels and isinstance(value, Mapping):
        return {name: copied(member, levels - 1) for name, member in value.items()}
    if levels and isinstance(value, list):
        return value[:] if _IMMUTABLE.issuperset(map(type, value)) else [copied(item, levels - 1) for item in value]
    return value.copy() if isinstance(value, (np.ndarray, bytearray)) else value


def field_of(columns: Columns, name: str) -> FieldSchema | None:
    """The field that a column holds; None if the column is left out."""
    return columns.get(name, columns.get(OTHERS, ANYTHING))


def most_values(*fields: FieldSchema | None) -> int:
    """The maximum number of brackets, braces and commas in the JSON of these fields, also inside strings.

    Each takes at least a byte of what Milvus stores, whatever white space or digits are around it.
    """
    most = _SPARE
    for field in fields:
        sparse = field and field.type == "SparseFloatVector" and not field.function_output
        if field in (None, ANYTHING, CALLED, ENTERED, OBJECT) or field.type == "Text" or sparse:
            return _MOST
        kind = field.element_type if field.type == "Array" else field.type
        values = 1 if kind in SCALARS else field.size or MAX_JSON_BYTES
        if field.type == "Array":
            values = (field.capacity or _MAX_CAPACITY) * (values + 1)
        most += len(field.name) + values
    return min(_MOST, most)
