"""The README's code blocks are run, and its tables compared with the code."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from pymilvus import MilvusClient

from airflow_provider_milvus_rest import exceptions
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest import progress
from airflow_provider_milvus_rest.ingest.progress import Progress
from airflow_provider_milvus_rest.ingest.rejects import Rejects
from airflow_provider_milvus_rest.ingest.report import IngestReport
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator, plan_shards
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.testing import MilvusAddress

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text()
AIRFLOW = str(Path(sys.executable).with_name("airflow"))
PLAIN = pytest.mark.parametrize("milvus", ["plain"], indirect=True)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CONNECTION = "export AIRFLOW_CONN_MILVUS_REST_DEFAULT="
STARTS = (
    "make demo",
    "pip install '.[local]'",
    "python -m airflow_provider_milvus_rest.testing\n",
    "from pymilvus import",
    "from airflow.sdk import dag, task  #",
    f'{CONNECTION}\'{{\n  "conn_type": "milvus_rest", "host"',
    f"{CONNECTION}'milvus-rest://https://root",
    f'{CONNECTION}\'{{\n  "conn_type": "milvus_rest",\n',
    "MilvusRestUpsertOperator(",
    "Collection docs: read",
    "from airflow.sdk import task ",
    "from airflow.sdk import dag, task as",
    '{"id": 7777',
    "make bench",
    "from airflow_provider_milvus_rest.hooks",
    "make install",
    "pytest_plugins",
    "from airflow_provider_milvus_rest.operators",
)
"""How the blocks start that the tests below run."""


def block(start: str) -> str:
    """The one code block that starts so."""
    assert start in STARTS
    (found,) = (text for _, text in BLOCKS if text.startswith(start))
    return found if AIRFLOW_V_3_0_PLUS else found.replace("airflow.sdk", "airflow.decorators")  # as its comments say


def test_there_is_no_other_block() -> None:
    assert [[start for start in STARTS if text.startswith(start)] for _, text in BLOCKS] == [
        [start] for start in STARTS
    ]


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading, by what is `code` in their first cell."""
    text = README.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {re.findall(r"`(\w+)`", row[0])[0]: row for row in rows if "`" in row[0]}


@pytest.fixture
def docs(milvus_connection: MilvusAddress) -> Iterator[MilvusClient]:
    """The collection ``docs``, made as the README makes it."""
    code = block("from pymilvus import").replace("http://localhost:19530", milvus_connection.uri)
    client = milvus_connection.client()
    client.drop_collection("docs")
    exec(code, {})
    yield client
    client.drop_collection("docs")


