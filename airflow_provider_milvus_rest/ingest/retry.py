"""When a request is sent again, and how many may be on their way while the server is in trouble."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_milvus_rest import exceptions as e

T = TypeVar("T")
_SHORT_SECONDS = 30.0
"""The budget before the first answer of a run, so that a wrong host fails soon, and for :data:`_OWN_FAULT`."""
_CREDENTIALS = (e.NotAuthenticatedError, e.ForbiddenError)
"""Milvus also answers so when its coordinator is away (``proxy/util.go:passwordVerify``, 2.3 to 3.0)."""
_OWN_FAULT = (e.ServerError, *_CREDENTIALS)  # what may be the request's rather than the server's (code 65535)
_MAX_PAUSE = 15.0
TICK = 0.1  # seconds after which a wait looks whether the run was stopped


@dataclass
class _Tries:
    """The attempts at one request: how many failed, since when, and since when only with what may be its own fault."""

    failed: int = 0
    since: float = 0.0
    own_fault_since: float | None = None

    def pause(self, error: e.MilvusRestError, budget: float) -> float:
        """Seconds until the next attempt, the last of which is made when the budget ends; then the error is raised."""
        now = time.monotonic()
        self.since = self.since or now
        self.failed += 1
        left = self.since + budget - now
        if isinstance(error, _OWN_FAULT):
            self.own_fault_since = self.own_fault_since or now
            left = min(left, self.own_fault_since + _SHORT_SECONDS - now)
        else:
            self.own_fault_since = None
        asked = error.retry_after or 0.0
        if left <= 0 or asked > left:
            if self.failed > 1:
                error.args = (f"{error.args[0]} Tried {self.failed} times in {now - self.since:.0f} s.",)
            raise error
        longest = min(_MAX_PAUSE, 0.25 * 2.0 ** min(self.failed - 1, 9))
        return max(asked, min(left, longest * random.uniform(0.5, 1)))  # noqa: S311


@dataclass
class Stop:
    """Whether runs are to end at once. It has no lock: a signal handler may set it."""

    now: bool = False


class Retry:
    """Sends again what a retry may help, and fewer requests at a time while the server is in trouble.

    Each request has its own budget, which begins with its first failure: that others succeed does not extend it.
    Each failure halves how many requests may be on their way; each success adds a part of one, up to ``concurrency``.
    ``budget`` is in seconds; ``log`` takes a line about each retry.
    """

    def __init__(
        self, budget: float, concurrency: int, log: Callable[[str], None] = lambda _: None, stop: Stop | None = None
    ) -> None:
        self._budget, self._most, self._log, self.stop = budget, concurrency, log, stop or Stop()
        self._changed = threading.Condition()
        self._allowed = float(concurrency)
        self._sending = 0
        self._answered = False
        self._not_before = 0.0
        self.acknowledged = False  # whether an upsert was, so that the credentials are right
        self.stopped = False  # once True, no request begins any more

    def call(self, send: Callable[[], T]) -> T:
        """What ``send`` returns, called again as long as that may help. Its error, if that is over or cannot help."""
        tries = _Tries()
        while True:
            self._enter()
            error: e.MilvusRestError | None = None
            try:
                return send()
            except e.MilvusRestError as failure:
                error = failure
                if not (error.retryable or (self.acknowledged and isinstance(error, _CREDENTIALS))):
                    raise
            finally:
                self._leave(error)
            pause = tries.pause(error, self._budget if self._answered else min(self._budget, _SHORT_SECONDS))
            if error.retry_after:
                with self._changed:  # all lanes keep to it
                    self._not_before = max(self._not_before, time.monotonic() + pause)
            self.check()
            self._log(f"{type(error).__name__}: {error} Sending again in {pause:.1f} s.")
            self.sleep(pause)

    def in_thread(self, function: Callable[[], T], seconds: float = float("inf")) -> T:
        """What ``function`` returns within ``seconds``, in a thread of its own, so that an interrupt ends the wait."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # for the caller
                future.set_exception(error)

        threading.Thread(target=run, name="milvus-rest-call", daemon=True).start()
        end = time.monotonic() + seconds
        while not wait([future], TICK).done:
            self.check()
            if time.monotonic() > end:
                raise e.ConnectError(f"Milvus did not answer within {seconds:g} s.")
        return future.result()

    def check(self) -> None:
        """Raise StoppedError if no request may begin any more."""
        if self.stopped or self.stop.now:
            raise e.StoppedError("The run was stopped before everything was sent.")

    def sleep(self, seconds: float) -> None:
        """Wait; StoppedError if the run was stopped."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, TICK))

    def _enter(self) -> None:
        """Wait until a request may begin."""
        with self._changed:
            self.check()
            while (early := self._not_before - time.monotonic()) > 0 or self._sending >= int(self._allowed):
                self._changed.wait(min(early, TICK) if early > 0 else TICK)
                self.check()
            self._sending += 1

    def _leave(self, error: e.MilvusRestError | None) -> None:
        with self._changed:
            self._sending -= 1
            if error is None or not error.retryable:  # it is an answer, if not a good one
                self._answered = True
                self._allowed = min(self._most, self._allowed + 1 / self._allowed)
            elif not isinstance(error, _OWN_FAULT):
                self._allowed = max(1.0, self._allowed / 2)
            self._changed.notify_all()
