"""Fixtures for testing DAGs against a real Milvus.

In a ``conftest.py``::

    pytest_plugins = ["airflow_provider_milvus_rest.testing.pytest_plugin"]
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_milvus_rest.testing.local_milvus import NO_PROXY, LocalMilvus, MilvusAddress


@pytest.fixture(scope="session")
def milvus() -> Iterator[MilvusAddress]:
    """A server for the session: the one that ``MILVUS_REST_TEST_URI`` names, or a LocalMilvus with default options.

    Override it for other options: ``with LocalMilvus(tls=True) as server: yield server``.
    """
    given = MilvusAddress.from_environment()
    if given:
        yield given
        return
    with LocalMilvus() as server:
        yield server


@pytest.fixture
def milvus_connection(milvus: MilvusAddress, monkeypatch: pytest.MonkeyPatch) -> MilvusAddress:
    """The server as the Airflow connection ``milvus_rest_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", milvus.connection_json())
    for name, value in NO_PROXY.items():
        monkeypatch.setenv(name, value)
    return milvus
