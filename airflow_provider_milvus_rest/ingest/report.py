"""What became of the rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class IngestReport:
    """Counts of one run, true at every moment between two rows; the keys of :meth:`outputs` are the task's outputs.

    * ``read_count``: rows that came out of the source, counted there.
    * ``upsert_count``: rows that Milvus has acknowledged.
    * ``duplicate_count``: rows not sent because a later row of the same request had their key.
    * ``rejected_count``: rows refused, here or by Milvus.
    * ``unconfirmed_count``: rows read but not sent, or sent and not answered (they may be stored), counted
      where they wait. 0 on success.
    * ``resumed_count``: the part of ``upsert_count`` that an earlier try of the task wrote.
    * ``request_count``, ``retry_count``: upsert requests sent, and how many of them repeated an earlier one.
    * ``bytes_sent``: bytes of encoded rows in those requests.
    * ``upsert_ids``: the keys acknowledged, in order, when asked for; else None.
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

    @property
    def duration_seconds(self) -> float:
        """Seconds since the report was made."""
        return round(time.monotonic() - self._started, 3)

    def check(self) -> None:
        """The sum that every run must satisfy.

        :raises AssertionError: rows were lost or counted twice, which is a defect of this package.
        """
        accounted = self.upsert_count + self.duplicate_count + self.rejected_count + self.unconfirmed_count
        if accounted != self.read_count:
            raise AssertionError(
                f"{self.read_count} rows were read but {accounted} accounted for ({self.summary()}). "
                "This is a defect of airflow-provider-milvus-rest: please report it."
            )

    def outputs(self) -> dict[str, Any]:
        """The counts by name, ready for XCom."""
        outputs: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                *("read_count", "upsert_count", "duplicate_count", "rejected_count", "unconfirmed_count"),
                *("resumed_count", "request_count", "retry_count", "bytes_sent", "duration_seconds", "rejects_path"),
            )
        }
        return outputs if self.upsert_ids is None else outputs | {"upsert_ids": self.upsert_ids}

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
