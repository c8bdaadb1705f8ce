"""The package's metadata: what PyPI shows, for a repository with and without an address."""

import re
import sys
from pathlib import Path

import pytest

from airflow_provider_milvus_rest import __version__, get_provider_info

REPO = Path(__file__).parents[2]
sys.path.append(str(REPO))
from hatch_build import RepositoryMetadataHook  # noqa: E402

ADDRESS = "https://git.example/milvus/rest"


@pytest.mark.parametrize("repository", ["", ADDRESS])
def test_the_readme_resolves(repository: str) -> None:
    metadata = {"version": "1.2.3"}
    RepositoryMetadataHook(str(REPO), {"repository": repository, "documentation": ""}).update(metadata)
    text = metadata["readme"]["text"]  # type: ignore[index]
    targets = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", text)
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert all(target.startswith(("https://", "#", "http://localhost")) for target in targets + images)
    assert "](" not in re.sub(r"\]\([^)]+\)", "", text)
    if repository:
        assert f"{ADDRESS}/blob/v1.2.3/docs/operator.md" in [target.partition("#")[0] for target in targets]
        assert images
        assert all(image.startswith(f"{ADDRESS}/raw/v1.2.3/") for image in images)
        assert metadata["urls"]["Changelog"] == f"{ADDRESS}/blob/v1.2.3/CHANGELOG.md"  # type: ignore[index]
    else:
        assert not images
        assert not metadata["urls"]


def test_the_version_is_in_the_provider_info() -> None:
    assert get_provider_info()["versions"] == [__version__]
