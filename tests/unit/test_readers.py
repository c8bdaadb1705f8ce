from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_milvus_rest.exceptions import InputError, SourceNotFoundError, SourceUnavailableError
from airflow_provider_milvus_rest.rows import files as files_module
from airflow_provider_milvus_rest.rows.files import File
from airflow_provider_milvus_rest.rows.readers import FileRows
from airflow_provider_milvus_rest.rows.rejected import REJECT
from airflow_provider_milvus_rest.rows.source import Row


def find_files(files: Any) -> list[File]:
    return files_module.find_files(files)


def iter_files(files: list[File]) -> Iterator[Row]:
    return FileRows(files).rows({})


texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)
entities = st.dictionaries(texts.filter(lambda name: name != REJECT), values)


@settings(max_examples=50, deadline=None)
@example(rows=[{"": None, "\x00": {}}])
@given(st.lists(entities, max_size=10))
def test_files_give_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.jsonl").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    (folder / "b.json").write_text(json.dumps(rows))
    read = list(iter_files(find_files(folder)))
    assert [row.entity for row in read] == rows + rows
    lines = [f"{folder}/a.jsonl:{number}" for number in range(1, len(rows) + 1)]
    assert [row.position for row in read] == lines + [f"{folder}/b.json[{index}]" for index in range(len(rows))]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name in ("b.jsonl", "a.json", "c.NDJSON", "notes.txt", "sub/d.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def test_files_by_path_glob_folder_and_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(files: Any) -> list[str]:
        return [str(file.path.relative_to(folder)) for file in find_files(files)]

    assert names(folder / "b.jsonl") == ["b.jsonl"]
    assert names(str(folder)) == ["a.json", "b.jsonl", "c.NDJSON"]
    assert names(f"{folder}/*.json*") == ["a.json", "b.jsonl"]
    assert names(f"{folder}/**/*.jsonl") == ["b.jsonl", "sub/d.jsonl"]
    assert names([f"{folder}/b.jsonl", f"{folder}/*.json*"]) == ["b.jsonl", "a.json"]
    assert names([]) == []
    monkeypatch.chdir(folder)
    assert [file.name for file in find_files("*.json")] == ["a.json"]


def test_a_name_that_looks_like_a_glob_but_exists_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "part[1].jsonl"
    path.touch()
    assert [file.path for file in find_files(path)] == [path]


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ("/no/such.jsonl", SourceNotFoundError, "no such file: /no/such.jsonl"),
        ("{folder}/*.parquet", SourceNotFoundError, "no file matches .*parquet"),
        ("{folder}/sub/empty", SourceNotFoundError, "has no file that ends in .jsonl, .ndjson, .json"),
        ("{folder}/x.jsonl.zip", InputError, "x.jsonl.zip: the suffix is not one of"),
        ("{folder}/notes.txt", InputError, "the suffix is not one of .jsonl, .ndjson, .json"),
        ("", InputError, "non-empty str or Path, not a blank one"),
        ([None], InputError, "Path, not NoneType$"),
        (5, InputError, "a path, a glob, a folder or a list of them, not int"),
        ({"a.jsonl": 1}, InputError, "a dict must come from plan_shards, but path: Field required"),
    ],
)
def test_files_that_cannot_be_read(folder: Path, files: Any, error: type[InputError], message: str) -> None:
    (folder / "sub/empty").mkdir()
    (folder / "x.jsonl.zip").touch()
    files = files.format(folder=folder) if isinstance(files, str) else files
    with pytest.raises(InputError, match=message) as caught:
        find_files(files)
    assert type(caught.value) is error


def first_error(path: Path) -> InputError:
    try:
        return next(row.error for row in iter_files(find_files(path)) if row.error)
    except InputError as error:  # what makes the rest of a file unreadable too
        return error


