"""Help for tests and demos against a real Milvus."""

from __future__ import annotations

from airflow_provider_milvus_rest.testing.local_milvus import LocalMilvus, LocalMilvusError, MilvusAddress

__all__ = ["LocalMilvus", "LocalMilvusError", "MilvusAddress"]
