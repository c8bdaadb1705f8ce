"""From what a user writes as ``files`` to the files to read, local or on any storage that fsspec knows.

Remote paths are Airflow ``ObjectStoragePath`` objects. Nothing of Airflow is imported here: whoever calls hands in
the function that makes them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PosixPath, WindowsPath
from typing import Any, BinaryIO, cast

from fsspec.utils import infer_compression
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from airflow_provider_milvus_rest.exceptions import InputError, SourceNotFoundError, SourceUnavailableError, excerpt

Files = str | Path | Mapping[str, Any] | Iterable["str | Path | Mapping[str, Any]"]
"""A path, a glob, a folder, a :class:`Part` as a dict, or an iterable of them; a str with ``://`` is a URI."""
FORMATS = {
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "csv": (".csv",),
    "parquet": (".parquet",),
    "arrow": (".arrow", ".feather"),
}
"""What ``file_format`` may be, and the suffixes that say it."""
_FORMAT_OF = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
_UNITS = {"jsonl": "bytes", "parquet": "row_groups"}
_BUFFER_BYTES = 2**20
"""Lines of embeddings do not fit into Python's own buffer of 8 KiB, through which reading one takes 8 times as long."""
_MAGIC = frozenset("*?[")
_CONNECTION = re.compile(r"(?<=://)[^/@]*@")


def without_connection(path: str) -> str:
    """A path or URI without the connection or the credentials in it."""
    return _CONNECTION.sub("", path)


class Part(BaseModel):
    """A file, or what of it one task is to read: bytes ``start`` to ``end``, or row groups ``start`` to ``end``.

    A line belongs to the range in which it begins. ``size`` is the file's in bytes: a file that has another one is
    not read, since the ranges of the other tasks would not fit either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: StrictStr = Field(min_length=1)
    size: StrictInt | None = None
    unit: str = Field("bytes", pattern="^(bytes|row_groups)$")
    start: StrictInt = Field(0, ge=0)
    end: StrictInt | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the file from its beginning to its end."""
        return not self.start and self.end is None


_LOCAL = (PosixPath, WindowsPath)
"""Airflow 2's ``ObjectStoragePath`` is a ``pathlib.Path`` too, but none of these."""


