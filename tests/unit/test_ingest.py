from __future__ import annotations

import base64
import datetime
import io
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.batches import Batch, Pending
from airflow_provider_milvus_rest.ingest.rejects import Rejects
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rows.files import find_files
from airflow_provider_milvus_rest.rows.readers import Entities, FileRows
from airflow_provider_milvus_rest.rows.schema import FieldSchema
from airflow_provider_milvus_rest.rows.shape import unfold
from tests import runs
from tests.entities import entity
from tests.servers import DESCRIBE, UPSERT, Reply, Request, ScriptedServer, accept, described
from tests.unit.test_lanes import SCHEMA, Store


def run(
    server: ScriptedServer,
    rows: Any,
    report: IngestReport,
    rejects: Path | None = None,
    budget: float = 0,
    **options: int,
) -> None:
    options.setdefault("concurrency", 1)
    with MilvusRestClient(ConnectionSettings.from_connection(host=server.url)[0]) as client:
        schema = client.describe_collection("docs")
        source = rows if isinstance(rows, FileRows) else Entities(rows)
        runs.ingest(client, schema, source, report=report, rejects=rejects, retry=Retry(budget, 1), **options)


def size(row: dict[str, Any]) -> int:
    """Bytes of a row in a request."""
    return len(json.dumps(row, separators=(",", ":")) + ",")


def sent(server: ScriptedServer) -> list[list[dict[str, Any]]]:
    return [request.json["data"] for request in server.sent_to(UPSERT)]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.binary(min_size=1, max_size=9)), min_size=1),
    st.integers(1, 5),
    st.integers(1, 30),
)
def test_batches_keep_their_limits_and_the_last_row_of_a_key(
    rows: list[tuple[int, bytes]], max_rows: int, max_bytes: int
) -> None:
    batch, duplicates, last = Batch(max_rows, max_bytes), 0, dict(rows)
    sent: dict[int, bytes] = {}
    held: list[bytes] = []
    for key, text in [*rows, (99, b"!" * 99)]:  # the last one has no room
        row = Pending(key, text, "")
        if not batch.has_room(row):
            assert len(held) == 1 or (len(held) <= max_rows and sum(len(text) + 1 for text in held) <= max_bytes)
            taken = batch.take()
            sent |= {row.key: row.text for row in taken.values()}
            duplicates += len(held) - len(taken)
            held = []
        held.append(text)
        batch.add(row)
    assert sent == last
    assert duplicates >= 0


def test_a_batch_is_filled_to_the_last_byte() -> None:
    batch = Batch(9, len(b"text,text,"))
    for _ in range(2):
        for key, room in enumerate([True, True, False]):
            row = Pending(key, b"text", "")
            assert batch.has_room(row) is room
            assert not (key and batch.has_room(Pending(key, b"texts", "")))
            batch.add(row)
        batch.take()


def test_rows_go_in_order_and_in_batches(server: ScriptedServer) -> None:
    report = IngestReport(upsert_ids=[])
    rows = [entity(i) for i in range(5)]
    run(server, rows, report, batch_size=2)
    assert sent(server) == [rows[:2], rows[2:4], rows[4:]]
    assert (report.read_count, report.upsert_count, report.request_count) == (5, 5, 3)
    assert report.upsert_ids == [0, 1, 2, 3, 4]
    assert report.bytes_sent == sum(map(size, rows))


def test_a_row_larger_than_a_request_goes_alone(server: ScriptedServer) -> None:
    rows = [entity(0), entity(1, "x" * 64), entity(2), entity(3)]
    run(server, rows, IngestReport(), max_request_bytes=115)
    assert sent(server) == [[rows[0]], [rows[1]], rows[2:]]


