"""The lock of a search on an object store: one command at a time, over all machines.

Stores have no locks. So a command writes its name into an object, waits until whoever began at the same
moment has done so too, and looks whose name stands there. It writes it again every few seconds; one that
stays the same for `search.lock.DEAD_AFTER_S` belongs to a dead command. Within one machine `search.lock`
decides.
"""

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from search.local_ray import RayInstance
from search.lock import DEAD_AFTER_S, Lock, Owner, read_owner, refusal
from train_fn import object_store
from train_fn.errors import InputError
from train_fn.working_copy import Place

BEAT_S = 10.0
SETTLE_S = 2.0
"""Longer than it takes to write an object after one has seen that there is none."""


class RemoteLock:
    """A lock that is held; `previous` is who died with it, None when the last command ended in good order."""

    def __init__(
        self, place: Place, owner: Owner, previous: Owner | None, lost: Callable[[str], None]
    ) -> None:
        self.previous = previous
        self._place, self._owner, self._lost = place, owner, lost
        self._token, self._beats = uuid.uuid4().hex, itertools.count()
        self._held, self._over = True, threading.Event()
        self._heart = threading.Thread(target=self._beat, name="remote-lock", daemon=True)
        self._write()
        time.sleep(SETTLE_S)
        self._check()
        self._heart.start()

    @property
    def held(self) -> bool:
        """Whether no other command has taken the search over, as far as is known."""
        return self._held

    def note_ray(self, instance: RayInstance) -> None:
        """Write down which Ray serves this command, for the one that finds it dead."""
        self._owner = self._owner.served_by(instance)
        self._write()

    def release(self) -> None:
        """Let the search go."""
        self._over.set()
        self._heart.join()
        if self._held:
            object_store.remove(self._place.address, self._place.name)

    def _write(self) -> None:
        record = asdict(self._owner) | {"token": self._token, "beat": next(self._beats)}
        object_store.put(self._place.address, self._place.name, json.dumps(record).encode())

    def _check(self) -> None:
        """Look whose name stands there.

        Raises:
            InputError: Another command's.
        """
        content = object_store.get(self._place.address, self._place.name)
        text = "" if content is None else content.decode(errors="replace")
        if content is not None and self._token not in text:
            self._held = False
            raise InputError(refusal(_search_of(self._place), read_owner(text)))

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self._check()
                self._write()
            except InputError as error:
                if not self._held:
                    self._lost(str(error))
                    return
                # The store is away: whoever sends something says so.


@contextmanager
def remotely_locked(folder: Place, local: Lock, lost: Callable[[str], None]) -> Iterator[RemoteLock]:
    """Hold the lock of a search on a store within the block.

    Args:
        folder: Of the search.
        local: The lock of the working copy, which is held: it knows who of this machine is dead.
        lost: Told in one line when another command has taken the search over.

    Raises:
        InputError: Another command runs the search, or the store does not answer.
    """
    place = Place(folder.address, f"{folder.name}.lock")
    lock = RemoteLock(place, local.owner, _previous(place, local.previous), lost)
    try:
        yield lock
    finally:
        lock.release()


def _previous(place: Place, dead: Owner | None) -> Owner | None:
    """Return who died with the lock; takes `DEAD_AFTER_S` where nobody knows of the death.

    Raises:
        InputError: Somebody alive has it.
    """
    content = object_store.get(place.address, place.name)
    if content is None:
        return None
    owner = read_owner(content.decode(errors="replace"))
    if owner is None or (dead is not None and _name(owner) == _name(dead)):
        return owner
    print(f"{place} names {owner.host}: waiting up to {DEAD_AFTER_S:.0f} s for a sign of life from there")
    looked = time.monotonic()
    while time.monotonic() - looked < DEAD_AFTER_S:
        time.sleep(BEAT_S / 4)
        now = object_store.get(place.address, place.name)
        if now is None:
            return None
        if now != content:
            raise InputError(refusal(_search_of(place), read_owner(now.decode(errors="replace"))))
    return owner


def _search_of(lock: Place) -> Place:
    return Place(lock.address, lock.name.removesuffix(".lock"))


def _name(owner: Owner) -> tuple[int, str, float]:
    return owner.pid, owner.host, owner.since
