"""Sources are read completely, stored as they are, and named without what is secret."""

from __future__ import annotations

import bz2
import copy
import gzip
import itertools
import json
import logging
import lzma
import os
import subprocess
import sys
import traceback
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.ingest.rejects import Rejects
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator, plan_shards
from airflow_provider_milvus_rest.operators.sources import rejects_file
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.rows.shape import Shape
from airflow_provider_milvus_rest.rows.source import Columns
from airflow_provider_milvus_rest.text import said_of, without_connection
from tests.entities import entity
from tests.servers import UPSERT, Reply, ScriptedServer
from tests.unit.test_hostile import ingest

LINES = b"".join(b'{"id": %d}\n' % key for key in range(1000))


def keys(path: Path, columns: Columns = {}) -> list[int]:  # noqa: B006
    return [row.entity["id"] for row in FileRows(find_files(path)).rows(columns)]


# -- compressed files -----------------------------------------------------------------------------------------------

MIB = 2**20


@pytest.mark.parametrize("size", [4, 8, MIB - 4, MIB, MIB + 4, 3 * MIB, "to the end of a buffer", "one buffer more"])
def test_xz_padding_of_any_length(tmp_path: Path, size: int | str) -> None:
    one = lzma.compress(LINES)
    if isinstance(size, str):
        size = MIB - len(one) % MIB + (MIB if "more" in size else 0)
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(one + bytes(size) + one + bytes(size))
    assert keys(path) == [*range(1000)] * 2


@pytest.mark.parametrize(
    ("suffix", "between"),
    [
        *(("xz", bytes(size)) for size in (1, 2, 3, 5, MIB + 2)),
        *(("xz", b"\0\0\0\0" + junk) for junk in (b"x", b"\0\xfd7zX")),
        *(("bz2", junk) for junk in (b"\0", bytes(4), bytes(MIB), b"x", b"BZ", b"\0\0\0\0x")),
        *(("gz", junk) for junk in (b"x", b"\x1f", b"\0\0x", bytes(MIB) + b"x")),
    ],
)
def test_what_is_between_streams_is_not_passed_over(tmp_path: Path, suffix: str, between: bytes) -> None:
    compress = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[suffix]
    path = tmp_path / f"a.jsonl.{suffix}"
    for content in (compress(LINES) + between, compress(LINES) + between + compress(LINES)):
        path.write_bytes(content)
        with pytest.raises(e.InputError, match=rf"a\.jsonl\.{suffix}: damaged") as caught:
            keys(path)
        assert not caught.value.retryable


@pytest.mark.parametrize("size", [1, 512, MIB, 3 * MIB])
def test_gzip_padding_is_passed_over_as_gzip_does(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES) + bytes(size) + gzip.compress(LINES) + bytes(size))
    assert keys(path) == [*range(1000)] * 2


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    with subprocess.Popen(["sh", "-c", f"seq -f '{{\"id\": %g}}' 5000 > {tmp_path}/a.jsonl"]):
        assert keys(tmp_path / "a.jsonl") == [*range(1, 5001)]


# -- Arrow's types --------------------------------------------------------------------------------------------------


