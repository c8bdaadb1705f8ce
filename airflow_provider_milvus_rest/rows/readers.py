"""Rows from memory and from files, each with its position."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from fnmatch import fnmatch
from typing import Any

import orjson

from airflow_provider_milvus_rest.rows.arrow_rows import is_table, iter_table, read_arrow, read_parquet
from airflow_provider_milvus_rest.rows.csv_rows import read_csv
from airflow_provider_milvus_rest.rows.files import File, OpenFile, reading
from airflow_provider_milvus_rest.rows.json_rows import read_document, read_lines
from airflow_provider_milvus_rest.rows.source import Columns, Row

_READERS: dict[str | None, Callable[[OpenFile, Columns], Iterator[Row]]] = {
    "jsonl": read_lines,
    "json": read_document,
    "csv": read_csv,
    "parquet": read_parquet,
    "arrow": read_arrow,
}


class Entities:
    """Rows in memory: an iterable of entities and of tables, or one table."""

    def __init__(self, entities: Iterable[Any]) -> None:
        self._entities = entities
        self._items: Iterable[Any] = [entities] if is_table(entities) else entities
        self._total: int | None = None
        with suppress(TypeError):  # of a data loader over a stream, say
            self._total = len(entities) if isinstance(entities, Sized) else None
        self._count = 0
        self.may_reuse = not (isinstance(entities, (list, tuple)) or is_table(entities))
        """Whether what the source yields may change later: an iterable may reuse it."""

    def rows(self, columns: Columns) -> Iterator[Row]:
        """The rows. ``[index]`` counts the rows of all items."""
        for item in self._items:
            table = is_table(item)
            if table and item is not self._entities:
                self._total = None
            for entity in iter_table(item, columns) if table else (item,):
                yield Row(f"[{self._count}]", entity)
                self._count += 1

    def share(self) -> float | None:
        """The fraction read so far, if it is known: for a table or a list of entities."""
        return self._count / self._total if self._total else None


class FileRows:
    """Rows of files, one file after the other."""

    def __init__(self, files: Sequence[File]) -> None:
        self._files = files
        self._finished = 0  # bytes
        self._open: OpenFile | None = None

    @property
    def names(self) -> list[str]:
        """The files' paths and URIs without credentials; a file that is read in several parts is repeated."""
        return [file.name for file in self._files]

    def reads(self, path: Any) -> bool:
        """Whether ``path`` is one of the files, or would be found beside one of them."""
        name, folder = str(path.absolute()), str(path.parent.absolute())
        return any(
            str(file.path.absolute()) == name
            or (file.pattern and fnmatch(path.name, file.pattern) and str(file.path.parent.absolute()) == folder)
            for file in self._files
        )

    def rows(self, columns: Columns) -> Iterator[Row]:
        """The rows of each file, read according to its format."""
        for file in self._files:
            with reading(file) as self._open:
                yield from _READERS[file.format](self._open, columns)
            self._open = None
            self._finished += file.length

    def share(self) -> float | None:
        """The fraction read so far, by the sizes of the files."""
        total = sum(file.length for file in self._files)
        begun = self._open.file.length * self._open.share() if self._open else 0
        return (self._finished + begun) / total if total else None

    def fingerprint(self) -> list[Any] | None:
        """Identifies these files and their versions; None if the storage does not report a file's version."""
        if any(len(file.version) < 2 for file in self._files):  # only the size
            return None
        return [[file.name, file.format, file.part.model_dump(), file.version] for file in self._files]


def fingerprint(*parts: Any) -> str:
    """A hash that is the same for equal parts, which must be JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprint_of_rows(rows: Any) -> str | None:
    """A hash that is the same for equal lists of rows; None for anything else, or if a row has no JSON form."""
    if not isinstance(rows, list):
        return None
    found = hashlib.sha256()
    try:
        for row in rows:
            found.update(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
    except TypeError:
        return None
    return found.hexdigest()
