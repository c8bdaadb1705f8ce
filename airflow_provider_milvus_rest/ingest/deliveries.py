"""The one place that decides about a batch: what of it is sent next, in which parts, and when it is over.

Only the main thread comes here. A batch that Milvus refuses is halved until the rows at fault stand alone, but only
once it has accepted a row of the run: until then, the fault may not be in the rows at all, and the batch is given back.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import dataclass, field

from airflow_provider_milvus_rest.exceptions import DataRefusedError, RequestTooLargeError
from airflow_provider_milvus_rest.ingest.batches import Pending
from airflow_provider_milvus_rest.ingest.lanes import Lanes, Outcome, Sent
from airflow_provider_milvus_rest.rows.schema import Key


@dataclass(eq=False)
class _Delivery:
    """A batch on its way, and how many of its rows are neither acknowledged nor refused."""

    number: int
    rows: dict[Key, Pending]
    left: int
    refused: bool = False
    timed_out: float | None = None


@dataclass(eq=False)
class _Part:
    """Rows of a batch for one request; ``rest`` is the other half of what was refused, to be sent after it."""

    delivery: _Delivery
    rows: list[Pending]
    rest: list[Pending] = field(default_factory=list)
    too_large: bool = False


@dataclass
class Event:
    """What has happened: a request was sent, or rows were acknowledged, refused alone, or given back undecided.

    ``reinstated`` rows are sent because the later row with their key was refused. ``stored`` is the number of a batch
    of which all rows are. ``too_large`` is how many bytes of several rows were. ``error`` ends the run.
    """

    sent: Sent | None = None
    acknowledged: list[Pending] = field(default_factory=list)
    refused: tuple[Pending, DataRefusedError] | None = None
    given_back: tuple[list[Pending], DataRefusedError] | None = None
    reinstated: int = 0
    stored: int | None = None
    too_large: int | None = None
    error: BaseException | None = None


class Deliveries:
    """The batches on their way, at most ``count`` at a time, and never two that share a key.

    :param hold_seconds: how long the keys of a request that timed out are held after that: Milvus, or a gateway, may
        apply it late, and a newer row of the key must not be overtaken.
    """

    def __init__(self, count: int, lanes: Lanes, hold_seconds: float) -> None:
        self._count = count
        self._lanes = lanes
        self._hold_seconds = hold_seconds
        self._open: list[_Delivery] = []
        self._waiting: deque[_Part] = deque()
        self._sending: dict[int, _Part] = {}
        self._held: list[tuple[float, frozenset[Key]]] = []
        self._numbers = itertools.count()
        self.accepted = False
        """Whether Milvus has accepted a row."""

    @property
    def busy(self) -> bool:
        """Whether something is being sent, or will be."""
        return bool(self._waiting or self._sending)

    @property
    def unconfirmed(self) -> int:
        """How many rows are on their way."""
        return sum(delivery.left for delivery in self._open)

    def has_room(self, rows: dict[Key, Pending]) -> bool:
        """Whether a batch may be sent now: sent beside one that has one of its keys, either of the two could win."""
        now = time.monotonic()
        self._held = [(until, held) for until, held in self._held if until > now]
        if len(self._open) >= self._count:
            return False
        taken = (*(delivery.rows for delivery in self._open), *(held for _, held in self._held))
        return all(rows.keys().isdisjoint(keys) for keys in taken)

    def submit(self, number: int, rows: dict[Key, Pending]) -> None:
        """Send a batch; there must be room."""
        delivery = _Delivery(number, rows, len(rows))
        self._open.append(delivery)
        self._waiting.append(_Part(delivery, list(rows.values())))
        self._start()

    def next(self, timeout: float) -> Event:
        """Wait for what happens next, and send what follows from it.

        :raises queue.Empty: nothing did within ``timeout`` seconds.
        """
        item = self._lanes.next(timeout)
        if isinstance(item, Sent):
            return Event(sent=item)
        event = self._decide(item, self._sending.pop(item.number))
        self._start()
        return event

    def stop(self) -> None:
        """Send nothing that is not yet being sent."""
        self._waiting.clear()
        self._count = 0

    def _start(self) -> None:
        while self._waiting and self._count and not self._lanes.full:
            part = self._waiting.popleft()
            number = next(self._numbers)
            self._lanes.submit(number, part.rows)
            self._sending[number] = part

    def _decide(self, outcome: Outcome, part: _Part) -> Event:
        delivery, rows, error = part.delivery, part.rows, outcome.error
        delivery.timed_out = outcome.timed_out or delivery.timed_out
        if error is None:
            self.accepted = True
            if len(part.rest) > 1 and not part.too_large:
                self._halve(delivery, part.rest)  # the fault must be there: no need to send it whole
            elif part.rest:
                self._waiting.appendleft(_Part(delivery, part.rest))
            return Event(acknowledged=rows, stored=self._settle(delivery, len(rows)))
        if not isinstance(error, DataRefusedError):
            return Event(error=error)
        if part.rest:
            self._waiting.appendleft(_Part(delivery, part.rest))
        if len(rows) == 1:
            return self._refuse(delivery, rows[0], error)
        too_large = isinstance(error, RequestTooLargeError)
        size = sum(len(row.text) + 1 for row in rows) if too_large else None
        if self.accepted:
            self._halve(delivery, rows, too_large)
            return Event(too_large=size)
        self._open.remove(delivery)
        return Event(given_back=(rows, error), too_large=size)

    def _refuse(self, delivery: _Delivery, row: Pending, error: DataRefusedError) -> Event:
        """Row by row; if it replaced an earlier one of its key, that one stands."""
        delivery.refused = True
        if row.earlier:
            self._waiting.appendleft(_Part(delivery, [row.earlier]))
        else:
            self._settle(delivery, 1)
        return Event(refused=(row, error), reinstated=bool(row.earlier))

    def _halve(self, delivery: _Delivery, rows: list[Pending], too_large: bool = False) -> None:
        middle = len(rows) // 2
        self._waiting.appendleft(_Part(delivery, rows[:middle], rows[middle:], too_large))

    def _settle(self, delivery: _Delivery, count: int) -> int | None:
        """So many rows are done with; the batch's number if that was all of them, and all are stored."""
        delivery.left -= count
        if delivery.left:
            return None
        self._open.remove(delivery)
        if delivery.timed_out is not None:
            self._held.append((delivery.timed_out + self._hold_seconds, frozenset(delivery.rows)))
        return None if delivery.refused else delivery.number