def extension(kind: Any, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


class OwnType(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.int64(), "me.own")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> OwnType:
        return cls()


def unregistered(name: str, storage: pa.Array) -> pa.Table:
    """As it comes out of a file, DuckDB or polars, where nobody has registered the type."""
    field = pa.field("x", storage.type, metadata={"ARROW:extension:name": name, "ARROW:extension:metadata": "{}"})
    return pa.Table.from_arrays([storage], schema=pa.schema([field]))


ONE = uuid.UUID(int=1)
UUIDS = extension(pa.uuid(), pa.array([ONE.bytes, None], pa.binary(16)))
INTERVALS = pa.array([(0, 1, 0)], pa.month_day_nano_interval())
TYPES: dict[str, tuple[Any, Any]] = {
    "1-d tensor": (pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 4), np.float32)), [[1.0] * 4]),
    "2-d tensor": (pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2, 2), np.float32)), "fixed_shape_tensor"),
    "bool8": (extension(pa.bool8(), pa.array([1, 0, None], pa.int8())), [True, False, None]),
    "uuid": (UUIDS, [ONE, None]),
    "uuid in a list": (pa.ListArray.from_arrays([0, 2], UUIDS), [[ONE, None]]),
    "uuid in a dictionary": (pa.DictionaryArray.from_arrays(pa.array([0, 0]), UUIDS), [ONE, ONE]),
    "json": (extension(pa.json_(), pa.array(['{"a": 1}'])), ['{"a": 1}']),
    "opaque": (extension(pa.opaque(pa.binary(), "hugeint", "DuckDB"), pa.array([b"x"])), "type_name=hugeint, vendor"),
    "own": (extension(OwnType(), pa.array([1])), "me.own"),
    "own in a list": (pa.ListArray.from_arrays([0, 1], extension(OwnType(), pa.array([1]))), "me.own"),
    "own in a struct": (pa.StructArray.from_arrays([extension(OwnType(), pa.array([1]))], ["a"]), "me.own"),
    "own in a map": (pa.MapArray.from_arrays([0, 1], ["a"], extension(OwnType(), pa.array([1]))), "me.own"),
    "own in a dictionary": (pa.DictionaryArray.from_arrays([0], extension(OwnType(), pa.array([1]))), "me.own"),
    "interval": (INTERVALS, "month_day_nano_interval"),
    "interval in a list": (pa.ListArray.from_arrays([0, 1], INTERVALS), "month_day_nano_interval"),
    "pandas period": (pd.DataFrame({"x": pd.period_range("2024-01", periods=1, freq="M")}), "pandas.period"),
    "pandas interval": (pd.DataFrame({"x": pd.interval_range(0, 1)}), "pandas.interval"),
    "pandas categorical": (pd.DataFrame({"x": pd.Categorical(["a", None])}), ["a", None]),
    "pandas complex": (pd.DataFrame({"x": [1j]}), "complex128"),
    "pandas Int64": (pd.DataFrame({"x": pd.array([1, None], "Int64")}), [1, None]),
    "pandas boolean": (pd.DataFrame({"x": pd.array([True, None], "boolean")}), [True, None]),
    "pandas string": (pd.DataFrame({"x": pd.array(["a", None], "string")}), ["a", None]),
    "pandas sparse": (pd.DataFrame({"x": pd.arrays.SparseArray([0, 5])}), "Sparse"),
    "DuckDB of old": (unregistered("duckdb.bit", pa.array([b"1"])), "duckdb.bit"),
    "polars extension": (unregistered("pl.own", pa.array([1])), "pl.own"),
    "geoarrow": (unregistered("geoarrow.wkb", pa.array([b"x"])), "geoarrow.wkb"),
    "polars enum": (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    "polars string": (pa.array(["a"], pa.string_view()), ["a"]),
    "run-end encoded": (pa.RunEndEncodedArray.from_arrays([2], ["a"]), ["a", "a"]),
    "half float": (pa.array([np.float16(1.5)]), [1.5]),
    "map": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), [{"a": 1}]),
    "union": (pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([7])]), [7]),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_value_of_arrow_is_read_exactly_or_its_column_refused_by_name(tmp_path: Path, name: str) -> None:
    given, expected = TYPES[name]
    source = pa.table({"x": given}) if isinstance(given, pa.Array) else given
    columns = {"x": FieldSchema(name="x", type="JSON")}

    def check(rows: Any, where: str) -> None:
        if isinstance(expected, list):
            assert [row.entity.get("x") for row in rows] == expected
            return
        with pytest.raises(e.InputError) as caught:
            list(rows)
        assert expected in str(caught.value)
        assert where in str(caught.value)

    check(Entities(source).rows(columns), "DataFrame" if name == "pandas complex" else "")
    if name in ("pandas complex", "pandas sparse", "run-end encoded", "union", "uuid in a dictionary"):
        return  # Arrow, or its files, have no such column
    table = source if isinstance(source, pa.Table) else pa.RecordBatchReader.from_stream(source).read_all()
    for suffix, write in (("feather", feather.write_feather), ("parquet", pq.write_table)):
        kind = table["x"].type
        if suffix == "parquet" and (pa.types.is_interval(kind) or "in a" in name):
            continue  # which Parquet does not have
        if suffix == "parquet" and pa.types.is_string_view(kind) and pa.__version__.startswith("20."):
            continue  # which cannot write them
        write(table, str(tmp_path / f"a.{suffix}"))
        check(FileRows(find_files(tmp_path / f"a.{suffix}")).rows(columns), f"a.{suffix}: column 'x' has the type")


