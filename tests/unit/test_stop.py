"""What ends a run before its time: signals, timeouts, on_kill. And what the next try goes on from."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.ingest.checkpoint import KEY
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from airflow_provider_milvus_rest.rows.readers import FileRows
from tests.entities import entity
from tests.runs import State
from tests.servers import DESCRIBE, UPSERT, Reply, Request, ScriptedServer, accept, described

OUTPUTS = ("read_count", "upsert_count", "duplicate_count", "rejected_count", "unconfirmed_count")


class Instance:
    """As much of a task instance as the operator uses."""

    dag_id, run_id, task_id, map_index = "dag", "run", "task", -1

    def __init__(self, try_number: int = 1, max_tries: int = 3, clear_number: int = 0) -> None:
        self.try_number, self.max_tries = try_number, max_tries
        self.dag_run = SimpleNamespace(clear_number=clear_number)
        self.pushed: dict[str, Any] = {}
        self.pushed_at = 0.0

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value
        self.pushed_at = time.monotonic()


@pytest.fixture
def upsert(server_connection: None) -> Callable[..., MilvusRestUpsertOperator]:
    def make(**arguments: Any) -> MilvusRestUpsertOperator:
        defaults = {"collection_name": "docs", "batch_size": 2, "retries": 3}
        return MilvusRestUpsertOperator(task_id="upsert", **defaults | arguments)

    return make


class AirflowTaskTimeout(BaseException):
    """As Airflow 2.11 and 3 raise it: no Exception."""


def lanes() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("milvus-rest-lane")]


@pytest.mark.parametrize("how", ["on_kill", "raise"])
def test_a_signal_ends_it_and_the_outputs_are_there(
    server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator], how: str
) -> None:
    """Two requests are answered, the others never. Airflow 3.3 calls on_kill, 2.11 also raises."""
    release = threading.Event()
    stalling = Reply({"code": 200}, before=lambda: release.wait(30))
    server.script(UPSERT, accept, accept, stalling)
    operator, ti, store = upsert(entities=[entity(key) for key in range(1000)]), Instance(), State()
    sent = 0.0

    def handler(*_: Any) -> None:
        nonlocal sent
        sent = time.monotonic()
        operator.on_kill()
        if how == "raise":
            raise AirflowTaskTimeout

    before = signal.signal(signal.SIGTERM, handler)
    timer = threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        with pytest.raises(e.StoppedError if how == "on_kill" else AirflowTaskTimeout):
            operator.execute({"ti": ti, "task_state_store": store})
        ended = time.monotonic()
    finally:
        signal.signal(signal.SIGTERM, before)
        release.set()
    assert ti.pushed_at - sent < 3
    assert ended - sent < 3
    assert lanes() == []
    read, *others = (ti.pushed[name] for name in OUTPUTS)
    assert read == sum(others)
    assert (ti.pushed["upsert_count"], ti.pushed["unconfirmed_count"]) == (4, read - 4)
    assert read < 50
    # Those at the beginning, of the four that were answered; and none that were not.
    assert store.get(KEY, {"read_count": 0})["read_count"] in (0, 2, 4)


def test_stopped_before_it_has_begun(server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator]) -> None:
    operator, ti = upsert(entities=[entity(1)]), Instance()
    operator.on_kill()
    with pytest.raises(e.StoppedError):
        operator.execute({"ti": ti})
    assert server.requests == []
    assert ti.pushed["read_count"] == 0


def test_stopped_while_it_looks_for_files(
    server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(entity(1)))
    operator, ti = upsert(files="set below"), Instance()
    operator.files = watched(path, lambda _: operator.on_kill())
    with pytest.raises(e.StoppedError):
        operator.execute({"ti": ti})
    assert server.requests == []
    assert ti.pushed["read_count"] == 0


def test_stopped_while_it_waits_to_send_again(
    server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator]
) -> None:
    server.script(UPSERT, Reply("busy", 429, {"Retry-After": "60"}))
    operator = upsert(entities=[entity(1)])
    threading.Timer(0.5, operator.on_kill).start()
    begin = time.monotonic()
    with pytest.raises(e.StoppedError):
        operator.execute({})
    assert time.monotonic() - begin < 3
    assert lanes() == []


def test_stopped_while_the_collection_is_described(
    server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator]
) -> None:
    server.script(DESCRIBE, Reply(before=lambda: time.sleep(8)))
    operator = upsert(entities=[entity(1)])
    threading.Timer(0.5, operator.on_kill).start()
    begin = time.monotonic()
    with pytest.raises(e.StoppedError):
        operator.execute({})
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize("tls", [False, True])
def test_stopped_while_it_connects(tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a server that accepts nothing more, or does not answer to the beginning of TLS."""
    with socket.create_server(("127.0.0.1", 0), backlog=1 if tls else 0) as server, ExitStack() as clients:
        address = server.getsockname()
        for _ in range(0 if tls else 2):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        connection = {"conn_type": "milvus_rest", "host": f"{'https' if tls else 'http'}://127.0.0.1:{address[1]}"}
        monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", json.dumps(connection))
        operator, ti = MilvusRestUpsertOperator(task_id="upsert", collection_name="docs", entities=[]), Instance()
        threading.Timer(0.5, operator.on_kill).start()
        begin = time.monotonic()
        with pytest.raises(e.StoppedError):
            operator.execute({"ti": ti})
        assert time.monotonic() - begin < 3
        assert ti.pushed["read_count"] == 0