@pytest.mark.parametrize(
    ("name", "content", "position", "reason"),
    [
        ("x.jsonl", b'{"id":1}\n\n{"id":2\n', ":3", "not JSON: Expecting ',' delimiter at column 8"),
        ("x.jsonl", b'{"id":NaN}', ":1", "not JSON: NaN is not JSON"),
        ("x.jsonl", b'{"id":-Infinity}', ":1", "-Infinity is not JSON"),
        ("x.jsonl", b'{"id":"\xff"}', ":1", "byte 7 is not UTF-8"),
        ("x.jsonl", b"[" * 100_000, ":1", "nested too deeply"),
        ("x.jsonl", b'{"id":' + b"1" * 5000 + b"}", ":1", "not JSON: Exceeds the limit"),
        ("x.json", b'[{"id":1},\n{"id":2}', ":2", "not JSON: Expecting ',' delimiter"),
        ("x.json", b'{"id":1}\n{"id":2}', ":2", "each line is a separate object, the format is jsonl"),
        ("x.json", b"5", "", "the document is a int, not an array of objects"),
    ],
)
def test_text_that_is_not_json(tmp_path: Path, name: str, content: bytes, position: str, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = first_error(path)
    assert error.position == f"{path}{position}"
    assert reason in str(error)


def test_integers_stay_exact_bom_and_crlf_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id":9007199254740993}\r\n{"id":18446744073709551617}\r\n \r\n')
    assert [row.entity for row in iter_files(find_files(path))] == [
        {"id": 9007199254740993},
        {"id": 18446744073709551617},
    ]


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    for name, content in (
        ("a.json", ""),
        ("b.json", "[]"),
        ("c.jsonl", "\n"),
        ("d.json", "\ufeff"),
        ("e.jsonl", "\ufeff\n"),
    ):
        (tmp_path / name).write_text(content)
    assert list(iter_files(find_files(tmp_path))) == []


def test_spark_s_folders_are_read_also_among_files(tmp_path: Path) -> None:
    names = ["a.jsonl", "b.jsonl/part-0.jsonl", "b.jsonl/part-1.jsonl", "c/d.jsonl"]
    for name in (*names, "b.jsonl/_SUCCESS", "b.jsonl/.part-0.jsonl.crc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for source in (tmp_path, f"{tmp_path}/*.jsonl"):
        assert [file.name for file in find_files(source)] == [f"{tmp_path}/{name}" for name in names[:3]]
    (tmp_path / "e.jsonl").symlink_to("nowhere")
    for source in (tmp_path, f"{tmp_path}/*.jsonl"):
        with pytest.raises(SourceUnavailableError, match=r"e\.jsonl: cannot be read: FileNotFoundError"):
            find_files(source)


def test_names_that_fsspec_would_take_apart(tmp_path: Path) -> None:
    (tmp_path / "a::b.jsonl").write_text('{"id": 1}')
    assert [row.entity for row in iter_files(find_files(tmp_path))] == [{"id": 1}]


class Remote(PurePosixPath):
    """A path on some storage, as Airflow's are."""

    def is_file(self) -> bool:
        if "down" in self.name:
            raise ConnectionError("no answer from hunter")
        return True

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://")

    @property
    def fs(self) -> Any:
        return self

    @property
    def path(self) -> str:
        return str(self)

    def invalidate_cache(self) -> None:
        pass

    def info(self, path: str) -> dict[str, Any]:
        return {"size": 1, "ETag": '"1"'}


def test_remote_files() -> None:
    def find(*uris: str) -> list[File]:
        return files_module.find_files(uris, Remote)

    found = find("s3://prod@bucket/x.jsonl", "s3://staging@bucket/x.jsonl", "s3://prod@bucket/x.jsonl")
    assert [str(file.path) for file in found] == ["s3://prod@bucket/x.jsonl", "s3://staging@bucket/x.jsonl"]
    assert {file.name for file in found} == {"s3://bucket/x.jsonl"}
    with pytest.raises(SourceUnavailableError, match=r"^s3://bucket/down.jsonl: cannot be read: ConnectionError: no"):
        find("s3://prod@bucket/down.jsonl")
