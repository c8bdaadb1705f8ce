"""Parquet and Arrow, in files and in memory, with pyarrow.

Vectors are read from Arrow's buffers as arrays, without a Python float for each number.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.rows.files import File, OpenFile, reading
from airflow_provider_milvus_rest.rows.json_rows import vectors_in
from airflow_provider_milvus_rest.rows.source import Columns, Row, field_of
from airflow_provider_milvus_rest.text import excerpt, shown

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 512
"""How many rows are decoded at a time."""
_BUFFER_BYTES = 2**20
_EXACT = ("arrow.bool8", "arrow.uuid", "arrow.json")
"""Extension types whose values ``to_pylist`` returns unchanged: a bool, a UUID, a str."""
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def is_table(value: Any) -> bool:
    """Whether a value has the Arrow PyCapsule interface: tables of pyarrow, pandas, polars, DuckDB, …"""
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__")


def iter_table(table: Any, columns: Columns) -> Iterator[dict[str, Any]]:
    """The rows of a table (see :func:`is_table`).

    :raises InputError: it is not a table, or has columns that have no Arrow type or cannot be stored exactly.
    """
    pa = _pyarrow()
    try:
        if type(table).__module__.startswith("polars"):  # which exports the addresses of Python objects
            for name, kind in getattr(table, "schema", {}).items():
                if str(kind) == "Object" and field_of(columns, name):
                    raise _inexact(name, "Object")
        if isinstance(table, pa.Table):  # the interface loses unregistered extension types in dictionaries
            batches: Any = table.to_batches()
        elif hasattr(table, "__arrow_c_stream__"):
            batches = pa.RecordBatchReader.from_stream(table)
        else:
            batches = [pa.record_batch(table)]
        yield from _entities(batches, columns)
    except InputError:
        raise
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        kind = type(table).__name__
        raise InputError(f"this {kind} cannot be read as an Arrow table: {excerpt(str(error))}") from None


def read_parquet(file: OpenFile, columns: Columns) -> Iterator[Row]:
    """The rows of a Parquet file, or of the row groups in its part."""
    source, row_groups = _parquet(file)
    sizes = [group.num_rows for group in row_groups]
    part = file.file.part
    if part.end is not None and part.end > len(sizes):
        raise InputError(f"the file has {len(sizes)} row groups, but this part ends at {part.end}")
    groups = range(len(sizes))[part.start : part.end]
    number = first = sum(sizes[: groups.start])
    total = sum(sizes[groups.start : groups.stop])
    file.share = lambda: (number - first) / total
    # pyarrow's threads would read ahead, and keep what they read in memory.
    batches = source.iter_batches(_ROWS, row_groups=groups, use_threads=False)
    if int96 := [name for name in _int96_columns(source) if field_of(columns, name) is not None]:
        exact = _parquet(file, "ns")[0].iter_batches(_ROWS, row_groups=groups, use_threads=False, columns=int96)
        batches = map(_not_cut, batches, exact)
    for entity in _entities(batches, columns):
        yield Row(f"{file.name}#{number}", entity)
        number += 1


def row_group_bytes(file: File) -> list[int]:
    """The sizes of a Parquet file's row groups."""
    with reading(file) as opened:
        return [
            sum(group.column(column).total_compressed_size for column in range(group.num_columns))
            for group in _parquet(opened)[1]
        ]


def _parquet(file: OpenFile, int96_unit: str = "us") -> tuple[Any, list[Any]]:
    """A Parquet file, and the metadata of its row groups.

    INT96, Spark's default for times, has nanoseconds. As such, dates outside of 1677 to 2262 would become others.
    """
    _pyarrow()
    import pyarrow.parquet as pq

    options = {"coerce_int96_timestamp_unit": int96_unit}
    source = pq.ParquetFile(file.stream, buffer_size=_BUFFER_BYTES, pre_buffer=False, **options)
    return source, [source.metadata.row_group(index) for index in range(source.num_row_groups)]


def _int96_columns(source: Any) -> list[str]:
    leaves = [source.schema.column(index) for index in range(len(source.schema))]
    paths = [leaf.path for leaf in leaves if leaf.physical_type == "INT96"]
    return [name for name in source.schema_arrow.names if any(f"{path}.".startswith(f"{name}.") for path in paths)]


def _not_cut(batch: "pa.RecordBatch", exact: "pa.RecordBatch") -> "pa.RecordBatch":
    """The batch, in which INT96 times are microseconds, if they are those of the ``exact`` one, in nanoseconds."""
    for name in exact.schema.names:
        for times, nanoseconds in zip(_leaves(batch.column(name)), _leaves(exact.column(name)), strict=True):
            # Other types are the same in both. Both sides overflow alike.
            if times.type != nanoseconds.type and np.any(_integers(times) * 1000 != _integers(nanoseconds)):
                raise InputError(f"column {shown(name, 255)} has INT96 times with nanoseconds: write it as TIMESTAMP")
    return batch


def _leaves(array: "pa.Array") -> "list[pa.Array]":
    """The arrays without inner ones in an array."""
    types = _pyarrow().types
    if not types.is_nested(array.type):
        return [array]
    inner = array.flatten() if types.is_struct(array.type) else [array.flatten()]
    return [leaf for part in inner for leaf in _leaves(part)]


def _integers(array: "pa.Array") -> Any:
    return np.from_dlpack(array.cast("int64").fill_null(0))


