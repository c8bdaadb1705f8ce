"""The vector field types: see :mod:`~airflow_provider_milvus_rest.rows.fields`."""

import base64
import math
import re
from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import orjson

from airflow_provider_milvus_rest.rows import fields
from airflow_provider_milvus_rest.text import shown

_MAX_INDEX = 2**32 - 2
_INDEX = re.compile("0|[1-9][0-9]{0,9}")
# From numbers to the bits of 16-bit floats, and back. A bfloat16 is the upper half of a float32.
_HALVES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Float16Vector": (lambda a: a.astype("<f2").view("<u2"), lambda a: a.view("<f2").astype("<f4")),
    "BFloat16Vector": (lambda a: a.astype("<f4").view("<u2")[1::2], lambda a: (a.astype("<u4") << 16).view("<f4")),
}


def float_vector(dim: int, value: Any) -> bytes:
    """``dim`` numbers, each as the nearest float32, which must be finite."""
    vector = _numbers(value, dim, "FloatVector")
    if vector.dtype != np.float32:
        with np.errstate(over="ignore", under="ignore"):  # ints to float64 first, as in lists and files
            vector = vector.astype(np.float64, copy=False).astype(np.float32)
    text = fields.float32_text(np.ascontiguousarray(vector))
    if b"n" in text:  # orjson writes null for what is not finite
        index = int(np.argmin(np.isfinite(vector)))
        raise ValueError(f"[{index}] is {shown(fields.plain(value[index]))}, which is not a finite float32")
    return text


def _numbers(value: Any, dim: int, name: str, takes: str = "a list") -> np.ndarray[Any, Any]:
    """An array of ``dim`` numbers, for a field of the type ``name``."""
    if isinstance(value, np.ndarray):
        if isinstance(value, np.ma.MaskedArray):
            raise ValueError("must be an array without a mask; fill it or leave the row out")
        if value.dtype.kind not in "fiu":
            raise ValueError(f"must be an array of numbers, not of {value.dtype}")
        numbers = value
    elif isinstance(value, (list, tuple)):
        for kind in set(map(type, value)) - {float, int}:
            if not issubclass(kind, (np.floating, np.integer, float)):
                index = next(i for i, element in enumerate(value) if type(element) is kind)
                raise ValueError(f"[{index}] must be a number, not {kind.__name__}")
        try:
            numbers = np.array(value, dtype=np.float64)
        except OverflowError:  # an int beyond a float's range
            numbers = np.array([float(n) if abs(n) < 2**1000 else math.inf for n in value])
    elif isinstance(value, array) and value.typecode in "fd":
        numbers = np.asarray(value)
    else:
        raise fields.wrong_type(f"{takes} or array of {dim} numbers ({name})", value)
    if numbers.shape != (dim,):
        fields.check_length(len(value) if numbers.ndim == 1 else f"shape {numbers.shape}", dim, f"{name}({dim})")
    return numbers


def half_vector(name: str, dim: int, value: Any) -> bytes:
    """``dim`` numbers that are finite 16-bit floats, or their bytes or base64, little-endian (Milvus 2.4 and later).

    Sent as base64: 2.4 does not accept a list, and later versions round its numbers.
    """
    shrink, widen = _HALVES[name]
    value, given = _from_base64(value), None
    with np.errstate(all="ignore"):
        if not isinstance(value, (bytes, bytearray)):
            numbers = _numbers(value, dim, name, "bytes, base64, or a list")
            given = list(map(fields.plain, _listed(value)))
            value = shrink(numbers).tobytes()
        fields.check_length(len(value), 2 * dim, f"{name}({dim})", "bytes")
        kept = widen(np.frombuffer(value, "<u2")).tolist()
    for index, (number, half) in enumerate(zip(given or kept, kept, strict=True)):
        if number != half or not math.isfinite(half):
            raise ValueError(f"[{index}] is {shown(number)}, which {name} cannot hold exactly: round the vector first")
    return _base64(value)


