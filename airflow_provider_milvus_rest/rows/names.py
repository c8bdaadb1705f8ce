"""What may be printed of a path or URI, and of what a storage says about it."""

import re
from urllib.parse import quote, unquote

from airflow_provider_milvus_rest.text import excerpt

# A user with a password may hold "/" and "@". A host with a port is not one: hdfs://namenode:8020/a@b.
_USER = re.compile(r"(?<=://)(?![a-z0-9.-]+:\d{2,5}/)[^\s/@:]*:\S*@|(?<=://)[^\s/]*@")
_SIGNATURE = re.compile(r"(?i)([?&;][\w.-]*(?:sig|token|secret|passw|pwd|credential|key|auth)[\w.-]*=)([^&;\s'\"]+)")


def without_connection(path: str) -> str:
    """A path or URI without the connection, credentials and signatures in it, as text that UTF-8 can hold."""
    return _USER.sub("", without_secrets(path)).encode(errors="backslashreplace").decode()


def without_secrets(path: str) -> str:
    """A path or URI without the credentials and signatures in it; an Airflow connection stays."""
    return _SIGNATURE.sub(r"\1***", _USER.sub(lambda match: "" if ":" in match[0] else match[0], path))


def said_of(path: object, error: Exception) -> str:
    """What a storage's client says of a path: the type and text of its error, without what the path must not show."""
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
