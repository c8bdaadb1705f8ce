"""Rows as tests write them."""

from __future__ import annotations

from typing import Any


def entity(key: Any, text: Any = None) -> dict[str, Any]:
    """A row whose vector and text say whose they are, so that a mix-up shows."""
    first = key / 8 if isinstance(key, int) else 0.25
    return {"id": key, "vector": [first, 0.5, -0.5, 1.0], "text": f"text {key}" if text is None else text}
