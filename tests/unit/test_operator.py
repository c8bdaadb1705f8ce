from __future__ import annotations

import copy
import io
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, Connection, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS
from pydantic import BaseModel
from pytest_mock import MockerFixture

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestCompareOperator, MilvusRestUpsertOperator
from tests.entities import entity
from tests.servers import DESCRIBE, UPSERT, Reply, ScriptedServer, accept, described


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"set exactly one of entities and files\. .*use \.map\(lambda o: o\.get\('rejects_path'\) or \[\]\)\.$"),
        ({"entities": [], "files": "x.jsonl"}, "Task 'upsert': set exactly one of entities and files.$"),
        ({"entities": "{{ ti.xcom_pull('embed') }}"}, "pass task.output"),
        ({"entities": b"[]"}, "must not be text"),
        ({"entities": [], "source_conn_id": "s3"}, "source_conn_id and file_format can only be used with files"),
        ({"entities": [], "batch_size": 0}, "batch_size must be an integer ≥ 1, not 0"),
        ({"entities": [], "max_request_bytes": "8"}, "max_request_bytes must be an int"),
        ({"entities": [], "concurrency": 33}, "concurrency must be an integer from 1 to 32, not 33"),
        (
            {"entities": [], "retry_budget": "2m"},
            "retry_budget must be a timedelta or a number of seconds ≥ 0, not '2m'",
        ),
        ({"entities": [], "field_map": {"a": 1}}, "field_map: 'a': 1 must map a name to a field's name or None"),
        ({"entities": [], "on_reject": "ignore"}, "on_reject must be 'fail' or 'skip', not 'ignore'"),
        ({"entities": [], "on_reject": "skip"}, "on_reject='skip' requires rejects_path"),
        ({"entities": [], "rejects_path": "/tmp"}, "can only be used with on_reject='skip'"),
        ({"entities": [], "max_rejects": 5}, "can only be used with on_reject='skip'"),
        ({"entities": [], "check_only": "False"}, "check_only must be True or False, not 'False'"),
        ({"entities": [], "return_ids": 1}, "return_ids must be True or False, not 1"),
        ({"entities": [], "resume": None}, "resume must be True or False, not None"),
        (
            {"entities": [], "on_reject": "skip", "rejects_path": io.StringIO("")},
            "rejects_path: a path must be a str or Path, not an open file",
        ),
        ({"files": io.StringIO("{}")}, "files: a path must be a str or Path, not an open file"),
        (
            {"entities": [], "on_reject": "skip", "rejects_path": "/tmp", "max_rejects": -1},
            "max_rejects must be an integer ≥ 0",
        ),
    ],
)
def test_arguments_refused_when_the_dag_is_parsed(upsert: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(e.InputError, match=message):
        upsert(**arguments)


class Named(NamedTuple):
    id: int
    vector: list[float]


class Model(BaseModel):
    id: int = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"entities": 5}, "a dict or an iterable of dicts, not int"),
        ({"files": 5}, "files must be a path"),
        ({"files": [[["s3://me:secret@bucket/x"]]]}, "files: a path must be a non-empty str or Path, not list$"),
        ({"files": "['/a', '/b']"}, "files: the template was rendered to the text of a list. .*native_obj=True"),
        ({"files": " "}, "files: a path must be a non-empty str or Path, not a blank one"),
        ({"files": str([0.5] * 1000)}, "files: a path has 5000 characters: files takes paths, and entities takes rows"),
        (
            {"entities": [], "collection_name": ""},
            "collection_name must be a non-empty str of printable characters, not ''",
        ),
        ({"entities": [], "collection_name": None}, "collection_name must be a non-empty str"),
        (
            {"entities": [], "collection_name": "\ud800"},
            "collection_name must be a non-empty str of printable characters",
        ),
        ({"entities": [], "db_name": " "}, "db_name must be a non-empty str"),
    ],
)
def test_arguments_refused_when_the_task_runs(upsert: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(e.InputError, match=message) as caught:
        upsert(**arguments).execute({})
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    ("entities", "hint"),
    [([Named(1, [0.5])], "Named: use _asdict()"), (Named(1, [0.5]), "Named: use _asdict()"), (Model(), "model_dump()")],
)
def test_an_object_that_is_not_a_dict_is_one_invalid_row(upsert: Any, entities: Any, hint: str) -> None:
    with pytest.raises(e.RowsRejectedError, match=rf"1 of 1 row.*\n\[0\]: a row must be .*{re.escape(hint)}"):
        upsert(entities=entities).execute({})


