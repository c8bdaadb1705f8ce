"""What each field type takes: a value in, its exact JSON text out, or the reason why not.

Before 3.0.1, Milvus's REST API changes many a value without a word: it stores Int8 300 as 44, a missing VarChar as
``""``, VarChar 5 as ``"5"``, a null in a vector as 0.0, a dynamic ``1e-07`` as 0. So nothing is coerced here, and what
the server would change is refused. numpy's numbers and bools are taken for what they are; all else that is not JSON
(datetime, Decimal, UUID, bytes, pandas' and Arrow's nulls, …) is refused with the way to convert it.
"""

from __future__ import annotations

import array
import base64
import datetime
import decimal
import functools
import math
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
from pydantic_core import PydanticCustomError

from airflow_provider_milvus_rest.text import shown

Check = Callable[[Any], bytes]
"""JSON text of a value. Raises the reason, as :func:`refuse` makes it."""

MAX_JSON_BYTES = 65_536
"""``common.JSONMaxLength``, of one JSON field and of all dynamic fields of a row together."""
_MAX_DEPTH = 100
_SAFE = 2**53
_GO_INTEGERS = 1e21
"""Below it, Go writes a whole float64 without an exponent."""
_LEAST_SINGLE = 1e-45
"""float32 has nothing between this, rounded, and 0."""
_MAX_INDEX = 2**32 - 2
_INDEX = re.compile("0|[1-9][0-9]{0,9}")
_INTEGERS = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}
_CONVERSIONS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((decimal.Decimal,), "float(value), or str(value) to keep every digit"),
    ((datetime.date, datetime.time), "value.isoformat()"),
    ((datetime.timedelta,), "value.total_seconds()"),
    ((uuid.UUID,), "str(value)"),
    ((bytes, bytearray, memoryview), "value.decode()"),
    ((np.ndarray,), "value.tolist()"),
    ((set, frozenset), "list(value)"),
    ((np.datetime64, np.timedelta64), "str(value)"),
)
_FOREIGN_NULLS = frozenset({"NAType", "NaTType", "NullScalar"})
"""pandas' and Arrow's; neither is imported here."""


def refuse(reason: str) -> PydanticCustomError:
    """The exception that pydantic reports as ``reason``."""
    return PydanticCustomError("milvus", "{reason}", {"reason": reason})


def _not(expected: str, value: Any) -> PydanticCustomError:
    """``value`` is of a type that the field does not take."""
    if value is None:
        return refuse(f"is null, but must be {expected}")
    if type(value).__name__ in _FOREIGN_NULLS:
        return refuse(f"is {type(value).__name__}, but must be {expected}; make it None where the field takes null")
    how = next((f"; convert it with {how}" for types, how in _CONVERSIONS if isinstance(value, types)), "")
    if "Vector" in expected and isinstance(value, (bytes, bytearray, memoryview)):
        how = "; convert it with list(value)" if "bytes" not in expected else "; convert it with bytes(value)"
    if hasattr(value, "as_py"):
        how = "; convert it with value.as_py()"
    elif not how and hasattr(value, "tolist"):
        how = "; convert it with value.tolist()"
    what = "" if isinstance(value, (np.ndarray, list, dict, tuple)) else f" {shown(value, 60)}"
    return refuse(f"must be {expected}, not {type(value).__name__}{what}{how}")


def plain(value: Any) -> Any:
    """A numpy number or bool as Python's, exactly; any other value as it is."""
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "biuf" else value


def float_text(value: float) -> bytes:
    """The shortest text that reads back to ``value``, always with a dot: without one, Milvus takes it for an int64."""
    return _dotted(float.__repr__(value).encode())


def _dotted(text: bytes) -> bytes:
    """Python and orjson write a dot, but for a lone digit before an exponent."""
    return text if b"." in text else text.replace(b"e", b".0e")


