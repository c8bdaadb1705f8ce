"""What becomes of a batch: halved, given back, rejected, given up, or held back because it timed out."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest import checkpoint as checkpoint_module
from airflow_provider_milvus_rest.ingest import deliveries as deliveries_module
from airflow_provider_milvus_rest.ingest import retry as retry_module
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.checkpoint import KEY, Checkpoint
from airflow_provider_milvus_rest.ingest.deliveries import Deliveries, Event
from airflow_provider_milvus_rest.ingest.lanes import Outcome, Part
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rest.models import UpsertRequest, UpsertResult
from tests.runs import State
from tests.servers import UPSERT, Reply, Request, ScriptedServer, accept
from tests.unit.test_lanes import Store, entities, run


def rejects_in(folder: Path) -> Path:
    return folder / "rejects.jsonl"


def positions(folder: Path) -> list[str]:
    return [json.loads(line)["$reject"]["position"] for line in (folder / "rejects.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("batch_size", [1000, 20, 1])
def test_rows_refused_at_the_beginning_are_rejected_if_others_are_accepted(
    tmp_path: Path, batch_size: int, concurrency: int, resumed: bool
) -> None:
    first = 500 if resumed else 0
    rows = [(key, 1) for key in range(first)] + [(key, -1 if key < first + 60 else 1) for key in range(first, 3000)]
    store, state, options = Store(), State(), {"batch_size": batch_size, "concurrency": concurrency}
    if resumed:  # the first try ends at the first refused row
        with pytest.raises(e.RowsRejectedError):
            run(store, rows, checkpoint=checkpoint(state), **options)
    report = run(store, rows, rejects_in(tmp_path), checkpoint=checkpoint(state), **options)
    assert (report.read_count, report.upsert_count, report.rejected_count) == (3000, 2940, 60)
    assert bool(report.resumed_count) == (resumed and batch_size < 1000)
    assert len(store.rows) == 2940
    assert sorted(positions(tmp_path)) == sorted(f"[{key}]" for key in range(first, first + 60))


@pytest.mark.parametrize("concurrency", [1, 4, 32])
@pytest.mark.parametrize("batch_size", [1000, 20, 1])
@pytest.mark.parametrize("count", [2, 40, 3000, 100_000])
def test_a_server_that_accepts_nothing_fails_the_run_within_some_tens_of_requests(
    tmp_path: Path, count: int, batch_size: int, concurrency: int
) -> None:
    rejects, report = rejects_in(tmp_path), IngestReport()
    with pytest.raises(e.DataRefusedError, match=r"Milvus accepted none.* negative") as caught:
        run(
            *(Store(), ((key, -1) for key in range(count)), rejects, report),
            batch_size=batch_size,
            concurrency=concurrency,
        )
    assert caught.value.code == 1100
    assert report.request_count < 60
    assert (report.upsert_count, report.rejected_count) == (0, 0)
    assert report.unconfirmed_count == report.read_count
    assert report.read_count <= count


@pytest.mark.parametrize("good", [0, 17, 39])
def test_one_good_row_among_forty_is_found(tmp_path: Path, good: int) -> None:
    report = run(Store(), [(key, 1 if key == good else -1) for key in range(40)], rejects_in(tmp_path))
    assert (report.upsert_count, report.rejected_count) == (1, 39)


@pytest.mark.parametrize(("key", "limits"), [("one", {}), ("many", {"max_request_bytes": 1})])
def test_rows_that_cannot_be_kept_until_others_are_tried_fail_the_run_as_well(
    tmp_path: Path, key: str, limits: dict[str, int]
) -> None:
    report = IngestReport()
    rows = [(1 if key == "one" else number, -1) for number in range(30)]
    with pytest.raises(e.DataRefusedError, match="Milvus accepted none of the rows, not even the 2 sent alone"):
        run(Store(), rows, rejects_in(tmp_path), report, batch_size=1, **limits)
    assert report.rejected_count == 1


def test_one_refused_row_alone_is_rejected(tmp_path: Path) -> None:
    report = run(Store(), [(1, -1)], rejects_in(tmp_path))
    assert (report.read_count, report.upsert_count, report.rejected_count) == (1, 0, 1)
    with pytest.raises(e.RowsRejectedError, match="negative"):
        run(Store(), [(1, -1)])


def test_too_large_for_any_row_is_found_out_soon_as_well(tmp_path: Path) -> None:
    report = IngestReport()
    with pytest.raises(e.RequestTooLargeError, match="Milvus accepted none"):
        run(Store(max_rows=-1), [(key, 1) for key in range(5000)], rejects_in(tmp_path), report)
    assert report.request_count < 60


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([-1, -1, 0, 1, 2])), max_size=45),
    batch_size=st.integers(1, 8),
    concurrency=st.integers(1, 4),
    fail_at=st.none() | st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_counts_are_those_of_what_is_stored(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int]],
    batch_size: int,
    concurrency: int,
    fail_at: int | None,
    seed: int,
) -> None:
    """With rows refused, also from the first on, keys repeated, and a request that fails for good."""
    rng, calls = random.Random(seed), itertools.count(1)

    class Failing(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            if next(calls) == fail_at:
                raise e.RequestRefusedError("no more")
            return super().upsert(request, keys)

    folder, report = tmp_path_factory.mktemp("rejects"), IngestReport(upsert_ids=[])
    store = Failing(delay=lambda: rng.random() / 1000)
    try:
        run(store, rows, rejects_in(folder), report, batch_size=batch_size, concurrency=concurrency)
    except e.RequestRefusedError:
        assert fail_at
    except e.DataRefusedError:
        assert not store.rows
        assert sum(n < 0 for _, n in rows) > 1
    else:
        assert report.unconfirmed_count == 0
        assert store.rows == {key: n for key, n in rows if n >= 0}
        assert report.rejected_count <= sum(n < 0 for _, n in rows)
    assert set(store.rows) == set(report.upsert_ids)
    assert report.upsert_count == len(report.upsert_ids)


@pytest.fixture
def short_budget(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(retry_module, "_SHORT_SECONDS", 1.0)
    return 1.0


class OneBadBatch(Store):
    def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
        if 50 in keys:
            raise e.ServerError("internal", code=65535)
        return super().upsert(request, keys)


def test_a_batch_that_always_fails_ends_the_run_beside_lanes_that_succeed(short_budget: float) -> None:
    def endless() -> Iterator[tuple[int, int]]:
        for key in range(10**9):
            yield key, 1

    begin, report = time.monotonic(), IngestReport()
    with pytest.raises(e.ServerError, match=r"Tried \d+ times in 1 s. The request contained \[40\] to \[49\]|\[50\]"):
        run(OneBadBatch(lambda: 0.01), endless(), report=report, batch_size=10, retry=Retry(120, 4))
    assert time.monotonic() - begin < 1.5 * short_budget + 1
    assert report.upsert_count > 100
    assert report.unconfirmed_count >= 10


@pytest.mark.heavy
def test_a_batch_that_always_fails_ends_the_run_within_45_seconds(
    server: ScriptedServer, server_connection: None
) -> None:
    def script(request: Request) -> Reply:
        if any(row["id"] == 50 for row in request.json["data"]):
            return Reply({"code": 65535, "message": "internal"})
        time.sleep(0.05)
        return accept(request)

    server.script(UPSERT, script)
    rows = ({"id": key, "vector": [0.5] * 4, "text": "x"} for key in range(10**9))
    begin = time.monotonic()
    with pytest.raises(e.ServerError, match=r"The request contained \[50\] to \[59\]"):
        MilvusRestHook().ingest("docs", rows, batch_size=10)
    assert 29 < time.monotonic() - begin < 45


def test_rows_of_a_key_wait_for_a_request_that_timed_out() -> None:
    """A gateway holds the request, gives up, and hands it on after the retry was acknowledged."""

    class Gateway(Store):
        settings = SimpleNamespace(read_timeout=1.0)
        late: threading.Timer | None = None

        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            if self.late is None:
                rows = {row["id"]: row["n"] for row in map(json.loads, request.data)}
                self.late = threading.Timer(0.7, lambda: self.rows.update(rows))
                self.late.start()
                error = e.ConnectError("no answer")
                error.timed_out = True
                raise error
            return super().upsert(request, keys)

    store = Gateway()
    rows = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 3), (4, 4)]
    begin = time.monotonic()
    report = run(store, rows, batch_size=2, concurrency=2, retry=Retry(5, 2))
    assert 0.9 < time.monotonic() - begin < 2.5
    assert store.late
    store.late.join()
    assert store.rows == {1: 2, 2: 2, 3: 3, 4: 4}
    assert report.upsert_count == 6


def checkpoint(state: State) -> Checkpoint:
    return Checkpoint(state, "source", lambda _: None)


def test_rows_that_are_not_there_any_more_are_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was deleted, from the first row to the last that was stored."""
    monkeypatch.setattr("airflow_provider_milvus_rest.ingest.checkpoint.STALE_SECONDS", 0)
    rows = [(key, 1) for key in range(100)]
    for lost in [{0}, {89}, set(range(100))]:
        store, state, lines = Store(), State(), list[str]()
        with pytest.raises(e.RowsRejectedError):
            run(store, [*rows[:90], (90, -1)], checkpoint=checkpoint(state), batch_size=5)
        for key in lost & store.rows.keys():
            del store.rows[key]
        report = run(store, rows, checkpoint=Checkpoint(state, "source", lines.append), batch_size=5)
        assert (report.resumed_count, report.upsert_count) == (0, 100)
        assert len(lines) == 1
        assert lines[0].startswith("Starting over: ")
        assert "are no longer there" in lines[0]
        assert store.rows == dict(rows)


