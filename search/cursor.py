"""How far the ledger of a search has been sent to MLflow: a small file beside it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from train_fn.typed import from_plain, load_json

CURSOR_NAME = "mlflow.json"


@dataclass(frozen=True)
class Cursor:
    """How far the ledger has been sent, and to which runs."""

    uri: str
    """Without its secrets."""
    search_id: str = ""
    offset: int = 0
    """Bytes of the ledger that are in MLflow."""
    runs: dict[int | None, str] = field(default_factory=dict)
    """MLflow run by trial; None is the parent."""


@dataclass(frozen=True)
class _Written:
    """The cursor's file."""

    uri: str
    search_id: str
    offset: int
    runs: dict[str, str]
    """By the trial's number, or `parent`."""


def load_cursor(path: Path, uri: str) -> Cursor:
    """Read how far an earlier command came at this address; the start when there was none.

    The file only saves work. One that cannot be read is as good as none: what is sent again stays single.
    """
    try:
        written = from_plain(_Written, load_json(path.read_bytes()))
        runs = {None if key == "parent" else int(key): run for key, run in written.runs.items()}
    except (OSError, ValueError):
        return Cursor(uri)
    return Cursor(uri, written.search_id, written.offset, runs) if written.uri == uri else Cursor(uri)


def save_cursor(path: Path, cursor: Cursor) -> None:
    """Write the cursor so that a crash leaves the old one or the new one."""
    runs = {"parent" if trial is None else str(trial): run for trial, run in cursor.runs.items()}
    values = {"uri": cursor.uri, "search_id": cursor.search_id, "offset": cursor.offset, "runs": runs}
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values))
    partial.replace(path)
