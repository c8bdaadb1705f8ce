from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from airflow_provider_milvus_rest.exceptions import ConnectionSettingsError
from airflow_provider_milvus_rest.options import DEFAULTS
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.testing.certificates import Certificates


def settings(host: str | None = "milvus", **fields: Any) -> ConnectionSettings:
    return ConnectionSettings.from_connection(host=host, **fields)[0]


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("milvus", None, "http://milvus:19530"),
        ("milvus", 0, "http://milvus:19530"),  # what Airflow 3.3's form sends for none
        ("milvus", 8080, "http://milvus:8080"),
        ("milvus:8080", None, "http://milvus:8080"),
        ("milvus:8080", 8080, "http://milvus:8080"),
        ("http://milvus", None, "http://milvus:19530"),
        ("http://milvus/", 1234, "http://milvus:1234"),
        ("https://milvus", None, "https://milvus:443"),
        ("https://milvus", 19530, "https://milvus:19530"),
        ("https://milvus:19530", None, "https://milvus:19530"),
        (" 10.0.0.7 ", None, "http://10.0.0.7:19530"),
        ("::1", None, "http://[::1]:19530"),
        ("[::1]:8080", None, "http://[::1]:8080"),
        ("HTTPS://in01.cloud.zilliz.com", None, "https://in01.cloud.zilliz.com:443"),
        ("milvus", "8080", "http://milvus:8080"),  # as a secrets backend may have it
        ("milvus", "", "http://milvus:19530"),
    ],
)
def test_host_and_port_in_every_form(host: str, port: Any, url: str) -> None:
    assert settings(host, port=port).base_url == url


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": None}, "'host' is empty"),
        ({"host": "  "}, "'host' is empty"),
        ({"host": "milvus:1", "port": 2}, "has port 1 and 'port' is 2"),
        ({"host": "grpc://milvus"}, "http:// or https://"),
        ({"host": "https://"}, "http:// or https://"),
        ({"host": "http://milvus/v1/vector"}, "must end after the host and port"),
        ({"host": "http://milvus:port"}, "not a host name"),
        ({"host": "http://root:hunter2@milvus"}, "contains credentials"),
        ({"host": "root:12/hunter2@milvus"}, "contains credentials"),
        ({"extra": {"client_cert": __file__}}, "must be PEM files with a certificate and the key"),
        ({"extra": {"verify": __file__}}, "must be a PEM file with certificates"),
        ({"login": "root"}, "'password' is not"),
        ({"login": "a:b", "password": "hunter2"}, "colon"),
        ({"password": "hunter2\n"}, "line break"),
        ({"extra": {"read_timeout": "hunter2"}}, "'read_timeout'"),
        ({"extra": {"read_timeout": 0}}, "'read_timeout'"),
        ({"extra": {"connect_timeout": "inf"}}, "'connect_timeout'"),
        ({"extra": {"connect_timeout": 1e10}}, "'connect_timeout'"),
        ({"extra": {"read_timeout": 86_401}}, "'read_timeout'"),
        ({"port": 70_000}, "'port' is 70000, but must be from 1 to 65535"),
        ({"port": -1}, "'port' is -1"),
        ({"port": "19530/tcp"}, "'port' is 19530/tcp, but must be a whole number"),
        ({"port": 19530.5}, "'port' is 19530.5, but must be a whole number"),
        ({"host": 5.5, "login": 1}, "'login' is set but 'password' is not"),
        ({"host": "milvus:0"}, "'host' has port 0"),
        ({"host": "mil\nvus"}, "not a host name"),
        ({"host": "mil vus"}, "not a host name"),
        ({"extra": {"verify": "-----BEGIN CERTIFICATE-----\nhunter2"}}, "'verify' must be the path of a PEM file"),
        ({"extra": {"client_cert": __file__, "client_key": "-----BEGIN KEY-----hunter2"}}, "'client_key' must be the"),
        ({"extra": {"client_cert": "hunter2" * 1000}}, "'client_cert' must be the path of a PEM file"),
        ({"extra": {"verify": "a\0b"}}, "'verify' must be the path of a PEM file"),
        ({"extra": {"api_version": "v3"}}, "'api_version'"),
        ({"extra": {"verify": "/no/such/ca.pem"}}, "'verify' is not an existing file on this machine: /no/such/ca.pem"),
        ({"extra": {"client_cert": "/no/such/cert.pem"}}, "'client_cert'"),
        ({"extra": {"client_key": "/no/such/key.pem"}}, "'client_cert' is not"),
    ],
)
def test_what_cannot_be_used_is_named_without_secrets(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectionSettingsError) as caught:
        settings(**{"host": "milvus"} | fields)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("login", "password", "token"),
    [
        ("root", "Milvus", "root:Milvus"),
        ("root", "a:b", "root:a:b"),
        ("root", "pässwörd", "root:pässwörd"),
        (None, "root:Milvus", "root:Milvus"),
        ("", "an-api-key", "an-api-key"),
    ],
)
def test_credentials(login: str | None, password: str, token: str) -> None:
    found = settings(login=login, password=password)
    assert found.token is not None
    assert found.token.get_secret_value() == token
    assert password not in repr(found)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("in03-0123.serverless.gcp-us-west1.cloud.zilliz.com", ":443"),
        ("in03-0123.serverless.gcp-us-west1.vectordb.zillizcloud.com", ":443"),
        ("in01-0123.aws-us-west-2.vectordb.zillizcloud.com:19530", ""),
        ("in01-0123.ali-cn-hangzhou.cloud.zilliz.com.cn", ":443"),
    ],
)
def test_zilliz_clouds_endpoints(host: str, url: str) -> None:
    found = settings(host=f"https://{host}", password="an-api-key", extra={"api_version": "v2"})
    assert found.base_url == f"https://{host}{url}"
    assert found.api_version == "v2"
    assert DEFAULTS.max_request_bytes < 60_000_000 < 64_000_000