def test_a_sample_is_of_all_rows_that_a_resumed_run_stores() -> None:
    """It was of the first ones, since the rows of the earlier try were counted too."""
    read: list[int] = []

    class Readable(Store):
        def read_rows(self, schema: Any, keys: list[int], partition_name: str | None) -> dict[int, Any]:
            read.extend(keys)
            return dict(zip(keys, entities((key, 1) for key in keys), strict=True))

    store, state, count = Readable(), State(), 20_000
    with pytest.raises(e.RowsRejectedError):
        run(store, [(key, -(key == count)) for key in range(count + 1)], checkpoint=checkpoint(state))
    rows = [(key, 1) for key in range(count + 1000)]
    report = run(store, rows, checkpoint=checkpoint(state), verify_sample=20, batch_size=10)
    assert (report.resumed_count, report.verified_count, len(read)) == (count, 20, 20)
    assert max(read) >= count + 500


@pytest.mark.parametrize("calls", [1, 3])
def test_stored_keys_are_looked_up_in_one_request_as_soon_as_the_collection_is_loaded(
    monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """A Milvus that was restarted takes writes before it has loaded the collection again."""
    asked: list[int] = []

    class Loading(Store):
        def stored_keys(self, schema: Any, keys: list[int], partition_name: str | None) -> set[int]:
            asked.append(len(keys))
            if len(asked) < calls:
                raise e.NotReadyError("collection not loaded", code=101)
            return super().stored_keys(schema, keys, partition_name)

    monkeypatch.setattr(Retry, "sleep", lambda *_: None)
    store, state = Loading(), State()
    rows = [(key, 1) for key in range(100)]
    with pytest.raises(e.RowsRejectedError):
        run(store, [*rows[:90], (90, -1)], checkpoint=checkpoint(state), batch_size=5)
    report = run(store, rows, checkpoint=checkpoint(state), batch_size=5)
    assert report.resumed_count > 0
    assert len(asked) == calls
    assert min(asked) > 1


def test_rows_that_cannot_be_looked_up_are_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_milvus_rest.ingest.checkpoint._LOADING_SECONDS", 0)

    class NotLoaded(Store):
        def stored_keys(self, *_: Any, **__: Any) -> set[int]:
            raise e.NotReadyError("collection not loaded", code=101)

    store, state, lines = NotLoaded(), State(), list[str]()
    with pytest.raises(e.RowsRejectedError):
        run(store, [(1, 1), (2, 1), (3, -1)], checkpoint=checkpoint(state), batch_size=1)
    report = run(store, [(1, 1), (2, 1)], checkpoint=Checkpoint(state, "source", lines.append))
    assert report.resumed_count == 0
    assert lines == [
        "Starting over: rows stored by the earlier try cannot be looked up: collection not loaded [Milvus code 101]."
    ]


def test_a_look_up_that_is_not_answered_does_not_hold_up_the_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus 2.3.5 may take writes long before it answers queries, after it was killed several times."""
    for name in ("_LOOK_UP_SECONDS", "_LOADING_SECONDS"):
        monkeypatch.setattr(f"airflow_provider_milvus_rest.ingest.checkpoint.{name}", 0.3)
    release = threading.Event()

    class Silent(Store):
        def stored_keys(self, *_: Any, **__: Any) -> set[int]:
            release.wait(10)
            return set()

        def abort(self) -> None:
            release.set()

    store, state, lines = Silent(), State(), list[str]()
    with pytest.raises(e.RowsRejectedError):
        run(store, [(1, 1), (2, 1), (3, -1)], checkpoint=checkpoint(state), batch_size=1)
    begin = time.monotonic()
    report = run(store, [(1, 1), (2, 1)], checkpoint=Checkpoint(state, "source", lines.append), concurrency=1)
    assert release.is_set()
    assert time.monotonic() - begin < 3
    assert (report.resumed_count, report.upsert_count) == (0, 2)
    assert lines == [
        "Starting over: rows stored by the earlier try cannot be looked up: Milvus did not answer within 0.3 s."
    ]


def test_a_row_that_is_seen_late_is_still_there() -> None:
    class Stale(Store):
        asked = 0

        def stored_keys(self, schema: Any, keys: list[int], partition_name: str | None) -> set[int]:
            self.asked += 1
            return super().stored_keys(schema, keys, partition_name) if self.asked > 2 else set()

    store, state = Stale(), State()
    with pytest.raises(e.RowsRejectedError):
        run(store, [(1, 1), (2, 1), (3, -1)], checkpoint=checkpoint(state), batch_size=1)
    assert run(store, [(1, 1), (2, 1)], checkpoint=checkpoint(state)).resumed_count == 2


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_few_keys_are_kept_and_always_the_first_and_the_last(batches: list[int]) -> None:
    state, key = State(), 0
    saved = Checkpoint(state, "source", lambda _: None)
    for count in batches:
        key += count
        saved.stored(saved.mark(key, 0, [key - count + 1, key]))
    saved.save()
    (progress,) = state.values()
    assert progress["read_count"] == progress["keys"][-1] == key
    assert progress["keys"][0] == 1
    assert len(progress["keys"]) <= 16
    assert progress["keys"] == sorted(set(progress["keys"]))


class ByHand:
    """Stands for lanes: the test says what becomes of the parts that are sent, the first of them if not told."""

    def __init__(self, concurrency: int = 1, read_timeout: float = 60, **limits: int) -> None:
        self.sent: list[Part] = []
        self._next = Outcome(Part(None, []))
        self.deliveries = Deliveries(Options(concurrency=concurrency, **limits), self, read_timeout)  # type: ignore[arg-type]

    @property
    def sending(self) -> int:
        return len(self.sent)

    def submit(self, part: Part) -> None:
        self.sent.append(part)

    def next(self, timeout: float) -> Outcome:
        return self._next

    def answer(self, error: Exception | None = None, timed_out: float | None = None) -> Event:
        self._next = Outcome(self.sent.pop(0), error, timed_out)
        event = self.deliveries.next(0)
        assert isinstance(event, Event)
        self.deliveries.start()  # as the next call would
        return event


def batch(*keys: int) -> dict[int, Pending]:
    return {key: Pending(key, b"text", f"[{key}]", key) for key in keys}


REFUSED = e.DataRefusedError("negative")


@pytest.mark.parametrize(("read_timeout", "held"), [(10.0, 10.0), (3600.0, 60.0)])
@pytest.mark.parametrize("timed_out", [(1000.0, None), (None, 1000.0), (990.0, 1000.0), (1000.0, 1000.0)])
def test_how_long_keys_of_a_request_that_timed_out_are_held(
    monkeypatch: pytest.MonkeyPatch, timed_out: tuple[float | None, ...], read_timeout: float, held: float
) -> None:
    """From the last time, whichever part of the batch it was."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(deliveries_module, "time", clock)
    lanes = ByHand(read_timeout=read_timeout)
    lanes.deliveries.accepted = True
    lanes.deliveries.submit(0, batch(1, 2))
    lanes.answer(REFUSED)
    events = [lanes.answer(None, moment) for moment in timed_out]
    assert [event.stored for event in events] == [None, 0]
    for now, room in [(1000.0, False), (999.9 + held, False), (1000.0 + held, True)]:
        clock.now = now
        assert lanes.deliveries.has_room(batch(2, 3)) is room
        assert lanes.deliveries.has_room(batch(3, 4))


def test_no_more_parts_are_sent_at_a_time_than_there_are_lanes() -> None:
    """Also when batches are halved. What follows is sent in the order of the rows; nothing once it is stopped."""
    lanes = ByHand(concurrency=2)
    lanes.deliveries.accepted = True
    lanes.deliveries.submit(0, batch(1, 2, 3, 4))
    lanes.deliveries.submit(1, batch(5, 6))
    lanes.answer(REFUSED)
    assert [[row.key for row in part.rows] for part in lanes.sent] == [[5, 6], [1, 2]]
    lanes.answer(REFUSED)
    assert [[row.key for row in part.rows] for part in lanes.sent] == [[1, 2], [5]]
    lanes.deliveries.stop()
    lanes.answer(REFUSED)
    assert [[row.key for row in part.rows] for part in lanes.sent] == [[5]]
    lanes.answer()
    assert lanes.sent == []
    assert lanes.deliveries.unconfirmed() == 5


def test_a_batch_counts_as_stored_only_if_none_of_its_rows_was_rejected() -> None:
    lanes, stored = ByHand(), list[int]()
    lanes.deliveries.accepted = True
    for number, errors in enumerate(
        [[None], [REFUSED, None, REFUSED], [REFUSED, REFUSED, None], [REFUSED, None, None]]
    ):
        lanes.deliveries.submit(number, batch(1, 2))
        events = [lanes.answer(error) for error in errors]
        stored += [event.stored for event in events if event.stored is not None]
        assert lanes.deliveries.unconfirmed() == 0
    assert stored == [0, 3]


def test_what_was_too_large_is_told_in_the_bytes_of_its_request() -> None:
    lanes = ByHand()
    lanes.deliveries.submit(0, batch(1, 2))
    assert lanes.answer(e.RequestTooLargeError("no")).too_large == len(b"text,text,")


@pytest.mark.parametrize("good", [range(400), range(600, 1000), range(450, 550)])
def test_rows_sent_alone_are_from_all_over_the_batch(tmp_path: Path, good: range) -> None:
    report = run(Store(), [(key, 1 if key in good else -1) for key in range(1000)], rejects_in(tmp_path))
    assert (report.upsert_count, report.rejected_count) == (len(good), 1000 - len(good))


def test_no_more_is_kept_in_memory_while_nothing_is_accepted_than_otherwise(tmp_path: Path) -> None:
    report, most = IngestReport(), 2 * 1000
    with pytest.raises(e.DataRefusedError, match="Milvus accepted none"):
        run(
            *(Store(), ((key, -1) for key in range(5000)), rejects_in(tmp_path), report),
            max_request_bytes=1000,
            concurrency=2,
        )
    assert report.read_count * len('{"id":1,"vector":[0.5,0.5],"n":-1}') < 2 * most


def test_a_refusal_of_everything_keeps_what_the_server_said(tmp_path: Path) -> None:
    class Refusing(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            raise e.DataRefusedError("no", code=1100, http_status=400)

    with pytest.raises(e.DataRefusedError, match=r"not even the 2 sent alone: the rows are not the cause") as caught:
        run(Refusing(), [(1, 1), (2, 1)], rejects_in(tmp_path))
    assert (caught.value.code, caught.value.http_status) == (1100, 400)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that passes only where a test says so."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(checkpoint_module, "time", clock)
    return clock


def test_progress_is_saved_once_a_second_and_up_to_the_first_batch_that_is_not_stored(clock: Any) -> None:
    saves: list[tuple[float, int, int]] = []

    class Saving(State):
        def set(self, key: str, value: Any) -> None:
            saves.append((clock.now, value["read_count"], value["duplicate_count"]))

    saved = checkpoint(Saving())
    marks = [saved.mark(10 * number + 10, number, [number]) for number in range(5)]
    for clock.now, number in [(1000.5, 0), (1001.0, 2), (1001.5, 1), (1002.0, 4), (1002.5, 3)]:
        saved.stored(marks[number])
    saved.save()
    saved.save()
    assert saves == [(1001.0, 10, 0), (1002.0, 30, 2), (1002.5, 50, 4)]


@pytest.mark.parametrize(
    ("batches", "kept"),
    [
        ([[7]], [7]),
        ([[1, 2, 3, 4, 5]], [1, 5]),
        ([[1, 2], [3, 4, 5]], [1, 2, 3, 5]),
        ([["a", "x" * 1001]], ["a"]),
        ([["x" * 1000, "a"]], ["x" * 1000, "a"]),
        ([[-(2**63), 0], [2**63 - 2, 2**63 - 1]], [0, 2**63 - 2]),
        ([[1 - 2**63, 2 - 2**63]], [2 - 2**63]),
        ([[key, -key] for key in range(1, 9)], [sign * key for key in range(1, 9) for sign in (1, -1)]),
    ],
)
def test_which_keys_are_kept(batches: list[list[Any]], kept: list[Any]) -> None:
    state = State()
    saved = checkpoint(state)
    for number, keys in enumerate(batches):
        saved.stored(saved.mark(number + 1, 0, keys))
    saved.save()
    assert state[KEY]["keys"] == kept
    saved.stored(saved.mark(99, 0, ["last", "of all"]))
    saved.save()
    assert len(state[KEY]["keys"]) == (10 if len(kept) == 16 else len(kept) + 2)


def progress_of(*keys: Any) -> State:
    state = State()
    first = checkpoint(state)
    first.stored(first.mark(10, 0, [*keys]))
    first.save()
    return state


MAX = 2**63 - 1
NOT_LOADED, NO = e.NotReadyError("not loaded", code=101), e.RequestRefusedError("no", code=1)


@pytest.mark.parametrize(
    ("state", "answer", "seconds", "says"),
    [
        (State(), {1}, 0, None),
        (State({KEY: {"odd": 1}}), {1}, 0, "Starting over: the progress saved by the earlier try cannot be read."),
        (progress_of(1, 2), {1, 2}, 0, "Resuming after 10 rows stored by an earlier try (2 of them looked up)."),
        (progress_of(1, 2), {1}, 10, "Starting over: 1 of 2 rows stored by the earlier try are no longer there."),
        (
            progress_of(1, 2),
            NOT_LOADED,
            60,
            f"Starting over: rows stored by the earlier try cannot be looked up: {NOT_LOADED}.",
        ),
        (progress_of(1), NO, 0, f"Starting over: rows stored by the earlier try cannot be looked up: {NO}."),
        (progress_of(MAX), {MAX}, 0, "Starting over: none of the rows stored by the earlier try can be looked up."),
        (progress_of(1), e.StoppedError("stopped"), 0, None),
    ],
)
def test_what_a_try_finds_and_how_long_it_looks(
    clock: Any, state: State, answer: Any, seconds: float, says: str | None
) -> None:
    lines: list[str] = []
    again = Checkpoint(State(state), "source", lines.append)

    def look_up(keys: list[Any]) -> set[Any]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(seconds: float) -> None:
        clock.now += seconds

    retry: Any = SimpleNamespace(in_thread=lambda ask, _: ask(), sleep=sleep)

    if isinstance(answer, e.StoppedError):
        with pytest.raises(e.StoppedError):
            again.resume(look_up, retry)
    else:
        assert bool(again.resume(look_up, retry)) == (says is not None and says.startswith("Resuming"))
    assert lines == ([says] if says else [])
    assert seconds <= clock.now - 1000 <= seconds + 2


def test_a_third_try_looks_up_what_the_first_has_stored_as_well() -> None:
    state = progress_of(1, 2)
    second = checkpoint(state)
    assert second.resume(set, Retry(0, 1))
    second.save()
    second.stored(second.mark(20, 0, [3, 4]))
    second.save()
    assert (state[KEY]["read_count"], state[KEY]["keys"]) == (20, [1, 2, 3, 4])


def failed_after(store: Store, rows: list[tuple[int, int]]) -> State:
    """What a try has saved that has stored these rows, one in a batch."""
    state = State()
    with pytest.raises(e.RowsRejectedError):
        run(store, [*rows, (-1, -1)], checkpoint=checkpoint(state), batch_size=1, concurrency=1)
    return state


def test_a_resumed_run_whose_other_rows_are_all_refused_rejects_them(tmp_path: Path) -> None:
    """An earlier try has had rows accepted: the fault is in these."""
    store, rows = Store(), [(key, 1) for key in range(10)]
    state = failed_after(store, rows)
    more = [(key, -1) for key in range(10, 15)]
    report = run(store, rows + more, rejects_in(tmp_path), checkpoint=checkpoint(state))
    assert (report.resumed_count, report.upsert_count, report.rejected_count) == (10, 10, 5)


@pytest.mark.parametrize("resumed", [False, True])
def test_an_interrupt_ends_the_reading(resumed: bool) -> None:
    store, rows, taken = Store(), [(key, 1) for key in range(10)], list[int]()
    state = failed_after(store, rows) if resumed else State()
    retry = Retry(0, 4)

    def source() -> Iterator[tuple[int, int]]:
        for key, n in rows:
            taken.append(key)
            if key == 5:
                retry.stop.now = True
            yield key, n

    report = IngestReport()
    with pytest.raises(e.StoppedError):
        run(store, source(), report=report, retry=retry, checkpoint=checkpoint(state))
    assert len(taken) <= 7
    assert report.upsert_count == 0


def test_a_final_error_ends_the_patience_with_other_requests() -> None:
    class Failing(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            if keys == [1]:
                raise e.ConnectError("down")
            time.sleep(0.2)
            raise e.NotFoundError("gone")

    begin, report, retry = time.monotonic(), IngestReport(), Retry(25, 2)
    retry.call(lambda: None)
    with pytest.raises(e.NotFoundError, match="gone"):
        run(Failing(), [(1, 1), (2, 1)], report=report, batch_size=1, retry=retry)
    assert time.monotonic() - begin < 5
    assert report.unconfirmed_count == 2


@pytest.mark.parametrize(("interrupted", "seconds", "stored"), [(False, 2.5, 1), (True, 2.5, 0), (True, 0.25, 1)])
def test_a_failed_run_waits_for_what_is_on_its_way_unless_it_is_to_end_at_once(
    monkeypatch: pytest.MonkeyPatch, interrupted: bool, seconds: float, stored: int
) -> None:
    monkeypatch.setattr("airflow_provider_milvus_rest.ingest.run._STOP_SECONDS", 1.2)
    retry, release = Retry(0, 2), threading.Event()

    class Failing(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            if keys == [1]:
                release.wait(seconds)
                return super().upsert(request, keys)
            if interrupted:
                retry.stop.now = True
            raise e.NotFoundError("gone")

        def abort(self) -> None:
            release.set()

    report, begin = IngestReport(), time.monotonic()
    with pytest.raises(e.NotFoundError, match="gone"):
        run(Failing(), [(1, 1), (2, 1)], report=report, batch_size=1, retry=retry)
    assert (time.monotonic() - begin < 2.2) == interrupted
    assert (report.upsert_count, report.unconfirmed_count) == (stored, 2 - stored)


@pytest.mark.parametrize(
    ("batch_size", "before", "then", "most"),
    [
        (2, [(key, -1) for key in range(20)], [("spoiled", 1), *((key, -1) for key in range(20, 30))], 1),
        (500, [(5000 + key, 1) for key in range(500)], [(key, -1) for key in range(1, 1000)], 60),
    ],
)
def test_little_is_sent_once_more_rows_are_rejected_than_may_be(
    batch_size: int, before: list[Any], then: list[Any], most: int
) -> None:
    """Neither what was refused and is not decided about, nor all of a batch that is being halved."""
    calls: list[int] = []

    class Counting(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            calls.append(len(keys))
            return super().upsert(request, keys)

    def rows() -> Iterator[tuple[Any, int]]:
        yield from before
        calls.clear()
        yield from then

    with pytest.raises(e.RowsRejectedError):
        run(Counting(), rows(), batch_size=batch_size, concurrency=1)
    assert len(calls) <= most


def test_more_rejected_rows_than_may_be_matter_more_than_how_a_request_fails_afterwards() -> None:
    class Failing(Store):
        def upsert(self, request: UpsertRequest, keys: list[int]) -> UpsertResult:
            time.sleep(0.1)
            raise e.NotFoundError("gone")

    with pytest.raises(e.RowsRejectedError, match="must be an int"):
        run(Failing(), [(1, 1), (2, 1), ("spoiled", 1)], batch_size=1)


def test_a_source_that_has_become_shorter_is_said() -> None:
    store, rows = Store(), [(key, 1) for key in range(10)]
    state = failed_after(store, rows)
    with pytest.raises(e.InputError, match="the source has 5 rows, but had at least 10 in an earlier try"):
        run(store, rows[:5], checkpoint=checkpoint(state))
