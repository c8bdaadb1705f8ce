"""What rows come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from airflow_provider_milvus_rest.exceptions import RowError, excerpt
from airflow_provider_milvus_rest.rows.schema import FieldSchema

REJECT = "$reject"
"""The key under which a rejects file says why a row is in it; left out when such a file is read."""
ALTERED = "altered"
"""The key in it of a list of the fields that are not written as they were given."""

Columns = Mapping[str, FieldSchema]
"""The collection's fields by the names that the source has for them."""


Watch = Callable[[Callable[[], float]], None]
"""Takes a function that says which share of a file was read, from 0 to 1, as long as it is open."""


class Row(NamedTuple):
    """An entity and where it came from: ``path:line``, ``path@byte``, ``path#row``, ``path[index]`` or ``[index]``.

    ``error`` says why the entity is only the source's text, where that could not be read as one.
    """

    position: str
    entity: Any
    error: RowError | None = None


class Source(Protocol):
    """Gives rows once, and knows how far it is."""

    def rows(self, columns: Columns) -> Iterator[Row]:
        """The rows; ``columns`` say what a text or an array is meant to be."""

    def share(self) -> float | None:
        """How much of it was given, from 0 to 1; None if that is not known."""


OCTETS = ("BinaryVector", "Float16Vector", "BFloat16Vector")
"""The types of field that take bytes, and the same in base64."""


def columns_of(columns: Columns, *types: str) -> frozenset[str]:
    """The columns that hold fields of these types."""
    return frozenset(name for name, field in columns.items() if field.type in types)


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
    reason = f"{names} is written here otherwise than it was given: put in what it is to be, and remove {ALTERED!r}"
    return Row(position, entity, RowError(reason, position=position, field=REJECT))