@pytest.mark.parametrize("field_map", [{"x": "b", "q.z": "w"}, {"m.a": "b"}, {"x.y": None}, {"x": "*"}])
def test_a_column_that_field_map_reads_is_not_left_out(field_map: dict[str, str | None]) -> None:
    key = FieldSchema(name="id", type="Int64", primary_key=True)
    columns = Shape(CollectionSchema(name="c", fields_=(key,), dynamic=True), field_map).columns()
    name = "m" if "m.a" in field_map else "x"
    table = pa.table({"id": [1], name: extension(OwnType(), pa.array([1]))})
    with pytest.raises(e.InputError, match=f"column '{name}' has the type"):
        list(Entities(table).rows(columns))


def test_pandas_types_are_refused_by_name_where_pandas_is_not_imported(tmp_path: Path) -> None:
    """Which is what registers them."""
    pd.DataFrame({"x": pd.period_range("2024-01", periods=1, freq="M")}).to_parquet(tmp_path / "a.parquet")
    code = f"""
import sys
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import FileRows
try:
    list(FileRows(find_files({str(tmp_path)!r})).rows({{}}))
except ValueError as error:
    print(error, "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "a.parquet: column 'x' has the type pandas.period" in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith("False")


def test_objects_of_polars_are_refused() -> None:
    """polars gives Arrow their addresses, which a BinaryVector would accept."""

    class DataFrame:
        __module__ = "polars.dataframe.frame"
        schema = {"id": "Int64", "bits": "Object"}  # noqa: RUF012

        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            addresses = pa.array([bytes(8)], pa.binary(8))
            return pa.table({"id": [1], "bits": addresses}).__arrow_c_stream__(requested_schema)

    with pytest.raises(e.InputError, match="column 'bits' has the type Object, whose values cannot be read exactly"):
        list(Entities(DataFrame()).rows({}))  # type: ignore[arg-type]
    assert len(list(Entities(DataFrame()).rows({"bits": None}))) == 1  # type: ignore[arg-type]


def test_a_column_that_is_left_out_may_be_of_any_type() -> None:
    schema = CollectionSchema(name="docs", fields_=(FieldSchema(name="id", type="Int64", primary_key=True),))
    encoder = RowEncoder(schema, {"x": None})
    table = pd.DataFrame({"id": [1], "x": pd.period_range("2024-01", periods=1, freq="M")})
    assert [encoder.encode(row.entity)[0] for row in Entities(table).rows(encoder.columns)] == [1]


@pytest.mark.parametrize(
    ("kind", "column", "expected"),
    [
        ("Bool", TYPES["bool8"][0], "true"),
        ("VarChar", UUIDS, "must be a str (VarChar), not UUID"),
        ("VarChar", TYPES["json"][0], '"{\\"a\\": 1}"'),
        ("FloatVector", TYPES["1-d tensor"][0], "[1.0,1.0,1.0,1.0]"),
        ("BinaryVector", UUIDS, "must be bytes, base64 or a list"),
    ],
)
def test_extension_values_in_fields(kind: str, column: Any, expected: str) -> None:
    fields = (
        FieldSchema(name="id", type="Int64", primary_key=True),
        FieldSchema(name="x", type=kind, size=64 if kind == "VarChar" else 4),
    )
    encoder = RowEncoder(CollectionSchema(name="docs", fields_=fields))
    (row, *_) = Entities(pa.table({"id": range(len(column)), "x": column})).rows(encoder.columns)
    try:
        found = encoder.encode(row.entity)[1].decode()
    except e.RowError as error:
        found = str(error)
    assert expected in found


# -- what can be read only once -------------------------------------------------------------------------------------


def write(folder: Path) -> None:
    for key in range(2):
        (folder / f"{key}.jsonl").write_text(json.dumps(entity(key)))


def test_files_as_an_iterator_are_for_every_try_and_every_mapped_task(upsert: Any, tmp_path: Path) -> None:
    write(tmp_path)
    task = upsert(files=tmp_path.glob("*.jsonl"))
    assert [task.execute({})["upsert_count"] for _ in range(2)] == [2, 2]
    names = [{"collection_name": name} for name in ("a", "b")]
    for files in (tmp_path.glob("*.jsonl"), map(str, tmp_path.iterdir()), itertools.chain([tmp_path])):
        with DAG("dag", schedule=None):
            mapped = MilvusRestUpsertOperator.partial(task_id="mapped", files=files).expand_kwargs(names)
        assert [mapped.unmap(name).execute({})["upsert_count"] for name in names] == [2, 2]


@pytest.mark.parametrize(("parameter", "in_a_list"), [("files", False), ("files", True), ("entities", False)])
def test_a_dag_with_a_generator_can_be_copied(
    server_connection: None, parameter: str, in_a_list: bool, tmp_path: Path
) -> None:
    """As Airflow does to clear tasks."""
    write(tmp_path)
    source: Any = tmp_path.glob("*.jsonl") if parameter == "files" else (entity(key) for key in range(2))
    with DAG("dag", schedule=None) as dag:
        names: dict[str, Any] = {"task_id": "upsert", "collection_name": "docs", "files": None}
        MilvusRestUpsertOperator(**names | {parameter: [source] if in_a_list else source})
    (copied,) = copy.deepcopy(dag).tasks
    assert copied.execute({})["upsert_count"] == 2


class Once:
    """A stream that does not say that it is one."""

    def __init__(self, table: pa.Table) -> None:
        self._reader = table.to_reader()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._reader.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("in_a_list", [False, True])
@pytest.mark.parametrize("make", [pa.Table.to_reader, Once])
def test_streams_are_read_by_one_try(server: ScriptedServer, upsert: Any, make: Any, in_a_list: bool) -> None:
    source = make(pa.Table.from_pylist([entity(1), entity(2)]))
    server.script(UPSERT, Reply({"code": 1, "message": "not ready"}))
    task = upsert(entities=[entity(3), source] if in_a_list else source)
    with pytest.raises(e.NotReadyError):
        task.execute({})
    with pytest.raises(e.InputError, match=r"this (RecordBatchReader|Once) can be read only once, and an earlier try"):
        task.execute({})


@pytest.mark.parametrize("make", [pa.Table, pd.DataFrame, list])
def test_tables_and_lists_are_for_every_try(upsert: Any, make: Any) -> None:
    rows = [entity(1), entity(2)]
    source = pa.Table.from_pylist(rows) if make is pa.Table else make(rows)
    task = upsert(entities=source)
    assert [task.execute({})["upsert_count"] for _ in range(2)] == [2, 2]
    both = upsert(entities=[source, entity(3)] if make is not list else [source])
    assert both.execute({})["upsert_count"] == both.execute({})["upsert_count"] > 1


# -- templates ------------------------------------------------------------------------------------------------------


def test_paths_are_templates_as_texts_are(upsert: Any, tmp_path: Path) -> None:
    (tmp_path / "2026-01-01").mkdir()
    write(tmp_path / "2026-01-01")
    (tmp_path / "2026-01-01" / "bad.jsonl").write_text("{}\n")
    for files in (
        tmp_path / "{{ ds }}",
        [tmp_path / "{{ ds }}" / "*.jsonl"],
        {"path": f"{tmp_path}/{{{{ ds }}}}/0.jsonl"},
    ):
        task = upsert(files=files, on_reject="skip", rejects_path=tmp_path / "rejects {{ ds }}")
        task.render_template_fields({"ds": "2026-01-01"})
        outputs = task.execute({})
        assert outputs["upsert_count"] == 2 - isinstance(files, dict)
        if not isinstance(files, dict):
            assert outputs["rejects_path"].startswith(f"{tmp_path}/rejects 2026-01-01/")


# -- names of rejects files -----------------------------------------------------------------------------------------


def test_a_rejects_file_for_each_try_of_each_task(upsert: Any, tmp_path: Path) -> None:
    runs = ["backfill:2026", "backfill~2026", "backfill_2026", "backfill/2026", "a__b", "a", "a_", "_a", "ü" * 200]
    ids = [*itertools.product(["d", "d__a", "d_"], runs, ["t", "b__t", "_t"], [-1, 1], [1, 2])]
    paths = set()
    for dag_id, run_id, task_id, map_index, try_number in ids:
        ti = SimpleNamespace(
            dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index, try_number=try_number, max_tries=0
        )
        task = upsert(entities=[], on_reject="skip", rejects_path=tmp_path)
        paths.add(rejects_file("rejects_path", task.rejects_path, {"ti": ti}, task.task_id))
    assert len(paths) == len(ids)
    assert all(len(path.name.encode()) <= 255 for path in paths)
    assert tmp_path / "d__backfill_2026__t__-1__1.jsonl" in paths  # as it is, where nothing was replaced


# -- length ---------------------------------------------------------------------------------------------------------

WIDE = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="VarChar", size=65_535, primary_key=True),
        FieldSchema(name="vector", type="FloatVector", size=32_768),
        FieldSchema(name="meta", type="JSON"),
        FieldSchema(name="tags", type="Array", element_type="VarChar", size=3, capacity=4096),
        FieldSchema(name="text", type="VarChar", size=65_535),
    ),
    dynamic=True,
)


def test_the_longest_legal_row_is_read(tmp_path: Path) -> None:
    """With every text full of commas, in escapes, pretty numbers and generous white space."""
    row = {
        "id": "," * 65_535,
        "vector": [0.1234567890123456] * 32_768,
        "meta": [0] * 32_767,
        "tags": [",,,"] * 4096,
        "text": "[" * 65_535,
        "extra": "{" * 65_000,
    }
    encoder = RowEncoder(WIDE)
    text = json.dumps(row, indent=80).replace("\n", " ").encode()
    assert len(text) > 10 * 2**20
    (tmp_path / "a.jsonl").write_bytes(text.replace(b",,,", b"\\u002c,,") + b"\n" + json.dumps(row).encode())
    found = [
        encoder.encode(row.entity, row.position)[1] for row in FileRows(find_files(tmp_path)).rows(encoder.columns)
    ]
    assert found == [encoder.encode(row)[1]] * 2


PEAK = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.unit.test_hostile import ingest
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024
before, start = peak(), time.monotonic()
stored, report, error = ingest(Path({path!r}), Path({rejects!r}))
print(len(stored), report.rejected_count, error, peak() - before, time.monotonic() - start, sep="|")
"""


