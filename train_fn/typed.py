"""Read JSON back into the frozen dataclasses it was written from, and refuse whatever is no such value.

A file may have been edited, cut or written by another version. What has the right names but the wrong types
would fail much later, somewhere else, so every field is checked against its annotation.
"""

import dataclasses
import json
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]
_SHOWN_CHARS = 60
_LARGEST = 2**63
LARGEST_FIGURE = 1e150
"""Nothing that is measured comes near; sums and squares of smaller ones are finite."""


def load_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is none, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def from_plain(kind: type[T], plain: object) -> T:
    """Return the dataclass that plain JSON values describe.

    Fields with a default may be missing, unknown ones are refused, numbers are finite, and a list stands for
    a tuple, or for a dataclass without the names of its fields.

    Raises:
        ValueError: Something has another type than its field, or is missing or unknown.
    """
    reader: Reader = _reader(kind)  # type: ignore[arg-type]
    value: T = reader(plain)
    return value


@cache
def _reader(kind: Any) -> Reader:
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind)
    if origin in (Union, types.UnionType):
        return _union(kind, tuple(_reader(one) for one in arguments))
    if origin is Literal:
        return lambda value: value if value in arguments else _refuse(value, kind)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(map(item, value)) if isinstance(value, list) else _refuse(value, "a list")
    if origin in (dict, Mapping):
        return _mapping(_reader(arguments[1]))
    return _PLAIN[kind]


def _dataclass(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    required = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def read(value: Any) -> Any:
        if isinstance(value, list) and len(value) == len(readers):
            value = dict(zip(readers, value, strict=True))
        if not isinstance(value, dict):
            return _refuse(value, f"a {kind.__name__}")
        if unknown := sorted(value.keys() - readers.keys()):
            raise ValueError(f"{kind.__name__} has no {unknown[0][:_SHOWN_CHARS]!r}")
        if missing := sorted(required - value.keys()):
            raise ValueError(f"{kind.__name__} lacks {missing[0]}")
        found = {}
        for name, item in value.items():
            try:
                found[name] = readers[name](item)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return kind(**found)

    return read


def _union(kind: Any, readers: tuple[Reader, ...]) -> Reader:
    def read(value: Any) -> Any:
        first: ValueError | None = None
        for reader in readers:
            try:
                return reader(value)
            except ValueError as error:
                first = first or error
        raise first or ValueError(kind)

    return read


def _mapping(item: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            return _refuse(value, "an object")
        return {key: item(inner) for key, inner in value.items()}

    return read


def _integer(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    return value if whole else _refuse(value, "a whole number of 64 bits")


def _float(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) <= LARGEST_FIGURE else _refuse(value, "a figure")
    return _integer(value) if isinstance(value, int) else _refuse(value, "a number")


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _refuse(value, "a text")


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else _refuse(value, "true or false")


def _none(value: Any) -> Any:
    return None if value is None else _refuse(value, "null")


def _refuse(value: Any, rule: object) -> Any:
    shown = repr(value)
    raise ValueError(f"{shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + '...'} is not {rule}")


_PLAIN: Mapping[Any, Reader] = {
    int: _integer,
    float: _float,
    str: _text,
    bool: _boolean,
    type(None): _none,
    object: lambda value: value,
    Any: lambda value: value,
}
