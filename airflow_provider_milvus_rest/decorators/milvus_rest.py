"""``@task.milvus_rest_upsert``: upserts a function's entities directly, without XCom."""

import inspect
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator

_FILE_PARAMETERS = ("files", "file_format", "source_conn_id")


class MilvusRestUpsertDecoratedOperator(DecoratedOperator, MilvusRestUpsertOperator):
    """Calls a function and upserts what it returns or yields.

    :param python_callable: returns what the operator accepts as ``entities``, or yields entities, which are upserted
        as they come. It receives Airflow's context variables, like a function of ``@task``.
    :param op_args: its positional arguments. (templated)
    :param op_kwargs: its keyword arguments. (templated)

    The other parameters are those of
    :class:`~airflow_provider_milvus_rest.operators.milvus_rest.MilvusRestUpsertOperator`, except those for files.
    """

    custom_operator_name: ClassVar[str] = "@task.milvus_rest_upsert"
    _expand_input = "op_kwargs_expand_input"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(field for field in MilvusRestUpsertOperator.template_fields if field not in _FILE_PARAMETERS),
    )

    def _check_source(self, **given: Any) -> None:
        """Refuse the sources that the operator accepts instead of a function."""
        if found := [name for name, value in given.items() if value is not None]:
            raise InputError(
                f"@task.milvus_rest_upsert does not accept {found[0]}: the function supplies the entities. "
                "If default_args sets it, set None here."
            )

    def _mapped_values(self, given: Mapping[str, Any]) -> list[Any]:
        return [value for name, value in self.op_kwargs.items() if name not in given["op_kwargs"]]

    if not hasattr(DecoratedOperator, "xcom_push"):
        xcom_push = None  # Airflow 3.0's DecoratedOperator.execute reads it, but never calls it

    def _rows(self, context: "Context") -> Any:
        """Call the function and return its rows. It is called here so that the outputs are pushed even if it fails."""
        keywords = _keywords(self.python_callable, self.op_args, self.op_kwargs, context)
        self.entities = self.python_callable(*self.op_args, **keywords)
        if self.entities is None:
            raise InputError("entities: the function returned None. For no rows, return an empty list.")
        return super()._rows(context)


def _keywords(function: Any, args: Collection[Any], given: Mapping[str, Any], context: "Context") -> dict[str, Any]:
    """The keyword arguments of a function: those given, and the context variables that it accepts."""
    signature = inspect.signature(function)
    taken = signature.bind_partial(*args).arguments
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        with warnings.catch_warnings():  # reading a deprecated key of Airflow 2's context warns
            warnings.simplefilter("ignore")
            return {name: value for name, value in {**context, **given}.items() if name not in taken}
    names = [name for name in signature.parameters if name not in taken and name in {*given, *context}]
    return {name: given[name] if name in given else context[name] for name in names}


def milvus_rest_upsert_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> "TaskDecorator":
    """Turn a function that returns or yields entities into a task. Its outputs are the counts.

    :param python_callable: the function, if the decorator is used without arguments.
    :param kwargs: the operator's parameters.
    """
    # The operator's default would come too late for `f()["upsert_count"]`: the factory decides at parse time.
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=kwargs.pop("multiple_outputs", True),
        decorated_operator_class=MilvusRestUpsertDecoratedOperator,
        **kwargs,
    )