def integer(bits: int) -> Check:
    """An int (no bool, no 5.0) within ``bits`` bits."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def check(value: Any) -> bytes:
        if type(value) is not int and type(value := plain(value)) is not int:
            raise _not(f"an int (Int{bits})", value)
        if not low <= value <= high:
            raise refuse(f"{shown(value)} is not within Int{bits}, {low} to {high}")
        return b"%d" % value

    return check


def boolean(value: Any) -> bytes:
    """True or False."""
    value = plain(value)
    if type(value) is not bool:
        raise _not("a bool", value)
    return b"true" if value else b"false"


def double(value: Any) -> bytes:
    """A finite float, or an int that a float holds exactly."""
    return float_text(_number(value, "a float (Double)"))


def single(value: Any) -> bytes:
    """A number as the nearest float32, which must be finite, and zero for zero only."""
    number = _number(value, "a float (Float)")
    with np.errstate(over="ignore"):
        rounded = np.float32(number)
    if not np.isfinite(rounded):
        raise refuse(f"{number!r} is beyond float32")
    if number and not rounded:
        raise refuse(f"{number!r} is too small for float32, which would make it 0")
    return _dotted(orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY))  # str() is as numpy was told to print


def _number(value: Any, expected: str) -> float:
    value = plain(value)
    if type(value) is int:
        try:
            exact = float(value)
        except OverflowError:
            exact = math.inf
        if exact != value:
            raise refuse(f"{shown(value)} has more digits than {expected} holds")
        return exact
    if not isinstance(value, float):
        raise _not(expected, value)
    return float(_finite(value))


def varchar(max_length: int | None) -> Check:
    """A str of at most ``max_length`` bytes of UTF-8."""

    def check(value: Any) -> bytes:
        if not isinstance(value, str):
            raise _not("a str (VarChar)", value)
        text = string(value)
        # The text is never shorter than what it says.
        if max_length is None or len(text) - 2 <= max_length:
            return text
        if (length := len(value.encode())) > max_length:
            raise refuse(f"is {length} bytes long in UTF-8, but VarChar({max_length}) takes {max_length}")
        return text

    return check


def float_vector(dim: int) -> Check:
    """``dim`` numbers, each as the nearest float32, which must be finite."""

    def check(value: Any) -> bytes:
        vector = numbers = _numbers(value, dim, "FloatVector")
        if numbers.dtype != np.float32:
            with np.errstate(over="ignore", under="ignore"):
                vector = numbers.astype(np.float32)
        text = orjson.dumps(np.ascontiguousarray(vector), option=orjson.OPT_SERIALIZE_NUMPY)
        if b"n" in text:  # what is not finite has become null
            index = int(np.argmin(np.isfinite(vector)))
            raise refuse(f"[{index}] is {shown(plain(value[index]))}, which is no finite float32")
        return text

    return check


def _numbers(value: Any, dim: int, name: str, takes: str = "a list") -> np.ndarray[Any, Any]:
    """An array of ``dim`` numbers, for a field of the type ``name``."""
    if isinstance(value, np.ndarray):
        if isinstance(value, np.ma.MaskedArray):
            raise refuse("must be an array without a mask; fill it or leave the row out")
        if value.dtype.kind not in "fiu":
            raise refuse(f"must be an array of numbers, not of {value.dtype}")
        numbers = value
    elif isinstance(value, (list, tuple)):
        for kind in set(map(type, value)) - {float, int}:
            if not issubclass(kind, (np.floating, np.integer, float)):
                index = next(i for i, element in enumerate(value) if type(element) is kind)
                raise refuse(f"[{index}] must be a number, not {kind.__name__}")
        numbers = _to_array(value)
    elif isinstance(value, array.array) and value.typecode in "fd":
        numbers = np.asarray(value)
    else:
        raise _not(f"{takes} or array of {dim} numbers ({name})", value)
    if numbers.shape != (dim,):
        shape = len(value) if numbers.ndim == 1 else f"shape {numbers.shape}"
        raise refuse(f"has {shape} elements, but {name}({dim}) takes {dim}")
    return numbers


def _to_array(numbers: Any) -> np.ndarray[Any, Any]:
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError:  # an int past a float's range
        return np.array([float(n) if abs(n) < 2**1000 else math.inf for n in numbers])


def half_vector(name: str, dim: int) -> Check:
    """``dim`` numbers of which each is a finite 16-bit float, or those as bytes or base64, little-endian.

    For Float16Vector and BFloat16Vector (Milvus 2.4 and later). Sent as base64: 2.4 knows no list, and later
    versions round one.
    """
    shrink, widen = _HALVES[name]

    def check(value: Any) -> bytes:
        value, given = _octets(value), None
        if not isinstance(value, (bytes, bytearray)):
            numbers = _numbers(value, dim, name, "bytes, base64, or a list")
            given = numbers.tolist() if isinstance(value, np.ndarray) else [plain(number) for number in value]
            with np.errstate(all="ignore"):
                value = shrink(numbers).tobytes()
        if len(value) != 2 * dim:
            raise refuse(f"has {len(value)} bytes, but {name}({dim}) takes {2 * dim}")
        with np.errstate(all="ignore"):
            kept = widen(np.frombuffer(value, "<u2")).tolist()
        for index, (number, half) in enumerate(zip(given or kept, kept, strict=True)):
            if number != half or not math.isfinite(half):
                raise refuse(
                    f"[{index}] is {shown(number)}, which {name} does not hold exactly: round the vector first"
                )
        return _base64(value)

    return check


_HALVES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Float16Vector": (lambda a: a.astype("<f2").view("<u2"), lambda a: a.view("<f2").astype("<f4")),
    "BFloat16Vector": (
        lambda a: (a.astype("<f4").view("<u4") >> 16).astype("<u2"),
        lambda a: (a.astype("<u4") << 16).view("<f4"),
    ),
}
"""From numbers to the bits of 16-bit floats, and back; a bfloat16 is the first half of a float32."""


def _octets(value: Any) -> Any:
    """The bytes of a text that is base64; anything else as it is."""
    if isinstance(value, str):
        with suppress(ValueError):
            return base64.b64decode(value, validate=True)
    return value


def _listed(value: Any) -> Any:
    """An array as a list; anything else as it is."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _base64(octets: bytes) -> bytes:
    return b'"%s"' % base64.b64encode(octets)


