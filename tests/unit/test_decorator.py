from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_milvus_rest import exceptions as e
from tests.entities import entity
from tests.servers import UPSERT, ScriptedServer

pytestmark = pytest.mark.usefixtures("server_connection")


def run(function: Any, *arguments: Any, context: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    with DAG("dag", schedule=None):
        decorated = task.milvus_rest_upsert(task_id="embed", collection_name="docs", retry_budget=0, **options)(
            function
        )
        output = decorated(*arguments)
    outputs: dict[str, Any] = output.operator.execute(context or {})
    return outputs


def sent(server: ScriptedServer) -> list[int]:
    return [row["id"] for request in server.sent_to(UPSERT) for row in request.json["data"]]


def test_what_it_returns_is_upserted(server: ScriptedServer) -> None:
    assert run(lambda: [entity(1), entity(2)])["upsert_count"] == 2
    assert run(lambda: entity(3))["upsert_count"] == 1
    assert run(lambda: [])["upsert_count"] == 0
    assert sent(server) == [1, 2, 3]


def test_what_it_yields_is_upserted_while_it_comes(server: ScriptedServer) -> None:
    seen = []

    def embed(count: int) -> Iterator[dict[str, Any]]:
        for key in range(count):
            seen.append(len(server.sent_to(UPSERT)))
            yield entity(key)

    assert run(embed, 50, batch_size=5, concurrency=1)["upsert_count"] == 50
    assert sent(server) == [*range(50)]
    assert seen[-1] > 3


def test_it_gets_the_context_and_its_arguments(server: ScriptedServer) -> None:
    def embed(key: int, *, ds: str, params: Any = None) -> list[dict[str, Any]]:
        return [entity(key, ds)]

    run(embed, 7, context={"ds": "2026-01-01", "params": {}, "other": 1})
    assert server.sent_to(UPSERT)[0].json["data"] == [entity(7, "2026-01-01")]

    def everything(key: int, **context: Any) -> dict[str, Any]:
        return entity(key, context["ds"] + str(len(context)))

    run(everything, 8, context={"ds": "2026-01-01", "other": 1})
    assert server.sent_to(UPSERT)[1].json["data"] == [entity(8, "2026-01-012")]


def test_keywords_after_any_number_of_arguments(server: ScriptedServer) -> None:
    def embed(*keys: int, text: str = "default", ds: Any = None) -> list[dict[str, Any]]:
        return [entity(key, text + ds) for key in keys]

    with DAG("dag", schedule=None):
        output = task.milvus_rest_upsert(task_id="embed", collection_name="docs")(embed)(1, 2, text="given")
    output.operator.execute({"ds": "2026-01-01"})
    assert server.sent_to(UPSERT)[0].json["data"] == [entity(key, "given2026-01-01") for key in (1, 2)]


def test_a_generator_can_be_called_again(server: ScriptedServer) -> None:
    def embed() -> Iterator[dict[str, Any]]:
        yield entity(1)

    with DAG("dag", schedule=None):
        operator = task.milvus_rest_upsert(collection_name="docs")(embed)().operator
    assert [operator.execute({})["upsert_count"] for _ in range(2)] == [1, 1]


def test_outputs_by_name() -> None:
    with DAG("dag", schedule=None):
        outputs = task.milvus_rest_upsert(task_id="embed", collection_name="docs")(lambda: [])()
        assert outputs["upsert_count"].key == "upsert_count"
        assert outputs.operator.multiple_outputs


@pytest.mark.parametrize("option", ["entities", "files", "file_format", "source_conn_id"])
def test_options_that_make_no_sense(option: str) -> None:
    with pytest.raises(e.InputError, match=f"does not accept {option}: .*If default_args sets it, set None here"):
        run(lambda: [], **{option: "x"})


@pytest.mark.parametrize("value", [None, "text", 5])
def test_what_is_no_entities(value: Any) -> None:
    with pytest.raises(e.InputError, match="entities"):
        run(lambda: value)


class Pushed(dict[str, Any]):
    """As much of a task instance as pushes outputs."""

    dag_id, run_id, task_id, map_index, try_number = "dag", "run", "embed", -1, 1
    xcom_push = dict.__setitem__


@pytest.mark.parametrize("function", [lambda: 1 / 0, lambda: None])
def test_the_outputs_are_pushed_also_if_the_function_fails(function: Any) -> None:
    pushed = Pushed()
    with pytest.raises((ZeroDivisionError, e.InputError)):
        run(function, context={"ti": pushed})
    assert pushed["read_count"] == pushed["upsert_count"] == pushed["return_value"]["unconfirmed_count"] == 0


class OfAirflow2(dict[str, Any]):
    """A context in which some keys are deprecated: to look at one is to be warned of it."""

    def __getitem__(self, key: str) -> Any:
        if key == "execution_date":
            warnings.warn("execution_date is deprecated", DeprecationWarning, stacklevel=2)
        return super().__getitem__(key)


def test_no_key_of_the_context_is_looked_at_that_the_function_does_not_take() -> None:
    context = OfAirflow2(ds="2026-01-01", execution_date="2026-01-01")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(lambda ds: [entity(1, ds)], context=context)["upsert_count"] == 1
        assert run(lambda **all_of_it: [entity(1, all_of_it["execution_date"])], context=context)["upsert_count"] == 1
    with pytest.warns(DeprecationWarning, match="execution_date"):
        run(lambda execution_date=None: [entity(1, execution_date)], context=context)
