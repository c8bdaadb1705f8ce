"""HTTP, Milvus's codes, and the versions of its API. Does not import Airflow."""
