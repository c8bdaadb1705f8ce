"""The hook: an Airflow connection to a Milvus server."""
