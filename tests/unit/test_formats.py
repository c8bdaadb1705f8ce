"""Every format gives the same rows, and the same reasons where there are none."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_milvus_rest.exceptions import InputError, RowError
from airflow_provider_milvus_rest.operators.milvus_rest import plan_shards
from airflow_provider_milvus_rest.rows import csv_rows, json_rows
from airflow_provider_milvus_rest.rows.encode import FieldMap, RowEncoder
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.rows.source import Row

DIM = 4
SCHEMA = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="Int64", primary_key=True),
        FieldSchema(name="vector", type="FloatVector", size=DIM),
        FieldSchema(name="bits", type="BinaryVector", size=16),
        FieldSchema(name="text", type="VarChar", size=64),
        FieldSchema(name="real", type="Double"),
        FieldSchema(name="small", type="Float"),
        FieldSchema(name="flag", type="Bool"),
        FieldSchema(name="meta", type="JSON"),
    ),
    dynamic=True,
)
ENCODER = RowEncoder(SCHEMA)


def encoded(rows: Iterator[Row], encoder: RowEncoder = ENCODER) -> list[Any]:
    """The text of each row as JSON, or the reason why there is none."""
    result: list[Any] = []
    for row in rows:
        try:
            if row.error:
                raise row.error
            result.append(json.loads(encoder.encode(row.entity, row.position)[1]))
        except RowError as error:
            result.append(str(error))
    return result


def read(files: Any, encoder: RowEncoder = ENCODER, file_format: str | None = None) -> list[Any]:
    return encoded(FileRows(find_files(files, None, file_format)).rows(encoder.columns), encoder)


floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
entities = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "vector": st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=DIM, max_size=DIM),
        "bits": st.lists(st.integers(0, 255), min_size=2, max_size=2),
        "text": texts,
        "real": floats,
        "small": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "flag": st.booleans(),
        "meta": st.dictionaries(texts, st.lists(texts)),
        "extra": texts,
    }
)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for row in rows:
            cells = (row[name] for name in rows[0])
            writer.writerow([json.dumps(cell) if isinstance(cell, (list, dict)) else cell for cell in cells])


def table_of(rows: list[dict[str, Any]], vector: Any) -> pa.Table:
    """``meta`` as a map, since Arrow's structs give each row all keys."""
    types = {
        **{"id": pa.int64(), "vector": vector, "bits": pa.list_(pa.uint8()), "text": pa.string()},
        **{"real": pa.float64(), "small": pa.float32(), "flag": pa.bool_(), "extra": pa.string()},
        "meta": pa.map_(pa.string(), pa.list_(pa.string())),
    }
    columns = {name: [row[name] for row in rows] for name in types}
    columns["meta"] = [list(value.items()) for value in columns["meta"]]
    return pa.table({name: pa.array(columns[name], kind) for name, kind in types.items()})


