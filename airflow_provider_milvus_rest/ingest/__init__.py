"""Sends rows in batches and reports the results. Does not import Airflow."""
