"""Finds and opens the files that a user gives as ``files``, local or on any storage that fsspec supports.

Remote paths are Airflow ``ObjectStoragePath`` objects. This module imports nothing from Airflow: the caller passes the
function that makes them.

A file's version (:attr:`File.version`) is recorded when it is found, and must be the same after its last row is read.
"""

import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PosixPath, WindowsPath
from typing import Any, BinaryIO

from fsspec.utils import infer_compression
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from airflow_provider_milvus_rest.exceptions import (
    InputError,
    RowError,
    SourceChangedError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from airflow_provider_milvus_rest.rows.source import Row
from airflow_provider_milvus_rest.rows.streams import OPENERS, open_streams, storage
from airflow_provider_milvus_rest.text import excerpt, has_password, said_of, without_connection

Files = str | Path | Mapping[str, Any] | Iterable["str | Path | Mapping[str, Any]"]
"""A path, a glob, a folder, a :class:`Part` as a dict, or an iterable of them; a str with ``://`` is a URI."""
Version = dict[str, int | str]
"""A file's size, and its modification time or the storage's tag; empty for a pipe."""
FORMATS = {
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "csv": (".csv",),
    "parquet": (".parquet",),
    "arrow": (".arrow", ".feather"),
}
"""The values of ``file_format``, and the suffixes of each format."""
_FORMAT_OF = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
_UNITS = {"jsonl": "bytes", "parquet": "row_groups"}
_TAGS = ("etag", "generation", "mtime", "modified", "last_modified", "lastmodified", "modificationtime", "created")
"""Storages' names for a value that changes when a file does, in lower case, the most reliable first."""
_SUFFIXES = ", ".join(_FORMAT_OF)
_MAX_PATH_CHARS = 4096
_MAGIC = frozenset("*?[")
LOCAL = (PosixPath, WindowsPath)
"""Airflow 2's ``ObjectStoragePath`` is also a ``pathlib.Path``, but neither of these."""


class Part(BaseModel):
    """A file, or the part of it that one task reads: bytes ``start`` to ``end``, or row groups ``start`` to ``end``.

    A line belongs to the range in which it begins. ``version`` is the file's. If it has changed, the file is not read,
    because the ranges of the other tasks would not fit either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: StrictStr = Field(min_length=1)
    unit: str = Field("bytes", pattern="^(bytes|row_groups)$")
    start: StrictInt = Field(0, ge=0)
    end: StrictInt | None = None
    version: dict[str, StrictInt | StrictStr] = Field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return not self.start and self.end is None


class File:
    """One file to read, at a ``pathlib.Path`` or an ``ObjectStoragePath``. ``name`` is its path or URI without
    credentials; ``format`` is one of :data:`FORMATS`, or None for an unknown suffix; ``compression`` is fsspec's name;
    ``pattern`` is what the names of files in its folder must match to be found as it was, or None if it was named.
    """

    def __init__(
        self, path: Any, file_format: str | None = None, part: Part | None = None, pattern: str | None = None
    ) -> None:
        self.pattern = pattern
        self.path, self.name = path, without_connection(str(path))
        inferred = infer_compression(path.name)
        self.compression = inferred if inferred in OPENERS else None
        plain = path.name.rpartition(".")[0] if self.compression else path.name
        self.format = file_format or _FORMAT_OF.get(Path(plain).suffix.lower())
        self.part = part or Part.model_construct(path=str(path))  # not validated: the name may not be UTF-8

    @property
    def unit(self) -> str | None:
        """The unit in which it can be split; None if it cannot be split."""
        return None if self.compression else _UNITS.get(self.format or "")

    @cached_property
    def version(self) -> Version:
        """The version when the file was found."""
        return self.current_version()

    def current_version(self, stream: BinaryIO | None = None) -> Version:
        """The version now, or when the storage listed the folder; with the open file's ``stream``, always now."""
        with storage(self.path):
            if isinstance(self.path, LOCAL):
                status = os.stat(stream.fileno() if stream else self.path)
                return {"size": status.st_size, "mtime": status.st_mtime_ns} if stat.S_ISREG(status.st_mode) else {}
            if stream:
                self.path.fs.invalidate_cache()
            found = {str(name).lower(): value for name, value in self.path.fs.info(self.path.path).items()}
        tags = [name for name in _TAGS if found.get(name) is not None]
        return {"size": found.get("size") or 0} | {name: str(found[name]).strip('"') for name in tags[:1]}

    @property
    def size(self) -> int:
        """The size of the file in bytes, as stored."""
        return int(self.version.get("size", 0))

    @property
    def length(self) -> int:
        """The size of the part in bytes; for row groups, the size of the whole file."""
        if self.part.unit == "row_groups":
            return self.size
        return (self.size if self.part.end is None else self.part.end) - self.part.start


def _change(before: Version, now: Version) -> str | None:
    """How a file has changed; None if it has not. What only one of the versions has is not compared."""
    changed = (
        f"its {name} was {was} and is now {now[name]}" for name, was in before.items() if was != now.get(name, was)
    )
    return next(changed, None)


class OpenFile:
    """A file that is being read: ``stream`` is its content, ``share()`` the fraction read so far, from 0 to 1."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.name = file.name
        self._local = isinstance(file.path, LOCAL)
        self.raw, self.stream = open_streams(file.path, file.compression, **({"buffering": 0} if self._local else {}))
        self.share: Callable[[], float] = lambda: (self.raw.tell() - file.part.start) / file.length

    def check(self, *, cheaply: bool = False) -> None:
        """Raise SourceChangedError if the file has changed since it was found.

        With ``cheaply``, do not check if that takes a request: the check after the last row finds the change, too.
        """
        if cheaply and not self._local:
            return
        if change := _change(self.file.version, self.file.current_version(self.raw)):
            raise SourceChangedError(f"changed while it was being read: {change}", position=self.name)

    def unreadable(self, position: str, entity: Any, reason: str, field: str | None = None) -> Row:
        """A row that cannot be read. Raises SourceChangedError instead if a local file has changed."""
        self.check(cheaply=True)
        return Row(position, entity, RowError(reason, position=position, field=field))


@contextmanager
def reading(file: File) -> Iterator[OpenFile]:
    """Open a file, and check at the end that it has not changed since it was found.

    :raises SourceChangedError: it has changed.
    :raises SourceUnavailableError: the storage fails.
    :raises InputError: the content is damaged.
    """
    opened = OpenFile(file)
    with opened.raw, opened.stream:
        try:
            opened.check(cheaply=True)
            yield opened
            opened.check()
        except (SourceChangedError, MemoryError):
            raise
        except Exception as error:
            with suppress(SourceUnavailableError):
                opened.check()  # a change explains the error
            if isinstance(error, InputError):
                if error.position:
                    raise
                raise InputError(str(error), position=file.name) from None
            what = f"damaged {file.compression}" if file.compression else f"not {file.format}, or damaged"
            raise InputError(f"{what}: {excerpt(str(error))}", position=file.name) from error


def find_files(files: Files, remote: Callable[[str], Any] | None = None, file_format: str | None = None) -> list[File]:
    """The files that ``files`` names, each once, in a stable order.

    A glob (``*``, ``?``, ``[…]``, ``**``) means the files that it matches, sorted; a folder, the files directly in it
    that can be read, sorted, except hidden ones; an iterable, its elements in their order. ``remote`` makes a path from
    a URI. ``file_format`` is the format of all files, whatever their suffixes are.

    :raises SourceNotFoundError: a path does not exist, or a glob or folder has no file to read.
    :raises SourceUnavailableError: the storage does not respond, or denies access.
    :raises InputError: a suffix is not supported, the storage's Airflow provider is missing, a file has changed since
        the shards were planned, or a value is not a path.
    """
    items: Any = [files] if isinstance(files, (str, Mapping)) or hasattr(files, "open") else files
    if isinstance(items, bytes) or not isinstance(items, Iterable):
        raise InputError(f"files must be a path, a glob, a folder or a list of them, not {type(files).__name__}")
    lists = (item if isinstance(item, Sequence) and not isinstance(item, (str, bytes)) else [item] for item in items)
    found = [file for item in itertools.chain.from_iterable(lists) for file in _find(item, remote, file_format)]
    return list({(str(file.path), file.part.start, file.part.end): file for file in found}.values())


def _find(item: Any, remote: Callable[[str], Any] | None, file_format: str | None) -> list[File]:
    part = _part(item) if isinstance(item, Mapping) else None
    text = part.path if part else item
    if not (isinstance(text, str) and text.strip()) and not hasattr(text, "open"):
        kind = "a blank one" if isinstance(text, str) else type(text).__name__
        raise InputError(f"files: a path must be a non-empty str or Path, not {kind}")
    if len(str(text)) > _MAX_PATH_CHARS:
        raise InputError(f"files: a path has {len(str(text))} characters: files takes paths, and entities takes rows")
    refuse_password(str(text))
    name = f"{without_connection(str(text)):.500}"
    make = remote if remote and "://" in str(text) else Path
    with storage(text):
        try:
            path = make(text) if isinstance(text, str) else text
            if hasattr(path, "fs"):
                path.fs.invalidate_cache()
            found, missing = [], f"no such file: {name}"
            if path.is_file():
                found = [File(path, file_format, part)]
            elif path.is_dir() and not part:
                found = _children(path, file_format)
                missing = f"the folder {name} has no file that ends in {_SUFFIXES}"
            elif path.exists():
                found = [File(path, file_format, part)]
            elif _MAGIC & set(str(text)) and not part:
                folder, pattern = _split_glob(str(text))
                matches = make(folder).glob(pattern)
                found = [file for match in matches for file in _matching(match, file_format, Path(pattern).name)]
                missing = f"no file matches {name}"
        except (ImportError, ValueError) as error:
            hint = "" if make is Path else ". Install its Airflow provider, such as apache-airflow-providers-google"
            raise InputError(f"{name}: cannot use this storage: {said_of(text, error)}{hint}") from None
    if not found:
        here = "" if "://" in name else f" (seen from {Path.cwd()} on this worker)"
        raise SourceNotFoundError(missing + here)
    for file in found:
        _check(file)
    return sorted(found, key=lambda file: file.name)


def refuse_password(path: str) -> None:
    """Refuse a URI with a password, which Airflow's providers would log as the name of a connection."""
    if has_password(path):
        raise InputError(
            f"{without_connection(path):.500}: the URI contains a password: put it into an Airflow connection, and "
            "name the connection instead"
        )


def _children(folder: Any, file_format: str | None) -> list[File]:
    """The files directly in a folder that can be read, except hidden ones."""
    children = (child for child in folder.iterdir() if child.name[0] != "." and File(child, file_format).format)
    return [file for child in children for file in _matching(child, file_format, "[!.]*")]


def _matching(path: Any, file_format: str | None, pattern: str) -> list[File]:
    """A file, or the files in a folder whose name ends in a format's suffix, as Spark's do."""
    if path.is_file() or not path.exists():  # _check reports a dangling link
        return [File(path, file_format, None, pattern)]
    return _children(path, file_format) if path.is_dir() and File(path).format else []


def _check(file: File) -> None:
    """Raise InputError if a file cannot be read, and record its version."""
    if not file.format:
        raise InputError(f"{file.name}: the suffix is not one of {_SUFFIXES}: rename it, or set file_format")
    if file.compression and file.format in ("parquet", "arrow"):
        reason = f"{file.format} files cannot be read when compressed with {file.compression}"
        raise InputError(reason, position=file.name)
    if not file.part.is_whole and file.part.unit != file.unit:
        raise InputError(f"{file.name} cannot be read in ranges of {file.part.unit}")
    if change := _change(file.part.version, file.version):
        raise InputError(f"{file.name} has changed since the shards were planned ({change}): run plan_shards again")


def _part(item: Mapping[str, Any]) -> Part:
    try:
        return Part.model_validate(dict(item))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise InputError(f"files: a dict must come from plan_shards, but {where}: {first['msg']}") from None


def _split_glob(text: str) -> tuple[str, str]:
    """The folder before the first part with a special character, and the pattern from there on."""
    parts = text.split("/")
    first = next(index for index, part in enumerate(parts) if _MAGIC & set(part))
    return "/".join(parts[:first]) or ("/" if first else "."), "/".join(parts[first:])
