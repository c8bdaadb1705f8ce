"""S3, as moto serves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "moto-key", "aws_secret_access_key": "hunter2-secret", "region_name": "us-east-1"}


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """A client of the server, which has no bucket yet."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield boto3.client("s3", endpoint_url="http://{}:{}".format(*server.get_host_and_port()), **KEYS)
    server.stop()


@pytest.fixture
def s3_connection(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server as the Airflow connection ``s3``."""
    fields = {"conn_type": "aws", "login": KEYS["aws_access_key_id"], "password": KEYS["aws_secret_access_key"]}
    extra = {"endpoint_url": s3.meta.endpoint_url, "region_name": KEYS["region_name"]}
    monkeypatch.setenv("AIRFLOW_CONN_S3", json.dumps(fields | {"extra": extra}))
