"""What differs between the versions of Milvus's REST API: paths, bodies, what success is, how describe reads.

The client speaks through a :class:`Dialect` and does not know which one it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import TypeAdapter

from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rows.schema import DYNAMIC_FIELD, CollectionSchema, FieldSchema, Key


@dataclass(frozen=True)
class Call:
    """One HTTP request, without host and headers."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    body: bytes | None = None
    has_rows: bool = False
    """Whether a refusal may be the rows' fault."""


class Dialect(Protocol):
    """One version of the API. The readers raise Python's own errors on what they cannot read."""

    has_partitions: bool
    """Whether an upsert may name a partition."""

    def is_success(self, code: int) -> bool:
        """Whether a body's ``code`` says success."""

    def upsert(self, request: UpsertRequest) -> Call:
        """The call that upserts."""

    def describe(self, collection_name: str, db_name: str | None) -> Call:
        """The call that describes a collection."""

    def list_collections(self, db_name: str | None) -> Call:
        """The call that lists a database's collections."""

    def find(self, schema: CollectionSchema, keys: list[Key], partition_name: str | None) -> Call:
        """The call that reads the primary keys of those rows of ``keys`` that there are."""

    def read_schema(self, data: Any, collection_name: str, db_name: str | None) -> CollectionSchema:
        """The schema in the ``data`` of a describe answer."""

    def read_names(self, data: Any) -> list[str]:
        """The names in the ``data`` of a list answer."""


class V1:
    """``/v1/vector/*``, served by Milvus 2.3.2 to 3.0."""

    has_partitions = False
    _TYPE = re.compile(r"(\w+)\((\w+)\)")

    def is_success(self, code: int) -> bool:
        return code == 200

    def upsert(self, request: UpsertRequest) -> Call:
        return Call("POST", "/v1/vector/upsert", body=_with_data(request, request.data), has_rows=True)

    def describe(self, collection_name: str, db_name: str | None) -> Call:
        return Call("GET", "/v1/vector/collections/describe", params=_names(collection_name, db_name))

    def list_collections(self, db_name: str | None) -> Call:
        return Call("GET", "/v1/vector/collections", params=_names(None, db_name))

    def find(self, schema: CollectionSchema, keys: list[Key], partition_name: str | None) -> Call:
        how, by = _by_key(schema, keys)
        return Call("POST", f"/v1/vector/{how}", body=_json(by))

    def read_schema(self, data: Any, collection_name: str, db_name: str | None) -> CollectionSchema:
        before_2_3_13 = not any("partitionKey" in field for field in data["fields"])
        return _schema(data, collection_name, db_name, self._type, before_2_3_13=before_2_3_13)

    def read_names(self, data: Any) -> list[str]:
        return _NAMES.validate_python(data)

    def _type(self, field: Mapping[str, Any]) -> dict[str, Any]:
        """v1 writes a type's parameter behind it: ``FloatVector(4)``, ``VarChar(20)``."""
        match = self._TYPE.fullmatch(field["type"])
        kind, parameter = match.groups() if match else (field["type"], "")
        return {
            "type": kind,
            "size": int(parameter) if parameter.isdecimal() else None,
            "element_type": field.get("elementType") or (parameter if kind == "Array" else None),
        }


