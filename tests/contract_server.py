"""A local HTTP server that answers as a given version of Milvus would, for tests of what no server here can show.

Its rules, and how each is known. [T]: measured on the real 2.3.5, over v1; ``integration/test_contract.py`` compares
the two case by case, and ``tests/recorded`` keeps what was answered. [S]: read in Milvus's source and never run, so
only as good as the reading. Files are of ``internal/``: hv1, hv2 and utils are ``handler_v1.go``, ``handler_v2.go``
and ``utils.go`` in ``distributed/proxy/httpserver``; the others are in ``proxy``. Versions are those that were read:
2.3.17, 2.4.23, 2.5.27, 2.6.20, 3.0 (its branch of 2026-08-23) and master (2026-08-20, with #52261).

- v1: paths, binding of bodies, credentials (401), codes 100, 800, 1802, 1804, 1806, values of scalars, FloatVector
  and BinaryVector, dynamic fields, ``get`` and ``query``, describe: [T]. The same in later versions: [S] hv1, utils
  2.4.23 to master, where nothing else stands below.
- Int64 keys are answered as texts from 2.3.3 to 2.3.10 [T], and are read in base 10 from 2.3.6: [S] utils 2.3.17.
- All of v2: paths, bodies, 1802 of the binding, success 0 (200 up to 2.3.17), describe, HTTP 408: [S] hv2 2.3.17 to
  master.
- autoID: refused by v1 [T]; over v2 from 2.4.17 a new key for each row: [S] hv2, util.go:checkUpsertPrimaryFieldData
  2.5.27.
- Nullable and default-valued fields over v1: :meth:`Milvus._check_nulls`, [S] hv1:upsert, utils:anyToColumns,
  validate_util.go:fillWithValue, fillWithNullValueImpl and fillWithDefaultValue 2.5.27, before d298f17d78, 2.6.20.
- Struct arrays: no describe of v1, nor v2's before 3.0, lists them; rows are refused with 1100 in 2.6 ([S]
  util.go:checkAndFlattenStructFieldData 2.6.20), with 1804 from 3.0 ([S] utils:parseStructArrayRow 3.0).
- Namespaces: 1100, [S] util.go:addNamespaceData 2.6.20.
- Unknown partitions: 200, and from 2.4.10 1807, since the limiter looks them up first, unless quotas are off: [S]
  hv2:wrapperProxyWithLimit, utils:CheckLimiter, util.go:GetRequestInfo 2.6.20. In v2, privileges (403) and the
  limiter come after the rows were read, so after 1804: [S] hv2:upsert 2.6.20; in v1, privileges come first: [S] hv1
  2.6.20.
- Privileges: 403 with 65535, [T] in v1; [S] hv1:checkAuthorization, hv2:checkAuthorizationV2 2.6.20.
- Aliases: describe and upsert take them [T]; v2's describe lists them, [S] hv2:getCollectionDetails.
- v1's limiter answers twice: [S] hv1:upsert 2.4.23 to 3.0.
- Duplicate keys: stored twice [T], refused from 2.6.8 [S] 2.6.20.
- Extra and ``$meta`` fields: dropped and taken [T], refused from 2.4.17 [S] utils 2.4.23.
- JSON, Array, base64 and text forms of vectors, Float16, BFloat16, sparse, Int8Vector: [S] utils, validate_util.go
  2.4.23 to master. An Array's capacity is checked by upsert from 3.0 only (``withMaxCapCheck``): [S] task_upsert.go
  2.6.20, 3.0.
- TEXT: from 3.0, a JSON string, without a maximum length: [S] utils:checkAndSetData,
  validate_util.go:checkTextFieldData 3.0.
- Floats past MaxFloat32 as float64: Float on master ([S] utils:checkAndSetData, 23882ede2d), sparse weights from 2.4
  ([S] ``CreateSparseFloatRowFromMap``).
- Missing, null and out-of-range values are refused, dynamic numbers are kept: #52261, on master: [S] utils master. A
  whole dynamic float from 2^64 on becomes an integer of more than 64 bits before that: [S] utils 2.6.20.

Not here at all: search, delete, users, indexes and loading, consistency (rows are there at once), partial updates,
Geometry, Timestamptz, rows of a segment that is being compacted.
"""

import base64
import itertools
import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.servers import LocalServer

LATEST = {"2.3.x": "2.3.17", "2.4.x": "2.4.23", "2.5.x": "2.5.27", "2.6.x": "2.6.20", "3.0.x": "3.0.0"}
MASTER = "master"
"""What follows 3.0: with #52261."""
SINCE = {
    "JSON": (2, 3, 6),
    "Array": (2, 3, 6),
    "SparseFloatVector": (2, 4, 0),
    "Float16Vector": (2, 4, 0),
    "BFloat16Vector": (2, 4, 0),
    "Int8Vector": (2, 6, 0),
    "Text": (3, 0, 0),
}
"""The first version that can be sent such a field over REST; all others from the start."""
BITS = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}
MAX_JSON_BYTES = 65_536
MAX_FLOAT32 = (2 - 2**-23) * 2.0**127
UNSET = object()


