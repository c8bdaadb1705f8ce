"""Outputs that are names of files, which may look like templates, and outputs that are missing; run by test_dags.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task, task_group

from airflow_provider_milvus_rest.operators.milvus_rest import (
    MilvusRestCompareOperator,
    MilvusRestUpsertOperator,
    plan_shards,
)

COLLECTION = os.environ["TEST_COLLECTION"]
FOLDER = os.environ["TEST_FOLDER"]


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False)
def names_and_nothing() -> None:
    @task
    def names() -> list[list[str]]:
        return [[str(path)] for path in sorted(Path(FOLDER).glob("*.jsonl"))]

    @task
    def flat() -> list[str]:
        return [path for paths in names.function() for path in paths]

    @task
    def plan() -> list[list[dict[str, Any]]]:
        return plan_shards(FOLDER, 100)

    upsert = {"collection_name": COLLECTION}
    listed = MilvusRestUpsertOperator.partial(task_id="listed", **upsert).expand(files=names())
    MilvusRestUpsertOperator.partial(task_id="planned", **upsert).expand(files=plan())
    MilvusRestUpsertOperator(task_id="both", **upsert, files=[flat(), FOLDER])

    compare = MilvusRestCompareOperator(
        task_id="compare", **upsert, files=FOLDER, on_difference="report", differences_path=f"{FOLDER}/differences"
    )
    repair = MilvusRestUpsertOperator(task_id="repair", **upsert, files=compare.output["differences_path"])
    listed >> compare >> repair

    @task
    def of_yields(key: int) -> Iterator[dict[str, Any]]:
        yield {"id": key}

    @task
    def of_some(key: int) -> list[dict[str, Any]] | None:
        return [] if key else None

    @task
    def none_at_all() -> None:
        pass

    @task
    def no_rows() -> list[dict[str, Any]]:
        return []

    MilvusRestUpsertOperator(task_id="nothing", **upsert, entities=of_yields.expand(key=[1, 2]))
    MilvusRestUpsertOperator(task_id="some", **upsert, entities=of_some.expand(key=[0, 1]))
    MilvusRestCompareOperator(task_id="mistyped", **upsert, entities=of_some.override(task_id="b").expand(key=[1])["x"])
    MilvusRestUpsertOperator(task_id="no_files", **upsert, files=of_some.override(task_id="c").expand(key=[0]))

    @task_group
    def group(key: int) -> Any:
        inside, some = of_some.override(task_id="g")(key), of_some(key)
        MilvusRestUpsertOperator(task_id="upsert", **upsert, entities=some)
        return inside

    grouped = group.expand(key=[0, 1])
    MilvusRestUpsertOperator(task_id="of_group", **upsert, entities=grouped)
    none, two = (of_some.override(task_id=name).expand(key=keys) for name, keys in (("e", [1]), ("f", [0, 1])))
    MilvusRestUpsertOperator(task_id="joined", **upsert, entities=none.concat(two))
    MilvusRestUpsertOperator(task_id="listed_nothing", **upsert, files=[FOLDER, two])
    MilvusRestUpsertOperator(task_id="optional", **upsert, files=[compare.output["differences_path"], none_at_all()])
    MilvusRestUpsertOperator(task_id="of_map", **upsert, entities=no_rows().map(lambda row: row))
    MilvusRestUpsertOperator(task_id="empty", **upsert, entities=of_some.override(task_id="d").expand(key=[1, 2]))


dag_object = names_and_nothing()