@pytest.mark.parametrize("calls", [("stop", "close"), ("close", "stop")])
def test_stopped_with_two_runs_at_a_time(
    server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator], calls: tuple[str, str]
) -> None:
    server.script(UPSERT, Reply("busy", 429, {"Retry-After": "60"}))
    hook, stopped = upsert(entities=[]).hook, []

    def run() -> None:
        try:
            hook.ingest("docs", [entity(1)])
        except e.StoppedError:
            stopped.append(True)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    for call in calls:  # close lets a later run begin, and not these go on
        getattr(hook, call)()
    for thread in threads:
        thread.join(3)
    assert stopped == [True, True]


def test_a_kill_before_rendering_does_not_make_a_hook(upsert: Callable[..., MilvusRestUpsertOperator]) -> None:
    operator = upsert(entities=[entity(1)], milvus_rest_conn_id="{{ name }}")
    operator.on_kill()
    operator.render_template_fields({"name": "milvus_rest_default"})
    with pytest.raises(e.StoppedError):
        operator.execute({})


@pytest.fixture
def waiting(server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator]) -> Iterator[Any]:
    """An operator of which one request fails, while two others are not answered before the test has ended."""
    release = threading.Event()
    stalling = Reply(before=lambda: release.wait(20))
    server.script(UPSERT, stalling, stalling, Reply({"code": 800, "message": "gone"}))
    yield upsert(entities=[entity(key) for key in range(20)])
    release.set()


def test_a_timeout_while_a_failed_run_waits_for_the_others(waiting: MilvusRestUpsertOperator) -> None:
    ti = Instance()

    def handler(*_: Any) -> None:
        raise AirflowTaskTimeout

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(AirflowTaskTimeout):
            waiting.execute({"ti": ti})
    finally:
        signal.signal(signal.SIGALRM, before)
    assert lanes() == []
    read, *others = (ti.pushed[name] for name in OUTPUTS)
    assert others == [0, 0, 0, read]
    assert read > 0


def test_stopped_while_a_failed_run_waits_for_the_others(waiting: MilvusRestUpsertOperator) -> None:
    ti = Instance()
    threading.Timer(1, waiting.on_kill).start()
    begin = time.monotonic()
    with pytest.raises(e.MilvusRestError):
        waiting.execute({"ti": ti})
    assert time.monotonic() - begin < 4
    assert lanes() == []
    read, *others = (ti.pushed[name] for name in OUTPUTS)
    assert read == sum(others)


