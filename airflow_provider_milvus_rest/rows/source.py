"""What rows come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from airflow_provider_milvus_rest.exceptions import RowError, excerpt
from airflow_provider_milvus_rest.rows.fields import MAX_JSON_BYTES, SCALARS
from airflow_provider_milvus_rest.rows.schema import FieldSchema

REJECT = "$reject"
"""The key under which a rejects file says why a row is in it; left out when such a file is read."""
ALTERED = "altered"
"""The key in it of a list of the fields that are not written as they were given."""

Columns = Mapping[str, FieldSchema | None]
"""The collection's fields by the names that the source has for them; None for what ``field_map`` leaves out."""


class Row(NamedTuple):
    """An entity and where it came from: ``path:line``, ``path@byte``, ``path#row``, ``path[index]`` or ``[index]``.

    ``error`` says why the entity is only the source's text, where that could not be read as one.
    """

    position: str
    entity: Any
    error: RowError | None = None


class Source(Protocol):
    """Gives rows once, and says how much of them it has given."""

    def rows(self, columns: Columns) -> Iterator[Row]:
        """The rows; ``columns`` say what a text or an array is meant to be."""

    def share(self) -> float | None:
        """How much was given, from 0 to 1; None if that is not known."""


OCTETS = ("BinaryVector", "Float16Vector", "BFloat16Vector")
"""The types of field that take bytes, and the same in base64."""


def columns_of(columns: Columns, *types: str) -> frozenset[str]:
    """The columns that hold fields of these types."""
    return frozenset(name for name, field in columns.items() if field and field.type in types)


_MAX_CAPACITY = 4096
"""Of an Array."""
_SPARE = 2**19
"""For dynamic fields, which have 64 KiB together, and ``$reject``, with a text of 100,000 characters; generously."""


def most_values(*fields: FieldSchema | None) -> float:
    """How many brackets, braces and commas the JSON of such fields holds at most, those in texts too.

    Each takes at least a byte of what Milvus stores, whatever white space or digits are around it.
    """
    return _SPARE + sum(map(_most_values, fields))


def _most_values(field: FieldSchema | None) -> float:
    if field is None or (field.type == "SparseFloatVector" and not field.function_output):
        return math.inf
    kind = field.element_type if field.type == "Array" else field.type
    most = 1 if kind in SCALARS else field.size or MAX_JSON_BYTES
    return len(field.name) + (most if field.type != "Array" else (field.capacity or _MAX_CAPACITY) * (most + 1))


def row_of(position: str, entity: Any) -> Row:
    """A row of a file, without the reason why it is in a rejects file.

    What JSON does not have is written there as something else, which must not be stored as if it had been given.
    """
    if not isinstance(entity, dict) or REJECT not in entity:
        return Row(position, entity)
    reject = entity.pop(REJECT)
    altered = reject.get(ALTERED) if isinstance(reject, dict) else None
    if not altered:
        return Row(position, entity)
    entity[REJECT] = {ALTERED: altered}
    names = excerpt(", ".join(map(str, altered)) if isinstance(altered, list) else str(altered))
    reason = (
        f"{names} could not be written to JSON as it was: replace it with the correct value, and remove {ALTERED!r}"
    )
    return Row(position, entity, RowError(reason, position=position, field=REJECT))
