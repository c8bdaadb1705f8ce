"""``field_map`` with paths, ``key_from`` and ``convert``: what they make of a row, and which rows they refuse."""

import copy
import datetime
import decimal
import functools
import hashlib
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_milvus_rest.exceptions import InputError, RowError
from airflow_provider_milvus_rest.rows import convert, shape
from airflow_provider_milvus_rest.rows.convert import NAMED
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.rows.shape import Shape, key_of

UTC = datetime.timezone.utc
SCHEMA = CollectionSchema(
    name="docs", fields_=(FieldSchema(name="id", type="VarChar", size=36, primary_key=True),), dynamic=True
)
shaped = functools.partial(Shape, SCHEMA)
NAMES = st.sampled_from(["a", "b", "c", "0", "1", "a.b", "b.0"])
VALUES = st.recursive(
    st.none() | st.integers(0, 9), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)
ROWS = st.dictionaries(NAMES, VALUES, max_size=4)
MAPS = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map(".".join), st.sampled_from([None, "x", "y", "z", "a", "*"]), max_size=4
)


def by_hand(row: dict[str, Any], field_map: dict[str, Any]) -> dict[str, Any] | None:
    """What ``field_map`` means, said in another way: take each value out of a copy, the deepest first."""
    left, found = copy.deepcopy(row), []
    for name in sorted((name for name in field_map if name not in row), key=lambda name: -name.count(".")):
        *way, last = name.split(".")
        place: Any = left
        try:
            for step in way:
                place = place[step] if isinstance(place, dict) else place[int(step)]
            value = place[last] if isinstance(place, dict) else place[int(last)]
        except (KeyError, IndexError, TypeError, ValueError):
            continue
        if isinstance(place, str):
            continue
        found.append((field_map[name], value))
        if isinstance(place, dict):
            del place[last]
    rest = None if "*" in field_map else ...
    found += [(field_map.get(name, name if rest else None), value) for name, value in left.items()]
    pairs: list[tuple[str, Any]] = []
    for field, value in found:
        if field == "*":
            if not isinstance(value, dict | None):
                return None
            pairs += (value or {}).items()
        elif field is not None:
            pairs.append((field, value))
    return dict(pairs) if len(dict(pairs)) == len(pairs) else None


@example({"b": [{"a": None}]}, {"b.0": None, "b.0.a": None})
@given(ROWS, MAPS)
def test_paths_are_what_they_look_like(row: dict[str, Any], field_map: dict[str, Any]) -> None:
    if isinstance(field_map.get("*"), str):
        del field_map["*"]
    before = copy.deepcopy(row)
    try:
        fields = shaped(field_map=field_map)(row)
    except RowError:
        fields = None
    assert fields == by_hand(row, field_map)
    assert row == before


@pytest.mark.parametrize(
    ("field_map", "row", "fields"),
    [
        ({"a": "b"}, {"a": 1, "c": 2}, {"b": 1, "c": 2}),
        ({"a.b": "x"}, {"a": {"b": 1, "c": 2}}, {"x": 1, "a": {"c": 2}}),
        ({"a.b": "x"}, {"a": {"b": 1}, "a.b": 3}, {"a": {"b": 1}, "x": 3}),
        ({"a.0.b": "x", "a": None}, {"a": [{"b": 1}, 5]}, {"x": 1}),
        ({"a.1": "x"}, {"a": [4, 5]}, {"x": 5, "a": [4, 5]}),
        ({"a.2": "x"}, {"a": [4, 5]}, {"a": [4, 5]}),
        ({"a": "*"}, {"a": {"b": 1, "c": None}, "d": 2}, {"b": 1, "c": None, "d": 2}),
        ({"a": "*"}, {"a": None, "d": 2}, {"d": 2}),
        ({"a": "*", "a.b": "x", "a.c": None}, {"a": {"b": 1, "c": 2, "d": 3}}, {"x": 1, "d": 3}),
        ({"*": None, "a.b": "x", "c": "c"}, {"a": {"b": 1}, "c": 2, "d": 3}, {"x": 1, "c": 2}),
        ({"a.b": "x", "a.b.c": "y"}, {"a": {"b": {"c": 1, "d": 2}}}, {"y": 1, "x": {"d": 2}, "a": {}}),
        ({"*": None, "r.b": "*"}, {"r": {"b": {"id": 1}}, "z": 1}, {"id": 1}),
    ],
)
def test_fields_of_a_row(field_map: dict[str, Any], row: dict[str, Any], fields: dict[str, Any]) -> None:
    assert shaped(field_map=field_map)(row) == fields


