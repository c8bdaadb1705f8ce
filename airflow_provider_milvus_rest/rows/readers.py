"""Rows out of memory and out of files, each with its position."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_milvus_rest.exceptions import InputError, SourceNotFoundError

Files = str | Path | Iterable["str | Path"]
_MAGIC = frozenset("*?[")


class Row(NamedTuple):
    """An entity and where it came from: ``path:line``, ``path[index]`` or ``[index]``.

    ``error`` says why there is no entity, where the source's text could not be read as one.
    """

    position: str
    entity: Any
    error: InputError | None = None


def iter_entities(entities: Iterable[Any]) -> Iterator[Row]:
    """Rows of an iterable of entities."""
    for index, entity in enumerate(entities):
        yield Row(f"[{index}]", entity)


def iter_files(paths: Iterable[Path]) -> Iterator[Row]:
    """Rows of each file in turn, read by what its suffix says: see :func:`find_files`."""
    for path in paths:
        yield from _READERS[path.suffix.lower()](path)


def find_files(files: Files) -> list[Path]:
    """The files that ``files`` means, each once, in a stable order.

    A path stands for itself; a glob (``*``, ``?``, ``[…]``, ``**``) for the files it matches, sorted; a folder for
    the files directly in it that have a suffix this package reads, sorted; a list for its elements in their order.

    :raises SourceNotFoundError: a path does not exist, or a glob or folder holds no file to read.
    :raises InputError: a suffix that this package does not read, or something that is not a path.
    """
    if isinstance(files, (str, Path)):
        return _find(files)
    if not isinstance(files, Iterable) or isinstance(files, (bytes, Mapping)):
        raise InputError(f"files must be a path, a glob, a folder or a list of them, not {type(files).__name__}")
    return list(dict.fromkeys(path for item in files for path in _find(item)))


def _find(item: str | Path) -> list[Path]:
    if not isinstance(item, (str, Path)) or not str(item).strip():
        raise InputError(f"files: a path must be a non-empty str or Path, not {type(item).__name__} {item!r:.60}")
    path = Path(item)
    if path.is_dir():
        found = sorted(child for child in path.iterdir() if child.suffix.lower() in _READERS and child.is_file())
        what = f"the folder {path} holds no file that ends in {_SUFFIXES}"
    elif path.exists():
        found, what = [path], ""
    elif _MAGIC & set(str(path)):
        found, what = _glob(path), f"no file matches {path}"
    else:
        found, what = [], f"no such file: {path}"
    if not found:
        raise SourceNotFoundError(f"{what} (seen from {Path.cwd()} on this worker)")
    for file in found:
        if file.suffix.lower() not in _READERS:
            raise InputError(f"{file}: the suffix {file.suffix!r} is not one of {_SUFFIXES}")
    return found


def _glob(pattern: Path) -> list[Path]:
    """Matches of the pattern's part from its first special character on, under the folder before it."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if _MAGIC & set(part))
    return sorted(path for path in Path(*parts[:first]).glob(str(Path(*parts[first:]))) if path.is_file())


def _read_lines(path: Path) -> Iterator[Row]:
    """JSON Lines: one object a line; blank lines are passed over."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.isspace():
                position = f"{path}:{number}"
                try:
                    yield Row(position, _parse(line.rstrip(b"\r\n")))
                except ValueError as error:
                    yield Row(position, None, InputError(f"not JSON: {_reason(error)}", position=position))


def _read_document(path: Path) -> Iterator[Row]:
    """One JSON document, read whole: an array of objects, or one object. An empty file has no rows."""
    text = path.read_bytes()
    if not text or text.isspace():
        return
    try:
        document = _parse(text)
    except ValueError as error:
        position, hint = str(path), ""
        if isinstance(error, json.JSONDecodeError):
            position = f"{path}:{error.lineno}"
            if error.msg == "Extra data":
                hint = "; if each line is an object of its own, the file's name must end in .jsonl or .ndjson"
        raise InputError(f"not JSON: {_reason(error)}{hint}", position=position) from None
    if isinstance(document, dict):
        yield Row(f"{path}[0]", document)
    elif isinstance(document, list):
        for index, entity in enumerate(document):
            yield Row(f"{path}[{index}]", entity)
    else:
        raise InputError(
            f"the document is a {type(document).__name__}, not an array of objects or one object", position=str(path)
        )


def _parse(text: bytes) -> Any:
    """JSON as Python values: integers of any size exactly, NaN and Infinity not at all.

    :raises ValueError: saying what is wrong and where in the text.
    """
    try:
        return json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _reason(error: ValueError) -> str:
    """Without the line number that the decoder counts for itself."""
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_document,
}
_SUFFIXES = ", ".join(_READERS)
