"""Begin a search anew beside the old one, which stays whole."""

import itertools
import json
from pathlib import Path

from search.ledger import FILE_NAME as LEDGER
from search.study import JOURNAL
from search.summary import FILE_NAME as SUMMARY
from train_fn.errors import InputError
from train_fn.working_copy import place_of, shown


def check_fresh(storage: Path, name: str) -> None:
    """Refuse to begin anew where the old search cannot be moved aside.

    Raises:
        InputError: The storage folder is the working copy of a store.
    """
    if place_of(storage / name) is not None:
        raise InputError(
            f"--fresh renames the search that is there, and no store does that at once: "
            f"--storage {shown(storage)} stays as it is; begin anew under another path"
        )


def set_aside(storage: Path, name: str) -> Path | None:
    """Move a search to a storage folder of its own, `<storage>/<name>.<n>`; return it, None without a search.

    A search whose ledger is empty and that has no study never began, and is none.

    There it is opened like any other: `--storage <storage>/<name>.<n>`. Its runs in MLflow stay as they are,
    for the new search has other ones. Must be called under the search's lock.

    Raises:
        InputError: The folder cannot be moved.
    """
    folder, ledger = storage / name, storage / name / LEDGER
    never_began = ledger.exists() and not ledger.stat().st_size and not (folder / JOURNAL).exists()
    if not folder.exists() or never_began:
        return None
    places = (storage / f"{name}.{n}" for n in itertools.count(1))
    place = next(place for place in places if not (place / name).exists())
    try:
        place.mkdir(exist_ok=True)
        folder.rename(place / name)
    except OSError as error:
        raise InputError(
            f"cannot move {folder} to {place} ({error.strerror}); make it possible, or use another --storage"
        ) from error
    _keep_summary_true(place / name / SUMMARY, folder.resolve(), (place / name).resolve())
    return place


def _keep_summary_true(summary: Path, old: Path, new: Path) -> None:
    """Let the summary name the weights where they are now: the old place is the new search's."""
    if not summary.exists():
        return
    was, now = (json.dumps(f"{folder}/")[:-1] for folder in (old, new))
    partial = summary.with_name(summary.name + ".partial")
    partial.write_text(summary.read_text().replace(was, now))
    partial.replace(summary)
