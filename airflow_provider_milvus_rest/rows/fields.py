"""The scalar field types. A check returns a value's exact JSON text, or raises ValueError with the reason.

Before #52261 (August 2026), Milvus's REST API silently changes many values: it stores Int8 300 as 44, a missing VarChar
as ``""``, VarChar 5 as ``"5"``, a null in a vector as 0.0, a dynamic ``1e-07`` as 0. So nothing is coerced here, and
what the server would change is refused. numpy's numbers and bools are accepted. Any other value that is not JSON
(datetime, Decimal, UUID, bytes, pandas' and Arrow's nulls, …) is refused, with a hint on how to convert it.
"""

import datetime
import decimal
import math
import sys
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import orjson

from airflow_provider_milvus_rest.text import shown

Check = Callable[[Any], bytes]  # JSON text of a value, or ValueError with the reason why it cannot be stored exactly
MAX_JSON_BYTES = 65_536  # common.JSONMaxLength, for one JSON field, and for all dynamic fields of a row together
_WHY = "Milvus's default, which this package also applies where the server allows more"
JSON_LIMIT = f"{MAX_JSON_BYTES} ({_WHY}): shorten it, or split it"
_MAX_DEPTH = 100
_SAFE = 2**53
_GO_INTEGERS = 1e21  # below it, Go writes a whole float64 without an exponent
_LEAST_SINGLE = 1e-45  # the smallest float32 above 0, rounded
_LARGEST = orjson.dumps(np.finfo(np.float32).max, option=orjson.OPT_SERIALIZE_NUMPY)
_MARK = b"+" if b"+" in _LARGEST else _LARGEST  # a "+" is found faster, but older versions of orjson write none
_FOREIGN_NULLS = frozenset({"NAType", "NaTType", "NullScalar"})  # pandas' and Arrow's; neither is imported here
_BYTES = (bytes, bytearray, memoryview)
_CONVERSIONS: dict[Any, str] = {
    decimal.Decimal: "float(value), or str(value) to keep every digit (convert={…: 'float'} or 'str')",
    (datetime.date, datetime.time): "value.isoformat(), or convert={…: 'iso'}",
    datetime.timedelta: "value.total_seconds()",
    uuid.UUID: "str(value), or convert={…: 'uuid'}",
    np.datetime64: "str(value), or convert={…: 'iso'}",
    np.timedelta64: "str(value)",
    np.longdouble: "float(value)",
    _BYTES: "value.decode(), or convert={…: 'base64'}",
    (set, frozenset): "list(value)",
}


def wrong_type(expected: str, value: Any) -> ValueError:
    """The error for a ``value`` of the wrong type, with a hint on how to convert it."""
    kind = type(value).__name__
    if value is None:
        return ValueError(f"is null, but must be {expected}")
    if kind in _FOREIGN_NULLS:
        return ValueError(f"is {kind}, but must be {expected}; use None if the field accepts null")
    ways = [how for types, how in _CONVERSIONS.items() if isinstance(value, types)]
    ways += [f"value.{name}()" for name in ("as_py", "tolist") if hasattr(value, name)]
    if isinstance(value, _BYTES) and "Vector" in expected:
        ways = ["bytes(value)" if "bytes" in expected else "list(value)"]
    elif isinstance(value, _BYTES) and len(value) == 16:
        ways = ["str(uuid.UUID(bytes=value)), or convert={…: 'uuid'}, if it is a UUID"]
    what = "" if isinstance(value, (np.ndarray, list, dict, tuple)) else f" {shown(value, 60)}"
    return ValueError(f"must be {expected}, not {kind}{what}" + (f"; convert it with {ways[0]}" if ways else ""))


def check_length(length: Any, takes: int, name: str, unit: str = "elements") -> None:
    """Raise ValueError if a value does not have the field's length."""
    if length != takes:
        raise ValueError(f"has {length} {unit}, but {name} takes {takes}")