class _Streams(io.RawIOBase):
    """Streams of bz2 or xz, one after the other, all of them whole: Python's own readers take no notice of a damaged
    one behind a good one.
    """

    def __init__(self, raw: BinaryIO, make: Callable[[], Any]) -> None:
        self._raw = raw
        self._make = make
        self._decoder: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            rest = b""
            if self._decoder is None or self._decoder.eof:
                rest = self._decoder.unused_data if self._decoder else b""
                rest = (rest or self._raw.read(_BUFFER_BYTES)).lstrip(b"\0")  # xz may be padded
                if not rest:
                    return 0
                self._decoder = self._make()
            elif self._decoder.needs_input and not (rest := self._raw.read(_BUFFER_BYTES)):
                raise EOFError("the file is cut short")
            data = self._decoder.decompress(rest, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _xz(raw: BinaryIO) -> io.RawIOBase:
    return _Streams(raw, lzma.LZMADecompressor)


# zstandard's reader takes a file that is cut short for a whole one, and of a zip fsspec reads the first member alone.
_OPENERS: dict[str | None, Callable[[BinaryIO], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "bz2": lambda raw: _Streams(raw, bz2.BZ2Decompressor),
    "xz": _xz,
    "lzma": _xz,
}


@dataclass(frozen=True)
class File:
    """One file to read. ``name`` is its path or URI without connection or credentials; ``format`` is one of
    :data:`FORMATS`, or None if the suffix says none; ``compression`` is fsspec's name for how it is compressed.
    """

    path: Any
    name: str
    format: str | None
    compression: str | None
    part: Part

    @classmethod
    def of(cls, path: Any, file_format: str | None = None, part: Part | None = None) -> File:
        """The file at a ``pathlib.Path`` or an ``ObjectStoragePath``."""
        compression = infer_compression(path.name)
        if compression not in _OPENERS:
            compression = None
        plain = path.name.rpartition(".")[0] if compression else path.name
        found = file_format or _FORMAT_OF.get(Path(plain).suffix.lower())
        return cls(path, without_connection(str(path)), found, compression, part or Part(path=str(path)))

    @property
    def unit(self) -> str | None:
        """In what it can be parted; None if it cannot."""
        return None if self.compression else _UNITS.get(self.format or "")

    def open(self) -> tuple[BinaryIO, BinaryIO]:
        """The content, uncompressed, and the stream below it, whose ``tell()`` says how much of the file was read."""
        if isinstance(self.path, _LOCAL):
            raw: Any = self.path.open("rb", buffering=_BUFFER_BYTES)
        else:
            raw = io.BufferedReader(self.path.open("rb"), _BUFFER_BYTES)
        if not self.compression:
            return raw, raw
        return cast("BinaryIO", io.BufferedReader(_OPENERS[self.compression](raw), _BUFFER_BYTES)), raw

    def size(self) -> int:
        """Bytes of the file, as they are stored."""
        return cast("int", self.path.stat().st_size)

    def version(self) -> list[Any] | None:
        """Changes when the file does: size and time of change, or a storage's checksum; None if there is none."""
        if isinstance(self.path, _LOCAL):
            status = self.path.stat()
            return [status.st_size, status.st_mtime_ns]
        checksum = getattr(self.path, "checksum", None)
        return [self.size(), str(checksum())] if checksum else None

    def length(self) -> int:
        """Bytes of the part that is to be read; of row groups, those of the whole file."""
        if self.part.unit == "row_groups":
            return self.size()
        return (self.size() if self.part.end is None else self.part.end) - self.part.start


def find_files(files: Files, remote: Callable[[str], Any] | None = None, file_format: str | None = None) -> list[File]:
    """The files that ``files`` means, each once, in a stable order.

    A path stands for itself; a glob (``*``, ``?``, ``[…]``, ``**``) for the files it matches, sorted; a folder for
    the files directly in it that can be read, sorted, but hidden ones; a dict for a :class:`Part`; an iterable for
    its elements in their order.

    :param remote: makes a path of a URI.
    :param file_format: what all of them are, whatever their suffixes say; one of :data:`FORMATS`.
    :raises SourceNotFoundError: a path does not exist, or a glob or folder holds no file to read.
    :raises SourceUnavailableError: the storage does not answer, or refuses.
    :raises InputError: a suffix that cannot be read, a storage that Airflow has no provider for, a file that is no
        longer what it was when it was parted, or no path at all.
    """
    if isinstance(files, bytes) or not (isinstance(files, Iterable) or hasattr(files, "open")):
        raise InputError(f"files must be a path, a glob, a folder or a list of them, not {type(files).__name__}")
    items: Iterable[Any] = [files] if isinstance(files, (str, Mapping)) or hasattr(files, "open") else files
    found = [file for item in items for file in _find(item, remote, file_format)]
    return list({(str(file.path), file.part): file for file in found}.values())


def _find(item: Any, remote: Callable[[str], Any] | None, file_format: str | None) -> list[File]:
    part = _part(item) if isinstance(item, Mapping) else None
    text = part.path if part else item
    if not (isinstance(text, str) and text.strip()) and not hasattr(text, "open"):
        raise InputError(f"files: a path must be a non-empty str or Path, not {type(text).__name__} {text!r:.60}")
    name = without_connection(str(text))
    readable = ", ".join(_FORMAT_OF)

    def path_of(text: str) -> Any:
        return remote(text) if remote and "://" in text else Path(text)

    try:
        path = path_of(text) if isinstance(text, str) else text
        if part and path.is_file():
            found, missing = [File.of(path, file_format, part)], ""
            if not part.is_whole and part.unit != found[0].unit:
                raise InputError(f"{name} cannot be read in {part.unit}")
            if part.size not in (None, size := found[0].size()):
                raise InputError(f"{name} has {size} bytes, but had {part.size} when it was parted: plan it anew")
        elif path.is_dir():
            children = (File.of(child, file_format) for child in path.iterdir() if child.name[0] != ".")
            found = [file for file in children if file.format and file.path.is_file()]
            missing = f"the folder {name} holds no file that ends in {readable}"
        elif path.exists():
            found, missing = [File.of(path, file_format)], ""
        elif _MAGIC & set(str(text)) and not part:
            folder, pattern = _split_glob(str(text))
            found = [File.of(match, file_format) for match in path_of(folder).glob(pattern) if match.is_file()]
            missing = f"no file matches {name}"
        else:
            found, missing = [], f"no such file: {name}"
    except InputError:
        raise
    except (ImportError, ValueError) as error:
        raise InputError(f"{name}: no access to this storage: {error}") from error
    except Exception as error:  # whatever the storage's client raises
        raise SourceUnavailableError(f"{name}: {type(error).__name__}: {excerpt(str(error))}") from error
    if not found:
        here = "" if "://" in name else f" (seen from {Path.cwd()} on this worker)"
        raise SourceNotFoundError(missing + here)
    for file in found:
        if not file.format:
            raise InputError(f"{file.name}: the suffix is not one of {readable}: rename it, or give file_format")
    return sorted(found, key=lambda file: file.name)


def _part(item: Mapping[str, Any]) -> Part:
    try:
        return Part.model_validate(dict(item))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise InputError(f"files: a dict must be one that plan_shards made, but {where}: {first['msg']}") from None


def _split_glob(text: str) -> tuple[str, str]:
    """The folder before the first part with a special character, and the pattern from there on."""
    parts = text.split("/")
    first = next(index for index, part in enumerate(parts) if _MAGIC & set(part))
    return "/".join(parts[:first]) or ("/" if first else "."), "/".join(parts[first:])
