"""Broken and hostile input ends in a clear error or a named reject, in bounded memory, and changes no stored value."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from fsspec.exceptions import FSTimeoutError

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from tests import runs

SCHEMA = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="Int64", primary_key=True),
        FieldSchema(name="vector", type="FloatVector", size=4),
        FieldSchema(name="text", type="VarChar", size=64),
    ),
    dynamic=True,
)
ROWS: list[dict[str, Any]] = [
    {"id": key, "vector": [key / 8, -0.5, 1.0, 0.25], "text": f"text {key}", "n": key} for key in range(40)
]


class Store:
    """Stands for a client, and keeps what was sent."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def upsert(self, request: UpsertRequest, _: type) -> UpsertResult:
        rows = [json.loads(text) for text in request.data]
        self.rows += rows
        return UpsertResult(upsert_count=len(rows), upsert_ids=[row["id"] for row in rows])

    settings = SimpleNamespace(read_timeout=60)

    def abort(self) -> None:
        pass


def ingest(path: Path, rejects: Path) -> tuple[list[dict[str, Any]], IngestReport, e.MilvusRestError | None]:
    """What was stored, the counts, and the error if there was one. Other exceptions fail the test."""
    store, report, error = Store(), IngestReport(), None
    source = FileRows(find_files(path))
    try:
        runs.ingest(store, SCHEMA, source, report=report, rejects=rejects, batch_size=7, concurrency=1)
    except e.MilvusRestError as caught:
        error = caught
    return store.rows, report, error


def lines() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def as_csv() -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(ROWS[0])
    writer.writerows([json.dumps(v) if isinstance(v, list) else v for v in row.values()] for row in ROWS)
    return text.getvalue().encode()


def as_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink, row_group_size=10)
    return sink.getvalue()


def as_feather() -> bytes:
    sink = io.BytesIO()
    feather.write_feather(pa.Table.from_pylist(ROWS), sink, compression="uncompressed")
    return sink.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "a.jsonl": lines,
    "a.json": lambda: json.dumps(ROWS).encode(),
    "a.csv": as_csv,
    "a.jsonl.gz": lambda: gzip.compress(lines()),
    "a.jsonl.bz2": lambda: bz2.compress(lines()),
    "a.csv.xz": lambda: lzma.compress(as_csv()),
    "a.parquet": as_parquet,
    "a.feather": as_feather,
}
JUNK = (b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"[[", b"]", b",", b"\\", b"1e999", b"{}", b"\xed\xa0\x80")


