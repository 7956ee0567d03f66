"""Carry a search that lives on an object store: from there before it runs, back there while it does.

The command works in a working copy (`train_fn.working_copy`). A thread sends what has changed, the ledger
before anything is removed on its word: whatever happens to this machine, the store holds a state that a crash
could have left, and the same command goes on from it anywhere.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.events import Ended, Event, WeightsRemoved
from search.fresh import set_aside
from search.ledger import FILE_NAME as LEDGER
from search.ledger import read_events
from search.lock import Lock
from search.remote_lock import RemoteLock, remotely_locked
from search.state import SearchState, replay
from train_fn import carried, object_store
from train_fn.checkpoint_files import tokens_of
from train_fn.errors import InputError
from train_fn.working_copy import Place, place_of, remove_from_store, send_file

PAUSE_S = 3.0
_SHARE = 10
"""A sending that took long is followed by a pause of so many times its duration."""


class Carrier:
    """Sends a search's files to the store until it is closed.

    Args:
        folder: Of the search, in the working copy.
        place: Of the same on the store.
        lock: Of the search on the store.
    """

    def __init__(self, folder: Path, place: Place, lock: RemoteLock) -> None:
        self._folder, self._place, self._lock = folder, place, lock
        self._sent: dict[Path, tuple[int, int]] = {}
        self._instant: carried.Instant | None = None
        self._over_with: list[str] = []
        self._in_trouble = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="carrier", daemon=True)

    @property
    def lock(self) -> RemoteLock:
        """The search's lock on the store."""
        return self._lock

    def listen(self, state: SearchState, event: Event) -> None:
        """Note what nobody needs any more on the store; returns at once."""
        match event:
            case Ended(outcome=outcome) if outcome.status != "cancelled":
                self._over_with.append(f"trials/{outcome.trial:04d}/checkpoints")
            case WeightsRemoved(trial=trial):
                self._over_with.append(f"trials/{trial:04d}/weights")

    def start(self) -> None:
        """Send what is here and begin to follow.

        Raises:
            InputError: The store does not take it.
        """
        self._over_with += _left_over(self._folder, self._place)
        self._carry()
        self._thread.start()

    def close(self) -> None:
        """Send the rest and end the thread.

        Raises:
            InputError: The store does not take it.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._over_with += _left_over(self._folder, self._place) if self._lock.held else []
        self._carry()

    def _run(self) -> None:
        pause_s = PAUSE_S
        while not self._stop.wait(pause_s):
            began = time.monotonic()
            try:
                self._carry()
                self._in_trouble = False
            except InputError as error:
                if not self._in_trouble:
                    print(f"warning: {error}", file=sys.stderr)
                self._in_trouble = True
            pause_s = max(PAUSE_S, _SHARE * (time.monotonic() - began))

    def _carry(self) -> None:
        """Send what has changed, the ledger first, then remove what it says is over."""
        if not self._lock.held:
            return
        over_with = len(self._over_with)
        instant = carried.instant_of(self._folder)
        if instant != self._instant:
            carried.send_growing(self._folder, instant)
            self._instant = instant
        for file in carried.small_files(self._folder):
            about = file.stat()
            if self._sent.get(file) != (about.st_size, about.st_mtime_ns):
                send_file(file)
                self._sent[file] = (about.st_size, about.st_mtime_ns)
        for _ in range(over_with):
            remove_from_store(Place(self._place.address, f"{self._place.name}/{self._over_with[0]}"))
            self._over_with.pop(0)


@contextmanager
def carrying(storage: Path, name: str, lock: Lock) -> Iterator[Carrier | None]:
    """Keep a search carried within the block; None where the storage is an ordinary folder.

    Args:
        storage: The storage folder, perhaps a working copy.
        name: Of the search.
        lock: Of the search on this machine; held.

    Raises:
        InputError: Another machine runs the search, or the store fails.
    """
    folder = storage / name
    place = place_of(folder)
    if place is None:
        yield None
        return
    with remotely_locked(place, lock, _stop_this_command) as remote:
        _take_over(storage, name)
        carrier = Carrier(folder, place, remote)
        carrier.start()
        try:
            yield carrier
        finally:
            carrier.close()


def _take_over(storage: Path, name: str) -> None:
    """Let the working copy go on from the store; what is none of the store's search is moved aside."""
    folder = storage / name
    found = carried.read_growing(folder)
    if found is None or not carried.is_ahead(folder, found[0]):
        aside = set_aside(storage, name)
        if aside is not None:
            print(f"the working copy held another search of this name; it is kept in {aside}")
    if found is not None and not carried.is_ahead(folder, found[0]):
        carried.write_growing(folder, *found)
        print(f"the search is taken up from {place_of(folder)}")
    carried.fetch_small(folder)


def _left_over(folder: Path, place: Place) -> list[str]:
    """List what is on the store and must not be taken up: what a command could not remove any more.

    A checkpoint that is ahead of the ledger counts as never made: the windows before it would be missing.
    """
    trials = replay(read_events(folder / LEDGER)).trials
    found = set()
    for path in object_store.listed(place.address, f"{place.name}/trials"):
        number, what, inside = (*path.split("/"), "", "")[:3]
        trial = trials.get(int(number))
        if what == "weights" and trial is not None and trial.status != "running" and not trial.checkpoint:
            found.add(f"trials/{number}/weights")
        elif what == "checkpoints" and trial is not None and trial.status not in ("running", "cancelled"):
            found.add(f"trials/{number}/checkpoints")
        elif what == "checkpoints" and inside.startswith("tokens-"):
            known = 0 if trial is None else trial.tokens_seen
            found |= {f"trials/{number}/checkpoints/{inside}"} if tokens_of(Path(inside)) > known else set()
    return sorted(found)


def _stop_this_command(why: str) -> None:
    """Stop as Ctrl-C does: whoever has the search now must not be disturbed by this command."""
    print(f"error: {why}; this command stops", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGINT)
