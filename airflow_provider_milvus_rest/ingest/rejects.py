"""Rows that are not stored, each named with the reason."""

from __future__ import annotations

import base64
import functools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from airflow_provider_milvus_rest.exceptions import (
    InputError,
    RowError,
    RowsRejectedError,
    SourceUnavailableError,
    name_of,
    shown,
)
from airflow_provider_milvus_rest.rows.names import said_of, without_connection, without_secrets
from airflow_provider_milvus_rest.rows.source import ALTERED, REJECT

NAMED = 10
"""How many rejected rows an error names."""
_MAX_RAW_CHARS = 100_000
_LASTING = (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError, ImportError, ValueError)
"""Faults of a path, which a retry does not fix."""


class Rejects:
    """Counts rejected rows, keeps the first ones, and writes all into a file if there is one.

    The file is JSON Lines: a row's own keys, and ``$reject`` with ``position``, ``key``, ``field``, ``reason`` and
    ``code``, which the reader leaves out, so that a fixed file can be read as it is. What is not an object stands as
    ``raw`` in ``$reject``. Fields with values that JSON does not have are named as ``altered`` there, and the reader
    refuses the row as long as they are. It is made when there is something to write.

    :param file: a ``pathlib.Path`` or ``ObjectStoragePath``, or None: then the first rejected row fails the run.
    :param max_rejects: more than that many fail the run; None for no limit.
    """

    def __init__(self, file: Any = None, max_rejects: int | None = None) -> None:
        self._file = file
        self._limit = 0 if file is None else max_rejects
        self._stream: IO[bytes] | None = None
        self._broken = False
        self._first: list[RowError] = []
        self.count = 0

    @property
    def path(self) -> str | None:
        """Where the rejected rows are, if there are any and all were written."""
        return without_secrets(str(self._file)) if self._stream and not self._broken else None

    @property
    def failed(self) -> bool:
        """Whether there are more than may be."""
        return self._limit is not None and self.count > self._limit

    def enough(self, more: int = 0) -> bool:
        """Whether, with so many more, there are more than may be and as many as an error names."""
        return self._limit is not None and self.count + more >= max(self._limit + 1, NAMED)

    def add(self, entity: Any, error: RowError, octets: Collection[str] = ()) -> None:
        """Take note of a row.

        :param octets: the names of fields that take base64 for bytes.
        """
        self.count += 1
        if len(self._first) < NAMED:
            self._first.append(error)
        if self._file is None or self._broken:
            return
        if self._stream is None:
            with self._writing():
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._file.open("wb")
        names = ("position", "key", "field", "reason", "code")
        reject = {name: getattr(error, name) for name in names}
        try:
            text = json.dumps(_row(entity, reject, octets))
        except RecursionError:
            text = json.dumps({REJECT: reject | {"raw": "(nested too deeply to be written here)"}})
        with self._writing():
            self._stream.write(text.encode() + b"\n")

    def close(self) -> None:
        """Finish the file.

        :raises InputError: it cannot be written; object stores say so only now.
        :raises SourceUnavailableError: likewise, but a retry may help.
        """
        if self._stream is not None:
            with self._writing():
                self._stream.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever the storage's client raises
            self._broken = True
            cls = InputError if isinstance(error, _LASTING) else SourceUnavailableError
            where = without_connection(str(self._file))
            raise cls(f"rejects_path: {where} cannot be written: {said_of(self._file, error)}") from None

    def error(self, read_count: int) -> RowsRejectedError:
        """The error that names the first rejected rows and the totals."""
        allowed = f", of at most {self._limit}" if self._limit else ""
        more = f"\n… and {self.count - len(self._first)} more" if self.count > len(self._first) else ""
        where = f" They are in {self.path}." if self.path else ""
        listed = "".join(f"\n{error}" for error in self._first)
        message = f"{self.count} of the {read_count} rows read so far are rejected{allowed}.{where}{listed}{more}"
        return RowsRejectedError(message)


def _row(entity: Any, reject: dict[str, Any], octets: Collection[str]) -> dict[str, Any]:
    if not isinstance(entity, Mapping):
        raw = entity.decode(errors="replace") if isinstance(entity, bytes) else entity  # a line of a file
        return {REJECT: reject | {"raw": _jsonable(raw, bool)}}
    earlier = entity.get(REJECT)  # of a row that was not fixed
    was = earlier.get(ALTERED) if isinstance(earlier, Mapping) else None
    altered = dict.fromkeys(map(name_of, was if isinstance(was, list) else [was] if was else []))
    row = {}
    for name, value in entity.items():
        note = functools.partial(altered.setdefault, name_of(name))
        if name in octets and isinstance(value, (bytes, bytearray)):
            row[name] = base64.b64encode(value).decode()
            continue
        if not isinstance(name, str):
            note()
        row[name_of(name)] = _jsonable(value, note)
    return row | {REJECT: reject | ({ALTERED: list(altered)} if altered else {})}


def _jsonable(value: Any, note: Callable[[], Any]) -> Any:
    """The nearest that JSON has; ``note`` is called where that is something else."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufO" and value.dtype.itemsize <= 8:
        if isinstance(value, np.ma.MaskedArray):
            note()
        return _jsonable(value.tolist(), note)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            note()
        return {name_of(name): _jsonable(member, note) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(member, note) for member in value]
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and value.bit_length() < 10_000:
        return value
    if isinstance(value, str) and len(value) <= _MAX_RAW_CHARS:
        return value
    note()
    if isinstance(value, (set, frozenset)):
        return [_jsonable(member, note) for member in value]
    if isinstance(value, (bytes, bytearray)):
        value = value.decode(errors="replace")
    try:
        text = str(value)
    except Exception:  # see shown
        text = shown(value)
    return text if len(text) <= _MAX_RAW_CHARS else f"{text[:_MAX_RAW_CHARS]}…"
