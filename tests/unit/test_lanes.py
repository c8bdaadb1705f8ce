"""Several requests at a time: order per key, limits, and true sums."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.ingest import report as report_module
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.lanes import Lanes, Outcome, Part, Sent
from airflow_provider_milvus_rest.ingest.report import IngestReport, Progress
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.ingest.run import Ingest
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from airflow_provider_milvus_rest.rows.readers import Entities
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from tests import runs

SCHEMA = CollectionSchema(
    name="docs",
    fields_=(
        FieldSchema(name="id", type="Int64", primary_key=True),
        FieldSchema(name="vector", type="FloatVector", size=2),
        FieldSchema(name="n", type="Int64"),
    ),
)


class Store:
    """Stands for a client: stores rows after a while, refuses negative ``n``, and watches what comes side by side."""

    def __init__(self, delay: Callable[[], float] = lambda: 0.0, max_rows: int | None = None) -> None:
        self.rows: dict[int, int] = {}
        self.keys_in_flight: list[int] = []
        self.most_at_once = self.at_once = self.too_large = 0
        self.lock = threading.Lock()
        self.delay = delay
        self.max_rows = max_rows

    settings = SimpleNamespace(read_timeout=60)

    def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
        rows = [json.loads(text) for text in request.data]
        assert keys == [row["id"] for row in rows]
        with self.lock:
            assert len({*keys, *self.keys_in_flight}) == len(keys) + len(self.keys_in_flight), "a key twice in flight"
            self.keys_in_flight += keys
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.delay())
            if self.max_rows and len(rows) > self.max_rows:
                self.too_large += 1
                raise e.RequestTooLargeError("too large")
            if any(row["n"] < 0 for row in rows):
                raise e.DataRefusedError("negative", code=1100)
            self.rows |= {row["id"]: row["n"] for row in rows}
        finally:
            with self.lock:
                self.at_once -= 1
                for key in keys:
                    self.keys_in_flight.remove(key)
        return UpsertResult(upsert_count=len(rows), upsert_ids=keys)

    def stored_keys(self, schema: CollectionSchema, keys: list[int], partition_name: str | None) -> set[int]:
        return set(keys) & self.rows.keys()


def entities(rows: Any) -> Iterator[dict[str, Any]]:
    for key, n in rows:
        yield {"id": key, "vector": [0.5, 0.5], "n": n}


def run(
    store: Any, rows: Any, rejects: Path | None = None, report: IngestReport | None = None, **options: Any
) -> IngestReport:
    try:
        return runs.ingest(store, SCHEMA, Entities(entities(rows)), rejects=rejects, report=report, **options)
    finally:
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("milvus-rest-lane")]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 20), st.integers(-1, 9)), max_size=60),
    batch_size=st.integers(1, 6),
    concurrency=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_the_last_good_row_of_a_key_stands(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], batch_size: int, concurrency: int, seed: int
) -> None:
    rng = random.Random(seed)
    store = Store(delay=lambda: rng.random() / 1000)
    # Without one accepted row, all of them being refused would end the run.
    rows = [(99, 1), *rows]
    rejects = tmp_path_factory.mktemp("rejects") / "rejects.jsonl"
    report = run(store, rows, rejects, batch_size=batch_size, concurrency=concurrency)
    good = [(key, n) for key, n in rows if n >= 0]
    assert store.rows == dict(good)
    assert report.unconfirmed_count == 0
    assert report.rejected_count + report.duplicate_count >= len(rows) - len(good)
    assert store.most_at_once <= concurrency


def test_requests_go_side_by_side() -> None:
    store = Store(delay=lambda: 0.05)
    start = time.monotonic()
    report = run(store, [(key, 1) for key in range(40)], batch_size=2, concurrency=4)
    assert store.most_at_once == 4
    assert report.request_count == 20
    assert time.monotonic() - start < 20 * 0.05


def test_ids_come_in_the_order_of_the_rows() -> None:
    rng = random.Random(7)
    store = Store(delay=lambda: rng.random() / 100)
    report = run(
        store, [(key, 1) for key in range(100)], report=IngestReport(upsert_ids=[]), batch_size=3, concurrency=4
    )
    assert report.upsert_ids == [*range(100)]


def test_what_was_too_large_once_is_not_tried_again() -> None:
    store = Store(max_rows=10)
    report = run(store, [(key, 1) for key in range(1000)], batch_size=40, concurrency=1)
    assert report.upsert_count == len(store.rows) == 1000
    assert store.too_large <= 7  # of the batches that were ready when it was known, and of halves while in doubt


def test_a_source_is_read_no_further_than_the_lanes_can_take() -> None:
    """Memory is that of ``concurrency`` + 1 batches."""
    release, taken = threading.Event(), 0

    class Stalling(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            release.wait()
            return super().upsert(request, keys)

    def rows() -> Iterator[tuple[int, int]]:
        nonlocal taken
        for key in range(100):
            taken += 1
            yield key, 1

    worker = threading.Thread(target=lambda: run_in_thread.append(run(Stalling(), rows(), batch_size=5, concurrency=3)))
    run_in_thread: list[IngestReport] = []
    worker.start()
    time.sleep(0.3)
    assert taken == (3 + 1) * 5 + 1
    release.set()
    worker.join()
    assert run_in_thread[0].upsert_count == 100


def test_an_error_in_one_lane_ends_the_run_and_what_was_answered_counts() -> None:
    class Failing(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            if b'"id":11' in b"".join(request.data):
                raise e.ServerError("no")
            time.sleep(0.05)
            return super().upsert(request, keys)

    store, report = Failing(), IngestReport()
    with pytest.raises(e.ServerError, match="no"):
        run(store, [(key, 1) for key in range(1000)], report=report, batch_size=5)
    report.check()
    assert report.upsert_count == len(store.rows) > 0
    assert report.unconfirmed_count == report.read_count - report.upsert_count > 0


@pytest.mark.parametrize(
    ("error", "count", "says"),
    [
        (e.ServerError("no"), 1, "no The request contained [0]."),
        (e.ServerError("no"), 3, "no The request contained [0] to [2]."),
        (e.StoppedError("stopped"), 3, "stopped"),
        (
            e.DataRefusedError("no"),
            1,
            "1 of 1 row read so far is rejected.\n[0]: is refused by the server: no",
        ),
        (RuntimeError("bug"), 3, "bug"),
    ],
)
def test_what_an_error_says_of_the_rows_that_were_sent(error: Exception, count: int, says: str) -> None:
    class Failing(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            raise error

    with pytest.raises(Exception) as caught:  # noqa: PT011
        run(Failing(), [(key, 1) for key in range(count)])
    assert str(caught.value) == says


def test_a_wrong_password_is_believed_until_one_request_was_accepted() -> None:
    """The server may answer so while its coordinator is away."""

    class Locked(Store):
        def __init__(self, *locked: bool) -> None:
            super().__init__()
            self.locked = [*locked]

        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            if self.locked.pop(0):
                raise e.NotAuthenticatedError("wrong password")
            return super().upsert(request, keys)

    rows, limits = [(1, 1), (2, 1)], {"batch_size": 1, "concurrency": 1}
    assert run(Locked(False, True, False), rows, retry=Retry(30, 1), **limits).upsert_count == 2
    with pytest.raises(e.NotAuthenticatedError):
        run(Locked(True, False, False), rows, retry=Retry(30, 1), **limits)


def test_rows_go_to_their_database_and_partition() -> None:
    asked: list[UpsertRequest] = []

    class Asked(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            asked.append(request)
            return super().upsert(request, keys)

    schema = SCHEMA.model_copy(update={"db_name": "db"})
    runs.ingest(Asked(), schema, Entities(entities([(1, 1)])), partition_name="p")
    assert [(to.db_name, to.collection_name, to.partition_name) for to in asked] == [("db", "docs", "p")]


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(report_module.time, "monotonic", lambda: now)
    report, lines = IngestReport(), list[str]()
    shares: list[float | None] = [None]
    ticker = Progress(report, lambda: shares[-1], lines.append)
    for _ in range(25):  # a second each
        now += 1
        report.read_count += 110
        report.upsert_count += 100
        report.rejected_count += 10
        shares.append(report.read_count / 11_000)
        ticker.tick()
    assert lines == [
        "read 1,100, upserted 1,000, rejected 100 rows; 100 rows/s [##..................] 10% read, about 0:01:30 left",
        "read 2,200, upserted 2,000, rejected 200 rows; 100 rows/s [####................] 20% read, about 0:01:20 left",
    ]
    for unknown in (None, 0.0, 1.5):
        now += 10
        shares.append(unknown)
        ticker.tick()
        assert lines[-1] == "read 2,750, upserted 2,500, rejected 250 rows; " + lines[-1].partition("; ")[2]
        assert "[" not in lines[-1]


def test_progress_of_a_source_that_cannot_say_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = 1000.0, "read 0, upserted 0 rows; 0 rows/s"
    monkeypatch.setattr(report_module.time, "monotonic", lambda: now)

    def fail() -> float:
        raise OSError("no size")

    for share, bar in [(fail, ""), (lambda: 1.0, f" [{'#' * 20}] 100% read, about 0:00:00 left")]:
        lines = list[str]()
        ticker = Progress(IngestReport(), share, lines.append)
        now += 10
        ticker.tick()
        assert lines == [said + bar]


def test_progress_is_logged_while_rows_are_read_and_while_answers_are_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "SECONDS", 1e-9)
    report, lines = IngestReport(), list[str]()
    progress = Progress(report, lambda: None, lines.append)
    run(Store(delay=lambda: 0.35), [(key, 1) for key in range(5)], report=report, progress=progress)
    said = [line.partition(",")[0] for line in lines]
    assert [*dict.fromkeys(said)] == ["read 1", "read 2", "read 3", "read 4", "read 5"]
    assert said.count("read 5") > 2


def test_rows_that_an_earlier_try_has_stored_are_not_part_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(report_module.time, "monotonic", lambda: now)
    report, lines = IngestReport(_started=now), list[str]()
    ticker = Progress(report, lambda: None, lines.append)
    report.read_count = report.upsert_count = 1000
    report.resumed_count = 900
    now += 10
    ticker.tick()
    assert lines == ["read 1,000, upserted 1,000 rows; 10 rows/s"]
    assert report.summary().endswith(" 10.0 s, 10 rows/s")
    report.resumed_count = 995
    assert report.summary().endswith(" 10.0 s")


@pytest.mark.parametrize(
    "where",
    ["batches.Batch.add", "deliveries.Deliveries.submit", "deliveries.Deliveries._settle", "run.Ingest._close"],
)
def test_a_signal_between_two_counts_loses_no_row(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows are on their way from one place to another."""

    def interrupt(*_: Any) -> None:
        monkeypatch.undo()  # once
        raise KeyboardInterrupt

    monkeypatch.setattr(f"airflow_provider_milvus_rest.ingest.{where}", interrupt)
    report = IngestReport()
    with pytest.raises(KeyboardInterrupt):
        runs.ingest(Store(), SCHEMA, Entities(entities((key, 1) for key in range(30))), report=report, batch_size=10)
    assert report.read_count == report.upsert_count + report.unconfirmed_count > 0


