"""``retry_budget`` in real time: how long an outage is survived."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from tests.servers import UPSERT, Reply, Request, ScriptedServer, accept

BUDGET = 1.0
FAULTS = {
    "busy": Reply("busy", 503),
    "own fault": Reply({"code": 65535, "message": "no idea"}),
}


class Outage:
    """Begins with the second request."""

    def __init__(self, seconds: float, fault: Reply) -> None:
        self._seconds, self._fault = seconds, fault
        self._count = 0
        self.begin = 0.0

    def __call__(self, request: Request) -> Reply:
        self._count += 1
        if self._count == 1:
            return accept(request)
        self.begin = self.begin or time.monotonic()
        return self._fault if time.monotonic() < self.begin + self._seconds else accept(request)


@pytest.fixture
def hook(server_connection: None) -> MilvusRestHook:
    return MilvusRestHook()


def rows() -> list[dict[str, Any]]:
    return [{"id": key, "vector": [0.5] * 4, "text": "x"} for key in range(12)]


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("fault", FAULTS)
def test_as_long_as_the_budget_is_survived(
    server: ScriptedServer, hook: MilvusRestHook, fault: str, concurrency: int
) -> None:
    server.script(UPSERT, Outage(BUDGET, FAULTS[fault]))
    report = hook.ingest("docs", rows(), batch_size=1, concurrency=concurrency, retry_budget=BUDGET)
    assert report.upsert_count == 12
    assert report.retry_count > 0


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_longer_one_is_not_given_up_early(
    server: ScriptedServer, hook: MilvusRestHook, fault: str, concurrency: int
) -> None:
    outage = Outage(BUDGET + 1, FAULTS[fault])
    server.script(UPSERT, outage)
    with pytest.raises(e.MilvusRestError, match=f"Tried .* times in {BUDGET:.0f} s"):
        hook.ingest("docs", rows(), batch_size=1, concurrency=concurrency, retry_budget=BUDGET)
    assert BUDGET <= time.monotonic() - outage.begin < BUDGET + 1
