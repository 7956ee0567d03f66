"""Who runs a search: one command at a time, known by name, and never kept out by a dead one.

The lock is a file beside the search's folder. On one host the kernel decides (`flock`), which lets go when a
process dies in whatever way. Over a shared file system that does not pass `flock` on, a command of another
host counts as alive as long as it touches the file. The file is empty when the last command ended in good
order; otherwise it still says who died, and with which Ray.
"""

import fcntl
import getpass
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from search.local_ray import RayInstance
from spaces.words import seconds_text
from train_fn.errors import InputError

TOUCH_S = 5.0
DEAD_AFTER_S = 60.0
"""A command of another host that has not touched its lock for so long is dead."""


@dataclass(frozen=True)
class Owner:
    """A command that runs a search."""

    pid: int
    host: str
    user: str
    since: float
    """Seconds since the epoch."""
    ray_session: str = ""
    """Folder of the Ray that the command started on its host; empty before, or on a running cluster."""
    ray_job: str = ""
    """The command's job on a running cluster."""
    ray_cluster: str = ""
    """`RayInstance.cluster` of that; empty in a lock of an earlier version."""

    def served_by(self, instance: RayInstance) -> "Owner":
        """Return the command with the Ray that serves it."""
        job = "" if instance.session else instance.job
        return replace(self, ray_session=instance.session, ray_job=job, ray_cluster=instance.cluster)

    def job_left_on(self, instance: RayInstance) -> str:
        """Return the command's job on a running cluster; empty where it had none, or had it on another."""
        return "" if instance.session or self.ray_cluster not in ("", instance.cluster) else self.ray_job


class Lock:
    """A lock that is held; `previous` is who died with it, None when the last command ended in good order."""

    def __init__(self, path: Path, file: int, owner: Owner, previous: Owner | None) -> None:
        self.previous = previous
        self._path, self._file, self._owner = path, file, owner
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="search-lock", daemon=True)
        self._write(asdict(owner))
        self._heart.start()

    @property
    def owner(self) -> Owner:
        """This command."""
        return self._owner

    def note_ray(self, instance: RayInstance) -> None:
        """Write down which Ray serves this command, for the one that finds it dead."""
        self._owner = self._owner.served_by(instance)
        self._write(asdict(self._owner))

    def release(self) -> None:
        """Let the search go; the file stays, empty."""
        self._over.set()
        self._heart.join()
        os.ftruncate(self._file, 0)
        os.close(self._file)

    def _write(self, record: dict[str, object]) -> None:
        text = json.dumps(record).encode()
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text, 0)
            os.fsync(self._file)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def _beat(self) -> None:
        while not self._over.wait(TOUCH_S):
            with suppress(OSError):  # a shared folder that is away for a moment ends no heartbeat
                os.utime(self._file)


@contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """Hold a search's lock within the block.

    Args:
        path: The lock file; its folder exists.

    Raises:
        InputError: Another command runs the search, or the file cannot be written.
    """
    owner = Owner(os.getpid(), socket.gethostname(), _user(), time.time())
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        previous = _previous(path, file, owner.host)
        lock = Lock(path, file, owner, previous)
    except BaseException:
        os.close(file)
        raise
    try:
        yield lock
    finally:
        lock.release()


def read_owner(text: str) -> Owner | None:
    """Read a lock file's content; None when it names nobody: empty, or torn by a crash."""
    try:
        values = json.loads(text)
        return Owner(
            pid=int(values["pid"]),
            host=str(values["host"]),
            user=str(values["user"]),
            since=float(values["since"]),
            ray_session=str(values["ray_session"]),
            ray_job=str(values["ray_job"]),
            ray_cluster=str(values.get("ray_cluster", "")),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _previous(path: Path, file: int, host: str) -> Owner | None:
    """Take the kernel's lock; return who died with it.

    Raises:
        InputError: Somebody alive has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(refusal(path.with_suffix(""), read_owner(_content(file)))) from None
    found = read_owner(_content(file))
    if found is not None and found.host != host:
        silent_s = _now_there(path) - os.fstat(file).st_mtime
        if silent_s < DEAD_AFTER_S:
            waits = f"; if it is dead, wait until it has been silent for {DEAD_AFTER_S:.0f} s"
            raise InputError(refusal(path.with_suffix(""), found) + waits)
    return found


def _content(file: int) -> str:
    return os.pread(file, 1 << 16, 0).decode(errors="replace")


def _now_there(path: Path) -> float:
    """Return the time by the clock of the file system: two hosts need not agree on theirs."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError as error:
        raise _unwritable(path, error) from error


def refusal(search: object, owner: Owner | None) -> str:
    """Say in one line who runs a search, named by where it lies, and what to do about it."""
    if owner is None:
        return f"{search} is held by a command that is just starting; wait for it, or use another --storage"
    age = seconds_text(max(0.0, time.time() - owner.since))
    return (
        f"the search {search} is being run by process {owner.pid} on {owner.host} (user {owner.user}, since "
        f"{age}); wait for it, stop it with Ctrl-C, or use another --storage"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}; make room there or use another --storage")
