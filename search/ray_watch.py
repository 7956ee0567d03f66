"""See that Ray is gone while a command still runs, and end the command at once.

A command whose raylet or control store was killed waits a minute for it, and is then ended by Ray's C++ side
in the middle of a line. Nothing is lost by ending earlier: the ledger holds what happened, and the next
command goes on from it exactly as after a `kill -9` of this one.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from train_fn.repeated import repeated

LOOK_S = 1.0
PATIENCE_S = 60.0
"""How long a cluster's control store may be out of reach."""
_CONNECT_S = 5.0
NEEDED = ("gcs_server", "raylet")
"""Processes without which nothing of Ray works."""


@contextmanager
def watched(lost: Callable[[], str | None], on_loss: Callable[[str], None]) -> Iterator[None]:
    """Ask every second within the block whether something is lost.

    Args:
        lost: Says what is gone, None while nothing is.
        on_loss: Called once, from another thread, with what is gone.
    """

    def look(over: threading.Event) -> None:
        if (what := lost()) is not None and not over.is_set():
            over.set()
            on_loss(what)

    with repeated(look, LOOK_S, "ray-watch"):
        yield


def own_ray(command: int) -> Callable[[], str | None]:
    """Return what tells whether the Ray that process `command` started still runs."""
    needed = [(child.name(), child) for child in psutil.Process(command).children() if child.name() in NEEDED]

    def lost() -> str | None:
        return next((f"Ray's {name} (process {p.pid}) died" for name, p in needed if not _runs(p)), None)

    return lost


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def control_store(address: str) -> Callable[[], str | None]:
    """Return what tells whether a cluster's control store (`host:port`) still answers."""
    host, _, port = address.rpartition(":")
    heard = time.monotonic()

    def lost() -> str | None:
        nonlocal heard
        try:
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        except OSError:
            silent_s = time.monotonic() - heard
            return f"Ray at {address} does not answer" if silent_s >= PATIENCE_S else None
        heard = time.monotonic()
        return None

    return lost
