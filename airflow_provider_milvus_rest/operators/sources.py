"""Where rows come from: memory, other tasks, and files on the worker or in object storage."""

import operator
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY, BaseOperator, ObjectStoragePath, XComArg
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.options import check_int
from airflow_provider_milvus_rest.rows.arrow_rows import is_table
from airflow_provider_milvus_rest.rows.files import FORMATS, LOCAL, File, Files, find_files, refuse_password
from airflow_provider_milvus_rest.rows.readers import fingerprint
from airflow_provider_milvus_rest.rows.shards import SHARD_BYTES, cut
from airflow_provider_milvus_rest.text import said_of, shown, without_connection

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_CONSUMED: dict[int, tuple[Any, list[Any]]] = {}
"""One-time sources that were read, by id, with their paths: each try runs on a copy of the task. They are kept, so that
no other object gets the id."""
_OPTIONAL_FILES = {"rejects_path", "differences_path"}
"""Outputs that are None if there is no such file."""
_MAX_NAME_BYTES = 245  # without the suffix; file systems allow 255


@final_errors()
def plan_shards(
    files: Files, target_bytes: int = SHARD_BYTES, *, source_conn_id: str | None = None, file_format: str | None = None
) -> list[list[dict[str, Any]]]:
    """Split files into shards for a mapped task: ``.expand(files=plan(...))``, where the task ``plan`` returns them.

    Uncompressed JSON Lines are split into byte ranges (with the lines that begin in the range), Parquet into row
    groups; other files stay whole. Small files share a shard. Of the contents, only Parquet footers are read. The other
    parameters are those of the operator.

    :param target_bytes: the size of a shard, which is a part of a file or several whole files. A single row group or a
        file that cannot be split may be larger.
    :return: one list for each shard, to pass to the operator as ``files``, small enough for XCom. The operator refuses
        a file that has changed since.
    :raises InputError: ``target_bytes`` is not an integer ≥ 1, or ``files`` cannot be read.
    """
    check_int("target_bytes", target_bytes, 1)
    return cut(find(files, source_conn_id, file_format), target_bytes)


def find(files: Files, source_conn_id: str | None, file_format: str | None) -> list[File]:
    """Find the files that ``files`` specifies, on the worker or on any storage that ``ObjectStoragePath`` supports."""
    check_format(file_format)
    # On Airflow 2, a conn_id of None takes precedence over the one in a URI (s3://conn_id@bucket).
    options = {} if source_conn_id is None else {"conn_id": source_conn_id}
    return find_files(files, lambda uri: ObjectStoragePath(uri, **options), file_format)


def check_format(file_format: Any) -> None:
    """Refuse a format that is not one of :data:`~airflow_provider_milvus_rest.rows.files.FORMATS`."""
    if file_format is not None and file_format not in FORMATS:
        raise InputError(f"file_format must be one of {', '.join(FORMATS)}, not {shown(file_format)}")


def as_paths(paths: Any, name: str = "files") -> Any:
    """Return paths as strings, which Airflow can render, and iterators as lists, which several tasks can read."""
    if type(paths) in LOCAL:
        return str(paths)
    if id(paths) in _CONSUMED:
        return _CONSUMED[id(paths)][1]
    if hasattr(paths, "read"):
        raise InputError(f"{name}: a path must be a str or Path, not an open file")
    if not isinstance(paths, (list, tuple, Iterator)):
        return paths
    texts = [as_paths(path, name) for path in paths]
    if isinstance(paths, Iterator):
        _CONSUMED[id(paths)] = paths, texts
    elif all(map(operator.is_, texts, paths)):
        return paths  # not a copy, in which Airflow would render the names that another task returned as templates
    return texts


def rejects_file(name: str, folder: Any, context: "Context", task_id: str) -> Any:
    """Return a file for only this try of this task instance, because object stores cannot append; None for no folder.

    :param name: the parameter that sets the folder, for error messages.
    """
    if folder is None:
        return None
    if not (isinstance(folder, str) and folder.strip()) and not hasattr(folder, "open"):
        raise InputError(f"{name} must be the path or URI of a folder, not {shown(folder)}")
    folder = str(folder)
    refuse_password(folder)
    try:
        path = ObjectStoragePath(folder) if "://" in folder else Path(folder)
    except (ImportError, ValueError) as error:
        where, said = without_connection(folder), said_of(folder, error)
        raise InputError(f"{name}: cannot use the storage of {where}: {said}") from None
    ti = context.get("ti")
    ids = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.try_number) if ti else (task_id, uuid4().hex)
    parts = list(map(str, ids))
    name = re.sub(r"[^\w.+-]", "_", "__".join(parts))
    if name.split("__") != parts or len(name.encode()) > _MAX_NAME_BYTES:  # the name may not be unique
        name = f"{name.encode()[: _MAX_NAME_BYTES - 18].decode(errors='ignore')}__{fingerprint(parts)[:16]}"
    return path / f"{name}.jsonl"


def one_time(entities: Any) -> list[Any]:
    """The iterators and streams in ``entities``, which can be read only once."""
    items = [entities, *(entities if isinstance(entities, (list, tuple)) else ())]
    # A table without a length may be a stream.
    return [item for item in items if isinstance(item, Iterator) or (is_table(item) and not isinstance(item, Sized))]


def one_time_files() -> list[Any]:
    """The iterators that were given as ``files``."""
    return [source for source, _ in _CONSUMED.values()]


def refuse_second_reading(entities: Any) -> None:
    """Refuse entities that can be read only once and were read before: some or all rows would be missing."""
    for item in one_time(entities):
        if id(item) in _CONSUMED:
            raise InputError(
                f"entities: this {type(item).__name__} can be read only once, and an earlier try or another mapped "
                "task has already read it: use a list, a table, files, or a function (@task.milvus_rest_upsert)"
            )
        _CONSUMED[id(item)] = item, []


