"""What MkDocs needs beside mkdocs.yml: pages that are made of files outside of docs/, and roles of Sphinx as links."""

import ast
import posixpath
import re
from functools import partial
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGE = "airflow_provider_milvus_rest"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
REFERENCE = {
    "operators": {"operators.milvus_rest": "MilvusRestUpsertOperator MilvusRestCompareOperator plan_shards key_of"},
    "decorators": {"decorators.milvus_rest": "milvus_rest_upsert_task"},
    "hooks": {"hooks.milvus_rest": "MilvusRestHook"},
    "assets": {"assets.milvus_rest": "create_asset"},
    "results": {"ingest.report": "IngestReport CompareReport", "rest.models": "UpsertResult"},
    "exceptions": {"exceptions": ""},
    "testing": {"testing.local_milvus": "LocalMilvus MilvusAddress", "testing.pytest_plugin": ""},
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|<)([^)#\s]*)(#[^)]*)?\)")
ROLE = re.compile(r":(?:class|func|meth|mod|attr|exc|data):`(~?)([\w.]+)`")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/, and the pictures that they show."""
    repository = config.repo_url or ""
    for path in ROOT.glob("benchmarks/results/*.svg"):
        files.append(File.generated(config, f"images/{path.name}", content=path.read_bytes()))
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=rewritten((ROOT / source).read_text(), "", repository)))
    files.append(File.generated(config, "examples.md", content=examples()))
    for name, modules in REFERENCE.items():
        files.append(File.generated(config, f"reference/{name}.md", content=reference(name, modules)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, **_: Any) -> str:
    """Links of pages in docs/ that lead out of it."""
    if page.file.generated_by:
        return markdown
    return rewritten(markdown, "docs", config.repo_url or "")


def rewritten(markdown: str, folder: str, repository: str) -> str:
    """Relative links of a file in a folder of the repository, as they are from docs/.

    What the site does not have is a link into the repository, or, without its address, plain text.
    """

    def link(found: re.Match[str]) -> str:
        image, text, target, anchor = found.group(1), found.group(2), found.group(3), found.group(4) or ""
        if not target:
            return found[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path.startswith("benchmarks/results/") and path.endswith(".svg"):
            to = f"images/{posixpath.basename(path)}"
        elif path.startswith("example_dags/example_milvus"):
            to, anchor = "examples.md", f"#{Path(path).stem}"
        elif path in PAGES or path.startswith("docs/"):
            to = PAGES.get(path, path.removeprefix("docs/"))
        elif repository:
            to = f"{repository.rstrip('/')}/blob/HEAD/{path}"
        else:
            return text
        return f"{image}[{text}]({to}{anchor})"

    return LINK.sub(link, markdown)


def examples() -> str:
    """Each example DAG: its docstring and its source."""
    parts = [
        "# Examples\n\nThe example DAGs are also in the installed package, in the folder that this prints:\n\n"
        f'```bash\npython -c "import {PACKAGE}.example_dags as e; print(*e.__path__)"\n```\n\n'
        "They need `pip install 'airflow-provider-milvus-rest[local]'`.\n"
    ]
    for path in sorted(ROOT.glob("example_dags/example_milvus_*.py")):
        source = path.read_text()
        text = ast.get_docstring(ast.parse(source)) or ""
        code = source.partition('"""\n\n')[2].strip()
        parts.append(f"## {path.stem} {{ #{path.stem} }}\n\n{text}\n\n```python\n{code}\n```\n")
    return "\n".join(parts)


def reference(name: str, modules: dict[str, str]) -> str:
    """A page that mkdocstrings fills in."""
    parts = [f"# {name.capitalize()}\n"]
    for module, members in modules.items():
        parts += [f"::: {PACKAGE}.{module}.{member}\n" for member in members.split()]
        if not members:
            parts.append(f"::: {PACKAGE}.{module}\n    options:\n      show_root_heading: false\n")
    return "\n".join(parts)


class SphinxRoles(griffe.Extension):
    """The docstrings' roles, as links if they name something that has a page."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(partial(self.link, obj.module.path), obj.docstring.value)

    @staticmethod
    def link(module: str, found: re.Match[str]) -> str:
        """A name in code; a name without a dot is one of the module."""
        short, name = found.groups()
        text = name.rpartition(".")[2] if short else name
        whole = name if "." in name else f"{module}.{name}"
        return f'<autoref identifier="{whole}" optional><code>{text}</code></autoref>'
