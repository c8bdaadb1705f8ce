"""Files on the worker and on Airflow's object storage, whole or in shards."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.operators.entities import READ
from airflow_provider_milvus_rest.options import check_int
from airflow_provider_milvus_rest.rows.files import FORMATS, LOCAL, File, Files, find_files
from airflow_provider_milvus_rest.rows.names import said_of, without_connection
from airflow_provider_milvus_rest.rows.readers import fingerprint
from airflow_provider_milvus_rest.rows.shards import SHARD_BYTES, cut
from airflow_provider_milvus_rest.text import shown

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_MAX_NAME_BYTES = 245  # without the suffix; file systems take 255


@final_errors()
def plan_shards(
    files: Files, target_bytes: int = SHARD_BYTES, *, source_conn_id: str | None = None, file_format: str | None = None
) -> list[list[dict[str, Any]]]:
    """Cut files into pieces of work for a mapped task: ``.expand(files=plan(...))`` with a task that returns this.

    JSON Lines that are not compressed are cut into ranges of bytes (the rows are those whose line begins in the
    range), Parquet into row groups; other files stay whole. Small files go together. Only Parquet's footers are read.
    The other parameters are the operator's.

    :param target_bytes: of a shard: as much of a file as that, or as many whole files; a single row group or a file
        that cannot be cut may be larger.
    :return: a list for each shard, to be the operator's ``files``, and small enough for XCom. The operator refuses a
        file whose size has changed since.
    :raises InputError: ``target_bytes`` is not a number of bytes, or ``files`` cannot be read.
    """
    check_int("target_bytes", target_bytes, 1)
    return cut(find(files, source_conn_id, file_format), target_bytes)


def find(files: Files, source_conn_id: str | None, file_format: str | None) -> list[File]:
    """The files that ``files`` means, on the worker and on any storage that ``ObjectStoragePath`` knows."""
    check_format(file_format)
    # On Airflow 2, a conn_id of None counts for more than the one in a URI (s3://conn_id@bucket).
    options = {} if source_conn_id is None else {"conn_id": source_conn_id}
    return find_files(files, lambda uri: ObjectStoragePath(uri, **options), file_format)


def check_format(file_format: Any) -> None:
    """Refuse a format that is not one of :data:`~airflow_provider_milvus_rest.rows.files.FORMATS`."""
    if file_format is not None and file_format not in FORMATS:
        raise InputError(f"file_format must be one of {', '.join(FORMATS)}, not {shown(file_format)}")


def as_paths(paths: Any) -> Any:
    """Paths as Airflow renders them, which are texts, and as several tasks can read them, which is a list."""
    if type(paths) in LOCAL:
        return str(paths)
    if id(paths) in READ:
        return READ[id(paths)][1]
    if not isinstance(paths, (list, tuple, Iterator)):
        return paths
    texts = [as_paths(path) for path in paths]
    if isinstance(paths, Iterator):
        READ[id(paths)] = paths, texts
    return texts


def rejects_file(name: str, folder: Any, context: "Context", task_id: str) -> Any:
    """A file for this try of this task instance alone, since object stores cannot append to one; None for no folder.

    :param name: the parameter that says which folder.
    """
    if folder is None:
        return None
    folder = str(folder)
    try:
        path = ObjectStoragePath(folder) if "://" in folder else Path(folder)
    except (ImportError, ValueError) as error:
        where = without_connection(folder)
        raise InputError(f"{name}: cannot use the storage of {where}: {said_of(folder, error)}") from None
    ti = context.get("ti")
    ids = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.try_number) if ti else (task_id, uuid4().hex)
    parts = list(map(str, ids))
    name = re.sub(r"[^\w.+-]", "_", "__".join(parts))
    if name.split("__") != parts or len(name.encode()) > _MAX_NAME_BYTES:  # others may have the same name
        name = f"{name.encode()[: _MAX_NAME_BYTES - 18].decode(errors='ignore')}__{fingerprint(parts)[:16]}"
    return path / f"{name}.jsonl"
