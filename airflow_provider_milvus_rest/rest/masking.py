"""Removes secrets from what servers and gateways echo, however they encode it."""

import base64
import html
import re
from urllib.parse import unquote
from urllib.request import getproxies

_MAX_CHARS = 16_384  # of a response that may be megabytes; messages show a few hundred
_MAX_DEPTH = 4  # how often a text may be escaped: JSON in JSON in an HTML page, and once more
_DEFAULT_PASSWORD = "Milvus"  # noqa: S105 # public, and a word in Milvus's own messages
_ESCAPED = re.compile(
    r"((?:%[0-9a-f]{2})+|(?:\\x[0-9a-f]{2})+)|((?:\\u[0-9a-f]{4})+)|\\(.)|(&#?\w+;)", re.IGNORECASE | re.DOTALL
)


class Masking:
    """Hides a token, the logins of proxies, and the passwords in these."""

    def __init__(self, token: str | None) -> None:
        proxies = [unquote(url.rpartition("@")[0].rpartition("/")[2]) for url in getproxies().values()]
        logins = [token or "", *(login for login in proxies if ":" in login)]
        secrets = {*logins, *(login.partition(":")[2] for login in logins)} - {_DEFAULT_PASSWORD}
        forms = {form for secret in secrets for form in map(_on_one_line, _forms(secret)) if len(form) > 4}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the beginning of ``text`` on one line, without the secrets, unescaped only to find them."""
        masked = text = _on_one_line(text)
        for _ in range(_MAX_DEPTH):
            for form in self._forms:
                if form in text:
                    masked = text = text.replace(form, "***")
            text = _on_one_line(_ESCAPED.sub(_unescaped, text))
        return masked


def _on_one_line(text: str) -> str:
    """The beginning of ``text``. A secret at its end may be cut, but is too far from what messages show."""
    return " ".join(text.split(maxsplit=_MAX_CHARS))[:_MAX_CHARS]


def _forms(secret: str) -> list[str]:
    """A secret as it is, and in the encodings that unescaping does not undo: ``+`` for spaces, Latin-1, base64."""
    utf8 = secret.encode()
    encoded = [base64.b64encode(utf8).decode(), base64.urlsafe_b64encode(utf8).decode()]
    return [secret, secret.replace(" ", "+"), secret.replace("\\", ""), utf8.decode("latin-1"), *encoded]


def _unescaped(match: re.Match[str]) -> str:
    utf8, utf16, char, entity = match.groups()
    if utf8 or utf16:
        digits = re.sub(r"[%\\xu]", "", match[0], flags=re.IGNORECASE)
        return bytes.fromhex(digits).decode("utf-8" if utf8 else "utf-16-be", errors="replace")
    return str(" " if char in ("n", "r", "t") else char or html.unescape(entity))
