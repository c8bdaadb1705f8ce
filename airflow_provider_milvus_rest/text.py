"""Values and other programs' texts, shortened for a message."""

from typing import Any

EXCERPT_CHARS = 300


def excerpt(text: str, limit: int = EXCERPT_CHARS) -> str:
    """``text`` on one line, at most ``limit`` characters of it."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def shown(value: Any, limit: int = 40) -> str:
    """A value for a message, at most ``limit`` characters of it."""
    try:
        return excerpt(repr(value), limit)
    except Exception:  # of a class of the user's, or an int of more than 4,300 digits, of which Python writes none
        return f"an int of {value.bit_length()} bits" if isinstance(value, int) else "a value that cannot be shown"


def name_of(key: Any) -> str:
    """A field's name, or a short form of a key that is not a name."""
    return str.__str__(key) if isinstance(key, str) else shown(key)
