"""Saves the progress of a run, so that the next try of the task can resume.

Resuming only saves work, so it happens only if it is safe: the input and everything else that determines what is stored
are the same, nobody has cleared the task in between, and a sample of the rows to skip is still there. A run resumes at
the first row that was not acknowledged: all rows before it are stored, or were dropped for a later row of their request
that is. It also resumes no later than the first rejected row, so that each try's rejects file is complete.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel, NonNegativeInt, StrictInt, StrictStr, ValidationError

from airflow_provider_milvus_rest.exceptions import MilvusRestError, StoppedError
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.rows.readers import fingerprint
from airflow_provider_milvus_rest.rows.schema import Key
from airflow_provider_milvus_rest.text import excerpt

KEY = "airflow_provider_milvus_rest"
_SECONDS = 1.0
_SAMPLE, _MAX_KEY_CHARS = 16, 1000  # limits of the keys that are saved for the next try to look up
STALE_SECONDS = 10.0
"""How long an acknowledged row may stay invisible: REST v1 reads with bounded staleness."""
_LOOK_UP_SECONDS, _LOADING_SECONDS = 30.0, 60.0
"""For one request and for all: a restarted Milvus accepts writes before reads."""


class Progressed(BaseModel):
    """How many rows of the source need not be sent again, how many of these are duplicates, and some of their keys."""

    fingerprint: str
    read_count: NonNegativeInt
    duplicate_count: NonNegativeInt
    keys: list[StrictInt | StrictStr]


class Checkpoint:
    """Saves the progress of a run every second. If saving fails, the run continues without it.

    :param store: Airflow's ``task_state_store`` (3.3), or an object with its ``get``, ``set`` and ``delete``.
    :param source: the fingerprint of the input.
    """

    def __init__(self, store: Any, source: str, log: Callable[[str], None]) -> None:
        self._store, self._fingerprint, self._log = store, source, log
        self._last = time.monotonic()
        self._marks: list[Progressed] = []  # of batches that are not stored, or come after one that is not
        self._stored: set[int] = set()
        self._saved = self._reached = Progressed(fingerprint="", read_count=0, duplicate_count=0, keys=[])

    def bind(self, *settings: Any) -> None:
        """Add everything else that determines what is stored to the fingerprint."""
        self._fingerprint = fingerprint(self._fingerprint, *settings)

    def resume(self, find: Callable[[list[Key]], set[Key]], retry: Retry) -> Progressed | None:
        """Return where to resume, or None to start over. ``find`` returns those of the given keys that are stored."""
        found = self._call("get", KEY)
        if found is None:
            return None
        try:
            progressed = Progressed.model_validate(found)
            why = self._why_not(progressed, find, retry)
        except ValidationError:
            why = "the progress saved by the earlier try cannot be read"
        if why:
            self._log(f"Starting over: {why.rstrip('.')}.")
            return None
        rows, count = progressed.read_count, len(progressed.keys)
        self._log(f"Resuming after {rows:,} rows stored by an earlier try ({count} of them looked up).")
        self._saved = self._reached = progressed
        return progressed

    def mark(self, read_count: int, duplicate_count: int, keys: list[Key]) -> Progressed:
        """Return where a try could resume once all rows so far are stored. ``keys`` are those of the last batch."""
        keys = [key for key in keys[:1] + keys[-1:] if _can_be_looked_up(key)]
        counts = {"read_count": read_count, "duplicate_count": duplicate_count}
        self._marks.append(Progressed(fingerprint=self._fingerprint, keys=keys, **counts))
        return self._marks[-1]

    def stored(self, mark: Progressed) -> None:
        """Record that this mark's batch is stored. Advance to the first gap, and save if it is time."""
        self._stored.add(mark.read_count)
        while self._marks and self._marks[0].read_count in self._stored:
            reached = self._marks.pop(0)
            self._stored.remove(reached.read_count)
            reached.keys = [*dict.fromkeys(self._reached.keys + reached.keys)]
            if len(reached.keys) > _SAMPLE:
                del reached.keys[1:-1:2]  # the first and the last stay
            self._reached = reached
        if time.monotonic() - self._last >= _SECONDS:
            self.save()

    def save(self) -> None:
        """Save the progress if it has changed."""
        if self._reached is not self._saved:
            self._last, self._saved = time.monotonic(), self._reached
            self._call("set", KEY, self._reached.model_dump())

    def clear(self) -> None:
        """Delete the saved progress: the run has succeeded."""
        self._call("delete", KEY)

    def _why_not(self, found: Progressed, find: Callable[[list[Key]], set[Key]], retry: Retry) -> str | None:
        """Return why rows cannot be skipped, or None if they can."""
        if found.fingerprint != self._fingerprint:
            return "the input, the collection or the settings have changed or a task was cleared since the earlier try"
        keys, begin = found.keys, time.monotonic()
        while keys:
            try:
                missing = len(set(keys) - retry.in_thread(partial(find, keys), _LOOK_UP_SECONDS))
                if not missing:
                    return None
                why = f"{missing} of {len(keys)} rows stored by the earlier try are no longer there"
                seconds = STALE_SECONDS
            except StoppedError:
                raise
            except MilvusRestError as error:
                why = f"rows stored by the earlier try cannot be looked up: {error}"
                seconds = _LOADING_SECONDS if error.retryable else 0
            if time.monotonic() - begin > seconds:
                return why
            retry.sleep(1)
        return "none of the rows stored by the earlier try can be looked up"

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._store, method)(*arguments)
        except Exception as error:
            self._log(f"Cannot use the task state store, so a retry may start over: {excerpt(str(error))}")
            return None


def _can_be_looked_up(key: Key) -> bool:
    """Milvus 2.3.5 does not find Int64 keys at the ends of the range; long strings would fill the state store."""
    return len(key) <= _MAX_KEY_CHARS if isinstance(key, str) else abs(key) < 2**63 - 1
