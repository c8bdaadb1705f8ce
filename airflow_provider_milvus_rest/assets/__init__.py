"""Milvus collections as assets, and in lineage."""
