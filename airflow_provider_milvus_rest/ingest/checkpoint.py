"""How far a run is, kept where the next try of the task finds it.

What is skipped then is only the beginning of the source up to the first row that was not acknowledged: rows before it
are all stored, or dropped for a later row of their request that is. A rejected row ends it too, so that each try's
rejects file is whole.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import orjson
from pydantic import BaseModel, NonNegativeInt, ValidationError

from airflow_provider_milvus_rest.exceptions import excerpt

KEY = "airflow_provider_milvus_rest"
_SECONDS = 1.0


class Progressed(BaseModel):
    """The rows at the beginning of the source that need not be sent again, and which of them were dropped as
    duplicates; ``fingerprint`` is that of the source and of all that decides what is stored.
    """

    fingerprint: str
    read_count: NonNegativeInt
    duplicate_count: NonNegativeInt


class Checkpoint:
    """Saves how far a run is, every few seconds. It only saves work: if it fails, the run goes on without.

    :param store: Airflow's ``task_state_store`` (3.3), or what has its ``get``, ``set`` and ``delete``.
    :param source: the fingerprint of the input.
    :param log: takes a line.
    """

    def __init__(self, store: Any, source: str, log: Callable[[str], None]) -> None:
        self._store = store
        self._fingerprint = source
        self._log = log
        self._last = time.monotonic()
        self._saved = 0
        self._marks: dict[int, tuple[int, int]] = {}  # rows read and duplicates when a batch was complete
        self._stored: set[int] = set()
        self._next = 0  # the first batch that is not stored
        self._reached = (0, 0)

    def bind(self, *settings: Any) -> None:
        """Add all else that decides what is stored."""
        self._fingerprint = fingerprint(self._fingerprint, *settings)

    def resume(self) -> Progressed | None:
        """Where an earlier try of the same work ended."""
        found = self._call("get", KEY)
        if found is None:
            return None
        try:
            progressed = Progressed.model_validate(found)
        except ValidationError:
            self._log("Starting over: what the earlier try has saved cannot be read.")
            return None
        if progressed.fingerprint != self._fingerprint:
            self._log("Starting over: the input, the collection or the settings have changed since the earlier try.")
            return None
        self._log(f"Going on after {progressed.read_count:,} rows, which an earlier try has written.")
        self._reached = (progressed.read_count, progressed.duplicate_count)
        self._saved = progressed.read_count
        return progressed

    def mark(self, batch: int, read_count: int, duplicate_count: int) -> None:
        """Where a try could go on, once this batch and all before it are stored; batches are numbered from 0."""
        self._marks[batch] = (read_count, duplicate_count)

    def stored(self, batch: int) -> None:
        """Every row of a batch is; save how far that goes without a gap, if it is time."""
        self._stored.add(batch)
        while self._next in self._stored:
            self._stored.remove(self._next)
            self._reached = self._marks.pop(self._next, self._reached)
            self._next += 1
        if time.monotonic() - self._last >= _SECONDS:
            self.save()

    def save(self) -> None:
        """Save, if there is something new."""
        read_count, duplicate_count = self._reached
        if read_count > self._saved:
            self._last, self._saved = time.monotonic(), read_count
            progressed = Progressed(
                fingerprint=self._fingerprint, read_count=read_count, duplicate_count=duplicate_count
            )
            self._call("set", KEY, progressed.model_dump())

    def clear(self) -> None:
        """Forget it: the run has ended well."""
        self._call("delete", KEY)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._store, method)(*arguments)
        except Exception as error:
            self._log(f"The task's state store does not work, so a retry may start over: {excerpt(str(error))}")
            return None


def fingerprint(*parts: Any) -> str:
    """One for equal parts, which JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprint_of_rows(rows: list[Any]) -> str | None:
    """One for equal rows in memory; None if they hold what has no JSON."""
    found = hashlib.sha256()
    try:
        for row in rows:
            found.update(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY))
            found.update(b"\n")
    except TypeError:
        return None
    return found.hexdigest()