@pytest.mark.parametrize(
    ("field_map", "row", "reason"),
    [
        ({"a": "b"}, {"a": 1, "b": 2}, "field 'b' is given twice: also as 'a' (field_map)"),
        ({"b": "a"}, {"a": 1, "b": 2}, "field 'a' is given twice: also as 'b' (field_map)"),
        ({"a": "*"}, {"a": {"b": 1}, "b": 2}, "field 'b' is given twice: also as 'a.b' (field_map)"),
        ({"a": "*"}, {"b": 2, "a": {"b": 1}}, "field 'b' is given twice: also as 'a.b' (field_map)"),
        ({"a": "*"}, {"a": 5}, "field 'a' must be an object, not int: field_map replaces it with its members"),
    ],
)
def test_rows_that_field_map_refuses(field_map: dict[str, Any], row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError, match=f"^rows:1: {re.escape(reason)}"):
        shaped(field_map=field_map)(row, "rows:1")


SCALARS = st.text() | st.integers(-(2**63), 2**64 - 1)


@given(st.lists(SCALARS, min_size=1))
def test_a_key_is_the_hash_of_the_json(values: list[int | str]) -> None:
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    assert key_of(*values) == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@given(st.lists(SCALARS, min_size=1), st.lists(SCALARS, min_size=1))
def test_other_values_have_another_key(some: list[int | str], others: list[int | str]) -> None:
    assert (key_of(*some) == key_of(*others)) == (some == others)


def test_keys_stay_the_same_for_ever() -> None:
    assert key_of("a_b", "c") == "06988309e513d97ab254a3f152ef034a"
    assert key_of("a", "b_c") == "8723b7e540261c87a9b993c86d107f54"
    assert key_of("docs/über.md", 7) == "deaf96e52bde959b98a3a492ccd4b4cb"
    code = "from airflow_provider_milvus_rest.rows.shape import key_of; print(key_of('docs/über.md', 7))"
    for seed in "12":
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == key_of("docs/über.md", 7)


@pytest.mark.parametrize("value", [None, True, 1.0, ["a"], b"a", 2**64, "\ud800"], ids=repr)
def test_values_that_make_no_key(value: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        key_of("a", value)


def test_key_from() -> None:
    keyed = shaped({"meta.path": "source"}, ["meta.path", "text"])
    row = {"meta": {"path": "a.md"}, "text": "one", "n": np.int64(3)}
    fields = keyed(row)
    assert fields["id"] == key_of("a.md", "one")
    for own in (fields["id"], None):
        assert keyed(row | {"id": own})["id"] == fields["id"]
    assert shaped(key_from=["n"])(row)["id"] == key_of(3)
    for change, reason in [
        ({"id": "mine"}, r"field 'id' is 'mine', but key_from makes a different key from this row \(\w{32}\)"),
        ({"text": None}, "field 'id' cannot be made by key_from: 'text' is null"),
        ({"text": 1.5}, "field 'id' cannot be made by key_from: only strings and integers can make a key, not float"),
        ({"text": 2**65}, "field 'id' cannot be made by key_from: .* cannot be made into a key: Integer exceeds"),
        ({"meta": {}}, "field 'id' cannot be made by key_from: the row has no 'meta.path'"),
    ]:
        with pytest.raises(RowError, match=f"^rows:1: {reason}"):
            keyed(row | change, "rows:1")


MOMENT = datetime.datetime(2026, 8, 1, 12, 30, 15, 250000, tzinfo=UTC)
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("how", "value", "converted"),
    [
        ("iso", MOMENT, "2026-08-01T12:30:15.250000+00:00"),
        ("iso", MOMENT.date(), "2026-08-01"),
        ("iso", MOMENT.time(), "12:30:15.250000"),
        ("iso", np.datetime64("2026-08-01T12:30:15.25"), "2026-08-01T12:30:15.250"),
        ("iso", pd.Timestamp("2026-08-01 12:30:15.123456789"), "2026-08-01T12:30:15.123456789"),
        ("epoch_ms", MOMENT, 1785587415250),
        ("epoch_ms", datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), -1),
        ("epoch_ms", MOMENT.astimezone(datetime.timezone(datetime.timedelta(hours=-7))), 1785587415250),
        ("epoch_ms", pd.Timestamp("2026-08-01 12:30:15.250", tz="UTC"), 1785587415250),
        ("epoch_ms", np.int64(5), 5),
        ("str", decimal.Decimal("1.10"), "1.10"),
        ("str", 5, "5"),
        ("str", np.float32(0.1), "0.10000000149011612"),  # as from Arrow or from a rejects file
        ("str", UUID, str(UUID)),
        ("float", decimal.Decimal("0.1"), 0.1),
        ("float", 2, 2.0),
        ("float", np.float32(0.5), 0.5),
        ("uuid", UUID, str(UUID)),
        ("uuid", UUID.bytes, str(UUID)),
        ("base64", b"\x00\xff", "AP8="),
    ],
)
def test_conversions_by_name(how: str, value: Any, converted: Any) -> None:
    converted_by = shaped(convert={"x": how})
    assert converted_by({"x": value, "y": value}) == {"x": converted, "y": value}
    assert type(converted_by({"x": value})["x"]) is type(converted)
    assert converted_by(converted_by({"x": value})) == {"x": converted}
    assert converted_by({"x": None}) == {"x": None}
    assert converted_by({}) == {}


