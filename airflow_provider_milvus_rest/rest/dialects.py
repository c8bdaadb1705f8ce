"""The versions of Milvus's REST API: paths, bodies, codes of success, and how a description is read."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

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


class Dialect(ABC):
    """One version of the API: the calls it has, and what differs from the other version."""

    success: ClassVar[tuple[int, ...]]
    """The codes of a successful answer."""
    has_partitions: ClassVar[bool]
    """Whether a call may name a partition."""
    _since_2_3_13: ClassVar[bool]
    """Whether every server that has this version is Milvus 2.3.13 or later."""
    _list_only: ClassVar[bool]
    """Whether an upsert must send its rows as a list, even if there is only one."""
    _rows: ClassVar[str]
    """The path of the calls that write and read rows."""

    @abstractmethod
    def _collections(self, action: str, names: dict[str, str]) -> Call:
        """The call that does ``describe`` or ``list``."""

    @abstractmethod
    def _type(self, field: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a field's schema that its type decides."""

    def upsert(self, request: UpsertRequest) -> Call:
        """The call that upserts."""
        rows = [request.data] if self._list_only and isinstance(request.data, bytes) else request.data
        return Call("POST", f"{self._rows}/upsert", body=_with_data(request, rows), has_rows=True)

    def describe(self, collection_name: str, db_name: str | None) -> Call:
        """The call that describes a collection."""
        return self._collections("describe", _names(collection_name, db_name))

    def list_collections(self, db_name: str | None) -> Call:
        """The call that lists a database's collections."""
        return self._collections("list", _names(None, db_name))

    def find(self, schema: CollectionSchema, keys: list[Key], partition_name: str | None) -> Call:
        """The call that returns those of ``keys`` that are stored: ``get`` for Int64, ``query`` for VarChar.

        ``get`` puts VarChar keys into a filter as they are, up to Milvus 2.3.6 without quotes around them, and in all
        versions to 3.0 without escaping quotes and backslashes in them.
        """
        name = schema.primary_key.name
        body: dict[str, Any] = _names(schema.name, schema.db_name) | {"outputFields": [name]}
        if self.has_partitions:
            body["consistencyLevel"] = "Strong"  # Milvus 3.0 reads it, earlier versions ignore it
        if partition_name:
            body["partitionNames"] = [partition_name]
        if schema.key_type is int:
            return Call("POST", f"{self._rows}/get", body=_json(body | {"id": keys}))
        keys_in = f"{name} in {json.dumps(keys, ensure_ascii=False)}"
        return Call("POST", f"{self._rows}/query", body=_json(body | {"filter": keys_in}))

    def read_schema(self, data: Any, collection_name: str, db_name: str | None) -> CollectionSchema:
        """The schema in the ``data`` of a describe answer. Raises Python's own errors where it cannot be read."""
        outputs = {name for function in data.get("functions") or () for name in function["outputFieldNames"]}
        auto_id = data.get("autoId", False)
        return CollectionSchema(
            name=collection_name,
            db_name=db_name,
            dynamic=data.get("enableDynamicField", False),
            before_2_3_13=not (self._since_2_3_13 or any("partitionKey" in field for field in data["fields"])),
            collection_id=data.get("collectionID"),
            fields_=tuple(
                FieldSchema(
                    name=field["name"],
                    primary_key=field.get("primaryKey", False),
                    partition_key=field.get("partitionKey", False),
                    auto_id=field.get("autoId", False) or (field.get("primaryKey", False) and auto_id),
                    nullable=field.get("nullable", False),
                    has_default=field.get("defaultValue") is not None,
                    function_output=field.get("isFunctionOutput", False) or field["name"] in outputs,
                    **self._type(field),
                )
                for field in (*data["fields"], *(data.get("structFields") or ()))
                # Versions before 2.4.17 may list the field that holds the dynamic ones.
                if field["name"] != DYNAMIC_FIELD
            ),
        )


class V1(Dialect):
    """``/v1/vector/*``, served by Milvus 2.3.2 to 3.0."""

    success = (200,)
    has_partitions = False
    _since_2_3_13 = False
    _list_only = False
    _rows = "/v1/vector"

    def _collections(self, action: str, names: dict[str, str]) -> Call:
        path = {"describe": "/v1/vector/collections/describe", "list": "/v1/vector/collections"}[action]
        return Call("GET", path, params=names)

    def _type(self, field: Mapping[str, Any]) -> dict[str, Any]:
        """v1 writes a type's parameter behind it: ``FloatVector(4)``, ``VarChar(20)``."""
        match = re.fullmatch(r"(\w+)\((\w+)\)", field["type"])
        kind, parameter = match.groups() if match else (field["type"], "")
        return {
            "type": kind,
            "size": int(parameter) if parameter.isdecimal() else None,
            "element_type": field.get("elementType") or (parameter if kind == "Array" else None),
        }


class V2(Dialect):
    """``/v2/vectordb/*``, served by Milvus 2.3.13 and later; written from Milvus's source."""

    success = (0, 200)  # 200 in Milvus 2.3.13 to 2.3.17
    has_partitions = True
    _since_2_3_13 = True
    _list_only = True
    _rows = "/v2/vectordb/entities"

    def _collections(self, action: str, names: dict[str, str]) -> Call:
        return Call("POST", f"/v2/vectordb/collections/{action}", body=_json(names))

    def _type(self, field: Mapping[str, Any]) -> dict[str, Any]:
        """v2 lists a type's parameters beside it: ``[{"key": "dim", "value": "4"}]``."""
        parameters = {pair["key"]: pair["value"] for pair in field.get("params") or ()}
        return {
            "type": field["type"],
            "size": parameters.get("dim", parameters.get("max_length")),
            "element_type": field.get("elementType"),
            "capacity": parameters.get("max_capacity"),
        }


def _names(collection_name: str | None, db_name: str | None, partition_name: str | None = None) -> dict[str, str]:
    """Without those that are not set: an empty ``dbName`` is an error (code 800), not the default database."""
    names = {"collectionName": collection_name, "dbName": db_name, "partitionName": partition_name}
    return {name: value for name, value in names.items() if value}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _with_data(request: UpsertRequest, data: bytes | list[bytes]) -> bytes:
    """The body of an upsert."""
    head = _json(_names(request.collection_name, request.db_name, request.partition_name))[:-1] + b', "data": '
    if not isinstance(data, list):
        return head + data + b"}"
    rows = data.copy()  # joined once: they are megabytes
    rows[0] = head + b"[" + rows[0]
    rows[-1] += b"]}"
    return b",".join(rows)


DIALECTS: dict[str, Dialect] = {"v1": V1(), "v2": V2()}
