"""How far a run is, kept where the next try of the task finds it.

A resume only saves work, so it happens only where it is sure: the input and all that decides what is stored are the
same, nobody has cleared the task in between, and some of the rows that it would skip are read back first. What is
skipped is the beginning of the source up to the first row that was not acknowledged: rows before it are all stored, or
dropped for a later row of their request that is. A rejected row ends it too, so that each try's rejects file is whole.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, NonNegativeInt, StrictInt, StrictStr, ValidationError

from airflow_provider_milvus_rest.exceptions import MilvusRestError, StoppedError, excerpt
from airflow_provider_milvus_rest.rows.schema import Key

KEY = "airflow_provider_milvus_rest"
_SECONDS = 1.0
_SAMPLE = 16
"""Stored keys that are kept, so that the next try can look them up."""
_MAX_KEY_CHARS = 1000
_STALE_SECONDS = 10.0
"""How long a row may stay unseen after it was acknowledged: REST v1 reads with bounded staleness."""
_LOADING_SECONDS = 60.0
"""How long a collection may not be loaded: a Milvus that was restarted takes writes before it has loaded it again."""
_NOT_LOADED = 101


class Progressed(BaseModel):
    """The rows at the beginning of the source that need not be sent again, how many of them were dropped as
    duplicates, and some of the keys stored; ``fingerprint`` is that of all that decides what is stored.
    """

    fingerprint: str
    read_count: NonNegativeInt
    duplicate_count: NonNegativeInt
    keys: list[StrictInt | StrictStr]


class Checkpoint:
    """Saves how far a run is, every second. It only saves work: if it fails, the run continues without it.

    :param store: Airflow's ``task_state_store`` (3.3), or what has its ``get``, ``set`` and ``delete``.
    :param source: the fingerprint of the input.
    :param log: takes a line: what is done, and why.
    """

    def __init__(self, store: Any, source: str, log: Callable[[str], None]) -> None:
        self._store = store
        self._fingerprint = source
        self._log = log
        self._last = time.monotonic()
        self._marks: dict[int, Progressed] = {}  # where a try could resume once a batch and all before it are stored
        self._stored: set[int] = set()
        self._next = 0  # the first batch that is not stored
        self._saved = self._reached = Progressed(fingerprint="", read_count=0, duplicate_count=0, keys=[])

    def bind(self, *settings: Any) -> None:
        """Add all else that decides what is stored."""
        self._fingerprint = fingerprint(self._fingerprint, *settings)

    def resume(self, look_up: Callable[[list[Key]], set[Key]], sleep: Callable[[float], None]) -> Progressed | None:
        """Where an earlier try of the same work ended.

        :param look_up: which of some keys the collection holds.
        :param sleep: waits so many seconds.
        """
        found = self._call("get", KEY)
        if found is None:
            return None
        why: str | None
        try:
            progressed = Progressed.model_validate(found)
        except ValidationError:
            why = "what the earlier try has saved cannot be read"
        else:
            why = "the input, the collection or the settings have changed since the earlier try, or it was cleared"
            if progressed.fingerprint == self._fingerprint:
                why = _why_not(progressed.keys, look_up, sleep)
        if why:
            self._log(f"Starting over: {why}.")
            return None
        self._log(
            f"Resuming after {progressed.read_count:,} rows, which an earlier try has stored: "
            f"{len(progressed.keys)} of them were looked up, and are there."
        )
        self._saved = self._reached = progressed
        return progressed

    def mark(self, batch: int, read_count: int, duplicate_count: int, keys: list[Key]) -> None:
        """Where a try could resume, once this batch and all before it are stored; batches are numbered from 0."""
        self._marks[batch] = Progressed.model_construct(
            fingerprint=self._fingerprint, read_count=read_count, duplicate_count=duplicate_count, keys=keys
        )

    def stored(self, batch: int) -> None:
        """Every row of a batch is; save how far that goes without a gap, if it is time."""
        self._stored.add(batch)
        while self._next in self._stored:
            self._stored.remove(self._next)
            if mark := self._marks.pop(self._next, None):
                new = [key for key in mark.keys if len(str(key)) <= _MAX_KEY_CHARS]
                keys = [*dict.fromkeys(self._reached.keys + new)]
                if len(keys) > _SAMPLE:
                    del keys[1:-1:2]  # the first and the last stay
                self._reached = mark.model_copy(update={"keys": keys})
            self._next += 1
        if time.monotonic() - self._last >= _SECONDS:
            self.save()

    def save(self) -> None:
        """Save, if there is something new."""
        if self._reached is not self._saved:
            self._last, self._saved = time.monotonic(), self._reached
            self._call("set", KEY, self._reached.model_dump())

    def clear(self) -> None:
        """Forget it: the run has ended well."""
        self._call("delete", KEY)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._store, method)(*arguments)
        except Exception as error:
            self._log(f"The task's state store does not work, so a retry may start over: {excerpt(str(error))}")
            return None


def _why_not(keys: list[Key], look_up: Callable[[list[Key]], set[Key]], sleep: Callable[[float], None]) -> str | None:
    """Why rows cannot be skipped; None if they are there."""
    if not keys:
        return "the earlier try has saved no key to look up"
    begin = time.monotonic()
    while True:
        try:
            found = look_up(keys)
        except StoppedError:
            raise
        except MilvusRestError as error:
            why = f"the rows that the earlier try has stored cannot be looked up: {error}"
            seconds = _LOADING_SECONDS if error.code == _NOT_LOADED else 0.0
        else:
            missing = [key for key in keys if key not in found]
            if not missing:
                return None
            why = f"{len(missing)} of {len(keys)} rows that the earlier try has stored are not there any more"
            seconds = _STALE_SECONDS
        if time.monotonic() - begin > seconds:
            return why
        sleep(1)


def fingerprint(*parts: Any) -> str:
    """One for equal parts, which JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
