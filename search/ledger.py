"""The append-only file that a search writes its events into, one JSON line each.

The last line may be torn by a crash: it is cut when the file is opened for writing and ignored when it is
read, so a line either counts whole or never happened.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from search.events import Event, Reported
from train_fn.errors import InputError
from train_fn.report import Point
from train_fn.typed import from_plain, load_json

FILE_NAME = "events.jsonl"
_KINDS: Mapping[object, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


class Ledger:
    """Append events to a file that no other process appends to: `search.lock` sees to that.

    Args:
        path: The file; its folder is made when missing.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unwritable(path, error) from error
        self._size = _whole_lines(self._file)
        os.ftruncate(self._file, self._size)
        os.lseek(self._file, self._size, os.SEEK_SET)

    def append(self, event: Event) -> None:
        """Write one event; all but reports are on the disk when this returns.

        Raises:
            InputError: The line cannot be written (a full disk). The file is left without it.
        """
        line = encode(event).encode()
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            if not isinstance(event, Reported):
                os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            raise _unwritable(self._path, error) from error
        self._size += len(line)

    def close(self) -> None:
        """Put everything on the disk and let the file go."""
        os.fsync(self._file)
        os.close(self._file)


def read_events(path: Path) -> Iterator[Event]:
    """Read the events of a ledger back in their order; a missing file holds none.

    Raises:
        InputError: A whole line is no event.
    """
    for event, _ in read_from(path, 0):
        yield event


def read_from(path: Path, offset: int) -> Iterator[tuple[Event, int]]:
    """Read events from a byte offset on, each with the offset behind it.

    Args:
        path: The ledger, perhaps still being written.
        offset: Bytes to skip: 0, or an offset given by an earlier call.

    Raises:
        InputError: A whole line is no event.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                event = decode(line)
            except ValueError as error:
                rule = "move it away to start the search afresh, or restore it"
                raise InputError(f"{path}: no event at byte {offset} ({error}); {rule}") from error
            offset += len(line)
            yield event, offset


def starts_line(path: Path, offset: int) -> bool:
    """Tell whether a byte offset is the start of a line of the ledger, or its end."""
    if offset <= 0:
        return offset == 0
    with path.open("rb") as file:
        file.seek(offset - 1)
        return file.read(1) == b"\n"


def encode(event: Event) -> str:
    """Write an event as one line of compact JSON; numbers keep every digit.

    Raises:
        ValueError: A figure is not finite.
    """
    values = {"kind": type(event).__name__, **_fields(event)}
    return json.dumps(values, default=_jsonable, separators=(",", ":"), allow_nan=False) + "\n"


def decode(line: str | bytes) -> Event:
    """Read an event from its line.

    Raises:
        ValueError: No JSON, a kind of event this version does not know, or fields that are no such event's.
    """
    values = load_json(line)
    if not isinstance(values, dict):
        raise ValueError("no object")
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"unknown kind {kind!r}")
    return from_plain(_KINDS[kind], values)


def _jsonable(value: object) -> object:
    if isinstance(value, Point):  # there are many: no names
        return [value.tokens_seen, value.loss, value.ema_90, value.ema_98]
    return _fields(value)


def _fields(value: Any) -> dict[str, object]:
    assert is_dataclass(value), f"{value!r} is no value of an event"
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _whole_lines(file: int) -> int:
    """Return the number of bytes up to and with the last line feed."""
    block = 1 << 16
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - block)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}; make room there or use another --storage")