@pytest.mark.parametrize("name", ["nested.jsonl", "flat.jsonl", "deep.jsonl", "vector.jsonl", "cell.csv"])
def test_a_line_that_fits_no_row_is_refused_before_it_is_parsed(tmp_path: Path, name: str) -> None:
    """30 MiB of it took 2.5 GiB and 36 s."""
    value = {
        "nested.jsonl": b"[7]," * (7 * MIB) + b"[7]",
        "flat.jsonl": b"7," * (15 * MIB) + b"7",
        "deep.jsonl": (b"[" * 250 + b"7" + b"]" * 250 + b",") * (60 * 1024) + b"7",
        "vector.jsonl": b"[7]," * (7 * MIB) + b"[7]",
        "cell.csv": b"[7]," * (7 * MIB) + b"[7]",
    }[name]
    good = b'{"id": 1, "vector": [1, 2, 3, 4], "text": "x"}\n'
    line = good[:-2] + b', "extra": [' + value + b"]}\n"
    if name == "vector.jsonl":
        line = b'{"id": 1, "text": "x", "vector": [' + value + b"]}\n"
    content = good + line + good
    if name == "cell.csv":
        content = b'id,vector,text\n1,"[1,2,3,4]",x\n2,"[' + value + b']",x\n3,"[1,2,3,4]",x\n'
    path, rejects = tmp_path / name, tmp_path / "rejects.jsonl"
    path.write_bytes(content)
    code = PEAK.format(root=str(Path(__file__).parents[2]), path=str(path), rejects=str(rejects))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    _, rejected, error, mib, seconds = done.stdout.split("|")
    assert (int(rejected), error) == (1, "None"), done.stderr
    assert "brackets, braces and commas, but at most" in rejects.read_text()
    assert rejects.stat().st_size < 200_000 or name == "cell.csv"
    assert int(mib) < 300
    assert float(seconds) < 5


