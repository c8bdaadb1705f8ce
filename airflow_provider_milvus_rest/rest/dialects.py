"""What differs between the versions of Milvus's REST API: paths, bodies, what success is, how describe reads.

The client speaks through a :class:`Dialect` and does not know which one it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import TypeAdapter

from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rows.schema import DYNAMIC_FIELD, CollectionSchema, FieldSchema


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

    def is_success(self, code: int) -> bool:
        """Whether a body's ``code`` says success."""

    def upsert(self, request: UpsertRequest) -> Call:
        """The call that upserts."""

    def describe(self, collection_name: str, db_name: str | None) -> Call:
        """The call that describes a collection."""

    def list_collections(self, db_name: str | None) -> Call:
        """The call that lists a database's collections."""

    def read_schema(self, data: Any, collection_name: str, db_name: str | None) -> CollectionSchema:
        """The schema in the ``data`` of a describe answer."""

    def read_names(self, data: Any) -> list[str]:
        """The names in the ``data`` of a list answer."""


class V1:
    """``/v1/vector/*``, served by Milvus 2.3.2 to 3.0."""

    _SUCCESS: ClassVar[int] = 200
    _TYPE = re.compile(r"(\w+)\((\w+)\)")

    def is_success(self, code: int) -> bool:
        return code == self._SUCCESS

    def upsert(self, request: UpsertRequest) -> Call:
        envelope = {"collectionName": request.collection_name} | self._database(request.db_name)
        head = json.dumps(envelope, ensure_ascii=False).encode()[:-1] + b', "data": '
        if isinstance(request.data, list):
            rows = request.data.copy()  # joined once: they are megabytes
            rows[0] = head + b"[" + rows[0]
            rows[-1] += b"]}"
            body = b",".join(rows)
        else:
            body = head + request.data + b"}"
        return Call("POST", "/v1/vector/upsert", body=body, has_rows=True)

    def describe(self, collection_name: str, db_name: str | None) -> Call:
        params = {"collectionName": collection_name} | self._database(db_name)
        return Call("GET", "/v1/vector/collections/describe", params=params)

    def list_collections(self, db_name: str | None) -> Call:
        return Call("GET", "/v1/vector/collections", params=self._database(db_name))

    def read_schema(self, data: Any, collection_name: str, db_name: str | None) -> CollectionSchema:
        return CollectionSchema(
            name=collection_name,
            db_name=db_name,
            dynamic=data.get("enableDynamicField", False),
            before_2_3_13=not any("partitionKey" in field for field in data["fields"]),
            # Versions before 2.4.17 may list the field that holds the dynamic ones.
            fields_=tuple(self._field(field) for field in data["fields"] if field["name"] != DYNAMIC_FIELD),
        )

    def read_names(self, data: Any) -> list[str]:
        return _NAMES.validate_python(data)

    @staticmethod
    def _database(db_name: str | None) -> dict[str, str]:
        """Left out when not given, since an empty ``dbName`` is an error (code 800) and not the default database."""
        return {"dbName": db_name} if db_name else {}

    def _field(self, field: Mapping[str, Any]) -> FieldSchema:
        """v1 writes a type's parameter behind it: ``FloatVector(4)``, ``VarChar(20)``."""
        match = self._TYPE.fullmatch(field["type"])
        kind, parameter = match.groups() if match else (field["type"], "")
        return FieldSchema(
            name=field["name"],
            type=kind,
            size=int(parameter) if parameter.isdecimal() else None,
            primary_key=field["primaryKey"],
            auto_id=field.get("autoId", False),
            nullable=field.get("nullable", False),
            has_default=field.get("defaultValue") is not None,
            function_output=field.get("isFunctionOutput", False),
            element_type=field.get("elementType") or (parameter if kind == "Array" else None),
        )


_NAMES = TypeAdapter(list[str])
DIALECTS: dict[str, Dialect] = {"v1": V1()}
