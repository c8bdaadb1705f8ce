from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from airflow_provider_milvus_rest.testing import LocalMilvus, LocalMilvusError, MilvusAddress
from airflow_provider_milvus_rest.testing.local_milvus import PASSWORD, free_ports
from tests.servers import Reply, ScriptedServer

pytestmark = pytest.mark.own_server


def running(folder: Path) -> list[int]:
    """Milvus processes whose working directory is in ``folder``."""
    processes = [process.info for process in psutil.process_iter(["pid", "name", "cwd"])]
    return [
        info["pid"] for info in processes if info["name"] == "milvus" and (info["cwd"] or "").startswith(str(folder))
    ]


def wait_for(ended: Callable[[], bool]) -> None:
    """The kernel takes a moment to end what was killed."""
    deadline = time.monotonic() + 5
    while not ended():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nothing_is_left_of_a_temporary_server() -> None:
    with LocalMilvus(auth=False) as server:
        assert len(running(server.folder)) == 1
        assert server.connection() == {"conn_type": "milvus_rest", "host": server.uri}
        with pytest.raises(LocalMilvusError, match="already running"):
            server.start()
    assert running(server.folder) == []
    assert not server.folder.exists()


def test_the_password_is_set_when_milvus_knows_its_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = Reply('{"error_code": 22, "reason": "old password not correct:root"}')
    path = "/api/v1/credential"
    with ScriptedServer() as server:
        server.script(path, wrong, wrong, wrong, Reply("{}"), wrong)
        milvus = LocalMilvus(tmp_path)
        monkeypatch.setattr(milvus, "_health_port", server.port)
        milvus._set_password()
        milvus._set_password()
        old = [base64.b64decode(request.json["oldPassword"]).decode() for request in server.requests]
        assert old == ["Milvus", PASSWORD, "Milvus", PASSWORD]


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airflow_provider_milvus_rest.testing"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "Starting" in process.stdout.readline()
        assert "Milvus is at http://127.0.0.1:" in process.stdout.readline()
        assert process.stdout.readline().startswith("export AIRFLOW_CONN_MILVUS_REST_DEFAULT='{")
        assert len(running(tmp_path)) == 1
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: running(tmp_path) == [])


def test_the_command_runs_another_with_the_connection() -> None:
    code = "import os; print(os.environ['AIRFLOW_CONN_MILVUS_REST_DEFAULT']); raise SystemExit(7)"
    given = {"URI": "http://given:1", "TOKEN": "key", "API_VERSION": "v2"}
    environment = os.environ | {f"MILVUS_REST_TEST_{name}": value for name, value in given.items()}
    command = [sys.executable, "-m", "airflow_provider_milvus_rest.testing", "--", sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 7
    connection = {"conn_type": "milvus_rest", "host": "http://given:1", "password": "key"}
    assert json.dumps(connection | {"extra": {"api_version": "v2"}}) in done.stdout


def test_an_interrupted_command_may_clean_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A command that takes its time, and a child of it that does not listen."""
    child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}])
try:
    print("child", child.pid, flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(1)
    print("clean", flush=True)
"""
    environment = os.environ | {"MILVUS_REST_TEST_URI": "http://given:1"}
    command = [sys.executable, "-m", "airflow_provider_milvus_rest.testing", "--", sys.executable, "-c", code]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell does for what runs behind
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        pid = int(next(line for line in lines if line.startswith("child")).split()[1])
        process.send_signal(signal.SIGTERM)
        assert "clean\n" in lines
    assert process.returncode == 130
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_server_can_be_started_after_it_was_stopped() -> None:
    server = LocalMilvus(auth=False)
    assert not server.folder.exists()
    for _ in range(2):
        server.start()
        assert server.client().list_collections() == []
        server.stop()
    assert not server.folder.exists()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = LocalMilvus(tmp_path, start_timeout=0)
    with pytest.raises(LocalMilvusError, match="did not become healthy"):
        server.start()
    assert running(tmp_path) == []


def test_what_another_server_uses_is_refused_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        for port in (taken.getsockname()[1], 70_000):
            with pytest.raises(
                LocalMilvusError, match=f"Port {port} is already in use, or not allowed. Choose another"
            ):
                LocalMilvus(tmp_path / "a", port=port).start()
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LocalMilvusError, match=f"uses the folder {tmp_path}"):
            LocalMilvus(tmp_path).start()


@pytest.mark.heavy
def test_a_folder_keeps_data_password_and_port(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    row = {"id": 1, "vector": [0.5] * 4}
    with LocalMilvus(tmp_path, port=port) as server:
        assert server.uri == f"http://127.0.0.1:{port}"
        server.client().create_collection("docs", dimension=4, auto_id=False)
        server.client().upsert("docs", row)
    code = """
import os, pymilvus
client = pymilvus.MilvusClient(uri=os.environ["URI"], token="root:local-secret")
client.load_collection("docs")
print(client.query("docs", filter="", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"], "row")
"""
    module = [sys.executable, "-m", "airflow_provider_milvus_rest.testing"]
    command = [*module, "--port", str(port), "--folder", str(tmp_path), "--", sys.executable, "-c", code]
    environment = os.environ | {"URI": f"http://127.0.0.1:{port}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "1 row\n" in done.stdout, done.stdout + done.stderr


def test_address_as_a_connection() -> None:
    assert MilvusAddress("http://m:1", "root:a:b").connection() == {
        "conn_type": "milvus_rest",
        "host": "http://m:1",
        "login": "root",
        "password": "a:b",
    }


@pytest.mark.heavy
def test_servers_run_side_by_side_and_keep_their_data_over_a_crash(tmp_path: Path) -> None:
    row = {"id": 1, "vector": [0.5] * 4}
    with LocalMilvus(tmp_path / "a", auth=False) as a, LocalMilvus(auth=False) as b:
        for server in (a, b):
            server.client().create_collection("docs", dimension=4, auto_id=False, consistency_level="Strong")
        a.client().upsert("docs", row)
        uri = a.uri
        a.restart()
        assert a.uri == uri
        a.client().load_collection("docs")  # after a restart Milvus does so by itself, some seconds later
        assert [dict(found) for found in a.client().query("docs", filter="id >= 0", output_fields=["*"])] == [row]
        assert not b.client().query("docs", filter="id >= 0", output_fields=["*"])
    assert (tmp_path / "a" / "milvus.log").exists()
    assert running(tmp_path) == []
