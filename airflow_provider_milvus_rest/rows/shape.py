"""Shapes rows before they are checked, as the user declares with ``field_map``, ``convert`` and ``key_from``.

A source's name is a key of the row or a path into it: ``metadata.tags.0`` is the first element of the list ``tags``
in the object ``metadata``. A key that is equal to the whole path takes precedence.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from airflow_provider_milvus_rest.exceptions import InputError, RowError
from airflow_provider_milvus_rest.rows.convert import NAMED, Convert, call
from airflow_provider_milvus_rest.rows.fields import plain
from airflow_provider_milvus_rest.rows.rejected import restored
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from airflow_provider_milvus_rest.rows.source import ANYTHING, CALLED, EACH, ENTERED, OBJECT, OTHERS, Row, field_of
from airflow_provider_milvus_rest.text import excerpt, name_of, shown

FieldMap = Mapping[str, str | None]
"""From a source's names to the collection's fields; None leaves a value out."""
KEY_CHARS = 32
SPREAD = "*"
"""In ``field_map``, as a field: replace the object with its members. As a name: all names that are not listed."""
_MISSING: Any = object()
_MEMBERS: Any = object()


def key_of(*values: int | str) -> str:
    """The primary key that ``key_from`` makes from these values: 32 hexadecimal digits.

    It is the BLAKE2b hash (128 bits) of the values as a JSON list in UTF-8 without spaces. It is the same in all
    processes and on all machines, and differs between ``("a_b", "c")`` and ``("a", "b_c")``.

    :raises ValueError: a value is neither a str nor an int of at most 64 bits.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError(f"only strings and integers can make a key, not {type(value).__name__} {shown(value)}")
    try:
        return hashlib.blake2b(orjson.dumps(values), digest_size=KEY_CHARS // 2).hexdigest()
    except TypeError as error:
        raise ValueError(f"{shown(values)} cannot be made into a key: {error}") from None


def _parents(path: str) -> list[str]:
    """The names and paths of what a path goes into, the longest first."""
    return [path[:index] for index in range(len(path) - 1, -1, -1) if path[index] == "."]


def _find(row: Any, name: str) -> Any:
    """The value at a key or path of a row, or ``_MISSING``."""
    return row[name] if isinstance(row, Mapping) and name in row else _follow(row, name.split("."))


class Shape:
    """Shapes rows. Call it with a row to get a new dict of the collection's fields and the dynamic fields by name."""

    def __init__(
        self,
        schema: CollectionSchema,
        field_map: FieldMap | None = None,
        key_from: Sequence[str] | None = None,
        convert: Convert | None = None,
    ) -> None:
        self._fields, self._key = schema.fields_, schema.primary_key.name
        self._key_from = tuple(key_from or ())
        self._rest = SPREAD not in (field_map or {})
        self._map: dict[str, Any] = {
            name: _MEMBERS if field == SPREAD else field for name, field in (field_map or {}).items() if name != SPREAD
        }
        self.sources = {field: name for name, field in self._map.items() if field not in (None, _MEMBERS)}
        """The source's names for fields, where they differ from the collection's."""
        # The longest first: a longer path's value is removed from the object that a shorter path takes.
        paths = sorted((name for name in self._map if "." in name), key=lambda name: -name.count("."))
        self._paths = [(name, tuple(name.split(".")), self._keeps(name)) for name in paths]
        self._convert = {
            field: NAMED[how] if isinstance(how, str) else functools.partial(call, how)
            for field, how in (convert or {}).items()
        }
        self._called = {field for field, how in (convert or {}).items() if not isinstance(how, str)}
        self.renames_only = not (paths or _MEMBERS in self._map.values() or key_from or convert)
        """Whether values are only renamed, as in ``sources``, or left out."""
        self.is_trivial = self.renames_only and not field_map

    def columns(self, rows_path: str | None = None) -> dict[str, FieldSchema | None]:
        """The source's columns, as far as the names show them: fields by their keys or paths.

        Fields with a ``convert`` function are ANYTHING or CALLED: it gets their values as the source has them.
        """
        columns: dict[str, FieldSchema | None] = {} if self._rest else {OTHERS: None}
        columns |= {name: None for name, field in self._map.items() if field is None}
        spread = [name for name, field in self._map.items() if field is _MEMBERS]
        for field in self._fields:
            named = field.name in self.sources or (self._rest and field.name not in self._map)
            names = [self.sources.get(field.name, field.name)] * named + [f"{name}.{field.name}" for name in spread]
            its = field
            if field.name in self._called:
                its = ANYTHING if field.type in ("VarChar", "Text") else CALLED
            columns |= dict.fromkeys(names, its)
        for name in [*self.sources.values(), *self._key_from]:
            if field_of(columns, name) is None:
                columns[name] = ANYTHING
        columns |= dict.fromkeys(spread, OBJECT)
        for path in [*self._map, *self._key_from]:
            for name in _parents(path):
                found, step = columns.get(name) or ANYTHING, path[len(name) + 1 :].partition(".")[0]
                # Others are read as they are.
                if found in (ANYTHING, CALLED) or ("Vector" in found.type and step.isdecimal()):
                    columns[name] = ENTERED
        for name in self._key_from:
            columns.setdefault(name, FieldSchema(name=name, type="VarChar"))
        if rows_path:
            prefixes = (rows_path, f"{rows_path}.{EACH}")
            columns = {f"{prefix}.{name}": field for prefix in prefixes for name, field in columns.items()}
            columns |= {OTHERS: None} | dict.fromkeys([rows_path, *_parents(rows_path)], ENTERED)
        return columns

    def _keeps(self, name: str) -> bool:
        """Whether an object that a path goes into is kept as well, so that the path's value must be removed from it."""
        ends = [parent for parent in _parents(name) if parent in self._map]
        kept = [self._map[end] is not None or end.rpartition(".")[2].isdecimal() for end in ends]  # elements stay
        return kept[0] if kept else self._rest

    def __call__(self, row: Mapping[Any, Any], position: str | None = None) -> dict[Any, Any]:
        """The fields of a row.

        :raises RowError: two values are mapped to one field, one cannot be converted, or the key cannot be made.
        """
        fields: dict[Any, Any] = {}
        left: Any = row
        for name, path, keeps in self._paths:  # move the value to a key that is equal to the path
            if name not in left and (value := _follow(left, path)) is not _MISSING:
                left = _without(left, path) if keeps else dict(left)
                left[name] = value
        for name, value in left.items():
            field = self._map.get(name, name if self._rest else None)
            if field in fields or field is _MEMBERS:
                self._put(fields, name, value, field, position)
            elif field is not None or (name is None and self._rest):  # a row may have the key None
                fields[field] = value
        try:
            for field, convert in self._convert.items():
                if fields.get(field) is not None:
                    fields[field] = convert(fields[field])
            if self._key_from:
                field = self._key
                self._make_key(row, fields)
        except ValueError as error:
            raise RowError(str(error), position=position, field=field) from None
        return fields

    def _put(self, fields: dict[Any, Any], name: Any, value: Any, field: Any, position: str | None) -> None:
        """Put a value, or an object's members, into the field that ``field_map`` names.

        :raises RowError: the field already has a value, or the value has no members to replace it with.
        """
        members = {} if field is None else {field: (name, value)}
        if field is _MEMBERS:
            if not isinstance(value, Mapping) and value is not None:
                reason = f"must be an object, not {type(value).__name__}: field_map replaces it with its members"
                raise RowError(reason, position=position, field=name)
            members = {member: (f"{name}.{name_of(member)}", inner) for member, inner in (value or {}).items()}
        for member, (source, inner) in members.items():
            if member in fields:
                other = self.sources.get(member, source)
                if other == member:  # it is the second one
                    other = next(f"{name}.{member}" for name, target in self._map.items() if target is _MEMBERS)
                reason = f"is given twice: also as {other!r} (field_map)"
                raise RowError(reason, position=position, field=name_of(member))
            fields[member] = inner

    def _make_key(self, row: Mapping[Any, Any], fields: dict[Any, Any]) -> None:
        values = []
        try:
            for name in self._key_from:
                value = _find(row, name)
                if value is None or value is _MISSING:
                    raise ValueError(f"{name!r} is null" if value is None else f"the row has no {name!r}")
                values.append(plain(value))
            key = key_of(*values)
        except ValueError as error:
            raise ValueError(f"cannot be made by key_from: {error}") from None
        if fields.get(self._key) is None:  # LangChain's documents have a null key
            fields[self._key] = key
        elif fields[self._key] != key:
            raise ValueError(f"is {shown(fields[self._key])}, but key_from makes a different key from this row ({key})")


def unfold(rows: Iterable[Row], path: str | None) -> Iterator[Row]:
    """The rows at ``rows_path`` in documents: a list of rows, or one row. Rows of a rejects file are restored."""
    for row in map(restored, rows):
        if path is None or row.error or row.rows_path == path:
            yield row
            continue
        found, position = _find(row.entity, path), f"{row.position}.{path}"
        if isinstance(found, Mapping):
            yield restored(Row(position, found, None, path))
        elif isinstance(found, (list, tuple)):
            for index, entity in enumerate(found):
                yield restored(Row(f"{position}[{index}]", entity, None, path))
        else:
            reason = f"has {type(found).__name__} at {path!r} (rows_path), not a list of rows or one row"
            if found is _MISSING:
                document = row.entity
                has = ", ".join(map(name_of, document)) if isinstance(document, Mapping) else type(document).__name__
                reason = f"has no {path!r}, where the rows should be (rows_path); it has {excerpt(has) or 'nothing'}"
            yield Row(row.position, row.entity, RowError(reason, position=row.position))


def _follow(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        if type(value) is dict or isinstance(value, Mapping):  # isinstance is much slower
            value = value.get(name, _MISSING)
        elif isinstance(value, (list, tuple)) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _MISSING
    return value


def _without(value: Any, path: Sequence[str]) -> Any:
    """A copy without the member at the end of a path. Only what changes is copied; elements of lists are kept."""
    name, *rest = path
    is_object = type(value) is dict or isinstance(value, Mapping)
    copy: Any = dict(value) if is_object else list(value)
    if rest:
        step = name if is_object else int(name)
        copy[step] = _without(copy[step], rest)
    elif is_object:
        del copy[name]
    return copy


def check(rows_path: Any, field_map: Any, key_from: Any, convert: Any) -> None:
    """Refuse values that are wrong for any collection.

    :raises InputError: a parameter is invalid.
    """
    if field_map is not None and not isinstance(field_map, Mapping):
        raise InputError(f"field_map must be a dict of names, not {type(field_map).__name__}")
    seen: dict[str, str] = {}
    for name, field in (field_map or {}).items():
        if not (_is_name(name) and (field is None or _is_name(field))):
            raise InputError(f"field_map: {shown(name)}: {shown(field)} must map a name to a field's name or None")
        if name == SPREAD and field is not None:
            raise InputError(f"field_map: {SPREAD!r} stands for all names that are not listed, and can only be None")
        if field in seen:
            raise InputError(f"field_map: both {seen[field]!r} and {name!r} are mapped to {field!r}")
        if field not in (None, SPREAD):
            seen[field] = name
    if key_from is not None and not (isinstance(key_from, (list, tuple)) and key_from and all(map(_is_name, key_from))):
        raise InputError(f"key_from must be a list of names or paths, not {shown(key_from)}")
    if convert is not None and not isinstance(convert, Mapping):
        raise InputError(f"convert must be a dict of fields and conversions, not {type(convert).__name__}")
    for field, how in (convert or {}).items():
        if not _is_name(field) or not (callable(how) or (isinstance(how, str) and how in NAMED)):
            known = ", ".join(map(repr, NAMED))
            raise InputError(f"convert: {shown(field)}: {shown(how)} must be one of {known}, or a function")
    if rows_path is not None and not _is_name(rows_path):
        raise InputError(f"rows_path must be a name or a path, not {shown(rows_path)}")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
