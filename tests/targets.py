"""What one suite of tests runs against: a real Milvus, or the contract server of any version, over v1 or v2."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from pymilvus import DataType, MilvusClient

from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.contract_server import ContractServer, Field


class Target(Protocol):
    """A server, with another way in than the one that is tested."""

    address: MilvusAddress

    def create(self, name: str, *fields: Field, partitions: tuple[str, ...] = (), **options: bool) -> None: ...

    def drop(self, name: str) -> None: ...

    def alias(self, name: str, alias: str) -> None: ...

    def unalias(self, alias: str) -> None: ...

    def rows(self, name: str, partition: str | None = None) -> dict[Any, dict[str, Any]]:
        """What is stored, by key."""


class RealTarget:
    """Created and read over gRPC."""

    def __init__(self, address: MilvusAddress) -> None:
        self.address = address
        self._client = address.client()

    def create(self, name: str, *fields: Field, partitions: tuple[str, ...] = (), **options: bool) -> None:
        create(self._client, name, *fields, **options)
        for partition in partitions:
            self._client.create_partition(name, partition)

    def drop(self, name: str) -> None:
        self._client.drop_collection(name)

    def alias(self, name: str, alias: str) -> None:
        self._client.create_alias(name, alias)

    def unalias(self, alias: str) -> None:
        self._client.drop_alias(alias)

    def rows(self, name: str, partition: str | None = None) -> dict[Any, dict[str, Any]]:
        return rows_of(self._client, name, [partition] if partition else [])


class ContractTarget:
    """Created and read in this process."""

    def __init__(self, server: ContractServer, api_version: str) -> None:
        self.server, self.address = server, server.address(api_version)

    def create(self, name: str, *fields: Field, partitions: tuple[str, ...] = (), **options: bool) -> None:
        self.server.create_collection(name, *fields, partitions=partitions, **options)

    def drop(self, name: str) -> None:
        self.server.drop_collection(name)

    def alias(self, name: str, alias: str) -> None:
        self.server.create_alias(name, alias)

    def unalias(self, alias: str) -> None:
        del self.server.milvus.aliases[alias]

    def rows(self, name: str, partition: str | None = None) -> dict[Any, dict[str, Any]]:
        return self.server.rows(name, partition)


def create(client: MilvusClient, name: str, *fields: Field, dynamic: bool = False, auto_id: bool = False) -> None:
    """Make a collection with an index for each vector, so that it is loaded."""
    types = {kind.name.replace("_", "").lower(): kind for kind in DataType}
    schema = client.create_schema(auto_id=auto_id, enable_dynamic_field=dynamic)
    index = client.prepare_index_params()
    for item in fields:
        more: dict[str, Any] = {"is_primary": item.primary, "is_partition_key": item.partition_key, **item.params}
        if item.element_type:
            more["element_type"] = types[item.element_type.lower()]
        schema.add_field(item.name, types[item.type.lower()], **more)
        if item.type == "BinaryVector":
            index.add_index(item.name, index_type="BIN_FLAT", metric_type="HAMMING")
        elif "Vector" in item.type:
            index.add_index(item.name, index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


def rows_of(client: MilvusClient, name: str, partitions: list[str]) -> dict[Any, dict[str, Any]]:
    """All rows by key, read with strong consistency, as plain Python values."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.tolist()
        return b"".join(value) if isinstance(value, list) and value and isinstance(value[0], bytes) else value

    key = next(field for field in client.describe_collection(name)["fields"] if field.get("is_primary"))
    everything = (
        f'{key["name"]} >= ""' if key["type"] == DataType.VARCHAR else f"{key['name']} > -1 or {key['name']} < 0"
    )
    found = client.query(
        name, filter=everything, output_fields=["*"], partition_names=partitions, consistency_level="Strong"
    )
    return {row[key["name"]]: {field: plain(value) for field, value in dict(row).items()} for row in found}
