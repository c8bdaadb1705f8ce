"""Decides what to send next of each batch, in which parts, and when the batch is done.

Only the main thread runs this code. If Milvus refuses a batch, the batch is halved until the rows at fault are found,
but only after Milvus has accepted a row of the run. Until then the run is *in doubt*, because the rows may not be at
fault at all: batches are kept, and single rows of them are sent, until one is accepted or too many are refused.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_milvus_rest.exceptions import DataRefusedError, RequestTooLargeError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.lanes import Lanes, Outcome, Part, Sent
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rows.schema import Key

_MAX_TRIES = 50  # refused requests after which a run gives up if no row was accepted
_MAX_KEPT = 1000  # batches that are kept while in doubt; their bytes are limited too
_MAX_HOLD_SECONDS = 60.0


@dataclass(eq=False)
class _Delivery:
    """A batch in flight, its size in bytes, and how many rows are ``left``: neither acknowledged nor rejected."""

    mark: Any  # returned when all rows are stored; None after one is rejected
    rows: dict[Key, Pending]
    left: int
    size: int
    timed_out: float | None = None


@dataclass
class Event:
    """Rows were acknowledged or refused. If a refused row had replaced an ``earlier`` one, that one is sent instead.

    ``found`` is what ``send`` returned for the acknowledged rows; ``stored`` is the mark of a batch whose rows are all
    stored; ``too_large`` is the size in bytes of a request that was too large; ``error`` ends the run.
    """

    acknowledged: list[Pending] = field(default_factory=list)
    found: Any = None
    refused: list[tuple[Pending, DataRefusedError]] = field(default_factory=list)
    stored: Any = None
    too_large: int | None = None
    error: BaseException | None = None


class Deliveries:
    """The batches in flight: at most ``concurrency`` at a time, and never two that share a key.

    After a request that Milvus or a gateway may still apply, rows with its keys wait for ``read_timeout`` seconds (60
    at most), so that it does not overwrite a newer row.
    """

    def __init__(self, options: Options, lanes: Lanes, read_timeout: float) -> None:
        self._lanes, self._count = lanes, options.concurrency
        self._max_bytes = options.concurrency * options.max_request_bytes
        self._hold_seconds = min(read_timeout, _MAX_HOLD_SECONDS)
        self._open: list[_Delivery] = []
        self._waiting: list[Part] = []
        self._held: list[tuple[float, frozenset[Key]]] = []
        self.accepted = False  # whether Milvus has accepted a row
        self._tries, self._error = 0, DataRefusedError("")
        self._undecided: list[Part] = []
        self._refused: list[tuple[Part, DataRefusedError]] = []  # each part is a single row
        self._rejected = 0  # rows that were rejected although none was accepted: at most one

    def busy(self) -> bool:
        """Whether parts are being sent or waiting to be sent."""
        return bool(self._waiting or self._lanes.sending)

    def in_doubt(self) -> bool:
        """Whether Milvus has refused rows and has not accepted any so far."""
        return not self.accepted and bool(self._undecided or self._refused)

    def unconfirmed(self) -> int:
        """How many submitted rows are neither acknowledged nor rejected."""
        return sum(delivery.left for delivery in self._open)

    def has_room(self, rows: dict[Key, Pending]) -> bool:
        """Whether a batch can be submitted now. It must share no key with those in flight: either could win."""
        limit = self._count
        if self.in_doubt():
            limit, rows_kept = _MAX_KEPT, len(self._refused) + sum(len(part.rows) for part in self._undecided)
            if self.busy() or (self._undecided and self._tries < 2 * rows_kept.bit_length()):
                return False  # first, more of the kept rows are tried
        if len(self._open) >= limit or sum(delivery.size for delivery in self._open) > self._max_bytes:
            return False
        self._held = [(until, held) for until, held in self._held if until > time.monotonic()]
        taken = (*(delivery.rows for delivery in self._open), *(held for _, held in self._held))
        return all(rows.keys().isdisjoint(keys) for keys in taken)

    def submit(self, mark: Any, rows: dict[Key, Pending]) -> None:
        """Send a batch. There must be room for it (:meth:`has_room`)."""
        delivery = _Delivery(mark, rows, len(rows), sum(len(row.text) for row in rows.values()))
        self._open.append(delivery)
        (self._undecided if self.in_doubt() else self._waiting).append(Part(delivery, list(rows.values())))
        self.start()

    def next(self, timeout: float) -> Sent | Event:
        """Wait for the next event, and send what follows from it. Raises queue.Empty after ``timeout`` seconds.

        If the run is in doubt and nothing is in flight, send a single row, or give up if enough rows were refused.
        """
        if self.in_doubt() and not self.busy():
            if not self._undecided or self._tries >= _MAX_TRIES:
                return self._give_up()
            self._try_one()
        self.start()  # now, when the event before this one is counted: starting a thread may fail
        item = self._lanes.next(timeout)
        return item if isinstance(item, Sent) else self._decide(item)

    def _try_one(self) -> None:
        """While in doubt, send one row alone: the middle row of the largest, newest part."""
        part = max(reversed(self._undecided), key=lambda part: len(part.rows))
        self._undecided.remove(part)
        middle = len(part.rows) // 2
        self._undecided += [Part(part.delivery, r) for r in (part.rows[:middle], part.rows[middle + 1 :]) if r]
        self._waiting.append(Part(part.delivery, [part.rows[middle]]))

    def _give_up(self) -> Event:
        """End the doubt: reject the row if there is only one. If there are several, the rows are not at fault."""
        count, error = len(self._refused) + self._rejected, self._error
        if count == 1 and not self._undecided:
            self._rejected = 1
            return Event(refused=self._reject())
        what = f"Milvus accepted none of the rows, not even the {count} sent alone: the rows are not the cause."
        return Event(error=type(error)(f"{what} {error.args[0]}", code=error.code, http_status=error.http_status))

    def stop(self) -> None:
        """Start no more requests."""
        self._waiting.clear()
        self._count = 0

    def start(self) -> None:
        """Send what waits, up to the limit of requests in flight."""
        while self._waiting and self._lanes.sending < self._count:
            self._lanes.submit(self._waiting.pop(0))

    def _decide(self, outcome: Outcome) -> Event:
        part, error, timed_out, found = outcome
        delivery, rows = part.delivery, part.rows
        delivery.timed_out = timed_out or delivery.timed_out
        if error is None:
            self.accepted = True
            self._waiting, self._undecided = self._waiting + self._undecided, []
            self._halve(delivery, part.rest)
            return Event(rows, found, refused=self._reject(), stored=self._settle(delivery, len(rows)))
        if not isinstance(error, DataRefusedError):
            return Event(error=error)
        self._tries, self._error = self._tries + 1, error
        if part.rest:
            self._waiting.insert(0, Part(delivery, part.rest))
        if len(rows) == 1:
            self._refused.append((part, error))
            if earlier := rows[0].earlier:  # with the same key, which is sent instead
                (self._waiting if self.accepted else self._undecided).insert(0, Part(delivery, [earlier]))
            return Event(refused=self._reject() if self.accepted else [])
        if self.accepted:
            self._halve(delivery, rows)
        else:
            self._undecided.append(part)
        return Event(too_large=part.size if isinstance(error, RequestTooLargeError) else None)

    def _halve(self, delivery: _Delivery, rows: list[Pending]) -> None:
        """Send half of some refused rows. If it is accepted, the fault is in the other half."""
        middle = len(rows) // 2
        if rows:
            self._waiting.insert(0, Part(delivery, rows[:middle] or rows, rows[middle:] if middle else []))

    def _reject(self) -> list[tuple[Pending, DataRefusedError]]:
        refused, self._refused = self._refused, []
        for part, _ in refused:
            part.delivery.mark = None
            self._settle(part.delivery, 0 if part.rows[0].earlier else 1)
        return [(part.rows[0], error) for part, error in refused]

    def _settle(self, delivery: _Delivery, count: int) -> Any:
        """Count rows as done. Return the batch's mark if these were the last ones."""
        delivery.left -= count
        if delivery.left:
            return None
        self._open.remove(delivery)
        if delivery.timed_out is not None:
            self._held.append((delivery.timed_out + self._hold_seconds, frozenset(delivery.rows)))
        return delivery.mark
