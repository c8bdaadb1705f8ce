"""What the client has to know of a server, read from the fields of an Airflow connection."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from airflow_provider_milvus_rest.exceptions import ConnectionSettingsError

DEFAULT_PORT = 19530
_PORT_OF_SCHEME = {"http": DEFAULT_PORT, "https": 443}

_MAX_PATH_CHARS = 150
"""Of what is named though no such file is there: a private key that was pasted instead has more."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
"""At most a day: neither Milvus nor Python can wait for any number of them."""


class ConnectionSettings(BaseModel):
    """Where Milvus is and how to talk to it.

    ``token`` is what follows ``Bearer`` in the Authorization header: ``user:password``, or an API key alone.
    ``verify`` is True, False, or the path of a CA file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str
    token: SecretStr | None = None
    database: str | None = None
    api_version: Literal["v1", "v2"] = "v1"
    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 60.0
    verify: bool | Path = True
    client_cert: Path | None = None
    client_key: Path | None = None

    @field_validator("verify", mode="before")
    @classmethod
    def _flag_or_path(cls, value: Any) -> Any:
        """A URI's extras are strings: ``'false'`` is the flag, anything else but ``'true'`` a path."""
        if isinstance(value, str):
            return {"true": True, "false": False}.get(value.strip().lower(), Path(value))
        return value

    @property
    def is_in_the_clear(self) -> bool:
        """Whether what is sent can be read on its way: no TLS, and not to this machine."""
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
    ) -> tuple[ConnectionSettings, list[str]]:
        """Settings from an Airflow connection's fields, and the names of extras that mean nothing here.

        Empty strings and nulls, which Airflow's form leaves in fields that nobody filled in, count as not given.

        :raises ConnectionSettingsError: naming the field that cannot be used.
        """
        given = {key: value for key, value in (extra or {}).items() if value is not None and value != ""}
        options = {key: value for key, value in given.items() if key in EXTRAS}
        if "client_key" in options and "client_cert" not in options:
            raise ConnectionSettingsError(
                "field 'client_key' is set but 'client_cert' is not: give both, or put certificate and "
                "key into one PEM file and give that as 'client_cert'."
            )
        try:
            settings = cls(
                base_url=base_url(host, port),
                token=_token(login, password),
                database=(schema or "").strip() or None,
                **options,
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ConnectionSettingsError(f"field {str(first['loc'][0])!r} cannot be used: {first['msg']}") from None
        check_tls_files(settings)
        return settings, sorted(set(given) - EXTRAS)


def check_tls_files(settings: ConnectionSettings) -> None:
    """Read them: OpenSSL's errors do not name them, and it asks on the terminal for the pass phrase of a key.

    :raises ConnectionSettingsError: naming the field whose file cannot be used.
    """
    for name in ("verify", "client_cert", "client_key"):
        if isinstance(path := getattr(settings, name), Path):
            _look_for(name, path)
    context, ca = ssl.create_default_context(), settings.verify
    try:
        if isinstance(ca, Path) and ca.is_file():
            context.load_verify_locations(ca)
    except (ssl.SSLError, OSError):
        raise ConnectionSettingsError(f"field 'verify': {ca} must be a PEM file of certificates") from None
    if settings.client_cert:
        try:
            context.load_cert_chain(settings.client_cert, settings.client_key, password=_no_pass_phrase)
        except (ssl.SSLError, OSError, ValueError):
            raise ConnectionSettingsError(
                f"field 'client_cert': {settings.client_cert} and 'client_key' must be PEM files of a certificate and "
                "of its key, which belong together, the key without a pass phrase"
            ) from None


def _look_for(name: str, path: Path) -> None:
    try:
        if path.is_file() or (name == "verify" and path.is_dir()):
            return
    except OSError:  # too long for a name
        pass
    text = str(path)
    if not text.isprintable() or "-----" in text or len(text) > _MAX_PATH_CHARS:
        raise ConnectionSettingsError(f"field {name!r} must be the path of a PEM file on this machine, not its content")
    raise ConnectionSettingsError(f"field {name!r}: no such file on this machine: {text}")


def _no_pass_phrase() -> str:
    raise ValueError("a key with a pass phrase")


EXTRAS = set(ConnectionSettings.model_fields) - {"base_url", "token", "database"}


def base_url(host: str | None, port: int | None) -> str:
    """``scheme://host:port`` of a bare host, one with a port, or one with a scheme.

    :raises ConnectionSettingsError: saying what is wrong with it.
    """
    host = (host or "").strip()
    if not host:
        raise ConnectionSettingsError("field 'host' is empty: give Milvus's host name or address.")
    if "://" not in host:
        if host.count(":") > 1 and not host.startswith("["):
            host = f"[{host}]"  # a bare IPv6 address
        host = f"http://{host}"
    if not host.isprintable() or " " in host:
        raise ConnectionSettingsError("field 'host' is not a host name, address or URL.")
    if "@" in host:
        raise ConnectionSettingsError("field 'host' holds credentials: put them into 'login' and 'password'.")
    try:
        parts = urlsplit(host)
        inner_port = parts.port
    except ValueError:
        raise ConnectionSettingsError("field 'host' is not a host name, address or URL.") from None
    if parts.scheme not in _PORT_OF_SCHEME or not parts.hostname:
        raise ConnectionSettingsError("field 'host' must be a host name or address, or start with http:// or https://.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConnectionSettingsError(
            "field 'host' must end after the host and port: the API's path is added by the provider, and the "
            "database has a field of its own."
        )
    if inner_port == 0:
        raise ConnectionSettingsError("field 'host' says port 0: give Milvus's, or leave it out.")
    if port and not 0 < port < 65_536:
        raise ConnectionSettingsError(f"field 'port' is {port}, but must be from 1 to 65535.")
    if inner_port and port and inner_port != port:
        raise ConnectionSettingsError(
            f"field 'host' says port {inner_port} and 'port' says {port}: remove one of them."
        )
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}:{inner_port or port or _PORT_OF_SCHEME[parts.scheme]}"


def _token(login: str | None, password: str | None) -> SecretStr | None:
    """``user:password``, or an API key (a password without login), or None.

    Milvus splits at the first colon, so a user name cannot hold one and a password can.
    """
    if not login and not password:
        return None
    if login and not password:
        raise ConnectionSettingsError(
            "field 'login' is set but 'password' is not. An API key goes into 'password', alone."
        )
    if login and ":" in login:
        raise ConnectionSettingsError("field 'login' holds a colon, which no Milvus user name can.")
    token = f"{login}:{password}" if login else str(password)
    if not token.isprintable() or token != token.strip():
        raise ConnectionSettingsError(
            "field 'login' or 'password' begins or ends with white space or holds a line break: "
            "it was probably pasted with it."
        )
    return SecretStr(token)