@given(st.sampled_from(sorted(NAMED)), st.datetimes(timezones=st.just(UTC)) | st.decimals() | st.uuids() | st.binary())
def test_a_conversion_by_name_can_be_repeated(how: str, value: Any) -> None:
    try:
        once = NAMED[how](value)
    except ValueError:
        return
    assert repr(NAMED[how](once)) == repr(once)


@pytest.mark.parametrize(
    ("how", "value", "reason"),
    [
        ("iso", 5, "must be a date or time, or a str, not int"),
        ("iso", b"2026", "must be a date or time, or a str, not bytes"),
        ("str", np.float32("nan"), "is nan, which is not a number: use None"),
        ("str", decimal.Decimal("-Infinity"), "is -Infinity, which is not a number"),
        ("iso", pd.NaT, "must be a date or time, or a str, not NaTType"),
        pytest.param("float", 10**400, "is too large for a float", id="large"),
        ("epoch_ms", MOMENT.replace(tzinfo=None), "has no time zone"),
        ("epoch_ms", MOMENT.replace(microsecond=1), "has a fraction of a millisecond"),
        ("epoch_ms", pd.Timestamp("2026-08-01 12:30:15.000000001", tz="UTC"), "has a fraction of a millisecond"),
        ("epoch_ms", "2026-08-01", "must be a datetime with a time zone, or an int, not str"),
        ("epoch_ms", MOMENT.date(), "must be a datetime with a time zone, or an int, not date"),
        ("float", "1.5", "must be a number, not str"),
        ("float", True, "must be a number, not bool"),
        ("str", True, "must be a number or a UUID, or a str, not bool"),
        ("str", b"a", "must be a number or a UUID, or a str, not bytes"),
        ("uuid", b"short", "must be a UUID or its 16 bytes, or a str, not bytes"),
        ("base64", 5, "must be bytes, or a str, not int"),
        (json.loads, "{", "cannot be converted: JSONDecodeError: Expecting property name"),
        (lambda value: 1 / 0, 5, "cannot be converted: ZeroDivisionError: division by zero"),
    ],
)
def test_values_that_cannot_be_converted(how: Any, value: Any, reason: str) -> None:
    with pytest.raises(RowError, match=f"^rows:1: field 'x' {reason}"):
        shaped(convert={"x": how})({"x": value}, "rows:1")


def test_a_function_converts() -> None:
    assert shaped(convert={"x": json.loads})({"x": '{"a": 1}'}) == {"x": {"a": 1}}
    assert shaped(field_map={"y": "x"}, convert={"x": json.loads})({"y": "[1]"}) == {"x": [1]}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"field_map": ["a"]}, "field_map must be a dict of names, not list"),
        ({"field_map": {"a": 5}}, "field_map: 'a': 5 must map a name to a field's name or None"),
        ({"field_map": {"a": "x", "b": "x"}}, "field_map: both 'a' and 'b' are mapped to 'x'"),
        ({"field_map": {"*": "x"}}, r"field_map: '\*' stands for all names that are not listed, and can only be None"),
        ({"key_from": "text"}, r"key_from must be a list of names or paths, not 'text'"),
        ({"key_from": []}, r"key_from must be a list of names or paths, not \[\]"),
        ({"convert": {"x": "date"}}, r"convert: 'x': 'date' must be one of 'iso', .*, or a function"),
        ({"convert": {"x": ["iso"]}}, r"convert: 'x': \['iso'\] must be one of 'iso', .*, or a function"),
        ({"convert": "iso"}, "convert must be a dict of fields and conversions, not str"),
        ({"rows_path": ["a"]}, r"rows_path must be a name or a path, not \['a'\]"),
    ],
)
def test_what_cannot_be_meant(parameters: dict[str, Any], message: str) -> None:
    given = dict.fromkeys(("field_map", "key_from", "convert", "rows_path")) | parameters
    with pytest.raises(InputError, match=f"^{message}"):
        shape.check(**given)


def test_functions_in_a_fingerprint() -> None:
    def plain(value: Any) -> Any:
        return value

    number = 5
    assert convert.described(None) == {}
    assert convert.described({"x": "iso"}) == {"x": "iso"}
    described = convert.described({"x": plain})
    assert described is not None
    assert "return value" in described["x"][2]
    json.dumps(described)
    assert convert.described({"x": lambda value: value + number}) is None
    functions = [lambda value, by=by: value + by for by in (1, 2, 1, datetime.date(2020, 1, 1))]
    one, two, one_too, date = (convert.described({"x": function}) for function in functions)
    assert one == one_too != two
    assert date is None
    assert convert.described({"x": Path("a").joinpath}) is None
    assert convert.described({"x": print}) is None
    assert convert.described({"x": json.loads}) is not None
