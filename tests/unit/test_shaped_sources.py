"""Rows in documents and values in objects: from each source, through rejects files, and at full speed."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_milvus_rest.exceptions import DataRefusedError, InputError, RowError, RowsRejectedError
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.json_rows import JsonParser, vectors_in
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.rows.shape import key_of
from tests import runs

SCHEMA = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="VarChar", size=64, primary_key=True),
        FieldSchema(name="text", type="VarChar", size=64),
        FieldSchema(name="vector", type="FloatVector", size=4),
    ),
    dynamic=True,
)
CHUNKS = {
    "chunks": [
        {"text": text, "metadata": {"file": "a.md", "page": page}, "vector": [page, 0.5, -1, 0]}
        for page, text in enumerate(["one", "two", "three"])
    ],
    "document_count": 1,
}
SHAPE: dict[str, Any] = {
    "rows_path": "chunks",
    "field_map": {"metadata.file": "source", "metadata": "*"},
    "key_from": ["metadata.file", "text"],
}
STORED = {
    key_of("a.md", chunk["text"]): {
        "text": chunk["text"],
        "source": "a.md",
        "page": chunk["metadata"]["page"],
        "vector": chunk["vector"],
    }
    for chunk in CHUNKS["chunks"]
}


class Store:
    """Stands for a client, keeps what was sent, and refuses rows whose text is in ``refused``."""

    settings = SimpleNamespace(read_timeout=60)

    def __init__(self, *refused: str) -> None:
        self.rows: dict[str, Any] = {}
        self.refused = refused

    def upsert(self, request: UpsertRequest, keys: list[Any]) -> UpsertResult:
        rows = [json.loads(text) for text in request.data]
        if any(row["text"] in self.refused for row in rows):
            raise DataRefusedError("not this one", code=1100)
        self.rows |= {row.pop("id"): row for row in rows}
        return UpsertResult(upsert_count=len(rows), upsert_ids=keys)


def ingest(source: Any, store: Store | None = None, report: IngestReport | None = None, **options: Any) -> Store:
    store = store or Store()
    runs.ingest(store, SCHEMA, source, report=report, concurrency=1, **options)
    return store


def write(path: Path, *documents: Any) -> FileRows:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return FileRows(find_files(path))


@pytest.mark.parametrize("source", ["output", "outputs", "jsonl", "json", "json list", "parquet"])
def test_rows_in_documents_of_each_source(tmp_path: Path, source: str) -> None:
    if source == "parquet":
        pq.write_table(pa.Table.from_pylist([CHUNKS]), tmp_path / "a.parquet")
    made: dict[str, Any] = {
        "output": lambda: Entities([CHUNKS]),
        "outputs": lambda: Entities([{"chunks": CHUNKS["chunks"][:1]}, {"chunks": CHUNKS["chunks"][1:]}]),
        "jsonl": lambda: write(tmp_path / "a.jsonl", CHUNKS, {"chunks": []}),
        "json": lambda: write(tmp_path / "a.json", CHUNKS),
        "json list": lambda: write(tmp_path / "a.json", [CHUNKS, CHUNKS]),
        "parquet": lambda: FileRows(find_files(tmp_path / "a.parquet")),
    }
    report = IngestReport()
    assert ingest(made[source](), report=report, **SHAPE).rows == STORED
    assert report.read_count == (6 if source == "json list" else 3)


def test_positions_in_documents(tmp_path: Path) -> None:
    row = {"id": "1", "text": 5, "vector": [1, 2, 3, 4]}
    path = tmp_path / "a.jsonl"
    for document, rows_path, position in [
        ({"hits": {"hits": [row]}}, "hits.hits", f"{path}:1.hits.hits[0]"),
        ({"row": row}, "row", f"{path}:1.row"),
        ({"a.b": [row]}, "a.b", f"{path}:1.a.b[0]"),
    ]:
        with pytest.raises(RowsRejectedError, match=r"field 'text' must be a str") as caught:
            ingest(write(path, document), rows_path=rows_path)
        assert f"{position}: " in str(caught.value)
    with pytest.raises(RowsRejectedError, match=r"\n\[1\]\.chunks\[0\]: field 'text' must be a str"):
        ingest(Entities([{"chunks": []}, {"chunks": [row]}]), rows_path="chunks")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"rows": []}, "has no 'chunks', where the rows should be (rows_path); it has rows"),
        ([], "has no 'chunks', where the rows should be (rows_path); it has list"),
        ({"chunks": None}, "has NoneType at 'chunks' (rows_path), not a list of rows or one row"),
        ({"chunks": "text"}, "has str at 'chunks' (rows_path), not a list of rows or one row"),
        ({"chunks": [[1.0, 2.0]]}, "a row must be an object (dict) of field names and values, not list"),
    ],
)
def test_documents_without_rows_are_rejected(tmp_path: Path, document: Any, reason: str) -> None:
    report, rejects = IngestReport(), tmp_path / "rejects.jsonl"
    source = write(tmp_path / "a.jsonl", document, CHUNKS)
    assert ingest(source, report=report, rejects=rejects, **SHAPE).rows == STORED
    assert (report.read_count, report.upsert_count, report.rejected_count) == (4, 3, 1)
    assert reason in json.loads(rejects.read_text())["$reject"]["reason"]


def test_refused_rows_come_back_as_they_were_given_and_can_be_fed_back(tmp_path: Path) -> None:
    """Refused by the checks, by the shape, and by the server alone."""
    chunks = [dict(chunk) for chunk in CHUNKS["chunks"]]
    odd = [{**chunks[0], "text": 5}, {**chunks[1], "id": "mine"}, {**chunks[2], "metadata": 7}, chunks[1]]
    rejects, again = tmp_path / "rejects.jsonl", tmp_path / "again.jsonl"
    source = write(tmp_path / "a.jsonl", {"chunks": [chunks[0]]}, {"chunks": odd}, {"chunks": [chunks[2]]})
    stored = ingest(source, Store("two"), rejects=rejects, **SHAPE).rows
    assert stored == {key: row for key, row in STORED.items() if row["text"] != "two"}
    lines = [json.loads(line) for line in rejects.read_text().splitlines()]
    reasons = [line.pop("$reject")["reason"] for line in lines]
    assert sorted(lines, key=str) == sorted(odd, key=str)
    assert any("key_from makes a different key" in reason for reason in reasons)
    assert any("must be an object, not int: field_map replaces it with its members" in reason for reason in reasons)
    assert any("is refused by the server" in reason for reason in reasons)
    assert ingest(FileRows(find_files(rejects)), Store("two"), rejects=again, **SHAPE).rows == {}
    assert len(again.read_text().splitlines()) == 4
    fixed = [json.dumps(chunks[1] | {"$reject": {"rows_path": "chunks"}})]
    rejects.write_text("\n".join([*fixed, json.dumps({"chunks": [chunks[0]], "$reject": {"position": "a.jsonl:9"}})]))
    assert ingest(FileRows(find_files(rejects)), **SHAPE).rows.keys() == {key_of("a.md", "two"), key_of("a.md", "one")}


def test_a_document_in_a_rejects_file_is_a_document(tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    ingest(write(tmp_path / "a.jsonl", {"chunk": CHUNKS["chunks"]}), rejects=rejects, **SHAPE)
    rejects.write_text(rejects.read_text().replace('"chunk"', '"chunks"'))
    assert ingest(FileRows(find_files(rejects)), **SHAPE).rows == STORED


def test_a_row_says_what_it_has() -> None:
    encoder = RowEncoder(SCHEMA, {"meta.vec": "vector"})
    vector = [0.5] * 4
    for row, reason in [
        (
            {"key": "1", "text": "a"},
            "field 'id' is missing; the row has key, text (field_map can rename fields, and ",
        ),
        ({"id": "1", "text": "a"}, "field 'vector' is missing: the row has no 'meta.vec'; the row has id, text"),
        (CHUNKS, "field 'id' is missing; the row has chunks, document_count (if its rows are in 'chunks', set"),
        (
            {"text": ["a", "b"], "meta.vec": [vector, vector]},
            "lists of the same length (text, meta.vec): one dict is one row",
        ),
        ({}, "field 'id' is missing; the row has no fields"),
        ([vector], "to pair vectors with keys, use [{'id': id, 'vector': vector} for id, vector in zip(ids, vectors)]"),
        (np.zeros(4), "to pair vectors with keys"),
    ]:
        with pytest.raises(RowError) as caught:
            encoder.encode(row)
        assert reason in str(caught.value)
    for field_map, verb in (({"*": None, "vector": "vector"}, "leaves out"), ({"id": "other"}, "renames")):
        with pytest.raises(RowError, match=f"field 'id' is missing: field_map {verb} 'id'; the row has id, vector$"):
            RowEncoder(SCHEMA, field_map).encode({"id": "1", "vector": vector})


def test_what_a_collection_cannot_have() -> None:
    key, text, vector = SCHEMA.fields_
    fixed = SCHEMA.model_copy(update={"dynamic": False})
    with pytest.raises(InputError, match="field_map: 'titel' is not a field of 'docs'"):
        RowEncoder(fixed, {"a.b": "titel"})
    with pytest.raises(InputError, match="convert: 'titel' is not a field of 'docs'"):
        RowEncoder(fixed, convert={"titel": "str"})
    RowEncoder(fixed, {"a": "*", "*": None}, convert={"text": "str"})
    for kind, size, reason in [
        ("Int64", None, r"Int64, cannot hold: a 63-bit hash"),
        ("VarChar", 31, r"VarChar\(31\), cannot hold\. Use a VarChar key"),
    ]:
        short = key.model_copy(update={"type": kind, "size": size})
        with pytest.raises(InputError, match=reason):
            RowEncoder(CollectionSchema(name="docs", fields_=(short, text, vector)), key_from=["text"])


# -- which columns are needed --------------------------------------------------------------------------------------

ROW = {"id": "1", "text": "a", "vector": [0.5, 1, 2, 3], "meta": {"file": "f", "n": 1}}


def in_format(folder: Path, source: str, *rows: dict[str, Any]) -> Entities | FileRows:
    """Rows as a source of this kind."""
    path = folder / f"a.{source}"
    if source == "list":
        return Entities(list(rows))
    if source == "table":
        return Entities(pa.Table.from_pylist(list(rows)))
    if source == "json":
        path.write_text(json.dumps(rows))
    elif source == "parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif source == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(
                {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items() if v is not None} for row in rows
            )
    else:
        return write(path, *rows)
    return FileRows(find_files(path))


SOURCES = ["list", "table", "jsonl", "json", "csv", "parquet"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({"field_map": {"vector.0": "first", "meta": None}}, {"first": 0.5}),
        ({"field_map": {"meta.file": "source", "meta": None}}, {"source": "f"}),
        ({"field_map": {"meta": "*"}}, {"file": "f", "n": 1}),
        ({"field_map": {"meta.n": None}}, {"meta": {"file": "f"}}),
        ({"field_map": {"text": "text", "vector": "vector", "*": None}, "key_from": ["meta.file"]}, {}),
        (
            {"field_map": {"text": "text", "vector": "vector", "meta.n": "n", "*": None}, "key_from": ["meta.file"]},
            {"n": 1},
        ),
        ({"field_map": {"id": "id", "vector": "vector", "*": None, "meta.file": "text"}}, {"text": "f"}),
    ],
    ids=str,
)
def test_paths_work_in_all_formats(
    tmp_path: Path, source: str, options: dict[str, Any], stored: dict[str, Any]
) -> None:
    key = key_of("f") if "key_from" in options else "1"
    row = {name: value for name, value in ROW.items() if name != "id" or "key_from" not in options}
    rows = ingest(in_format(tmp_path, source, row), **options).rows
    assert rows == {key: {"text": "a", "vector": ROW["vector"]} | stored}


@pytest.mark.parametrize("source", SOURCES)
def test_rows_path_works_in_all_formats(tmp_path: Path, source: str) -> None:
    documents = [{"a": {"rows": [ROW]}, "b": 1}, {"a": {"rows": [ROW | {"id": "2"}]}, "b": 2}]
    rows = ingest(in_format(tmp_path, source, *documents), rows_path="a.rows", field_map={"meta": None}).rows
    assert rows == {key: {"text": "a", "vector": ROW["vector"]} for key in "12"}


def test_a_cell_that_a_path_goes_into_may_be_text_or_empty(tmp_path: Path) -> None:
    """A column that is named like the path is used as it is, whatever is in the other one."""
    (tmp_path / "a.csv").write_text(
        'id,text,text.x,meta,vector\n1,one,5,,"[1,2,3,4]"\n2,two,,"{""x"":1}","[1,2,3,4]"\n3,three,,{,"[1,2,3,4]"\n'
    )
    rejects = tmp_path / "rejects.jsonl"
    source, fields = FileRows(find_files(tmp_path / "a.csv")), {"text.x": "first", "meta": "*"}
    rows = ingest(source, field_map=fields, rejects=rejects).rows
    assert rows == {
        "1": {"text": "one", "first": "5", "vector": [1, 2, 3, 4]},
        "2": {"text": "two", "first": "", "x": 1, "vector": [1, 2, 3, 4]},
    }
    assert '"field": "meta"' in rejects.read_text()


ONLY = {"id": "id", "text": "text", "vector": "vector", "*": None}
SPAN = pa.array([(0, 1, 0)], pa.month_day_nano_interval())
UNREADABLE = {
    "interval": SPAN,
    "inner interval": pa.StructArray.from_arrays([pa.array(["f"]), SPAN], names=["file", "span"]),
    "year": pa.array([2**40], pa.timestamp("s")),
    "duplicate key": pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_column_that_is_left_out_cannot_fail(name: str) -> None:
    table = pa.table({"id": ["1"], "text": ["a"], "vector": [[0.5, 1.0, 2.0, 3.0]], "meta": UNREADABLE[name]})
    for field_map in ({"meta": None}, ONLY):
        assert ingest(Entities(table), field_map=field_map).rows == {"1": {"text": "a", "vector": [0.5, 1, 2, 3]}}
    for needed in (None, {"meta.file": "source", "meta": None}, ONLY | {"meta": "m"}):
        with pytest.raises(InputError, match="column 'meta' has "):
            ingest(Entities(table), field_map=needed)
    with pytest.raises(InputError, match="column 'meta' has "):
        ingest(Entities(table), field_map={"id": None, "meta": None}, key_from=["meta"])


def test_rows_of_which_nothing_is_read_are_counted() -> None:
    assert [row.entity for row in Entities(pa.table({"x": SPAN})).rows({"x": None})] == [{}]


def test_a_csv_column_that_is_left_out_may_have_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('id,text,vector,note\n1,a,"[0.5,1,2,3]",caf\xe9\n'.encode("latin-1"))
    for field_map in ({"note": None}, ONLY):
        rows = ingest(FileRows(find_files(tmp_path / "a.csv")), field_map=field_map).rows
        assert rows == {"1": {"text": "a", "vector": [0.5, 1, 2, 3]}}
    with pytest.raises(RowsRejectedError, match="field 'note' is not UTF-8"):
        ingest(FileRows(find_files(tmp_path / "a.csv")))


def test_messages_are_utf_8_whatever_a_source_has(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("id,vector,caf\xe9\n1,,\n".encode("latin-1"))
    with pytest.raises(RowsRejectedError, match=r"the row has id, vector, caf\\udce9 \(field_map") as caught:
        ingest(FileRows(find_files(tmp_path)))
    str(caught.value).encode()


def test_long_text_may_have_commas(tmp_path: Path) -> None:
    schema = CollectionSchema(name="docs", fields_=(*SCHEMA.fields_, FieldSchema(name="body", type="Text")))
    row, store = {"text": "a", "vector": [0.5, 1, 2, 3], "body": "1," * 700_000}, Store()
    runs.ingest(store, schema, write(tmp_path / "a.jsonl", row | {"id": "1"}))
    assert store.rows == {"1": row}


def test_an_empty_cell_is_null_also_for_a_function(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text,vector,n\n1,,"[0.5,1,2,3]",\n')
    number = FieldSchema(name="n", type="Int64", nullable=True)
    schema = CollectionSchema(name="docs", fields_=(*SCHEMA.fields_, number))
    store = Store()
    runs.ingest(store, schema, FileRows(find_files(tmp_path)), convert={"n": int, "text": lambda text: f"<{text}>"})
    assert store.rows == {"1": {"text": "<>", "vector": [0.5, 1, 2, 3], "n": None}}


def test_what_a_generator_reuses_is_not_written_into_another_row_s_reject(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        row = {"id": "", "text": 0, "vector": np.zeros(4, "f4"), "meta": {"pages": [[0]]}}
        for key in range(3):
            row["id"], row["text"], row["vector"][:], row["meta"]["pages"][0][0] = str(key), key, key, key
            yield row

    class Loader:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return rows()

    path = tmp_path / "rejects.jsonl"
    options = {"rejects": path, "max_rejects": None, "convert": {"text": "str"}}
    for source in (rows(), Loader()):
        ingest(Entities(source), Store("1"), **options)
        (line,) = map(json.loads, path.read_text().splitlines())
        assert (line["text"], line["vector"], line["meta"]) == (1, [1] * 4, {"pages": [[1]]})


def test_a_member_that_is_left_out_or_converted_may_be_long(tmp_path: Path) -> None:
    tokens = {**ROW, "meta": [0] * 700_000}
    with pytest.raises(RowsRejectedError, match="brackets, braces and commas"):
        ingest(write(tmp_path / "a.jsonl", tokens))
    pooled = {**ROW, "vector": [ROW["vector"]] * 200_000, "meta": 1}
    for row, options in [
        (tokens, {"field_map": {"meta": None}}),
        (tokens, {"field_map": ONLY}),
        (pooled, {"field_map": {"meta": None}, "convert": {"vector": lambda vectors: vectors[0]}}),
    ]:
        assert ingest(write(tmp_path / "a.jsonl", row), **options).rows == {
            "1": {"text": "a", "vector": [0.5, 1, 2, 3]}
        }


@pytest.mark.parametrize("options", [{}, {"field_map": {"meta": None}}, {"convert": {"text": "str"}}], ids=str)
def test_a_key_that_is_null_is_refused(options: dict[str, Any]) -> None:
    """csv.DictReader has surplus cells under None."""
    with pytest.raises(RowsRejectedError, match="field 'None' is a field name of type NoneType; names must be str"):
        ingest(Entities([ROW | {None: [" b"]}]), **options)


# -- at full speed ------------------------------------------------------------------------------------------------

MAPS: list[dict[str, Any]] = [
    {"r.b.data.0.e": "vector", "*": None},
    {"_source": "*"},
    {"a.vec": "vector"},
]
numbers = st.integers(-9, 9) | st.floats(-9, 9)
values = st.recursive(
    st.none() | numbers | st.sampled_from(["", "[", "\\u005b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["e", "vec", "vector", "a", "b", "data", "r", "_source"]), inner, max_size=3)
    ),
    max_leaves=8,
)
vectors = st.lists(numbers, min_size=4, max_size=4) | values


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [float(number) for number in value]
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=400)
@given(st.sampled_from(MAPS), vectors, values, st.sampled_from([None, "rows"]))
def test_nested_vectors_are_read_as_the_standard_library_does(
    field_map: dict[str, Any], vector: Any, other: Any, rows_path: str | None
) -> None:
    row = {
        "r": {"b": {"data": [{"e": vector, "a": other}, other]}},
        "_source": {"vector": vector, "b": other},
        "a": {"vec": vector},
        "b": other,
    }
    document = {"rows": [row, row]} if rows_path else row
    line = json.dumps(document)
    columns = RowEncoder(SCHEMA, field_map).shape.columns(rows_path)
    assert plain(JsonParser().entity(line.encode(), vectors_in(columns))) == json.loads(line)


@pytest.mark.parametrize("field_map", MAPS, ids=str)
@pytest.mark.parametrize("rows_path", [None, "rows"])
def test_nested_vectors_are_read_as_arrays(field_map: dict[str, Any], rows_path: str | None) -> None:
    """Else the figures of the benchmark would be others."""
    (path,) = [name for name in field_map if name != "*"]
    *way, last = [*path.split("."), *(["vector"] if field_map[path] == "*" else [])]
    row: Any = {last: [0.5] * 4, "tags": ["a", []]}
    for step in reversed(way):
        row = [row] if step == "0" else {step: row}
    line = json.dumps({"rows": [row]} if rows_path else row).encode()
    found = JsonParser().entity(line, vectors_in(RowEncoder(SCHEMA, field_map).shape.columns(rows_path)))
    for step in [*(["rows", "0"] if rows_path else []), *way, last]:
        found = found[int(step)] if isinstance(found, list) else found[step]
    assert isinstance(found, np.ndarray)


def test_nested_vectors_of_a_table_are_arrays() -> None:
    table = pa.Table.from_pylist([{"a": {"vec": [0.5, 1, 2, 3], "b": None}, "id": "1"}] * 3)
    columns = RowEncoder(SCHEMA, {"a.vec": "vector"}).columns
    rows = [row.entity for row in Entities(table.slice(1)).rows(columns)]
    assert plain(rows) == [{"a": {"vec": [0.5, 1, 2, 3], "b": None}, "id": "1"}] * 2
    assert all(isinstance(row["a"]["vec"], np.ndarray) for row in rows)
    nulls = pa.Table.from_pylist([{"a": {"vec": [0.5, 1, 2, 3]}}, {"a": None}])
    assert plain([row.entity for row in Entities(nulls).rows(columns)]) == nulls.to_pylist()


@pytest.mark.parametrize("kind", ["VarChar", None])
def test_a_cell_is_text_beside_a_column_that_is_named_like_a_path_into_it(tmp_path: Path, kind: str | None) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,vector,address,address.city\n1,"[1,2]",,Rome\n2,"[1,2]",[new] street,Rome\n')
    fields = [
        FieldSchema(name="id", type="Int64", primary_key=True),
        FieldSchema(name="vector", type="FloatVector", size=2),
    ]
    fields += [FieldSchema(name="address", type=kind, size=99)] if kind else []
    schema = CollectionSchema(name="c", fields_=tuple(fields), dynamic=True)
    encoder = RowEncoder(schema, {"address.city": "city"})
    rows = list(FileRows(find_files(path)).rows(encoder.shape.columns()))
    found = [json.loads(encoder.encode(row.entity, row.position)[1]) for row in rows]
    assert [(row["address"], row["city"]) for row in found] == [("", "Rome"), ("[new] street", "Rome")]


def test_a_vector_beside_a_column_whose_name_looks_like_a_path_into_it_is_read_as_one() -> None:
    vector = FieldSchema(name="vector", type="FloatVector", size=2)
    schema = CollectionSchema(name="c", fields_=(FieldSchema(name="id", type="Int64", primary_key=True), vector))
    assert RowEncoder(schema, {"vector.norm": None}).shape.columns()["vector"] == vector
    assert RowEncoder(schema, {"vector.0": None}).shape.columns()["vector"] != vector
