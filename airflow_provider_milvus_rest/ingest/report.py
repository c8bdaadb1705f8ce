"""What became of the rows, and a line in the log now and then of how far a run is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.rows.schema import Key
from airflow_provider_milvus_rest.text import shown

SECONDS, _BAR, _NAMED = 10.0, 20, 10
_VERBS = {"upsert": "upserted"}


@dataclass
class Report:
    """Counts of one run, true at every moment between two rows; the keys of :meth:`outputs` are the task's outputs."""

    parts: ClassVar[tuple[str, ...]]
    """What becomes of a row, the good ones first; the counts of these add up to ``read_count``."""
    read_count: int = 0
    duplicate_count: int = 0
    rejected_count: int = 0
    unconfirmed_count: int = 0
    request_count: int = 0
    retry_count: int = 0
    bytes_sent: int = 0
    _started: float = field(default_factory=time.monotonic, repr=False, kw_only=True)

    @property
    def duration_seconds(self) -> float:
        """Seconds since the report was made."""
        return round(time.monotonic() - self._started, 3)

    @property
    def done(self) -> int:
        """Rows of this run that are done with, and well."""
        return int(getattr(self, f"{self.parts[0]}_count"))

    def check(self) -> None:
        """Raise AssertionError if rows were lost or counted twice."""
        accounted = sum(getattr(self, f"{part}_count") for part in self.parts)
        if accounted != self.read_count:
            raise AssertionError(
                f"{self.read_count} rows were read but {accounted} accounted for ({self.summary()}). "
                "This is a defect of airflow-provider-milvus-rest: please report it."
            )

    def outputs(self) -> dict[str, Any]:
        """The counts by name, ready for XCom."""
        values = vars(self) | {"duration_seconds": self.duration_seconds}
        if values.get("upsert_ids", ()) is None:  # not asked for
            del values["upsert_ids"]
        return {name: value for name, value in values.items() if name[0] != "_"}

    def warnings(self) -> list[str]:
        """What the log should say at the end."""
        return []

    def counts(self) -> str:
        """What became of the rows, for the log."""
        first, *rest = self.parts
        counts = [f"read {self.read_count:,}", f"{_VERBS.get(first, first)} {getattr(self, f'{first}_count'):,}"]
        counts += [f"{part} {count:,}" for part in rest if (count := getattr(self, f"{part}_count"))]
        return f"{', '.join(counts)} rows"

    def summary(self) -> str:
        """One line for the log, at the end."""
        requests = "1 request" if self.request_count == 1 else f"{self.request_count:,} requests"
        seconds = self.duration_seconds
        rate = f", {self.done / seconds:,.0f} rows/s" if seconds else ""
        return f"{self.counts()}; {requests}, {self.bytes_sent:,} bytes, {seconds:.1f} s{rate}"


@dataclass
class IngestReport(Report):
    """What became of the rows of an upsert.

    * ``read_count``: rows that came out of the source, counted there.
    * ``upsert_count``: rows that Milvus has acknowledged.
    * ``valid_count``: with ``check_only``, rows that would have been sent.
    * ``duplicate_count``: rows not sent because a later row of the same request had their key.
    * ``rejected_count``: rows refused, here or by Milvus.
    * ``unconfirmed_count``: rows read but not sent, or sent and not answered (they may be stored); 0 on success.
    * ``resumed_count``: the part of ``upsert_count`` that an earlier try of the task wrote.
    * ``verified_count``: rows that were read back and compared, with ``verify_sample``.
    * ``request_count``, ``retry_count``: upsert requests sent, and how many of them repeated an earlier one.
    * ``bytes_sent``: bytes of encoded rows in those requests.
    * ``upsert_ids``: the keys acknowledged, in order, if asked for.
    """

    parts = "upsert", "valid", "duplicate", "rejected", "unconfirmed"
    upsert_count: int = 0
    valid_count: int = 0
    resumed_count: int = 0
    verified_count: int = 0
    rejects_path: str | None = None
    upsert_ids: list[int | str] | None = None
    _dropped: list[tuple[int, str, Key]] = field(default_factory=list, repr=False)  # the first ones
    _dropped_count: int = field(default=0, repr=False)
    _left_out: list[str] = field(default_factory=list, repr=False)  # the nullable fields that no row had

    @property
    def done(self) -> int:
        """Rows that this run has stored or found valid."""
        return self.upsert_count - self.resumed_count + self.valid_count

    def drop(self, stored: list[Pending]) -> None:
        """Take note of the rows that were replaced by these, which Milvus has acknowledged."""
        for row in stored:
            while row.earlier:
                row = row.earlier
                self._dropped_count += 1
                self._dropped.append((row.index, row.position, row.key))
        self._dropped = sorted(self._dropped)[:_NAMED]

    def warnings(self) -> list[str]:
        """What the log should say at the end."""
        said = [f"Rejected rows are in {self.rejects_path}"] if self.rejects_path else []
        if self._left_out and self.upsert_count > self.resumed_count:
            names = ", ".join(self._left_out)
            said.append(f"No row had {names}: Milvus has null there now, since an upsert replaces whole rows.")
        if not (count := self._dropped_count):
            return said
        rows, rest = "1 row" if count == 1 else f"{count:,} rows", count - len(self._dropped)
        named = ", ".join(f"{position} (key {shown(key)})" for _, position, key in self._dropped)
        more = f", and {rest:,} more" if rest else ""
        return [f"Dropped {rows} because a later row has the same key: {named}{more}.", *said]


@dataclass
class CompareReport(Report):
    """What a comparison of a source with a collection has found.

    * ``read_count``, ``rejected_count``: as of an upsert.
    * ``equal_count``, ``different_count``, ``missing_count``: rows that are stored as they are in the source, or
      otherwise, or not at all.
    * ``duplicate_count``: rows with a later row of their key in the same request, or that differ and have one at all.
    * ``unconfirmed_count``: rows that were not compared, or differed and were not read again; 0 on success.
    * ``differences_path``: the file of rows that are different or missing.
    """

    parts = "equal", "different", "missing", "duplicate", "rejected", "unconfirmed"
    equal_count: int = 0
    different_count: int = 0
    missing_count: int = 0
    differences_path: str | None = None

    def warnings(self) -> list[str]:
        """What the log should say at the end."""
        return [f"Rows that differ are in {self.differences_path}"] if self.differences_path else []


class Progress:
    """Logs at most one line in :data:`SECONDS`; ``share`` is how much was read, from 0 to 1, None if not known."""

    def __init__(self, report: Report, share: Callable[[], float | None], log: Callable[[str], None]) -> None:
        self._report, self._share, self._log = report, share, log
        self._started = self._last = time.monotonic()
        self._rows = 0

    def tick(self) -> None:
        """Log a line if it is time."""
        now = time.monotonic()
        if now - self._last < SECONDS:
            return
        rows = self._report.done
        rate, self._last, self._rows = (rows - self._rows) / (now - self._last), now, rows
        self._log(f"{self._report.counts()}; {rate:,.0f} rows/s{self._bar(now - self._started)}")

    def _bar(self, seconds: float) -> str:
        try:
            share = self._share()
        except Exception:  # the size of a remote file, say: the run does not depend on it
            share = None
        if not share or share > 1:
            return ""
        filled = int(share * _BAR)
        left = round(seconds / share - seconds)
        time_left = f"{left // 3600}:{left % 3600 // 60:02}:{left % 60:02}"
        return f" [{'#' * filled}{'.' * (_BAR - filled)}] {share:.0%} read, about {time_left} left"