def test_the_last_row_of_a_key_is_sent(server: ScriptedServer) -> None:
    report = IngestReport()
    run(server, [entity(1, "a"), entity(2, "b"), entity(1, "c")], report)
    assert sent(server) == [[entity(2, "b"), entity(1, "c")]]
    assert (report.read_count, report.upsert_count, report.duplicate_count) == (3, 2, 1)
    report.check()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(1, 1), (2, 1)], ""),
        ([(1, 1), (2, 1), (1, 2)], "Dropped 1 row because a later row has the same key: [0] (key 1)."),
        ([(9, 1), (1, 1), (1, -1)], ""),  # the earlier row is stored instead
        ([(9, 1), (1, 1), (1, 2), (1, -1)], "Dropped 1 row because a later row has the same key: [1] (key 1)."),
        ([(1, 1), (1, -1), (1, -2), (2, 1)], ""),
        (
            [(key % 3, key) for key in range(1205)],
            f"Dropped 1,202 rows because a later row has the same key: "
            f"{', '.join(f'[{key}] (key {key % 3})' for key in range(10))}, and 1,192 more.",
        ),
    ],
)
def test_rows_dropped_for_a_later_one_are_named(tmp_path: Path, rows: list[tuple[int, int]], says: str) -> None:
    source = Entities({"id": key, "vector": [0.5, 0.5], "n": n} for key, n in rows)
    store = Store(delay=lambda: random.random() / 100)
    report = runs.ingest(store, SCHEMA, source, rejects=tmp_path / "rejects.jsonl", batch_size=2000)
    assert [line for line in report.warnings() if "Rejected" not in line] == ([says] if says else [])


