"""Schemas, encoding and readers of rows. Imports nothing from Airflow."""
