"""The one place that decides about a batch: what of it is sent next, in which parts, and when it is over.

Only the main thread comes here. A batch that Milvus refuses is halved until the rows at fault stand alone, but only
once it has accepted a row of the run. Until then the run is in *doubt*, since the fault may not be in the rows at all:
batches are kept, and some of their rows sent alone, until one is accepted, or so many were refused that none will be.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_milvus_rest.exceptions import DataRefusedError, RequestTooLargeError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.lanes import Lanes, Outcome, Part, Sent
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rows.schema import Key

_MAX_TRIES = 50  # refused requests, with no row accepted, after which none will be
_MAX_KEPT = 1000  # batches that are kept in doubt; there are as many only if they are small
_MAX_HOLD_SECONDS = 60.0


@dataclass(eq=False)
class _Delivery:
    """A batch on its way, its bytes, and how many of its rows are ``left``: neither acknowledged nor rejected."""

    mark: Any  # comes back when all rows are stored; None once one was rejected
    rows: dict[Key, Pending]
    left: int
    size: int
    timed_out: float | None = None


@dataclass
class Event:
    """Rows were acknowledged, or refused; the ``earlier`` one of a refused row is sent instead.

    ``found`` is what sending the acknowledged ones returned; ``stored`` is the mark of a batch of which all rows are;
    ``too_large`` counts bytes; ``error`` ends the run.
    """

    acknowledged: list[Pending] = field(default_factory=list)
    found: Any = None
    refused: list[tuple[Pending, DataRefusedError]] = field(default_factory=list)
    stored: Any = None
    too_large: int | None = None
    error: BaseException | None = None


class Deliveries:
    """The batches on their way, at most ``concurrency`` at a time, and never two that share a key.

    The keys of a request that timed out are held for ``read_timeout`` seconds more: Milvus or a gateway may apply it
    late, and a newer row of the key must not be overtaken.
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
        self._refused: list[tuple[Part, DataRefusedError]] = []  # each a row that was sent alone

    def busy(self) -> bool:
        """Whether something is being sent, or will be."""
        return bool(self._waiting or self._lanes.sending)

    def in_doubt(self) -> bool:
        """Whether rows were refused and are not decided about, since none was accepted so far."""
        return not self.accepted and bool(self._undecided or self._refused)

    def unconfirmed(self) -> int:
        """How many rows are on their way, or kept."""
        return sum(delivery.left for delivery in self._open)

    def has_room(self, rows: dict[Key, Pending]) -> bool:
        """Whether a batch may come now: sent beside one that has one of its keys, either of the two could win."""
        limit = self._count
        if self.in_doubt():
            limit, rows_kept = _MAX_KEPT, len(self._refused) + sum(len(part.rows) for part in self._undecided)
            if self.busy() or (self._undecided and self._tries < 2 * rows_kept.bit_length()):
                return False  # more rows of those that are kept are tried first
        if len(self._open) >= limit or sum(delivery.size for delivery in self._open) > self._max_bytes:
            return False
        self._held = [(until, held) for until, held in self._held if until > time.monotonic()]
        taken = (*(delivery.rows for delivery in self._open), *(held for _, held in self._held))
        return all(rows.keys().isdisjoint(keys) for keys in taken)

    def submit(self, mark: Any, rows: dict[Key, Pending]) -> None:
        """Send a batch; there must be room."""
        delivery = _Delivery(mark, rows, len(rows), sum(len(row.text) for row in rows.values()))
        self._open.append(delivery)
        (self._undecided if self.in_doubt() else self._waiting).append(Part(delivery, list(rows.values())))
        self._start()

    def next(self, timeout: float) -> Sent | Event:
        """Wait for what happens next, and send what follows; queue.Empty if nothing does within ``timeout`` seconds.

        In doubt, and with nothing on its way, a row is tried; if enough were, this is the end of the doubt.
        """
        if self.in_doubt() and not self.busy():
            if not self._undecided or self._tries >= _MAX_TRIES:
                return self._give_up()
            self._try_one()
        item = self._lanes.next(timeout)
        if isinstance(item, Sent):
            return item
        event = self._decide(item)
        self._start()
        return event

    def _try_one(self) -> None:
        """In doubt, send one of the newest untried rows alone."""
        part = max(reversed(self._undecided), key=lambda part: len(part.rows))
        self._undecided.remove(part)
        middle = len(part.rows) // 2
        self._undecided += [Part(part.delivery, r) for r in (part.rows[:middle], part.rows[middle + 1 :]) if r]
        self._waiting.append(Part(part.delivery, [part.rows[middle]]))
        self._start()

    def _give_up(self) -> Event:
        """In doubt: a lone row is at fault; several are not."""
        count, error = len(self._refused), self._error
        if count == 1 and not self._undecided:
            return Event(refused=self._reject())
        what = f"Milvus accepted none of the rows, {count} of which were sent alone: a row is not the cause."
        return Event(error=type(error)(f"{what} {error.args[0]}", code=error.code, http_status=error.http_status))

    def stop(self) -> None:
        """Send nothing that is not yet being sent."""
        self._waiting.clear()
        self._count = 0

    def _start(self) -> None:
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
            if earlier := rows[0].earlier:  # of the same key, which stands now
                (self._waiting if self.accepted else self._undecided).insert(0, Part(delivery, [earlier]))
            return Event(refused=self._reject() if self.accepted else [])
        if self.accepted:
            self._halve(delivery, rows)
        else:
            self._undecided.append(part)
        return Event(too_large=part.size if isinstance(error, RequestTooLargeError) else None)

    def _halve(self, delivery: _Delivery, rows: list[Pending]) -> None:
        """Send half of the rows, which are at fault; if that is accepted, the fault is in the other half."""
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
        """So many rows are done with; the batch's mark if that was all of them."""
        delivery.left -= count
        if delivery.left:
            return None
        self._open.remove(delivery)
        if delivery.timed_out is not None:
            self._held.append((delivery.timed_out + self._hold_seconds, frozenset(delivery.rows)))
        return delivery.mark
