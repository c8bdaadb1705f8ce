"""Milvus collections as Airflow assets and in OpenLineage."""
