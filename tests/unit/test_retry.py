"""When requests are sent again, and how many at a time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from email.utils import formatdate
from typing import Any

import pytest

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest import retry as retry_module
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from tests.servers import DESCRIBE, UPSERT, Reply, Request, ScriptedServer, accept


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that passes only while something sleeps."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(retry_module, "time", clock)
    return clock


def failing(*errors: Exception | None) -> Any:
    """A call that raises one after the other, the last one again and again; None for success."""
    left = list(errors)

    def send() -> str:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error:
            raise error
        return "done"

    return send


def test_it_retries_until_it_works(clock: Any) -> None:
    logged: list[str] = []
    send = failing(
        e.ConnectError("a"), e.NotReadyError("b"), e.OverloadedError("c"), e.UnexpectedAnswerError("d"), None
    )
    assert Retry(120, 4, logged.append).call(send) == "done"
    assert [line.split(" Retrying in ")[0] for line in logged] == [
        "ConnectError: a",
        "NotReadyError: b",
        "OverloadedError: c",
        "UnexpectedAnswerError: d",
    ]


@pytest.mark.parametrize("error", [e.DataRefusedError, e.NotAuthenticatedError, e.WrongEndpointError, e.NotFoundError])
def test_what_a_retry_cannot_help_is_raised_at_once(clock: Any, error: type[e.MilvusRestError]) -> None:
    with pytest.raises(error, match=r"^no$"):
        Retry(120, 4).call(failing(error("no")))
    assert clock.now == 1000


@pytest.mark.parametrize(
    ("budget", "first", "error", "seconds"),
    [
        (120, None, e.ConnectError, 120),
        (120, e.ConnectError("x"), e.ConnectError, 30),  # nothing has answered yet
        (10, e.ConnectError("x"), e.ConnectError, 10),
        (120, None, e.ServerError, 30),  # 65535 may be the request's fault
        (0, None, e.ConnectError, 0),
    ],
)
def test_an_outage_may_last_as_long_as_the_budget(
    clock: Any, budget: float, first: Exception | None, error: type[e.MilvusRestError], seconds: float
) -> None:
    retry = Retry(budget, 4)
    if first is None:
        retry.call(lambda: "answered")
    begin = clock.now
    with pytest.raises(error, match=r"^down( Tried \d+ times in \d+ s\.)?$"):
        retry.call(failing(error("down")))
    assert seconds <= clock.now - begin <= seconds + 0.2  # the last attempt is made when the budget ends


@pytest.mark.parametrize("budget", [10, 30, 60, 120])
@pytest.mark.parametrize("more", [0, 1])
def test_an_outage_as_long_as_the_budget_is_survived_and_a_longer_one_not_given_up_early(
    clock: Any, budget: float, more: float
) -> None:
    retry = Retry(budget, 4)
    retry.call(lambda: "answered")
    begin = clock.now

    def send() -> None:
        if clock.now < begin + budget + more:
            raise e.NotReadyError("down")

    if not more:
        retry.call(send)
    else:
        with pytest.raises(e.NotReadyError):
            retry.call(send)
    assert clock.now - begin == pytest.approx(budget, abs=0.01)


def test_what_was_an_outage_does_not_shorten_the_patience_with_what_may_be_its_own_fault(clock: Any) -> None:
    retry = Retry(120, 4)
    retry.call(lambda: None)
    begin = clock.now

    def send() -> None:
        raise e.ConnectError("down") if clock.now < begin + 60 else e.ServerError("starting")

    with pytest.raises(e.ServerError):
        retry.call(send)
    assert begin + 90 <= clock.now <= begin + 60 + 15 + 30


@pytest.mark.parametrize("error", [e.NotAuthenticatedError, e.ForbiddenError])
def test_credentials_that_were_good_are_tried_again_for_a_while(clock: Any, error: type[e.MilvusRestError]) -> None:
    retry = Retry(120, 4)
    with pytest.raises(error, match=r"^no$"):
        retry.call(failing(error("no")))
    retry.acknowledged = True
    assert retry.call(failing(*[error("no")] * 5, None)) == "done"
    begin = clock.now
    with pytest.raises(error, match="Tried"):
        retry.call(failing(error("no")))
    assert clock.now - begin == pytest.approx(30, abs=0.01)


def test_patience_with_what_may_be_its_own_fault_begins_anew_after_an_outage(clock: Any) -> None:
    retry = Retry(120, 4)
    retry.call(lambda: None)
    begin = clock.now

    def send() -> None:
        after = clock.now - begin
        if after < 75:
            raise e.ConnectError("down") if 20 < after < 50 else e.ServerError("starting")

    retry.call(send)
    assert clock.now - begin >= 75


@pytest.mark.parametrize(("share", "pick"), [(1, max), (0.5, min)])
def test_pauses_double_up_to_15_seconds_and_chance_shortens_them_by_up_to_half(
    clock: Any, monkeypatch: pytest.MonkeyPatch, share: float, pick: Any
) -> None:
    monkeypatch.setattr(retry_module.random, "uniform", lambda low, high: pick(low, high))
    retry, tried = Retry(120, 4), list[float]()

    def send() -> None:
        tried.append(clock.now)
        raise e.NotReadyError("down")

    retry.call(lambda: None)
    with pytest.raises(e.NotReadyError):
        retry.call(send)
    pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert pauses[:8] == pytest.approx([share * pause for pause in (0.25, 0.5, 1, 2, 4, 8, 15, 15)])
    assert sum(pauses) == pytest.approx(120)


@pytest.mark.parametrize(
    ("budget", "says"), [(0, "down"), (0.2, "down Tried 2 times in 0 s."), (1.7, "down Tried 4 times in 2 s.")]
)
def test_an_error_says_how_often_and_how_long_it_was_tried(
    clock: Any, monkeypatch: pytest.MonkeyPatch, budget: float, says: str
) -> None:
    monkeypatch.setattr(retry_module.random, "uniform", lambda low, high: high)
    with pytest.raises(e.ConnectError) as caught:
        Retry(budget, 1).call(failing(e.ConnectError("down")))
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("failures", "begins"),
    [
        ([e.NotReadyError("down")], [0]),
        ([e.OverloadedError("x", retry_after=7)], [7]),
        ([e.OverloadedError("x", retry_after=7), e.OverloadedError("y", retry_after=3)], [7, 10]),
    ],
)
def test_a_pause_that_the_server_asks_for_is_kept_by_all_lanes(
    clock: Any, monkeypatch: pytest.MonkeyPatch, failures: list[Exception], begins: list[float]
) -> None:
    """Another request wants to begin just when the pause of the first begins."""
    retry, began = Retry(120, 4), list[float]()
    retry.call(lambda: None)

    def pause(seconds: float) -> None:
        retry.call(lambda: began.append(clock.now - 1000))

    monkeypatch.setattr(retry._changed, "wait", clock.sleep)
    monkeypatch.setattr(retry, "sleep", pause)
    retry.call(failing(*failures, None))
    assert began == pytest.approx(begins)


def at_once(retry: Retry, count: int = 6) -> int:
    """How many of so many requests begin before one of them is answered."""
    began, answered = list[int](), threading.Event()

    def send() -> None:
        began.append(1)
        answered.wait(5)

    threads = [threading.Thread(target=retry.call, args=(send,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    time.sleep(0.25)  # longer than a wait
    first = len(began)
    answered.set()
    for thread in threads:
        thread.join(5)
    assert len(began) == count
    return first


DOWN, REFUSED = e.NotReadyError("down", retry_after=1000), e.DataRefusedError("no")


@pytest.mark.parametrize(
    ("before", "most"),
    [
        ([], 4),
        ([None] * 5, 4),
        ([REFUSED] * 3, 4),
        ([DOWN], 2),
        ([DOWN] * 9, 1),
        ([*[DOWN] * 9, None], 2),
        ([*[DOWN] * 9, REFUSED], 2),
        ([*[DOWN] * 9, *[None] * 4], 3),
        ([*[DOWN] * 9, *[None] * 9], 4),
    ],
)
def test_how_many_requests_go_at_a_time(before: list[Exception | None], most: int) -> None:
    """Each failure halves it, down to one; answers bring it back, up to the number of lanes."""
    retry = Retry(120, 4)
    for error in before:
        with suppress(e.MilvusRestError):
            retry.call(failing(error))
    assert at_once(retry) == most


@pytest.mark.parametrize("asked", [0.0, 0.001])
def test_a_server_that_asks_for_no_pause_gets_one(clock: Any, asked: float) -> None:
    retry, tried = Retry(60, 4), list[float]()

    def send() -> None:
        tried.append(clock.now)
        raise e.OverloadedError("x", retry_after=asked)

    retry.call(lambda: None)
    with pytest.raises(e.OverloadedError):
        retry.call(send)
    assert len(tried) < 20


def test_the_budget_is_each_request_s_own(clock: Any) -> None:
    """Others that succeed do not extend it, and what may be its own fault does not slow them."""
    retry = Retry(120, 4)
    retry.call(lambda: None)
    begin = clock.now

    def send() -> None:
        retry.call(lambda: None)
        raise e.ServerError("bad batch")

    with pytest.raises(e.ServerError):
        retry.call(send)
    assert clock.now - begin == pytest.approx(30, abs=0.01)
    assert retry._allowed == 4


def test_each_acknowledged_request_begins_a_new_budget(clock: Any) -> None:
    retry = Retry(100, 1)
    retry.call(lambda: None)
    for _ in range(10):
        retry.call(failing(*[e.NotReadyError("x")] * 8, None))
    assert clock.now - 1000 > 100


def test_the_server_says_when(clock: Any) -> None:
    retry = Retry(120, 2)
    retry.call(lambda: None)
    assert retry.call(failing(e.OverloadedError("x", retry_after=7), None)) == "done"
    assert 7 <= clock.now - 1000 <= 7.2
    with pytest.raises(e.OverloadedError) as caught:
        retry.call(failing(e.OverloadedError("x", retry_after=500)))
    assert str(caught.value) == ("x The server asked to wait 500 s, but 120 s are left for retries.")
    assert clock.now - 1000 <= 7.2  # it does not wait for what comes after the budget
    assert retry.call(failing(e.OverloadedError("x", retry_after=120), None)) == "done"


def test_an_error_that_the_server_sent_is_its_first_response(clock: Any) -> None:
    retry = Retry(120, 2)
    assert retry.call(failing(e.OverloadedError("x", http_status=429, retry_after=31), None)) == "done"


def test_stop_ends_the_waiting() -> None:
    retry, raised = Retry(120, 1), list[BaseException]()

    def call() -> None:
        try:
            retry.call(failing(e.OverloadedError("x", retry_after=20)))
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    retry.stop.now = True
    for thread in threads:
        thread.join(2)
    assert [type(error) for error in raised] == [e.StoppedError] * 3


def test_a_limited_server_sees_fewer_requests(server: ScriptedServer, server_connection: None) -> None:
    """One that takes 20 requests a second, and refuses the others with code 8."""
    taken: list[float] = []

    def limited(request: Request) -> Reply:
        now = time.monotonic()
        if len([moment for moment in taken if moment > now - 0.5]) >= 10:
            return Reply({"code": 8, "message": "rate limit exceeded"})
        taken.append(now)
        return accept(request)

    server.script(UPSERT, limited)
    rows = [{"id": key, "vector": [0.5] * 4, "text": "x"} for key in range(60)]
    hook = MilvusRestHook()
    report = hook.ingest("docs", rows, batch_size=1, concurrency=8)
    hook.close()
    assert report.upsert_count == 60
    assert 0 < report.retry_count < 60
    assert report.request_count == 60 + report.retry_count == len(server.sent_to(UPSERT))


def test_lanes_speed_up_again(clock: Any) -> None:
    retry = Retry(120, 8)
    retry.call(failing(*[e.OverloadedError("x")] * 5, None))
    slow = retry._allowed
    for _ in range(100):
        retry.call(lambda: None)
    assert 1 <= slow < 3
    assert retry._allowed == 8


@pytest.fixture
def in_new_york() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3),
        ("0", 0),
        pytest.param(formatdate(time.time() + 100_000, usegmt=True), 100_000, id="a date"),
        pytest.param(time.asctime(time.gmtime(time.time() + 100_000)), 100_000, id="a date of asctime"),
        ("soon", None),
        ("-5", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        (None, None),
    ],
)
@pytest.mark.usefixtures("in_new_york")
def test_retry_after(server: ScriptedServer, header: str | None, seconds: float | None) -> None:
    server.script(DESCRIBE, Reply("busy", 429, {"Retry-After": header} if header else {}))
    with MilvusRestClient(ConnectionSettings.from_connection(host=server.url)[0]) as client:
        with pytest.raises(e.OverloadedError) as caught:
            client.describe_collection("docs")
    assert caught.value.retry_after == (pytest.approx(seconds, abs=3000) if seconds else seconds)


@pytest.mark.parametrize("budget", [-1, float("nan"), float("inf"), "2m", True, None, timedelta(seconds=-5)])
def test_budgets_that_are_none(server_connection: None, budget: Any) -> None:
    with pytest.raises(e.InputError, match="retry_budget must be a timedelta or a number of seconds"):
        MilvusRestHook().ingest("docs", [], retry_budget=budget)


def test_a_404_says_what_to_try(server: ScriptedServer) -> None:
    server.script(UPSERT, Reply("404 page not found", 404))
    server.script(DESCRIBE, Reply("404 page not found", 404))
    with MilvusRestClient(ConnectionSettings.from_connection(host=server.url)[0]) as client:
        with pytest.raises(e.WrongEndpointError, match="api_version"):
            client.describe_collection("docs")
