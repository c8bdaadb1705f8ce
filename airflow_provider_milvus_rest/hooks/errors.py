"""The border where errors of this package become Airflow's."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_milvus_rest.exceptions import MilvusRestError


@cache
def _final(cls: type[MilvusRestError]) -> type[MilvusRestError]:
    """An exception class with the base by which Airflow knows not to retry; pickled, it is the class without it."""
    members = {"__module__": cls.__module__, "__reduce__": lambda error: (cls, error.args, vars(error))}
    return type(cls.__name__, (cls, AirflowFailException), members)


@contextmanager
def final_errors() -> Iterator[None]:
    """Give an exception that a retry cannot help the base class by which Airflow knows that."""
    try:
        yield
    except MilvusRestError as error:
        if error.retryable or isinstance(error, AirflowFailException):
            raise
        cls: Any = type(error)  # mypy confuses the hash of a class with that of its objects
        final: MilvusRestError = _final(cls)(*error.args)
        vars(final).update(vars(error))
        raise final.with_traceback(error.__traceback__) from error.__cause__
