"""Encoded rows gathered into one request."""

from __future__ import annotations

from airflow_provider_milvus_rest.rows.schema import Key


class Batch:
    """Rows by primary key, up to ``max_rows`` and ``max_bytes`` of encoded text.

    Keys are unique within a batch: Milvus before 2.6.8 stores two rows with one key in a request twice, and later
    versions refuse the request.
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows: dict[Key, bytes] = {}
        self.size = 0
        """Bytes of the encoded rows and of the commas between them."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> list[bytes]:
        """The encoded rows, in order."""
        return list(self._rows.values())

    def has_room(self, encoded: bytes) -> bool:
        """Whether one more row fits. An empty batch has room for any: a row too large still goes, alone."""
        if not self._rows:
            return True
        return len(self._rows) < self._max_rows and self.size + len(encoded) + 1 <= self._max_bytes

    def add(self, key: Key, encoded: bytes) -> bool:
        """Add a row; True if it took the place of an earlier row with its key."""
        replaced = self._rows.pop(key, None)
        if replaced is not None:
            self.size -= len(replaced) + 1
        self._rows[key] = encoded
        self.size += len(encoded) + 1
        return replaced is not None

    def clear(self) -> None:
        """Empty the batch for the next request."""
        self._rows = {}
        self.size = 0
