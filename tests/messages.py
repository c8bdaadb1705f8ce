"""Every message that a user can see, to be read from top to bottom: ``python tests/messages.py``."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "airflow_provider_milvus_rest"


def text_of(node: ast.AST) -> str:
    """A text as it reads, with ``{…}`` for what is filled in; of a choice, both."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (text_of(p) if isinstance(p, ast.Constant) else f"{{{ast.unparse(p.value)}}}" for p in node.values)  # type: ignore[attr-defined]
        return "".join(parts)
    if isinstance(node, ast.IfExp):
        return f"{text_of(node.body)} | {text_of(node.orelse)}"
    return text_of(node.left) + text_of(node.right) if isinstance(node, ast.BinOp) else ""


def messages(path: Path) -> list[tuple[int, str]]:
    """The texts of a file with three words or more, but docstrings."""
    tree = ast.parse(path.read_text())
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if id(node) in passed:
            passed |= {id(child) for child in ast.walk(node)}
        elif isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)) and len((text := text_of(node)).split()) > 2:
            found.append((node.lineno, text))
            passed |= {id(child) for child in ast.walk(node)}
    return sorted(found)


if __name__ == "__main__":
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, text in messages(path):
            print(f"{path.relative_to(PACKAGE)}:{line}: {text!r}")
