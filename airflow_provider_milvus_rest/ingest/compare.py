"""Compares a source with a collection. It works like an upsert, but its requests read rows back."""

import pickle
import tempfile

from airflow_provider_milvus_rest.exceptions import RowError, RowsDifferError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.checkpoint import STALE_SECONDS
from airflow_provider_milvus_rest.ingest.rejects import Rejects, listed
from airflow_provider_milvus_rest.ingest.report import CompareReport
from airflow_provider_milvus_rest.ingest.run import Ingest
from airflow_provider_milvus_rest.rows.schema import Key

_SPOOLED_BYTES = 2**24


class Compare(Ingest):
    """Compares each row. Rows that differ are kept in a temporary file and read again after the end of the source: a
    later row with the same key may be the one that is stored, and recent writes may not be visible yet.
    """

    report: CompareReport  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._rejects = Rejects()  # rejected rows are counted and named, but do not end the run
        self._rejects.limit = None
        self._found = Rejects(self.options.rejects, name="differences_path")
        self._held: dict[Key, int] = {}  # its offset in the file
        self._file = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115
        self._final = False

    _send = Ingest._differences

    def _acknowledge(self, rows: list[Pending], found: list[RowError | None]) -> None:
        report = self.report
        for row, difference in zip(rows, found, strict=True):
            if self._held.pop(row.key, None) is not None:  # batches that share a key arrive in source order
                report.duplicate_count += 1
            if difference is None:
                report.equal_count += 1
            elif not self._final:
                self._held[row.key] = self._file.seek(0, 2)
                pickle.dump((row.key, row.text, row.position, row.index, row.given), self._file)
            else:
                report.missing_count += difference.field is None
                report.different_count += difference.field is not None
                self._found.add(self._given(row), difference, self._binary)

    def _complete(self) -> None:
        super()._complete()
        if self._held:
            rows = "1 row" if len(self._held) == 1 else f"{len(self._held):,} rows"
            why = "recent writes may not be visible yet"
            self.progress.log(f"reading {rows} again in {STALE_SECONDS:.0f} s, because {why}")
            self.retry.sleep(STALE_SECONDS)
            self._final = True
            for key, place in list(self._held.items()):
                self._file.seek(place)
                del self._held[key]
                self._in_hand += 1
                self._put(Pending(*pickle.load(self._file)))  # noqa: S301 # written above
            super()._complete()

    def _verify(self) -> None:
        """Raise RowsDifferError if rows differ and ``on_difference`` is ``"fail"``."""
        report = self.report
        count = report.different_count + report.missing_count + report.rejected_count
        if count and self.options.on_difference == "fail":
            where = f" They are in {self._found.path}." if self._found.path else ""
            named = listed([*self._found.first, *self._rejects.first], count)
            raise RowsDifferError(f"Not all rows are stored as in the source: {report.counts()}.{where}{named}")

    def _close(self, failed: bool) -> None:
        self.report.unconfirmed_count += len(self._held)
        self._file.close()
        self._found.close(failed=failed)
        self.report.differences_path = self._found.path
