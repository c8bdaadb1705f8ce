"""Parquet and Arrow, in files and in memory: ``pip install 'airflow-provider-milvus-rest[arrow]'``.

Vectors come from Arrow's buffers as arrays, without a Python float for each number. A null in a column that is no
field of the collection means that the row does not have that dynamic field; elsewhere it is null.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from airflow_provider_milvus_rest.exceptions import InputError, excerpt
from airflow_provider_milvus_rest.rows.files import File
from airflow_provider_milvus_rest.rows.source import REJECT, Columns, Row, Watch, columns_of

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 512
"""Rows that are decoded at a time."""
_BUFFER_BYTES = 2**20
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def is_table(value: Any) -> bool:
    """Whether it speaks the Arrow PyCapsule interface: pyarrow, pandas, polars, DuckDB, …"""
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__")


def iter_table(table: Any, columns: Columns) -> Iterator[dict[str, Any]]:
    """The rows of whatever :func:`is_table`.

    :raises InputError: it has no columns, or some that Arrow has no type for.
    """
    pa = _pyarrow()
    try:
        if hasattr(table, "__arrow_c_stream__"):
            batches: Any = pa.RecordBatchReader.from_stream(table)
        else:
            batches = [pa.record_batch(table)]
        yield from _entities(batches, columns)
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"no rows come out of this {type(table).__name__}: {excerpt(str(error))}") from None


def read_parquet(file: File, columns: Columns, watch: Watch) -> Iterator[Row]:
    """The rows of a Parquet file, or of the row groups that its part names."""
    with _reading("Parquet", file) as stream:
        import pyarrow.parquet as pq

        source = pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        sizes = [source.metadata.row_group(group).num_rows for group in range(source.metadata.num_row_groups)]
        groups = range(len(sizes))[file.part.start : file.part.end]
        number = first = sum(sizes[: groups.start])
        total = sum(sizes[group] for group in groups)
        watch(lambda: (number - first) / total)
        # Its own threads would read ahead, and hold what they read.
        batches = source.iter_batches(_ROWS, row_groups=groups, use_threads=False)
        for entity in _entities(batches, columns):
            yield Row(f"{file.name}#{number}", entity)
            number += 1


def row_group_bytes(file: File) -> list[int]:
    """The sizes of a Parquet file's row groups."""
    with _reading("Parquet", file) as stream:
        import pyarrow.parquet as pq

        metadata = pq.ParquetFile(stream).metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        return [
            sum(group.column(column).total_compressed_size for column in range(group.num_columns)) for group in groups
        ]


def read_arrow(file: File, columns: Columns, watch: Watch) -> Iterator[Row]:
    """The rows of an Arrow IPC file (Feather 2) or stream, of which a record batch at a time is in memory."""
    pa = _pyarrow()
    with _reading("Arrow", file) as stream:
        is_file = stream.read(6) == b"ARROW1"
        stream.seek(0)
        if is_file:
            reader = pa.ipc.open_file(stream)
            batches: Any = map(reader.get_batch, range(reader.num_record_batches))
        else:
            batches = pa.ipc.open_stream(stream)
        watch(lambda: stream.tell() / file.length())
        for number, entity in enumerate(_entities(map(_valid, batches), columns)):
            yield Row(f"{file.name}#{number}", entity)


def _valid(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A damaged file may hold offsets that lead out of its buffers."""
    batch.validate(full=True)
    return batch


def _entities(batches: Iterable[pa.RecordBatch], columns: Columns) -> Iterator[dict[str, Any]]:
    vectors = columns_of(columns, "FloatVector")
    for whole in batches:
        names = [name for name in whole.schema.names if name != REJECT and not _PANDAS_INDEX.fullmatch(name)]
        if len(set(names)) < len(names):
            raise InputError("two columns have one name")
        dynamic = [name for name in names if name not in columns]
        for start in range(0, whole.num_rows, _ROWS):
            batch = whole.slice(start, _ROWS)
            values = [_values(name, batch.column(name), name in vectors) for name in names]
            for row in zip(*values, strict=True):
                entity = dict(zip(names, row, strict=True))
                for name in dynamic:
                    if entity[name] is None:
                        del entity[name]
                yield entity


def _values(name: str, array: pa.Array, is_vector: bool) -> Any:
    """The values of a column, one for each row; a vector as an array, if it has no nulls."""
    pa = _pyarrow()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_vector and lists and not array.null_count:
        numbers = array.flatten()
        if not numbers.null_count and (pa.types.is_floating(numbers.type) or pa.types.is_integer(numbers.type)):
            flat = np.from_dlpack(numbers)  # to_numpy() would import pandas
            if pa.types.is_fixed_size_list(kind):
                return flat.reshape(len(array), kind.list_size)
            ends = itertools.accumulate(array.value_lengths().to_pylist(), initial=0)
            return [flat[start:end] for start, end in itertools.pairwise(ends)]
    try:
        return array.to_pylist(maps_as_pydicts="strict")
    except (ValueError, KeyError, OverflowError) as error:  # a date out of range, a key twice, no UTF-8, …
        raise InputError(f"column {name!r} holds what Python has no value for: {excerpt(str(error))}") from None


@contextmanager
def _reading(kind: str, file: File) -> Iterator[BinaryIO]:
    """The file's content, with the errors that say what is wrong with it."""
    pa = _pyarrow()
    if file.compression:
        raise InputError(f"{kind} files are not read from inside of a .{file.compression}", position=file.name)
    stream, _ = file.open()
    with stream:
        try:
            yield stream
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the storage's, not Arrow's
            raise InputError(f"not {kind}, or damaged: {excerpt(str(error))}", position=file.name) from None


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise InputError("Arrow and Parquet need pyarrow: pip install 'airflow-provider-milvus-rest[arrow]'") from None
    return pyarrow