def test_rows_passed_as_files_are_not_printed_whole(upsert: Any) -> None:
    with pytest.raises(e.SourceUnavailableError) as caught:
        upsert(files=str([0.5] * 800)).execute({})
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_late_may_be_retried_and_one_that_is_broken_not(upsert: Any, tmp_path: Path) -> None:
    with pytest.raises(e.SourceNotFoundError) as late:
        upsert(files=tmp_path / "x.jsonl").execute({})
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(e.RowsRejectedError, match=r"x\.jsonl:1: not JSON") as broken:
        upsert(files=tmp_path / "x.jsonl").execute({})
    assert not isinstance(late.value, AirflowFailException)
    assert isinstance(broken.value, AirflowFailException)


def test_an_autoid_collection_is_refused_before_a_row_is_read(server: ScriptedServer, upsert: Any) -> None:
    def rows() -> Any:
        raise AssertionError("a row was read")
        yield

    server.script(DESCRIBE, described(auto_id=True))
    with pytest.raises(e.UnsupportedCollectionError, match="autoID") as caught:
        upsert(entities=rows()).execute({})
    assert isinstance(caught.value, AirflowFailException)


def test_errors_keep_their_class_message_and_codes_when_made_final(server: ScriptedServer, upsert: Any) -> None:
    server.script(UPSERT, Reply({"code": 1804, "message": "no"}), Reply({"code": 8, "message": "slow"}))
    with pytest.raises(e.DataRefusedError) as final:
        MilvusRestHook().upsert("docs", entity(1))
    with pytest.raises(e.OverloadedError) as passing:
        upsert(entities=entity(1)).execute({})
    assert isinstance(final.value, AirflowFailException)
    assert (final.value.code, final.value.http_status) == (1804, 200)
    assert str(final.value) == "Milvus says: no. [Milvus code 1804]"
    assert not isinstance(passing.value, AirflowFailException)


@pytest.mark.parametrize("entities", [[], (), iter([])])
def test_nothing_to_do_is_a_success(server: ScriptedServer, upsert: Any, entities: Any) -> None:
    outputs = upsert(entities=entities).execute({})
    assert {name for name, value in outputs.items() if value} <= {"duration_seconds"}
    assert server.sent_to(UPSERT) == []