def read_arrow(file: OpenFile, columns: Columns) -> Iterator[Row]:
    """The rows of an Arrow IPC file (Feather 2) or stream, with one record batch in memory at a time."""
    pa = _pyarrow()
    is_file = file.stream.read(6) == b"ARROW1"
    file.stream.seek(0)
    if is_file:
        reader = pa.ipc.open_file(file.stream)
        batches: Any = map(reader.get_batch, range(reader.num_record_batches))
    else:
        batches = pa.ipc.open_stream(file.stream)
    for number, entity in enumerate(_entities(map(_validated, batches), columns)):
        yield Row(f"{file.name}#{number}", entity)


def _validated(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """The batch, if it is valid: a damaged file may contain offsets outside its buffers."""
    batch.validate(full=True)
    return batch


def _entities(batches: "Iterable[pa.RecordBatch]", columns: Columns) -> Iterator[dict[str, Any]]:
    vectors = vectors_in(columns)
    names: list[str] | None = None
    for whole in batches:
        if names is None:
            names = _names(whole.schema, columns)
        for start in range(0, whole.num_rows, _ROWS):
            batch = whole.slice(start, _ROWS)
            values = {}
            for name in names:
                ignored = () if field_of(columns, name) else (InputError,)
                with suppress(*ignored):
                    values[name] = _values(name, batch.column(name), vectors.get(name))
            for row in zip(*values.values(), strict=True) if values else [()] * batch.num_rows:
                yield dict(zip(values, row, strict=True))


def _names(schema: "pa.Schema", columns: Columns) -> list[str]:
    """The columns to read.

    :raises InputError: two columns have the same name, or the values of one cannot be read exactly.
    """
    fields = [field for field in schema if not _PANDAS_INDEX.fullmatch(field.name)]
    if len({field.name for field in fields}) < len(fields):
        raise InputError("two columns have the same name")
    for index in (schema.pandas_metadata or {}).get("index_columns", ()):
        name = index.get("name") if isinstance(index, dict) else None
        if name is not None and field_of(columns, name) is not None and name not in schema.names:
            raise InputError(
                f"the pandas index {shown(name, 255)} is a range, which Arrow does not store as a column: call "
                "reset_index() first, or leave it out with field_map"
            )
    foreign = {field.name: kind for field in fields if (kind := _foreign(field))}
    for name, kind in foreign.items():
        if field_of(columns, name) is not None:  # field_map does not leave it out
            raise _inexact(name, kind)
    return [field.name for field in fields if field.name not in foreign]


def _inexact(name: str, kind: str) -> InputError:
    return InputError(
        f"column {shown(name, 255)} has the type {excerpt(kind)}, whose values cannot be read exactly: "
        "convert the column to numbers, strings or lists, or leave it out with field_map"
    )


def _foreign(field: "pa.Field") -> str | None:
    """The first type in a column whose values ``to_pylist`` does not return exactly; None if there is none."""
    pa = _pyarrow()
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        name = kind.extension_name
        flat = name == "arrow.fixed_shape_tensor" and len(kind.shape) == 1
        return None if flat or name in _EXACT else str(kind)
    unregistered: bytes | None = (field.metadata or {}).get(b"ARROW:extension:name")
    if unregistered:
        return unregistered.decode(errors="replace")
    if pa.types.is_interval(kind):
        return str(kind)
    inner = [kind.field(index) for index in range(kind.num_fields)]
    if pa.types.is_dictionary(kind):
        inner = [pa.field("", kind.value_type)]
    cut = (str(member.type) for member in inner if member.type in (pa.time64("ns"), pa.date64()))  # see _values
    return next((name for name in map(_foreign, inner) if name), next(cut, None))


def _values(name: str, array: "pa.Array", vectors: Any) -> Any:
    """The values of a column, one per row. Vectors are arrays if the column has no nulls, also inside a struct."""
    pa = _pyarrow()
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType) and pa.types.is_fixed_size_list(kind.storage_type):  # a tensor
        array, kind = array.storage, kind.storage_type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if pa.types.is_struct(kind) and isinstance(vectors, Mapping) and not array.null_count:
        names = [field.name for field in kind]
        if len(set(names)) == len(names):
            inner = [_values(n, array.field(index), vectors.get(n)) for index, n in enumerate(names)]
            return [dict(zip(names, row, strict=True)) for row in zip(*inner, strict=True)]
    if vectors is True and lists and not array.null_count:
        numbers = array.flatten()
        if not numbers.null_count and (pa.types.is_floating(numbers.type) or pa.types.is_integer(numbers.type)):
            flat = np.from_dlpack(numbers)  # to_numpy() would import pandas
            if pa.types.is_fixed_size_list(kind):
                return flat.reshape(len(array), kind.list_size)
            ends = itertools.accumulate(array.value_lengths().to_pylist(), initial=0)
            return [flat[start:end] for start, end in itertools.pairwise(ends)]
    try:
        if kind in (pa.time64("ns"), pa.date64()):  # to_pylist would drop nanoseconds, and the time of day
            array = array.cast(pa.time64("us") if pa.types.is_time(kind) else pa.date32())
        return array.to_pylist(maps_as_pydicts="strict")
    except (ValueError, KeyError, OverflowError) as error:  # a date out of range, a duplicate key, invalid UTF-8, …
        reason = f"has a value that Python cannot represent: {excerpt(str(error))}"
        raise InputError(f"column {shown(name, 255)} {reason}") from None


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise InputError(
            "Tables (pandas, polars, DuckDB, Arrow) and Parquet and Arrow files need pyarrow: pip install pyarrow"
        ) from None
    return pyarrow