def test_a_signal_while_a_thread_starts_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.endswith("lane-1"):
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    store = Store(delay=lambda: 0.1)
    with pytest.raises(KeyboardInterrupt):
        runs.ingest(store, SCHEMA, Entities(entities((key, 1) for key in range(30))), batch_size=10)
    runs.await_end_of_threads("milvus-rest-lane", 10)


def test_a_sample_is_kept_in_little_time_and_holds_the_last_row_of_each_key() -> None:
    report, options = IngestReport(), Options(verify_sample=20_000)
    progress = Progress(report, lambda: None, lambda _: None)
    ingest = Ingest(Store(), SCHEMA, options, report, Retry(0, 1), progress)  # type: ignore[arg-type]
    rows = [Pending(number % 70_000, b"", "", number) for number in range(100_000)]
    begin = time.monotonic()
    ingest._acknowledge(rows, None)
    assert time.monotonic() - begin < 1.5
    last = {row.key: row for row in rows}
    assert len({row.key for row in ingest._sample.values()}) == len(ingest._sample) == 20_000
    assert all(last[row.key] is row for row in ingest._sample.values())


def test_a_signal_within_a_wait_does_not_lock_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may raise in any line of Python code: in none of them is a lock held, as ``queue.Queue`` would hold one."""
    lanes = Lanes(lambda _: time.sleep(0.2), Retry(0, 1))
    frames: list[str] = []

    def trace(frame: Any, event: str, _: Any) -> Any:
        frames.append(frame.f_code.co_filename)
        return trace

    lanes.submit(Part(None, [Pending(1, b"", "")]))
    sys.settrace(trace)
    try:
        items = [lanes.next(1), lanes.next(1)]
    finally:
        sys.settrace(None)
    lanes.close(1)
    assert [type(item) for item in items] == [Sent, Outcome]
    assert not [name for name in frames if name.endswith(("queue.py", "threading.py"))]
