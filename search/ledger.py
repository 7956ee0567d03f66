"""The append-only file that a search writes its events into, one JSON line each.

The last line may be torn by a crash: it is cut when the file is opened for writing and ignored when it is
read, so a line either counts whole or never happened.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from search.events import (
    BaselineMeasured,
    Decided,
    Ended,
    Event,
    Reported,
    SearchEnded,
    SearchStarted,
    TrialStarted,
)
from search.halving import Decision
from train_fn.errors import InputError
from train_fn.report import Outcome, Point, Report, evaluation_from_json

FILE_NAME = "events.jsonl"


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
            except (ValueError, TypeError, KeyError) as error:
                rule = "move it away to start the search afresh, or restore it"
                raise InputError(f"{path}: no event at byte {offset} ({error}); {rule}") from error
            offset += len(line)
            yield event, offset


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
        ValueError: No JSON, or a kind of event this version does not know.
        TypeError: Fields are missing or unknown.
    """
    values: dict[str, Any] = json.loads(line)
    match values.pop("kind", None):
        case "SearchStarted":
            return SearchStarted(**values)
        case "BaselineMeasured":
            return BaselineMeasured(values["time"], evaluation_from_json(values["evaluation"]))
        case "TrialStarted":
            return TrialStarted(**values)
        case "Reported":
            return Reported(time=values["time"], report=_report(values["report"]))
        case "Decided":
            return Decided(time=values["time"], decision=Decision(**values["decision"]))
        case "Ended":
            return Ended(time=values["time"], outcome=Outcome(**values["outcome"]))
        case "SearchEnded":
            return SearchEnded(**values)
        case kind:
            raise ValueError(f"unknown kind {kind!r}")


def _report(values: dict[str, Any]) -> Report:
    points = tuple(Point(*figures) for figures in values.pop("points"))
    evaluation = values.pop("eval")
    return Report(
        **values, points=points, eval=None if evaluation is None else evaluation_from_json(evaluation)
    )


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
