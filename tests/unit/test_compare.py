"""How a row that differs from what is stored is named. See also integration/test_compare.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_milvus_rest.rest.dialects import _type
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


@pytest.mark.parametrize(
    ("given", "stored", "same"),
    [
        (1234567890123456789, 1234567890123456800, True),
        (1234567890123456789, 1234567890123456789, True),
        (1234567890123456789, 1234567890123456790, False),
        (2**53 + 1, 2**53, True),
        (2**53 - 1, 2**53 - 2, False),
        (-(2**63), -9223372036854775808, True),
        (True, 1, False),
    ],
)
def test_large_integers_in_a_dynamic_field(given: int, stored: int, same: bool) -> None:
    """Which Milvus returns by way of a float64, with the fewest digits that stand for it."""
    text = b'{"id":1,"n":%s}' % json.dumps(given).encode()
    assert (first_difference(SCHEMA, text, {"id": 1, "n": stored}) is None) is same


@pytest.mark.parametrize(
    ("given", "stored", "same"),
    [
        ("[0.123456789,2.0]", [0.12345679, 2], True),
        ("[0.123456789,2.0]", [0.123456789, 2], True),
        ("[0.5,2.0]", [0.75, 2], False),
        ("[0.5,2.0]", [0.5], False),
        ("[16777217]", [16777216], False),
        ('["1.0"]', ["1"], False),
        ("[0.5]", ["0.5"], False),
    ],
)
def test_floats_in_an_array_whose_type_is_unknown(given: str, stored: Any, same: bool) -> None:
    """Which REST v1 does not report: Float or Double."""
    described = _type({"name": "array", "type": "Array"})
    schema = CollectionSchema(name="docs", fields_=(ID, FieldSchema(name="array", **described)))
    difference = first_difference(schema, b'{"id":1,"array":%s}' % given.encode(), {"id": 1, "array": stored})
    assert (difference is None) is same


def test_the_element_that_differs_is_named_not_one_with_more_digits() -> None:
    """Both 0.1 and 0.10000000149011612 stand for one float32."""
    fields = ID, FieldSchema(name="vector", type="FloatVector", size=3)
    schema = CollectionSchema(name="docs", fields_=fields)
    stored = {"id": 1, "vector": [0.10000000149011612, 0.5, 0.5]}
    assert first_difference(schema, b'{"id":1,"vector":[0.1,0.5,0.5]}', stored) is None
    difference = first_difference(schema, b'{"id":1,"vector":[0.1,0.5,0.75]}', stored)
    assert difference
    assert (difference.field, difference.reason) == ("vector", "[2] is 0.5 in Milvus, not 0.75")