def plain(value: Any) -> Any:
    """A numpy number or bool as the equal Python value; any other value unchanged."""
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "biuf" else value


def _dotted(text: bytes) -> bytes:
    """A float with a dot, without which Milvus reads it as int64. Only a single digit before an exponent has none."""
    return text if b"." in text else text.replace(b"e", b".0e")


def integer(name: str, limit: int, value: Any) -> bytes:
    """An int (not a bool, not 5.0) from ``-limit`` to ``limit - 1``."""
    if type(value) is not int and type(value := plain(value)) is not int:
        raise wrong_type(f"an int ({name})", value)
    if not -limit <= value < limit:
        raise ValueError(f"{shown(value)} is out of range for {name} ({-limit} to {limit - 1})")
    return b"%d" % value


def boolean(value: Any) -> bytes:
    """True or False."""
    value = plain(value)
    if type(value) is not bool:
        raise wrong_type("a bool", value)
    return b"true" if value else b"false"


def double(value: Any) -> bytes:
    """A finite float, or an int that a float can hold exactly, as the shortest text that reads back as that float."""
    return _dotted(float.__repr__(_number(value, "a float (Double)")).encode())


def single(value: Any) -> bytes:
    """A number as the nearest float32, which must be finite, and zero only for zero."""
    number = _number(value, "a float (Float)")
    with np.errstate(over="ignore"):
        rounded = np.float32(number)
    if not np.isfinite(rounded):
        raise ValueError(f"{number!r} is out of range for float32")
    if number and not rounded:
        raise ValueError(f"{number!r} is too small for float32, which would make it 0")
    return _dotted(float32_text(rounded))  # str() depends on numpy's print options


def float32_text(value: Any) -> bytes:
    """The shortest text of a float32 or an array of them. That of the largest float32 is above it, so it is replaced:
    Milvus compares it as float64, and would refuse it.
    """
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return text.replace(_LARGEST, _LARGEST.replace(b"35e", b"34e")) if _MARK in text else text


def _number(value: Any, expected: str) -> float:
    value = plain(value)
    if type(value) is int:
        if abs(value) > sys.float_info.max or float(value) != value:
            raise ValueError(f"{shown(value)} has more digits than {expected} can hold")
    elif not isinstance(value, float):
        raise wrong_type(expected, value)
    elif not math.isfinite(value):
        raise ValueError(f"is {value}, which is not a finite number")
    return float(value)


def varchar(max_length: int | None, value: Any) -> bytes:
    """A str of at most ``max_length`` bytes of UTF-8."""
    if not isinstance(value, str):
        raise wrong_type("a str (VarChar)", value)
    text = string(value)  # never shorter than the value and its quotes
    if max_length is not None and len(text) - 2 > max_length and (length := len(value.encode())) > max_length:
        raise ValueError(f"is {length} bytes long in UTF-8, but VarChar({max_length}) takes {max_length}")
    return text


def string(value: str) -> bytes:
    """JSON text of any str that UTF-8 can hold."""
    try:
        return orjson.dumps(str.__str__(value))  # the value of an Enum that is a str
    except orjson.JSONEncodeError:
        raise ValueError("contains a lone surrogate, which UTF-8 cannot encode") from None


def array_field(name: str, element: Check | None, capacity: int | None, value: Any) -> bytes:
    """A list of at most ``capacity`` elements, all of one type: the field's, if ``describe`` returns it."""
    if not isinstance(value, (list, tuple)):
        raise wrong_type(f"a list ({name})", value)
    if capacity is not None and len(value) > capacity:
        raise ValueError(f"has {len(value)} elements, but the {name} takes {capacity}")
    if not value:
        return b"[]"
    kinds = set() if element else {type(plain(item)) for item in value}
    check = element or (_ELEMENTS.get(kinds.pop()) if len(kinds) == 1 else None)
    if check is None:
        raise ValueError("must contain ints, floats, bools or strs, all of one type")
    return b"[%s]" % b",".join(check_element(check, index, item) for index, item in enumerate(value))


