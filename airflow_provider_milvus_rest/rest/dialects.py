"""The versions of Milvus's REST API: paths, bodies, success codes, and how to read a collection's description."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rows.schema import DYNAMIC_FIELD, CollectionSchema, FieldSchema, Key


@dataclass(frozen=True)
class Call:
    """One HTTP request, without host and headers."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    body: bytes | None = None
    has_rows: bool = False  # whether rows may be the cause of a refusal
    reads: bool = False  # whether it reads rows of a loaded collection
    collection_name: str | None = None


@dataclass(frozen=True)
class Dialect:
    """One version of the API: its differences from the other version, and the calls."""

    success: tuple[int, ...]  # the codes of a successful answer
    rows_path: str  # of the calls that write and read rows
    describe_path: str
    list_path: str
    uses_get: bool = False  # instead of POST, to describe and to list
    one_row_in_list: bool = True  # an upsert must send its rows as a list, even if there is only one
    has_partitions: bool = True
    since_2_3_13: bool = True  # every server that has this version of the API is Milvus 2.3.13 or later

    def upsert(self, request: UpsertRequest) -> Call:
        """The call that upserts."""
        names = _names(request.collection_name, request.db_name, request.partition_name)
        head = orjson.dumps(names)[:-1] + b',"data":'
        if isinstance(request.data, bytes) and not self.one_row_in_list:
            body = head + request.data + b"}"
        else:
            rows = [request.data] if isinstance(request.data, bytes) else request.data.copy()
            rows[0] = head + b"[" + rows[0]
            rows[-1] += b"]}"
            body = b",".join(rows)  # joined once, because they are megabytes
        return Call(
            "POST", f"{self.rows_path}/upsert", body=body, has_rows=True, collection_name=request.collection_name
        )

    def ask(self, path: str, db_name: str | None, collection_name: str | None = None) -> Call:
        """The call that describes a collection, or lists a database's collections."""
        names = _names(collection_name, db_name)
        if self.uses_get:
            return Call("GET", path, params=names, collection_name=collection_name)
        return Call("POST", path, body=orjson.dumps(names), collection_name=collection_name)

    def find(self, schema: CollectionSchema, keys: list[Key], partition_name: str | None, fields: str) -> Call:
        """The call that returns those of ``keys`` that are stored: ``get`` for Int64, ``query`` for VarChar.

        ``fields`` is the name of one field, or ``*`` for all.

        ``get`` cannot be used for VarChar keys: up to Milvus 2.3.6, it puts them into a filter without quotes, and in
        all versions up to 3.0 without escaping quotes and backslashes in them.
        """
        body: dict[str, Any] = _names(schema.name, schema.db_name) | {"outputFields": [fields]}
        if self.has_partitions:
            body["consistencyLevel"] = "Strong"  # Milvus 3.0 reads it, earlier versions ignore it
        if partition_name:
            body["partitionNames"] = [partition_name]
        call = partial(Call, "POST", collection_name=schema.name, reads=schema.is_loaded)
        if schema.key_type is int:
            return call(f"{self.rows_path}/get", body=orjson.dumps(body | {"id": keys}))
        keys_in = f"{schema.primary_key.name} in {json.dumps(keys, ensure_ascii=False)}"
        query = body | {"filter": keys_in, "limit": len(keys)}
        return call(f"{self.rows_path}/query", body=orjson.dumps(query))

    def read_schema(self, data: Any, collection_name: str, db_name: str | None) -> CollectionSchema:
        """Read the schema in a describe response's ``data``. Raises Python's built-in errors if it is malformed."""
        outputs = {name for function in data.get("functions") or () for name in function["outputFieldNames"]}
        auto_id = data.get("autoId", False)
        return CollectionSchema(
            name=collection_name,
            db_name=db_name,
            dynamic=data.get("enableDynamicField", False),
            before_2_3_13=not (self.since_2_3_13 or any("partitionKey" in field for field in data["fields"])),
            collection_id=data.get("collectionID"),
            is_loaded=data.get("load") != "LoadStateNotLoad",
            is_indexed="indexes" not in data or bool(data["indexes"]),
            fields_=tuple(
                FieldSchema(
                    name=field["name"],
                    primary_key=field.get("primaryKey", False),
                    partition_key=field.get("partitionKey", False),
                    auto_id=field.get("autoId", False) or (field.get("primaryKey", False) and auto_id),
                    nullable=field.get("nullable", False),
                    has_default=field.get("defaultValue") is not None,
                    function_output=field.get("isFunctionOutput", False) or field["name"] in outputs,
                    **_type(field),
                )
                for field in (*data["fields"], *(data.get("structFields") or ()))
                # Versions before 2.4.17 may list the field that holds the dynamic fields.
                if field["name"] != DYNAMIC_FIELD
            ),
        )


DIALECTS = {
    # Served by Milvus 2.3.2 to 3.0.
    "v1": Dialect(
        success=(200,),
        rows_path="/v1/vector",
        describe_path="/v1/vector/collections/describe",
        list_path="/v1/vector/collections",
        uses_get=True,
        one_row_in_list=False,
        has_partitions=False,
        since_2_3_13=False,
    ),
    # Served by Milvus 2.3.13 and later; based on Milvus's source code.
    "v2": Dialect(
        success=(0, 200),  # 200 in Milvus 2.3.13 to 2.3.17
        rows_path="/v2/vectordb/entities",
        describe_path="/v2/vectordb/collections/describe",
        list_path="/v2/vectordb/collections/list",
    ),
}


def _type(field: Mapping[str, Any]) -> dict[str, Any]:
    """Read a field's type. v1: ``FloatVector(4)``; v2: ``FloatVector``, ``[{"key": "dim", "value": "4"}]``."""
    match = re.fullmatch(r"(\w+)\((\w+)\)", field["type"])
    kind, parameter = match.groups() if match else (field["type"], "")
    listed = {pair["key"]: pair.get("value") for pair in field.get("params") or ()}  # protobuf omits empty values
    return {
        "type": kind,
        "size": int(parameter) if parameter.isdecimal() else listed.get("dim", listed.get("max_length")),
        "element_type": field.get("elementType") or (parameter if kind == "Array" else "") or None,
        "capacity": listed.get("max_capacity"),
    }


def _names(collection_name: str | None, db_name: str | None, partition_name: str | None = None) -> dict[str, str]:
    """Return only the names that are set: an empty ``dbName`` is an error (code 800), not the default database."""
    names = {"collectionName": collection_name, "dbName": db_name, "partitionName": partition_name}
    return {name: value for name, value in names.items() if value}
