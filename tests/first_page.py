"""The README's first DAG where only the wheel is installed; ``make package`` runs this outside of the clone."""

import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COLLECTION = next(block for block in BLOCKS if "create_collection(" in block)
DAG = next(block for block in BLOCKS if "\nupsert_docs()" in block)
EXAMPLES = ("taskflow", "files", "mapped", "shards", "assets", "compare", "ai")


def airflow(*arguments: str, expected: str = "") -> None:
    """Run a command of Airflow's, which must succeed and print a line with the text expected."""
    done = subprocess.run([Path(sys.executable).with_name("airflow"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in done.stdout, done.stdout


def main() -> None:
    """Make the collection, run the DAG, then an example from the wheel."""
    home = Path(tempfile.mkdtemp(prefix="first-page-"))
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    import airflow_provider_milvus_rest
    from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook

    installed = Path(airflow_provider_milvus_rest.__file__)
    assert installed.is_relative_to(sys.prefix), f"{installed} is not the wheel's"
    settings = MilvusRestHook().get_conn().settings
    token = settings.token.get_secret_value() if settings.token else ""
    given = re.sub(r'uri="[^"]*"', f'uri="{settings.base_url}"', COLLECTION)
    exec(re.sub(r'token="[^"]*"', f'token="{token}"', given), {})
    (home / "dags").mkdir()
    major = int(version("apache-airflow").partition(".")[0])
    dag = DAG if major >= 3 else DAG.replace("airflow.sdk", "airflow.decorators")  # as its comment says
    (home / "dags" / "upsert_docs.py").write_text(dag)
    airflow("db", "migrate")
    airflow("dags", "test", "upsert_docs", expected="3 rows upserted")
    airflow("providers", "get", "airflow-provider-milvus-rest", expected="airflow-provider-milvus-rest")
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(installed.parent / "example_dags")
    airflow("dags", "test", "example_milvus_rest_taskflow", expected="608")
    for name in EXAMPLES:
        __import__(f"airflow_provider_milvus_rest.example_dags.example_milvus_rest_{name}")
    print(f"Airflow {version('apache-airflow')}, Python {sys.version.split()[0]}: the first page's DAG upserts 3 rows")


if __name__ == "__main__":
    main()
