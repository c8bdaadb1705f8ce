"""``make distributed``: run the sharded example on two Celery workers with Redis, and show which worker did what.

Each part of Airflow is a separate process, and each worker has its own home, as on a separate machine: it can reach
Redis, the API server, the DAGs folder and the folder of the file, but not Airflow's database. Everything uses free
ports and one temporary folder, and ends with this script.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import psutil
from celery import Celery
from cryptography.fernet import Fernet

from airflow_provider_milvus_rest.testing import LocalMilvus, MilvusAddress
from airflow_provider_milvus_rest.testing.local_milvus import NO_PROXY, free_ports

AIRFLOW = str(Path(sys.executable).with_name("airflow"))
DAG_ID = "example_milvus_rest_shards"
COLLECTION = "stdlib_docs_sharded"
ROWS = 608
WORKERS = ("worker-1", "worker-2")
STOP_SECONDS = 10
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class DemoError(Exception):
    """Something did not go as it should; the message says what."""


class Cluster:
    """Redis and the processes of one Airflow, with all their files in ``folder``."""

    def __init__(self, folder: Path, milvus: MilvusAddress) -> None:
        self.folder, self.logs = folder, folder / "logs"
        for name in ("logs", "tmp", "airflow", *WORKERS):
            (folder / name).mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.password = secrets.token_urlsafe()  # of Redis and Airflow: keeps other users of this machine out
        self.redis_port, self.api_port = free_ports(2)
        self.redis_url = f"redis://:{self.password}@127.0.0.1:{self.redis_port}"
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        self.headers = {"Content-Type": "application/json"}
        airflow = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__DAGS_FOLDER": str(Path(__file__).resolve().parent),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__FERNET_KEY": Fernet.generate_key().decode(),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.api_url}/execution/",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.api_port),
            "API__BASE_URL": self.api_url,
            "API__SECRET_KEY": secrets.token_hex(32),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "CELERY__BROKER_URL": f"{self.redis_url}/0",
            "CELERY__RESULT_BACKEND": f"{self.redis_url}/1",
            "CELERY__WORKER_CONCURRENCY": "1",
            "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "3600",
            # Airflow may notice the end of a task only at its next heartbeat. If a worker waits 5 s for it, the other
            # worker takes most of these small shards.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        }
        # Without the settings of an Airflow that the user's shell may have.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self.environment |= {f"AIRFLOW__{name}": value for name, value in airflow.items()} | {
            "AIRFLOW_CONN_MILVUS_REST_DEFAULT": milvus.connection_json(),
            "TMPDIR": str(folder / "tmp"),  # where one worker writes the example's file, and both read it
        }

    def start(self, name: str, *command: str, home: str = "airflow") -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder / home,
                env=self.environment | {"AIRFLOW_HOME": str(self.folder / home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl+C stops only this script, which ends the others
                preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # if this script is killed
            )

    def start_all(self) -> None:
        """Start everything, and wait until the DAG and both workers are ready."""
        redis = {"bind": "127.0.0.1", "port": self.redis_port, "requirepass": self.password, "save": "''"}
        config = self.folder / "redis.conf"  # not arguments, which all users of the machine can see
        config.write_text("".join(f"{name} {value}\n" for name, value in redis.items()))
        self.start("redis", "redis-server", str(config))
        self.start("migrate", AIRFLOW, "db", "migrate")
        self.wait("the database", lambda: self.processes["migrate"].poll() == 0)
        del self.processes["migrate"]
        for name in WORKERS:
            self.start(name, AIRFLOW, "celery", "worker", "--celery-hostname", name, "--skip-serve-logs", home=name)
        login = {"username": "admin", "password": self.password}
        passwords = self.folder / "airflow" / "simple_auth_manager_passwords.json.generated"
        passwords.write_text(json.dumps({"admin": self.password}))
        for name in ("api-server", "scheduler", "dag-processor"):
            self.start(name, AIRFLOW, name)
        self.wait("the API server", lambda: self.call("/auth/token", login))
        self.headers["Authorization"] = f"Bearer {self.call('/auth/token', login)['access_token']}"
        with Celery(broker=f"{self.redis_url}/0") as celery:
            self.wait("both workers", lambda: len(celery.control.ping(timeout=2)) == len(WORKERS))
        self.wait("the DAG", lambda: self.call(f"/api/v2/dags/{DAG_ID}"))

    def wait(self, what: str, done: Callable[[], Any], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with suppress(OSError):  # nobody listens yet, or HTTP 404
                if done():
                    return
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise DemoError(f"{name} has ended with exit code {process.returncode}: see its log.")
            if time.monotonic() > deadline:
                raise DemoError(f"Waited {seconds:.0f} s for {what} in vain.")
            time.sleep(0.5)

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The API's response to a GET or, with a body, to a POST."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.api_url + path, data, self.headers), timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def stop(self) -> None:
        """End all processes, Redis last, and the children that they leave: tasks have their own process groups."""
        deadline = time.monotonic() + STOP_SECONDS
        redis = [self.processes.pop("redis")] if "redis" in self.processes else []
        for processes in (list(self.processes.values()), redis):
            for process in processes:
                process.terminate()
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0, deadline - time.monotonic()))
        while left := psutil.Process().children(recursive=True):
            for orphan in left:
                with suppress(psutil.NoSuchProcess):
                    orphan.kill()
            psutil.wait_procs(left, timeout=1)


def run_example(cluster: Cluster) -> str:
    """Run the DAG to its end. Returns the run's path in the API."""
    runs = f"/api/v2/dags/{DAG_ID}/dagRuns"
    run = f"{runs}/{quote(cluster.call(runs, {'logical_date': None})['dag_run_id'])}"
    cluster.wait("the DAG's run to end", lambda: cluster.call(run)["state"] in ("success", "failed"))
    if cluster.call(run)["state"] == "failed":
        raise DemoError(f"The run of {DAG_ID} has failed: see its tasks' logs.")
    return run


