"""Translates errors of this package into Airflow's."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_milvus_rest.exceptions import MilvusRestError


@cache
def _final(cls: type[MilvusRestError]) -> type[MilvusRestError]:
    """Return ``cls`` with AirflowFailException as another base. Its instances are pickled as instances of ``cls``."""
    members = {"__module__": cls.__module__, "__reduce__": lambda error: (cls, error.args, vars(error))}
    return type(cls.__name__, (cls, AirflowFailException), members)


@contextmanager
def final_errors() -> Iterator[None]:
    """Raise errors that a retry cannot fix as AirflowFailException too, so that Airflow does not retry the task."""
    try:
        yield
    except MilvusRestError as error:
        if error.retryable or isinstance(error, AirflowFailException):
            raise
        cls: Any = type(error)  # mypy confuses the hash of a class with that of its instances
        final: MilvusRestError = _final(cls)(*error.args)
        vars(final).update(vars(error))
        raise final.with_traceback(error.__traceback__) from error.__cause__
