"""Large files cut into parts that several tasks can read at the same time."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.rows.arrow_rows import row_group_bytes
from airflow_provider_milvus_rest.rows.files import File, Part

SHARD_BYTES = 256 * 2**20
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def cut(files: Iterable[File], target_bytes: int) -> list[list[dict[str, Any]]]:
    """Lists of parts, as dicts, of about ``target_bytes`` each."""
    shards: list[list[dict[str, Any]]] = []
    room = 0
    for file in files:
        for part, size in _parts(file, target_bytes):
            if not shards or size > room:
                shards.append([])
                room = target_bytes
            shards[-1].append(part.model_dump(exclude_defaults=True))
            room -= size
    return shards


def _parts(file: File, target_bytes: int) -> Iterator[tuple[Part, int]]:
    """A file's parts and their bytes."""
    path, size, version = file.part.path, file.size, file.version
    if _LONE_SURROGATE.search(path):
        raise InputError(f"{file.name}: the name of the file is not UTF-8, which XCom cannot hold: rename it")
    if not file.part.is_whole or not file.unit or size <= target_bytes:
        yield file.part.model_copy(update={"version": version}), min(size, file.length)
    elif file.unit == "bytes":
        count = -(-size // target_bytes)
        bounds = [size * index // count for index in range(count + 1)]
        for start, end in itertools.pairwise(bounds):
            yield Part(path=path, version=version, start=start, end=end), end - start
    else:
        groups = row_group_bytes(file)
        first, held = 0, 0
        for group, held_by_group in enumerate([*groups, target_bytes]):
            if group > first and held + held_by_group > target_bytes:
                yield Part(path=path, version=version, unit=file.unit, start=first, end=group), held
                first, held = group, 0
            held += held_by_group
