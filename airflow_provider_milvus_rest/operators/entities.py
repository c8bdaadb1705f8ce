"""The forms that entities come in: from memory, and from what other tasks return."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.rows.arrow_rows import is_table

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

READ: dict[int, tuple[Any, list[Any]]] = {}
"""What can be read only once and was, by id, with the paths that came out of it: each try runs on a copy of the task.
It is kept so that nothing else gets its id."""


def refuse_second_reading(entities: Any) -> None:
    """Refuse what can be read only once and was: it would have no rows, or the rest of them."""
    for item in [entities, *(entities if isinstance(entities, (list, tuple)) else ())]:
        # A table that does not know its length may stand for a stream.
        if isinstance(item, Iterator) or (is_table(item) and not isinstance(item, Sized)):
            if id(item) in READ:
                raise InputError(
                    f"entities: this {type(item).__name__} can be read only once, and an earlier try or another mapped "
                    "task has read it: use a list, a table, files, or a function (@task.milvus_rest_upsert)"
                )
            READ[id(item)] = item, []


def is_reference(value: Any) -> bool:
    """Whether it stands for what another task returns: an XComArg, or the argument of a mapped task group."""
    return hasattr(value, "resolve") and hasattr(value, "iter_references")


def references(entities: Any) -> list[Any]:
    """The outputs of other tasks in ``entities``: itself, or some of a list. Rows are not searched for more."""
    return [item for item in (entities if isinstance(entities, (list, tuple)) else [entities]) if is_reference(item)]


def iter_entities(source: Any, context: "Context") -> Iterator[Any]:
    """One entity as it is; an iterable's entities, those of the lists in it, and those that upstream tasks returned."""
    if source is None:
        raise InputError(
            "entities: the upstream task returned None. Return the rows as a list, for no rows an empty one. If the "
            "function yields them, decorate it with @task.milvus_rest_upsert: Airflow drops what a plain @task yields."
        )
    refuse_text(source)
    if isinstance(source, Mapping) or is_table(source):
        yield source
        return
    if not isinstance(source, Iterable):
        raise InputError(f"entities must be a dict or an iterable of dicts, not {type(source).__name__}")
    for item in source:
        if is_reference(item):
            yield from iter_entities(item.resolve(context), context)
        elif isinstance(item, Sequence) and not isinstance(item, (str, bytes)) and not is_table(item):
            yield from item
        else:
            yield item


def refuse_text(entities: Any) -> None:
    """Refuse a str, which is an iterable, but not of entities."""
    if isinstance(entities, (str, bytes)):
        raise InputError(
            "entities must not be text. For another task's result, pass task.output (a template such as "
            "'{{ ti.xcom_pull(…) }}' is not rendered here); for a file, use files=."
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
