"""Secrets out of what servers and gateways echo, in whatever way they write it."""

from __future__ import annotations

import base64
import re
from html.entities import html5

MASK = "***"
_MAX_CHARS = 65_536
"""Of a text that may be one answer of megabytes; messages show some hundreds."""
_DEFAULT_PASSWORD = "Milvus"  # noqa: S105 # public, and in Milvus's own words


def masking(token: str | None) -> re.Pattern[str] | None:
    """What to look for so that nothing shows a token, or the password in it: None if there is nothing to hide."""
    password = (token or "").partition(":")[2]
    secrets = [text for text in (token, password) if text and len(text) > 4 and text != _DEFAULT_PASSWORD]
    for text in secrets.copy():
        encoded = text.encode()
        secrets += [base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode()]
    return re.compile("|".join("".join(map(_spelling, text)) for text in secrets)) if secrets else None


def masked(text: str, pattern: re.Pattern[str] | None) -> str:
    """The beginning of ``text`` without what ``pattern`` finds."""
    text = text[:_MAX_CHARS]
    return pattern.sub(MASK, text) if pattern else text


def _spelling(char: str) -> str:
    """A pattern for a character, itself or escaped for JSON, Go, HTML or a URL, and escaped once more."""
    octets, code = char.encode(), ord(char)
    units = char.encode("utf-16-be")
    names = "|".join(re.escape(name.rstrip(";")) for name, value in html5.items() if value == char)
    forms = [
        re.escape(char),
        re.escape(octets.decode("latin-1")),
        "".join(rf"(?:%(?:25)*|\\x)(?i:{octet:02x})" for octet in octets),
        "".join(rf"\\+u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2)),
        rf"&(?:amp;)*(?:\#0*{code}|\#[xX]0*(?i:{code:x}){f'|{names}' if names else ''});",
        *([r"\+"] if char == " " else []),
    ]
    return rf"\\*(?:{'|'.join(forms)})"