def int8_vector(dim: int) -> Check:
    """``dim`` ints from -128 to 127 (Milvus 2.6 and later)."""
    elements = array_field(SCALARS["Int8"], name="Int8Vector")

    def check(value: Any) -> bytes:
        value = _listed(value)
        text = elements(value)
        if len(value) != dim:
            raise refuse(f"has {len(value)} elements, but Int8Vector({dim}) takes {dim}")
        return text

    return check


def sparse_vector(value: Any) -> bytes:
    """A dict of weights by index, which is an int or, as in JSON, its digits; or ``{"indices": […], "values": […]}``.

    Weights are stored as the nearest float32 and must not be negative; indices end at 2^32 - 2 (Milvus 2.4 and later).
    """
    if not isinstance(value, Mapping):
        raise _not("a dict of weights by index (SparseFloatVector)", value)
    pairs: Any = value.items()
    if value.keys() == {"indices", "values"}:
        lists = [_listed(value[part]) for part in ("indices", "values")]
        if not all(isinstance(part, (list, tuple)) for part in lists) or len(lists[0]) != len(lists[1]):
            raise refuse("must have 'indices' and 'values' that are lists of one length")
        pairs = zip(*lists, strict=True)
    weights: dict[int, bytes] = {}
    for given, weight in pairs:
        index = int(given) if isinstance(given, str) and _INDEX.fullmatch(given) else plain(given)
        if type(index) is not int or not 0 <= index <= _MAX_INDEX:
            raise refuse(f"has the index {shown(given)}, which is no int from 0 to {_MAX_INDEX}")
        if index in weights:
            raise refuse(f"has the index {index} twice")
        text = weights[index] = _element(single, index, weight)
        if float(text) < 0:
            raise refuse(f"[{index}] is negative, which no weight of a SparseFloatVector may be")
    return b"{%s}" % b",".join(b'"%d":%s' % pair for pair in weights.items())


def binary_vector(dim: int, *, as_list: bool = False) -> Check:
    """``dim`` bits in ``dim / 8`` bytes: bytes, base64 of them, or a list or array of ints from 0 to 255.

    :param as_list: send a list of ints: Milvus before 2.3.6 knows no base64. Milvus 3.0.1 knows nothing else.
    """
    size = dim // 8

    def check(value: Any) -> bytes:
        value = _octets(value)
        if isinstance(value, np.ndarray):
            if value.dtype != np.uint8 or value.ndim != 1:
                raise refuse(f"must be a one-dimensional array of uint8, not {value.ndim} dimensions of {value.dtype}")
            value = value.tolist()
        elif not isinstance(value, (bytes, bytearray, list, tuple)):
            raise _not(f"bytes, base64 or a list of {size} ints from 0 to 255 (BinaryVector)", value)
        if isinstance(value, (list, tuple)):
            value = list(map(plain, value))
            for index, number in enumerate(value):
                if type(number) is not int or not 0 <= number <= 255:
                    raise refuse(f"[{index}] must be an int from 0 to 255, not {shown(number)}")
        if len(value) != size:
            raise refuse(f"has {len(value)} bytes, but BinaryVector({dim}) takes {size}")
        return orjson.dumps(list(value)) if as_list else _base64(bytes(value))

    return check


def json_field(value: Any) -> bytes:
    """An object or an array: Milvus up to 3.0 unquotes a JSON string and stores what is no JSON."""
    if not isinstance(value, (dict, list, tuple)):
        raise _not("a dict or a list (JSON)", value)
    text = json_text(value, 2**63)
    if len(text) > MAX_JSON_BYTES:
        raise refuse(f"is {len(text)} bytes long as JSON, but may be {MAX_JSON_BYTES}")
    return text