class V2:
    """``/v2/vectordb/*``, served by Milvus 2.3.13 and later; written from Milvus's source."""

    has_partitions = True

    def is_success(self, code: int) -> bool:
        return code in (0, 200)  # 200 in Milvus 2.3.13 to 2.3.17

    def upsert(self, request: UpsertRequest) -> Call:
        rows = request.data if isinstance(request.data, list) else [request.data]  # it takes no lone entity
        return Call("POST", "/v2/vectordb/entities/upsert", body=_with_data(request, rows), has_rows=True)

    def describe(self, collection_name: str, db_name: str | None) -> Call:
        return Call("POST", "/v2/vectordb/collections/describe", body=_json(_names(collection_name, db_name)))

    def list_collections(self, db_name: str | None) -> Call:
        return Call("POST", "/v2/vectordb/collections/list", body=_json(_names(None, db_name)))

    def find(self, schema: CollectionSchema, keys: list[Key], partition_name: str | None) -> Call:
        how, by = _by_key(schema, keys)
        by["consistencyLevel"] = "Strong"  # read by Milvus 3.0, ignored by those before
        if partition_name:
            by["partitionNames"] = [partition_name]
        return Call("POST", f"/v2/vectordb/entities/{how}", body=_json(by))

    def read_schema(self, data: Any, collection_name: str, db_name: str | None) -> CollectionSchema:
        return _schema(data, collection_name, db_name, self._type)

    def read_names(self, data: Any) -> list[str]:
        return _NAMES.validate_python(data)

    @staticmethod
    def _type(field: Mapping[str, Any]) -> dict[str, Any]:
        """v2 has a type's parameters beside it: ``[{"key": "dim", "value": "4"}]``."""
        parameters = {pair["key"]: pair["value"] for pair in field.get("params") or ()}
        return {
            "type": field["type"],
            "size": parameters.get("dim", parameters.get("max_length")),
            "element_type": field.get("elementType"),
            "capacity": parameters.get("max_capacity"),
        }


def _names(collection_name: str | None, db_name: str | None, partition_name: str | None = None) -> dict[str, str]:
    """Left out when not given, since an empty ``dbName`` is an error (code 800) and not the default database."""
    names = {"collectionName": collection_name, "dbName": db_name, "partitionName": partition_name}
    return {name: value for name, value in names.items() if value}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _by_key(schema: CollectionSchema, keys: list[Key]) -> tuple[str, dict[str, Any]]:
    """The name and the body of a call that finds keys: ``get`` for Int64, ``query`` for VarChar.

    ``get`` puts VarChar keys into a filter as they are, up to Milvus 2.3.6 without quotes around them, and in all
    versions to 3.0 without escaping quotes and backslashes in them.
    """
    name = schema.primary_key.name
    body: dict[str, Any] = _names(schema.name, schema.db_name) | {"outputFields": [name]}
    if schema.key_type is int:
        return "get", body | {"id": keys}
    return "query", body | {"filter": f"{name} in {json.dumps(keys, ensure_ascii=False)}"}


def _with_data(request: UpsertRequest, data: bytes | list[bytes]) -> bytes:
    """The body of an upsert."""
    head = _json(_names(request.collection_name, request.db_name, request.partition_name))[:-1] + b', "data": '
    if not isinstance(data, list):
        return head + data + b"}"
    rows = data.copy()  # joined once: they are megabytes
    rows[0] = head + b"[" + rows[0]
    rows[-1] += b"]}"
    return b",".join(rows)


def _schema(
    data: Any,
    collection_name: str,
    db_name: str | None,
    type_of: Callable[[Mapping[str, Any]], dict[str, Any]],
    *,
    before_2_3_13: bool = False,
) -> CollectionSchema:
    """What both versions say of a collection; ``type_of`` reads where they differ."""
    outputs = {name for function in data.get("functions") or () for name in function["outputFieldNames"]}
    return CollectionSchema(
        name=collection_name,
        db_name=db_name,
        dynamic=data.get("enableDynamicField", False),
        before_2_3_13=before_2_3_13,
        collection_id=data.get("collectionID"),
        fields_=tuple(
            FieldSchema(
                name=field["name"],
                primary_key=field.get("primaryKey", False),
                partition_key=field.get("partitionKey", False),
                auto_id=field.get("autoId", False) or (field.get("primaryKey", False) and data.get("autoId", False)),
                nullable=field.get("nullable", False),
                has_default=field.get("defaultValue") is not None,
                function_output=field.get("isFunctionOutput", False) or field["name"] in outputs,
                **type_of(field),
            )
            for field in (*data["fields"], *(data.get("structFields") or ()))
            # Versions before 2.4.17 may list the field that holds the dynamic ones.
            if field["name"] != DYNAMIC_FIELD
        ),
    )


_NAMES = TypeAdapter(list[str])
DIALECTS: dict[str, Dialect] = {"v1": V1(), "v2": V2()}
