"""Encoded rows gathered into one request."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_milvus_rest.rows.schema import Key


@dataclass(slots=True)
class Pending:
    """A row to send: its key, encoded text, position, number in the source, and the ``earlier`` row that it replaces.

    ``given`` is the row as it was read, if the text is not enough to restore it; ``rows_path`` is the row's.
    """

    key: Key
    text: bytes
    position: str
    index: int = 0
    given: Any = None
    rows_path: str | None = None
    earlier: "Pending | None" = None


@dataclass
class Batch:
    """Rows by primary key, up to ``max_rows`` and ``max_bytes`` of encoded text.

    Keys are unique within a batch: Milvus before 2.6.8 stores two rows with one key in a request twice, and later
    versions refuse the request.
    """

    max_rows: int
    max_bytes: int
    rows: dict[Key, Pending] = field(default_factory=dict)
    _held: int = 0  # replaced rows are kept, so they count too
    _bytes: int = 0

    def has_room(self, row: Pending) -> bool:
        """Whether one more row fits. An empty batch has room for any: a larger row is sent in its own request."""
        return not self._held or (self._held < self.max_rows and self._bytes + len(row.text) + 1 <= self.max_bytes)

    def add(self, row: Pending) -> bool:
        """Add a row; True if it replaces an earlier row with its key."""
        row.earlier = self.rows.pop(row.key, None)
        self.rows[row.key] = row
        self._held += 1
        self._bytes += len(row.text) + 1
        return row.earlier is not None

    def take(self) -> dict[Key, Pending]:
        """Return the rows in order, and empty the batch."""
        rows, self.rows, self._held, self._bytes = self.rows, {}, 0, 0
        return rows


def by_size(rows: list[Pending], max_bytes: int) -> Iterator[list[Pending]]:
    """Split rows into groups of up to ``max_bytes`` of encoded text; a larger row is a group of its own."""
    group: list[Pending] = []
    size = 0
    for row in rows:
        size += len(row.text) + 1
        if group and size > max_bytes:
            yield group
            group, size = [], len(row.text) + 1
        group.append(row)
    yield group