VECTORS = [
    pa.list_(pa.float32(), DIM),
    pa.list_(pa.float32()),
    pa.large_list(pa.float64()),
    pa.list_(pa.float64(), DIM),
    pa.fixed_shape_tensor(pa.float32(), [DIM]),
]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(entities, min_size=1, max_size=8), vector=st.sampled_from(VECTORS), part=st.integers(1, 9))
def test_all_formats_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], vector: Any, part: int
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    expected = encoded(Entities(rows).rows(ENCODER.columns))
    assert all(isinstance(row, dict) for row in expected)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "a.jsonl").write_text(lines)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "c.json").write_text(json.dumps(rows))
    write_csv(folder / "d.csv", rows)
    table = table_of(rows, vector)
    pq.write_table(table, folder / "e.parquet", row_group_size=part)
    feather.write_feather(table, str(folder / "f.feather"), chunksize=part)
    with pa.OSFile(str(folder / "g.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=part)
    files = sorted(folder.iterdir())
    assert [read(file) for file in files] == [expected] * len(files)
    batches = table.to_batches(max_chunksize=part)
    for source in (table, batches, [table.slice(0, 1), *rows[1:]], table.to_reader(part), Capsule(table)):
        assert encoded(Entities(source).rows(ENCODER.columns)) == expected


class Capsule:
    """Speaks the PyCapsule interface, and nothing else."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


# What a line of JSON may hold in a vector and around it; simdjson would flatten the lists in a list.
numbers = st.integers(-(2**70), 2**70) | floats
odd_vectors = st.recursive(
    st.lists(numbers | st.sampled_from([None, True, "1", "[", {}]), max_size=DIM + 1),
    lambda inner: st.lists(inner | numbers, max_size=DIM + 1),
    max_leaves=4,
)
others = st.sampled_from(["x", "[", "]", "\\u005b", "\n[", [], [[]], ["[", 1], {"vector": [1]}, {"[": "]"}])


@settings(max_examples=400, deadline=None)
@given(
    vector=odd_vectors | st.just([1, 2.5, -0.0, 3]),
    extra=st.dictionaries(texts | st.sampled_from(["[", "vector ", "extra"]), others, max_size=3),
    ascii_only=st.booleans(),
    bracket=st.sampled_from(["[", "\\u005b"]),
)
def test_the_fast_way_reads_a_line_as_the_standard_library_does(
    vector: Any, extra: dict[str, Any], ascii_only: bool, bracket: str
) -> None:
    line = json.dumps({"id": 1, **extra, "vector": vector}, ensure_ascii=ascii_only).replace('"["', f'"{bracket}"')
    entity = json_rows.JsonParser().entity(line.encode(), {"vector": True})
    expected = json.loads(line)
    found = entity["vector"]
    assert entity | {"vector": 0} == expected | {"vector": 0}
    if isinstance(found, np.ndarray):
        assert found.tolist() == [float(number) for number in vector]
        assert not any(isinstance(number, (bool, list)) for number in vector)
    else:
        assert found == expected["vector"]
    check = RowEncoder(SCHEMA.model_copy(update={"fields_": SCHEMA.fields_[:2], "dynamic": False}))
    both = [encoded(Entities([{"id": 1, "vector": v}]).rows({}), check) for v in (found, vector)]
    assert both[0] == both[1]


@pytest.mark.parametrize("flat", ["[1, 2, 3, 4]", "[1e0, -2, 3.5, 0]"])
@pytest.mark.parametrize("around", ["", ', "text": "[["', ', "tags": ["a", ["b"]]'])
def test_vectors_are_read_as_arrays(flat: str, around: str) -> None:
    """Else the figures of the benchmark would be others."""
    entity = json_rows.JsonParser().entity(
        b'{"id": 1, "vector": %s%s}' % (flat.encode(), around.encode()), {"vector": True}
    )
    assert isinstance(entity["vector"], np.ndarray)


TWICE = {
    "id": '{"id": 1, "id": 2, "vector": [1, 2, 3, 4]}',
    "vector": '{"id": 1, "vector": [9, 9, 9, 9], "vector": [1, 2, 3, 4]}',
    "7": '{"id": 1, "vector": [1, 2, 3, 4], "sparse": {"7": 0.5, "8": 1, "7": 2}}',
    "a": '{"vector": ["x"], "meta": {"a": 1, "a": 1}}',
    "b": json.dumps({str(number): {"b": 1, "c": 1} for number in range(2000)}).replace("c", "b"),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_key_twice_is_refused(tmp_path: Path, name: str) -> None:
    """Which of the values is meant is not known."""
    reason = f"not JSON: an object has the key '{name}' twice"
    (tmp_path / "a.jsonl").write_text('{"id": 1, "vector": [1, 2, 3, 4]}\n' + TWICE[name] + "\n")
    good, bad = FileRows(find_files(tmp_path / "a.jsonl")).rows(ENCODER.columns)
    assert good.error is None
    assert bad.error
    assert bad.error.reason == reason
    (tmp_path / "a.json").write_text(f'[{{"id": 1}}, {TWICE[name]}]')
    with pytest.raises(InputError, match=f"json: {reason}"):
        list(FileRows(find_files(tmp_path / "a.json")).rows(ENCODER.columns))


def test_an_index_twice_in_a_cell_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,sparse\n1,"{""7"":0.5,""7"":2}"\n')
    columns = {"sparse": FieldSchema(name="sparse", type="SparseFloatVector")}
    (row,) = FileRows(find_files(tmp_path / "a.csv")).rows(columns)
    assert row.error
    assert row.error.reason == "is not JSON: an object has the key '7' twice"


def test_a_name_with_a_nul_is_not_cut_off() -> None:
    line = b'{"a": 1, "a\\u0000b": 2}'
    assert json_rows.JsonParser().entity(line, {}) == {"a": 1, "a\0b": 2}


def test_a_line_that_is_too_long_is_rejected_and_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "MAX_LINE_BYTES", 100)
    lines = ['{"id": 1}', json.dumps({"id": 2, "text": "x" * 5000}), '{"id": 3}', "x" * 101, '{"id": 5}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = list(FileRows(find_files(tmp_path)).rows({}))
    assert [row.position.rpartition(":")[2] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row.entity for row in rows if not row.error] == [{"id": 1}, {"id": 3}, {"id": 5}]
    assert "the line is longer than 0 MiB" in str(rows[1].error)
    assert len(rows[1].entity) <= 1000
    shards = [FileRows(find_files(shard)).rows({}) for shard in plan_shards(tmp_path / "a.jsonl", 700)]
    assert len(shards) > 5
    assert [row.entity for rows in shards for row in rows] == [row.entity for row in rows]


def test_a_document_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "MAX_DOCUMENT_BYTES", 2**20)
    (tmp_path / "a.json").write_text(json.dumps(["x" * 1000] * 1100))
    with pytest.raises(InputError, match=r"a\.json: the document is larger than 1 MiB.*write JSON Lines"):
        read(tmp_path)


# -- CSV ----------------------------------------------------------------------------------------------------------

CSV = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="Int64", primary_key=True),
        FieldSchema(name="vector", type="FloatVector", size=2),
        FieldSchema(name="text", type="VarChar", size=64),
        FieldSchema(name="real", type="Double"),
        FieldSchema(name="flag", type="Bool"),
    ),
    dynamic=True,
)
GOOD = {"id": "1", "vector": '"[0.5, 1]"', "text": "x", "real": "0.5", "flag": "true"}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ({"id": "-5"}, {"id": -5}),
        ({"id": "9007199254740993"}, {"id": 9007199254740993}),
        ({"id": "1.0"}, "field 'id' must be an int (Int64), not str '1.0'"),
        ({"id": " 1"}, "must be an int (Int64), not str ' 1'"),
        ({"id": "1_000"}, "must be an int"),
        ({"id": "٣"}, "must be an int"),
        ({"id": "9" * 200}, "must be an int"),
        ({"id": ""}, "field 'id' is null"),
        ({"text": ""}, {"text": ""}),
        ({"text": "5"}, {"text": "5"}),
        ({"text": '"a, ""b""\n[c]"'}, {"text": 'a, "b"\n[c]'}),
        ({"text": "\udcff"}, "field 'text' is not UTF-8"),
        ({"real": "1e-7"}, {"real": 1e-7}),
        ({"real": "5"}, {"real": 5.0}),
        ({"real": "9007199254740993"}, "has more digits than a float (Double) can hold"),
        ({"real": "nan"}, "must be a float (Double), not str 'nan'"),
        ({"real": "1e999"}, "is inf, which is not a finite number"),
        ({"flag": "False"}, {"flag": False}),
        ({"flag": "1"}, "must be a bool, not str '1'"),
        ({"flag": "yes"}, "must be a bool"),
        ({"vector": '"[1, 2, 3]"'}, "has 3 elements"),
        ({"vector": '"[[1, 2], []]"'}, "[0] must be a number, not list"),
        ({"vector": '"[1, 2],[3]"'}, "field 'vector' is not JSON: Extra data at column 7"),
        ({"vector": "0.5"}, "must be a list or array of 2 numbers"),
        ({"vector": '"[NaN, 1]"'}, "field 'vector' is not JSON: NaN is not JSON"),
        ({"vector": ""}, "field 'vector' is null"),
    ],
)
def test_cells(tmp_path: Path, cell: dict[str, str], expected: Any) -> None:
    row = {**GOOD, **cell, "extra": "5"}
    text = ",".join(row) + "\r\n\r\n" + ",".join(row.values()) + "\r\n"
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode(errors="surrogateescape"))
    (found,) = read(tmp_path, RowEncoder(CSV))
    if isinstance(expected, str):
        assert found.startswith(f"{tmp_path}/a.csv:3: ")
        assert expected in found
    else:
        good = {"id": 1, "vector": [0.5, 1.0], "text": "x", "real": 0.5, "flag": True, "extra": "5"}
        assert found == good | expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", []),
        ("\ufeff", []),
        ("id,vector\n", []),
        ("\n\nid\n1\n", ["{folder}/a.csv:4: field 'text' is missing; the row has id (field_map can rename fields)"]),
        ("id,id\n1,2\n", "a.csv:1: the first row must name the columns, but has a duplicate name"),
        ("id,\n1,2\n", "a.csv:1: the first row must name the columns, but has an empty name"),
        ("\n\nid,id\n", "a.csv:3: the first row must name the columns, but has a duplicate name"),
        (
            '{"id":1}\n',
            "a.csv:1: the first row must name the columns, but has no field's name: ['{\"id\":1}']. A rejects",
        ),
        ('id,text\n1,"a\nb\n', "a.csv:2: not CSV: unexpected end of data: a quote may not be closed"),
        ('id,text\n1,"a"b\n', "a.csv:2: not CSV"),
        ("id\n" + "1" * 200, "a.csv:2: the line is longer than 0 MiB"),
    ],
)
def test_files_that_are_not_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, expected: list[Any] | str
) -> None:
    monkeypatch.setattr(csv_rows, "MAX_CELL_CHARS", 100)
    (tmp_path / "a.csv").write_text(content)
    if isinstance(expected, list):
        assert read(tmp_path) == [text.format(folder=tmp_path) for text in expected]
    else:
        with pytest.raises(InputError) as caught:
            read(tmp_path)
        assert expected in str(caught.value)


def test_a_row_with_other_cells_than_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1\n2,"a\nb"\n3,c,d\n')
    rows = list(FileRows(find_files(tmp_path)).rows(ENCODER.columns))
    assert [row.position.rpartition(":")[2] for row in rows] == ["2", "3", "5"]
    assert [str(row.error).partition(": ")[2] for row in rows if row.error] == [
        "1 cells, but the first row names 2 columns",
        "3 cells, but the first row names 2 columns",
    ]


# -- Arrow --------------------------------------------------------------------------------------------------------

VECTOR_ONLY_SCHEMA = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="Int64", primary_key=True),
        FieldSchema(name="vector", type="FloatVector", size=2),
    ),
    dynamic=True,
)
VECTOR_ONLY = RowEncoder(VECTOR_ONLY_SCHEMA)


@pytest.mark.parametrize(
    ("kind", "values", "reasons"),
    [
        (pa.list_(pa.float32()), [[1, 2], None, [1, None], [3], [4, 5]], {1: "is null", 2: "[1] must be", 3: "has 1"}),
        (pa.list_(pa.float32(), 2), [[1, 2], None, [1, None], [4, 5]], {1: "is null", 2: "[1] must be a number"}),
        (pa.list_(pa.float64()), [[1, 2], [1e300, 0], [math.nan, 0]], {1: "[0] is 1e+300", 2: "[0] is nan"}),
        (pa.list_(pa.float16()), [[np.float16(1), np.float16(2)]], {}),
        (pa.list_(pa.int8()), [[1, 2], []], {1: "has 0 elements"}),
        (pa.list_(pa.string()), [["1", "2"]], {0: "[0] must be a number, not str"}),
        (pa.list_(pa.bool_()), [[True, False]], {0: "[0] must be a number, not bool"}),
        (pa.list_(pa.list_(pa.float32())), [[[1], [2]]], {0: "is a list of vectors (2), but a row has one"}),
        (pa.string(), ["[1, 2]"], {0: "must be a list or array"}),
        (pa.binary(), [b"12345678"], {0: "must be a list or array"}),
    ],
)
def test_vectors_in_arrow(kind: Any, values: list[Any], reasons: dict[int, str]) -> None:
    table = pa.table({"id": range(len(values)), "vector": pa.array(values, kind)})
    padded = pa.concat_tables([table, table]).combine_chunks().slice(len(values))
    for source in (table, padded):  # a slice's buffers do not begin where it does
        found = encoded(Entities(source).rows(VECTOR_ONLY.columns), VECTOR_ONLY)
        for index, (value, row) in enumerate(zip(values, found, strict=True)):
            if index in reasons:
                assert row.startswith(f"[{index}]: field 'vector' ")
                assert reasons[index] in row
            else:
                assert row == {"id": index, "vector": [float(number) for number in value]}


def test_a_null_in_a_dynamic_column_is_no_field() -> None:
    table = pa.table({"id": [1, 2], "vector": [[1.0, 2.0]] * 2, "tag": ["a", None]})
    assert encoded(Entities(table).rows(VECTOR_ONLY.columns), VECTOR_ONLY) == [
        {"id": 1, "vector": [1.0, 2.0], "tag": "a"},
        {"id": 2, "vector": [1.0, 2.0]},
    ]


def test_pandas() -> None:
    """Its index is no column, and its missing values are nulls."""
    frame = pd.DataFrame({"id": range(3), "vector": [np.array([1, 2], np.float32)] * 3, "tag": ["a", None, np.nan]})
    found = encoded(Entities(frame[frame.id > 0]).rows(VECTOR_ONLY.columns), VECTOR_ONLY)
    assert found == [{"id": 1, "vector": [1.0, 2.0]}, {"id": 2, "vector": [1.0, 2.0]}]


def test_an_index_that_is_a_range(tmp_path: Path) -> None:
    """Arrow keeps it only as metadata, and other indexes as a column."""
    regular, irregular = (
        pd.DataFrame({"id": [0, 1], "vector": [[1.0, 2.0]] * 2}, index=pd.Index(index, name="n"))
        for index in (pd.RangeIndex(2), [0, 7])
    )
    regular.to_parquet(tmp_path / "a.parquet")
    (file,) = find_files(tmp_path)
    for source in (Entities(regular), FileRows([file])):
        with pytest.raises(InputError, match=r"the pandas index 'n' is a range.* call reset_index"):
            encoded(source.rows(VECTOR_ONLY.columns), VECTOR_ONLY)
        without = RowEncoder(VECTOR_ONLY_SCHEMA, {"n": None})
        assert [row["id"] for row in encoded(source.rows(without.columns), without)] == [0, 1]
    assert [row["n"] for row in encoded(Entities(irregular).rows(VECTOR_ONLY.columns), VECTOR_ONLY)] == [0, 7]


def test_times_are_not_cut(tmp_path: Path) -> None:
    """INT96 is Spark's default; 9999-12-31 is a usual end of time. A date64 has a time of day."""
    end = datetime.datetime(9999, 12, 31)
    pq.write_table(pa.table({"at": [end]}), tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert [row.entity for row in FileRows(find_files(tmp_path)).rows({})] == [{"at": end}]
    for kind, value in ((pa.timestamp("ns"), 1), (pa.list_(pa.timestamp("ns")), [1500])):
        pq.write_table(
            pa.table({"id": [1], "at": pa.array([value], kind)}),
            tmp_path / "a.parquet",
            use_deprecated_int96_timestamps=True,
        )
        with pytest.raises(InputError, match="column 'at' has INT96 times with nanoseconds"):
            list(FileRows(find_files(tmp_path)).rows({}))
        assert [row.entity["id"] for row in FileRows(find_files(tmp_path)).rows({"at": None})] == [1]
    for kind, exact, value, lossy in [
        (pa.time64("ns"), 1000, datetime.time(0, 0, 0, 1), 1),
        (pa.date64(), 86_400_000, datetime.date(1970, 1, 2), 1),
    ]:
        exact, lossy = (pa.table({"at": pa.array([number], pa.int64()).view(kind)}) for number in (exact, lossy))
        assert [row.entity for row in Entities(exact).rows({})] == [{"at": value}]
        with pytest.raises(InputError, match=r"column 'at' has a value that Python cannot represent: .* lose data"):
            list(Entities(lossy).rows({"at": SCHEMA.fields_[0]}))
        with pytest.raises(InputError, match=rf"column 'at' has the type {re.escape(str(kind))}, whose values cannot"):
            list(Entities(pa.table({"at": pa.array([[None]], pa.list_(kind))})).rows({}))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (pa.array([1, 2]), "this Int64Array cannot be read as an Arrow table"),
        (pd.DataFrame({"id": [1, "x", 2.5]}), "this DataFrame cannot be read as an Arrow table"),
        (pa.table([[1], [2]], names=["id", "id"]), "two columns have the same name"),
    ],
)
def test_what_is_no_table(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(Entities(source).rows(ENCODER.columns))


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_damaged_files(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"id": range(1000), "vector": [[1.0, 2.0]] * 1000})
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        feather.write_feather(table, str(path))
    whole = path.read_bytes()
    for content in (b"", b"PAR1", b"ARROW1", whole[: len(whole) // 2], whole[:-1], b"x" * 100, gzip.compress(whole)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"a\.{suffix}: not (parquet|arrow), or damaged"):
            read(path, VECTOR_ONLY)
    (tmp_path / f"b.{suffix}.gz").write_bytes(gzip.compress(whole))
    with pytest.raises(
        InputError, match=rf"b\.{suffix}\.gz: (parquet|arrow) files cannot be read when compressed with gzip"
    ):
        read(tmp_path / f"b.{suffix}.gz")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"id": [1]})
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for source in (lambda: read(tmp_path), lambda: list(Entities(frame).rows({}))):
        with pytest.raises(InputError, match=r"need pyarrow: pip install pyarrow"):
            source()


# -- shards and formats -------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(st.integers(0, 40).map(lambda size: json.dumps({"text": "é" * size})) | st.sampled_from(["", " "])),
    newline=st.sampled_from(["\n", "\r\n"]),
    ends=st.booleans(),
    target=st.integers(1, 200),
)
def test_shards_of_lines_hold_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], newline: str, ends: bool, target: int
) -> None:
    path = tmp_path_factory.mktemp("shards") / "a.jsonl"
    path.write_bytes((newline.join(lines) + newline * ends).encode())
    whole = [row.entity for row in FileRows(find_files(path)).rows({})]
    shards = plan_shards(path, target)
    rows = [row for shard in json.loads(json.dumps(shards)) for row in FileRows(find_files(shard)).rows({})]
    assert [row.entity for row in rows] == whole
    assert len(shards) == max(1, -(-path.stat().st_size // target))
    content = path.read_bytes()
    for row in rows:
        where = row.position.rpartition("@")[2]
        if len(shards) > 1:
            assert json.loads(content[int(where) :].splitlines()[0]) == row.entity


@pytest.mark.parametrize("target", [1, 3000, 9000, 10**9])
def test_shards_of_parquet_are_row_groups(tmp_path: Path, target: int) -> None:
    path = tmp_path / "a.parquet"
    rng = np.random.default_rng(7)
    pq.write_table(pa.table({"id": range(1000), "x": rng.random(1000)}), path, row_group_size=64)
    shards = plan_shards(path, target)
    rows = [row for shard in shards for row in FileRows(find_files(shard)).rows({})]
    assert [row.entity["id"] for row in rows] == [*range(1000)]
    assert [row.position for row in rows] == [f"{path}#{index}" for index in range(1000)]
    assert len(shards) == {1: 16, 10**9: 1}.get(target, len(shards))
    assert 1 < len(shards) < 16 or target in (1, 10**9)


def test_small_files_share_a_shard_and_what_cannot_be_cut_stays_whole(tmp_path: Path) -> None:
    for index in range(6):
        (tmp_path / f"{index}.jsonl").write_bytes(b'{"id": 1}\n' * 4)
    (tmp_path / "7.csv").write_bytes(b"id\n" * 100)
    (tmp_path / "8.jsonl.gz").write_bytes(gzip.compress(np.random.default_rng(7).bytes(300)))
    names = [[Path(part["path"]).name for part in shard] for shard in plan_shards(tmp_path, 100)]
    assert names == [["0.jsonl", "1.jsonl"], ["2.jsonl", "3.jsonl"], ["4.jsonl", "5.jsonl"], ["7.csv"], ["8.jsonl.gz"]]


def test_a_file_that_has_changed_is_not_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n' * 100)
    shard, *_ = plan_shards(path, 500)
    path.write_bytes(b'{"id": 1}\n' * 101)
    with pytest.raises(
        InputError,
        match=r"has changed since the shards were planned \(its size was 1000 and is now 1010\): run plan_shards again",
    ):
        find_files(shard)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"path": "a.csv", "start": 5, "end": 10}, "a.csv cannot be read in ranges of bytes"),
        ({"path": "a.jsonl", "unit": "row_groups", "end": 10}, "cannot be read in ranges of row_groups"),
        ({"path": "a.jsonl", "unit": "rows"}, "unit: String should match"),
        ({"path": 5}, "path: Input should be a valid string"),
        ({"path": "a.jsonl", "stop": 5}, "stop: Extra inputs"),
    ],
)
def test_parts_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "a.jsonl"):
        Path(name).write_text("id\n")
    with pytest.raises(InputError, match=message):
        find_files(part)


