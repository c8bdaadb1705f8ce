"""Collects the rows that are not stored, each with the reason."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import IO, Any

from airflow_provider_milvus_rest.exceptions import InputError, RowError, RowsRejectedError, SourceUnavailableError
from airflow_provider_milvus_rest.rows.rejected import line_of
from airflow_provider_milvus_rest.rows.source import Columns
from airflow_provider_milvus_rest.text import said_of, without_connection, without_secrets

NAMED = 10  # rejected rows that an error names
_PERMANENT = (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError, ImportError, ValueError)
"""Errors of a path that a retry does not fix."""


class Rejects:
    """Counts rejected rows, keeps the first ones, and writes all to a file, which is created with the first row.

    :param file: a ``pathlib.Path`` or ``ObjectStoragePath``, or None: then the first rejected row fails the run.
    :param max_rejects: the run fails if more rows are rejected; None for no limit.
    :param name: the parameter that sets the path, for error messages.
    """

    def __init__(self, file: Any = None, max_rejects: int | None = None, name: str = "rejects_path") -> None:
        self._file, self._name = file, name
        self.limit = 0 if file is None else max_rejects
        self._stream: IO[bytes] | None = None
        self._broken: InputError | None = None
        self._closed = False
        self.first: list[RowError] = []
        self.count = 0

    @property
    def path(self) -> str | None:
        """The path of the file, if rows were rejected and all were written."""
        return without_secrets(str(self._file)) if self._stream and not self._broken else None

    @property
    def failed(self) -> bool:
        """Whether more rows are rejected than allowed."""
        return self.limit is not None and self.count > self.limit

    def enough(self) -> bool:
        """Whether the run has failed and there are enough rejected rows for the error to name."""
        return self.failed and self.count >= NAMED

    def add(self, entity: Any, error: RowError, columns: Columns | None = None, rows_path: str | None = None) -> None:
        """Add a row with its ``rows_path``. ``columns`` are the fields by their names or paths in it."""
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(error)
        if self._file is None or self._broken:
            return
        with self._writing():
            if self._stream is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._file.open("wb")
            self._stream.write(line_of(entity, error, columns or {}, rows_path))

    def close(self, *, failed: bool = False) -> None:
        """Close the file. Object stores report only now that it cannot be written.

        :param failed: whether the run has failed. Its error matters more than one from closing the file.
        """
        if self._stream is not None and not self._closed:
            self._closed = True
            with suppress(InputError) if failed else nullcontext(), self._writing():
                self._stream.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever the storage's client raises
            cls = InputError if isinstance(error, _PERMANENT) else SourceUnavailableError
            where = without_connection(str(self._file))
            self._broken = cls(f"{self._name}: {where} cannot be written: {said_of(self._file, error)}")
            raise self._broken from None

    def where(self) -> str:
        """Where the rows are, or why they are not there, as the sentence for an error. Closes the file."""
        self.close(failed=True)
        if self._broken:
            return f" {str(self._broken).rstrip('.')}."
        return f" They are in {self.path}." if self.path else ""

    def error(self, read_count: int) -> RowsRejectedError:
        """The error that names the first rejected rows and the totals."""
        rows = f"{self.count} of {read_count} row{'s' * (read_count != 1)} read so far"
        rejected = f"{'is' if self.count == 1 else 'are'} rejected"
        allowed = "" if self._file is None else f" (max_rejects={self.limit})"
        return RowsRejectedError(f"{rows} {rejected}{allowed}.{self.where()}{listed(self.first, self.count)}")


def listed(errors: Sequence[RowError], count: int) -> str:
    """The first of ``count`` errors, one per line, and how many more there are."""
    more = f"\n… and {count - NAMED} more" if count > NAMED else ""
    return "".join(f"\n{error}" for error in errors[:NAMED]) + more
