"""The options of a run, as one value that is checked when it is created."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.rows import shape
from airflow_provider_milvus_rest.rows.convert import Convert, described
from airflow_provider_milvus_rest.text import shown

MAX_CONCURRENCY = 32
"""How many connections a client keeps open."""


@dataclass(frozen=True)
class Options:
    """See :class:`~airflow_provider_milvus_rest.operators.milvus_rest.MilvusRestUpsertOperator` for each option.

    ``rejects`` is where rejected rows are written: the operator's ``rejects_path``, or the hook's ``rejects_file``.

    :raises InputError: a value cannot be used, or two cannot be combined.
    """

    batch_size: int = 1000
    max_request_bytes: int = 4 * 2**20
    concurrency: int = 4
    retry_budget: timedelta | float = timedelta(minutes=2)
    on_reject: str = "fail"
    max_rejects: int | None = None
    rejects: Any = None
    partition_name: str | None = None
    rows_path: str | None = None
    field_map: shape.FieldMap | None = None
    key_from: Sequence[str] | None = None
    convert: Convert | None = None
    check_only: bool = False
    verify_sample: int = 0
    on_difference: str = "fail"

    def __post_init__(self) -> None:
        check_int("batch_size", self.batch_size, 1)
        check_int("max_request_bytes", self.max_request_bytes, 1)
        check_int("concurrency", self.concurrency, 1, MAX_CONCURRENCY)
        seconds = self.retry_seconds
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
            raise InputError(f"retry_budget must be a timedelta or a number of seconds ≥ 0, not {shown(seconds)}")
        if self.on_reject not in ("fail", "skip"):
            raise InputError(f"on_reject must be 'fail' or 'skip', not {shown(self.on_reject)}")
        if self.on_reject == "skip" and self.rejects is None:
            raise InputError("on_reject='skip' requires rejects_path (the hook's rejects_file), where it writes them")
        if self.on_reject == "fail" and (self.rejects is not None or self.max_rejects is not None):
            raise InputError("max_rejects and rejects_path can only be used with on_reject='skip'")
        if self.max_rejects is not None:
            check_int("max_rejects", self.max_rejects, 0)
        check_bool("check_only", self.check_only)
        check_int("verify_sample", self.verify_sample, 0)
        if self.on_difference not in ("fail", "report"):
            raise InputError(f"on_difference must be 'fail' or 'report', not {shown(self.on_difference)}")
        if self.check_only and self.verify_sample:
            raise InputError("check_only stores nothing, so verify_sample has nothing to check: set only one of them")
        shape.check(self.rows_path, self.field_map, self.key_from, self.convert)

    @property
    def retry_seconds(self) -> float:
        """``retry_budget`` in seconds."""
        return self.retry_budget.total_seconds() if isinstance(self.retry_budget, timedelta) else self.retry_budget

    def deciding(self) -> list[Any]:
        """The options that determine what is stored, as JSON. It is unique if a function cannot be compared."""
        convert = described(self.convert)
        shaped = [self.rows_path, dict(self.field_map or {}), list(self.key_from or ())]
        return [self.partition_name, *shaped, uuid4().hex if convert is None else convert]


def check_bool(name: str, value: Any) -> None:
    """Raise InputError unless ``value`` is a bool: the text "False" of a template would be true."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, not {shown(value)}")


def check_int(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise InputError unless ``value`` is an integer within the limits."""
    if type(value) is not int or value < least or (most and value > most):
        limits = f"from {least} to {most}" if most else f"≥ {least}"
        raise InputError(f"{name} must be an integer {limits}, not {shown(value)}")


DEFAULTS = Options()