def test_no_files_are_no_names(server: ScriptedServer, upsert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task, lines = upsert(files=[]), list[str]()
    monkeypatch.setattr(task.log, "info", lambda text, *values: lines.append(text % values))
    task.execute({})
    assert lines[0] == "Reading 0 files"


def test_outputs(server: ScriptedServer, upsert: Any) -> None:
    outputs = upsert(entities=(entity(key) for key in (4, 8, 4, 8, 4)), batch_size=2, return_ids=True).execute({})
    assert isinstance(outputs.pop("duration_seconds"), float)
    left_out = AIRFLOW_V_3_0_PLUS and not AIRFLOW_V_3_1_PLUS  # Airflow 3.0 cannot store None
    assert outputs == ({} if left_out else {"rejects_path": None}) | {
        "read_count": 5,
        "upsert_count": 5,
        "valid_count": 0,
        "verified_count": 0,
        "duplicate_count": 0,
        "rejected_count": 0,
        "unconfirmed_count": 0,
        "resumed_count": 0,
        "request_count": 3,
        "retry_count": 0,
        "bytes_sent": 5 * len('{"id":4,"vector":[0.5,0.5,-0.5,1.0],"text":"text 4"},'),
        "upsert_ids": [4, 8, 4, 8, 4],
    }


def test_outputs_of_a_failure_are_pushed_and_the_error_is_the_first_one(
    server: ScriptedServer, upsert: Any, mocker: MockerFixture
) -> None:
    server.script(UPSERT, Reply({"code": 8, "message": "slow"}))
    pushed: dict[str, Any] = {}
    ti = mocker.Mock(xcom_push=pushed.__setitem__)
    with pytest.raises(e.OverloadedError):
        upsert(entities=[entity(1)]).execute({"ti": ti})
    assert (pushed["read_count"], pushed["upsert_count"], pushed["unconfirmed_count"]) == (1, 0, 1)
    assert pushed["return_value"]["read_count"] == 1
    ti = mocker.Mock(xcom_push=mocker.Mock(side_effect=ConnectionError))
    with pytest.raises(e.OverloadedError):
        upsert(entities=[entity(1)]).execute({"ti": ti})


def test_limits_and_choices_are_attributes(server: ScriptedServer, upsert: Any) -> None:
    """Which rendering and cluster policies may look at, and change."""
    task = upsert(entities=[entity(key) for key in range(4)], batch_size=2, partition_name="{{ ds }}")
    assert (task.batch_size, task.concurrency, task.on_reject, task.convert) == (2, 4, "fail", None)
    assert task.partition_name == "{{ ds }}"
    task.batch_size, task.partition_name = 1, None
    assert task.execute({})["request_count"] == 4
    task.batch_size = 0
    with pytest.raises(e.InputError, match="batch_size must be an integer ≥ 1, not 0"):
        task.execute({})
    with DAG("dag", schedule=None):
        mapped = MilvusRestUpsertOperator.partial(task_id="mapped", batch_size=7).expand(collection_name=["a"])
    assert mapped.unmap({"collection_name": "a", "entities": []}).batch_size == 7
    compare = MilvusRestCompareOperator(task_id="compare", collection_name="docs", entities=[], batch_size=7)
    assert (compare.batch_size, compare.on_difference) == (7, "fail")


def test_the_upstream_task_is_upstream() -> None:
    with DAG("wiring"):

        @task
        def embed() -> list[dict[str, Any]]:
            return []

        plain = MilvusRestUpsertOperator(task_id="plain", collection_name="docs", entities=embed())
        several = MilvusRestUpsertOperator(task_id="several", collection_name="docs", entities=[embed(), embed()])
        mapped = MilvusRestUpsertOperator.partial(task_id="mapped", collection_name="docs").expand(entities=embed())
    assert plain.upstream_task_ids == {"embed"}
    assert several.upstream_task_ids == {"embed__1", "embed__2"}
    assert mapped.upstream_task_ids == {"embed__3"}
    assert plain.output["upsert_count"].key == "upsert_count"
    assert "entities" not in plain.template_fields


def test_hook_upsert_refuses_before_sending(server: ScriptedServer, upsert: Any) -> None:
    hook = MilvusRestHook()
    for data, message in (
        ([entity(1), entity("2")], r"^\[1\]: field 'id' must be an int \(Int64\), not str '2'$"),
        ([entity(1), entity(1)], r"\[1\]: has the same primary key as \[0\]: 1"),
        ([entity(1), None], r"\[1\]: a row must be an object"),
        ([entity(1) | {"text": None}], r"\[0\]: field 'text' is null, but must be a str"),
        ("text", "data must be one entity"),
    ):
        with pytest.raises(e.InputError, match=message):
            hook.upsert("docs", data)
    assert hook.upsert("docs", []).upsert_count == 0
    assert server.sent_to(UPSERT) == []
    assert len(server.sent_to(DESCRIBE)) == 1


def test_a_connection_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD", "milvus-rest://root:hunter2@milvus:19530/?read_timeout=soon&colour=red")
    ok, message = MilvusRestHook("bad").test_connection()
    assert not ok
    assert message.startswith("Connection 'bad': field 'read_timeout' cannot be used")
    assert "hunter2" not in message


def test_the_type_of_a_uri_has_a_hyphen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD", "milvus_rest://root:hunter2@milvus:19530")
    with pytest.raises(e.ConnectionSettingsError, match=r"the type has a hyphen: milvus-rest://$"):
        MilvusRestHook("bad").get_conn()


@pytest.mark.parametrize("extra", ["[1]", "{", "5"])
def test_an_extra_that_cannot_be_read_is_no_empty_one(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    connection = Connection(conn_id="bad", conn_type="milvus_rest", host="milvus")
    connection.extra = extra
    monkeypatch.setattr(MilvusRestHook, "get_connection", lambda *_: connection)
    with pytest.raises(e.ConnectionSettingsError, match="Connection 'bad': field 'extra' must be a JSON object"):
        MilvusRestHook("bad").list_collections()


def test_an_iterator_cannot_be_read_twice(server: ScriptedServer, upsert: Any) -> None:
    server.script(UPSERT, Reply({"code": 1, "message": "not ready"}))
    task = upsert(entities=(entity(i) for i in range(3)))
    with pytest.raises(e.NotReadyError):
        task.execute({})
    for again in (task, copy.copy(task)):  # Airflow runs each try on a copy
        with pytest.raises(e.InputError, match="this generator can be read only once, and an earlier try or another"):
            again.execute({})


def test_an_iterator_is_not_for_several_mapped_tasks(upsert: Any) -> None:
    names = [{"collection_name": name} for name in ("a", "b")]
    with DAG("dag", schedule=None):
        partial = MilvusRestUpsertOperator.partial(task_id="mapped", entities=map(entity, range(3)))
        mapped = partial.expand_kwargs(names)
    first, second = (mapped.unmap(name) for name in names)
    assert first.execute({})["upsert_count"] == 3
    with pytest.raises(e.InputError, match="this map can be read only once, and an earlier try or another mapped task"):
        second.execute({})


def test_a_rejects_path_that_is_nowhere(upsert: Any) -> None:
    with pytest.raises(e.InputError, match=r"rejects_path: .*foo:/") as caught:
        upsert(entities=[{}], on_reject="skip", rejects_path="foo://b/x").execute({})
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("folder", ["", " ", 5, ["/data"]])
def test_a_rejects_path_is_a_folder(upsert: Any, folder: Any) -> None:
    with pytest.raises(e.InputError, match="rejects_path must be the path or URI of a folder, not "):
        upsert(entities=[{}], on_reject="skip", rejects_path=folder).execute({})


def test_a_folder_for_differences_may_be_rendered_to_none_or_set_by_a_policy(
    server_connection: None, tmp_path: Path
) -> None:
    task = MilvusRestCompareOperator(task_id="compare", collection_name="docs", entities=[], differences_path="{{ x }}")
    for folder in (None, str(tmp_path)):
        task.differences_path = folder
        assert task.execute({}).get("differences_path") is None


def test_names_of_any_length_have_a_rejects_file_each(upsert: Any, tmp_path: Path) -> None:
    paths = set()
    for run_id in ("a", "b"):
        ids = {"dag_id": "d" * 250, "run_id": "ü" * 249 + run_id, "task_id": "t" * 250, "map_index": 1, "try_number": 1}
        context = {"ti": SimpleNamespace(**ids, max_tries=0)}
        paths.add(upsert(entities=[{}], on_reject="skip", rejects_path=tmp_path).execute(context)["rejects_path"])
    assert {str(path) for path in tmp_path.iterdir()} == paths
    assert len(paths) == 2


def test_the_test_of_a_connection_that_is_not_there() -> None:
    passed, message = MilvusRestHook("nowhere").test_connection()
    assert not passed
    assert "nowhere" in message


def test_entities_of_an_upstream_task_that_returned_none(upsert: Any) -> None:
    """Airflow takes what a plain @task yields for metadata of assets, drops it, and goes on with None."""
    task = upsert(entities=[])
    outputs = [(SimpleNamespace(task_id="embed"), "return_value")]
    task.entities = SimpleNamespace(resolve=lambda context: None, iter_references=lambda: outputs)
    task.upstream_task_ids.add("embed")
    with pytest.raises(
        e.InputError, match=r"task 'embed' returned None, or was skipped\. .* decorate it with @task.milvus_rest_upsert"
    ):
        task.execute({})


def test_files_of_an_upstream_task_that_returned_none(upsert: Any) -> None:
    task = upsert(files="{{ an output }}")
    task.files = None  # as rendering leaves it
    with pytest.raises(e.InputError, match="files: the template was rendered to None"):
        task.execute({})


def test_an_output_that_airflow_does_not_see_is_refused() -> None:
    """In .partial(), Airflow wires template fields alone, and the task may run before the other."""
    with DAG("partial"):

        @task
        def embed() -> list[dict[str, Any]]:
            return []

        mapped = MilvusRestUpsertOperator.partial(task_id="mapped", entities=embed()).expand(collection_name=["a"])
    assert mapped.upstream_task_ids == set()
    with pytest.raises(e.InputError, match=r"Airflow does not see it in \.partial\(\).* write embed >> mapped"):
        mapped.unmap({"collection_name": "a"}).execute({})


@pytest.mark.parametrize("in_a_list", [False, True])
def test_an_output_in_a_row_is_refused(in_a_list: bool, upsert: Any) -> None:
    with DAG("parsed", schedule=None):
        row = {"id": 1, "vector": task(entity)(1)}
        with pytest.raises(e.InputError, match="entities: field 'vector' is the output of a task"):
            upsert(entities=[row] if in_a_list else row)


@pytest.mark.parametrize("rows", [None, 5, {"id": 1}, "text"])
def test_what_ingest_does_not_take(upsert: Any, rows: Any) -> None:
    with pytest.raises(e.InputError, match="rows must be an iterable of dicts"):
        MilvusRestHook().ingest("docs", rows)


def test_a_collection_is_described_anew_once_it_may_be_another(server: ScriptedServer, upsert: Any) -> None:
    hook = MilvusRestHook()
    hook.upsert("docs", entity(1))
    server.script(UPSERT, Reply({"code": 1804, "message": "no"}), accept)
    server.script(DESCRIBE, described("VarChar(64)"))
    with pytest.raises(e.DataRefusedError):
        hook.upsert("docs", entity(1))
    assert hook.upsert("docs", entity("1")).upsert_ids == ["1"]


def test_final_errors_can_be_pickled(upsert: Any) -> None:
    with pytest.raises(e.InputError) as caught:
        upsert(entities=5).execute({})
    back = pickle.loads(pickle.dumps(caught.value))
    assert type(back) is e.InputError
    assert str(back) == str(caught.value)
