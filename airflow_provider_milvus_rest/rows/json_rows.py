"""JSON Lines and JSON documents.

simdjson reads a line in a tenth of the standard library's time, returns a vector as a buffer of float64 and refuses
what Python's parser would accept (integers beyond 64 bits, numbers beyond float64). What it refuses is read again with
the standard library, which says what is wrong and where, and keeps integers of any size. A row, or an object that is
one of its values, with a key twice is refused.
"""

import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import simdjson

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.rows.files import OpenFile
from airflow_provider_milvus_rest.rows.source import EACH, Columns, Row, most_values
from airflow_provider_milvus_rest.text import shown

MAX_LINE_BYTES = 32 * 2**20
"""No row of Milvus is this long, and simdjson's arrays must stay below 2^24 elements."""
MAX_DOCUMENT_BYTES = 256 * 2**20
_MAX_STEPS = 10**6
Vectors = Mapping[str, Any]
"""By member of an object: True for a vector, else where vectors are in it; :data:`EACH` is every element of a list."""


def vectors_in(columns: Columns) -> Vectors:
    """Where the FloatVectors are, from the names and paths of the columns."""
    found: dict[str, Any] = {}
    for name, field in columns.items():
        if not field or field.type != "FloatVector":
            continue
        *parents, last = name.split(".")
        place = found
        for step in parents:
            place = place.setdefault(step, {})
            if place is True:
                break
        else:
            place[last] = True
        found[name] = True
    return found


class JsonParser:
    """Reads JSON values; arrays of numbers become float64 arrays where a vector is expected."""

    def __init__(self) -> None:
        self._simd = simdjson.Parser()
        self._names: list[str] = []
        self._buffers = 0

    def entity(self, text: bytes, vectors: Vectors) -> Any:
        """A row, usually an object, whose ``vectors`` may become float64 arrays. Raises as :func:`value_of` does."""
        try:
            return self._entity(text, vectors)
        except (ValueError, RuntimeError, TypeError):  # simdjson's and orjson's; the standard library's error says more
            return value_of(text.rstrip(b"\r\n"))

    def vector(self, text: bytes) -> Any:
        """A value that should be an array of numbers. Raises as :func:`value_of` does."""
        if text.find(b"[", 1) < 0:
            try:
                document = self._simd.parse(text)
                if isinstance(document, simdjson.Array):
                    return np.frombuffer(document.as_buffer(of_type="d"))
            except (ValueError, RuntimeError, TypeError):
                pass
        return value_of(text)

    def _entity(self, text: bytes, vectors: Vectors) -> dict[str, Any]:
        """Raises if simdjson would not read the text exactly: not an object, a duplicate key, a list in a vector."""
        document = self._simd.parse(text)
        if not isinstance(document, simdjson.Object):
            raise TypeError
        names = self._names
        if len(names) != len(document) or not all(map(document.__contains__, names)):
            names = self._names = _names(document)  # most lines have the names of the previous line
        self._buffers = 0
        entity: dict[str, Any] = {}
        for name in names:
            value: Any = document[name]
            if isinstance(value, (simdjson.Object, simdjson.Array)):
                value = self._inner(value, vectors.get(name))
            entity[name] = value
        if self._buffers and not _all_flat(text, entity, self._buffers):
            raise ValueError
        return entity

    def _inner(self, value: Any, vectors: Any) -> Any:
        """An object or list, with arrays in place of its ``vectors``; any other value unchanged."""
        is_object = isinstance(value, simdjson.Object)
        if not is_object and not isinstance(value, simdjson.Array):
            return value
        if vectors is None or (is_object and vectors is True):
            return _plain(value, 0)
        if is_object:
            return {name: self._inner(value[name], vectors.get(name)) for name in _names(value)}
        if vectors is True:
            try:
                array = np.frombuffer(value.as_buffer(of_type="d"))
            except TypeError:  # not all of them are numbers
                return value.as_list()
            self._buffers += 1
            return array
        each = vectors.get(EACH)
        return [self._inner(item, vectors.get(str(index), each)) for index, item in enumerate(value)]


def value_of(text: bytes, levels: int = 1) -> Any:
    """Any JSON value. Integers of any size are exact; NaN and Infinity are refused, and a key twice in an object, down
    to ``levels`` below the value.

    :raises ValueError: the text is not JSON; says what is wrong and where.
    """
    if len(text) <= MAX_LINE_BYTES:
        parser = simdjson.Parser()
        try:
            return _plain(parser.parse(text), levels)
        except (ValueError, RuntimeError, KeyError, TypeError):  # the last two: a name with a NUL
            pass
    try:
        return json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _plain(value: Any, levels: int) -> Any:
    """A value of simdjson as Python's. Raises ValueError if an object has a key twice, down to ``levels`` below it."""
    if isinstance(value, simdjson.Array):
        return [_plain(item, levels - 1) for item in value] if levels else value.as_list()
    if not isinstance(value, simdjson.Object):
        return value
    found: dict[str, Any] = value.as_dict()
    inner = [name for name, member in found.items() if type(member) is dict] if levels else []
    if len(found) < len(value) or len(inner) * len(found) > _MAX_STEPS:  # to find a member, simdjson tries each
        raise ValueError
    if any(len(found[name]) < len(value[name]) for name in inner):  # type: ignore[arg-type]
        raise ValueError
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the key {shown(name, 255)} twice")
    return found


