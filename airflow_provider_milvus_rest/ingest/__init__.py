"""Rows through batches to a report. Imports nothing of Airflow."""
