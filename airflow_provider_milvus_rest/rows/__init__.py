"""The data: schemas, encoding, readers. Imports nothing of Airflow."""
