"""From what a user writes as ``files`` to the files to read, local or on any storage that fsspec knows.

Remote paths are Airflow ``ObjectStoragePath`` objects. Nothing of Airflow is imported here: whoever calls hands in
the function that makes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import infer_compression

from airflow_provider_milvus_rest.exceptions import InputError, SourceNotFoundError, SourceUnavailableError, excerpt

Files = str | Path | Iterable["str | Path"]
"""A path, a glob, a folder, or an iterable of them; a str with ``://`` is a URI of a remote storage."""
_MAGIC = frozenset("*?[")
_CONNECTION = re.compile(r"(?<=://)[^/@]*@")


@dataclass(frozen=True)
class File:
    """One file to read. ``name`` is its path or URI without connection or credentials; ``suffix`` is that of the
    content, before one that says how it is compressed (``.jsonl`` of ``x.jsonl.gz``).
    """

    path: Any
    name: str
    suffix: str

    @classmethod
    def of(cls, path: Any) -> File:
        """The file at a ``pathlib.Path`` or an ``ObjectStoragePath``."""
        plain = path.name.rpartition(".")[0] if _compression(path.name) else path.name
        return cls(path, _CONNECTION.sub("", str(path)), Path(plain).suffix.lower())

    def open(self) -> BinaryIO:
        """The content, uncompressed if the name's suffix says that it is compressed (``.gz``, ``.bz2``, ``.xz``, …)."""
        compression = _compression(self.path.name)
        if isinstance(self.path, Path):
            return cast("BinaryIO", LocalFileSystem().open(str(self.path), "rb", compression=compression))
        return cast("BinaryIO", self.path.open("rb", compression=compression))


def _compression(name: str) -> str | None:
    """How a file of that name is compressed. Of an archive, fsspec would read the first member alone."""
    compression = infer_compression(name)
    return None if compression == "zip" else cast("str | None", compression)


def find_files(files: Files, suffixes: Collection[str], remote: Callable[[str], Any] | None = None) -> list[File]:
    """The files that ``files`` means, each once, in a stable order.

    A path stands for itself; a glob (``*``, ``?``, ``[…]``, ``**``) for the files it matches, sorted; a folder for
    the files directly in it with one of ``suffixes``, sorted; an iterable for its elements in their order.

    :param suffixes: of the contents that can be read, as ``.jsonl``.
    :param remote: makes a path of a URI.
    :raises SourceNotFoundError: a path does not exist, or a glob or folder holds no file to read.
    :raises SourceUnavailableError: the storage does not answer, or refuses.
    :raises InputError: a suffix that cannot be read, a storage that Airflow has no provider for, or no path at all.
    """
    if isinstance(files, (bytes, Mapping)) or not (isinstance(files, Iterable) or hasattr(files, "open")):
        raise InputError(f"files must be a path, a glob, a folder or a list of them, not {type(files).__name__}")
    items = [files] if isinstance(files, str) or hasattr(files, "open") else files
    found = [file for item in items for file in _find(item, suffixes, remote)]
    return list({str(file.path): file for file in found}.values())


def _find(item: Any, suffixes: Collection[str], remote: Callable[[str], Any] | None) -> list[File]:
    if not (isinstance(item, str) and item.strip()) and not hasattr(item, "open"):
        raise InputError(f"files: a path must be a non-empty str or Path, not {type(item).__name__} {item!r:.60}")
    name = _CONNECTION.sub("", str(item))
    readable = ", ".join(suffixes)

    def path_of(text: str) -> Any:
        return remote(text) if remote and "://" in text else Path(text)

    try:
        path = path_of(item) if isinstance(item, str) else item
        if path.is_dir():
            children = [File.of(child) for child in path.iterdir()]
            found = [file for file in children if file.suffix in suffixes and file.path.is_file()]
            missing = f"the folder {name} holds no file that ends in {readable}"
        elif path.exists():
            found, missing = [File.of(path)], ""
        elif _MAGIC & set(str(item)):
            folder, pattern = _split_glob(str(item))
            found = [File.of(match) for match in path_of(folder).glob(pattern) if match.is_file()]
            missing = f"no file matches {name}"
        else:
            found, missing = [], f"no such file: {name}"
    except (ImportError, ValueError) as error:
        raise InputError(f"{name}: no access to this storage: {error}") from error
    except Exception as error:  # whatever the storage's client raises
        raise SourceUnavailableError(f"{name}: {type(error).__name__}: {excerpt(str(error))}") from error
    if not found:
        here = "" if "://" in name else f" (seen from {Path.cwd()} on this worker)"
        raise SourceNotFoundError(missing + here)
    for file in found:
        if file.suffix not in suffixes:
            raise InputError(f"{file.name}: the suffix {file.suffix!r} is not one of {readable}")
    return sorted(found, key=lambda file: file.name)


def _split_glob(text: str) -> tuple[str, str]:
    """The folder before the first part with a special character, and the pattern from there on."""
    parts = text.split("/")
    first = next(index for index, part in enumerate(parts) if _MAGIC & set(part))
    return "/".join(parts[:first]) or ("/" if first else "."), "/".join(parts[first:])