def test_rows_dropped_are_named_in_the_order_of_the_source_and_only_if_the_later_row_is_stored() -> None:
    def rows(last: int) -> Entities:
        return Entities({"id": key // 2, "vector": [0.5, 0.5], "n": 1 if key < last else -1} for key in range(200))

    store, report = Store(delay=lambda: random.random() / 100), IngestReport()
    runs.ingest(store, SCHEMA, rows(200), report=report, batch_size=4)
    assert report.warnings()[0].startswith(
        "Dropped 100 rows because a later row has the same key: [0] (key 0), [2] (key 1)"
    )
    assert report.warnings()[0].endswith("[18] (key 9), and 90 more.")
    with pytest.raises(e.RowsRejectedError):
        runs.ingest(Store(), SCHEMA, rows(8), report=(report := IngestReport()), batch_size=4, concurrency=1)
    assert report.duplicate_count > 4
    assert report.warnings()[0].startswith("Dropped 4 rows")


def test_rows_dropped_are_logged_once_and_shortened(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(DESCRIBE, described("VarChar"))
    monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", json.dumps({"conn_type": "milvus_rest", "host": server.url}))
    MilvusRestHook().ingest("docs", [entity("k" * 60, "x")] * 3)
    log = "".join(capsys.readouterr())
    short = f"'{'k' * 39}…"
    line = f"Dropped 2 rows because a later row has the same key: [0] (key {short}), [1] (key {short})."
    # Airflow 2's handlers may hold the stream of an earlier test, and say so, with the arguments.
    (found,) = [each for each in log.splitlines() if "Dropped" in each and not each.startswith("Arguments: ")]
    assert f"Collection docs: {line}" in found


@pytest.mark.parametrize(
    ("spoiled", "failing", "counts"),
    [  # read, upserted, rejected, unconfirmed
        (7, None, (9, 6, 1, 2)),  # it goes on checking for the length of a batch, and sends no more
        (0, None, (2, 0, 1, 1)),
        (None, 1, (5, 0, 0, 5)),
        (None, 2, (7, 2, 0, 5)),
        (None, 5, (10, 8, 0, 2)),
    ],
)
def test_the_sum_holds_wherever_it_fails(
    server: ScriptedServer, spoiled: int | None, failing: int | None, counts: tuple[int, ...]
) -> None:
    rows: list[dict[str, Any]] = [entity(i) for i in range(10)]
    if spoiled is not None:
        rows[spoiled]["id"] = "spoiled"
    if failing:
        server.script(UPSERT, *[accept] * (failing - 1), Reply({"code": 65535, "message": "no"}))
    report = IngestReport()
    with pytest.raises(e.RowsRejectedError if failing is None else e.ServerError):
        run(server, rows, report, batch_size=2)
    assert (report.read_count, report.upsert_count, report.rejected_count, report.unconfirmed_count) == counts
    report.check()


def test_it_reads_no_further_than_an_error_names_rows(server: ScriptedServer) -> None:
    report = IngestReport()
    with pytest.raises(e.RowsRejectedError, match="10 of 10 rows read so far are rejected"):
        run(server, [entity("spoiled")] * 5000, report)
    assert (report.read_count, report.rejected_count) == (10, 10)


def test_a_row_that_is_only_checked_replaces_none(server: ScriptedServer) -> None:
    report = IngestReport()
    with pytest.raises(e.RowsRejectedError):
        run(server, [entity(1), entity(2), entity("spoiled"), entity(2)], report, batch_size=2)
    assert (report.duplicate_count, report.unconfirmed_count) == (0, 3)


def test_what_is_sent_again_is_counted(server: ScriptedServer) -> None:
    busy = Reply({"code": 8, "message": "busy"})
    server.script(UPSERT, busy, busy, accept, busy, accept)
    report = IngestReport()
    run(server, [entity(1), entity(2)], report, batch_size=1, budget=30)
    assert (report.request_count, report.retry_count, report.upsert_count) == (5, 3, 2)
    assert report.bytes_sent == 3 * size(entity(1)) + 2 * size(entity(2))


@pytest.mark.parametrize("failing", [False, True])
def test_a_rejects_file_that_cannot_be_finished(server: ScriptedServer, tmp_path: Path, failing: bool) -> None:
    """It fails a run that is well otherwise; what a run has failed with matters more."""

    class Stream(io.BytesIO):
        def close(self) -> None:
            raise PermissionError("no more")

    class Unfinished(type(tmp_path)):  # type: ignore[misc]
        def open(self, *_: Any) -> Any:
            return Stream()

    if failing:
        server.script(UPSERT, Reply({"code": 800, "message": "gone"}))
    report = IngestReport()
    with pytest.raises(e.NotFoundError if failing else e.InputError, match="gone" if failing else "no more"):
        run(server, [entity(1), entity("x")], report, Unfinished(tmp_path / "rejects.jsonl"))
    assert (report.rejected_count, report.rejects_path) == (1, None)


def test_the_sum_holds_when_the_source_fails(server: ScriptedServer) -> None:
    def rows() -> Any:
        yield entity(1)
        raise RuntimeError("the source")

    report = IngestReport()
    with pytest.raises(RuntimeError, match="the source"):
        run(server, rows(), report)
    assert (report.read_count, report.unconfirmed_count) == (1, 1)
    report.check()


def test_a_sum_that_does_not_hold_raises() -> None:
    with pytest.raises(AssertionError, match="2 rows were read but 1 are accounted for"):
        IngestReport(read_count=2, upsert_count=1).check()


def test_outputs_are_the_counts_and_the_keys_if_they_are_asked_for() -> None:
    report = IngestReport(read_count=3, upsert_count=2, rejected_count=1)
    counts = dict.fromkeys(("duplicate_count", "unconfirmed_count", "resumed_count", "request_count", "retry_count"), 0)
    counts |= {
        "read_count": 3,
        "upsert_count": 2,
        "rejected_count": 1,
        "bytes_sent": 0,
        "valid_count": 0,
        "verified_count": 0,
    }
    outputs = report.outputs()
    seconds = outputs.pop("duration_seconds")
    assert seconds == round(seconds, 3)
    assert outputs == counts | {"rejects_path": None}
    report.upsert_ids = [1, 2]
    assert report.outputs() == outputs | {
        "duration_seconds": report.outputs()["duration_seconds"],
        "upsert_ids": [1, 2],
    }


@pytest.mark.parametrize(
    ("count", "says"), [(0, "0 requests"), (1, "1 request"), (2, "2 requests"), (1200, "1,200 requests")]
)
def test_requests_in_the_summary(count: int, says: str) -> None:
    summary = IngestReport(request_count=count, bytes_sent=5000).summary()
    assert summary.startswith(f"read 0, upserted 0 rows; {says}, 5,000 bytes, ")


def reject(rejects: Rejects, count: int) -> None:
    for number in range(count):
        rejects.add({"id": number}, e.RowError(f"row {number}"))


@pytest.mark.parametrize(
    ("limit", "count", "says"),
    [
        (2, 13, "13 of 20 rows read so far are rejected (max_rejects=2). They are in PATH.\nNAMED\n… and 3 more"),
        (2, 10, "10 of 20 rows read so far are rejected (max_rejects=2). They are in PATH.\nNAMED"),
        (0, 1, "1 of 20 rows read so far is rejected (max_rejects=0). They are in PATH.\nrow 0"),
        (None, 11, "11 of 20 rows read so far are rejected.\nNAMED\n… and 1 more"),
    ],
)
def test_the_first_ten_rejected_rows_are_named(tmp_path: Path, limit: int | None, count: int, says: str) -> None:
    path = tmp_path / "a" / "b" / "rejects.jsonl"
    rejects = Rejects(None if limit is None else path, limit)
    reject(rejects, count)
    named = "\n".join(f"row {number}" for number in range(10))
    assert str(rejects.error(20)) == says.replace("PATH", str(path)).replace("NAMED", named)


@pytest.mark.parametrize(
    ("in_file", "limit", "failed", "enough"),
    [(False, None, 1, 10), (True, 20, 21, 21), (True, 3, 4, 10), (True, None, 99, 99)],
)
def test_how_many_rejected_rows_are_too_many(
    tmp_path: Path, in_file: bool, limit: int | None, failed: int, enough: int
) -> None:
    rejects = Rejects(tmp_path / "rejects.jsonl" if in_file else None, limit)
    for count in range(1, 30):
        reject(rejects, 1)
        assert (rejects.failed, rejects.enough()) == (count >= failed, count >= enough)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(PermissionError("no"), e.InputError), (OSError("disk full"), e.SourceUnavailableError)],
)
def test_a_rejects_file_that_cannot_be_written_is_said_once(
    tmp_path: Path, error: Exception, raised: type[Exception]
) -> None:
    tries: list[int] = []

    class Failing(type(tmp_path)):  # type: ignore[misc]
        def open(self, *_: Any) -> Any:
            tries.append(1)
            raise error

    rejects = Rejects(Failing(tmp_path / "rejects.jsonl"))
    with pytest.raises(raised, match=r"rejects_path: .*rejects.jsonl cannot be written: .*(no|disk full)"):
        reject(rejects, 1)
    reject(rejects, 2)
    rejects.close()
    assert (len(tries), rejects.count, rejects.path) == (1, 3, None)


def test_a_server_that_refuses_every_row_is_not_asked_for_each(server: ScriptedServer, tmp_path: Path) -> None:
    """Even after as many rows were rejected here."""
    server.script(UPSERT, Reply({"code": 1100, "message": "not this collection"}))
    rows = [entity("spoiled")] * 100 + [entity(i) for i in range(5000)]
    report = IngestReport()
    with pytest.raises(e.DataRefusedError, match="not this collection"):
        run(server, rows, report, tmp_path / "rejects.jsonl")
    assert (report.rejected_count, report.unconfirmed_count) == (100, 5000)
    assert report.request_count < 60
    report.check()


def test_what_is_too_large_is_halved(server: ScriptedServer) -> None:
    def limited(request: Request) -> Reply:
        return accept(request) if len(request.body) < 400 else Reply("<html>413</html>", 413)

    server.script(UPSERT, limited)
    report = IngestReport()
    run(server, [entity(i) for i in range(50)], report)
    taken = [row["id"] for request in server.sent_to(UPSERT) if len(request.body) < 400 for row in request.json["data"]]
    assert sorted(taken) == [*range(50)]
    assert (report.upsert_count, report.rejected_count) == (50, 0)


def test_rejected_rows_are_written_whatever_they_hold(server: ScriptedServer, tmp_path: Path) -> None:
    vector = np.array([0.5, np.nan, 0.5, 0.5], dtype=np.float32)
    rows = [
        entity(1) | {"vector": vector},
        entity(2, "\ud800"),
        entity(3) | {"text": datetime.date(2026, 1, 1)},
        entity(4) | {("a", 1): {float("inf"), b"x"}},
        entity(2**70),
        [5],
        None,
        entity(5, 5) | {"bits": b"\xff\x00"},
    ]
    rejects = tmp_path / "folder" / "rejects.jsonl"
    run(server, rows, IngestReport(), rejects)
    lines = [json.loads(line) for line in (tmp_path / "folder" / "rejects.jsonl").read_text().splitlines()]
    assert [line["$reject"]["position"] for line in lines] == [f"[{index}]" for index in range(len(rows))]
    assert [line["$reject"]["field"] for line in lines] == [
        "vector",
        "text",
        "text",
        "('a', 1)",
        "id",
        None,
        None,
        "text",
    ]
    assert lines[0]["vector"] == [0.5, "nan", 0.5, 0.5]
    assert lines[1]["text"] == "\ud800"
    assert lines[2]["text"] == "2026-01-01"
    assert lines[4]["id"] == 2**70
    assert lines[5]["$reject"]["raw"] == [5]
    assert all("NaN" not in line for line in (tmp_path / "folder" / "rejects.jsonl").read_text().splitlines())
    assert [line["$reject"].get("altered") for line in lines[:5]] == [["vector"], None, ["text"], ["('a', 1)"], None]


WEIRD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.frozensets(st.integers()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 3), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["id", "bits", "other", 3, "3"]), WEIRD, min_size=1))
def test_a_rejected_row_is_read_again_as_it_was_or_not_at_all(row: dict[Any, Any]) -> None:
    """Whatever JSON does not have; and also when the row is rejected once more."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rejects.jsonl"
        for _ in range(2):
            rejects = Rejects(path)
            rejects.add(row, e.RowError("no"), {"bits": FieldSchema(name="bits", type="BinaryVector")})
            rejects.close()
            (again,) = unfold(FileRows(find_files(str(path))).rows({}), None)
            if again.error:
                assert "altered" in str(again.error)
            else:
                bits = {"bits": base64.b64encode(row["bits"]).decode()} if type(row.get("bits")) is bytes else {}
                assert again.entity == row | bits
            row = again.entity


def test_a_row_that_was_altered_is_refused_until_it_is_mended(server: ScriptedServer, tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "rejects.jsonl")
    rejects.add(entity(1) | {"text": b"hello"}, e.RowError("must be a str"))
    rejects.close()
    (line,) = (tmp_path / "rejects.jsonl").read_text().splitlines()
    report = IngestReport()
    with pytest.raises(
        e.RowsRejectedError,
        match=r"field 'text' could not be written to JSON as it was: replace .* remove 'text' from 'altered'",
    ):
        run(server, FileRows(find_files(str(tmp_path / "rejects.jsonl"))), report)
    assert report.rejected_count == 1
    mended = json.loads(line) | {"text": "hello"}
    del mended["$reject"]["altered"]
    (tmp_path / "rejects.jsonl").write_text(json.dumps(mended))
    run(server, FileRows(find_files(str(tmp_path / "rejects.jsonl"))), report := IngestReport())
    assert report.upsert_count == 1