# -- secrets --------------------------------------------------------------------------------------------------------


def ended(task: MilvusRestUpsertOperator) -> str:
    """The traceback that the task's log gets."""
    try:
        return str(task.execute({})["rejects_path"])
    except e.MilvusRestError:
        return traceback.format_exc()


PRINTED = {
    "s3://bucket/a@b/c.jsonl": "s3://bucket/a@b/c.jsonl",
    "s3://conn@bucket/a@b.jsonl": "s3://bucket/a@b.jsonl",
    "s3://AKIA:wJal/rSecret@bucket/x.jsonl": "s3://bucket/x.jsonl",
    "s3://AKIA:rSecret@ss@bucket/x.jsonl": "s3://bucket/x.jsonl",
    "s3://AKIA:p@s/rSecret@bucket/x.jsonl": "s3://bucket/x.jsonl",
    "hdfs://namenode:8020/user/jane@corp/x.jsonl": "hdfs://namenode:8020/user/jane@corp/x.jsonl",
    "hdfs://user:rSecret@namenode:8020/x.jsonl": "hdfs://namenode:8020/x.jsonl",
    "abfs://c/x.jsonl?sv=2024&sig=rSecret%2F1&se=5": "abfs://c/x.jsonl?sv=2024&sig=***&se=5",
    "https://h/x.jsonl?X-Amz-Signature=rSecret&X-Amz-Expires=60": "https://h/x.jsonl?X-Amz-Signature=***&X-Amz-Expires=60",
    "https://h/x.jsonl?token=rSecret": "https://h/x.jsonl?token=***",
    "/data/key=5/x.jsonl": "/data/key=5/x.jsonl",
    "/data/what?.jsonl": "/data/what?.jsonl",
}