def is_reference(value: Any) -> bool:
    """Whether it refers to another task's output: an XComArg, or the argument of a mapped task group."""
    return hasattr(value, "resolve") and hasattr(value, "iter_references")


def references(entities: Any) -> list[Any]:
    """The references to other tasks' outputs: ``entities`` itself, or items of a list. Rows are not searched."""
    return [item for item in (entities if isinstance(entities, (list, tuple)) else [entities]) if is_reference(item)]


def check_complete(parameter: str, reference: Any, value: Any, context: "Context") -> None:
    """Refuse an output of another task that is None, also of one of its mapped instances: its rows would be missing."""
    faults = []
    for task, key in reference.iter_references():
        name = f"task {task.task_id!r}" + (f" (key {key!r})" if key != XCOM_RETURN_KEY else "")
        if value is None:
            faults.append(f"{name} returned None, or was skipped")
        elif not isinstance(task, BaseOperator) or not _groups(task) <= _groups(context.get("task")):
            count, found = _count_instances(task, key, context)
            if found < count:
                faults.append(f"{count - found} of {count} mapped instances of {name} returned None")
    if faults or value is None:
        raise InputError(
            f"{parameter}: {' and '.join(faults) or 'the argument of the task group is None'}. Return a list (empty if "
            "there is nothing). If the function yields rows, decorate it with @task.milvus_rest_upsert: Airflow drops "
            "what a plain @task yields."
        )


def _groups(task: Any) -> set[str]:
    """The mapped task groups that a task is in. A task outside of them gets the outputs of all their instances."""
    return {group.group_id for group in task.iter_mapped_task_groups()} if task else set()


def _count_instances(task: Any, key: str, context: "Context") -> tuple[int, int]:
    """How many instances of a task have succeeded, and how many of them returned something other than None."""
    ti = context["ti"]
    if AIRFLOW_V_3_0_PLUS:
        from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

        run = {"dag_id": ti.dag_id, "task_ids": [task.task_id], "run_ids": [ti.run_id]}
        return ti.get_ti_count(**run, states=["success"]), len(LazyXComSequence(XComArg(task, key), ti))
    instances = context["dag_run"].get_task_instances(state=["success"])
    found = XComArg(task, key).resolve(context)
    return sum(instance.task_id == task.task_id for instance in instances), 0 if found is None else len(found)


def rendered_files(given: Any, files: Any, context: "Context") -> Any:
    """``files`` after rendering; ``given`` before. A file that an operator of this package did not write is left out.

    :raises InputError: another output is None.
    """
    many = isinstance(given, (list, tuple)) and len(given) == len(files)
    found: list[Any] = []
    for reference, value in zip(given, files, strict=True) if many else [(given, files)]:
        if not is_reference(reference):
            found.append(value)
        elif _OPTIONAL_FILES.isdisjoint(key for _, key in reference.iter_references()):
            check_complete("files", reference, value, context)
            found.append(value)
        else:
            values = [value] if value is None or isinstance(value, (str, Mapping)) else value
            found += [path for path in values if path is not None]
            many = True
    if files is None and not many:
        raise InputError("files: the template was rendered to None. For no files, use an empty list.")
    if isinstance(files, str) and re.match(r"""\[(["'{]|\]$)""", files):
        raise InputError(
            "files: the template was rendered to the text of a list. Pass task.output, or set "
            "render_template_as_native_obj=True for the DAG."
        )
    return found if many else files


def resolve(reference: Any, context: "Context") -> Any:
    """The entities that another task returned."""
    value = reference.resolve(context)
    check_complete("entities", reference, value, context)
    return value


def iter_entities(source: Any, context: "Context") -> Iterator[Any]:
    """Yield one entity, or those of an iterable, of the lists in it, and of the upstream tasks' outputs in it."""
    refuse_text(source)
    if isinstance(source, Mapping) or is_table(source) or hasattr(source, "model_dump") or hasattr(source, "_asdict"):
        yield source
        return
    if not isinstance(source, Iterable):
        raise InputError(f"entities must be a dict or an iterable of dicts, not {type(source).__name__}")
    for item in source:
        if is_reference(item):
            yield from iter_entities(resolve(item, context), context)
        elif isinstance(item, Sequence) and not isinstance(item, (str, bytes)) and not hasattr(item, "_asdict"):
            yield from item
        else:
            yield item


def refuse_text(entities: Any) -> None:
    """Refuse text, which is iterable but has no entities."""
    if isinstance(entities, (str, bytes)):
        raise InputError(
            "entities must not be text. For another task's result, pass task.output (a template such as "
            "'{{ ti.xcom_pull(…) }}' is not rendered here); for a file, use files=."
        )


def refuse_outputs_in_rows(entities: Any) -> None:
    """Refuse another task's output as the value of a field, which Airflow does not resolve."""
    for row in entities if isinstance(entities, (list, tuple)) else [entities]:
        for name, value in row.items() if isinstance(row, dict) else ():
            if is_reference(value):
                raise InputError(
                    f"entities: field {name!r} is the output of a task. Make the row in a task, and pass its output."
                )


def refuse_unordered(entities: Any, task_id: str, upstream: Collection[str]) -> None:
    """Refuse the output of a task that does not run before this one: Airflow does not see it in ``.partial()``."""
    for reference in references(entities):
        for task, _ in reference.iter_references():
            if task.task_id not in upstream:
                raise InputError(
                    f"entities is an output of task {task.task_id!r}, which may not have run yet: Airflow does not see "
                    f"it in .partial(). Pass it in .expand(), or write {task.task_id} >> {task_id}."
                )
