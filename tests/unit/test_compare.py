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
        ({"id": 1, "a": "x", "b": 2, "c": 3}, "is 3 in Milvus, but the row does not have it"),
        ({"id": 1, "b": 2}, "is not stored"),
    ],
)
def test_how_a_dynamic_field_differs(stored: dict[str, Any], reason: str | None) -> None:
    difference = first_difference(SCHEMA, b'{"id":1,"a":"x","b":2}', stored)
    assert (difference and difference.reason) == reason


def test_the_element_that_differs_is_named_not_one_with_more_digits() -> None:
    """Both 0.1 and 0.10000000149011612 stand for one float32."""
    fields = ID, FieldSchema(name="vector", type="FloatVector", size=3)
    schema = CollectionSchema(name="docs", fields_=fields)
    stored = {"id": 1, "vector": [0.10000000149011612, 0.5, 0.5]}
    assert first_difference(schema, b'{"id":1,"vector":[0.1,0.5,0.5]}', stored) is None
    difference = first_difference(schema, b'{"id":1,"vector":[0.1,0.5,0.75]}', stored)
    assert difference
    assert (difference.field, difference.reason) == ("vector", "[2] is 0.5 in Milvus, not 0.75")
