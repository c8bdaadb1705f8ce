"""Where a server is and how to call it, read from the fields of an Airflow connection."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError

from airflow_provider_milvus_rest.exceptions import ConnectionSettingsError

DEFAULT_PORT = 19530
_PORT_OF_SCHEME = {"http": DEFAULT_PORT, "https": 443}
_MAX_PATH_CHARS = 150  # of a path that an error may show: a private key pasted by mistake is longer
Seconds = Annotated[float, Field(gt=0, le=86_400)]  # neither Milvus nor Python accepts any number


class ConnectionSettings(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """A connection's settings, checked.

    ``token`` is what follows ``Bearer`` in the Authorization header: ``user:password``, or an API key alone.
    ``verify`` is True, False (a URI's extras are strings: also ``'true'`` and ``'false'``), or the path of a CA file.
    """

    base_url: str
    token: SecretStr | None = None
    database: str | None = None
    api_version: Literal["v1", "v2"] = "v1"
    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 60.0
    verify: Annotated[bool | Path, Field(union_mode="left_to_right")] = True
    client_cert: Path | None = None
    client_key: Path | None = None

    @property
    def is_in_the_clear(self) -> bool:
        """Whether requests go over a network unencrypted: no TLS, and not to this machine."""
        url = urlsplit(self.base_url)
        return url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1")

    @classmethod
    def from_connection(
        cls,
        *,
        host: str | None,
        port: int | None = None,
        login: str | None = None,
        password: str | None = None,
        schema: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> "tuple[ConnectionSettings, list[str]]":
        """Settings from an Airflow connection's fields, and the names of unknown extras.

        Empty strings and nulls, which Airflow's form leaves in empty fields, count as not set. A secrets backend may
        return numbers where Airflow's own connections have text, and text where they have numbers.

        :raises ConnectionSettingsError: a field cannot be used; the message names it.
        """
        given = {key: value for key, value in (extra or {}).items() if value is not None and value != ""}
        options = {key: value for key, value in given.items() if key in EXTRAS}
        database = str(schema or "").strip() or None
        try:
            settings = cls(base_url=base_url(host, port), token=_token(login, password), database=database, **options)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ConnectionSettingsError(f"field {str(first['loc'][0])!r} cannot be used: {first['msg']}") from None
        check_tls_files(settings)
        return settings, sorted(set(given) - EXTRAS)


EXTRAS = set(ConnectionSettings.model_fields) - {"base_url", "token", "database"}


def _require(valid: object, field: str, problem: str) -> None:
    if not valid:
        raise ConnectionSettingsError(f"field {field!r} {problem}")


def check_tls_files(settings: ConnectionSettings) -> None:
    """Check the TLS files: OpenSSL's errors do not name the file, and it asks for passphrases on the terminal.

    :raises ConnectionSettingsError: a file cannot be used; the message names its field.
    """
    ca, cert, key = settings.verify, settings.client_cert, settings.client_key
    both = "is set but 'client_cert' is not: set both, or set 'client_cert' to one file with both."
    _require(cert or not key, "client_key", both)
    for field, path in (("verify", ca), ("client_cert", cert), ("client_key", key)):
        if not isinstance(path, Path):
            continue
        exists = os.path.isfile(path) or (field == "verify" and os.path.isdir(path))
        is_path = exists or (str(path).isprintable() and "-----" not in str(path) and len(str(path)) <= _MAX_PATH_CHARS)
        _require(is_path, field, "must be the path of a PEM file on this machine, not its content")
        _require(exists, field, f"is not an existing file on this machine: {path}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    problem = f"field 'verify': {ca} must be a PEM file with certificates"
    try:
        if isinstance(ca, Path) and ca.is_file():
            context.load_verify_locations(ca)
        problem = (
            f"field 'client_cert': {cert} and 'client_key' must be PEM files with a certificate and the key that "
            "belongs to it, without a passphrase"
        )
        if cert:
            context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError):
        raise ConnectionSettingsError(problem) from None


def base_url(host: str | None, port: int | str | None) -> str:
    """Return ``scheme://host:port`` for a host, which may have a scheme and a port.

    :raises ConnectionSettingsError: the host or the port is not valid.
    """
    host, not_a_host = str(host or "").strip(), "is not a host name, address or URL."
    _require(isinstance(port or 0, int) or str(port).isdecimal(), "port", f"is {port}, but must be a whole number.")
    port = int(port or 0)
    _require(host, "host", "is empty: set it to Milvus's host name or address.")
    if "://" not in host:
        is_bare_ipv6 = host.count(":") > 1 and not host.startswith("[")
        host = f"http://[{host}]" if is_bare_ipv6 else f"http://{host}"
    _require(host.isprintable() and " " not in host, "host", not_a_host)
    _require("@" not in host, "host", "contains credentials: move them to 'login' and 'password'.")
    try:
        parts = urlsplit(host)
        name, inner_port = parts.hostname or "", parts.port
        name.encode("idna")
    except ValueError:
        raise ConnectionSettingsError(f"field 'host' {not_a_host}") from None
    is_known = name and parts.scheme in _PORT_OF_SCHEME
    _require(is_known, "host", "must be a host name or address, or start with http:// or https://.")
    rest = "must end after the host and port: the provider adds the API's path, and the database has its own field."
    _require(parts.path in ("", "/") and not parts.query and not parts.fragment, "host", rest)
    _require(inner_port != 0, "host", "has port 0: write Milvus's port, or omit it.")
    _require(0 <= port < 65_536, "port", f"is {port}, but must be from 1 to 65535.")
    is_one = not (inner_port and port) or inner_port == port
    _require(is_one, "host", f"has port {inner_port} and 'port' is {port}: remove one of them.")
    name = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{name}:{inner_port or port or _PORT_OF_SCHEME[parts.scheme]}"


def _token(login: str | None, password: str | None) -> SecretStr | None:
    """Return ``user:password``, an API key (a password without a login), or None.

    Milvus splits at the first colon, so a user name cannot contain one and a password can.
    """
    login, password = (None if value is None else str(value) for value in (login, password))
    if not login and not password:
        return None
    _require(password, "login", "is set but 'password' is not. For an API key, set only 'password'.")
    _require(":" not in (login or ""), "login", "contains a colon, which is not allowed in Milvus user names.")
    token = f"{login}:{password}" if login else str(password)
    is_clean = token.isprintable() and token == token.strip()
    _require(is_clean, "password", "or 'login' starts or ends with whitespace or contains a line break.")
    return SecretStr(token)
