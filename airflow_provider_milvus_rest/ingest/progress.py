"""A line in the log now and then, of how far a run is."""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow_provider_milvus_rest.ingest.report import IngestReport

SECONDS = 10.0
_BAR = 20


class Progress:
    """Logs at most one line in :data:`SECONDS`.

    :param share: how much of the source was read, from 0 to 1; None if that is not known.
    :param log: takes a line.
    """

    def __init__(self, report: IngestReport, share: Callable[[], float | None], log: Callable[[str], None]) -> None:
        self._report = report
        self._share = share
        self._log = log
        self._started = self._last = time.monotonic()
        self._rows = 0

    def tick(self) -> None:
        """Log a line if it is time."""
        now = time.monotonic()
        if now - self._last < SECONDS:
            return
        rows = self._report.upsert_count - self._report.resumed_count
        rate = (rows - self._rows) / (now - self._last)
        self._last, self._rows = now, rows
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
