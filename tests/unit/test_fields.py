"""What a field takes is stored exactly, and what it does not take is named. See also integration/test_exactness.py."""

from __future__ import annotations

import array
import base64
import json
import re
import uuid
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from airflow_provider_milvus_rest.exceptions import RowError, UnsupportedCollectionError
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema

ID = FieldSchema(name="id", type="Int64", primary_key=True)


class Color(str, Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


texts = st.text(st.characters(exclude_categories=["Cs"]))


def encoder(*fields: FieldSchema, dynamic: bool = False, old: bool = False) -> RowEncoder:
    return RowEncoder(CollectionSchema(name="docs", fields_=(ID, *fields), dynamic=dynamic, before_2_3_13=old))


def of(kind: str, size: int | None = None, **more: Any) -> RowEncoder:
    """An encoder for a collection with a field ``x`` of a type, or with dynamic fields."""
    if kind == "dynamic":
        return encoder(dynamic=True)
    return encoder(FieldSchema(name="x", type=kind, size=size, **more))


def encoded(value: Any, kind: str, size: int | None = None, **more: Any) -> str:
    """JSON text of a value of the field ``x``."""
    text = of(kind, size, **more).encode({"id": 1, "x": value})[1].decode()
    assert text.startswith('{"id":1,"x":')
    return text[12:-1]


def refused(value: Any, kind: str, size: int | None = None, **more: Any) -> str:
    with pytest.raises(RowError) as caught:
        of(kind, size, **more).encode({"id": 1, "x": value}, "[0]")
    assert caught.value.field == "x"
    assert caught.value.key == 1
    return caught.value.reason


@pytest.mark.parametrize(("kind", "bits"), [("Int8", 8), ("Int16", 16), ("Int32", 32), ("Int64", 64)])
@given(st.data())
def test_integers(kind: str, bits: int, data: st.DataObject) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    value = data.draw(st.integers(low, high) | st.sampled_from([low, high]))
    assert json.loads(encoded(value, kind)) == value
    beyond = data.draw(st.integers(max_value=low - 1) | st.integers(min_value=high + 1))
    assert f"is out of range for Int{bits}" in refused(beyond, kind)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles(value: float) -> None:
    text = encoded(value, "Double")
    assert "." in text
    assert json.loads(text) == value
    assert str(json.loads(text)) == str(value)  # -0.0 too


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_floats(value: float) -> None:
    text = encoded(value, "Float")
    assert "." in text
    assert np.float32(text) == np.float32(value)


def halves(kind: str) -> st.SearchStrategy[float]:
    """Every finite 16-bit float of a type, subnormal ones and -0.0 among them."""
    shift = {"Float16Vector": 0, "BFloat16Vector": 16}[kind]
    width = np.dtype("<u4") if shift else np.dtype("<u2")
    floats = st.integers(0, 2**16 - 1).map(
        lambda bits: float(np.array(bits << shift, width).view(f"<f{width.itemsize}"))
    )
    return floats.filter(np.isfinite)


@pytest.mark.parametrize("kind", ["Float16Vector", "BFloat16Vector"])
@given(st.data())
def test_half_vectors(kind: str, data: st.DataObject) -> None:
    """Whatever form they are given in, what goes out are the bits."""
    vector = data.draw(st.lists(halves(kind), min_size=3, max_size=3))
    if kind == "Float16Vector":
        bits = np.array(vector, "<f2").tobytes()
    else:
        bits = (np.array(vector, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    for form in (
        vector,
        tuple(vector),
        np.array(vector),
        np.array(vector, np.float32),
        bits,
        base64.b64encode(bits).decode(),
    ):
        assert base64.b64decode(json.loads(encoded(form, kind, 3))) == bits
    other = data.draw(st.floats())
    with np.errstate(all="ignore"):
        kept = float(np.float16(other)) if kind == "Float16Vector" else truncated(other)
    if kept != other or not np.isfinite(other):
        assert refused([vector[0], other, vector[1]], kind, 3).startswith(f"[1] is {other}")


def truncated(value: float) -> float:
    """``value`` cut to a bfloat16: the same only if it is one."""
    return float((np.array([value], "<f4").view("<u4") & 0xFFFF0000).view("<f4")[0])


@given(st.lists(st.integers(-128, 127), min_size=3, max_size=3))
def test_int8_vectors(value: list[int]) -> None:
    for form in (value, tuple(value), np.array(value), np.array(value, np.int8)):
        assert json.loads(encoded(form, "Int8Vector", 3)) == value


@given(st.dictionaries(st.integers(0, 2**32 - 2), st.floats(0, allow_nan=False, allow_infinity=False, width=32)))
def test_sparse_vectors(value: dict[int, float]) -> None:
    lists = {"indices": list(value), "values": list(value.values())}
    arrays = {"indices": np.array(list(value), np.uint32), "values": np.array(list(value.values()), np.float32)}
    for form in (value, {str(index): weight for index, weight in value.items()}, lists, arrays):
        stored = json.loads(encoded(form, "SparseFloatVector"))
        assert {int(index): np.float32(weight) for index, weight in stored.items()} == value


@given(texts)
def test_varchars(value: str) -> None:
    assert json.loads(encoded(value, "VarChar", 10**6)) == value
    length = len(value.encode())
    assert json.loads(encoded(value, "VarChar", length)) == value
    if length:
        assert refused(value, "VarChar", length - 1).startswith(f"is {length} bytes long in UTF-8")


@given(st_numpy.arrays(np.float32, 3, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_float_vectors(value: np.ndarray[Any, Any]) -> None:
    for form in (
        value,
        value.tolist(),
        tuple(value.tolist()),
        list(value),
        value.astype(np.float64),
        value[::-1][::-1],
    ):
        back = np.array(json.loads(encoded(form, "FloatVector", 3)), dtype=np.float32)
        assert back.tobytes() == value.tobytes()


def test_ints_in_vectors_are_rounded_alike() -> None:
    """To float64 first, as in files."""
    number = 2**60 + 2**36 + 1
    expected = np.float32(float(number))
    assert expected != np.array([number]).astype(np.float32)[0]
    for form in ([number, 0], (np.int64(number), 0), np.array([number, 0]), np.array([number, 0], np.uint64)):
        assert np.float32(json.loads(encoded(form, "FloatVector", 2))[0]) == expected


@given(st.binary(min_size=2, max_size=2))
def test_binary_vectors(value: bytes) -> None:
    field = FieldSchema(name="x", type="BinaryVector", size=16)
    for form in (
        value,
        bytearray(value),
        base64.b64encode(value).decode(),
        list(value),
        np.frombuffer(value, np.uint8),
    ):
        texts = [encoder(field, old=old).encode({"id": 1, "x": form})[1] for old in (False, True)]
        new, old = (json.loads(text)["x"] for text in texts)
        assert base64.b64decode(new) == bytes(old) == value


def is_kept(value: float) -> bool:
    """Whether Go's JSON of a float64, of which it writes the whole ones below 1e21 as ints, is the same number."""
    return abs(value) < 2**53 or abs(value) >= 1e21 or int(Decimal(repr(value))) == value


@pytest.mark.parametrize(
    ("value", "kept"),
    [(2.0**63, False), (1e19, True), (2.0**64, False), (1e20, False), (1e21, True)],
)
def test_whole_floats_beyond_64_bits(value: float, kept: bool) -> None:
    """simdjson, with which Milvus filters, reads no larger int; from 1e21 on, Go writes an exponent."""
    if kept:
        assert json.loads(encoded(value, "dynamic")) == value
    else:
        refused(value, "dynamic")


@pytest.mark.parametrize("kind", ["Float", "FloatVector", "SparseFloatVector", "Array"])
def test_the_largest_float32_is_below_the_limit_as_float64_too(kind: str) -> None:
    largest = float(np.finfo(np.float32).max)
    values = {"FloatVector": [largest, -largest, 0.5, 1e22], "SparseFloatVector": {1: largest}, "Array": [largest]}
    text = json.dumps(json.loads(encoded(values.get(kind, largest), kind, 4, element_type="Float")))
    found = [float(number) for number in re.findall(r"[-\d.]+e[+]?38", text)]
    assert found
    assert all(abs(number) <= largest and np.float32(abs(number)) == np.float32(largest) for number in found)


@example(1.2339905454583296e19)
@given(st.floats(2.0**53, 1e21) | st.floats(-1e21, -(2.0**53)))
def test_whole_floats_that_milvus_would_write_otherwise(value: float) -> None:
    if is_kept(value) and (-(2**63) <= value < 2**64 or abs(value) == 1e21):
        assert json.loads(encoded(value, "dynamic")) == value
    elif is_kept(value):
        assert "would be stored as an int beyond 64 bits" in refused(value, "dynamic")
        assert ".a[0] " in refused({"a": [value]}, "dynamic")
    else:
        assert f"{value!r} would come back as {int(Decimal(repr(value)))}" in refused(value, "dynamic")
        assert f".a[0] {value!r} would come back as" in refused({"a": [value]}, "dynamic")
    assert json.loads(encoded([value], "JSON")) == [value]


def json_values(limit: int) -> st.SearchStrategy[Any]:
    floats = st.floats(allow_nan=False, allow_infinity=False)
    if limit == 2**53:
        floats = floats.filter(is_kept)
    return st.recursive(
        st.none() | st.booleans() | st.integers(-limit, min(limit, 2**63 - 1)) | floats | texts,
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
        max_leaves=10,
    )


@given(st.dictionaries(texts, json_values(2**63)) | st.lists(json_values(2**63)))
def test_json(value: Any) -> None:
    assert json.loads(encoded(value, "JSON")) == value


@given(json_values(2**53).filter(lambda value: value is not None) | st.integers(-(2**63), 2**63 - 1))
def test_dynamic_values(value: Any) -> None:
    assert json.loads(encoded(value, "dynamic")) == value


@given(st.lists(st.integers(-128, 127)) | st.lists(texts) | st.lists(st.booleans()))
def test_arrays(value: list[Any]) -> None:
    assert json.loads(encoded(value, "Array")) == value


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (np.int64(5), "Int8", "5"),
        (np.uint8(5), "Int64", "5"),
        (np.bool_(True), "Bool", "true"),
        (np.float32(0.1), "Double", "0.10000000149011612"),
        (np.float16(0.5), "Float", "0.5"),
        (5, "Float", "5.0"),
        (2**53, "Double", "9007199254740992.0"),
        (-(2**1023), "Double", "-8.98846567431158e+307"),
        (1e-7, "dynamic", "1.0e-07"),
        (1e22, "dynamic", "1.0e+22"),
        (np.float64(1e-7), "dynamic", "1.0e-07"),
        ({"a": (1, np.int8(2))}, "dynamic", '{"a":[1,2]}'),
        (0.1, "Float", "0.1"),
        (1e-45, "Float", "1.0e-45"),
        (1e16, "Float", "1.0e+16"),
        ("é\u2028\x00", "VarChar", '"é\u2028\\u0000"'),
        (Color.RED, "VarChar", '"red"'),
        ({Color.RED: [Color.RED, Level.HIGH]}, "dynamic", '{"red":["red",3]}'),
        (np.str_("x"), "VarChar", '"x"'),
    ],
)
def test_taken_exactly(value: Any, kind: str, text: str) -> None:
    found = encoded(value, kind, 10 if kind == "VarChar" else None)
    assert found.replace("e16", "e+16") == text  # older versions of orjson omit the plus


NOT_A_NUMBER = "not a finite number"


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (5.0, "Int64", "must be an int (Int64), not float 5.0"),
        (True, "Int64", "not bool True"),
        ("5", "Int64", "not str '5'"),
        (None, "Int64", "is null, but must be an int (Int64)"),
        (np.longdouble(1) / 3, "dynamic", "convert it with float(value)"),
        (Decimal(5), "Int64", "float(value), or str(value) to keep every digit (convert={…: 'float'} or 'str')"),
        (np.float64(5), "Int64", "not float 5.0"),
        (np.bool_(True), "Int64", "not bool True"),
        (1, "Bool", "must be a bool, not int 1"),
        ("true", "Bool", "must be a bool, not str 'true'"),
        (float("nan"), "Float", NOT_A_NUMBER),
        (float("inf"), "Double", NOT_A_NUMBER),
        (np.float32("nan"), "Float", NOT_A_NUMBER),
        ("NaN", "Float", "must be a float (Float), not str 'NaN'"),
        (True, "Double", "must be a float (Double), not bool"),
        (1e39, "Float", "out of range for float32"),
        (1e-50, "Float", "too small for float32"),
        (2**53 + 1, "Double", "more digits than a float (Double) can hold"),
        (10**400, "Double", "more digits"),
        (2**1024 - 1, "Double", "more digits"),
        (-(2**1024), "Float", "more digits"),
        (5, "VarChar", "must be a str (VarChar), not int 5"),
        (None, "VarChar", "is null, but must be a str (VarChar)"),
        (uuid.UUID(int=0), "VarChar", "convert it with str(value), or convert={…: 'uuid'}"),
        (datetime(2026, 1, 1, tzinfo=timezone.utc), "VarChar", "with value.isoformat(), or convert={…: 'iso'}"),
        (b"x", "VarChar", "convert it with value.decode(), or convert={…: 'base64'}"),
        (b"ab", "FloatVector", "convert it with list(value)"),
        (memoryview(b"ab"), "BinaryVector", "convert it with bytes(value)"),
        (uuid.UUID(int=5).bytes, "FloatVector", "convert it with list(value)"),
        (pd.NA, "VarChar", "is NAType, but must be a str (VarChar); use None if the field accepts null"),
        (pd.NaT, "Int64", "is NaTType, but must be"),
        (pd.NA, "dynamic", "is NAType, but must be a JSON value; use None if"),
        (pd.Timestamp("2026-01-01"), "VarChar", "convert it with value.isoformat()"),
        (np.datetime64("2026-01-01"), "VarChar", "convert it with str(value), or convert={…: 'iso'}"),
        (pd.Series([1.0] * 4), "FloatVector", "must be a list or array of 4 numbers (FloatVector), not Series"),
        (pd.Series([1.0]), "dynamic", "convert it with value.tolist()"),
        ({"a": 1}, "VarChar", "must be a str (VarChar), not dict"),
        ("\ud800", "VarChar", "lone surrogate"),
        ("ééé", "VarChar", "is 6 bytes long in UTF-8, but VarChar(4) takes 4"),
        ([1.0] * 3, "FloatVector", "has 3 elements, but FloatVector(4) takes 4"),
        ([1.0, None, 2.0, 3.0], "FloatVector", "[1] must be a number, not NoneType"),
        ([1.0, "2", 2.0, 3.0], "FloatVector", "[1] must be a number, not str"),
        ([1.0, 2.0, True, 3.0], "FloatVector", "[2] must be a number, not bool"),
        ([1.0, 2.0, np.bool_(True), 3.0], "FloatVector", "[2] must be a number, not bool"),
        ([1.0, 2.0, 3.0, float("nan")], "FloatVector", "[3] is nan, which is not a finite float32"),
        ([1.0, 2.0, 3.0, 1e39], "FloatVector", "[3] is 1e+39, which is not a finite float32"),
        ([1.0, 2.0, 3.0, 10**400], "FloatVector", "which is not a finite float32"),
        (
            [[1.0, 2.0, 3.0, 4.0]],
            "FloatVector",
            "is a list of vectors (1), but a row has one: to pair vectors with keys",
        ),
        ([np.ones(4), np.ones(4)], "FloatVector", "is a list of vectors (2), but a row has one: to pair vectors"),
        ([[1.0] * 4, 1.0, 2.0, 3.0], "FloatVector", "[0] must be a number, not list"),
        ("[1,2,3,4]", "FloatVector", "must be a list or array of 4 numbers (FloatVector), not str"),
        (None, "FloatVector", "is null, but must be a list or array of 4 numbers"),
        (np.ones((2, 2)), "FloatVector", "is a list of vectors (2), but a row has one: to pair vectors with keys"),
        (np.ones((2, 2)), "Float16Vector", "is a list of vectors (2), but a row has one: to pair vectors with keys"),
        (np.ones((0, 2)), "FloatVector", "has shape (0, 2) elements"),
        (np.array(1.0), "FloatVector", "has shape () elements"),
        (np.array([True] * 4), "FloatVector", "must be an array of numbers, not of bool"),
        (np.array(["1"] * 4), "FloatVector", "must be an array of numbers"),
        (array.array("i", [1] * 4), "FloatVector", "must be a list or array"),
        ([256], "BinaryVector", "[0] must be an int from 0 to 255, not 256"),
        ([True], "BinaryVector", "[0] must be an int from 0 to 255, not True"),
        (b"12", "BinaryVector", "has 2 bytes, but BinaryVector(4) takes 0"),
        ("x", "BinaryVector", "must be bytes, base64 or a list"),
        ("AAA=", "BinaryVector", "has 2 bytes, but BinaryVector(4) takes 0"),
        ([0.5, 0.1], "Float16Vector", "[1] is 0.1, which Float16Vector cannot hold exactly: round the vector first"),
        ([0.5, 65504.0 * 2], "Float16Vector", "[1] is 131008.0, which Float16Vector cannot hold exactly"),
        ([1e-8, 0.5], "Float16Vector", "[0] is 1e-08, which Float16Vector"),
        ([float("nan"), 0.5], "Float16Vector", "[0] is nan"),
        ([float("inf"), 0.5], "Float16Vector", "[0] is inf"),
        (b"\x00\x00\x00\x7c", "Float16Vector", "[1] is inf"),
        (b"\x80\x7f\x00\x00", "BFloat16Vector", "[0] is inf"),
        ([0.5], "Float16Vector", "has 1 elements, but Float16Vector(2) takes 2"),
        (b"\x00", "Float16Vector", "has 1 bytes, but Float16Vector(2) takes 4"),
        ("text", "Float16Vector", "has 3 bytes, but Float16Vector(2) takes 4"),
        (
            "no base64",
            "Float16Vector",
            "must be bytes, base64, or a list or array of 2 numbers (Float16Vector), not str",
        ),
        ([0.5, None], "BFloat16Vector", "[1] must be a number, not NoneType"),
        ([1.0, 1.00001], "BFloat16Vector", "[1] is 1.00001, which BFloat16Vector cannot hold exactly"),
        ([1.0, 2**60 + 1], "BFloat16Vector", "[1] is 1152921504606846977, which BFloat16Vector"),
        ([np.int64(2**60 + 1), 1.0], "BFloat16Vector", "[0] is 1152921504606846977"),
        (np.array([1, 2**60 + 1]), "BFloat16Vector", "[1] is 1152921504606846977"),
        ([1.0, 1e39], "BFloat16Vector", "[1] is 1e+39"),
        ([1, 128], "Int8Vector", "[1] 128 is out of range for Int8"),
        ([1, 5.0], "Int8Vector", "[1] must be an int (Int8), not float 5.0"),
        ([1], "Int8Vector", "has 1 elements, but Int8Vector(2) takes 2"),
        (b"ab", "Int8Vector", "must be a list (Int8Vector)"),
        (np.array([1.0, 2.0]), "Int8Vector", "[0] must be an int (Int8), not float 1.0"),
        (np.array([[1, 2]]), "Int8Vector", "is a list of vectors (1), but a row has one: to pair vectors with keys"),
        (np.ma.masked_array([1, 2], [False, True]), "Int8Vector", "[1] is null"),
        ([0.5], "SparseFloatVector", "must be a dict of weights by index (SparseFloatVector), not list"),
        ({2**32 - 1: 0.5}, "SparseFloatVector", "has the index 4294967295, which is not an int from 0 to 4294967294"),
        ({-1: 0.5}, "SparseFloatVector", "has the index -1"),
        ({"01": 0.5}, "SparseFloatVector", "has the index '01'"),
        ({1.0: 0.5}, "SparseFloatVector", "has the index 1.0"),
        ({True: 0.5}, "SparseFloatVector", "has the index True"),
        ({1: 0.5, "1": 0.6}, "SparseFloatVector", "has the index 1 twice"),
        ({"indices": [3, 3], "values": [1, 2]}, "SparseFloatVector", "has the index 3 twice"),
        ({"indices": [3], "values": [1, 2]}, "SparseFloatVector", "lists of the same length"),
        ({"indices": 3, "values": 1}, "SparseFloatVector", "lists of the same length"),
        ({"indices": [3]}, "SparseFloatVector", "has the index 'indices'"),
        ({5: -0.5}, "SparseFloatVector", "[5] is negative"),
        ({5: "0.5"}, "SparseFloatVector", "[5] must be a float (Float), not str '0.5'"),
        ({5: None}, "SparseFloatVector", "[5] is null"),
        ({5: float("nan")}, "SparseFloatVector", "[5] is nan"),
        ({5: 1e39}, "SparseFloatVector", "[5] 1e+39 is out of range for float32"),
        ({5: 1e-50}, "SparseFloatVector", "[5] 1e-50 is too small for float32"),
        ("text", "JSON", "must be a dict or a list (JSON), not str"),
        (None, "JSON", "is null"),
        ({"a": float("nan")}, "JSON", ".a is nan, which is not a finite number"),
        ({"a": {1: 2}}, "JSON", ".a has the key 1, which is not a str"),
        ({"a": [2**63]}, "JSON", ".a[0] 9223372036854775808 is an int that Milvus does not keep exactly"),
        ({"a": datetime(2026, 1, 1)}, "JSON", ".a must be a JSON value, not datetime"),
        ({"a": "x" * 65_536}, "JSON", "is 65544 bytes long as JSON; the limit is 65536 (Milvus's default, which"),
        ([1, "2"], "Array", "all of one type"),
        ([None], "Array", "all of one type"),
        ("x", "Array", "must be a list (Array)"),
        (2**63, "dynamic", "is out of range for Int64"),
        (2**64, "dynamic", "is out of range for Int64"),
        ({"a": 2**53 + 1}, "dynamic", ".a 9007199254740993 is an int that Milvus does not keep exactly"),
        ([[-(2**53) - 1]], "dynamic", "[0][0] -9007199254740993"),
        (float("-inf"), "dynamic", NOT_A_NUMBER),
        (np.array([1.0]), "dynamic", "convert it with value.tolist()"),
        ({"a": {1, 2}}, "dynamic", "convert it with list(value)"),
        ("x" * 65_536, "dynamic", "brings the dynamic fields to 65544 bytes; their limit is 65536"),
        ("<" * 11_000, "dynamic", "brings the dynamic fields to 66008 bytes"),
    ],
)
def test_refused_with_the_reason(value: Any, kind: str, reason: str) -> None:
    sizes = {
        "VarChar": 4,
        "FloatVector": 4,
        "BinaryVector": 4,
        "Float16Vector": 2,
        "BFloat16Vector": 2,
        "Int8Vector": 2,
    }
    assert reason in refused(value, kind, sizes.get(kind))


def test_sixteen_bytes_may_be_a_uuid() -> None:
    for kind in ("VarChar", "JSON", "dynamic"):
        assert refused(uuid.UUID(int=5).bytes, kind, 36).endswith(
            "; convert it with str(uuid.UUID(bytes=value)), or convert={…: 'uuid'}, if it is a UUID"
        )


HUGE = 10**5000


def test_what_python_itself_cannot_write() -> None:
    for value, kind, size, reason in (  # no parameters: pytest could not write them either
        (HUGE, "Bool", None, "must be a bool, not int an int of 16610 bits"),
        (HUGE, "VarChar", 4, "must be a str (VarChar), not int an int of 16610 bits"),
        (HUGE, "JSON", None, "must be a dict or a list (JSON)"),
        ([1, HUGE, 2, 3], "FloatVector", 4, "[1] is an int of 16610 bits, which is not a finite float32"),
        ([HUGE, 1], "BinaryVector", 16, "[0] must be an int from 0 to 255, not an int of 16610 bits"),
        ({HUGE: 1.0}, "SparseFloatVector", None, "has the index an int of 16610 bits"),
        ({HUGE: 1}, "dynamic", None, "has the key an int of 16610 bits, which is not a str"),
        ({"a": {HUGE}}, "dynamic", None, ".a must be a JSON value, not set a value that cannot be shown"),
    ):
        assert reason in refused(value, kind, size)
    text = FieldSchema(name="text", type="VarChar", size=9)
    with pytest.raises(RowError, match="must be a str") as caught:
        RowEncoder(CollectionSchema(name="docs", fields_=(text, ID))).encode({"text": 5, "id": HUGE})
    assert caught.value.key is None


def test_what_is_stored_does_not_depend_on_how_numpy_prints() -> None:
    with np.printoptions(legacy="1.13", precision=2):
        assert encoded(19.741947174072266, "Float") == "19.741947"
        assert encoded({7: 19.741947174072266}, "SparseFloatVector") == '{"7":19.741947}'


def test_nesting_without_end() -> None:
    nested: list[Any] = []
    nested.append(nested)
    assert "nested more than 100 levels deep" in refused(nested, "dynamic")


def test_elements_of_an_array_whose_type_is_known() -> None:
    assert encoded([1, -128], "Array", element_type="Int8") == "[1,-128]"
    assert refused([1, 128], "Array", element_type="Int8").startswith("[1] 128 is out of range for Int8")
    assert refused([1], "Array", element_type="VarChar").startswith("[0] must be a str (VarChar)")
    assert refused(["ab", "é!"], "Array", 2, element_type="VarChar").startswith("[1] is 3 bytes long in UTF-8")
    assert "would be changed by some types of Array" in refused([2**53 + 1], "Array")
    assert "would be changed by some types of Array" in refused([1e-60], "Array")
    assert encoded([2**53, -(2**53)], "Array") == "[9007199254740992,-9007199254740992]"
    assert encoded([0.0, 1e-44], "Array") == "[0.0,1.0e-44]"
    assert encoded([2**53 + 1], "Array", element_type="Int64") == "[9007199254740993]"
    assert encoded([0.1, 7], "Array", element_type="Float", capacity=2) == "[0.1,7.0]"
    assert refused([1, 2, 3], "Array", element_type="Int8", capacity=2) == "has 3 elements, but the Array takes 2"


@pytest.mark.parametrize("name", ["class", "model_config", "_x", "a b", "é", 'a"b', "$x", "schema", "copy", ""])
def test_field_names_need_not_be_identifiers(name: str) -> None:
    row = {"id": 1, name: "x"}
    assert json.loads(encoder(FieldSchema(name=name, type="VarChar", size=9)).encode(row)[1]) == row
    assert json.loads(encoder(dynamic=True).encode(row)[1]) == row


def test_missing_extra_and_reserved_fields() -> None:
    text = FieldSchema(name="text", type="VarChar", size=9)
    for fields, dynamic, row, field, reason in (
        ([text], False, {"id": 1}, "text", "is missing"),
        ([text], True, {"text": "x"}, "id", "is missing"),
        ([text], False, {"id": 1, "text": "x", "title": "y"}, "title", "is not a field of 'docs', which has no"),
        ([], True, {"id": 1, "$meta": {}}, "$meta", "is reserved by Milvus"),
        ([], True, {"id": 1, 5: "x"}, "5", "is a field name of type int; names must be str"),
        ([], True, {"id": 1, HUGE: "x"}, "an int of 16610 bits", "is a field name of type int; names must be str"),
        (
            [FieldSchema(name="bm25", type="SparseFloatVector", function_output=True)],
            True,
            {"id": 1, "bm25": {}},
            "bm25",
            "leave it out",
        ),
    ):
        with pytest.raises(RowError, match=reason) as caught:
            encoder(*fields, dynamic=dynamic).encode(row)
        assert caught.value.field == field


def test_a_missing_field_is_told_with_the_names_that_the_row_has() -> None:
    vector = FieldSchema(name="vector", type="FloatVector", size=4)
    for row, reason in (
        ({"id": 1, "embedding": [0.5] * 4}, "is missing; the row has id, embedding (field_map can rename fields)"),
        ({f"n{n}": n for n in range(11)} | {"id": 1}, "the row has " + ", ".join(f"n{n}" for n in range(10)) + "… ("),
        ({"id": 1, "x" * 500: 1}, "the row has id, " + "x" * 196 + "… ("),
        ({"id": 1, HUGE: 1}, "the row has id, an int of 16610 bits ("),
    ):
        with pytest.raises(RowError) as caught:
            encoder(vector, dynamic=True).encode(row)
        assert (caught.value.field, caught.value.key) == ("vector", row["id"])
        assert reason in caught.value.reason


VECTOR = [0.5] * 4


@pytest.mark.parametrize(
    ("row", "is_columns"),
    [
        ({"id": [1, 2], "vector": [VECTOR, VECTOR]}, True),
        ({"vector": (VECTOR, VECTOR), "id": (1, 2)}, True),
        ({"id": np.array([1, 2]), "vector": np.ones((2, 4), np.float32), "text": ["a", "b"]}, True),
        ({"id": [1], "vector": [VECTOR]}, True),
        ({"text": ["a", "b"], "vector": [VECTOR, VECTOR]}, True),
        ({"id": [1, 2], "text": ["a", "b"]}, True),
        ({"id": [1, 2], "vector": [VECTOR]}, False),
        ({"id": [1, 2, 3, 4], "vector": VECTOR}, False),
        ({"tags": [1, 2, 3, 4], "vector": VECTOR}, False),
        ({"vector": VECTOR}, False),
        ({"id": 1, "vector": [VECTOR, VECTOR]}, False),
        ({"id": [], "vector": []}, False),
        ({"id": np.array(1.0), "vector": np.array(1.0)}, False),
        ({}, False),
    ],
)
def test_columns_are_not_a_row(row: dict[str, Any], is_columns: bool) -> None:
    rows = encoder(FieldSchema(name="vector", type="FloatVector", size=4), dynamic=True)
    with pytest.raises(RowError) as caught:
        rows.encode(row)
    advice = f"; the row has lists of the same length ({', '.join(row)}): one dict is one row, not columns"
    assert caught.value.reason.endswith(advice) is is_columns


@pytest.mark.parametrize("row", [VECTOR, tuple(VECTOR), np.ones(4), np.ones((2, 4)), [VECTOR] * 2, [1, VECTOR], 0.5])
def test_vectors_are_not_rows(row: Any) -> None:
    with pytest.raises(RowError, match=r"a row must be an object \(dict\).*: to pair vectors with keys, use \[{'id'"):
        of("FloatVector", 4).encode(row)


def test_a_null_is_no_dynamic_field() -> None:
    """Milvus drops it as well: the row does not have that field. Nulls inside of lists and objects stay."""
    function = FieldSchema(name="bm25", type="SparseFloatVector", function_output=True)
    rows = encoder(function, dynamic=True)
    for row, kept in (
        ({"id": 1, "a": None}, {"id": 1}),
        ({"id": 1, "a": None, "b": [None, {"c": None}]}, {"id": 1, "b": [None, {"c": None}]}),
        ({"id": 1, "a": {"b": None}, "c": None, "d": 5}, {"id": 1, "a": {"b": None}, "d": 5}),
    ):
        text = rows.encode(row)[1]
        assert json.loads(text) == kept == rows.decode(text)
    with pytest.raises(RowError, match="field 'a' is not a field of 'docs'"):
        encoder().encode({"id": 1, "a": None})
    with pytest.raises(RowError, match=r"field '\$meta' is reserved by Milvus"):
        rows.encode({"id": 1, "$meta": None})
    with pytest.raises(RowError, match="field 'bm25' is written by a function"):
        rows.encode({"id": 1, "bm25": None})
    with pytest.raises(RowError, match="field '5' is a field name of type int"):
        rows.encode({"id": 1, 5: None})
    mapped = RowEncoder(CollectionSchema(name="docs", fields_=(ID,), dynamic=True), {"a": "b"})
    assert mapped.encode({"id": 1, "a": None})[1] == b'{"id":1}'
    assert mapped.decode(mapped.encode({"id": 1, "a": 5, "c": None})[1]) == {"id": 1, "a": 5}


def test_nullable_and_default() -> None:
    rows = encoder(
        FieldSchema(name="n", type="Int8", nullable=True),
        FieldSchema(name="d", type="Int8", has_default=True),
        FieldSchema(name="f", type="SparseFloatVector", function_output=True),
    )
    assert rows.encode({"id": 1})[1] == b'{"id":1}'
    assert rows.encode({"id": 1, "n": None, "d": 5})[1] == b'{"id":1,"n":null,"d":5}'
    with pytest.raises(RowError, match="field 'd' is null; Milvus would store the field's default"):
        rows.encode({"id": 1, "d": None})
    with pytest.raises(RowError, match="field 'n' 128 is out of range for Int8"):
        rows.encode({"id": 1, "n": 128})


def test_collections_that_cannot_be_written() -> None:
    for fields, old, message in (
        ([FieldSchema(name="x", type="JSON")], True, "field 'x' is of type JSON: Milvus before 2.3.6 does not accept"),
        ([FieldSchema(name="x", type="Array")], True, "is of type Array: Milvus before 2.3.6 does not accept"),
        *(
            (
                [FieldSchema(name="x", type=kind)],
                False,
                f"of type {kind}: this package cannot write fields of that type",
            )
            for kind in ("Geometry", "Timestamptz", "ArrayOfStruct", "ArrayOfVector")
        ),
    ):
        with pytest.raises(UnsupportedCollectionError, match=message):
            encoder(*fields, old=old)
    for key, message in (
        (
            FieldSchema(name="k", type="Int64", primary_key=True, auto_id=True),
            r"autoID primary key \('k'\).*autoID off",
        ),
        (FieldSchema(name="k", type="Float", primary_key=True), "its primary key is of type Float"),
        (FieldSchema(name="k", type="Int64"), "its primary key is missing"),
    ):
        with pytest.raises(UnsupportedCollectionError, match=message):
            RowEncoder(CollectionSchema(name="docs", fields_=(key,)))


def test_secrets_of_a_row_stay_out_of_its_error() -> None:
    """Vectors and long texts are cut, and not shown at all where a type is wrong."""
    assert len(refused(["x" * 10_000] * 4, "FloatVector", 4)) < 200
    assert len(refused("9" * 10_000, "Int64")) < 200
    assert len(refused(10**4000, "Int64")) < 200
