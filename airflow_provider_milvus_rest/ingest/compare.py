"""Compares a source with a collection. It works like an upsert, but its requests read rows back."""

import json
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from airflow_provider_milvus_rest.exceptions import RowError, RowsDifferError, SourceUnavailableError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.checkpoint import STALE_SECONDS
from airflow_provider_milvus_rest.ingest.deliveries import Deliveries
from airflow_provider_milvus_rest.ingest.rejects import Rejects, listed
from airflow_provider_milvus_rest.ingest.report import CompareReport
from airflow_provider_milvus_rest.ingest.run import Ingest
from airflow_provider_milvus_rest.rows.rejected import line_of
from airflow_provider_milvus_rest.rows.schema import Key
from airflow_provider_milvus_rest.text import counted, excerpt

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
        self._deliveries = Deliveries(self.options, self._lanes, 0)  # a late answer overwrites nothing

    _send = Ingest._differences

    def _acknowledge(self, rows: list[Pending], found: list[RowError | None]) -> None:
        report = self.report
        self._in_hand += len(rows)  # until each is counted, since writing it may fail
        for row, difference in zip(rows, found, strict=True):
            place = None
            if difference and self._final:
                self._found.add(self._given(row), difference, self._encoder.columns, row.rows_path)
            elif difference:
                # As a line of a rejects file: not every value can be pickled.
                line = row.given and line_of(row.given, difference, self._encoder.columns)
                with _on_disk():
                    place = self._file.seek(0, 2)
                    pickle.dump((row.key, row.text, row.position, row.index, line, row.rows_path), self._file)
            self._in_hand -= 1
            if self._held.pop(row.key, None) is not None:  # batches that share a key arrive in source order
                report.duplicate_count += 1
            if place is not None:
                self._held[row.key] = place
            else:
                report.equal_count += difference is None
                report.missing_count += difference is not None and difference.field is None
                report.different_count += difference is not None and difference.field is not None

    def _complete(self) -> None:
        super()._complete()
        if self._held:
            rows = counted(len(self._held), "row")
            why = "recent writes may not be visible yet"
            self.progress.log(f"reading {rows} again in {STALE_SECONDS:.0f} s, because {why}")
            self.retry.sleep(STALE_SECONDS)
            self._final = True
            for key, place in list(self._held.items()):
                with _on_disk():
                    self._file.seek(place)
                    row = Pending(*pickle.load(self._file))  # noqa: S301 # written above
                del self._held[key]
                self._in_hand += 1
                row.given = row.given and json.loads(row.given)
                self._put(row)
            super()._complete()

    def _verify(self) -> None:
        """Raise RowsDifferError if rows differ and ``on_difference`` is ``"fail"``."""
        report = self.report
        count = report.different_count + report.missing_count + report.rejected_count
        if count and self.options.on_difference == "fail":
            named = listed([*self._found.first, *self._rejects.first], count)
            raise RowsDifferError(
                f"Not all rows are stored as in the source: {report.counts()}.{self._found.where()}{named}"
            )

    def _close(self, failed: bool) -> None:
        self.report.unconfirmed_count += len(self._held)
        with suppress(OSError):  # of what is not written yet
            self._file.close()
        self._found.close(failed=failed)
        self.report.differences_path = self._found.path


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "Rows that differ cannot be kept in a temporary file until they are read again"
        where = "Make room for it, or set TMPDIR to another folder."
        raise SourceUnavailableError(f"{what}: {excerpt(str(error)).rstrip('.')}. {where}") from None
