"""The files of a search, carried between its folder in a working copy and the store.

What lies in the folder itself is carried; folders below it (trials, Ray's own) are not. The ledger and the
study's journal belong together, and both only grow: `whole-files.json`, written after them, says how many
bytes of each make up one instant of the search, which is a state that a crash could have left.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from train_fn import object_store
from train_fn.errors import InputError
from train_fn.typed import from_plain, load_json
from train_fn.working_copy import Place, place_of, write_whole

LEDGER, JOURNAL = "events.jsonl", "study.journal"
_GROWING = (LEDGER, JOURNAL)
_INDEX = "whole-files.json"


@dataclass(frozen=True)
class Instant:
    """Bytes of the growing files at one instant; a file that is missing has none."""

    ledger: int = 0
    journal: int = 0


def instant_of(folder: Path) -> Instant:
    """Measure the growing files while they may be written to."""
    while True:
        ledger, journal = _bytes(folder / LEDGER), _bytes(folder / JOURNAL)
        if _bytes(folder / LEDGER) == ledger:
            return Instant(ledger, journal)


def send_growing(folder: Path, instant: Instant) -> None:
    """Send the ledger and the journal as they were at an instant.

    Raises:
        InputError: The store does not take them; it keeps the instant before.
    """
    place = _store_of(folder)
    for name, size in zip(_GROWING, (instant.ledger, instant.journal), strict=True):
        object_store.put(place.address, f"{place.name}/{name}", _beginning(folder / name, size))
    object_store.put(place.address, f"{place.name}/{_INDEX}", json.dumps(asdict(instant)).encode())


def small_files(folder: Path) -> list[Path]:
    """List the files of a search that are carried one by one: the summary, the plan, what a report wrote."""
    return sorted(
        file
        for file in folder.glob("[!.]*")
        if file.is_file() and file.name not in _GROWING and file.suffix not in (".partial", ".lock")
    )


def read_growing(folder: Path) -> tuple[bytes, bytes] | None:
    """Read the ledger and the journal from the store, as they were at one instant; None without a search.

    Raises:
        InputError: The store does not give them, or they are shorter than they were.
    """
    place = _store_of(folder)
    told = object_store.get(place.address, f"{place.name}/{_INDEX}")
    if told is None:
        return None
    try:
        instant = from_plain(Instant, load_json(told))
    except ValueError as error:
        raise InputError(f"{_INDEX} of {place} cannot be read ({error}); restore it") from error
    return _get(place, LEDGER, instant.ledger), _get(place, JOURNAL, instant.journal)


def write_growing(folder: Path, ledger: bytes, journal: bytes) -> None:
    """Write what `read_growing` returned into the working copy, where nobody else has these files open."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(_GROWING, (ledger, journal), strict=True):
        write_whole(folder / name, content)


def is_ahead(folder: Path, ledger: bytes) -> bool:
    """Tell whether the working copy's ledger goes on from the store's, or is the same."""
    file = folder / LEDGER
    return _bytes(file) >= len(ledger) and (not ledger or _beginning(file, len(ledger)) == ledger)


def fetch_small(folder: Path) -> None:
    """Bring the small files that are missing in the working copy or newer on the store.

    Raises:
        InputError: The store does not give them.
    """
    place = _store_of(folder)
    for name, written in object_store.listed(place.address, place.name, recursive=False).items():
        file = folder / name
        if name in (*_GROWING, _INDEX) or (file.exists() and file.stat().st_mtime >= written):
            continue
        content = object_store.get(place.address, f"{place.name}/{name}")
        if content is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(file, content)
            os.utime(file, (written, written))


def fetch_search(folder: Path) -> None:
    """Bring the files of a search into a working copy, to be read; an ordinary storage folder has them.

    A working copy in which the search runs, or ran last, is ahead of the store and keeps its own.

    Raises:
        InputError: The store does not give them.
    """
    if place_of(folder) is None:
        return
    found = read_growing(folder)
    if found is not None and not is_ahead(folder, found[0]):
        write_growing(folder, *found)
    fetch_small(folder)


def _store_of(folder: Path) -> Place:
    place = place_of(folder)
    assert place is not None, f"{folder} is in no working copy"
    return place


def _get(place: Place, name: str, size: int) -> bytes:
    content = object_store.get(place.address, f"{place.name}/{name}") or b""
    if len(content) < size:
        raise InputError(f"{name} of {place} has {len(content):,} of its {size:,} bytes; restore it")
    return content[:size]


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _beginning(file: Path, size: int) -> bytes:
    if size == 0:
        return b""
    with file.open("rb") as opened:
        return opened.read(size)
