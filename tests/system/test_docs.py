"""The code blocks of README and docs are run, their tables compared with the code, and links followed."""

from __future__ import annotations

import ast
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
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from pymilvus import MilvusClient

from airflow_provider_milvus_rest import exceptions
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest import report as progress
from airflow_provider_milvus_rest.ingest.rejects import Rejects
from airflow_provider_milvus_rest.ingest.report import IngestReport, Progress
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator, plan_shards
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.system.test_distributed import STORED, WORKER

REPO = Path(__file__).parents[2]
AIRFLOW = str(Path(sys.executable).with_name("airflow"))
PLAIN = pytest.mark.parametrize("milvus", ["plain"], indirect=True)
CONNECTION = "export AIRFLOW_CONN_MILVUS_REST_DEFAULT="
BLOCKS = {
    "README.md": ("make", "install", "server", "collection", "first DAG", "local", "operator", "examples"),
    "CONTRIBUTING.md": ("make test-all", "given"),
    "docs/assets-and-lineage.md": ("asset", "transport"),
    "docs/comparison.md": ("peers",),
    "docs/compatibility-policy.md": (),
    "docs/connection.md": ("json", "uri", "zilliz"),
    "docs/distributed.md": ("shards", "pool", "make distributed", "distributed"),
    "docs/exactness.md": ("reject",),
    "docs/operator.md": ("operator", "progress", "decorator", "hook"),
    "docs/performance.md": ("make bench",),
    "docs/reliability.md": (),
    "docs/testing.md": ("plugin", "test"),
}
"""The code blocks of each page in their order, by the names that the tests below have for them."""


def page(name: str) -> str:
    return (REPO / name).read_text()


def block(name: str, page_name: str = "README.md") -> str:
    """One code block."""
    texts = re.findall(r"^```\w+\n(.*?)^```$", page(page_name), re.MULTILINE | re.DOTALL)
    assert len(texts) == len(BLOCKS[page_name]), "there is a block that no test knows"
    found = texts[BLOCKS[page_name].index(name)]
    return found if AIRFLOW_V_3_0_PLUS else found.replace("airflow.sdk", "airflow.decorators")  # as its comments say


def test_every_block_is_tested() -> None:
    pages = {str(path.relative_to(REPO)) for path in [*REPO.glob("docs/*.md"), REPO / "README.md"]}
    assert pages | {"CONTRIBUTING.md"} == set(BLOCKS)
    used = re.findall(r'block\(\s*"([^"]+)"(?:, "([^"]+)")?\s*\)', Path(__file__).read_text())
    known = {(name, page_name) for page_name, names in BLOCKS.items() for name in names}
    assert {(name, page_name or "README.md") for name, page_name in used} == known


@pytest.mark.parametrize("name", BLOCKS)
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page(name)):
        path = ((REPO / name).parent / target).resolve() if target else REPO / name
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, anchor


def table(heading: str, page_name: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading, by what is `code` in their first cell."""
    text = page(page_name).partition(f"{heading}\n")[2].partition("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {re.findall(r"`(\w+)`", row[0])[0]: row for row in rows if "`" in row[0]}


@pytest.fixture
def docs(milvus_connection: MilvusAddress) -> Iterator[MilvusClient]:
    """The collection ``docs``, made as the README makes it."""
    code = block("collection").replace("http://localhost:19530", milvus_connection.uri)
    client = milvus_connection.client()
    client.drop_collection("docs")
    exec(code, {})
    yield client
    client.drop_collection("docs")


@PLAIN
def test_the_first_dag(airflow_db: None, docs: MilvusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    (tmp_path / "upsert_docs.py").write_text(block("first DAG"))
    done = subprocess.run([AIRFLOW, "dags", "test", "upsert_docs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("^3 rows upserted$", done.stdout, re.MULTILINE)
    rows = docs.query("docs", filter="id >= 0", output_fields=["title"], consistency_level="Strong")
    assert [row["title"] for row in rows] == ["document 1", "document 2", "document 3"]


@PLAIN
@pytest.mark.heavy
def test_the_decorator(airflow_db: None, docs: MilvusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    (tmp_path / "embed_docs.py").write_text(block("decorator", "docs/operator.md"))
    done = subprocess.run([AIRFLOW, "dags", "test", "embed_docs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    count = docs.query("docs", filter="", output_fields=["count(*)"], consistency_level="Strong")
    assert count[0]["count(*)"] == 3000


@PLAIN
def test_the_hook(docs: MilvusClient, capsys: pytest.CaptureFixture[str]) -> None:
    exec(block("hook", "docs/operator.md"), {})
    assert set(capsys.readouterr().out.splitlines()) >= {"1 [1]", "5000 5000"}


def test_a_rejected_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run over such a file writes it."""
    line = block("reject", "docs/exactness.md")
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
        "progress", "docs/operator.md"
    )


