"""The wire: HTTP, Milvus's codes, versions of the API. Imports nothing of Airflow."""
