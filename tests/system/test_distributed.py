"""``make distributed``, with a real Redis: both Celery workers work, every row is there, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "example_dags" / "distributed.py"
WORKER = re.compile(r"^(worker-\d) did shards \[([\d, ]*)\]: [\d +]+ = (\d+) rows$", re.MULTILINE)
STORED = re.compile(r"^Written: (\d+) rows\. Read back with pymilvus: (\d+) rows with (\d+) keys in ", re.MULTILINE)


@pytest.fixture
def script(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The script, with its files in ``tmp_path``; all that it starts has its working directory there."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.terminate()  # a test that has failed; the script then ends what it has started


def left_in(folder: Path) -> list[str]:
    """Files in the folder, and processes that work there."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(folder)):
                processes.append(repr(process))
        except psutil.Error:  # it has ended, or is another user's
            continue
    return [*map(str, folder.iterdir()), *processes]


@pytest.mark.heavy
@pytest.mark.airflow_3
@pytest.mark.timeout(600)
def test_two_workers_both_work_and_counts_are_exact(script: subprocess.Popen[str], tmp_path: Path) -> None:
    output, errors = script.communicate()
    assert script.returncode == 0, output + errors
    assert errors == ""
    workers = {name: (shards, int(rows)) for name, shards, rows in WORKER.findall(output)}
    assert set(workers) == {"worker-1", "worker-2"}
    done = {name: [int(shard) for shard in shards.split(",")] for name, (shards, _) in workers.items()}
    assert all(done.values())
    assert sorted(done["worker-1"] + done["worker-2"]) == list(range(9))
    assert sum(rows for _, rows in workers.values()) == 608
    assert [match.groups() for match in STORED.finditer(output)] == [("608", "608", "608")]
    assert left_in(tmp_path) == []


@pytest.mark.heavy
@pytest.mark.airflow_3
@pytest.mark.timeout(600)
def test_ctrl_c_while_the_dag_runs_leaves_nothing_behind(script: subprocess.Popen[str], tmp_path: Path) -> None:
    assert script.stdout is not None
    assert any(line.startswith("Running ") for line in script.stdout)
    assert len(left_in(tmp_path)) > 8
    script.send_signal(signal.SIGINT)
    output, errors = script.communicate()
    assert (script.returncode, output, errors) == (130, "Stopped.\n", "")
    assert left_in(tmp_path) == []


def test_without_redis_it_says_what_to_install(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "redis-server is missing. On Debian and Ubuntu: apt-get install redis-server\n"
    assert left_in(tmp_path) == []
