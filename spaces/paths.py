"""Read and replace fields of nested frozen dataclasses by dotted path."""

import dataclasses
import difflib
from collections.abc import Iterator
from typing import Any, TypeVar, get_type_hints

from train_fn.errors import InputError

T = TypeVar("T")


def leaves(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield `(dotted path, value)` of every field that is not itself a dataclass, in field order."""
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        path = f"{prefix}{field.name}"
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from leaves(inner, f"{path}.")
        else:
            yield path, inner


def nearest(word: str, known: list[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, or the list of all when none is near."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def field_type(value: object, path: str) -> Any:
    """Return the type of the field at `path`.

    Raises:
        InputError: There is no such field, or the path stops at a group of fields.
    """
    known = [name for name, _ in leaves(value)]
    if path not in known:
        raise InputError(f"there is no field {path!r}{nearest(path, known)}")
    *groups, last = path.split(".")
    for group in groups:
        value = getattr(value, group)
    return get_type_hints(type(value))[last]


def replace_all(value: T, changes: dict[str, object]) -> T:
    """Return a copy with all `changes` (dotted path -> new value) made at once.

    Fields that only make sense together (a longer warm-up and a longer run) are validated after all of them
    have changed, not in between.
    """
    groups: dict[str, dict[str, object]] = {}
    here: dict[str, object] = {}
    for path, new in changes.items():
        head, _, rest = path.partition(".")
        if rest:
            groups.setdefault(head, {})[rest] = new
        else:
            here[head] = new
    here |= {head: replace_all(getattr(value, head), inner) for head, inner in groups.items()}
    return dataclasses.replace(value, **here) if here else value  # type: ignore[type-var]