def _from_base64(value: Any) -> Any:
    """The bytes of a str that is base64; anything else unchanged."""
    if isinstance(value, str):
        with suppress(ValueError):
            return base64.b64decode(value, validate=True)
    return value


def _base64(value: bytes) -> bytes:
    return b'"%s"' % base64.b64encode(value)


def _listed(value: Any) -> Any:
    """An array as a list; anything else unchanged."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def int8_vector(dim: int, value: Any) -> bytes:
    """``dim`` ints from -128 to 127 (Milvus 2.6 and later)."""
    value = _listed(value)
    text = fields.array_field("Int8Vector", fields.SCALARS["Int8"], None, value)
    fields.check_length(len(value), dim, f"Int8Vector({dim})")
    return text


def sparse_vector(value: Any) -> bytes:
    """A dict from index to weight (the index as an int or as digits), or ``{"indices": […], "values": […]}``.

    Weights are stored as the nearest float32 and must be ≥ 0; the largest index is 2^32 - 2 (Milvus 2.4 and later).
    """
    if not isinstance(value, Mapping):
        raise fields.wrong_type("a dict of weights by index (SparseFloatVector)", value)
    pairs: Any = value.items()
    if value.keys() == {"indices", "values"}:
        lists = [_listed(value[name]) for name in ("indices", "values")]
        if not all(isinstance(each, (list, tuple)) for each in lists) or len(lists[0]) != len(lists[1]):
            raise ValueError("must have 'indices' and 'values' that are lists of the same length")
        pairs = zip(*lists, strict=True)
    weights: dict[int, bytes] = {}
    for given, weight in pairs:
        index = int(given) if isinstance(given, str) and _INDEX.fullmatch(given) else fields.plain(given)
        if type(index) is not int or not 0 <= index <= _MAX_INDEX:
            raise ValueError(f"has the index {shown(given)}, which is not an int from 0 to {_MAX_INDEX}")
        if index in weights:
            raise ValueError(f"has the index {index} twice")
        text = weights[index] = fields.check_element(fields.single, index, weight)
        if float(text) < 0:
            raise ValueError(f"[{index}] is negative, but the weights of a SparseFloatVector must not be")
    return b"{%s}" % b",".join(b'"%d":%s' % pair for pair in weights.items())


def binary_vector(as_list: bool, dim: int, value: Any) -> bytes:
    """``dim`` bits in ``dim / 8`` bytes: bytes, base64 of them, or a list or array of ints from 0 to 255.

    Sent as a list of ints (``as_list``) for Milvus before 2.3.6, which does not accept base64.
    """
    value = _from_base64(value)
    if isinstance(value, np.ndarray) and (value.dtype != np.uint8 or value.ndim != 1):
        raise ValueError(f"must be a one-dimensional array of uint8, not {value.ndim} dimensions of {value.dtype}")
    value = _listed(value)
    if isinstance(value, (list, tuple)):
        value = list(map(fields.plain, value))
        for index, number in enumerate(value):
            if type(number) is not int or not 0 <= number <= 255:
                raise ValueError(f"[{index}] must be an int from 0 to 255, not {shown(number)}")
    elif not isinstance(value, (bytes, bytearray)):
        raise fields.wrong_type(f"bytes, base64 or a list of {dim // 8} ints from 0 to 255 (BinaryVector)", value)
    fields.check_length(len(value), dim // 8, f"BinaryVector({dim})", "bytes")
    return orjson.dumps(list(value)) if as_list else _base64(bytes(value))


VECTORS: dict[str, Callable[[int, Any], bytes]] = {
    "FloatVector": float_vector,
    "Int8Vector": int8_vector,
    **{name: partial(half_vector, name) for name in _HALVES},
}
"""Checks that take the dimension first. A BinaryVector's JSON also depends on the server."""