@dataclass(frozen=True)
class Field:
    """A field of a collection; ``params`` are Milvus's: dim, max_length, max_capacity."""

    name: str
    type: str
    params: dict[str, int] = field(default_factory=dict)
    primary: bool = False
    nullable: bool = False
    default: Any = None
    element_type: str | None = None
    partition_key: bool = False
    function_output: bool = False


@dataclass
class Collection:
    name: str
    fields: tuple[Field, ...]
    dynamic: bool
    auto_id: bool
    partitions: tuple[str, ...]
    id: int = field(default_factory=itertools.count(446_000_000_000_000_001).__next__)
    structs: tuple[str, ...] = ()
    """Names of fields that are arrays of structs."""
    namespace: bool = False
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The partition and the row; a key twice in one request is there twice, as it is in Milvus before 2.6.8."""

    @property
    def key(self) -> Field:
        return next(item for item in self.fields if item.primary)


class Refused(Exception):  # noqa: N818
    """Milvus's error: a code and a message in the body, and an HTTP status that says little."""

    def __init__(self, code: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


# -- JSON as Milvus reads it: gjson on the raw text, and Go's conversions -------------------------------------------

_DECODER = json.JSONDecoder(parse_constant=lambda name: _not_json(f"invalid character '{name[0]}'"))
_SPACE = re.compile(r"[ \t\r\n]*")
_GO_FLOAT = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE)
_GO_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def version_of(version: str) -> tuple[int, int, int]:
    """``"2.6.x"`` and ``"master"`` too; what follows the digits, as in ``2.3.5-lite``, does not count."""
    if version == MASTER:
        return 3, 1, 0
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", LATEST.get(version, version))
    assert match, f"{version!r} is no version of Milvus"
    major, minor, patch = map(int, match.groups())
    return major, minor, patch


def _not_json(reason: str) -> Any:
    raise Refused(1801, f"can only accept json format request, error: {reason}")


def bound(text: str) -> Any:
    """A body as Go's encoding/json binds it: no NaN, no number beyond float64; what follows does not count."""
    try:
        value, _ = _DECODER.raw_decode(text.lstrip())
    except (ValueError, RecursionError) as error:
        return _not_json("EOF" if not text.strip() else str(error))
    if any(isinstance(number, float) and math.isinf(number) for number in _leaves(value)):
        _not_json("json: cannot unmarshal number into Go value of type float64")
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _leaves(member)
    else:
        yield value


def parts(raw: str) -> list[tuple[str | None, str]]:
    """The members of an object, or the elements of an array, each as its key (None) and its raw text."""
    found: list[tuple[str | None, str]] = []
    at = _SPACE.match(raw, 1).end()  # type: ignore[union-attr]
    while raw[at] not in "]}":
        key = None
        if raw[0] == "{":
            key, at = json.decoder.scanstring(raw, at + 1)
            at = raw.index(":", at) + 1
        start = _SPACE.match(raw, at).end()  # type: ignore[union-attr]
        _, end = _DECODER.raw_decode(raw, start)
        found.append((key, raw[start:end]))
        at = _SPACE.match(raw, end).end()  # type: ignore[union-attr]
        if raw[at] == ",":
            at = _SPACE.match(raw, at + 1).end()  # type: ignore[union-attr]
    return found


def is_number(raw: str) -> bool:
    return raw[:1] == "-" or raw[:1].isdigit()


def go_string(raw: str | None) -> str:
    """gjson's ``String()`` of a raw value: a text unquoted, null and missing as nothing, a number without exponent."""
    if raw is None or raw == "null":
        return ""
    if raw[0] == '"':
        return str(json.loads(raw))
    if is_number(raw) and not raw.removeprefix("-").isdigit():
        shortest = format(Decimal(repr(float(raw))), "f")
        return shortest.rstrip("0").rstrip(".") if "." in shortest else shortest
    return raw


def go_num(raw: str) -> float:
    """gjson's ``Num``: 0 for whatever is no number."""
    return float(raw) if is_number(raw) else 0.0


def go_int(text: str, *, base_10: bool = False) -> int:
    """``strconv.ParseInt``: in base 0, a prefix says the base, and 0 alone is octal's."""
    if not base_10:
        text = re.sub(r"^([+-]?)0(?=[0-7_])", r"\g<1>0o", text)
    if text != text.strip():
        raise ValueError(text)
    value = int(text, 10 if base_10 else 0)
    if not -(2**63) <= value < 2**63:
        raise ValueError(text)
    return value


def go_float(text: str, bits: int) -> float:
    """``strconv.ParseFloat``: texts such as NaN and Infinity too; too large is an error, too small is 0."""
    if not _GO_FLOAT.fullmatch(text):
        raise ValueError(text)
    with np.errstate(over="ignore"):
        value = float(np.float32(text)) if bits == 32 else float(text)
    if math.isinf(value) and "inf" not in text.lower():
        raise ValueError(text)
    return value


def unmarshal(text: str, element: Callable[[Any], Any], null: Any) -> list[Any]:
    """``json.Unmarshal`` into a slice, in which a null leaves its element as it was."""
    value = _DECODER.decode(text)
    if not isinstance(value, list):
        raise ValueError(f"json: cannot unmarshal {text:.20} into Go value of type []")
    return [null if item is None else element(item) for item in value]