def test_the_shards() -> None:
    module: dict[str, Any] = {}
    code = block("shards", "docs/distributed.md")
    exec(code.replace("\nupsert_large_file()", "\nmade = upsert_large_file()"), module)
    dag = module["made"]
    assert set(dag.task_ids) == {"plan", "upsert", "total"}
    assert dag.get_task("upsert").upstream_task_ids == {"plan"}
    (call,) = (
        node for node in ast.walk(ast.parse(code)) if getattr(getattr(node, "func", 0), "id", 0) == "plan_shards"
    )
    inspect.signature(plan_shards).bind(*call.args, **{word.arg: word.value for word in call.keywords})
    output = block("distributed", "docs/distributed.md")
    assert len(WORKER.findall(output)) == 2
    assert STORED.search(output)


@PLAIN
@pytest.mark.heavy
def test_the_asset(airflow_db: None, docs: MilvusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    (tmp_path / "docs_as_asset.py").write_text(block("asset", "docs/assets-and-lineage.md"))
    for command in ("reserialize", "test write_docs", "test use_docs"):
        done = subprocess.run([AIRFLOW, "dags", *command.split()], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("^3 rows were upserted$", done.stdout, re.MULTILINE)


def test_the_transport() -> None:
    """As test_lineage.py sets it."""
    export = block("transport", "docs/assets-and-lineage.md").splitlines()[-1]
    script = f'{export}; printf "%s" "$AIRFLOW__OPENLINEAGE__TRANSPORT"'
    transport = json.loads(subprocess.check_output(["bash", "-ec", script], text=True))
    assert {"type": "file", "append": True}.items() <= transport.items()


def test_the_pool(airflow_db: None) -> None:
    line = block("pool", "docs/distributed.md").replace("airflow", AIRFLOW, 1)
    subprocess.run(["bash", "-ec", line], check=True, capture_output=True)


def test_the_peers() -> None:
    compared = page("docs/comparison.md") + block("peers", "docs/comparison.md")
    versions = dict(re.findall(r"^\| \[(\w+)\]\(\S+\) ([\d.]+) \|", page("README.md"), re.MULTILINE))
    assert set(versions) == {"weaviate", "pinecone", "qdrant", "vespa"}
    assert all(f"**{name}** {version}" in compared for name, version in versions.items())


def test_the_figures() -> None:
    """Those of the table are those that `make bench` has written."""
    found = json.loads((REPO / "benchmarks" / "results" / "upsert.json").read_text())
    rows = re.findall(
        r"^\| (.+?) \| ([\d,]+) \| ([\d.]+) \| (\d+) µs \| ([\d,]+) \|$", page("docs/performance.md"), re.MULTILINE
    )
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
    assert f"{client['million']['above_import_mib']:.0f} MiB" in page("docs/performance.md")
    assert f"{client['million']['count']:,} rows" in page("docs/performance.md")
    assert f"{client['shards']['speedup']:.1f} times" in page("docs/performance.md")


def test_the_operator() -> None:
    code = block("operator"), block("operator", "docs/operator.md")
    assert [eval(each).source_conn_id for each in code] == ["aws_default", "aws_default"]


ZILLIZ = "https://in03-0123456789abcdef.serverless.gcp-us-west1.cloud.zilliz.com:443"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (block("local"), ("http://localhost:19530", None, None, 60)),
        (block("json", "docs/connection.md"), ("https://milvus.example.com:19530", "root:Milvus", "my_db", 30)),
        (block("uri", "docs/connection.md"), ("https://milvus.example.com:19530", "root:Milvus", "my_db", 30)),
        (block("zilliz", "docs/connection.md"), (ZILLIZ, "your-api-key", None, 60)),
    ],
)
def test_connections(text: str, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    name = "AIRFLOW_CONN_MILVUS_REST_DEFAULT"
    script = text + f'printf "%s" "${name}"'
    monkeypatch.setenv(name, subprocess.check_output(["bash", "-ec", script], text=True))
    settings = MilvusRestHook().get_conn().settings
    token = settings.token and settings.token.get_secret_value()
    found = (settings.base_url, token, settings.database, settings.read_timeout)
    assert found == expected


def test_the_size_of_vectors_in_xcom() -> None:
    assert "2,000 vectors of 768 dimensions are some 32 MB" in page("docs/operator.md")
    vectors = np.random.default_rng(7).standard_normal((2000, 768), dtype=np.float32)
    assert (
        round(len(json.dumps([{"id": i, "vector": vector.tolist()} for i, vector in enumerate(vectors)])) / 1e6) == 32
    )


def test_the_test_of_a_dag(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(block("plugin", "docs/testing.md"))
    (tmp_path / "test_dag.py").write_text(block("test", "docs/testing.md"))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout


def test_the_commands(tmp_path: Path) -> None:
    blocks = block("make"), block("make test-all", "CONTRIBUTING.md"), block("make bench", "docs/performance.md")
    lines = [*"".join(blocks).splitlines(), block("make distributed", "docs/distributed.md").splitlines()[-1]]
    assert len(lines) == 6
    for line in lines:
        subprocess.run(["bash", "-ec", line.replace("make", "make -n")], cwd=REPO, check=True, capture_output=True)
    install = block("install").replace("pip", f"{sys.executable} -m pip", 1).strip()
    offline = f"{install} --no-deps --no-build-isolation --target {tmp_path}"
    subprocess.run(["bash", "-ec", offline], cwd=REPO, check=True, capture_output=True)
    assert (tmp_path / "airflow_provider_milvus_rest" / "py.typed").exists()


def test_a_server_of_your_own() -> None:
    export = block("given", "CONTRIBUTING.md").splitlines()[0]
    code = "from airflow_provider_milvus_rest.testing import MilvusAddress as M; print(M.from_environment())"
    found = subprocess.check_output(["bash", "-ec", f"{export}; {sys.executable} -c '{code}'"], text=True)
    assert all(each in found for each in ("http://localhost:19530", "v2"))


def test_the_command_for_a_server() -> None:
    command = block("server").replace("python", sys.executable, 1).split()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Starting a local Milvus …\n"
        assert process.stdout.readline().startswith("Milvus is at http://127.0.0.1:")
        assert process.stdout.readline().startswith(f"{CONNECTION}'{{")
        process.terminate()
    assert process.returncode == 0


def test_the_examples_are_run_as_it_says() -> None:
    """Each line is a way in which test_examples.py runs every example."""
    install, env, *lines = block("examples").splitlines()
    assert install == "make install"
    path = subprocess.check_output(["bash", "-ec", f"{env} && command -v airflow"], cwd=REPO, text=True)
    assert path.strip() == f"{REPO}/.venv/bin/airflow"
    ways = [line.partition(" -- ")[2] for line in lines]
    assert ways == [
        "python example_dags/example_milvus_rest_taskflow.py",
        "airflow dags test example_milvus_rest_files",
        "airflow standalone",
    ]
    assert set(re.findall(r"\(example_dags/(\w+)\.py\)", page("README.md"))) == {
        path.stem for path in (REPO / "example_dags").glob("example_milvus_*.py")
    }


def test_tables_say_what_the_code_says() -> None:
    parameters = set(inspect.signature(MilvusRestUpsertOperator.__init__).parameters) - {"self", "kwargs"}
    assert set(table("# The operator", "docs/operator.md")) == parameters
    templated = {
        name for name, row in table("# The operator", "docs/operator.md").items() if row[1].endswith("templated")
    }
    assert templated == set(MilvusRestUpsertOperator.template_fields)
    assert set(table("## Outputs", "docs/operator.md")) == set(IngestReport(upsert_ids=[]).outputs())
    classes = {
        name: value.retryable
        for name, value in vars(exceptions).items()
        if inspect.isclass(value)
        and issubclass(value, exceptions.MilvusRestError)
        and value is not exceptions.MilvusRestError
    }
    assert {name: row[1] == "yes" for name, row in table("## Errors", "docs/reliability.md").items()} == classes
    connection = page("docs/connection.md")
    for field, default in (("connect_timeout", 10), ("read_timeout", 60), ("api_version", "v1")):
        assert ConnectionSettings.model_fields[field].default == default
        assert re.search(rf"`{field}` \|.*\b{default}\b", connection)
    assert set(ConnectionSettings.model_fields) - {"base_url", "token", "database"} <= set(
        re.findall(r"`(\w+)`", connection)
    )