@pytest.mark.parametrize("path", PRINTED)
def test_what_is_printed_of_a_path(path: str) -> None:
    assert without_connection(path) == PRINTED[path]
    said = said_of(path, OSError(f"no {path}, {quote(path)}, {quote(path, safe='')}, or {path.partition('://')[2]!r}"))
    assert "rSecret" not in said
    assert "***" in said or "rSecret" not in path


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA:wJal/rSecret@bucket/x.jsonl",
        "file://AKIA:rSecret@bucket/x.jsonl",
        "zork://AKIA:rSecret@bucket/x.jsonl",
        "gs://AKIA:wJal/rSecret@bucket/*.jsonl",
        "file://{folder}/such.jsonl?sig=rSecret",
        "file://{folder}/such/*.jsonl?token=rSecret",
    ],
)
def test_credentials_in_a_uri_are_not_printed(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], upsert: Any
) -> None:
    """Nor by what the error came from, which the task's log shows too."""
    uri = uri.format(folder=tmp_path / "files")
    skip = {"on_reject": "skip", "rejects_path": uri}
    tasks = [upsert(files=uri), upsert(files=uri, source_conn_id="nowhere"), upsert(entities=[{}], **skip)]
    printed = ""
    with caplog.at_level(logging.INFO):
        for task in tasks:
            printed += ended(task)
    assert "rSecret" not in caplog.text + printed
    if "AKIA:rSecret@" in uri:
        assert printed.count("the URI contains a password: put it into an Airflow connection") == 3
    assert "wJal" not in caplog.text + printed
    assert "rSecret" not in "".join(capsys.readouterr())
    with pytest.raises(e.MilvusRestError) as caught:
        plan_shards(uri.replace("/files/", "/none/"))
    assert "rSecret" not in "".join(traceback.format_exception(caught.value))


