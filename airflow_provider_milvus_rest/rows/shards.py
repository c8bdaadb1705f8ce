"""Splits large files into parts that several tasks can read at the same time."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.rows.arrow_rows import row_group_bytes
from airflow_provider_milvus_rest.rows.files import File, Part

SHARD_BYTES = 256 * 2**20


def cut(files: Iterable[File], target_bytes: int) -> list[list[dict[str, Any]]]:
    """Lists of parts, as dicts, with about ``target_bytes`` in each list."""
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
    """A file's parts and their sizes in bytes."""
    path, size, version = file.part.path, file.size, file.version
    if path.encode(errors="ignore").decode() != path:
        raise InputError(f"{file.name}: the name of the file is not UTF-8, so XCom cannot store it: rename the file")
    if not file.part.is_whole or not file.unit or size <= target_bytes:
        yield file.part.model_copy(update={"version": version}), min(size, file.length)
    elif file.unit == "bytes":
        count = -(-size // target_bytes)
        bounds = [size * index // count for index in range(count + 1)]
        for start, end in itertools.pairwise(bounds):
            yield Part(path=path, version=version, start=start, end=end), end - start
    else:
        first, held = 0, 0
        for group, group_bytes in enumerate([*row_group_bytes(file), target_bytes]):
            if group > first and held + group_bytes > target_bytes:
                yield Part(path=path, version=version, unit=file.unit, start=first, end=group), held
                first, held = group, 0
            held += group_bytes
