"""Every way to write the connection, and what Test says when one does not work, against real servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.testing import LocalMilvus, MilvusAddress
from airflow_provider_milvus_rest.testing.certificates import Certificates
from airflow_provider_milvus_rest.testing.local_milvus import PASSWORD, TOKEN
from tests.servers import COLLECTIONS, Reply, ScriptedServer

pytestmark = pytest.mark.own_server
PLAIN = pytest.mark.parametrize("milvus", ["plain"], indirect=True)
SECURE = pytest.mark.parametrize("milvus", ["secure"], indirect=True)


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], tuple[bool, str]]:
    """What the Test button says of a connection, given as fields or as a URI."""

    def test(connection: dict[str, Any] | str) -> tuple[bool, str]:
        text = connection if isinstance(connection, str) else json.dumps({"conn_type": "milvus_rest"} | connection)
        monkeypatch.setenv("AIRFLOW_CONN_TESTED", text)
        return MilvusRestHook("tested").test_connection()

    return test


@SECURE
def test_every_form_of_a_secure_connection(milvus: MilvusAddress, tested: Any) -> None:
    assert milvus.certificates is not None
    ca, port = str(milvus.certificates.ca), urlsplit(milvus.uri).port
    user, token, trusted = {"login": "root", "password": PASSWORD}, {"password": TOKEN}, {"verify": ca}
    path = quote(ca, safe="")
    forms: list[dict[str, Any] | str] = [
        {"host": f"https://127.0.0.1:{port}", "extra": trusted} | user,
        {"host": f"https://127.0.0.1:{port}/", "extra": json.dumps(trusted)} | token,
        {"host": "https://127.0.0.1", "port": port, "schema": "default", "extra": trusted} | user,
        {"host": "https://localhost", "port": str(port), "extra": trusted | {"client_cert": "", "read_timeout": "5"}}
        | user,
        {"host": "https://127.0.0.1", "port": port, "extra": {"verify": False}} | user,
        f"milvus-rest://https://{TOKEN}@127.0.0.1:{port}/default?verify={path}",
        f"milvus-rest://https://:{quote(TOKEN)}@127.0.0.1:{port}/?verify={path}&read_timeout=5",
        f"milvus-rest://{TOKEN}@https%3A%2F%2Flocalhost:{port}?verify=false&api_version=v1",
    ]
    for form in forms:
        assert tested(form)[0] is True, (form, tested(form))
        assert tested(form)[1].endswith("collections in 'default'")


@PLAIN
def test_every_form_of_a_plain_connection(milvus: MilvusAddress, tested: Any) -> None:
    port = urlsplit(milvus.uri).port
    forms: list[dict[str, Any] | str] = [
        {"host": "127.0.0.1", "port": port},
        {"host": f"localhost:{port}"},
        {"host": f"http://127.0.0.1:{port}", "port": port, "login": "", "password": None, "schema": "", "extra": ""},
        {"host": f"127.0.0.1:{port}", "login": "anyone", "password": "anything"},
        f"milvus-rest://127.0.0.1:{port}",
        f"milvus-rest://http://localhost:{port}/default",
    ]
    for form in forms:
        assert tested(form)[0] is True, (form, tested(form))


@SECURE
def test_what_test_says_of_a_secure_server(milvus: LocalMilvus, tested: Any) -> None:
    right = milvus.connection()
    cases = [
        ({"password": "hunter2-wrong"}, "Check login and password"),
        ({"login": "", "password": ""}, "Check login and password"),
        ({"schema": "nope"}, "database not found, database: nope. Create it first"),
        ({"host": milvus.uri.replace("https:", "http:")}, "uses TLS: write the connection's host with https://"),
        (
            {"extra": {}},
            "Set connection field 'verify' to the CA file for the server's certificate",
        ),
        ({"host": milvus.grpc_uri}, "With TLS, Milvus serves REST on a port of its own (proxy.http.port)"),
    ]
    for wrong, remedy in cases:
        ok, message = tested(right | wrong)
        assert not ok
        assert remedy in message
        assert "hunter2" not in message


@PLAIN
def test_what_test_says_of_other_servers(milvus: LocalMilvus, tested: Any, server: ScriptedServer) -> None:
    health = f"127.0.0.1:{milvus._health_port}"
    server.script(COLLECTIONS, Reply("<html>Welcome to nginx!</html>"), Reply({"status": "ok"}), Reply({"code": 200}))
    cases = [
        ({"host": "127.0.0.1", "port": 1}, "Connection refused. Is Milvus running there?"),
        ({"host": milvus.uri.replace("http:", "https:")}, "does not use TLS: write the connection's host with http://"),
        ({"host": health}, "Check that host and port are those of Milvus's REST API (19530, not 9091)"),
        *[({"host": server.url}, "Check that host and port are those of Milvus's REST API (19530")] * 2,
        ({"host": "127.0.0.1", "extra": {"api_version": "v9"}}, "field 'api_version' cannot be used"),
    ]
    for wrong, remedy in cases:
        ok, message = tested(wrong)
        assert not ok
        assert remedy in message


@pytest.fixture(scope="module")
def mutual() -> Iterator[LocalMilvus]:
    with LocalMilvus(auth=False, tls="mutual") as server:
        yield server


def test_mutual_tls(mutual: LocalMilvus, monkeypatch: pytest.MonkeyPatch, tested: Any, tmp_path: Any) -> None:
    right = mutual.connection()
    assert tested(right)[0] is True
    assert mutual.certificates is not None
    both = tmp_path / "both.pem"
    both.write_bytes(mutual.certificates.client_cert.read_bytes() + mutual.certificates.client_key.read_bytes())
    assert tested(right | {"extra": {"verify": right["extra"]["verify"], "client_cert": str(both)}})[0] is True
    other = Certificates.make(tmp_path / "other")
    foreign = {"client_cert": str(other.client_cert), "client_key": str(other.client_key)}
    for extra in ({}, foreign):
        ok, message = tested(right | {"extra": {"verify": right["extra"]["verify"]} | extra})
        assert not ok
        assert "The server asks for a client certificate that it trusts" in message
    (tmp_path / "broken.pem").write_text("no certificate")
    cases = [
        ({"client_cert": str(tmp_path / "broken.pem")}, "must be PEM files with a certificate and the key"),
        ({"client_key": str(other.client_key)}, "the key that belongs to it"),
        ({"verify": str(tmp_path / "broken.pem")}, "must be a PEM file with certificates"),
    ]
    for wrong, remedy in cases:
        monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps(right | {"extra": right["extra"] | wrong}))
        with pytest.raises(e.ConnectionSettingsError, match=remedy) as caught:
            MilvusRestHook("wrong").list_collections()
        assert isinstance(caught.value, AirflowFailException)
