"""Secrets out of what servers and gateways echo, in whatever way they write it."""

from __future__ import annotations

import base64
import html
import re

MASK = "***"
_MAX_CHARS = 16_384
"""Of a text that may be an answer of megabytes; messages show some hundreds."""
_MAX_DEPTH = 4
"""How often a text may be escaped: a JSON text in a JSON text in an HTML page, and one more."""
_DEFAULT_PASSWORD = "Milvus"  # noqa: S105 # public, and in Milvus's own words
_ESCAPED = re.compile(
    r"((?:%[0-9a-f]{2})+|(?:\\x[0-9a-f]{2})+)|((?:\\u[0-9a-f]{4})+)|\\(.)|(&#?\w+;)", re.IGNORECASE | re.DOTALL
)


class Masking:
    """Hides a token, and the password in it."""

    def __init__(self, token: str | None) -> None:
        secrets = [token or "", (token or "").partition(":")[2]]
        forms = [form for secret in secrets if secret != _DEFAULT_PASSWORD for form in _forms(secret)]
        self._forms = sorted({form for form in forms if len(form) > 4}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The beginning of ``text`` without the secrets; unescaped as far as that was needed to find them."""
        shown = text = text[:_MAX_CHARS]
        for _ in range(_MAX_DEPTH):
            for form in self._forms:
                if form in text:
                    shown = text = text.replace(form, MASK)
            text = _ESCAPED.sub(_unescaped, text)
        return shown


def _forms(secret: str) -> list[str]:
    """A secret as it is, and the spellings that unescaping does not undo: ``+`` for spaces, Latin-1, base64."""
    octets = secret.encode()
    encoded = [base64.b64encode(octets).decode(), base64.urlsafe_b64encode(octets).decode()]
    return [secret, secret.replace(" ", "+"), secret.replace("\\", ""), octets.decode("latin-1"), *encoded]


def _unescaped(match: re.Match[str]) -> str:
    octets, units, char, entity = match.groups()
    if octets or units:
        decoded = bytes.fromhex(re.sub(r"[%\\xu]", "", octets or units, flags=re.IGNORECASE))
        return decoded.decode("utf-8" if octets else "utf-16-be", errors="replace")
    return str(char or html.unescape(entity))
