"""How a row that differs from what is stored is named. See also integration/test_compare.py."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_milvus_rest.rows.compare import first_difference
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema

ID = FieldSchema(name="id", type="Int64", primary_key=True)
SCHEMA = CollectionSchema(name="docs", fields_=(ID,), dynamic=True)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({"id": 1, "a": "x", "b": 2}, None),
        ({"id": 1, "a": "y", "b": 2}, "is 'y' in Milvus, not 'x'"),
        ({"id": 1, "a": "x", "b": 2, "c": 3}, "is 3 in Milvus, the row does not have it"),
        ({"id": 1, "b": 2}, "is not stored"),
    ],
)
def test_how_a_dynamic_field_differs(stored: dict[str, Any], reason: str | None) -> None:
    difference = first_difference(SCHEMA, b'{"id":1,"a":"x","b":2}', stored)
    assert (difference and difference.reason) == reason
