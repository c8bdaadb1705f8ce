"""Encoded rows gathered into one request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_milvus_rest.rows.schema import Key


@dataclass(slots=True)
class Pending:
    """A row to be sent: its key and text, where it came from, and the row of its key that it replaced.

    ``index`` is its place in the source.
    """

    key: Key
    text: bytes
    position: str
    index: int = 0
    earlier: Pending | None = None


class Batch:
    """Rows by primary key, up to ``max_rows`` and ``max_bytes`` of encoded text.

    Keys are unique within a batch: Milvus before 2.6.8 stores two rows with one key in a request twice, and later
    versions refuse the request.
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._limits = max_rows, max_bytes
        self._max_rows: float = max_rows
        self._max_bytes = max_bytes
        # Rows that were replaced are kept, so they count too.
        self._held = 0
        self._bytes = 0
        self.rows: dict[Key, Pending] = {}

    def has_room(self, row: Pending) -> bool:
        """Whether one more row fits. An empty batch has room for any: a larger row is sent in its own request."""
        return not self._held or (self._held < self._max_rows and self._bytes + len(row.text) + 1 <= self._max_bytes)

    def add(self, row: Pending) -> bool:
        """Add a row; True if it replaces an earlier row with its key."""
        earlier = self.rows.pop(row.key, None)
        if earlier is not None:
            last = row
            while last.earlier is not None:
                last = last.earlier
            last.earlier = earlier
        self.rows[row.key] = row
        self._held += 1
        self._bytes += len(row.text) + 1
        return earlier is not None

    def put_back(self, rows: Iterable[Pending]) -> int:
        """Put rows before those that are here; how many of them are replaced by these."""
        newer, self.rows, self._held, self._bytes = self.rows, {}, 0, 0
        return sum([self.add(row) for row in (*rows, *newer.values())])

    def take(self) -> dict[Key, Pending]:
        """The rows, in order, as many as a request holds; the batch is empty then, unless it held more."""
        max_rows, max_bytes = self._limits
        more = self._held > max_rows or self._bytes > max_bytes
        rows, self.rows, self._held, self._bytes = self.rows, {}, 0, 0
        if more:
            every = iter([*rows.values()])
            rows, size = {}, 0
            for row in every:
                size += len(row.text) + 1
                if rows and (len(rows) == max_rows or size > max_bytes):
                    self.put_back([row, *every])
                    break
                rows[row.key] = row
        return rows

    def limit(self, max_bytes: int) -> None:
        """Allow no larger requests from now on."""
        self._limits = self._limits[0], min(self._limits[1], max_bytes)
        self._max_bytes = min(self._max_bytes, max_bytes)

    def hold(self, max_bytes: int | None) -> None:
        """Take any number of rows, up to so many bytes; None for as many as a request holds."""
        self._max_rows, self._max_bytes = self._limits if max_bytes is None else (float("inf"), max_bytes)