def spoiled(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Cut short, with junk in it, with bytes that have changed, twice over."""
    size = len(content)
    for _ in range(10):
        yield "cut", content[: rng.randrange(size)]
    for junk in JUNK:
        at = rng.randrange(size)
        yield "junk", content[:at] + junk + content[at:]
    for _ in range(12):
        at = rng.randrange(size)
        yield "changed", content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    at = rng.randrange(size)
    yield "zeros", content[:at] + bytes(min(50, size - at)) + content[at + 50 :]
    yield "twice", content + content
    yield "junk after", content + b"}\0junk"


@pytest.mark.parametrize("name", FILES)
def test_spoiled_files(name: str, tmp_path: Path, measured: Callable[[str], None]) -> None:
    content, rng, ends = FILES[name](), random.Random(7), Counter[str]()
    path = tmp_path / name
    path.write_bytes(content)
    stored, report, error = ingest(path, tmp_path / "rejects.jsonl")
    rows = [row | {"n": str(row["n"])} for row in ROWS] if "csv" in name else ROWS  # a dynamic field of text
    assert (stored, error, report.rejected_count) == (rows, None, 0)
    for kind, spoilt in spoiled(content, rng):
        path.write_bytes(spoilt)
        stored, report, error = ingest(path, tmp_path / "rejects.jsonl")
        ends["error" if error else "rejects" if report.rejected_count else "stored"] += 1
        if error:
            assert isinstance(error, e.InputError), (kind, error)
            assert name in str(error)
            assert len(str(error)) < 1000
        if report.rejected_count:
            rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
            assert len(rejects) == report.rejected_count
            assert all(reject["$reject"]["position"].startswith(str(path)) for reject in rejects)
            assert all(reject["$reject"]["reason"] for reject in rejects)
        if name == "a.jsonl":
            assert stored == given(spoilt)
        elif kind in ("cut", "twice", "junk after") or (kind == "zeros" and name != "a.feather"):
            known = [json.dumps(row, sort_keys=True) for row in rows]
            # The last cell of a CSV that is cut short in it cannot be told from a whole one.
            whole = stored[:-1] if (kind, name[:5]) == ("cut", "a.csv") else stored
            assert {json.dumps(row, sort_keys=True) for row in whole} <= set(known)
    measured(f"{name}: {sum(ends.values())} spoiled files: {dict(ends)}")
    assert sum(ends.values()) == 38


def given(content: bytes) -> list[dict[str, Any]]:
    """The rows of JSON Lines that can be stored, by the standard library; values as float32 keeps them."""
    rows = []
    for line in content.split(b"\n"):
        try:
            row = json.loads(line.decode("utf-8-sig"))
            text = RowEncoder(SCHEMA).encode(row)[1]
        except (ValueError, e.RowError):
            continue
        rows.append(json.loads(text))
    last = {row["id"]: index for index, row in enumerate(rows)}
    return [row for index, row in enumerate(rows) if last[row["id"]] == index or index // 7 != last[row["id"]] // 7]


LINES: dict[str, tuple[bytes, str]] = {
    "deep list": (b'{"id": 1, "vector": [1, 2, 3, 4], "text": "x", "n": ' + b"[" * 900 + b"]" * 900 + b"}", "nested"),
    "deeper list": (b'{"id": 1, "vector": ' + b"[" * 90_000, "nested too deeply"),
    "deep object": (
        b'{"id": 1, "vector": [1,2,3,4], "text": "x", "n": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        "nested",
    ),
    "huge int": (b'{"id": ' + b"9" * 4000 + b"}", "is out of range for Int64"),
    "huger int": (b'{"id": ' + b"9" * 40_000 + b"}", "Exceeds the limit"),
    "huge float": (b'{"id": 1, "vector": [1e999, 2, 3, 4], "text": "x"}', "[0] is inf"),
    "float key": (b'{"id": 1e5, "vector": [1, 2, 3, 4], "text": "x"}', "must be an int"),
    "invalid UTF-8": (b'{"id": 1, "vector": [1, 2, 3, 4], "text": "\xc3\x28"}', "is not UTF-8"),
    "surrogate": (b'{"id": 1, "vector": [1, 2, 3, 4], "text": "\\ud800"}', "lone surrogate"),
    "raw NUL": (b'{"id": 1, "vector": [1, 2, 3, 4], "text": "\0"}', "Invalid control character"),
    "only NUL": (b"\0" * 100, "not JSON"),
    "UTF-16": ('{"id": 1}'.encode("utf-16"), "not"),
    "not an object": (b"[1, 2, 3]", "a row must be an object"),
    "two objects": (b'{"id": 1} {"id": 2}', "Extra data"),
    "empty key": (
        b'{"id": 1, "vector": [1, 2, 3, 4], "text": "x", "": [9007199254740993]}',
        "is an int that Milvus does not keep exactly here",
    ),
    "long key": (
        b'{"id": 1, "vector": [1, 2, 3, 4], "text": "x", "%s": 1}' % (b"k" * 70_000),
        "brings the dynamic fields to",
    ),
    "comment": (b'{"id": 1} // one', "Extra data"),
    "single quotes": (b"{'id': 1}", "Expecting property name"),
    "text vector": (b'{"id": 1, "vector": "[1, 2, 3, 4]", "text": "x"}', "must be a list"),
    "reserved name": (b'{"id": 1, "vector": [1, 2, 3, 4], "text": "x", "$meta": 1}', "is reserved by Milvus"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_hostile_line_is_a_reject_and_its_neighbours_are_stored(name: str, tmp_path: Path) -> None:
    line, reason = LINES[name]
    good = [json.dumps(row).encode() for row in ROWS[:3]]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\r\n".join([good[0], line, *good[1:]]))
    stored, _, error = ingest(path, tmp_path / "rejects.jsonl")
    assert error is None
    assert stored == ROWS[:3]
    (reject,) = [json.loads(text)["$reject"] for text in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert reject["position"] == f"{path}:2"
    assert reason in reject["reason"]


BOMBS = """
import gzip, os, resource, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.unit.test_hostile import ingest, ROWS, lines
folder = Path({folder!r})
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024
before = peak()
for name in ("bomb.jsonl.gz", "bomb.csv.gz", "line.jsonl"):
    stored, report, error = ingest(folder / name, folder / "rejects.jsonl")
    print(name, len(stored), report.rejected_count, error, peak() - before, sep="|")
"""


def test_bombs_and_endless_lines_take_little_memory(tmp_path: Path) -> None:
    """1.5 GB in a gzip of 1.5 MB, and a line of 150 MB between two others."""
    zeros = gzip.compress(b"0" * 10_000_000)
    for name, first in {"bomb.jsonl.gz": b'{"id": "', "bomb.csv.gz": b"id,text\n1,"}.items():
        (tmp_path / name).write_bytes(gzip.compress(first) + zeros * 150)
    with (tmp_path / "line.jsonl").open("wb") as file:
        file.write(lines())
        for _ in range(150):
            file.write(b"0" * 1_000_000)
        file.write(b"\n" + json.dumps(ROWS[0] | {"id": 99}).encode())
    code = BOMBS.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    found = {line.split("|")[0]: line.split("|")[1:] for line in done.stdout.splitlines() if "|" in line}
    assert found["bomb.jsonl.gz"][:3] == ["0", "1", "None"], done.stderr
    assert found["bomb.csv.gz"][2].endswith("bomb.csv.gz:2: the line is longer than 32 MiB")
    assert found["line.jsonl"][:3] == ["41", "1", "None"]
    assert max(int(values[3]) for values in found.values()) < 250  # MiB


def test_a_file_that_is_removed_or_replaced_while_it_is_read_is_read_whole(tmp_path: Path) -> None:
    """It stays what it was for whoever has it open."""
    path, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for change in (lambda: path.unlink(), lambda: other.replace(path)):
        path.write_bytes(lines())
        other.write_bytes(lines()[:300])
        iterator = FileRows(find_files(path)).rows({})
        first = next(iterator)
        change()
        assert len([first, *iterator]) == 40


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_a_compressed_file_is_read_whole_or_not_at_all(suffix: str, tmp_path: Path) -> None:
    compress = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[suffix]
    path, one = tmp_path / f"a.jsonl.{suffix}", compress(lines())
    for content, count in ((one, 40), (one + one, 80), (b"", 0), (compress(b""), 0), (one + compress(b"") + one, 80)):
        path.write_bytes(content)
        assert len(list(FileRows(find_files(path)).rows({}))) == count
    for content in (one[:-1], one + one[:-4], one + b"X" + one[1:], one + b"junk", one + one[: len(one) // 2]):
        path.write_bytes(content)
        with pytest.raises(e.InputError, match=rf"a\.jsonl\.{suffix}: damaged"):
            list(FileRows(find_files(path)).rows({}))


def test_what_cannot_be_read_whole_for_certain_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").touch()
    with pytest.raises(e.InputError, match="the suffix is not one of"):
        find_files(tmp_path / "a.jsonl.zst")


def test_rows_in_memory_that_python_itself_cannot_write(tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[1] | {"n": 10**5000}, ROWS[2] | {"id": 10**5000}, ROWS[3] | {"n": [10**5000]}, ROWS[4]]
    rows += [ROWS[6] | {10**5000: 1}, ROWS[7] | {"n": {10**5000: {10**5000}}}]
    rows.append(ROWS[5] | {"vector": np.ma.array([1.0, 2.0, 3.0, 4.0], mask=[0, 1, 0, 0])})
    store = Store()
    runs.ingest(store, SCHEMA, Entities(rows), rejects=tmp_path / "rejects.jsonl")
    assert [row["id"] for row in store.rows] == [0, 4]
    rejects = [json.loads(line)["$reject"] for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    fields = ["n", "id", "n", "an int of 16610 bits", "n", "vector"]
    assert [reject["field"] for reject in rejects] == fields
    assert [reject["key"] for reject in rejects] == [1, None, 3, 6, 7, 5]
    assert "an int of 16610 bits" in rejects[0]["reason"]


def test_arrow_values_that_python_has_not(tmp_path: Path) -> None:
    columns = {
        "date": pa.array([10**9], pa.date32()),
        "map": pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())),
    }
    for name, column in columns.items():
        table = pa.table({"id": [1], name: column})
        with pytest.raises(e.InputError, match=f"column '{name}' has a value that Python cannot represent"):
            list(Entities(table).rows({}))
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(e.InputError, match=f"column '{name}'"):
            list(FileRows(find_files(tmp_path)).rows({}))


def test_a_rejects_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "a.jsonl").write_text("{\n")
    _, report, error = ingest(tmp_path / "a.jsonl", tmp_path / "file" / "rejects.jsonl")
    assert isinstance(error, e.InputError)
    assert f"rejects_path: {tmp_path}/file/rejects.jsonl cannot be written" in str(error)
    assert report.read_count == 1


def test_a_rejects_file_that_cannot_be_written_by_several_lanes(tmp_path: Path) -> None:
    """Each of them has rows that the server has refused."""
    (tmp_path / "file").touch()
    store, report = Refusing(0.01), IngestReport()
    rejects = tmp_path / "file" / "rejects.jsonl"
    with pytest.raises(e.InputError, match="rejects_path"):
        runs.ingest(store, SCHEMA, Entities(ROWS), report=report, rejects=rejects, batch_size=5)
    assert report.upsert_count == len(store.rows)
    assert report.rejected_count
    assert report.unconfirmed_count >= 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("milvus-rest-lane")]


class Refusing(Store):
    """Refuses every request with a key that ends in 3, after a while."""

    def __init__(self, seconds: float = 0) -> None:
        super().__init__()
        self.seconds = seconds

    def upsert(self, request: UpsertRequest, key_type: type) -> UpsertResult:
        time.sleep(self.seconds)
        if any(json.loads(text)["id"] % 10 == 3 for text in request.data):
            raise e.DataRefusedError("no", code=1804)
        return super().upsert(request, key_type)


def test_a_row_in_place_of_many_that_are_refused_one_after_the_other(tmp_path: Path) -> None:
    rows = Entities([ROWS[0]] + [ROWS[3]] * 900)
    report = runs.ingest(Refusing(), SCHEMA, rows, rejects=tmp_path / "rejects.jsonl", concurrency=1)
    assert (report.upsert_count, report.rejected_count, report.duplicate_count) == (1, 900, 0)


class Unfinished(io.BytesIO):
    """As object stores do, says only at the end that it cannot be written."""

    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError("upload failed: 503")


def test_a_rejects_file_that_fails_at_its_end_is_noticed_wherever_it_is_made(tmp_path: Path) -> None:
    class Remote(type(tmp_path)):  # type: ignore[misc]
        def open(self, *_: Any) -> Any:
            return Unfinished()

    report = IngestReport()
    try:
        raise KeyError
    except KeyError:  # of the caller's, and none of the run's
        with pytest.raises(e.SourceUnavailableError, match="cannot be written: OSError: upload failed: 503"):
            runs.ingest(Store(), SCHEMA, Entities([{}]), rejects=Remote(tmp_path / "rejects.jsonl"), report=report)
    assert report.rejects_path is None


def test_symlink_loops(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.jsonl").write_bytes(lines())
    os.symlink(tmp_path, tmp_path / "folder" / "loop")
    os.symlink(tmp_path / "me.jsonl", tmp_path / "me.jsonl")
    with pytest.raises(e.SourceNotFoundError, match="no such file"):
        find_files(tmp_path / "me.jsonl")
    for source in (tmp_path, f"{tmp_path}/**/*.jsonl"):
        with pytest.raises(e.SourceUnavailableError, match=r"me.jsonl: cannot be read: OSError: .* symbolic links"):
            find_files(source)
    (tmp_path / "me.jsonl").unlink()
    files = find_files(f"{tmp_path}/**/*.jsonl")
    assert {os.path.realpath(file.path) for file in files} == {str(tmp_path / "folder" / "a.jsonl")}


def test_a_storage_that_fails_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """May be retried, whatever the format and the exception; the message is one line."""

    class Failing(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            raise FSTimeoutError("no answer from\nthe storage")

    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content())
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Failing(path))
    for name in FILES:
        with pytest.raises(
            e.SourceUnavailableError, match=rf"{name}: cannot be read: FSTimeoutError: no answer from the"
        ):
            list(FileRows(find_files(tmp_path / name)).rows({}))
