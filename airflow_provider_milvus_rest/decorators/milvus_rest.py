"""``@task.milvus_rest_upsert``: a function whose entities go to Milvus, and not through XCom."""

import inspect
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator

_OF_FILES = ("files", "file_format", "source_conn_id")


class MilvusRestUpsertDecoratedOperator(DecoratedOperator, MilvusRestUpsertOperator):
    """Calls a function and upserts what it returns or yields.

    :param python_callable: returns what the operator takes as ``entities``, or yields entities, which are upserted
        while they come. Airflow's context variables are handed to it as to a function of ``@task``.
    :param op_args: its positional arguments. (templated)
    :param op_kwargs: its keyword arguments. (templated)

    The other parameters are those of
    :class:`~airflow_provider_milvus_rest.operators.milvus_rest.MilvusRestUpsertOperator`, but for the files.
    """

    _makes_entities: ClassVar[bool] = True
    custom_operator_name: ClassVar[str] = "@task.milvus_rest_upsert"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(field for field in MilvusRestUpsertOperator.template_fields if field not in _OF_FILES),
    )

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        with final_errors():
            if found := [name for name in ("entities", *_OF_FILES) if name in kwargs]:
                raise InputError(
                    f"@task.milvus_rest_upsert does not accept {found[0]}: the function supplies the entities"
                )
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            entities=(),  # until it is called
            **kwargs,
        )

    def _rows(self, context: "Context") -> Any:
        """What the function returns. It is called here, so that the outputs are pushed also if it fails."""
        keywords = _keywords(self.python_callable, len(self.op_args), context, self.op_kwargs)
        self.entities = self.python_callable(*self.op_args, **keywords)
        if self.entities is None:
            raise InputError("entities: the function returned None. For no rows, return an empty list.")
        return super()._rows(context)


def _keywords(
    function: Callable[..., Any], positional: int, context: "Context", given: Mapping[str, Any]
) -> dict[str, Any]:
    """What a function takes of the context and of the arguments given by name, beside so many by position."""
    parameters = list(inspect.signature(function).parameters.values())
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    taken = {parameter.name for parameter in by_position[:positional]}
    names = {parameter.name for parameter in parameters} - taken
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return {name: given[name] if name in given else context[name] for name in names if name in {*given, *context}}
    with warnings.catch_warnings():  # to look at a deprecated key of Airflow 2's context is to be warned of it
        warnings.simplefilter("ignore")
        return {name: value for name, value in {**context, **given}.items() if name not in taken}


def milvus_rest_upsert_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> "TaskDecorator":
    """Make a task of a function that returns or yields entities; its outputs are the counts.

    :param python_callable: the function, where the decorator is used without arguments.
    :param kwargs: the operator's parameters.
    """
    # By the operator's own default, `f()["upsert_count"]` would find nothing: the factory decides when it is parsed.
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=kwargs.pop("multiple_outputs", True),
        decorated_operator_class=MilvusRestUpsertDecoratedOperator,
        **kwargs,
    )