@PLAIN
def test_the_first_dag(airflow_db: None, docs: MilvusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    (tmp_path / "upsert_docs.py").write_text(block("from airflow.sdk import dag, task  #"))
    done = subprocess.run([AIRFLOW, "dags", "test", "upsert_docs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("^3 rows upserted$", done.stdout, re.MULTILINE)
    rows = docs.query("docs", filter="id >= 0", output_fields=["title"], consistency_level="Strong")
    assert [row["title"] for row in rows] == ["document 1", "document 2", "document 3"]


@PLAIN
def test_the_decorator(airflow_db: None, docs: MilvusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    (tmp_path / "embed_docs.py").write_text(block("from airflow.sdk import dag, task as"))
    done = subprocess.run([AIRFLOW, "dags", "test", "embed_docs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    count = docs.query("docs", filter="", output_fields=["count(*)"], consistency_level="Strong")
    assert count[0]["count(*)"] == 3000


@PLAIN
def test_the_hook(docs: MilvusClient, capsys: pytest.CaptureFixture[str]) -> None:
    exec(block("from airflow_provider_milvus_rest.hooks"), {})
    assert set(capsys.readouterr().out.splitlines()) >= {"1 [1]", "5000 5000"}


def test_a_rejected_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run over such a file writes it."""
    line = block('{"id": 7777')
    row = json.loads(line)
    row.pop("$reject")
    types = {"id": "Int64", "vector": "FloatVector", "text": "VarChar"}
    fields = [FieldSchema(name=n, type=t, size=4, primary_key=n == "id") for n, t in types.items()]
    rejects = Rejects(tmp_path / "rejects.jsonl")
    with pytest.raises(exceptions.RowError) as caught:
        RowEncoder(CollectionSchema(name="docs", fields_=tuple(fields))).encode(row, "rows.jsonl:7778")
    rejects.add(row, caught.value)
    rejects.close()
    assert (tmp_path / "rejects.jsonl").read_text() == line


def test_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    report, lines = IngestReport(read_count=148_000, upsert_count=99_300), list[str]()
    ticker = Progress(report, lambda: 0.3, lines.append)
    for report.read_count, report.upsert_count in ((148_000, 99_300), (152_000, 148_000)):
        now += 10 if lines else 20
        ticker.tick()
    assert re.sub(r"about 0:00:58", "about 0:01:10", f"Collection docs: {lines[-1]}\n") == block(
        "Collection docs: read"
    )


def test_the_shards() -> None:
    with DAG("shards", schedule=None) as dag:
        exec(block("from airflow.sdk import task "), {})
    assert set(dag.task_ids) == {"plan", "upsert"}
    assert dag.get_task("upsert").upstream_task_ids == {"plan"}
    parameters = inspect.signature(plan_shards).parameters
    assert {"target_bytes", "source_conn_id"} <= set(parameters)


def test_the_figures() -> None:
    """Those of the table are those that `make bench` has written."""
    found = json.loads((REPO / "benchmarks" / "results" / "upsert.json").read_text())
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \| ([\d.]+) \| (\d+) µs \| ([\d,]+) \|$", README, re.MULTILINE)
    medians = list(found["medians"].values())
    loop = medians[0]
    assert [row[1:] for row in rows] == [
        (
            f"{way['rows_per_second']:,.0f}",
            f"{way['rows_per_second'] / loop['rows_per_second']:.1f}",
            f"{way['client_us']:.0f}",
            f"{way['body_bytes']:,.0f}",
        )
        for way in medians
        if way["body_bytes"]
    ]
    client = json.loads((REPO / "benchmarks" / "results" / "client.json").read_text())
    assert f"{client['million']['above_import_mib']:.0f} MiB" in README
    assert f"{client['million']['count']:,} rows" in README
    assert f"{client['shards']['speedup']:.1f} times" in README


def test_the_operator() -> None:
    upsert = eval(block("MilvusRestUpsertOperator("))
    assert upsert.source_conn_id == "aws_default"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (STARTS[5], ("https://milvus.example.com:19530", "root:Milvus", "my_db", 30)),
        (STARTS[6], ("https://milvus.example.com:19530", "root:Milvus", "my_db", 30)),
        (
            STARTS[7],
            ("https://in03-0123456789abcdef.serverless.gcp-us-west1.cloud.zilliz.com:443", "your-api-key", None, 60),
        ),
    ],
)
def test_connections(start: str, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    name = "AIRFLOW_CONN_MILVUS_REST_DEFAULT"
    script = block(start) + f'printf "%s" "${name}"'
    monkeypatch.setenv(name, subprocess.check_output(["bash", "-ec", script], text=True))
    settings = MilvusRestHook().get_conn().settings
    assert settings.token is not None
    found = (settings.base_url, settings.token.get_secret_value(), settings.database, settings.read_timeout)
    assert found == expected


def test_the_size_of_vectors_in_xcom() -> None:
    assert "2,000 vectors of 768 dimensions are some 32 MB" in README
    vectors = np.random.default_rng(7).standard_normal((2000, 768), dtype=np.float32)
    assert (
        round(len(json.dumps([{"id": i, "vector": vector.tolist()} for i, vector in enumerate(vectors)])) / 1e6) == 32
    )


def test_the_test_of_a_dag(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(block("pytest_plugins"))
    (tmp_path / "test_dag.py").write_text(block("from airflow_provider_milvus_rest.operators"))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout


def test_the_commands(tmp_path: Path) -> None:
    for line in block("make demo").splitlines():
        subprocess.run(["bash", "-ec", line.replace("make", "make -n")], cwd=REPO, check=True, capture_output=True)
    install = block("pip install '.[local]'").replace("pip", f"{sys.executable} -m pip", 1).strip()
    offline = f"{install} --no-deps --no-build-isolation --target {tmp_path}"
    subprocess.run(["bash", "-ec", offline], cwd=REPO, check=True, capture_output=True)
    assert (tmp_path / "airflow_provider_milvus_rest" / "py.typed").exists()


def test_the_command_for_a_server() -> None:
    command = block("python -m airflow_provider_milvus_rest.testing\n").replace("python", sys.executable, 1).split()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Starting a local Milvus …\n"
        assert process.stdout.readline().startswith("Milvus is at http://127.0.0.1:")
        assert process.stdout.readline().startswith(f"{CONNECTION}'{{")
        process.terminate()
    assert process.returncode == 0


def test_the_examples_are_run_as_it_says() -> None:
    """Each line is a way in which test_examples.py runs every example."""
    install, env, *lines = block("make install").splitlines()
    assert install == "make install"
    path = subprocess.check_output(["bash", "-ec", f"{env} && command -v airflow"], cwd=REPO, text=True)
    assert path.strip() == f"{REPO}/.venv/bin/airflow"
    ways = [line.partition(" -- ")[2] for line in lines]
    assert ways == [
        "python example_dags/example_milvus_rest_taskflow.py",
        "airflow dags test example_milvus_rest_files",
        "airflow standalone",
    ]
    assert set(re.findall(r"\(example_dags/(\w+)\.py\)", README)) == {
        path.stem for path in (REPO / "example_dags").glob("example_milvus_*.py")
    }


def test_tables_say_what_the_code_says() -> None:
    parameters = set(inspect.signature(MilvusRestUpsertOperator.__init__).parameters) - {"self", "kwargs"}
    assert set(table("## The operator")) == parameters
    templated = {name for name, row in table("## The operator").items() if row[1].endswith("templated")}
    assert templated == set(MilvusRestUpsertOperator.template_fields)
    assert set(table("### Outputs")) == set(IngestReport(upsert_ids=[]).outputs())
    classes = {
        name: value.retryable
        for name, value in vars(exceptions).items()
        if inspect.isclass(value)
        and issubclass(value, exceptions.MilvusRestError)
        and value is not exceptions.MilvusRestError
    }
    assert {name: row[1] == "yes" for name, row in table("### Errors").items()} == classes
    connection = README.partition("## The connection")[2]
    for field, default in (("connect_timeout", 10), ("read_timeout", 60), ("api_version", "v1")):
        assert ConnectionSettings.model_fields[field].default == default
        assert re.search(rf"`{field}` \|.*\b{default}\b", connection)
    assert set(ConnectionSettings.model_fields) - {"base_url", "token", "database"} <= set(
        re.findall(r"`(\w+)`", connection)
    )