def exact(kind: type) -> Callable[[Any], Any]:
    def check(item: Any) -> Any:
        if type(item) is not kind:
            raise ValueError(f"json: cannot unmarshal {item!r:.20} into Go value")
        return item

    return check


def ranged(bits: int, *, signed: bool = True) -> Callable[[Any], int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)

    def check(item: Any) -> int:
        if not low <= exact(int)(item) < high:
            raise ValueError(f"json: cannot unmarshal number {item} into Go value")
        return int(item)

    return check


def float32(item: Any) -> float:
    if type(item) not in (int, float):
        raise ValueError(f"json: cannot unmarshal {item!r:.20} into Go value of type float32")
    return go_float(repr(item), 32)


def float64(item: Any) -> float:
    if type(item) not in (int, float):
        raise ValueError(f"json: cannot unmarshal {item!r:.20} into Go value of type float64")
    return float(item)


ELEMENTS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "Bool": (exact(bool), False),
    "VarChar": (exact(str), ""),
    "Float": (float32, 0.0),
    "Double": (float64, 0.0),
    "Int64": (ranged(64), 0),
    **dict.fromkeys(("Int8", "Int16", "Int32"), (ranged(32), 0)),
}


class Milvus:
    """What one version of Milvus makes of requests; rows are kept as pymilvus would return them."""

    def __init__(self, version: str) -> None:
        self.version = version_of(version)
        self.strict = self.version >= version_of(MASTER)  # 52261
        self.quotas = True
        self.forbidden = False
        """Whether the user lacks the privilege to upsert."""
        self.aliases: dict[str, str] = {}
        self.databases: dict[str, dict[str, Collection]] = {"default": {}}
        self.lock = threading.RLock()
        self._new_keys = itertools.count(449_000_000_000_000_001)

    # -- looking things up

    def database(self, name: Any) -> dict[str, Collection]:
        name = "default" if name is None else name
        if name not in self.databases:
            raise Refused(800, f"database not found, database: {name}")
        return self.databases[name]

    def collection(self, db_name: Any, name: Any) -> Collection:
        found = self.database(db_name).get(self.aliases.get(name, name))
        if found is None:
            where = f"[database={db_name or 'default'}][collection={name}]"
            raise Refused(100, f"can't find collection collection not found{where}")
        return found

    # -- reading an upsert

    def upsert(self, collection: Collection, body: str, api: str, partition: str) -> list[Any]:
        """Store the rows of a body; the keys to answer."""
        if collection.auto_id and (api == "v1" or self.version < (2, 4, 17)):
            raise Refused(1100, "cannot upsert an autoID collection: invalid parameter[expected=autoID: false]")
        data = dict(parts(body.strip()))["data"]
        raws = [raw for _, raw in parts(data)] if data[0] == "[" else [data]
        if not raws:
            raise Refused(1804, "fail to deal the insert data, error: missing required parameters")
        try:
            rows = [self._row(collection, raw) for raw in raws]
        except (ValueError, ArithmeticError) as error:
            raise Refused(1804, f"fail to deal the insert data, error: {error}") from None
        if api == "v2":
            self.check_privilege()
        self._check_partition(collection, partition, api)
        if collection.namespace:
            raise Refused(1100, "namespace data is not set but namespace enabled: invalid parameter")
        if collection.structs and self.version < (3, 0, 0):
            raise Refused(
                1100,
                "the number of struct array fields is not the same as needed, expected: "
                f"{len(collection.structs)}, actual: 0: invalid parameter",
            )
        if api == "v1":
            self._check_nulls(collection, [dict(parts(raw)) for raw in raws])
        for row in rows:
            for item in collection.fields:
                self._check(item, row.get(item.name))
        key = collection.key.name
        keys = [row[key] for row in rows]
        if len(set(keys)) < len(keys) and self.version >= (2, 6, 8):
            raise Refused(1100, "duplicate primary keys are not allowed in the same batch: invalid parameter")
        everywhere = any(item.partition_key for item in collection.fields)
        collection.rows = [
            (where, row)
            for where, row in collection.rows
            if row[key] not in set(keys) or (where != partition and not everywhere)
        ]
        if collection.auto_id:
            for row in rows:
                row[key] = next(self._new_keys)
        collection.rows += [(partition, row) for row in rows]
        return [row[key] for row in rows]

    def check_privilege(self) -> None:
        if self.forbidden:
            raise Refused(
                65535, "rpc error: code = PermissionDenied desc = PrivilegeUpsert: permission deny to bob", 403
            )

    def _check_nulls(self, collection: Collection, rows: list[dict[str | None, str]]) -> None:
        """v1 of 2.5.0 to 2.6.17 forgets which values are null.

        Up to 2.6.1, it refuses whatever has a field that may be null or omitted. From 2.6.2, values that are all there
        pass in a nullable field (fd83cae0fd), from 2.6.12 in one with a default too (95cac4747f).
        """
        if not (2, 5, 0) <= self.version < (2, 6, 18):
            return
        for item in collection.fields:
            if not (item.nullable or item.default is not None) or item.function_output:
                continue
            all_true = self.version >= ((2, 6, 2) if item.default is None else (2, 6, 12))
            if not all_true and not (item.nullable and item.default is not None and self.version >= (2, 6, 2)):
                message = f"the length of valid_data of field({item.name}) is wrong: invalid parameter"
                raise Refused(1100, f"{message}[expected={len(rows)}][actual=0]")
            found = sum(row.get(item.name, "null") != "null" for row in rows)
            if found < len(rows):
                message = "the length of field is wrong: invalid parameter"
                raise Refused(1100, f"{message}[expected={len(rows)}][actual={found}]")

    def _check_partition(self, collection: Collection, partition: str, api: str) -> None:
        manual = partition != "_default" or (api == "v1" and self.version < (2, 3, 13))
        if manual and any(item.partition_key for item in collection.fields):
            message = "not support manually specifying the partition names if partition key mode is used"
            raise Refused(65535 if self.version < (2, 6, 0) else 1100, message)
        if partition not in collection.partitions:
            if self.version >= (2, 4, 10) and self.quotas:  # the limiter is asked first, and needs to know it
                raise Refused(
                    1807, f"request is rejected by limiter, error: partition not found[partition={partition}]"
                )
            raise Refused(200, f"partition not found[partition={partition}]")

    def _row(self, collection: Collection, text: str) -> dict[str, Any]:
        if text[0] != "{":
            raise ValueError("NULL:0, FALSE:1, NUMBER:2, STRING:3, TRUE:4, JSON:5")
        row, raws = {}, dict(parts(text))
        for name in collection.structs:
            if self.version >= (3, 0, 0):
                raise ValueError(f"missing struct array field: {name}: invalid parameter")
        for item in collection.fields:
            raw = raws.get(item.name)
            if item.function_output and raw is None:
                continue
            row[item.name] = self._value(item, raw)
        names = {item.name for item in collection.fields}
        for name, raw in raws.items():
            if name in names or name is None:
                continue
            if not collection.dynamic:
                if self.version >= (2, 4, 17):
                    raise ValueError("has pass more field without dynamic schema, please check it")
            elif name == "$meta":
                if self.version >= (2, 4, 17):
                    raise ValueError("use the invalid field name($meta) when enable dynamicField")
            elif (value := self._dynamic(raw)) is not UNSET:
                row[name] = value
        return row

    def _dynamic(self, raw: str) -> Any:
        if raw == "null":
            return None if self.strict else UNSET
        if raw[0] in "{[":
            value = json.loads(raw)
            return value if self.strict else _as_float64(value)
        if not is_number(raw):
            return json.loads(raw)
        if self.strict:
            value = json.loads(raw)
            return go_int(raw) if isinstance(value, int) else value
        if "." in raw:
            return _as_float64(float(raw))  # from 2^64 on, an integer that not every reader takes
        try:
            return go_int(go_string(raw))
        except ValueError:
            return 0

    def _value(self, item: Field, raw: str | None) -> Any:
        """One field's value, of any field but the dynamic ones; a ValueError is code 1804."""
        if raw in (None, "null"):
            if item.default is not None:
                return item.default
            if item.nullable:
                return None
            if self.strict:
                raise ValueError(f"field {item.name} is {'required' if raw is None else 'not nullable'}")
        kind, text = item.type, go_string(raw)
        if "Vector" in kind:
            return self._vector(item, raw, text)
        if kind == "VarChar":
            if self.strict and raw and raw[0] in "{[":
                raise ValueError(f"field {item.name} must be a text")
            return raw if self.strict and raw and is_number(raw) else text
        if kind == "Text" and self.version >= SINCE["Text"]:
            if raw is None or raw[0] != '"':
                raise ValueError(f"fieldName: {item.name}: invalid parameter[expected=String][actual={raw!s:.9}]")
            return text
        if kind == "Bool":
            if text not in _GO_BOOLS:
                raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
            return _GO_BOOLS[text]
        if kind in BITS:
            return self._integer(kind, raw, text)
        if kind in ("Float", "Double"):
            if kind == "Float" and self.strict and abs(float(text)) > MAX_FLOAT32:
                raise ValueError(f"{text} is out of range for Float")
            return go_float(text, 32 if kind == "Float" else 64)
        if kind == "JSON":
            return self._json(item, raw, text)
        if kind == "Array":
            if self.version < (2, 3, 6):
                raise ValueError(f"fieldName: {item.name}: invalid parameter[expected=][actual=Array]")
            convert, null = ELEMENTS[item.element_type or ""]
            found = unmarshal(text, convert, UNSET if self.strict else null)
            if UNSET in found:
                raise ValueError("null element")
            return found
        raise ValueError(f"fieldName: {item.name}: invalid parameter[expected=][actual={kind}]")

    def _integer(self, kind: str, raw: str | None, text: str) -> int:
        if kind == "Int64":
            return go_int(text, base_10=self.version >= (2, 3, 6))
        value = go_int(text)
        if self.strict:
            return ranged(BITS[kind])(value)
        half = 2 ** (BITS[kind] - 1)
        return (value + half) % (2 * half) - half

    def _json(self, item: Field, raw: str | None, text: str) -> Any:
        if self.version < (2, 3, 6):
            return UNSET  # which no check lets pass
        if self.version < (2, 4, 0) and (raw or "")[:1] != "{":  # [S] utils 2.3.17
            raise Refused(1001, f"json field '{item.name}' is not an object")
        try:
            return json.loads((raw or "") if self.strict else text)
        except ValueError:
            return text  # what is stored is no JSON

    def _vector(self, item: Field, raw: str | None, text: str) -> Any:
        kind, dim = item.type, item.params.get("dim", 0)
        if self.version < (2, 3, 6):
            listed = (
                [] if raw in (None, "null") else [v for _, v in parts(raw)] if raw and raw[0] == "[" else [raw or ""]
            )
            numbers = [go_num(one) for one in listed]
            if len(numbers) != (dim if kind == "FloatVector" else dim // 8):
                raise ValueError("vector length diff from dimension")
            if kind == "BinaryVector":
                return bytes(int(number) & 255 if number > 0 else 0 for number in numbers)
            with np.errstate(over="ignore"):
                return np.array(numbers).astype(np.float32).tolist()
        if not text:
            raise ValueError(f"missing vector field: {item.name}")
        if kind == "SparseFloatVector":
            return sparse(json.loads(text))
        size = {"FloatVector": dim, "Int8Vector": dim, "BinaryVector": dim // 8}.get(kind, 2 * dim)
        if raw and raw[0] == '"' and kind in ("BinaryVector", "Float16Vector", "BFloat16Vector"):
            value: Any = base64.b64decode(text, validate=True)
        elif kind == "BinaryVector":
            value = bytes(unmarshal(text, ranged(8, signed=False), 0))
        elif kind == "Int8Vector":
            value = unmarshal(text, ranged(8), 0)
        else:
            if self.strict and raw and (raw[0] == '"' or any(one == "null" for _, one in parts(raw))):
                raise ValueError("FloatVector must be an array of numbers")
            value = unmarshal(text, float32, 0.0)
            if kind != "FloatVector":
                if self.version < (2, 5, 0):
                    raise ValueError("json: cannot unmarshal array into Go value of type []uint8")
                value = halves(kind, value)
        if len(value) != size:
            raise ValueError(f"size {len(value)} doesn't equal to vector dimension {dim} of {kind}")
        return value

    def _check(self, item: Field, value: Any) -> None:
        """What the proxy checks when the request is read."""
        code = 65535 if self.version < (2, 6, 0) else 1100
        if value is None:
            return
        if value is UNSET:
            raise Refused(1100, f"json field '{item.name}' is illegal, array type mismatch")
        if item.type == "VarChar" and len(value.encode()) > item.params["max_length"]:
            raise Refused(1100, f"the length ({len(value.encode())}) of 0th string exceeds max length")
        if item.type == "FloatVector" and not all(map(math.isfinite, value)):
            raise Refused(code, "value '+Inf' is not a number or infinity")
        if item.type in ("Float", "Double") and not math.isfinite(value) and self.version >= (2, 3, 17):
            raise Refused(code, f"value '{value}' is not a number or infinity")
        if item.type in ("Float16Vector", "BFloat16Vector") and not all(map(math.isfinite, unhalves(item.type, value))):
            raise Refused(code, "value is not a number or infinity")
        if item.type == "JSON" and len(json.dumps(value, separators=(",", ":"))) > MAX_JSON_BYTES:
            raise Refused(1100, f"the length of json field {item.name} exceeds max length")
        if item.type == "Array":
            if self.version >= (3, 0, 0) and len(value) > item.params.get("max_capacity", 4096):
                raise Refused(1100, f"the length ({len(value)}) of 0th array exceeds max capacity")
            if item.element_type in BITS and any(
                not -(h := 2 ** (BITS[item.element_type] - 1)) <= v < h for v in value
            ):
                raise Refused(1100, f"the 0th element is out of range for {item.element_type}")
            if item.element_type == "VarChar" and any(len(v.encode()) > item.params["max_length"] for v in value):
                raise Refused(1100, "the length of 0th string exceeds max length")


def _as_float64(value: Any) -> Any:
    """Numbers inside of a dynamic value go through float64, and those without a fraction come back as integers."""
    if isinstance(value, dict):
        return {name: _as_float64(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_as_float64(member) for member in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
        return int(Decimal(repr(number))) if number.is_integer() and abs(number) < 1e21 else number
    return value


def sparse(value: Any) -> dict[int, float]:
    if not isinstance(value, dict):
        raise ValueError("json: cannot unmarshal into Go value of type map[string]interface {}")
    pairs = list(value.items())
    if set(value) == {"indices", "values"}:
        if len(value["indices"]) != len(value["values"]):
            raise ValueError("indices and values length mismatch")
        pairs = [(str(ranged(64)(index)), weight) for index, weight in zip(*value.values(), strict=True)]
    found: dict[int, float] = {}
    for text, weight in pairs:
        index = go_int(text, base_10=True)
        if not 0 <= index < 2**32 - 1:
            raise ValueError("invalid index in sparse float vector: must be less than 2^32-1")
        if index in found:
            raise ValueError("unsorted or same indices in sparse float vector")
        found[index] = float32(weight)
        if abs(weight) > MAX_FLOAT32:
            raise ValueError("value should be in the range of float32")
        if found[index] < 0:
            raise ValueError("negative value in sparse float vector")
    return dict(sorted(found.items()))


def halves(kind: str, numbers: list[float]) -> bytes:
    """The nearest 16-bit floats; Milvus cuts a bfloat16 off."""
    with np.errstate(over="ignore"):
        if kind == "Float16Vector":
            return np.array(numbers, "<f2").tobytes()
        return (np.array(numbers, "<f4").view("<u4") >> 16).astype("<u2").tobytes()


def unhalves(kind: str, octets: bytes) -> list[float]:
    bits = np.frombuffer(octets, "<u2")
    with np.errstate(invalid="ignore"):
        found = bits.view("<f2").astype("<f4") if kind == "Float16Vector" else (bits.astype("<u4") << 16).view("<f4")
    return found.tolist()  # type: ignore[no-any-return]


# -- HTTP -----------------------------------------------------------------------------------------------------------


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: str


class ContractServer(LocalServer):
    """A server of ``version``: ``"2.3.5"``, or ``"2.6.x"`` for the latest 2.6 that was read, or ``"master"``.

    :param auth: ``user:password`` to ask for, or None.
    """

    def __init__(self, version: str = "2.6.x", auth: str | None = None) -> None:
        self.milvus = Milvus(version)
        self.auth = auth
        self.requests: list[Received] = []
        self._failures: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: else each answer waits 40 ms for a delayed acknowledgement

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
                received = Received(self.path, dict(self.headers), body)
                status, content = outer.answer(self.command, received)
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", self.path.rstrip("/"))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler)

    def address(self, api_version: str = "v1") -> MilvusAddress:
        return MilvusAddress(self.url, self.auth or "", api_version=api_version)

    def create_collection(
        self,
        name: str,
        *fields: Field,
        dynamic: bool = False,
        auto_id: bool = False,
        partitions: tuple[str, ...] = (),
        structs: tuple[str, ...] = (),
        namespace: bool = False,
        db_name: str = "default",
    ) -> Collection:
        """Make a collection, or in a new database if need be, as gRPC would.

        :raises ValueError: this version has no such fields.
        """
        version = self.milvus.version
        for item in fields:
            newer = version < SINCE.get(item.type, (0,)) and item.type not in ("JSON", "Array")
            newer = newer or (item.nullable and "Vector" in item.type and version < (2, 6, 18))  # d298f17d78
            if newer or (version < (2, 5, 0) and (item.nullable or item.default is not None or item.function_output)):
                raise ValueError(f"Milvus {version} has no {item}")
        made = Collection(
            name, fields, dynamic, auto_id, ("_default", *partitions), structs=structs, namespace=namespace
        )
        self.milvus.databases.setdefault(db_name, {})[name] = made
        return made

    def create_alias(self, name: str, alias: str) -> None:
        self.milvus.aliases[alias] = name

    def create_partition(self, name: str, partition: str) -> None:
        self.milvus.databases["default"][name].partitions += (partition,)

    def drop_collection(self, name: str, db_name: str = "default") -> None:
        del self.milvus.databases[db_name][name]

    def rows(self, name: str, partition: str | None = None) -> dict[Any, dict[str, Any]]:
        """What is stored, by key; of two rows of one key that one request brought, the first, as a query finds it."""
        return self._by_key(self.milvus.databases["default"][name], partition)

    def _by_key(self, collection: Collection, partition: str | None = None) -> dict[Any, dict[str, Any]]:
        found: dict[Any, dict[str, Any]] = {}
        for where, row in collection.rows:
            if partition in (None, where):
                found.setdefault(row[collection.key.name], row)
        return found

    def fail(self, *kinds: str) -> None:
        """What becomes of the next upserts: ``"rate limit"``, ``"quota"``, ``"timeout"`` (v2; the rows are stored), or
        ``"503"`` of a gateway before it.
        """
        self._failures += kinds

    # -- answers

    def answer(self, method: str, received: Received) -> tuple[int, bytes]:
        self.requests.append(received)
        path, _, query = received.path.partition("?")
        routes: dict[tuple[str, str], Callable[[Received, dict[str, str]], Any]] = {
            ("POST", "/v1/vector/upsert"): self._v1_upsert,
            ("GET", "/v1/vector/collections"): lambda _, names: sorted(self.milvus.database(names.get("dbName"))),
            ("GET", "/v1/vector/collections/describe"): self._v1_describe,
            ("POST", "/v1/vector/get"): self._get,
            ("POST", "/v1/vector/query"): self._get,
        }
        if self.milvus.version >= (2, 3, 13):
            routes |= {
                ("POST", "/v2/vectordb/entities/upsert"): self._v2_upsert,
                ("POST", "/v2/vectordb/collections/list"): self._v2_list,
                ("POST", "/v2/vectordb/collections/describe"): self._v2_describe,
                ("POST", "/v2/vectordb/entities/get"): self._get,
                ("POST", "/v2/vectordb/entities/query"): self._get,
            }
        route = routes.get((method, path))
        if route is None:
            known = path.endswith("/") and (method, path[:-1]) in routes
            return (307, b"") if known else (404, b"404 page not found")
        v2 = path.startswith("/v2/")
        try:
            self._check_token(received.headers.get("Authorization", ""))
            if v2 and self.milvus.version >= (3, 0, 0) and not received.headers.get("Request-Timeout", "1").isdecimal():
                raise Refused(1100, "invalid Request-Timeout: invalid parameter")
            with self.milvus.lock:
                failure = self._failures.pop(0) if self._failures and path.endswith("/upsert") else None
                early = self._failed(failure, v2)
                if early:
                    return early
                data = route(received, dict(parse_qsl(query, keep_blank_values=True)))
            if failure == "timeout":
                new = self.milvus.version >= (2, 5, 0)
                return 408, b'{"code":10001,"message":"request timeout"}' if new else b"timeout"
        except Refused as error:
            return error.status, _body({"code": error.code, "message": error.message})
        code = 0 if v2 and self.milvus.version >= (2, 4, 0) else 200
        answer: dict[str, Any] = {"code": code, "data": data}
        if v2 and path.endswith("/upsert") and self.milvus.version >= (2, 4, 2):
            answer["cost"] = 0
        if v2 and path.endswith("/describe"):
            answer["message"] = ""
        try:
            return 200, _body(answer)
        except ValueError:  # NaN, on which Go's encoder fails when the status is sent already
            return 200, b""

    def _check_token(self, header: str) -> None:
        if self.auth is None:
            return
        token = header.removeprefix("Bearer ")
        if token.startswith("Basic "):
            token = base64.b64decode(token[6:]).decode()
        if token != self.auth:
            raise Refused(1800, "user hasn't authenticated", 401)

    def _failed(self, kind: str | None, v2: bool) -> tuple[int, bytes] | None:
        """The answer to a request that gets nowhere."""
        if kind == "503":
            return 503, b"<html>no upstream</html>"
        if kind in ("rate limit", "quota"):
            code, inner = (
                (8, "rate limit exceeded[rate=1]") if kind == "rate limit" else (9, "quota exceeded[reason=x]")
            )
            if v2:
                return 200, _body({"code": 1807, "message": f"request is rejected by limiter, error: {inner}"})
            assert self.milvus.version >= (2, 4, 18), "v1 has no limiter before"
            return 200, _body({"code": code, "message": inner}) * 2
        assert kind is None or (kind == "timeout" and v2), kind
        return None

    def _v1_upsert(self, received: Received, _: Any) -> dict[str, Any]:
        request = self._bind(received.body)
        data = request.get("data")
        if not (
            data is None
            or isinstance(data, dict)
            or (isinstance(data, list) and all(isinstance(row, (dict, type(None))) for row in data))
        ):
            _not_json("json: cannot unmarshal data")
        if not request.get("collectionName") or data is None:
            raise Refused(1802, "missing required parameters, required parameters: [collectionName, data]")
        self.milvus.check_privilege()
        collection = self.milvus.collection(request.get("dbName"), request["collectionName"])
        return self._upserted(received, self.milvus.upsert(collection, received.body, "v1", "_default"))

    def _v2_upsert(self, received: Received, _: Any) -> dict[str, Any]:
        request = self._bind(received.body)
        for name, tag in (("collectionName", "CollectionName"), ("data", "Data")):
            if request.get(name) in (None, ""):
                fault = (
                    f"Key: 'CollectionDataReq.{tag}' Error:Field validation for '{tag}' failed on the 'required' tag"
                )
                raise Refused(1802, f"missing required parameters, error: {fault}")
        if not isinstance(request["data"], list) or not all(
            isinstance(row, (dict, type(None))) for row in request["data"]
        ):
            _not_json("json: cannot unmarshal object into Go struct field CollectionDataReq.data of type []map")
        collection = self._v2_collection(received, request)
        partition = request.get("partitionName") or "_default"
        return self._upserted(received, self.milvus.upsert(collection, received.body, "v2", partition))

    def _upserted(self, received: Received, keys: list[Any]) -> dict[str, Any]:
        return {"upsertCount": len(keys), "upsertIds": [self._int64(received, key) for key in keys]}

    def _int64(self, received: Received, value: Any) -> Any:
        default = "true" if self.milvus.version >= (2, 3, 11) or self.milvus.version < (2, 3, 3) else "false"
        asked = (
            received.headers.get("Accept-Type-Allow-Int64", default) if self.milvus.version >= (2, 3, 3) else default
        )
        numbers = _GO_BOOLS.get(asked, default == "true")
        return value if numbers or not isinstance(value, int) else str(value)

    def _bind(self, body: str) -> dict[str, Any]:
        request = bound(body)
        if request is None:
            return {}
        if not isinstance(request, dict):
            _not_json("json: cannot unmarshal into Go value")
        for name in ("collectionName", "dbName", "partitionName"):
            if not isinstance(request.get(name, ""), (str, type(None))):
                _not_json(f"json: cannot unmarshal into Go struct field {name} of type string")
        return request  # type: ignore[no-any-return]

    def _v2_collection(self, received: Received, request: dict[str, Any]) -> Collection:
        if not request.get("collectionName"):
            raise Refused(
                1802, "missing required parameters, error: Key: 'CollectionName' failed on the 'required' tag"
            )
        return self.milvus.collection(self._v2_database(received, request), request["collectionName"])

    def _v2_database(self, received: Received, request: dict[str, Any]) -> str:
        return request.get("dbName") or received.headers.get("DB-Name") or "default"

    def _v2_list(self, received: Received, _: Any) -> list[str]:
        return sorted(self.milvus.database(self._v2_database(received, self._bind(received.body))))

    def _v1_describe(self, _: Received, names: dict[str, str]) -> dict[str, Any]:
        if not names.get("collectionName"):
            raise Refused(1802, "missing required parameters, required parameters: [collectionName]")
        return self._described(self.milvus.collection(names.get("dbName"), names["collectionName"]), v2=False)

    def _v2_describe(self, received: Received, _: Any) -> dict[str, Any]:
        collection = self._v2_collection(received, self._bind(received.body))
        outputs = [item.name for item in collection.fields if item.function_output]
        more = {
            "autoId": collection.auto_id,
            "collectionID": collection.id,
            "partitionsNum": len(collection.partitions),
        }
        more |= {"aliases": [alias for alias, name in self.milvus.aliases.items() if name == collection.name]}
        if self.milvus.version >= (3, 0, 0):
            structs = ({"name": name, "type": "ArrayOfStruct", "fields": []} for name in collection.structs)
            more |= {"structFields": list(structs)}
        more |= {"functions": [{"name": "f", "inputFieldNames": [], "outputFieldNames": outputs}] if outputs else []}
        return self._described(collection, v2=True) | more

    def _described(self, collection: Collection, *, v2: bool) -> dict[str, Any]:
        fields = []
        for item in collection.fields:
            described: dict[str, Any] = {"autoId": item.primary and collection.auto_id, "description": ""}
            described |= {"name": item.name, "primaryKey": item.primary, "type": item.type}
            size = item.params.get("dim", item.params.get("max_length", 0))
            if not v2 and ("Vector" in item.type or item.type == "VarChar"):
                described["type"] += f"({size})"
            if self.milvus.version >= (2, 3, 13):
                described["partitionKey"] = item.partition_key
            if self.milvus.version >= (2, 5, 0):
                described |= {"nullable": item.nullable, "clusteringKey": False}
                if item.default is not None:
                    described["defaultValue"] = {"Data": {"LongData": item.default}}
                if item.function_output:
                    described["isFunctionOutput"] = True
            if v2:
                described |= {"id": 100 + len(fields)}
                described |= {"params": [{"key": name, "value": str(value)} for name, value in item.params.items()]}
                if item.element_type:
                    described["elementType"] = item.element_type
            fields.append(described)
        metrics = {
            item.name: "HAMMING" if item.type == "BinaryVector" else "L2"
            for item in collection.fields
            if "Vector" in item.type
        }
        return {
            "collectionName": collection.name,
            "description": "",
            "enableDynamicField": collection.dynamic,
            "fields": fields,
            "indexes": [
                {"fieldName": name, "indexName": name, "metricType": metric} for name, metric in metrics.items()
            ],
            "load": "LoadStateLoaded",
            "shardsNum": 1,
        }

    def _get(self, received: Received, _: Any) -> list[dict[str, Any]]:
        """By ``id``, or by a ``filter`` of the form ``key in [1, 2]``."""
        request = self._bind(received.body)
        by = "filter" if received.path.endswith("/query") else "id"
        if not request.get("collectionName") or request.get(by) is None:
            raise Refused(1802, f"missing required parameters, required parameters: [collectionName, {by}]")
        collection = self.milvus.collection(request.get("dbName"), request["collectionName"])
        key, ids = collection.key, request[by]
        if by == "filter":
            match = re.fullmatch(rf"{key.name} in (\[.*\])", ids)
            if not match:
                raise Refused(65535, f"cannot parse expression: {ids}")
            ids = json.loads(match[1])
        ids = ids if isinstance(ids, list) else [ids]
        if key.type == "VarChar" and by == "id":
            ids = [id_ for id_ in ids if isinstance(id_, str)]
            if self.milvus.version < (2, 3, 7) and ids:
                raise Refused(65535, f"cannot parse expression: {key.name} in [{','.join(ids)}]")
        elif key.type == "Int64":
            try:
                ids = [go_int(str(id_)) for id_ in ids]
            except ValueError as error:
                raise Refused(1806, f"please check the primary key and its' type, error: {error}") from None
        partitions = request.get("partitionNames") or [None] if received.path.startswith("/v2/") else [None]
        found = [row for name in partitions for id_, row in self._by_key(collection, name).items() if id_ in ids]
        types = {item.name: item.type for item in collection.fields}
        names = request.get("outputFields") or ["*"]
        return [
            {
                name: self._shown(received, types.get(name), value)
                for name, value in row.items()
                if names == ["*"] or name in names or name == key.name
            }
            for row in sorted(found, key=lambda row: row[key.name])
        ]

    def _shown(self, received: Received, kind: str | None, value: Any) -> Any:
        if value is None:
            return None
        if kind is None:
            return _as_float64(value)
        if kind == "Int64":
            return self._int64(received, value)
        if kind == "Float" or kind == "FloatVector":
            shown = [float(str(np.float32(number))) for number in np.atleast_1d(value)]
            return shown if kind == "FloatVector" else shown[0]
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _body(answer: Any) -> bytes:
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()
