"""A real Milvus for the session, an Airflow home of its own, and servers that misbehave on purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest

from airflow_provider_milvus_rest.testing.local_milvus import NO_PROXY

# One for each process of pytest-xdist, whose workers inherit the variable.
HOMES = Path(os.environ.get("TEST_HOMES") or tempfile.mkdtemp(prefix="airflow-homes-"))
HOME = HOMES / os.environ.get("PYTEST_XDIST_WORKER", "main")
HOME.mkdir()
# Airflow reads these when it is first imported, which the imports below do.
os.environ |= {
    "TEST_HOMES": str(HOMES),
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # its handlers can hang what pytest starts between fork and exec
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
}
for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
    del os.environ[name]
os.environ |= NO_PROXY

from pymilvus import DataType, MilvusClient  # noqa: E402

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook  # noqa: E402
from airflow_provider_milvus_rest.testing import LocalMilvus, MilvusAddress  # noqa: E402
from tests.recorder import Recorder  # noqa: E402
from tests.servers import ScriptedServer  # noqa: E402

# How long an example takes on a busy machine says nothing about it.
hypothesis.settings.register_profile(
    "untimed",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.data_too_large, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untimed")

if folder := os.environ.get("MILVUS_REST_TEST_RECORD"):
    Recorder(Path(folder)).install()

pytest_plugins = ["airflow_provider_milvus_rest.testing.pytest_plugin", "tests.parallel"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Airflow's logs and databases of the whole session must hold none of the secrets that tests use."""
    if HOME.name != "main":  # a worker
        return
    files = [path for path in HOMES.rglob("*") if path.is_file()]
    leaks = [str(path) for path in files if b"hunter2" in path.read_bytes()]
    print(f"\nSecrets in {len(leaks)} of the {len(files)} files that Airflow has written {leaks}")
    if leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    shutil.rmtree(HOMES, ignore_errors=True)


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Puts a line into the summary of the run; what a process of pytest-xdist prints is lost."""
    return partial(record_property, "measured")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in terminalreporter.getreports(""):
        for name, value in report.user_properties:
            terminalreporter.line(f"{report.location[2]} {name}: {value}")


SERVERS: dict[str, dict[str, Any]] = {"plain": {"auth": False}, "secure": {"auth": True, "tls": True}}
GIVEN = MilvusAddress.from_environment()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Against a server that MILVUS_REST_TEST_URI names, leave out what it can say nothing about."""
    if GIVEN is None:
        return
    own = [item for item in items if item.get_closest_marker("own_server")]
    names = sorted({item.nodeid.partition("[")[0] for item in own})
    config.hook.pytest_deselected(items=own)
    items[:] = [item for item in items if item not in own]
    print(
        f"\n{len(own)} tests need a Milvus 2.3.5 of their own, and do not run against {GIVEN.uri}:", *names, sep="\n  "
    )


@pytest.fixture(scope="session", params=SERVERS if GIVEN is None else ["given"])
def milvus(request: pytest.FixtureRequest) -> Iterator[MilvusAddress]:
    """A LocalMilvus without and one with authentication and TLS, or the server that MILVUS_REST_TEST_URI names."""
    if GIVEN:
        yield GIVEN
        return
    with LocalMilvus(**SERVERS[request.param]) as server:
        yield server


@pytest.fixture(scope="session")
def pymilvus(milvus: MilvusAddress) -> MilvusClient:
    """The witness: reads over gRPC what REST wrote."""
    return milvus.client()


@pytest.fixture
def hook(milvus_connection: MilvusAddress) -> Iterator[MilvusRestHook]:
    hook = MilvusRestHook()
    yield hook
    hook.close()


@pytest.fixture
def make_collection(pymilvus: MilvusClient) -> Iterator[Callable[..., str]]:
    """Create collections that are dropped afterwards."""
    names = []

    def make(key: DataType = DataType.INT64, *, dim: int = 4, auto_id: bool = False, text: bool = True) -> str:
        schema = pymilvus.create_schema(auto_id=auto_id, enable_dynamic_field=False)
        schema.add_field("id", key, is_primary=True, **({"max_length": 64} if key == DataType.VARCHAR else {}))
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        if text:
            schema.add_field("text", DataType.VARCHAR, max_length=64)
        index = pymilvus.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="L2")
        names.append(f"test_{uuid4().hex}")
        pymilvus.create_collection(names[-1], schema=schema, index_params=index, consistency_level="Strong")
        return names[-1]

    yield make
    for name in names:
        pymilvus.drop_collection(name)


@pytest.fixture
def read_back(pymilvus: MilvusClient) -> Callable[[str], dict[Any, dict[str, Any]]]:
    """All rows of a collection by primary key, read over gRPC with strong consistency."""

    def read(name: str) -> dict[Any, dict[str, Any]]:
        key = next(field for field in pymilvus.describe_collection(name)["fields"] if field.get("is_primary"))
        id_ = key["name"]
        everything = f"{id_} >= 0 or {id_} < 0" if key["type"] == DataType.INT64 else f'{id_} >= ""'
        rows = pymilvus.query(name, filter=everything, output_fields=["*"], consistency_level="Strong")
        by_key = {row[key["name"]]: dict(row) for row in rows}
        assert len(by_key) == len(rows), "one key is stored twice"
        return by_key

    return read


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def server_connection(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """``server`` as the Airflow connection ``milvus_rest_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_MILVUS_REST_DEFAULT", MilvusAddress(server.url).connection_json())


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """A migrated Airflow database, for DAG runs."""
    subprocess.run([str(Path(sys.executable).with_name("airflow")), "db", "migrate"], check=True, capture_output=True)
