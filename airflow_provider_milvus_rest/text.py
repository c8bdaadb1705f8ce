"""Prepares values, paths and other programs' messages for our messages: shortens them and removes credentials."""

import re
from typing import Any
from urllib.parse import quote, unquote

EXCERPT_CHARS = 300
# A user with a password may contain "/" and "@". A host with a port is not a user: hdfs://namenode:8020/a@b.
_USER = re.compile(r"(?<=://)(?![a-z0-9.-]+:\d{2,5}/)[^\s/@:]*:\S*@|(?<=://)[^\s/]*@")
_SIGNATURE = re.compile(r"(?i)([?&;][\w.-]*(?:sig|token|secret|passw|pwd|credential|key|auth)[\w.-]*=)([^&;\s'\"]+)")


def excerpt(text: str, limit: int = EXCERPT_CHARS) -> str:
    """``text`` on one line, cut to ``limit`` characters."""
    line = " ".join(text.lstrip()[: 4 * limit].split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def counted(count: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def shown(value: Any, limit: int = 40) -> str:
    """The repr of a value on one line, cut to ``limit`` characters."""
    try:
        return excerpt(repr(value), limit)
    except Exception:  # a user's class, or an int of more than 4,300 digits, which Python refuses to print
        return f"an int of {value.bit_length()} bits" if isinstance(value, int) else "a value that cannot be shown"


def name_of(key: Any) -> str:
    """A field's name, or a short form of a key that is not a name."""
    return str.__str__(key) if isinstance(key, str) else shown(key)


def without_connection(path: str) -> str:
    """A path or URI without its connection, credentials and signatures, as a str that UTF-8 can encode."""
    return _USER.sub("", without_secrets(path)).encode(errors="backslashreplace").decode()


def has_password(path: str) -> bool:
    """Whether a URI contains a login with a password, rather than an Airflow connection."""
    return bool(re.match(r"[^/]+://[^/@]*:[^/]*@", path))


def without_secrets(path: str) -> str:
    """A path or URI without its credentials and signatures, but with its Airflow connection."""
    return _SIGNATURE.sub(r"\1***", _USER.sub(lambda match: "" if ":" in match[0] else match[0], path))


def said_of(path: object, error: Exception) -> str:
    """The type and message of an error that a storage's client raised for ``path``, without the path's secrets."""
    text, path = str(error), str(path)
    secrets = [match[2] for match in _SIGNATURE.finditer(path)]
    for user in _USER.findall(path):
        if ":" in user:  # not an Airflow connection, which may be named
            secrets += [user[:-1], *re.split("[:/@]", user)]
    for secret in sorted(secrets, key=len, reverse=True):
        for spelling in {secret, quote(secret, safe=""), unquote(secret)}:
            if len(spelling) > 2:
                text = text.replace(spelling, "***")
    return excerpt(f"{type(error).__name__}: {without_connection(text)}")
