"""The operator, against a scripted server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator


@pytest.fixture
def upsert(server_connection: None) -> Callable[..., MilvusRestUpsertOperator]:
    def make(**arguments: Any) -> MilvusRestUpsertOperator:
        return MilvusRestUpsertOperator(task_id="upsert", **{"collection_name": "docs", "retry_budget": 0} | arguments)

    return make
