"""Rows out of memory and out of files, each with its position."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from airflow_provider_milvus_rest.exceptions import InputError, RowError
from airflow_provider_milvus_rest.rows.files import File

REJECT = "$reject"
"""The key under which a rejects file says why a row is in it; left out when such a file is read."""


class Row(NamedTuple):
    """An entity and where it came from: ``path:line``, ``path[index]`` or ``[index]``.

    ``error`` says why the entity is only the source's text, where that could not be read as one.
    """

    position: str
    entity: Any
    error: RowError | None = None


def iter_entities(entities: Iterable[Any]) -> Iterator[Row]:
    """Rows of an iterable of entities."""
    for index, entity in enumerate(entities):
        yield Row(f"[{index}]", entity)


def iter_files(files: Iterable[File]) -> Iterator[Row]:
    """Rows of each file in turn, read by what its suffix says."""
    for file in files:
        yield from _READERS[file.suffix](file)


def _read_lines(file: File) -> Iterator[Row]:
    """JSON Lines: one object a line; blank lines are passed over."""
    with file.open() as lines:
        for number, line in enumerate(lines, 1):
            if not line.isspace():
                position = f"{file.name}:{number}"
                text = line.rstrip(b"\r\n")
                try:
                    entity = _parse(text)
                except ValueError as error:
                    yield Row(position, text, RowError(f"not JSON: {_reason(error)}", position=position))
                else:
                    yield Row(position, _without_reject(entity))


def _read_document(file: File) -> Iterator[Row]:
    """One JSON document, read whole: an array of objects, or one object. An empty file has no rows."""
    with file.open() as content:
        text = content.read()
    if not text or text.isspace():
        return
    try:
        document = _parse(text)
    except ValueError as error:
        position, hint = file.name, ""
        if isinstance(error, json.JSONDecodeError):
            position = f"{file.name}:{error.lineno}"
            if error.msg == "Extra data":
                hint = "; if each line is an object of its own, the file's name must end in .jsonl or .ndjson"
        raise InputError(f"not JSON: {_reason(error)}{hint}", position=position) from None
    if isinstance(document, dict):
        yield Row(f"{file.name}[0]", _without_reject(document))
    elif isinstance(document, list):
        for index, entity in enumerate(document):
            yield Row(f"{file.name}[{index}]", _without_reject(entity))
    else:
        raise InputError(
            f"the document is a {type(document).__name__}, not an array of objects or one object", position=file.name
        )


def _without_reject(entity: Any) -> Any:
    if isinstance(entity, dict):
        entity.pop(REJECT, None)
    return entity


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


_READERS: dict[str, Callable[[File], Iterator[Row]]] = {
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_document,
}
SUFFIXES = tuple(_READERS)
"""Of the contents that :func:`iter_files` reads."""
