"""A rejects file is fixed and loaded, its own rejects file is fixed and loaded, and so on."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.ingest.compare import Compare
from airflow_provider_milvus_rest.ingest.report import CompareReport, IngestReport, Progress
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.rejected import line_of
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from tests import runs

SCHEMA = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="VarChar", size=64, primary_key=True),
        FieldSchema(name="text", type="VarChar", size=64),
        FieldSchema(name="page", type="Int64"),
        FieldSchema(name="vector", type="FloatVector", size=2),
        FieldSchema(name="bits", type="BinaryVector", size=16),
        FieldSchema(name="sparse", type="SparseFloatVector"),
    ),
    dynamic=True,
)


class Store:
    """Stands for a client that keeps what it gets, and refuses rows whose text is ``refused``."""

    settings = SimpleNamespace(read_timeout=60)

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    def upsert(self, request: UpsertRequest, keys: list[Any]) -> UpsertResult:
        rows = [json.loads(text) for text in request.data]
        if any(row["text"] == "refused" for row in rows):
            raise e.DataRefusedError("not this one", code=1100)
        self.rows |= {row["id"]: row for row in rows}
        return UpsertResult(upsert_count=len(rows), upsert_ids=keys)

    def read_rows(self, _schema: Any, keys: list[Any], _partition: Any) -> dict[Any, Any]:
        return {key: self.rows[key] for key in keys if key in self.rows}


def load(source: Any, store: Store, rejects: Path | None = None, **options: Any) -> IngestReport:
    source = FileRows(find_files(source)) if isinstance(source, Path) else Entities(source)
    return runs.ingest(store, SCHEMA, source, concurrency=1, rejects=rejects, **options)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def flat(number: int) -> dict[str, Any]:
    return {
        "id": str(number),
        "text": f"row {number}",
        "page": number,
        "vector": [number, 0.5],
        "bits": b"\xff\x01",
        "sparse": {5: 0.5, np.int64(7): 1},
    }


# -- a chain --------------------------------------------------------------------------------------------------------

Make = Callable[[int], dict[str, Any]]
SHAPES: dict[str, tuple[Make, dict[str, Any]]] = {
    "flat": (flat, {}),
    "renamed": (lambda n: {("key" if k == "id" else k): v for k, v in flat(n).items()}, {"field_map": {"key": "id"}}),
    "paths": (
        lambda n: {"id": str(n), "text": f"row {n}", "page": n, "m": {"v": [{k: flat(n)[k]} for k in VECTORS]}},
        {"field_map": {f"m.v.{index}.{name}": name for index, name in enumerate(("vector", "bits", "sparse"))}},
    ),
    "spread": (
        lambda n: {"meta": {"in": {k: v for k, v in flat(n).items() if k != "id"}, "n": n}},
        {"field_map": {"meta.in": "*", "meta": None}, "key_from": ["meta.n"]},
    ),
    "converted": (
        lambda n: flat(n) | {"id": n, "text": n, "bits": b"\xff\x01"},
        {"convert": {"id": "str", "text": "str", "bits": "base64"}},
    ),
}
VECTORS = ("vector", "bits", "sparse")
FAULTS: dict[str, Any] = {
    "text": [b"\xff", True, "refused", "x" * 65],
    "page": ["1", None, float("nan"), 2**64],
    "vector": [[1], [float("nan"), 1], "text", np.array([1, np.inf])],
    "bits": [b"\xff", 5, {"bits": b"\xff"}],
    "sparse": [{"a": 1}, {True: 1}, {5: float("nan")}, [b"\xff"]],
}


def spoiled(value: Any, faults: Mapping[str, Any]) -> Any:
    """A row with faults in the fields of these names, wherever they are."""
    if isinstance(value, dict):
        return {name: faults[name] if name in faults else spoiled(member, faults) for name, member in value.items()}
    return [spoiled(item, faults) for item in value] if isinstance(value, list) else value


def fixed(value: Any, right: Any, field: str) -> Any:
    """The row with the right value of the one field."""
    if isinstance(value, dict) and isinstance(right, dict):
        return {
            name: right.get(name, member) if name == field else fixed(member, right.get(name), field)
            for name, member in value.items()
        }
    if isinstance(value, list) and isinstance(right, list) and len(value) == len(right):
        return [fixed(*pair, field) for pair in zip(value, right, strict=True)]
    return value


def written(row: Any) -> Any:
    """A row as a user writes it in JSON."""
    columns = {name: FieldSchema(name=name, type="BinaryVector") for name in ("bits", "m.v.1.bits", "meta.in.bits")}
    columns |= {n: FieldSchema(name=n, type="SparseFloatVector") for n in ("sparse", "m.v.2.sparse", "meta.in.sparse")}
    line = json.loads(line_of(row, e.RowError("no"), columns))
    assert "altered" not in line.pop("$reject")
    return line


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from([None, "chunks", "json", "a.b"]),
    st.lists(
        st.fixed_dictionaries({}, optional={name: st.sampled_from(faults) for name, faults in FAULTS.items()})
        | st.just("raw"),
        min_size=1,
        max_size=4,
    ),
)
def test_a_chain_of_rejects_files_ends_with_what_right_rows_store(
    shape: str, rows_path: str | None, faults: list[Any]
) -> None:
    make, options = SHAPES[shape]
    options = options | {"rows_path": rows_path}

    def wrapped(*rows: Any) -> list[Any]:
        if rows_path is None:
            return [*rows]
        return [{"chunks": rows, "json": rows, "a": {"b": rows}}]

    right = Store()
    load(wrapped(*[make(number) for number in range(len(faults) + 1)]), right, **options)
    made = [700 + n if fault == "raw" else spoiled(make(n), fault) for n, fault in enumerate(faults, 1)]
    store = Store()
    with tempfile.TemporaryDirectory() as folder:
        source: Any = wrapped(make(0), *made)
        for step in range(12):
            rejects = Path(folder) / f"{step}.json.jsonl"
            report = load(source, store, rejects, **options)
            lines = lines_of(rejects)
            assert report.rejected_count == len(lines)
            if not lines:
                break
            for line in lines:
                reject = line["$reject"]
                if "raw" in reject:
                    line |= written(make(reject.pop("raw") - 700))
                    continue
                number = next(n for n in range(1, len(faults) + 1) if is_of(line, n))
                field = "text" if reject["code"] else reject["field"]
                if step % 2 or "altered" in reject:  # by the name that the file uses
                    field = reject.get("altered", [field])[0]
                    reject["altered"] = reject.get("altered", [])[1:]
                line |= fixed({k: v for k, v in line.items() if k != "$reject"}, written(make(number)), field)
            source = write(Path(folder) / f"{step}.fixed.jsonl", *wrapped(written(make(0))), *lines)
        else:
            raise AssertionError(lines)
    assert store.rows == right.rows


def is_of(line: dict[str, Any], number: int) -> bool:
    meta = line.get("meta", {}).get("n")
    return str(line.get("id", line.get("key", meta))) == str(number)


def test_rows_of_documents_stay_rows_in_each_next_file(tmp_path: Path) -> None:
    """Also if the server refuses them, and if a run in between is without ``rows_path``."""
    row = written(flat(1))
    source = write(tmp_path / "a.jsonl", {"chunks": [row | {"page": "x"}, 7, row | {"text": "refused"}]})
    for step, rows_path in enumerate(["chunks", "chunks", None, "chunks"]):
        rejects = tmp_path / f"r{step}.jsonl"
        load(
            write(source, *lines_of(source), row | {"id": "2", "$reject": {"rows_path": "chunks"}}),
            Store(),
            rejects,
            rows_path=rows_path,
        )
        found = lines_of(rejects)
        assert [line["$reject"].get("rows_path") for line in found] == ["chunks"] * 3
        assert found[1]["$reject"]["raw"] == 7
        source = rejects


def test_a_document_is_not_a_row_because_of_its_files_name(tmp_path: Path) -> None:
    rejects = tmp_path / "r.json"
    (tmp_path / "x.json").write_text(json.dumps([{"jsn": [written(flat(1))]}]))
    load(tmp_path / "x.json", Store(), rejects, rows_path="json")
    (line,) = lines_of(rejects)
    assert line["$reject"]["position"] == f"{tmp_path}/x.json[0]"
    store = Store()
    load(write(rejects, {"json": line["jsn"], "$reject": line["$reject"]}), store, rows_path="json")
    assert store.rows.keys() == {"1"}


def test_a_differences_file_of_a_rejects_file_repairs(tmp_path: Path) -> None:
    """The reason why a differences file has ``rows_path``, too."""
    rejects, differences = tmp_path / "r.jsonl", tmp_path / "d.jsonl"
    load([{"chunks": [flat(1) | {"page": "x"}]}], store := Store(), rejects, rows_path="chunks")
    (line,) = lines_of(rejects)
    write(rejects, line | {"page": 1})
    options = Options(on_reject="skip", on_difference="report", rejects=differences, rows_path="chunks", concurrency=1)
    report = CompareReport()
    compare = Compare(store, SCHEMA, options, report, Retry(0, 1), Progress(report, lambda: None, lambda _: None))
    compare.retry.sleep = lambda _: None  # type: ignore[method-assign]
    compare.run(FileRows(find_files(rejects)))
    assert report.missing_count == 1
    load(differences, store, rows_path="chunks")
    assert store.rows.keys() == {"1"}


# -- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field_map", "row", "bits", "altered"),
    [
        ({"m.bits": "bits"}, {"m": {"bits": b"\xff\x01"}}, {"m": {"bits": "/wE="}}, None),
        ({"m.0.bits": "bits"}, {"m": [{"bits": b"\xff\x01"}]}, {"m": [{"bits": "/wE="}]}, None),
        ({"m.n": "*"}, {"m": {"n": {"bits": b"\xff\x01"}}}, {"m": {"n": {"bits": "/wE="}}}, None),
        ({"m.n": "*"}, {"m.n": {"bits": b"\xff\x01"}}, {"m.n": {"bits": "/wE="}}, None),
        ({"m.sparse": "sparse"}, {"m": {"sparse": {5: 0.5}}}, {"m": {"sparse": {"5": 0.5}}}, None),
        ({"m.v": "vector"}, {"m": {"v": array("d", [0.1])}}, {"m": {"v": [0.1]}}, None),
        ({}, {"sparse": {5: 0.5, "5": 1}}, {"sparse": {"5": 1}}, ["sparse"]),
        ({}, {"m": {"bits": b"\xff\x01"}}, {"m": {"bits": "\ufffd\x01"}}, ["m"]),
        ({"m.bits": "bits"}, {"m.bits": 1, "m": {"bits": b"\xff"}}, {"m.bits": 1, "m": {"bits": "\ufffd"}}, ["m"]),
    ],
)
def test_vectors_in_objects_are_written_as_they_were(field_map: Any, row: Any, bits: Any, altered: Any) -> None:
    line = json.loads(line_of(row, e.RowError("no"), RowEncoder(SCHEMA, field_map).columns))
    assert line.pop("$reject").get("altered") == altered
    assert line == bits


def test_one_unreadable_cell_of_a_csv_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    text = 'id,text,page,vector,bits,sparse,note,$reject\n1,a,2,"[1, 2","[255, 1]","{""5"": 0.5","",x\n'
    (tmp_path / "a.csv").write_text(text)
    load(tmp_path / "a.csv", store := Store(), tmp_path / "r.jsonl")
    (line,) = lines_of(tmp_path / "r.jsonl")
    assert line["$reject"]["field"] == "vector"
    assert line["sparse"] == '{"5": 0.5'
    load(write(tmp_path / "r.jsonl", line | {"vector": [1, 2], "sparse": {"5": 0.5}}), store)
    assert store.rows["1"]["page"] == 2


def test_all_altered_fields_are_named() -> None:
    row = flat(1) | {"$reject": {"altered": ["a", "b", "c"]}}
    with pytest.raises(e.RowsRejectedError) as caught:
        load([row], Store())
    reason = "could not be written to JSON as it was: replace it with the correct value, and remove 'a' from 'altered'"
    assert f"[0]: field 'a' {reason}; the same for b, c" in str(caught.value)


@pytest.mark.parametrize("how", ["list", "mapping", "table", "pandas", "parquet", "document"])
def test_reject_is_not_stored_from_any_source(tmp_path: Path, how: str) -> None:
    """And a row that is still altered is refused."""
    rows = [written(flat(n)) | {"$reject": {"rows_path": "old", "altered": ["text"] if n == 2 else []}} for n in (1, 2)]
    for row in rows:
        row["sparse"] = {"indices": [5], "values": [0.5]}
    table = pa.Table.from_pylist(rows)
    source: Any = {
        "list": lambda: rows,
        "mapping": lambda: [MappingProxyType(row) for row in rows],
        "table": lambda: table,
        "pandas": lambda: table.to_pandas().to_dict("records"),
        "parquet": lambda: (pq.write_table(table, tmp_path / "a.parquet"), tmp_path / "a.parquet")[1],
        "document": lambda: [{"rows": rows}],
    }[how]()
    load(source, store := Store(), tmp_path / "r.jsonl", rows_path="rows" if how == "document" else None)
    assert [*store.rows] == ["1"]
    assert "$reject" not in store.rows["1"]
    (line,) = lines_of(tmp_path / "r.jsonl")
    assert line["$reject"]["altered"] == ["text"]
    assert line["$reject"].get("rows_path") == ("rows" if how == "document" else "old")
    assert all("$reject" in row for row in rows)


def test_a_request_of_its_own_refuses_reject_by_name() -> None:
    with pytest.raises(e.RowError, match=r"field '\$reject' is not part of the row"):
        RowEncoder(SCHEMA).encode(flat(1) | {"$reject": {}})