def test_what_a_storage_says_is_printed_without_signatures(tmp_path: Path) -> None:
    class Failing(type(tmp_path)):  # type: ignore[misc]
        def open(self, *_: Any, **__: Any) -> Any:
            try:
                raise ConnectionError("GET https://h/x?X-Amz-Credential=rSecret&X-Amz-Signature=rSecret")
            except ConnectionError as error:
                raise OSError("https://user:rSecret@h/x failed") from error

    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(
        e.SourceUnavailableError, match=r"a\.jsonl: cannot be read: OSError: https://h/x failed"
    ) as caught:
        list(FileRows(find_files(Failing(tmp_path / "a.jsonl"))).rows({}))
    rejects = Rejects(Failing(tmp_path / "b.jsonl"))
    with pytest.raises(e.SourceUnavailableError, match="cannot be written: OSError: https://h/x failed") as second:
        rejects.add({}, e.RowError("no"))
    for error in (caught.value, second.value):
        assert "rSecret" not in "".join(traceback.format_exception(error))


# -- names ----------------------------------------------------------------------------------------------------------


def test_file_names_that_are_not_utf_8(tmp_path: Path) -> None:
    for name in (b"a\xff.jsonl", b"b\xff.txt", b"c.jsonl"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b'{"id": 1}\n{\n')
    rows = list(FileRows(find_files(tmp_path)).rows({}))
    assert [row.position.rpartition("/")[2] for row in rows] == [
        r"a\udcff.jsonl:1",
        r"a\udcff.jsonl:2",
        "c.jsonl:1",
        "c.jsonl:2",
    ]
    assert len(FileRows(find_files(f"{tmp_path}/*.jsonl")).names) == 2
    with pytest.raises(e.InputError, match=r"a\\udcff.jsonl: the name of the file is not UTF-8"):
        plan_shards(tmp_path)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"id": [2**70]}), "this DataFrame cannot be read as an Arrow table: .*too large"),
        (
            pd.DataFrame([[1, 2]], columns=["id", "id"]),
            "this DataFrame cannot be read as an Arrow table: Duplicate column",
        ),
    ],
)
def test_tables_that_pandas_cannot_convert(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(e.InputError, match=message):
        list(Entities(frame).rows({}))


def test_faults_of_tables_name_the_file(tmp_path: Path) -> None:
    columns = {
        "two columns have the same name": pa.table([[1], [2]], names=["id", "id"]),
        "column 'id' has a value that Python cannot represent": pa.table({"id": pa.array([10**9], pa.date32())}),
    }
    for message, table in columns.items():
        for suffix, write in (("parquet", pq.write_table), ("arrow", write_stream)):
            write(table, tmp_path / f"a.{suffix}")
            with pytest.raises(e.InputError, match=rf"a\.{suffix}: {message}"):
                list(FileRows(find_files(tmp_path / f"a.{suffix}")).rows({}))


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)


def test_long_names_are_cut_in_messages(tmp_path: Path) -> None:
    name = "n" * 3_000_000
    line = json.dumps({"id": 1, "vector": [1, 2, 3, 4], "text": "x", name: 1})
    (tmp_path / "a.jsonl").write_text(f"{line}\n" * 10)
    (tmp_path / "b.csv").write_text(f"id,vector,text,{name},{name}\n")
    pq.write_table(pa.table({name: pa.array([10**9], pa.date32())}), tmp_path / "c.parquet")
    for each in tmp_path.iterdir():
        *_, error = ingest(each, tmp_path / "none.jsonl") if each.suffix != ".jsonl" else fail(each)
        assert error is not None
        assert len(str(error)) < 5000
        assert each.name in str(error)


def fail(path: Path) -> tuple[Any, Any, e.MilvusRestError | None]:
    """With on_reject="fail"."""
    return ingest(path, None)  # type: ignore[arg-type]
