"""Rows that are not stored, each named with the reason."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from airflow_provider_milvus_rest.exceptions import InputError, RowError, RowsRejectedError, excerpt
from airflow_provider_milvus_rest.rows.fields import digits
from airflow_provider_milvus_rest.rows.files import without_connection
from airflow_provider_milvus_rest.rows.source import REJECT

NAMED = 10
"""How many rejected rows an error names."""
_MAX_RAW_CHARS = 100_000


class Rejects:
    """Counts rejected rows, keeps the first ones, and writes all into a file if there is one.

    The file is JSON Lines: a row's own keys, and ``$reject`` with ``position``, ``key``, ``field``, ``reason`` and
    ``code``, which the reader leaves out, so that a mended file can be read as it is. What is not an object stands as
    ``raw`` in ``$reject``. It is made when there is something to write.

    :param file: a ``pathlib.Path`` or ``ObjectStoragePath``, or None: then the first rejected row fails the run.
    :param max_rejects: more than that many fail the run; None for no limit.
    """

    def __init__(self, file: Any = None, max_rejects: int | None = None) -> None:
        self._file = file
        self._limit = 0 if file is None else max_rejects
        self._stream: IO[bytes] | None = None
        self._first: list[RowError] = []
        self.count = 0

    @property
    def path(self) -> str | None:
        """Where the rejected rows are, if any were written."""
        return str(self._file) if self._stream else None

    @property
    def failed(self) -> bool:
        """Whether there are more than may be."""
        return self._limit is not None and self.count > self._limit

    def enough(self, more: int = 0) -> bool:
        """Whether, with so many more, there are more than may be and as many as an error names."""
        return self._limit is not None and self.count + more >= max(self._limit + 1, NAMED)

    def add(self, entity: Any, error: RowError) -> None:
        """Take note of a row."""
        self.count += 1
        if len(self._first) < NAMED:
            self._first.append(error)
        if self._file is None:
            return
        if self._stream is None:
            with self._writing():
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._file.open("wb")
        names = ("position", "key", "field", "reason", "code")
        reject = {name: getattr(error, name) for name in names}
        try:
            if isinstance(entity, Mapping):
                row = {str(name): _jsonable(value) for name, value in entity.items()} | {REJECT: reject}
            else:
                raw = entity.decode(errors="replace") if isinstance(entity, bytes) else entity  # a line of a file
                row = {REJECT: reject | {"raw": _jsonable(raw)}}
            text = json.dumps(row)
        except RecursionError:
            text = json.dumps({REJECT: reject | {"raw": "(nested too deeply to be written here)"}})
        with self._writing():
            self._stream.write(text.encode() + b"\n")

    def close(self) -> None:
        """Finish the file.

        :raises InputError: it cannot be written; object stores say so only now.
        """
        if self._stream is not None:
            with self._writing():
                self._stream.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever the storage's client raises
            where = without_connection(str(self._file))
            raise InputError(f"rejects_path: {where} cannot be written: {excerpt(str(error))}") from error

    def error(self, read_count: int) -> RowsRejectedError:
        """The error that names the first rejected rows and the totals."""
        allowed = f", of at most {self._limit}" if self._limit else ""
        more = f"\n… and {self.count - len(self._first)} more" if self.count > len(self._first) else ""
        where = f" They are in {self.path}." if self.path else ""
        listed = "".join(f"\n{error}" for error in self._first)
        message = f"{self.count} of the {read_count} rows read so far are rejected{allowed}.{where}{listed}{more}"
        return RowsRejectedError(message)


def _jsonable(value: Any) -> Any:
    """The nearest that JSON has: a rejected row's values may be what it was rejected for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return _jsonable(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): _jsonable(member) for name, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(member) for member in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 10_000 else digits(value)
    # As vectors of bytes are read again.
    text = base64.b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else str(value)
    return text if len(text) <= _MAX_RAW_CHARS else f"{text[:_MAX_RAW_CHARS]}…"
