"""CSV: comma-separated, quoted with double quotes, the column names in the first row (RFC 4180), in UTF-8.

A cell is converted to the type of the collection's field. If that fails, it stays a str, which the row's check refuses.
An empty cell is null, except in a text field (VarChar, Text or a dynamic field), where it is the empty string.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.rows.files import OpenFile
from airflow_provider_milvus_rest.rows.json_rows import JsonParser, check_count, reason_of, value_of
from airflow_provider_milvus_rest.rows.schema import FieldSchema
from airflow_provider_milvus_rest.rows.source import (
    ANYTHING,
    BINARY,
    CALLED,
    ENTERED,
    Columns,
    Row,
    field_of,
    most_values,
)
from airflow_provider_milvus_rest.text import shown

MAX_CELL_CHARS = 32 * 2**20
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_BOOLS = {"": None, "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def read_csv(file: OpenFile, columns: Columns) -> Iterator[Row]:
    """The rows after the header."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL_CHARS))
    text = io.TextIOWrapper(file.stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    records = csv.reader(_lines(text, file), strict=True)
    line = 1
    try:
        names = next(filter(None, records), [])  # the first row that is not blank
        fault = "an empty name" if "" in names else "a duplicate name" if len(set(names)) < len(names) else None
        if names and columns.keys().isdisjoint(names):
            fault = f"no field's name: {shown(names)}. A rejects file is JSON Lines: read it without file_format"
        if fault:
            reason = f"the first row must name the columns, but has {fault}"
            raise InputError(reason, position=f"{file.name}:{records.line_num}")
        converters = [_converter(field_of(columns, name)) for name in names]
        line = records.line_num + 1
        for cells in records:
            position, line = f"{file.name}:{line}", records.line_num + 1
            if not cells:
                continue  # a blank line
            if len(cells) != len(names):
                reason = f"{len(cells)} cells, but the first row names {len(names)} columns"
                yield file.unreadable(position, ",".join(cells)[:1000], reason)
                continue
            entity: dict[str, Any] = {}
            faults: list[tuple[str, str]] = []
            for name, cell, convert in zip(names, cells, converters, strict=True):
                try:
                    entity[name] = convert(cell)
                except ValueError as error:  # noqa: PERF203
                    entity[name] = cell
                    faults.append((str(error), name))
            yield file.unreadable(position, entity, *faults[0]) if faults else Row(position, entity)
    except csv.Error as error:
        hint = ": a quote may not be closed" if "field limit" in str(error) or "unexpected end" in str(error) else ""
        raise InputError(f"not CSV: {error}{hint}", position=f"{file.name}:{line}") from None
    finally:
        text.detach()  # otherwise it would close the stream


def _lines(text: TextIO, file: OpenFile) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, MAX_CELL_CHARS + 1), ""), 1):
        if len(line) > MAX_CELL_CHARS:
            raise InputError(f"the line is longer than {MAX_CELL_CHARS >> 20} MiB", position=f"{file.name}:{number}")
        yield line


def _converter(field: FieldSchema | None) -> Callable[[str], Any]:
    """The function that converts a cell to a field's value. A column that is left out (None) may contain anything."""
    kind = field.type if field else None
    if kind in _SCALARS:
        return _SCALARS[kind]
    parse = JsonParser().vector if kind == "FloatVector" else value_of
    convert = partial(_json, parse, most_values(field))
    if kind == ENTERED.type:
        return partial(_entered, convert)
    return partial(_binary, convert) if kind in BINARY else convert


def _json(parse: Callable[[bytes], Any], most: int, cell: str) -> Any:
    if len(cell) > most:
        check_count(cell.encode(errors="replace"), most)
    try:
        return parse(cell.encode()) if cell else None
    except ValueError as error:
        raise ValueError(f"is not JSON: {reason_of(error)}") from None


def _binary(convert: Callable[[str], Any], cell: str) -> Any:
    return convert(cell) if cell[:1] in ("[", '"') else _text(cell) or None


def _entered(convert: Callable[[str], Any], cell: str) -> Any:
    with suppress(ValueError):
        if cell.lstrip()[:1] in ("[", "{"):
            return convert(cell)
    return _text(cell)


def _integer(cell: str) -> Any:
    return int(cell) if _INTEGER.fullmatch(cell) and len(cell) < 100 else cell or None


def _number(cell: str) -> Any:
    return float(cell) if _NUMBER.fullmatch(cell) and not _INTEGER.fullmatch(cell) else _integer(cell)


def _text(cell: str) -> str:
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    return cell


_SCALARS: dict[str | None, Callable[[str], Any]] = {
    None: str,
    **{"VarChar": _text, "Text": _text, ANYTHING.type: _text, "Bool": lambda cell: _BOOLS.get(cell, cell)},
    CALLED.type: lambda cell: _text(cell) or None,
    **dict.fromkeys(("Int8", "Int16", "Int32", "Int64"), _integer),
    **dict.fromkeys(("Float", "Double"), _number),
}
