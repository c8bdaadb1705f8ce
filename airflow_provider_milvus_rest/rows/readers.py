"""Rows out of memory and out of files, each with its position."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
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
        self._total = len(entities) if isinstance(entities, Sized) else None
        self._count = 0

    def rows(self, columns: Columns) -> Iterator[Row]:
        """The rows; ``[index]`` counts over all of them."""
        for item in self._items:
            table = is_table(item)
            if table and item is not self._entities:
                self._total = None
            for entity in iter_table(item, columns) if table else (item,):
                yield Row(f"[{self._count}]", entity)
                self._count += 1

    def share(self) -> float | None:
        """Known of a table, or a list of entities."""
        return self._count / self._total if self._total else None


class FileRows:
    """Rows of files, one file after the other."""

    def __init__(self, files: Sequence[File]) -> None:
        self._files = files
        self._finished = 0  # bytes
        self._open: OpenFile | None = None

    @property
    def names(self) -> list[str]:
        """The files' paths and URIs, as they may be printed; a file that is read in parts more than once."""
        return [file.name for file in self._files]

    def rows(self, columns: Columns) -> Iterator[Row]:
        """The rows of each file, read as what its format says."""
        for file in self._files:
            with reading(file) as self._open:
                yield from _READERS[file.format](self._open, columns)
            self._open = None
            self._finished += file.length

    def share(self) -> float | None:
        """By the sizes of the files."""
        total = sum(file.length for file in self._files)
        begun = self._open.file.length * self._open.share() if self._open else 0
        return (self._finished + begun) / total if total else None

    def fingerprint(self) -> list[Any] | None:
        """What tells these files from others, and from themselves after a change; None if the storage says nothing."""
        if any(len(file.version) < 2 for file in self._files):  # no more than the size
            return None
        return [[file.name, file.format, file.part.model_dump(), file.version] for file in self._files]


def fingerprint(*parts: Any) -> str:
    """One for equal parts, which JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprint_of_rows(rows: Any) -> str | None:
    """One for equal lists of rows in memory; None for anything else, or if JSON cannot hold one."""
    if not isinstance(rows, list):
        return None
    found = hashlib.sha256()
    try:
        for row in rows:
            found.update(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
    except TypeError:
        return None
    return found.hexdigest()
