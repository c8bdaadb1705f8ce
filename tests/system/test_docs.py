"""The code blocks of README and docs are run, their tables compared with the code, and links followed."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from pymilvus import MilvusClient

from airflow_provider_milvus_rest import exceptions
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest import report as progress
from airflow_provider_milvus_rest.ingest.rejects import Rejects
from airflow_provider_milvus_rest.ingest.report import IngestReport, Progress
from airflow_provider_milvus_rest.operators import milvus_rest as operators
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator, plan_shards
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rows.encode import RowEncoder
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.testing import MilvusAddress
from airflow_provider_milvus_rest.testing.local_milvus import free_ports
from tests.system.test_distributed import STORED, WORKER

REPO = Path(__file__).parents[2]
AIRFLOW = str(Path(sys.executable).with_name("airflow"))
PLAIN = pytest.mark.parametrize("milvus", ["plain"], indirect=True)
CONNECTION = "export AIRFLOW_CONN_MILVUS_REST_DEFAULT="
BLOCKS = {
    "README.md": ("make", "install", "server", "collection", "first DAG", "run", "operator", "examples"),
    "CONTRIBUTING.md": ("make test-all", "given"),
    "docs/assets-and-lineage.md": ("asset", "transport"),
    "docs/comparison.md": ("peers",),
    "docs/compatibility.md": ("make test-milvus", "given server"),
    "docs/deployment.md": ("wheel", "wheel installed", "image", "helm", "secret", "astro"),
    "docs/connection.md": ("local", "json", "uri", "zilliz"),
    "docs/compatibility-policy.md": (),
    "docs/distributed.md": ("shards", "pool", "make distributed", "distributed"),
    "docs/exactness.md": ("reject",),
    "docs/operator.md": ("operator", "progress", "paths", "decorator", "hook"),
    "docs/performance.md": ("make bench",),
    "docs/recipes.md": (),  # test_recipes.py runs them
    "docs/proof.md": ("check", "compare"),
    "docs/reliability.md": (),
    "docs/testing.md": ("pytest", "conftest", "task", "dag", "server", "command"),
    "docs/troubleshooting.md": (),
}
"""The code blocks of each page in their order, by the names that the tests below have for them."""
TESTED: set[tuple[str, str]] = set()


def page(name: str) -> str:
    return (REPO / name).read_text()


def text(name: str, page_name: str = "README.md") -> str:
    """One code block, of which a test that is about to be defined makes use."""
    texts = re.findall(r"^```\w+\n(.*?)^```$", page(page_name), re.MULTILINE | re.DOTALL)
    assert len(texts) == len(BLOCKS[page_name]), "there is a block that no test knows"
    TESTED.add((name, page_name))
    found = texts[BLOCKS[page_name].index(name)]
    return found if AIRFLOW_V_3_0_PLUS else found.replace("airflow.sdk", "airflow.decorators")  # as its comments say


def block(name: str, page_name: str = "README.md") -> pytest.MarkDecorator:
    """Gives a test the code block as ``code``."""
    return pytest.mark.parametrize("code", [pytest.param(text(name, page_name), id=name)])


def test_every_block_is_tested() -> None:
    pages = {str(path.relative_to(REPO)) for path in [*REPO.glob("docs/*.md"), REPO / "README.md"]}
    assert pages | {"CONTRIBUTING.md"} == set(BLOCKS)
    assert {(name, page_name) for page_name, names in BLOCKS.items() for name in names} == TESTED


def test_every_recipe_is_tested() -> None:
    dags = re.findall(r"^@dag\(.*\)\ndef (\w+)\(\):$", page("docs/recipes.md"), re.MULTILINE)
    assert len(dags) == len(re.findall("^```python$", page("docs/recipes.md"), re.MULTILINE)) - 1
    tests = Path(__file__).with_name("test_recipes.py").read_text()
    assert set(dags) == set(re.findall(r'\brun\("(\w+)"', tests))


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


COLLECTION = text("collection")


@pytest.fixture
def docs(milvus_connection: MilvusAddress) -> Iterator[MilvusClient]:
    """The collection ``docs``, made as the README makes it."""
    code = COLLECTION.replace("http://localhost:19530", milvus_connection.uri)
    client = milvus_connection.client()
    client.drop_collection("docs")
    exec(code, {})
    yield client
    client.drop_collection("docs")


FIRST_DAG, RUN = text("first DAG"), text("run")


@PLAIN
def test_the_first_dag(airflow_db: None, docs: MilvusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    monkeypatch.setenv("PATH", str(Path(AIRFLOW).parent), prepend=os.pathsep)
    (tmp_path / "upsert_docs.py").write_text(FIRST_DAG)
    done = subprocess.run(["bash", "-ec", RUN], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("^3 rows upserted$", done.stdout, re.MULTILINE)
    assert "Collection docs: read 3, upserted 3 rows" in done.stdout + done.stderr
    rows = docs.query("docs", filter="id >= 0", output_fields=["title"], consistency_level="Strong")
    assert [row["title"] for row in rows] == ["document 1", "document 2", "document 3"]


@PLAIN
@pytest.mark.heavy
@block("decorator", "docs/operator.md")
def test_the_decorator(
    airflow_db: None, docs: MilvusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    (tmp_path / "embed_docs.py").write_text(code)
    done = subprocess.run([AIRFLOW, "dags", "test", "embed_docs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    count = docs.query("docs", filter="", output_fields=["count(*)"], consistency_level="Strong")
    assert count[0]["count(*)"] == 3000


@PLAIN
@block("hook", "docs/operator.md")
def test_the_hook(docs: MilvusClient, capsys: pytest.CaptureFixture[str], code: str) -> None:
    exec(code, {})
    assert set(capsys.readouterr().out.splitlines()) >= {"1 [1]", "5000 5000"}


@block("reject", "docs/exactness.md")
def test_a_rejected_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """As a run over such a file writes it."""
    row = json.loads(code)
    row.pop("$reject")
    types = {"id": "Int64", "vector": "FloatVector", "text": "VarChar"}
    fields = [FieldSchema(name=n, type=t, size=4, primary_key=n == "id") for n, t in types.items()]
    rejects = Rejects(tmp_path / "rejects.jsonl")
    with pytest.raises(exceptions.RowError) as caught:
        RowEncoder(CollectionSchema(name="docs", fields_=tuple(fields))).encode(row, "rows.jsonl:7778")
    rejects.add(row, caught.value)
    rejects.close()
    assert (tmp_path / "rejects.jsonl").read_text() == code


@block("progress", "docs/operator.md")
def test_the_progress(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    report, lines = IngestReport(read_count=148_000, upsert_count=99_300), list[str]()
    ticker = Progress(report, lambda: 0.3, lines.append)
    for report.read_count, report.upsert_count in ((148_000, 99_300), (152_000, 148_000)):
        now += 10 if lines else 20
        ticker.tick()
    assert f"Collection docs: {lines[-1]}\n" == code


@block("shards", "docs/distributed.md")
def test_the_shards(code: str) -> None:
    module: dict[str, Any] = {}
    exec(code.replace("\nupsert_large_file()", "\nmade = upsert_large_file()"), module)
    dag = module["made"]
    assert set(dag.task_ids) == {"plan", "upsert", "total"}
    assert dag.get_task("upsert").upstream_task_ids == {"plan"}
    (call,) = (
        node for node in ast.walk(ast.parse(code)) if getattr(getattr(node, "func", 0), "id", 0) == "plan_shards"
    )
    inspect.signature(plan_shards).bind(*call.args, **{word.arg: word.value for word in call.keywords})


@block("distributed", "docs/distributed.md")
def test_the_output_of_two_workers(code: str) -> None:
    assert len(WORKER.findall(code)) == 2
    assert STORED.search(code)


@PLAIN
@pytest.mark.heavy
@block("asset", "docs/assets-and-lineage.md")
def test_the_asset(
    airflow_db: None, docs: MilvusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    (tmp_path / "docs_as_asset.py").write_text(code)
    for command in ("reserialize", "test write_docs", "test use_docs"):
        done = subprocess.run([AIRFLOW, "dags", *command.split()], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("^3 rows were upserted$", done.stdout, re.MULTILINE)


@block("transport", "docs/assets-and-lineage.md")
def test_the_transport(code: str) -> None:
    """As test_lineage.py sets it."""
    export = code.splitlines()[-1]
    script = f'{export}; printf "%s" "$AIRFLOW__OPENLINEAGE__TRANSPORT"'
    transport = json.loads(subprocess.check_output(["bash", "-ec", script], text=True))
    assert {"type": "file", "append": True}.items() <= transport.items()


@block("pool", "docs/distributed.md")
def test_the_pool(airflow_db: None, code: str) -> None:
    subprocess.run(["bash", "-ec", code.replace("airflow", AIRFLOW, 1)], check=True, capture_output=True)


@block("peers", "docs/comparison.md")
def test_the_peers(code: str) -> None:
    compared = page("docs/comparison.md") + code
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


@pytest.mark.parametrize("code", [text("operator"), text("operator", "docs/operator.md")], ids=["short", "long"])
def test_the_operator(code: str) -> None:
    assert eval(code).source_conn_id == "aws_default"


@block("paths", "docs/operator.md")
def test_the_paths(code: str) -> None:
    operator = eval(f"MilvusRestUpsertOperator(task_id='upsert', collection_name='docs', files='rows.jsonl', {code})")
    assert operator.task_id == "upsert"


@pytest.mark.parametrize("code", [text("check", "docs/proof.md"), text("compare", "docs/proof.md")])
def test_check_and_compare(code: str) -> None:
    made: dict[str, Any] = {}
    exec(code, dict(vars(operators)), made)
    name, operator = made.popitem()
    assert operator.task_id == name


ZILLIZ = "https://in03-0123456789abcdef.serverless.gcp-us-west1.cloud.zilliz.com:443"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (text("local", "docs/connection.md"), ("http://localhost:19530", None, None, 60)),
        (text("json", "docs/connection.md"), ("https://milvus.example.com:19530", "root:my-password", "my_db", 30)),
        (text("uri", "docs/connection.md"), ("https://milvus.example.com:19530", "root:my-password", "my_db", 30)),
        (text("zilliz", "docs/connection.md"), (ZILLIZ, "your-api-key", None, 60)),
    ],
)
def test_connections(code: str, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    name = "AIRFLOW_CONN_MILVUS_REST_DEFAULT"
    script = code + f'printf "%s" "${name}"'
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


CONFTEST = text("conftest", "docs/testing.md")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(text("task", "docs/testing.md"), id="task"),
        pytest.param(text("dag", "docs/testing.md"), id="dag", marks=pytest.mark.heavy),
    ],
)
def test_the_test_of_a_dag(tmp_path: Path, code: str) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "upsert_docs.py").write_text(FIRST_DAG)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment["PATH"] = f"{Path(AIRFLOW).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "pytest", "-q"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("code", "targets"),
    [
        (text("make"), ["demo", "test"]),
        (text("make test-all", "CONTRIBUTING.md"), ["unit", "test", "test-all"]),
        (text("make bench", "docs/performance.md"), ["bench"]),
        (text("make distributed", "docs/distributed.md").splitlines()[-1], ["distributed"]),
    ],
    ids=["README", "CONTRIBUTING", "performance", "distributed"],
)
def test_the_commands(code: str, targets: list[str]) -> None:
    assert [line.split()[1] for line in code.splitlines()] == targets
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=REPO, check=True, capture_output=True)


def pip(code: str, *options: object) -> None:
    """A line that calls pip, offline, with more options."""
    line = f"{code.strip()} --no-index --no-deps {' '.join(map(str, options))}"
    script = f"export PATH={Path(AIRFLOW).parent}:$PATH; " + line.replace("pip", f"{sys.executable} -m pip", 1)
    subprocess.run(["bash", "-ec", script], cwd=REPO, check=True, capture_output=True)


@pytest.mark.parametrize("code", [text("install"), text("pytest", "docs/testing.md")], ids=["README", "testing"])
def test_the_installation(tmp_path: Path, code: str) -> None:
    pip(code.replace(" pytest", ""), "--no-build-isolation", "--target", tmp_path)
    assert (tmp_path / "airflow_provider_milvus_rest" / "py.typed").exists()


@block("make test-milvus", "docs/compatibility.md")
def test_any_milvus(code: str) -> None:
    done = subprocess.run([*code.split(), "-n", "-o", "install"], cwd=REPO, capture_output=True, text=True, check=True)
    assert all(each in done.stdout for each in ("compose.yaml up", "API_VERSION=v2", "pytest tests/integration"))


@block("given server", "docs/compatibility.md")
def test_a_server_that_runs_already(code: str) -> None:
    *exports, command = code.splitlines()
    assert command == ".venv/bin/python -m pytest tests/integration"
    show = "from airflow_provider_milvus_rest.testing import MilvusAddress as M; print(M.from_environment())"
    found = subprocess.check_output(["bash", "-ec", f"{';'.join(exports)}; {sys.executable} -c '{show}'"], text=True)
    assert all(each in found for each in ("https://in03-0123456789abcdef", "your-api-key", "v2"))


WHEEL = text("wheel", "docs/deployment.md")


@block("wheel installed", "docs/deployment.md")
def test_the_wheel(tmp_path: Path, code: str) -> None:
    pip(WHEEL.replace(" dist ", f" {tmp_path} "), "--no-build-isolation")
    pip(code.replace("dist/", f"{tmp_path}/"), "--dry-run")


IMAGE, ASTRO = text("image", "docs/deployment.md"), text("astro", "docs/deployment.md")
HELM, SECRET = text("helm", "docs/deployment.md"), text("secret", "docs/deployment.md")


def test_the_image() -> None:
    """None is built: its version of Airflow is the one of the tests, its wheel the one of the page."""
    pinned = re.search("^apache-airflow==(.*)$", page("requirements/airflow-3.3.txt"), re.MULTILINE)
    assert pinned
    assert IMAGE.startswith(f"FROM apache/airflow:{pinned[1]}\n")
    assert all("/tmp/airflow_provider_milvus_rest-*.whl)[arrow]" in each for each in (IMAGE, ASTRO))
    (secret,) = yaml.safe_load(HELM)["secret"]
    assert secret["envName"] == "AIRFLOW_CONN_MILVUS_REST_DEFAULT"
    command = SECRET.split()
    assert secret["secretName"] in command
    assert f"--from-file={secret['secretKey']}=connection.json" in command


@block("given", "CONTRIBUTING.md")
def test_a_server_of_your_own(code: str) -> None:
    export = code.splitlines()[0]
    show = "from airflow_provider_milvus_rest.testing import MilvusAddress as M; print(M.from_environment())"
    found = subprocess.check_output(["bash", "-ec", f"{export}; {sys.executable} -c '{show}'"], text=True)
    assert all(each in found for each in ("http://localhost:19530", "v2"))


@pytest.mark.parametrize("code", [text("server"), text("server", "docs/testing.md")], ids=["README", "testing"])
def test_the_command_for_a_server(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (port,) = free_ports(1)
    options = f"--port {port} --folder {tmp_path}"
    command = code.replace("python", sys.executable, 1).replace("--port 19530 --folder ~/milvus-data", options).split()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Starting a local Milvus: about ten seconds …\n"
        assert process.stdout.readline() == f"Milvus is at http://127.0.0.1:{port}\n"
        assert re.match(rf"{CONNECTION}'{{.*}}' NO_PROXY=\S*127.0.0.1,localhost no_proxy=", process.stdout.readline())
        process.terminate()
    assert process.returncode == 0


@block("examples")
def test_the_examples_are_run_as_it_says(code: str) -> None:
    """Each line is a way in which test_examples.py runs every example."""
    install, env, *lines = code.splitlines()
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


@block("command", "docs/testing.md")
def test_the_command_with_a_server(code: str) -> None:
    """As test_local_milvus.py runs it, with the README's DAG."""
    _, _, end = code.partition(" --folder ~/milvus-data -- ")
    assert end.strip() == RUN.splitlines()[-1]