def check_element(check: Check, index: int, item: Any) -> bytes:
    """JSON text of an element, or ValueError with its index and the reason."""
    try:
        return check(item)
    except ValueError as reason:
        raise ValueError(f"[{index}] {reason}") from None


def _untyped(check: Check, value: Any) -> bytes:
    """A number in an Array whose type REST v1 does not report: Int64 or Double for an int, else Float or Double."""
    text, number = check(value), plain(value)
    if abs(number) > _SAFE if type(number) is int else number and abs(number) < _LEAST_SINGLE:
        why = "would be changed by some types of Array, and REST v1 does not say which type this one has: use v2"
        raise ValueError(f"{shown(number)} {why}")
    return text


def json_field(value: Any) -> bytes:
    """An object or array. Not a str: Milvus up to 3.0 stores the text in a JSON string, even if it is not JSON."""
    if not isinstance(value, (dict, list, tuple)):
        raise wrong_type("a dict or a list (JSON)", value)
    text = _json_text(value, 2**63)
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"is {len(text)} bytes long as JSON; the limit is {JSON_LIMIT}")
    return text


def dynamic(value: Any) -> bytes:
    """A value of a dynamic field.

    Milvus up to 3.0 reads a number without a dot as int64, converts numbers inside lists and objects to float64, and
    writes a whole float64 below 1e21 as an int: its shortest digits, padded with zeros.
    """
    value = plain(value)
    return _INT64(value) if type(value) is int else _json_text(value, _SAFE)


def _json_text(value: Any, int_limit: int, where: str = "", depth: int = 0) -> bytes:
    """JSON of ``value``. Its ints must be within ±``int_limit`` and below 2**63, which int64 cannot hold."""
    value = plain(value)
    at = f"{where} " if where else ""
    if value is None or isinstance(value, bool):
        return orjson.dumps(value)
    if isinstance(value, int):
        if not (-int_limit <= value <= min(int_limit, 2**63 - 1)):
            raise ValueError(f"{at}{shown(value)} is an int that Milvus does not keep exactly here; make it a str")
        return b"%d" % value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{at}is {value}, which is not a finite number")
        text = double(value)
        if int_limit == _SAFE <= abs(value) < _GO_INTEGERS:
            kept = int(decimal.Decimal(text.decode()))
            if kept != value:
                raise ValueError(f"{at}{value!r} would come back as {kept}, a different number; make it a str")
            if not -(2**63) <= kept < 2**64:
                what = "an int beyond 64 bits, which Milvus cannot read in a filter"
                raise ValueError(f"{at}{value!r} would be stored as {what}; make it a str")
        return text
    if isinstance(value, str):
        return string(value)
    if depth > _MAX_DEPTH:
        raise ValueError(f"is nested more than {_MAX_DEPTH} levels deep")
    if isinstance(value, (list, tuple)):
        return b"[%s]" % b",".join(_json_text(v, int_limit, f"{where}[{i}]", depth + 1) for i, v in enumerate(value))
    if isinstance(value, Mapping):
        members = []
        for name, member in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{at}has the key {shown(name)}, which is not a str")
            members.append(string(name) + b":" + _json_text(member, int_limit, f"{where}.{name:.40}", depth + 1))
        return b"{%s}" % b",".join(members)
    raise ValueError(f"{at}{wrong_type('a JSON value', value)}")


SCALARS: dict[str, Check] = {
    **{f"Int{bits}": partial(integer, f"Int{bits}", 2 ** (bits - 1)) for bits in (8, 16, 32, 64)},
    **{"Bool": boolean, "Float": single, "Double": double},
}
_INT64 = SCALARS["Int64"]
_NUMBERS: dict[type, Check] = {int: partial(_untyped, _INT64), float: partial(_untyped, double)}
_ELEMENTS = _NUMBERS | {bool: boolean, str: partial(varchar, None)}
