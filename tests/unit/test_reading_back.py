"""Rows that are read back, to compare them or to verify a sample, where something goes wrong."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest import checkpoint as checkpoint_module
from airflow_provider_milvus_rest.ingest import compare as compare_module
from airflow_provider_milvus_rest.ingest import run as run_module
from airflow_provider_milvus_rest.ingest.checkpoint import Checkpoint
from airflow_provider_milvus_rest.ingest.report import CompareReport, IngestReport
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import FileRows
from tests.entities import entity
from tests.runs import State, await_end_of_threads
from tests.servers import DESCRIBE, GET, UPSERT, Reply, Request, ScriptedServer, accept

NOTHING = Reply({"code": 200, "data": []})


def as_sent(**changes: Any) -> Any:
    """Answers with the rows of the keys asked for, as ``entity`` makes them, but for the changes."""
    return lambda request: Reply({"code": 200, "data": [entity(key) | changes for key in request.json["id"]]})


@pytest.fixture
def hook(server_connection: None, monkeypatch: pytest.MonkeyPatch) -> MilvusRestHook:
    for module in (compare_module, run_module, checkpoint_module):
        monkeypatch.setattr(module, "STALE_SECONDS", 0)
    return MilvusRestHook()


@pytest.mark.parametrize(
    ("code", "error"), [(800, e.NotFoundError), (1800, e.NotAuthenticatedError), (1, e.NotReadyError)]
)
def test_what_a_comparison_fails_with_is_what_the_server_said(
    server: ScriptedServer, hook: MilvusRestHook, code: int, error: type[Exception]
) -> None:
    server.script(GET, Reply({"code": code, "message": "why"}))
    report = CompareReport()
    with pytest.raises(error, match=r"why.* The request contained \[0\] to \[2\]"):
        hook.compare("docs", [entity(key) for key in range(3)], report=report, retry_budget=0)
    assert (report.read_count, report.unconfirmed_count) == (3, 3)


def test_a_key_of_a_class_that_cannot_be_pickled(server: ScriptedServer, hook: MilvusRestHook) -> None:
    class Key(str):
        pass

    fields = [{"name": "id", "type": "VarChar(64)", "primaryKey": True}, {"name": "vector", "type": "FloatVector(4)"}]
    described = {"collectionName": "docs", "fields": fields, "load": "LoadStateLoaded"}
    server.script(DESCRIBE, Reply({"code": 200, "data": described}))
    server.script("/v1/vector/query", NOTHING)
    report = hook.compare("docs", [{"id": Key("a"), "vector": [0.5] * 4}], on_difference="report")
    assert report.missing_count == 1


def test_a_comparison_that_is_too_large_is_halved(server: ScriptedServer, hook: MilvusRestHook) -> None:
    def limited(request: Request) -> Reply:
        return Reply("too large", 413) if len(request.json["id"]) > 2 else as_sent()(request)

    server.script(GET, as_sent(), limited)
    rows = [entity(key) for key in range(9)]
    assert hook.compare("docs", rows, batch_size=4, concurrency=1).equal_count == 9


def test_a_comparison_whose_answer_is_too_large_is_halved(
    server: ScriptedServer, hook: MilvusRestHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_milvus_rest.rest.transport.MAX_ANSWER_BYTES", 500)
    server.script(GET, as_sent())
    report = hook.compare("docs", [entity(key) for key in range(40)], batch_size=20, retry_budget=0)
    assert report.equal_count == 40


def test_a_milvus_that_was_restarted_has_time_to_load_the_collection(
    server: ScriptedServer, hook: MilvusRestHook
) -> None:
    """It takes writes before; describe says that it is loaded."""
    rows, not_loaded = [entity(key) for key in range(4)], Reply({"code": 101, "message": "collection not loaded"})
    server.script(GET, not_loaded, not_loaded, as_sent())
    assert hook.ingest("docs", rows, verify_sample=4).verified_count == 4
    server.script(GET, not_loaded, not_loaded, as_sent())
    assert hook.compare("docs", rows).equal_count == 4


def test_a_comparison_does_not_wait_for_what_may_be_answered_late(server: ScriptedServer, hook: MilvusRestHook) -> None:
    server.script(GET, Reply("timeout", 408), as_sent())
    begin = time.monotonic()
    assert hook.compare("docs", [entity(key) for key in (1, 2, 1, 3)], batch_size=2).equal_count == 4
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("how", ["no folder", "no room"])
def test_rows_that_differ_need_a_temporary_file(
    server: ScriptedServer, hook: MilvusRestHook, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(compare_module, "_SPOOLED_BYTES", 1)
    if how == "no folder":
        monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    else:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda *_, **__: open("/dev/full", "w+b"))  # noqa: SIM115
    server.script(GET, NOTHING)
    report = CompareReport()
    rows = [entity(key) for key in range(300)]
    with pytest.raises(e.SourceUnavailableError, match=r"temporary file until they are read again: .*set TMPDIR"):
        hook.compare("docs", rows, on_difference="report", report=report)
    assert report.unconfirmed_count == 300


@pytest.mark.parametrize("how", ["ingest", "compare"])
def test_an_error_does_not_name_a_file_that_could_not_be_written(
    server: ScriptedServer, hook: MilvusRestHook, tmp_path: Path, how: str
) -> None:
    class Stream(io.BytesIO):
        def close(self) -> None:
            raise OSError("the bucket is gone")

    class Remote(type(tmp_path)):  # type: ignore[misc]
        def open(self, *_: Any) -> Any:
            return Stream()

    server.script(GET, NOTHING)
    rows, file, why = (
        [entity("x"), entity(1)],
        Remote(tmp_path / "rows.jsonl"),
        "be written: OSError: the bucket is gone",
    )
    if how == "ingest":
        with pytest.raises(e.RowsRejectedError, match=why) as caught:
            hook.ingest("docs", rows, on_reject="skip", max_rejects=0, rejects_file=file)
    else:
        with pytest.raises(e.RowsDifferError, match=why) as caught:  # type: ignore[assignment]
            hook.compare("docs", rows, differences_file=file)
    assert "They are in" not in str(caught.value)


def test_a_thread_that_reads_back_ends_with_the_run(server: ScriptedServer, hook: MilvusRestHook) -> None:
    server.script(GET, Reply(before=lambda: time.sleep(4)))
    threading.Timer(0.5, hook.stop).start()
    with pytest.raises(e.StoppedError):
        hook.ingest("docs", [entity(1)], verify_sample=1)
    await_end_of_threads("milvus-rest-call", 3)


def test_the_sum_holds_if_differences_cannot_be_written(
    server: ScriptedServer, hook: MilvusRestHook, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    server.script(GET, NOTHING)
    report = CompareReport()
    with pytest.raises(e.InputError, match="differences_path"):
        hook.compare(
            "docs", [entity(key) for key in range(10)], report=report, differences_file=tmp_path / "file" / "x"
        )
    report.check()
    assert report.unconfirmed_count > 0


def test_a_value_that_cannot_be_pickled_is_as_good_as_another(
    server: ScriptedServer, hook: MilvusRestHook, tmp_path: Path
) -> None:
    server.script(GET, NOTHING)
    rows = [entity(key) | {"lock": threading.Lock()} for key in range(3)]
    report = hook.compare(
        *("docs", rows),
        field_map={"lock": None, "a.b": None},
        on_difference="report",
        differences_file=tmp_path / "differences.jsonl",
    )
    assert report.missing_count == 3
    lines = [json.loads(line) for line in (tmp_path / "differences.jsonl").read_text().splitlines()]
    assert [(line["id"], line["$reject"]["altered"]) for line in lines] == [(key, ["lock"]) for key in range(3)]


def test_a_generator_may_use_one_dict_again(server: ScriptedServer, hook: MilvusRestHook, tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        row: dict[str, Any] = {}
        for key in range(4):
            row |= entity(key)
            yield row

    server.script(GET, NOTHING)
    file = tmp_path / "differences.jsonl"
    hook.compare("docs", rows(), convert={"text": "str"}, on_difference="report", differences_file=file)
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]


@pytest.mark.parametrize("vector", ["abc", {}, None, [0.5, None, "x", 1], [1]])
def test_whatever_is_stored_differs(server: ScriptedServer, hook: MilvusRestHook, vector: Any) -> None:
    server.script(GET, as_sent(vector=vector))
    assert hook.compare("docs", [entity(1)], on_difference="report").different_count == 1


def test_a_retry_does_not_skip_rows_that_were_not_verified(server: ScriptedServer, hook: MilvusRestHook) -> None:
    state, rows = State(), [entity(key) for key in range(100)]
    for _ in range(2):  # if the second one resumed, its sample would be empty, and it would be green
        server.script(GET, as_sent(text="other"))
        checkpoint = Checkpoint(state, "source", lambda _: None)
        with pytest.raises(e.RowsDifferError):
            hook.ingest("docs", rows, verify_sample=50, checkpoint=checkpoint, batch_size=10)
        assert not state


def test_keys_that_cannot_be_read_are_not_in_the_sample(server: ScriptedServer, hook: MilvusRestHook) -> None:
    server.script(GET, as_sent())
    keys = [-(2**63), -5, 2**63 - 1]
    assert hook.ingest("docs", [entity(key) for key in keys], verify_sample=10).verified_count == 1


def test_rows_are_read_back_in_responses_of_limited_size(
    server: ScriptedServer, hook: MilvusRestHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_READ_BYTES", 300)
    server.script(GET, as_sent())
    assert hook.ingest("docs", [entity(key) for key in range(20)], verify_sample=20).verified_count == 20
    asked = [len(request.json["id"]) for request in server.requests if request.path == GET]
    assert sum(asked) == 20
    assert max(asked) < 10


def test_a_thread_that_cannot_start_loses_no_row(
    server: ScriptedServer, hook: MilvusRestHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(thread: threading.Thread) -> None:
        started.append(thread.name)
        if thread.name.endswith("lane-1"):
            raise RuntimeError("can't start new thread")
        begin(thread)

    def refuse_one(request: Request) -> Reply:
        bad = any(row["text"] == "bad" for row in request.json["data"])
        return Reply({"code": 1100, "message": "bad"}) if bad else accept(request)

    begin = threading.Thread.start
    server.script(UPSERT, refuse_one)
    report = IngestReport()
    rows = [entity(key) | ({"text": "bad"} if key == 0 else {}) for key in range(10)]
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        hook.ingest("docs", rows, report=report)
    monkeypatch.undo()
    report.check()
    assert any(name.endswith("lane-1") for name in started)


def test_a_report_adds_up_over_runs(server: ScriptedServer, hook: MilvusRestHook) -> None:
    server.script(UPSERT, Reply({"code": 1, "message": "no"}), accept)
    report = IngestReport()
    with pytest.raises(e.NotReadyError):
        hook.ingest("docs", [entity(1)], report=report, retry_budget=0)
    hook.ingest("docs", [entity(1)], report=report)
    assert (report.read_count, report.upsert_count, report.unconfirmed_count) == (2, 1, 1)


def test_a_report_with_counts_does_not_move_where_a_try_resumes(server: ScriptedServer, hook: MilvusRestHook) -> None:
    report = hook.ingest("docs", [entity(1)])
    with pytest.raises(e.InputError, match="with checkpoint, pass a new report"):
        hook.ingest("docs", [entity(2)], report=report, checkpoint=Checkpoint(State(), "source", lambda _: None))
    assert report.read_count == 1


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("ingest", {"report": CompareReport()}, "report must be of the class IngestReport, not CompareReport"),
        ("compare", {"report": IngestReport()}, "report must be of the class CompareReport, not IngestReport"),
        ("ingest", {"report": 5}, "report must be of the class IngestReport, not int"),
        ("ingest", {"on_reject": "skip", "rejects_file": "x"}, "must be a pathlib.Path or ObjectStoragePath, not str"),
        ("ingest", {"on_reject": "skip"}, "requires rejects_path .the hook's rejects_file."),
        ("compare", {"differences_file": "x"}, "must be a pathlib.Path or ObjectStoragePath, not str"),
    ],
)
def test_arguments_of_the_hook(hook: MilvusRestHook, method: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(e.InputError, match=message):
        getattr(hook, method)("docs", [entity(1)], **arguments)


def test_the_source_is_not_overwritten(
    server: ScriptedServer, hook: MilvusRestHook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "x"}\n')
    monkeypatch.chdir(tmp_path)
    for source, name in ((file, "rows.jsonl"), (tmp_path, "rejects.jsonl"), (f"{tmp_path}/*.j*", "rejects.jsonl")):
        with pytest.raises(e.InputError, match=rf"^{name} would be read as a part of the source, now or by the next"):
            hook.ingest("docs", FileRows(find_files(str(source))), on_reject="skip", rejects_file=Path(name))
    for source, name in ((f"{tmp_path}/*s.jsonl", "rejected.jsonl"), (tmp_path, "rejects/rejects.jsonl")):
        report = hook.ingest("docs", FileRows(find_files(source)), on_reject="skip", rejects_file=Path(name))
        assert report.rejected_count == 1
        (tmp_path / name).unlink()
    assert file.read_text() == '{"id": "x"}\n'


def test_a_check_neither_resumes_nor_forgets(server: ScriptedServer, hook: MilvusRestHook) -> None:
    state, rows = State(), [entity(key) for key in range(9)]
    server.script(UPSERT, accept, Reply({"code": 800, "message": "gone"}))
    checkpoint = Checkpoint(state, "source", lambda _: None)
    with pytest.raises(e.NotFoundError):
        hook.ingest("docs", rows, batch_size=2, concurrency=1, checkpoint=checkpoint)
    saved = dict(state)
    report = hook.ingest("docs", rows, check_only=True, checkpoint=Checkpoint(state, "source", lambda _: None))
    assert report.valid_count == 9
    assert state == saved != {}


def test_a_source_need_not_know_its_length(server: ScriptedServer, hook: MilvusRestHook) -> None:
    class Loader:
        def __len__(self) -> int:
            raise TypeError("a stream has no length")

        def __iter__(self) -> Iterator[dict[str, Any]]:
            yield entity(1)

    assert hook.ingest("docs", Loader()).upsert_count == 1
