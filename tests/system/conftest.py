"""Airflow standalone, for tests that need its scheduler."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from airflow.models import xcom
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from airflow.utils.session import create_session
from playwright.sync_api import Page

from airflow_provider_milvus_rest.testing import MilvusAddress
from airflow_provider_milvus_rest.testing.local_milvus import free_ports
from tests.conftest import HOME

AIRFLOW = str(Path(sys.executable).with_name("airflow"))

collect_ignore = ["test_browser_2.py"] if AIRFLOW_V_3_0_PLUS else []
CHROMIUM: dict[str, Any] = {
    "executable_path": shutil.which("chromium") or "chromium, from the Debian package of this name",
    # The sandbox does not work for root, as which CI runs; the others keep it from calling home.
    "args": ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"],
}
SCREENSHOTS = Path(os.environ.get("MILVUS_REST_SCREENSHOTS", HOME))


def screenshot(page: Page, name: str) -> None:
    """Keep what is seen, where the environment says."""
    page.wait_for_timeout(1000)  # animations
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def read_xcom(**where: Any) -> Any:
    """The value of the one XCom that has these columns; None if there is none."""
    with create_session() as session:
        if AIRFLOW_V_3_0_PLUS:
            found = session.query(xcom.XComModel).filter_by(**where).one_or_none()
            return found and xcom.XComModel.deserialize_value(found)
        found = session.query(xcom.XCom).filter_by(**where).one_or_none()
        return found and found.value


@pytest.fixture(autouse=True)
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For commands, of their own: the examples write files of fixed names there, and run side by side."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield


@pytest.fixture
def standalone(
    airflow_db: None,
    dags_folder: Path,
    milvus_connection: MilvusAddress,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Callable[..., Any]]:
    """``airflow standalone`` on a port of its own; the function calls the Airflow CLI beside it."""
    with run_standalone(dags_folder, monkeypatch, tmp_path / "standalone.log"):
        yield call_airflow


@contextmanager
def run_standalone(dags_folder: Path, environment: pytest.MonkeyPatch, log: Path) -> Iterator[None]:
    """``airflow standalone`` on ports of its own, which the environment names while it runs."""
    port, worker_logs, trigger_logs = free_ports(3)
    for name, value in {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "PATH": f"{Path(AIRFLOW).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        # Else 32 tasks run at a time, each of which imports its DAG, for which it has 30 seconds.
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
    }.items():
        environment.setenv(name, value)
    with running([AIRFLOW, "standalone"], log):
        wait_for(lambda: is_healthy(port), 120, lambda: log.read_text()[-5000:])
        yield


def call_airflow(*arguments: str) -> Any:
    """What the Airflow CLI puts out as JSON."""
    done = subprocess.run([AIRFLOW, *arguments, "--output", "json"], capture_output=True, text=True, check=True)
    output = re.search(r"^\[[{\]](.|\n)*", done.stdout, re.MULTILINE)  # after whatever is logged
    return json.loads(output[0]) if output else None


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A command that writes into ``log``, and at the end is killed with all that it has started."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
    except OSError:
        return False
    return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))


def wait_for(done: Callable[[], bool], seconds: float, why: Callable[[], Any], every: float = 1) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, why()
        time.sleep(every)
