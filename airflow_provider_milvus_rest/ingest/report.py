"""What became of the rows, and a line in the log now and then of how far a run is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.rows.schema import Key
from airflow_provider_milvus_rest.text import shown

SECONDS, _BAR, _NAMED = 10.0, 20, 10


@dataclass
class IngestReport:
    """Counts of one run, true at every moment between two rows; the keys of :meth:`outputs` are the task's outputs.

    * ``read_count``: rows that came out of the source, counted there.
    * ``upsert_count``: rows that Milvus has acknowledged.
    * ``duplicate_count``: rows not sent because a later row of the same request had their key.
    * ``rejected_count``: rows refused, here or by Milvus.
    * ``unconfirmed_count``: rows read but not sent, or sent and not answered (they may be stored); 0 on success.
    * ``resumed_count``: the part of ``upsert_count`` that an earlier try of the task wrote.
    * ``request_count``, ``retry_count``: upsert requests sent, and how many of them repeated an earlier one.
    * ``bytes_sent``: bytes of encoded rows in those requests.
    * ``upsert_ids``: the keys acknowledged, in order, if asked for.
    """

    read_count: int = 0
    upsert_count: int = 0
    duplicate_count: int = 0
    rejected_count: int = 0
    unconfirmed_count: int = 0
    resumed_count: int = 0
    request_count: int = 0
    retry_count: int = 0
    bytes_sent: int = 0
    rejects_path: str | None = None
    upsert_ids: list[int | str] | None = None
    _started: float = field(default_factory=time.monotonic, repr=False)
    _dropped: list[tuple[int, str, Key]] = field(default_factory=list, repr=False)  # the first ones
    _dropped_count: int = field(default=0, repr=False)

    @property
    def duration_seconds(self) -> float:
        """Seconds since the report was made."""
        return round(time.monotonic() - self._started, 3)

    def check(self) -> None:
        """Raise AssertionError if rows were lost or counted twice."""
        accounted = self.upsert_count + self.duplicate_count + self.rejected_count + self.unconfirmed_count
        if accounted != self.read_count:
            raise AssertionError(
                f"{self.read_count} rows were read but {accounted} accounted for ({self.summary()}). "
                "This is a defect of airflow-provider-milvus-rest: please report it."
            )

    def outputs(self) -> dict[str, Any]:
        """The counts by name, ready for XCom."""
        outputs = {name: value for name, value in vars(self).items() if name[0] != "_" and name != "upsert_ids"}
        outputs["duration_seconds"] = self.duration_seconds
        return outputs if self.upsert_ids is None else outputs | {"upsert_ids": self.upsert_ids}

    def drop(self, stored: list[Pending]) -> None:
        """Take note of the rows that were replaced by these, which Milvus has acknowledged."""
        for row in stored:
            while row.earlier:
                row = row.earlier
                self._dropped_count += 1
                self._dropped.append((row.index, row.position, row.key))
        self._dropped = sorted(self._dropped)[:_NAMED]

    def dropped(self) -> str:
        """Which rows were dropped for a later one, for the log; empty if none were."""
        if not (count := self._dropped_count):
            return ""
        rows, rest = "1 row" if count == 1 else f"{count:,} rows", count - len(self._dropped)
        named = ", ".join(f"{position} (key {shown(key)})" for _, position, key in self._dropped)
        more = f", and {rest:,} more" if rest else ""
        return f"Dropped {rows} because a later row has the same key: {named}{more}."

    def counts(self) -> str:
        """What became of the rows, for the log."""
        counts = [f"read {self.read_count:,}", f"upserted {self.upsert_count:,}"]
        rest = {name: getattr(self, f"{name}_count") for name in ("duplicate", "rejected", "unconfirmed")}
        counts.extend(f"{name} {count:,}" for name, count in rest.items() if count)
        return f"{', '.join(counts)} rows"

    def summary(self) -> str:
        """One line for the log, at the end."""
        requests = "1 request" if self.request_count == 1 else f"{self.request_count:,} requests"
        seconds = self.duration_seconds
        rate = f", {(self.upsert_count - self.resumed_count) / seconds:,.0f} rows/s" if seconds else ""
        return f"{self.counts()}; {requests}, {self.bytes_sent:,} bytes, {seconds:.1f} s{rate}"


class Progress:
    """Logs at most one line in :data:`SECONDS`; ``share`` is how much was read, from 0 to 1, None if not known."""

    def __init__(self, report: IngestReport, share: Callable[[], float | None], log: Callable[[str], None]) -> None:
        self._report, self._share, self._log = report, share, log
        self._started = self._last = time.monotonic()
        self._rows = 0

    def tick(self) -> None:
        """Log a line if it is time."""
        now = time.monotonic()
        if now - self._last < SECONDS:
            return
        rows = self._report.upsert_count - self._report.resumed_count
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
