"""``make test-milvus``, with stand-ins for Docker and Python: neither the image nor a daemon is needed."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[2]
COMPOSE = REPO / "tests/milvus/compose.yaml"


def make(tmp_path: Path, *arguments: str, up: int = 0, tests: int = 0) -> tuple[int, list[str], str]:
    """The exit code, the commands that were run, and the output."""
    log = tmp_path / "log"
    for name, status in (("compose", up), ("python", tests)):
        text = f'#!/bin/sh\nenv | grep -E "^MILVUS_" | sort | tr "\\n" " " >> {log}\necho "{name} $*" >> {log}\n'
        (tmp_path / name).write_text(f'{text}case "$*" in down*) ;; *) exit {status};; esac\n')
        (tmp_path / name).chmod(0o755)
    command = ["make", "-o", "install", "test-milvus", f"COMPOSE={tmp_path}/compose", f"RUN={tmp_path}/python"]
    done = subprocess.run([*command, *arguments], cwd=REPO, capture_output=True, text=True)
    return done.returncode, log.read_text().splitlines() if log.exists() else [], done.stdout + done.stderr


def test_one_version(tmp_path: Path) -> None:
    status, commands, output = make(tmp_path, "VERSION=2.6.20", "API=v1", "MILVUS_PORT=1234")
    assert status == 0, output
    up, tests, down = commands
    assert up == "MILVUS_PORT=1234 MILVUS_VERSION=2.6.20 compose up --detach --wait"
    assert re.search(r"MILVUS_REST_TEST_URI=http://127\.0\.0\.1:1234 .*python -m pytest tests/integration$", tests)
    for variable in ("API_VERSION=v1", "TOKEN=root:Milvus", "RECORD=tests/recorded"):
        assert f"MILVUS_REST_TEST_{variable} " in tests
    assert down.endswith("compose down --volumes")


@pytest.mark.parametrize(("up", "tests", "count"), [(1, 0, 2), (0, 1, 3)])
def test_the_server_is_removed_if_something_fails(tmp_path: Path, up: int, tests: int, count: int) -> None:
    status, commands, _ = make(tmp_path, "VERSION=2.6.20", up=up, tests=tests)
    assert status != 0
    assert len(commands) == count
    assert commands[-1].endswith("compose down --volumes")


def test_a_version_is_needed(tmp_path: Path) -> None:
    status, commands, output = make(tmp_path)
    assert (status, commands) == (2, [])
    assert "make test-milvus needs VERSION, for example VERSION=2.6.20" in output


def test_the_compose_file() -> None:
    """It was checked once with the schema of the Compose specification; the suite relies on what is here."""
    (service,) = yaml.safe_load(COMPOSE.read_text())["services"].values()
    assert service["image"].startswith("milvusdb/milvus:v${MILVUS_VERSION:?")
    assert service["ports"] == ["127.0.0.1:${MILVUS_PORT:-19530}:19530"]
    assert service["environment"]["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true"
    assert all(isinstance(value, str) for value in service["environment"].values())
    for mount in service["volumes"]:
        assert (COMPOSE.parent / mount.partition(":")[0]).is_file()
