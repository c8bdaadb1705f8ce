"""The parts of the package's metadata that depend on the repository's address."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|<)([^)]+)\)")


def resolved(readme: str, repository: str, tag: str) -> str:
    """The README for PyPI, where a relative link leads nowhere.

    Links and images get the repository's address at the tag. Without an address, a link becomes its text, and an image
    is left out.
    """

    def absolute(found: re.Match[str]) -> str:
        image, text, target = found.groups()
        if not repository:
            return "" if image else text
        return f"{image}[{text}]({repository}/{'raw' if image else 'blob'}/{tag}/{target})"

    return re.sub(r"\n{3,}", "\n\n", LINK.sub(absolute, readme))


class RepositoryMetadataHook(MetadataHookInterface):
    """Adds the project's URLs, and the README with links that resolve on PyPI."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme`` and ``urls``, from ``repository`` and ``documentation`` in pyproject.toml."""
        repository, documentation = (self.config[name].rstrip("/") for name in ("repository", "documentation"))
        tag = f"v{metadata['version']}"
        text = resolved((Path(self.root) / "README.md").read_text(encoding="utf-8"), repository, tag)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        urls = {"Documentation": documentation}
        if repository:
            urls |= {
                "Source": repository,
                "Issues": f"{repository}/issues",
                "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
            }
        metadata["urls"] = {name: url for name, url in urls.items() if url}