@pytest.mark.parametrize("target", [0, -1, 2.5, "1", True])
def test_targets_that_are_no_sizes(tmp_path: Path, target: Any) -> None:
    with pytest.raises(InputError, match="target_bytes must be an integer ≥ 1"):
        plan_shards(tmp_path, target)


def test_file_format_goes_before_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "part-0000").write_text('{"id": 1}\n')
    (tmp_path / "part-0001.txt.gz").write_bytes(gzip.compress(b'{"id": 2}\n'))
    (tmp_path / ".part-0000.crc").write_text("x")
    rows = FileRows(find_files(tmp_path, None, "jsonl")).rows({})
    assert [row.entity["id"] for row in rows] == [1, 2]
    with pytest.raises(InputError, match="file_format must be one of jsonl, json, csv, parquet, arrow, not 'xml'"):
        plan_shards(tmp_path, file_format="xml")


def test_share_of_what_was_read(tmp_path: Path) -> None:
    lines = b'{"id": 1}\n' * 50_000
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    table = pa.table({"id": range(375_000)})
    pq.write_table(table, tmp_path / "c.parquet", compression="none", row_group_size=250_000)
    for source in (FileRows(find_files(tmp_path)), Entities(pa.table({"id": range(5000)})), Entities([{}] * 5000)):
        shares = [source.share() or 0.0 for _ in source.rows(VECTOR_ONLY.columns)]
        assert shares == sorted(shares)
        assert 0.45 < shares[len(shares) // 2] < 0.75 if isinstance(source, Entities) else shares[100_000] < 0.5
        assert shares[0] < 0.3
        assert 0.95 <= shares[-1] <= 1
    generator = Entities({} for _ in range(5))
    assert [generator.share() for _ in generator.rows({})] == [None] * 5


# -- field_map ----------------------------------------------------------------------------------------------------


def test_field_map_in_every_format(tmp_path: Path) -> None:
    rows = [{"key": 1, "text_vec": [1.0, 2.0], "debug": "x", "vector": "no"}, {"key": 2, "text_vec": [3.0, 4.0]}]
    field_map: FieldMap = {"key": "id", "text_vec": "vector", "vector": "old", "debug": None}
    encoder = RowEncoder(VECTOR_ONLY_SCHEMA, field_map)
    expected = [{"id": 1, "vector": [1.0, 2.0], "old": "no"}, {"id": 2, "vector": [3.0, 4.0]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["key", "text_vec", "debug"])
    writer.writerows((row["key"], json.dumps(row["text_vec"]), "x") for row in rows)
    (tmp_path / "c.csv").write_text(text.getvalue())
    without_old = [{name: value for name, value in row.items() if name != "old"} for row in expected]
    assert read(tmp_path, encoder) == [*expected, *expected, *without_old]
    assert encoder.decode(encoder.encode(rows[1])[1]) == rows[1]


def test_two_columns_for_one_field() -> None:
    encoder = RowEncoder(VECTOR_ONLY_SCHEMA, {"text_vec": "vector"})
    with pytest.raises(RowError, match=r"field 'vector' is given twice: also as 'text_vec' \(field_map\)"):
        encoder.encode({"id": 1, "vector": [1, 2], "text_vec": [1, 2]})


def test_a_field_map_into_nowhere() -> None:
    fixed = VECTOR_ONLY_SCHEMA.model_copy(update={"dynamic": False})
    with pytest.raises(InputError, match="field_map: 'titel' is not a field of 'docs'"):
        RowEncoder(fixed, {"title": "titel"})


@pytest.mark.parametrize("cell", ["AQI=", '"""AQI="""', '"[1, 2]"'])
def test_vectors_of_bytes_in_a_cell(tmp_path: Path, cell: str) -> None:
    """Base64 as it is, as JSON text, and a list."""
    fields = [
        FieldSchema(name="id", type="Int64", primary_key=True),
        FieldSchema(name="bits", type="BinaryVector", size=16),
    ]
    (tmp_path / "a.csv").write_text(f"id,bits\n1,{cell}\n")
    encoder = RowEncoder(CollectionSchema(name="docs", fields_=tuple(fields)))
    (row,) = FileRows(find_files(str(tmp_path / "a.csv"))).rows(encoder.columns)
    assert b'"AQI="' in encoder.encode(row.entity, row.position)[1]
