"""The border where errors of this package become Airflow's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_milvus_rest.exceptions import MilvusRestError


def _unpickled(cls: type[MilvusRestError], args: tuple[Any, ...], state: dict[str, Any]) -> MilvusRestError:
    """A final error, which has no importable class of its own."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


_FINAL: dict[type[MilvusRestError], type[MilvusRestError]] = {}


@contextmanager
def final_errors() -> Iterator[None]:
    """Give an exception that a retry cannot help the base class by which Airflow knows that."""
    try:
        yield
    except MilvusRestError as error:
        cls = type(error)
        if error.retryable or isinstance(error, AirflowFailException):
            raise
        if cls not in _FINAL:
            members = {
                "__doc__": cls.__doc__,
                "__module__": cls.__module__,
                "__reduce__": lambda self: (_unpickled, (cls, self.args, self.__dict__)),
            }
            _FINAL[cls] = type(cls.__name__, (cls, AirflowFailException), members)
        final = _FINAL[cls].__new__(_FINAL[cls], *error.args)
        final.__dict__.update(error.__dict__)
        raise final.with_traceback(error.__traceback__) from error.__cause__