OTHERS = (
    *("The conn_id", "isn't defined", "Cannot serialize object of type <class", "numpy.ndarray"),  # Airflow's
    *("Is *** running there?", "***RestUpsertOperator"),  # as masked by Airflow
    *("Connection refused", "Failed to resolve", "CERTIFICATE_VERIFY_FAILED"),  # Python's
    *("NoCredentialsError: Unable to locate credentials", "ValueError: No filesystem registered for scheme"),
    *("user hasn't authenticated", "can't find collection", "404 page not found"),  # Milvus's
    *("FloatVector(4)", "an int (Int64), not str '1'", "generator"),  # for example
)
"""What is not ours in the errors, as it was seen in a run."""


def test_errors_are_named_by_the_text_that_they_have() -> None:
    ours = "".join(path.read_text() for path in (REPO / "airflow_provider_milvus_rest").rglob("*.py"))
    ours = re.sub(r'"\s+f?"', "", ours)  # texts of several lines
    variable = "|".join([*map(re.escape, OTHERS), "…", r"\b\d+\b", "'[^ ]*'", "`[^ ]*`"])
    rows = re.findall(r"^\| (.*?`.*?) \| ", page("docs/troubleshooting.md"), re.MULTILINE)
    assert len(rows) > 30
    for row in rows:
        for error in re.findall("`` ?(.*?) ?``|`(.*?)`", row):
            parts = re.split(variable, "".join(error))
            assert not [part for part in parts if part.strip(" :.,()'") not in ours], error


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
