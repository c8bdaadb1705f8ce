"""When to send again, and how many at a time: what the lanes know together of the server's health."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential
from tenacity.stop import stop_base

from airflow_provider_milvus_rest.exceptions import MilvusRestError, ServerError, StoppedError

T = TypeVar("T")
RETRY_BUDGET = timedelta(minutes=2)
_SHORT_SECONDS = 30.0
"""Of retries before the first answer of a run, so that a wrong host fails soon, and of what may not be the server's
passing trouble (code 65535)."""
TICK = 0.1
"""Seconds after which who waits looks whether it was stopped."""
_WAIT = wait_random_exponential(multiplier=0.25, max=15)
"""Seconds before a retry: exponential, with full jitter."""


class Pace:
    """Retries what a retry may help, and lets fewer requests through while the server is in trouble.

    An *outage* begins with a failure and ends with the next request that is acknowledged, whichever lane sent it. Each
    failure halves how many requests may be on their way; each success adds a part of one, up to ``concurrency``.

    :param budget: seconds that an outage may last.
    :param log: takes a line about each retry.
    """

    def __init__(self, budget: float, concurrency: int, log: Callable[[str], None] = lambda _: None) -> None:
        self._budget = budget
        self._most = concurrency
        self._log = log
        self._changed = threading.Condition()
        self._allowed = float(concurrency)
        self._sending = 0
        self._answered = False
        self._failing_since: float | None = None
        self._not_before = 0.0
        self.stopped = False
        """Once True, no request begins any more."""
        self.interrupted = False
        """Whether that is because the task is to end at once."""

    def interrupt(self) -> None:
        """Let no request begin any more, and the run end. Takes no lock: a signal handler may call it."""
        self.stopped = self.interrupted = True

    def call(self, send: Callable[[], T], on_retry: Callable[[], None] = lambda: None) -> T:
        """What ``send`` returns, sent again as long as that may help.

        :raises StoppedError: it was stopped.
        :raises MilvusRestError: what ``send`` raised, when a retry cannot help or the budget is spent.
        """
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, MilvusRestError) and error.retryable),
            stop=_Spent(self),
            wait=self._wait,
            sleep=self._sleep,
            before_sleep=self._say,
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    on_retry()
                self._enter()
                answered = False
                try:
                    result = send()
                    answered = True
                except MilvusRestError as error:
                    answered = not error.retryable  # it is an answer, if no good one
                    raise
                finally:
                    self._leave(answered)
        return result

    def call_aside(self, function: Callable[[], T]) -> T:
        """What ``function`` returns in a thread of its own, so that an interrupt ends the wait whatever it waits for.

        :raises StoppedError: it was interrupted; the thread ends when the function does.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # for the caller
                future.set_exception(error)

        threading.Thread(target=run, name="milvus-rest-call", daemon=True).start()
        while not wait([future], TICK).done:
            self._check()
        return future.result()

    def spent(self, state: RetryCallState) -> bool:
        """Whether there may be no more retries."""
        error = state.outcome and state.outcome.exception()
        with self._changed:
            lasted = time.monotonic() - (self._failing_since or time.monotonic())
            short = not self._answered or isinstance(error, ServerError)
        budget = min(self._budget, _SHORT_SECONDS) if short else self._budget
        if lasted + state.upcoming_sleep <= budget:
            return False
        if isinstance(error, MilvusRestError) and state.attempt_number > 1:
            error.args = (f"{error.args[0]} Tried {state.attempt_number} times in {lasted:.0f} s.",)
        return True

    def _enter(self) -> None:
        """Wait until a request may begin."""
        with self._changed:
            while True:
                self._check()
                early = self._not_before - time.monotonic()
                if early <= 0 and self._sending < max(1, int(self._allowed)):
                    self._sending += 1
                    return
                self._changed.wait(min(early, TICK) if early > 0 else TICK)

    def _leave(self, answered: bool) -> None:
        with self._changed:
            self._sending -= 1
            if answered:
                self._answered, self._failing_since = True, None
                self._allowed = min(self._most, self._allowed + 1 / self._allowed)
            else:
                self._failing_since = self._failing_since or time.monotonic()
                self._allowed = max(1.0, self._allowed / 2)
            self._changed.notify_all()

    def _wait(self, state: RetryCallState) -> float:
        """What the server asks for, which all lanes keep to, or a random time."""
        error = state.outcome and state.outcome.exception()
        asked = error.retry_after if isinstance(error, MilvusRestError) else None
        if asked is None:
            return _WAIT(state)
        with self._changed:
            self._not_before = max(self._not_before, time.monotonic() + asked)
        return asked

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, TICK))

    def _check(self) -> None:
        if self.stopped:
            raise StoppedError("The run was stopped before everything was sent.")

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if self.stopped:
            return  # it will not be sent again
        self._log(f"{type(error).__name__}: {error} Sending again in {state.upcoming_sleep:.1f} s.")


class _Spent(stop_base):
    """tenacity's way to ask."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._pace.spent(retry_state)
