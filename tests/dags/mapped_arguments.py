"""What a mapped task receives is what another task returned, or is refused; run by test_dags.py."""

from __future__ import annotations

import os
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from tests.entities import entity

COLLECTION = os.environ["TEST_COLLECTION"]
FOLDER = os.environ["TEST_FOLDER"]
TEXTS = ["line\n", "a {{ 1 + 1 }} b", "{#id}"]


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"name": COLLECTION, "folder": FOLDER},
    default_args={"collection_name": "{{ params.name }}"},
)
def mapped_arguments() -> None:
    @task
    def keywords() -> list[dict[str, Any]]:
        return [{"rows": [entity(key, text)]} for key, text in enumerate(TEXTS)]

    @task
    def rows(key: int) -> list[dict[str, Any]]:
        return [entity(key)]

    @task.milvus_rest_upsert()
    def load(rows: Any) -> Any:
        return rows

    load.expand_kwargs(keywords())
    load.override(task_id="dicts").expand_kwargs([{"rows": rows(3)}])
    load.override(task_id="read").expand(rows=[iter([entity(99)])])

    @task
    def names() -> list[list[str]]:
        return [[f"{FOLDER}/{{{{ ds }}}}.jsonl"]]

    @task
    def one() -> dict[str, str]:
        return {"files": f"{FOLDER}/{{{{ ds }}}}.jsonl"}

    @task
    def none() -> None:
        pass

    @task
    def none_of_one() -> list[None]:
        return [None]

    def upsert(task_id: str, **arguments: Any) -> Any:
        return MilvusRestUpsertOperator.partial(task_id=task_id, **arguments)

    upsert("named").expand_kwargs(names().map(lambda found: {"files": found}))
    upsert("resolved").expand_kwargs([{"files": names()}, {"files": "{{ params.folder }}/4.jsonl"}])
    upsert("rendered", files="{{ params.folder }}/4.jsonl").expand_kwargs(names().map(lambda _: {"batch_size": 1}))

    upsert("one_of_a_list").expand_kwargs([one()])

    upsert("iterators_of_files").expand(files=[iter([FOLDER])])
    upsert("nested").expand(files=[[iter([FOLDER])]])
    upsert("iterators").expand_kwargs([{"entities": iter([entity(99)])}])

    shards = upsert("shards").expand(files=[f"{FOLDER}/4.jsonl"])
    upsert("repair").expand(files=shards.output.map(lambda outputs: outputs.get("rejects_path") or []))
    upsert("unset").expand(files=shards.output.map(lambda outputs: outputs.get("rejects_path")))

    MilvusRestUpsertOperator(task_id="default", entities=[entity(99)], db_name=none())
    upsert("default_of_one", entities=[entity(99)]).expand(db_name=none_of_one())


dag_object = mapped_arguments()