def test_a_secrets_backend_may_have_numbers_for_texts() -> None:
    fields: Any = {"login": 12345, "password": 67890, "schema": 2024}
    found = settings(**fields)
    assert found.token is not None
    assert (found.token.get_secret_value(), found.database) == ("12345:67890", "2024")


def test_no_credentials() -> None:
    assert settings().token is None


def test_extras_come_as_strings_from_a_uri_and_empty_from_the_form(tmp_path: Path) -> None:
    ca = Certificates.make(tmp_path).ca
    strings = {"api_version": "v1", "connect_timeout": "5", "read_timeout": "7.5", "verify": "False"}
    found = settings(schema="", extra=strings | {"client_cert": "", "client_key": None})
    assert (found.connect_timeout, found.read_timeout, found.verify) == (5, 7.5, False)
    assert settings(schema=" ").database is None
    assert (found.client_cert, found.database) == (None, None)
    assert settings(extra={"verify": "true"}).verify is True
    assert [settings(extra={"verify": off}).verify for off in ("FALSE", "no", "0", False)] == [False] * 4
    assert settings(extra={"verify": str(ca)}).verify == ca


def test_unknown_extras_are_handed_back() -> None:
    assert ConnectionSettings.from_connection(host="milvus", extra={"timeout": 5, "verify": True})[1] == ["timeout"]


def test_a_key_with_a_pass_phrase_is_refused_instead_of_asked_for(tmp_path: Path) -> None:
    files = Certificates.make(tmp_path)
    key = serialization.load_pem_private_key(files.client_key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"hunter2")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    files.client_key.write_bytes(pem)
    extra = {"client_cert": str(files.client_cert), "client_key": str(files.client_key)}
    with pytest.raises(ConnectionSettingsError, match="without a passphrase"):
        settings(extra=extra)


@pytest.mark.parametrize(
    ("host", "clear"),
    [("http://m", True), ("m", True), ("https://m", False), ("localhost", False), ("127.0.0.1", False)],
)
def test_what_can_be_read_on_its_way(host: str, clear: bool) -> None:
    assert ConnectionSettings.from_connection(host=host)[0].is_in_the_clear is clear
