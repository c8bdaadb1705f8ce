"""The arguments of a mapped task: what ``.expand()`` or ``.expand_kwargs()`` received."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.operators.sources import is_reference


def refuse_iterators(arguments: Any, levels: int = 3) -> None:
    """Refuse iterators, which Airflow has read when it parsed the DAG: their rows would be missing.

    :param levels: how far down an iterator is looked for: in a list of files of a list of values of a parameter.
    """
    if isinstance(arguments, Iterator):
        raise InputError(
            f"a mapped argument is a {type(arguments).__name__}, which Airflow has read while it parsed the DAG: use a "
            "list, such as sorted(Path(…).glob(…)), or return the values from a task"
        )
    items = arguments.values() if isinstance(arguments, Mapping) else arguments
    for item in items if levels and isinstance(arguments, (Mapping, list, tuple)) else ():
        refuse_iterators(item, levels - 1)


def keep_outputs(arguments: Any, values: Iterable[Any], map_index: int, seen_oids: set[int]) -> None:
    """Make Airflow render the values of one instance only if they are in the DAG.

    Airflow renders what another task returned for ``.expand_kwargs()`` as templates, and does not resolve the outputs
    that are in its list of dicts.

    :param seen_oids: the ids of the objects that Airflow does not render.
    """
    returned = is_reference(arguments[map_index] if isinstance(arguments, (list, tuple)) else arguments)
    for value in values:
        if is_reference(value):
            seen_oids.discard(id(value))
        elif returned:
            seen_oids.add(id(value))


def outputs(arguments: Any) -> dict[str, Any]:
    """The references to other tasks' outputs in ``.expand()``, by parameter."""
    items = arguments.items() if isinstance(arguments, Mapping) else ()
    return {name: value for name, value in items if is_reference(value)}