def test_a_thread_that_cannot_start_is_an_error(
    upsert: Callable[..., MilvusRestUpsertOperator], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unstartable(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    operator, ti = upsert(entities=[entity(1)]), Instance()
    few = SimpleNamespace(Thread=Unstartable, Lock=threading.Lock)
    monkeypatch.setattr("airflow_provider_milvus_rest.ingest.lanes.threading", few)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        operator.execute({"ti": ti})
    assert ti.pushed["unconfirmed_count"] == 1


def refusing_after(count: int) -> Any:
    """Takes that many requests, then none."""
    left = [count]

    def answer(request: Request) -> Reply:
        left[0] -= 1
        return accept(request) if left[0] >= 0 else Reply({"code": 800, "message": "gone"})

    return answer


def sent_keys(server: ScriptedServer) -> list[int]:
    return [row["id"] for request in server.sent_to(UPSERT) for row in request.json["data"]]


@pytest.fixture
def fail_then(
    server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator]
) -> Callable[..., tuple[dict[str, Any], list[int], State]]:
    """Run with a server that fails after three requests of two rows, then again with others; the second's outputs."""

    def run(
        first: dict[str, Any], second: dict[str, Any], *instances: Instance
    ) -> tuple[dict[str, Any], list[int], State]:
        store = State()
        contexts = [
            {"task_state_store": store, "ti": ti, "dag_run": ti.dag_run}
            for ti in instances or (Instance(), Instance(2))
        ]
        server.script(UPSERT, refusing_after(3))
        with pytest.raises(e.NotFoundError):
            upsert(**{"concurrency": 1} | first).execute(contexts[0])
        server.script(UPSERT, accept)
        server.requests.clear()
        outputs = upsert(**{"concurrency": 1} | second).execute(contexts[1])
        return outputs, sent_keys(server), store

    return run


Runner = Callable[..., tuple[dict[str, Any], list[int], State]]


def counts(outputs: dict[str, Any]) -> list[int]:
    return [outputs[name] for name in ("read_count", "upsert_count", "duplicate_count", "resumed_count")]


def test_a_retry_goes_on_with_a_list(fail_then: Runner) -> None:
    rows = [entity(key) for key in range(10)]
    outputs, keys, store = fail_then({"entities": rows}, {"entities": [dict(row) for row in rows]})
    assert keys == [6, 7, 8, 9]
    assert counts(outputs) == [10, 10, 0, 6]
    assert KEY not in store


def test_a_retry_goes_on_with_files(fail_then: Runner, tmp_path: Path) -> None:
    for part in range(2):
        rows = [entity(key) for key in range(part * 5, part * 5 + 5)]
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs, keys, _ = fail_then({"files": tmp_path}, {"files": tmp_path})
    assert keys == [6, 7, 8, 9]
    assert counts(outputs) == [10, 10, 0, 6]


def test_duplicates_count_over_tries(fail_then: Runner) -> None:
    rows = [entity(key) for key in (0, 0, 1, 2, 3, 4, 5, 6, 7, 7)]
    outputs, keys, _ = fail_then({"entities": rows}, {"entities": rows})
    assert keys == [5, 6, 7]  # the three requests before held 0 (and the 0 before it), 1 and 2, 3 and 4
    assert counts(outputs) == [10, 8, 2, 5]


def test_a_retry_begins_at_the_first_rejected_row(fail_then: Runner, tmp_path: Path) -> None:
    rows: list[Any] = [entity(key) for key in range(12)]
    rows[2]["id"] = "x"
    skip = {"entities": rows, "on_reject": "skip", "rejects_path": str(tmp_path)}
    outputs, keys, _ = fail_then(skip, skip)
    assert keys == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]  # the first request went off after the reject was known
    assert counts(outputs) == [12, 11, 0, 0]
    assert outputs["rejected_count"] == 1
    assert json.loads(Path(outputs["rejects_path"]).read_text())["$reject"]["position"] == "[2]"


CHANGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "a row": lambda _: {"entities": [entity(key) for key in (*range(9), 99)]},
    "field_map": lambda _: {"field_map": {"debug": None}},
    "collection": lambda _: {"collection_name": "other"},
    "database": lambda _: {"db_name": "other"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_starts_over(
    fail_then: Runner, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = {"entities": [entity(key) for key in range(10)]}
    outputs, keys, _ = fail_then(first, first | CHANGES[change](tmp_path))
    assert len(keys) == 10
    assert outputs["resumed_count"] == 0


def test_a_changed_file_starts_over(fail_then: Runner, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    lines = "".join(json.dumps(entity(key)) + "\n" for key in range(10))
    path.write_text(lines)
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 1))
    store_outputs = fail_then({"files": str(path)}, {"files": watched(path, os.utime)})
    assert store_outputs[0]["resumed_count"] == 0
    assert len(store_outputs[1]) == 10


def watched(path: Path, seen: Callable[[Path], Any]) -> Any:
    """The path, which calls ``seen`` when the file is looked for."""

    class Watched(type(path)):  # type: ignore[misc]
        def is_file(self) -> bool:
            seen(self)
            return True

    return Watched(path)


def test_a_schema_that_has_changed_starts_over(server: ScriptedServer, fail_then: Runner) -> None:
    server.script(DESCRIBE, described(), described("VarChar"), described("VarChar"))
    rows = [entity(key) for key in range(10)]
    with pytest.raises(e.RowsRejectedError, match="must be a str"):
        fail_then({"entities": rows}, {"entities": rows})


@pytest.mark.parametrize(
    ("first", "second", "resumes"),
    [
        (Instance(), Instance(try_number=2), True),
        (Instance(), Instance(try_number=2, max_tries=4), False),  # cleared
        (Instance(), Instance(try_number=2, clear_number=1), False),  # cleared while it ran
    ],
)
def test_only_airflow_s_own_retry_resumes(
    fail_then: Runner, first: Instance, second: Instance, resumes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [entity(key) for key in range(10)]
    outputs, keys, _ = fail_then({"entities": rows}, {"entities": rows}, first, second)
    assert outputs["resumed_count"] == (6 if resumes else 0)
    assert len(keys) == (4 if resumes else 10)
    log = "".join(capsys.readouterr())
    assert ("Resuming after 6 rows" in log) == resumes
    assert ("Starting over: the input, the collection or the settings have changed" in log) != resumes


def test_no_checkpoint_without_retries_and_with_resume_off(fail_then: Runner) -> None:
    rows = [entity(key) for key in range(10)]
    for off in ({"retries": 0}, {"resume": False}):
        store = fail_then({"entities": rows} | off, {"entities": rows})[2]
        assert not store
        outputs, keys, _ = fail_then({"entities": rows}, {"entities": rows} | off)
        assert (outputs["resumed_count"], len(keys)) == (0, 10)


def test_a_storage_that_fails_while_files_are_compared_is_no_failure(
    upsert: Callable[..., MilvusRestUpsertOperator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("no etag")

    (tmp_path / "a.jsonl").write_text(json.dumps(entity(1)))
    monkeypatch.setattr(FileRows, "fingerprint", fail)
    outputs = upsert(files=str(tmp_path)).execute({"task_state_store": State(), "ti": Instance()})
    assert outputs["upsert_count"] == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"return_ids": True}, "return_ids needs the keys of all rows"),
        ({"entities": (entity(key) for key in range(3))}, "this source cannot be checked for changes"),
        ({"entities": [entity(2**70)]}, "this source cannot be checked for changes"),
    ],
)
def test_why_a_retry_would_start_over(
    upsert: Callable[..., MilvusRestUpsertOperator],
    arguments: dict[str, Any],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = State()
    with suppress(e.RowsRejectedError):
        upsert(**{"entities": [entity(1)]} | arguments).execute({"task_state_store": store, "ti": Instance()})
    assert f"A retry would start over: {reason}" in "".join(capsys.readouterr())
    assert not store


def test_before_airflow_3_3(
    upsert: Callable[..., MilvusRestUpsertOperator], capsys: pytest.CaptureFixture[str]
) -> None:
    upsert(entities=[entity(1)]).execute({"ti": Instance()})
    assert "this version of Airflow keeps no state between tries" in "".join(capsys.readouterr())


@pytest.mark.parametrize("broken", ["get", "set", "delete"])
def test_a_store_that_does_not_work_is_no_failure(
    upsert: Callable[..., MilvusRestUpsertOperator],
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no database")

    monkeypatch.setattr(State, broken, fail)
    outputs = upsert(entities=[entity(key) for key in range(5)]).execute(
        {"task_state_store": State(), "ti": Instance()}
    )
    assert outputs["upsert_count"] == 5
    assert "Cannot use the task state store, so a retry may start over: no database" in "".join(capsys.readouterr())


@pytest.fixture(autouse=True)
def save_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_milvus_rest.ingest.checkpoint._SECONDS", 0)


REFUSED = Reply({"code": 1804, "message": "fail to deal the insert data, error: the row is negative"})


def refusing(keys: Callable[[int], bool], gone: Callable[[int], bool] = lambda _: False) -> Any:
    """Refuses requests that have such a key; and is gone for those that have one of the others."""

    def answer(request: Request) -> Reply:
        sent = [row["id"] for row in request.json["data"]]
        if any(map(gone, sent)):
            return Reply({"code": 800, "message": "gone"})
        return REFUSED if any(map(keys, sent)) else accept(request)

    return answer


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("resumed", [False, True])
def test_60_refused_rows_and_2940_others(
    server: ScriptedServer,
    upsert: Callable[..., MilvusRestUpsertOperator],
    tmp_path: Path,
    concurrency: int,
    resumed: bool,
) -> None:
    """At the beginning of what a try sends, be it the first one or one that resumes just before them."""
    first = 500 if resumed else 0
    arguments = {"entities": [entity(key) for key in range(3000)], "batch_size": 100, "concurrency": concurrency}
    arguments |= {"on_reject": "skip", "rejects_path": str(tmp_path)}
    store, ti = State(), Instance(try_number=2)

    def bad(key: int) -> bool:
        return first <= key < first + 60

    if resumed:
        server.script(UPSERT, refusing(bad, gone=lambda key: key >= 700))
        with pytest.raises(e.NotFoundError):
            upsert(**arguments).execute({"ti": Instance(), "task_state_store": store})
    server.script(UPSERT, refusing(bad))
    outputs = upsert(**arguments).execute({"ti": ti, "task_state_store": store})
    assert (outputs["read_count"], outputs["upsert_count"], outputs["rejected_count"]) == (3000, 2940, 60)
    assert outputs["resumed_count"] == first
    lines = Path(outputs["rejects_path"]).read_text().splitlines()
    named = [json.loads(line)["$reject"]["position"] for line in lines]
    assert sorted(named) == sorted(f"[{key}]" for key in range(first, first + 60))


@pytest.mark.parametrize("count", [2, 40, 3000, 100_000])
def test_a_server_that_refuses_everything(
    server: ScriptedServer, upsert: Callable[..., MilvusRestUpsertOperator], tmp_path: Path, count: int
) -> None:
    server.script(UPSERT, REFUSED)
    rows, ti = [entity(key) for key in range(count)], Instance()
    operator = upsert(entities=rows, batch_size=100, on_reject="skip", rejects_path=str(tmp_path))
    with pytest.raises(e.DataRefusedError, match="Milvus accepted none"):
        operator.execute({"ti": ti})
    assert len(server.sent_to(UPSERT)) < 60
    assert ti.pushed["read_count"] == ti.pushed["unconfirmed_count"] > 0