def _names(value: Any) -> list[str]:
    """The keys of a simdjson object. Raises ValueError if one is duplicate, or has a NUL, which ends its lookup."""
    names = list(value)
    if len(set(names)) < len(names) or "\0" in "".join(names):
        raise ValueError
    return names


def _all_flat(text: bytes, entity: dict[str, Any], buffers: int) -> bool:
    """Whether all ``buffers`` were flat arrays of numbers: simdjson silently flattens nested lists.

    They were if the text has no brackets except theirs and those of the entity's other values.
    """
    count, at = 0, -1
    while (at := text.find(b"[", at + 1)) >= 0:  # for few brackets, ten times as fast as count()
        count += 1
    if count == buffers == 1:
        return True
    others = orjson.dumps(entity, default=lambda array: None).count(b"[")
    return count == buffers + others and not (b"\\" in text and b"\\u005" in text)


def check_count(text: bytes, most: int) -> None:
    """Refuse text, before it is parsed, that would need many times its size in memory and cannot fit any row.

    :raises ValueError: it has more brackets, braces and commas than ``most``.
    """
    count = text.count(b"[") + text.count(b"{") + text.count(b",")
    if count > most:
        raise ValueError(f"has {count} brackets, braces and commas, but at most {most} are allowed")


def _is_blank(text: bytes) -> bool:
    return not text or text.isspace() or (len(text) < 8 and text.strip() == codecs.BOM_UTF8)


def read_lines(file: OpenFile, columns: Columns) -> Iterator[Row]:
    """JSON Lines: one object per line; blank lines are skipped."""
    vectors = vectors_in(columns)
    most = most_values(*columns.values())
    parser = JsonParser()
    for position, line in _lines(file):
        if len(line) > MAX_LINE_BYTES:
            yield file.unreadable(position, line[:1000], f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
        elif not _is_blank(line):
            try:
                if len(line) > most:
                    check_count(line, most)
                row = Row(position, parser.entity(line, vectors))
            except ValueError as error:
                row = file.unreadable(position, line.rstrip(b"\r\n"), f"not JSON: {reason_of(error)}")
            yield row


def _lines(file: OpenFile) -> Iterator[tuple[str, bytes]]:
    """The lines of a file, or those that begin in its part, each cut off one byte above the limit."""
    stream, part = file.stream, file.file.part
    if part.start:
        stream.seek(part.start - 1)
        _skip_line(stream)  # the previous part reads it
    number, offset = 0, stream.tell() if part.start else 0
    while (part.end is None or offset < part.end) and (line := stream.readline(MAX_LINE_BYTES + 1)):
        number += 1
        yield (f"{file.name}:{number}" if part.is_whole else f"{file.name}@{offset}"), line
        offset += len(line)
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            offset += _skip_line(stream)
    if part.end is not None and offset < part.end:
        raise InputError(f"the file ends at byte {offset}, but this part ends at byte {part.end}")


def _skip_line(stream: Any) -> int:
    """Read to the end of the line, in pieces, and return the number of bytes."""
    skipped, piece = 0, b""
    while not piece.endswith(b"\n") and (piece := stream.readline(2**20)):
        skipped += len(piece)
    return skipped


def read_document(file: OpenFile, _columns: Columns) -> Iterator[Row]:
    """One JSON document, read at once: an array of objects, or one object. An empty file has no rows."""
    text = file.stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(text) > MAX_DOCUMENT_BYTES:
        raise InputError(
            f"the document is larger than {MAX_DOCUMENT_BYTES >> 20} MiB, and all of it would be read into memory: "
            "write JSON Lines (.jsonl), one object per line, which is streamed"
        )
    if _is_blank(text):
        return
    try:
        document = value_of(text, levels=2)
    except ValueError as error:
        position = f"{file.name}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else None
        own_lines = "; if each line is a separate object, the format is jsonl (by the suffix or file_format)"
        hint = own_lines if str(error).startswith("Extra data") else ""
        raise InputError(f"not JSON: {reason_of(error)}{hint}", position=position) from None
    entities = [document] if isinstance(document, dict) else document
    if not isinstance(entities, list):
        raise InputError(f"the document is a {type(document).__name__}, not an array of objects or one object")
    index = 0
    file.share = lambda: index / len(entities)
    for index, entity in enumerate(entities):
        yield Row(f"{file.name}[{index}]", entity)


def reason_of(error: ValueError) -> str:
    """The error's message, without the decoder's own line number."""
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