def array_field(element: Check | None, capacity: int | None = None, name: str = "Array") -> Check:
    """A list whose elements are all of one type, the field's if describe names it, and at most ``capacity``."""

    def check(value: Any) -> bytes:
        if not isinstance(value, (list, tuple)):
            raise _not(f"a list ({name})", value)
        if capacity is not None and len(value) > capacity:
            raise refuse(f"has {len(value)} elements, but the {name} takes {capacity}")
        if not value:
            return b"[]"
        kinds = {type(plain(item)) for item in value}
        checked = element or (_ELEMENTS.get(next(iter(kinds))) if len(kinds) == 1 else None)
        if checked is None:
            raise refuse("must hold ints, floats, bools or strs, and all of one type")
        return b"[" + b",".join(_element(checked, index, item) for index, item in enumerate(value)) + b"]"

    return check


def _element(check: Check, index: int, item: Any) -> bytes:
    try:
        return check(item)
    except PydanticCustomError as error:
        raise refuse(f"[{index}] {error.message()}") from None


def dynamic(value: Any) -> bytes:
    """A value of a dynamic field.

    Milvus up to 3.0 drops a null, takes a number without a dot for an int64, lets the numbers inside of lists and
    objects go through float64, and writes a whole float64 below 1e21 as the int of its shortest digits and zeros.
    """
    value = plain(value)
    if value is None:
        raise refuse("is null, which a dynamic field cannot store: leave it out")
    if type(value) is int:
        return _INT64(value)
    return json_text(value, _SAFE)


def json_text(value: Any, int_limit: int, where: str = "", depth: int = 0) -> bytes:
    """JSON of ``value``, with the ints in it within ±``int_limit``; a lone 2**63 is one too many for int64."""
    value = plain(value)
    at = f"{where} " if where else ""
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        if not (-int_limit <= value <= min(int_limit, 2**63 - 1)):
            raise refuse(f"{at}{shown(value)} is an int that Milvus does not keep exactly here; make it a str")
        return b"%d" % value
    if isinstance(value, float):
        text = float_text(_finite(value, at))
        if int_limit == _SAFE <= abs(value) < _GO_INTEGERS and (kept := int(decimal.Decimal(text.decode()))) != value:
            raise refuse(f"{at}{value!r} would come back as {kept}, which is another number; make it a str")
        return text
    if isinstance(value, str):
        return string(value)
    if depth > _MAX_DEPTH:
        raise refuse(f"is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, (list, tuple)):
        return b"[%s]" % b",".join(json_text(v, int_limit, f"{where}[{i}]", depth + 1) for i, v in enumerate(value))
    if isinstance(value, Mapping):
        members = []
        for name, member in value.items():
            if not isinstance(name, str):
                raise refuse(f"{at}has the key {shown(name)}, which is no str")
            members.append(string(name) + b":" + json_text(member, int_limit, f"{where}.{name:.40}", depth + 1))
        return b"{%s}" % b",".join(members)
    raise refuse(f"{at}{_not('a JSON value', value).message()}")


def _finite(value: float, at: str = "") -> float:
    if not math.isfinite(value):
        raise refuse(f"{at}is {value}, which is no finite number")
    return value


def string(value: str) -> bytes:
    """JSON text of any str that UTF-8 can hold."""
    try:
        return orjson.dumps(str.__str__(value))  # of a str that is an Enum, its value
    except orjson.JSONEncodeError:
        raise refuse("holds a lone surrogate, which UTF-8 cannot hold") from None


_INT64 = integer(64)


def _unnamed(check: Check) -> Check:
    """A number in an Array of which REST v1 does not tell whether it is of Int64 or Double, of Float or Double."""

    def checked(value: Any) -> bytes:
        text, number = check(value), plain(value)
        if abs(number) > _SAFE if type(number) is int else number and abs(number) < _LEAST_SINGLE:
            raise refuse(
                f"{shown(number)} is changed by some types of Array, and v1 does not say of which this is: use v2"
            )
        return text

    return checked


_ELEMENTS: dict[type, Check] = {int: _unnamed(_INT64), float: _unnamed(double), bool: boolean, str: varchar(None)}
SCALARS: dict[str, Check] = {
    **{name: integer(bits) for name, bits in _INTEGERS.items()},
    "Bool": boolean,
    "Float": single,
    "Double": double,
}
VECTORS: dict[str, Callable[[int], Check]] = {
    "FloatVector": float_vector,
    "Int8Vector": int8_vector,
    **{name: functools.partial(half_vector, name) for name in _HALVES},
}
"""By dimension."""