def check(cluster: Cluster, run: str, milvus: MilvusAddress) -> None:
    """Print what each worker did and what is in Milvus, and compare."""
    upsert = f"{run}/taskInstances/upsert"
    done: list[int] = []
    written = 0
    for worker in WORKERS:
        # The logs of a worker's tasks are in its home, where no other process writes.
        logs = (cluster.folder / worker / "logs").glob(f"dag_id={DAG_ID}/run_id=*/task_id=upsert/map_index=*")
        shards = sorted(int(log.name.partition("=")[2]) for log in logs)
        counts = [cluster.call(f"{upsert}/xcomEntries/upsert_count?map_index={shard}")["value"] for shard in shards]
        counts = [int(count) for count in counts]
        print(f"{worker} did shards {shards}: {' + '.join(map(str, counts))} = {sum(counts)} rows", flush=True)
        if not shards:
            raise DemoError(f"{worker} did nothing.")
        done += shards
        written += sum(counts)
    planned = cluster.call(f"{upsert}/listMapped")["total_entries"]
    if sorted(done) != list(range(planned)):
        raise DemoError(f"There are {planned} shards, and the workers did {sorted(done)}.")
    rows = milvus.client().query(COLLECTION, filter='name >= ""', output_fields=["name"])
    keys = len({row["name"] for row in rows})
    print(f"Written: {written} rows. Read back with pymilvus: {len(rows)} rows with {keys} keys in {COLLECTION!r}.")
    if not written == len(rows) == keys == ROWS:
        raise DemoError(f"The counts are not exact: the example has {ROWS} rows.")


def main() -> int:
    if not shutil.which("redis-server"):
        print("redis-server is missing. On Debian and Ubuntu: apt-get install redis-server", file=sys.stderr)
        return 1
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)  # the children of a process that has ended become children of this one
    os.environ |= NO_PROXY
    folder = Path(tempfile.mkdtemp(prefix="distributed-"))
    given = MilvusAddress.from_environment()
    print(f"Starting Milvus, Redis, Airflow and two Celery workers in {folder} …", flush=True)
    try:
        with nullcontext(given) if given else LocalMilvus(folder / "milvus") as milvus:
            cluster = Cluster(folder, milvus)
            try:
                cluster.start_all()
                print(f"Running {DAG_ID} on CeleryExecutor …", flush=True)
                check(cluster, run_example(cluster), milvus)
            finally:
                for number in ENDING:
                    signal.signal(number, signal.SIG_IGN)  # a second Ctrl+C must not interrupt the cleanup
                cluster.stop()
    except Exception as error:
        for log in sorted(folder.rglob("*.log")):
            text = log.read_text(errors="replace")
            if log.parent.name == "logs" or '"level":"error"' in text:
                print(f"--- {log}", *text.splitlines()[-30:], sep="\n", file=sys.stderr)
        print(f"{type(error).__name__}: {error}\nAll logs are in {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.")
        shutil.rmtree(folder)
        return 130
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
