"""Decides when to retry a request, and how many may be in flight while the server has problems."""

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
"""The budget before the first response of a run, so that a wrong host fails early, and for :data:`_AMBIGUOUS`."""
_CREDENTIALS = (e.NotAuthenticatedError, e.ForbiddenError)
"""Milvus also returns these while its coordinator is unavailable (``proxy/util.go:passwordVerify``, 2.3 to 3.0)."""
_AMBIGUOUS = (e.ServerError, *_CREDENTIALS)  # may be caused by the request or by the server (code 65535)
_MAX_PAUSE = 15.0
TICK = 0.1  # seconds between checks whether the run was stopped


@dataclass
class _Tries:
    """The failed attempts of one request: how many, since when, and since when only with :data:`_AMBIGUOUS` errors."""

    failed: int = 0
    since: float = 0.0
    ambiguous_since: float | None = None

    def pause(self, error: e.MilvusRestError, budget: float) -> float:
        """Return the seconds until the next attempt. The last one is when the budget ends; then, raise ``error``."""
        now = time.monotonic()
        self.since = self.since or now
        self.failed += 1
        left = self.since + budget - now
        if isinstance(error, _AMBIGUOUS):
            self.ambiguous_since = self.ambiguous_since or now
            left = min(left, self.ambiguous_since + _SHORT_SECONDS - now)
        else:
            self.ambiguous_since = None
        retry_after = error.retry_after or 0.0
        if left <= 0 or retry_after > left:
            said = f" Tried {self.failed} times in {now - self.since:.0f} s." if self.failed > 1 else ""
            if retry_after > max(left, 0.0):
                rest = f"{left:.0f} s are left" if left > 0 else "no time is left"
                said += f" The server asked to wait {retry_after:.0f} s, but {rest} for retries."
            error.args = (f"{error.args[0]}{said}",)
            raise error
        longest = min(_MAX_PAUSE, 0.25 * 2.0 ** min(self.failed - 1, 9))
        return max(retry_after, min(left, longest * random.uniform(0.5, 1)))  # noqa: S311


@dataclass
class Stop:
    """Whether runs must end now. It has no lock, because a signal handler may set it."""

    now: bool = False


class Retry:
    """Retries requests, and sends fewer at a time while the server has problems.

    Each request has its own budget, which begins with its first failure. The success of others does not extend it.
    Each failure halves how many requests may be in flight; each success adds a fraction of one, up to ``concurrency``.
    ``budget`` is in seconds; ``log`` is called with a line for each retry.
    """

    def __init__(
        self, budget: float, concurrency: int, log: Callable[[str], None] = lambda _: None, stop: Stop | None = None
    ) -> None:
        self._budget, self._concurrency, self._log, self.stop = budget, concurrency, log, stop or Stop()
        self._changed = threading.Condition()
        self._allowed = float(concurrency)
        self._sending = 0
        self._answered = False
        self._not_before = 0.0
        self.acknowledged = False  # whether an upsert was acknowledged: the credentials are right
        self.waiting = False  # whether a function in in_thread may still be running
        self.stopped = False  # when True, no more requests are started

    def call(self, send: Callable[[], T]) -> T:
        """Call ``send`` until it succeeds or a retry no longer helps. Return its result or raise its error."""
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
                with self._changed:  # for all lanes
                    self._not_before = max(self._not_before, time.monotonic() + pause)
            self.check()
            self._log(f"{type(error).__name__}: {error} Retrying in {pause:.1f} s.")
            self.sleep(pause)

    def in_thread(self, function: Callable[[], T], seconds: float = float("inf")) -> T:
        """Call ``function`` in its own thread and wait up to ``seconds`` for its result. An interrupt ends the wait."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # for the caller
                future.set_exception(error)

        self.waiting = True
        threading.Thread(target=run, name="milvus-rest-call", daemon=True).start()
        end = time.monotonic() + seconds
        while not wait([future], TICK).done:
            self.check()
            if time.monotonic() > end:
                raise e.ConnectError(f"Milvus did not answer within {seconds:g} s.")
        self.waiting = False
        return future.result()

    def check(self) -> None:
        """Raise StoppedError if the run was stopped."""
        if self.stopped or self.stop.now:
            raise e.StoppedError("The run was stopped before everything was sent.")

    def sleep(self, seconds: float) -> None:
        """Wait. Raises StoppedError as soon as the run is stopped."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, TICK))

    def _enter(self) -> None:
        """Wait until a request may be sent."""
        with self._changed:
            self.check()
            while (early := self._not_before - time.monotonic()) > 0 or self._sending >= int(self._allowed):
                self._changed.wait(min(early, TICK) if early > 0 else TICK)
                self.check()
            self._sending += 1

    def _leave(self, error: e.MilvusRestError | None) -> None:
        with self._changed:
            self._sending -= 1
            self._answered = self._answered or error is None or error.http_status is not None
            if error is None or not error.retryable:
                self._allowed = min(self._concurrency, self._allowed + 1 / self._allowed)
            elif not isinstance(error, _AMBIGUOUS):
                self._allowed = max(1.0, self._allowed / 2)
            self._changed.notify_all()
