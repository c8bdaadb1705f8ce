"""Counts the rows by outcome, and logs the progress of a run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.rows.schema import Key
from airflow_provider_milvus_rest.text import counted, shown

SECONDS, _BAR, _NAMED = 10.0, 20, 10
_VERBS = {"upsert": "upserted"}


@dataclass
class Report:
    """Counts of one run, up to date after every row. The keys of :meth:`outputs` are the task's outputs."""

    parts: ClassVar[tuple[str, ...]]
    """The possible outcomes of a row, the successful ones first. Their counts add up to ``read_count``."""
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
        """Rows that this run has processed successfully."""
        return int(getattr(self, f"{self.parts[0]}_count"))

    def _accounted(self) -> int:
        return sum(getattr(self, f"{part}_count") for part in self.parts)

    def check(self) -> None:
        """Raise AssertionError if rows were lost or counted twice."""
        accounted = self._accounted()
        if accounted != self.read_count:
            raise AssertionError(
                f"{self.read_count} rows were read but {accounted} are accounted for ({self.summary()}). "
                "This is a bug in airflow-provider-milvus-rest: please report it."
            )

    def interrupted(self) -> None:
        """Count as unconfirmed what is not accounted for: a signal may have come between two counts."""
        self.unconfirmed_count += self.read_count - self._accounted()

    def outputs(self) -> dict[str, Any]:
        """The counts by name, ready for XCom."""
        values = vars(self) | {"duration_seconds": self.duration_seconds}
        if values.get("upsert_ids", ()) is None:  # not requested
            del values["upsert_ids"]
        return {name: value for name, value in values.items() if name[0] != "_"}

    def warnings(self) -> list[str]:
        """Warnings for the log at the end of the run."""
        return []

    def counts(self) -> str:
        """The rows by outcome, for the log."""
        first, *rest = self.parts
        counts = [f"read {self.read_count:,}", f"{_VERBS.get(first, first)} {getattr(self, f'{first}_count'):,}"]
        counts += [f"{part} {count:,}" for part in rest if (count := getattr(self, f"{part}_count"))]
        return f"{', '.join(counts)} rows"

    def summary(self) -> str:
        """The line for the log at the end of the run."""
        requests = counted(self.request_count, "request")
        seconds = self.duration_seconds
        rate = f", {self.done / seconds:,.0f} rows/s" if self.done >= seconds > 0 else ""
        return f"{self.counts()}; {requests}, {self.bytes_sent:,} bytes, {seconds:.1f} s{rate}"


@dataclass
class IngestReport(Report):
    """Counts of an upsert.

    * ``read_count``: rows read from the source.
    * ``upsert_count``: rows that Milvus has acknowledged.
    * ``valid_count``: with ``check_only``, rows that would have been sent.
    * ``duplicate_count``: rows not sent because a later row of the same request had their key.
    * ``rejected_count``: rows refused by the checks or by Milvus.
    * ``unconfirmed_count``: rows read but not sent, or sent and not answered (they may be stored); 0 on success.
    * ``resumed_count``: the part of ``upsert_count`` that an earlier try of the task wrote.
    * ``verified_count``: with ``verify_sample``, rows that were read back and are as they were sent.
    * ``request_count``, ``retry_count``: upsert requests sent, and how many of them repeated an earlier one.
    * ``bytes_sent``: bytes of encoded rows in those requests.
    * ``upsert_ids``: the acknowledged keys in source order, if requested.
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
        """Record the rows that were dropped for these, which are acknowledged or valid."""
        for row in stored:
            while row.earlier:
                row = row.earlier
                self._dropped_count += 1
                self._dropped.append((row.index, row.position, row.key))
        self._dropped = sorted(self._dropped)[:_NAMED]

    def warnings(self) -> list[str]:
        """Warnings for the log at the end of the run."""
        lines = [f"Rejected rows are in {self.rejects_path}"] if self.rejects_path else []
        if self._left_out and self.upsert_count > self.resumed_count:
            names = ", ".join(self._left_out)
            lines.append(f"No row had {names}: Milvus now stores null there, because an upsert replaces whole rows.")
        if not (count := self._dropped_count):
            return lines
        rows, rest = counted(count, "row"), count - len(self._dropped)
        named = ", ".join(f"{position} (key {shown(key)})" for _, position, key in self._dropped)
        more = f", and {rest:,} more" if rest else ""
        return [f"Dropped {rows} because a later row has the same key: {named}{more}.", *lines]


@dataclass
class CompareReport(Report):
    """Counts of a comparison of a source with a collection.

    * ``read_count``, ``rejected_count``: as for an upsert.
    * ``equal_count``, ``different_count``, ``missing_count``: rows that are stored as in the source, stored
      with other values, or not stored.
    * ``duplicate_count``: rows with a later row of their key in the same request, or anywhere if they differ.
    * ``unconfirmed_count``: rows that were not compared, or differed and were not read again; 0 on success.
    * ``differences_path``: the file of the different and missing rows.
    """

    parts = "equal", "different", "missing", "duplicate", "rejected", "unconfirmed"
    equal_count: int = 0
    different_count: int = 0
    missing_count: int = 0
    differences_path: str | None = None

    def warnings(self) -> list[str]:
        """Warnings for the log at the end of the run."""
        return [f"Rows that differ are in {self.differences_path}"] if self.differences_path else []


class Progress:
    """Logs at most one line per :data:`SECONDS`. ``share`` returns the fraction read, 0 to 1, or None if unknown."""

    def __init__(self, report: Report, share: Callable[[], float | None], log: Callable[[str], None]) -> None:
        self._report, self._share, self.log = report, share, log
        self._started = self._last = time.monotonic()
        self._rows = 0

    def tick(self) -> None:
        """Log a line if it is time."""
        now = time.monotonic()
        if now - self._last < SECONDS:
            return
        rows = self._report.done
        rate, self._last, self._rows = (rows - self._rows) / (now - self._last), now, rows
        self.log(f"{self._report.counts()}; {rate:,.0f} rows/s{self._bar(now - self._started)}")

    def _bar(self, seconds: float) -> str:
        try:
            share = self._share()
        except Exception:  # such as the size of a remote file: the run does not depend on it
            share = None
        if not share or share > 1:
            return ""
        filled = int(share * _BAR)
        left = round(seconds / share - seconds)
        time_left = f"{left // 3600}:{left % 3600 // 60:02}:{left % 60:02}"
        return f" [{'#' * filled}{'.' * (_BAR - filled)}] {share:.0%} read, about {time_left} left"
