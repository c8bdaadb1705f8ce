"""Rows out of memory and out of files, each with its position."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

from airflow_provider_milvus_rest.exceptions import InputError, MilvusRestError, SourceUnavailableError, excerpt
from airflow_provider_milvus_rest.rows.arrow_rows import is_table, iter_table, read_arrow, read_parquet
from airflow_provider_milvus_rest.rows.csv_rows import read_csv
from airflow_provider_milvus_rest.rows.files import File
from airflow_provider_milvus_rest.rows.json_rows import read_document, read_lines
from airflow_provider_milvus_rest.rows.source import Columns, Row, Watch

_READERS: dict[str | None, Callable[[File, Columns, Watch], Iterator[Row]]] = {
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
            if isinstance(item, Row):
                yield item
                continue
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
        self._finished = 0
        self._share_of_file: Callable[[], float] = lambda: 0.0
        self._lengths: list[int] | None = None

    @property
    def names(self) -> list[str]:
        """The files' paths and URIs, without connections; a file that is read in parts more than once."""
        return [file.name for file in self._files]

    def rows(self, columns: Columns) -> Iterator[Row]:
        """The rows of each file, read as what its format says."""
        for file in self._files:
            try:
                yield from _READERS[file.format](file, columns, self._watch)
            except MilvusRestError:
                raise
            except Exception as error:  # whatever the storage's client raises, or a decompressor
                not_the_storage = isinstance(error, OSError) and error.errno is None
                if file.compression and (not_the_storage or isinstance(error, (EOFError, zlib.error, lzma.LZMAError))):
                    raise InputError(f"damaged {file.compression}: {error}", position=file.name) from error
                reason = f"{type(error).__name__}: {excerpt(str(error))}"
                raise SourceUnavailableError(f"reading stopped: {reason}", position=file.name) from error
            self._finished += 1
            self._watch(lambda: 0.0)

    def share(self) -> float | None:
        """By the sizes of the files."""
        if self._lengths is None:
            self._lengths = [file.length() for file in self._files]
        done, current = self._lengths[: self._finished], self._lengths[self._finished : self._finished + 1]
        total = sum(self._lengths)
        return (sum(done) + sum(current) * self._share_of_file()) / total if total else None

    def fingerprint(self) -> list[Any] | None:
        """What tells these files from others, and from themselves after a change; None if the storage says nothing."""
        versions = [file.version() for file in self._files]
        if None in versions:
            return None
        return [
            [file.name, file.format, file.part.model_dump(), version]
            for file, version in zip(self._files, versions, strict=True)
        ]

    def _watch(self, share: Callable[[], float]) -> None:
        self._share_of_file = share
