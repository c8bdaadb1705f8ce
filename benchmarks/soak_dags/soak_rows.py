"""The rows of the soak test: what the sources contain, and what the collection must contain at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DIM = 32
_NEAR, _FAR = 50, 100_000


@dataclass(frozen=True)
class Rows:
    """``count`` rows, made from their numbers and a seed.

    One row in five has the key of an earlier row; in half of these cases, the earlier row is so near that it may be in
    the same request. From row ``bad_from`` on, one row in ``bad_every`` cannot be stored.
    """

    first_key: int
    count: int
    bad_from: int
    bad_every: int
    seed: int

    def keys(self) -> np.ndarray:
        """The key of each row, including those that cannot be stored."""
        rng = np.random.default_rng(self.seed)
        numbers = np.arange(self.count)
        back = np.where(rng.random(self.count) < 0.5, _NEAR, _FAR)
        back = rng.integers(1, back + 1) * (rng.random(self.count) < 0.2)
        return self.first_key + np.maximum(numbers - back, 0)

    def bad(self) -> np.ndarray:
        """Whether a row cannot be stored."""
        numbers = np.arange(self.count)
        chosen = np.random.default_rng(self.seed + 1).integers(0, self.bad_every, self.count) == 0
        return chosen & (numbers >= self.bad_from)

    def expected(self) -> dict[int, int]:
        """By key, the number of the row that must be stored at the end: the last good one."""
        good = ~self.bad()
        return dict(zip(self.keys()[good].tolist(), np.arange(self.count)[good].tolist(), strict=True))

    def entities(self, start: int, stop: int) -> list[dict[str, Any]]:
        """The rows from ``start`` to ``stop``, as in a source."""
        keys, bad = self.keys()[start:stop].tolist(), self.bad()[start:stop].tolist()
        vectors = vectors_of(np.arange(start, stop)).tolist()
        entities = []
        for number, key, wrong, vector in zip(range(start, stop), keys, bad, vectors, strict=True):
            row = {"id": key, "vector": vector, "text": text_of(number)}
            entities.append(FAULTS[number % len(FAULTS)](row) if wrong else row)
        return entities

    def write(self, folder: Path, files: int) -> None:
        """Write all rows as JSON Lines to this many files."""
        folder.mkdir()
        size = math.ceil(self.count / files)
        for part in range(files):
            with (folder / f"part-{part:03}.jsonl").open("w") as file:
                rows = self.entities(part * size, min((part + 1) * size, self.count))
                file.writelines(json.dumps(row) + "\n" for row in rows)


FAULTS: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
    lambda row: row | {"id": str(row["id"])},
    lambda row: row | {"vector": row["vector"][1:]},
    lambda row: row | {"vector": [math.nan, *row["vector"][1:]]},
    lambda row: row | {"text": row["text"] * 20},
    lambda row: row | {"more": 1},
    lambda row: {"id": row["id"], "vector": row["vector"]},
]


def text_of(number: int) -> str:
    """The text of a row."""
    return f"row {number}"


def vectors_of(numbers: np.ndarray) -> np.ndarray:
    """The vectors of rows, with numbers that both float32 and JSON hold exactly."""
    mixed = numbers[:, None].astype(np.int64) * 40_503 + np.arange(DIM) * 7_919
    return ((mixed % 65_536) / 65_536).astype(np.float32)


FILES = Rows(first_key=0, count=1_000_000, bad_from=850_000, bad_every=500, seed=1)
LIST = Rows(first_key=10_000_000, count=100_000, bad_from=70_000, bad_every=100, seed=2)
