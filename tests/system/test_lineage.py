"""What Airflow's OpenLineage provider says of a run against a real Milvus, and what the asset's event says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from airflow.utils.session import create_session
from sqlalchemy import text

from airflow_provider_milvus_rest.testing import MilvusAddress
from tests.system.conftest import AIRFLOW

DAGS = Path(__file__).parents[1] / "dags"


def asset_events(uri: str) -> list[dict[str, Any]]:
    """What is in the events of an asset, a dataset on Airflow 2."""
    with create_session() as session:
        if AIRFLOW_V_3_0_PLUS:
            query = "SELECT asset_event.extra FROM asset_event JOIN asset ON asset.id = asset_id WHERE uri = :uri"
        else:
            query = (
                "SELECT dataset_event.extra FROM dataset_event JOIN dataset ON dataset.id = dataset_id WHERE uri = :uri"
            )
        return [json.loads(extra) for (extra,) in session.execute(text(query), {"uri": uri})]


@pytest.mark.heavy
@pytest.mark.parametrize("milvus", ["plain"], indirect=True)
def test_events(
    airflow_db: None,
    milvus_connection: MilvusAddress,
    make_collection: Callable[..., str],
    read_back: Callable[[str], dict[Any, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    name = make_collection()
    rows = [json.dumps({"id": key, "vector": [0.25] * 4, "text": "text"}) + "\n" for key in range(6)]
    (tmp_path / "good").mkdir()
    files = {"good/a.jsonl": rows[:4], "good/b.jsonl": rows[4:], "bad.jsonl": [*rows[:3], '{"id": "x"}\n']}
    for path, lines in files.items():
        (tmp_path / path).write_text("".join(lines))
    events_file = tmp_path / "events.jsonl"
    transport = {"type": "file", "log_file_path": str(events_file), "append": True}
    for variable, value in {
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
        "TEST_COLLECTION": name,
        "TEST_FOLDER": str(tmp_path),
    }.items():
        monkeypatch.setenv(variable, value)
    # Airflow 2 makes events only of datasets that it has found in a DAG file.
    subprocess.run([AIRFLOW, "dags", "reserialize"], check=True, capture_output=True)
    done = subprocess.run([sys.executable, str(DAGS / "lineage.py")], capture_output=True, text=True)
    log = done.stdout + done.stderr
    assert events_file.exists(), log
    assert len(read_back(name)) == 7

    ended = {}
    for event in map(json.loads, events_file.read_text().splitlines()):
        if event["eventType"] != "START" and "outputs" in event:
            ended.setdefault(event["job"]["name"], []).append(event)
    assert len(ended["lineage.shards"]) > 1
    for task, (state, inputs, rows) in {
        "two_files": ("COMPLETE", ["good/a.jsonl", "good/b.jsonl"], 6),
        "shards": ("COMPLETE", ["good/a.jsonl"], 4),
        "in_memory": ("COMPLETE", [], 1),
        "bad_row": ("FAIL", ["bad.jsonl"], 2),
    }.items():
        events = ended[f"lineage.{task}"]
        assert {event["eventType"] for event in events} == {state}
        names = {(file["namespace"], file["name"]) for event in events for file in event["inputs"]}
        assert names == {("file", str(tmp_path / path)) for path in inputs}
        outputs = [output for event in events for output in event["outputs"] if output["outputFacets"]]
        assert {output["name"] for output in outputs} == {f"default.{name}"}
        # A collection that is an outlet too goes by that one's name.
        server = "other.name:19530" if task == "in_memory" else milvus_connection.uri.partition("://")[2]
        assert {output["namespace"] for output in outputs} == {f"milvus://{server}"}
        statistics = [output["outputFacets"]["outputStatistics"] for output in outputs]
        assert sum(each["rowCount"] for each in statistics) == rows
        assert sum(each["size"] for each in statistics) > 40 * rows
    (no_file,) = ended["lineage.no_file"]
    assert (no_file["eventType"], no_file["inputs"], no_file["outputs"]) == ("FAIL", [], [])
    assert "non-valid" not in log

    (extra,) = asset_events(f"milvus://other.name:19530/default/{name}")
    assert (extra["read_count"], extra["upsert_count"], extra["rejects_path"]) == (1, 1, None)
    assert asset_events("milvus://localhost:19530/default/another_collection") == [{}]
    assert "outlet milvus://localhost:19530/default/another_collection gets no counts, because" in log
