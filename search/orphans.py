"""What a killed command leaves running, and how it is ended before anybody takes up its trials.

Ray 2.60 asks the kernel to kill its raylet with the command that started it. Its workers notice within three
seconds, its agents never do (measured); where the raylet alone was killed, workers train on. Such a worker
would write into a folder that the next command gives to another one, so nothing goes on before all of them
are gone. They are killed at once: what they write appears whole or not at all.
"""

import os
import time
from collections.abc import Iterator

import psutil

from train_fn.errors import InputError

KILL_S = 10.0
JOB_S = 120.0
_NAMES = ("ray", "gcs_server", "python")


def end_processes(session: str) -> int:
    """End every process of a Ray session on this machine; return how many there were.

    Args:
        session: The folder of the session, as `Owner.ray_session` has it.

    Raises:
        InputError: A process cannot be ended.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + KILL_S
    while left := list(processes_of(session)):
        if time.monotonic() > deadline:
            raise _stays(left[0])
        for process in left:
            ended.add(process.pid)
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
            except psutil.AccessDenied:
                raise _stays(process) from None
        psutil.wait_procs(left, timeout=1.0)
    return len(ended)


def processes_of(session: str) -> Iterator[psutil.Process]:
    """Yield the processes of a Ray session on this machine: each has its log open in the session's folder.

    Ray's workers overwrite their command line and a part of their environment, so neither tells. Somebody
    who reads a log there is none of them.
    """
    inside = f"{session.rstrip('/')}/"
    for process in psutil.process_iter():
        try:
            if _belongs(process, inside):
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone meanwhile, or another user's: not of our session


def _belongs(process: psutil.Process, inside: str) -> bool:
    if process.pid == os.getpid() or not process.name().startswith(_NAMES):
        return False
    if process.status() == psutil.STATUS_ZOMBIE:
        return False
    return any(inside in argument for argument in process.cmdline()) or _has_open(process, inside)


def wait_for_job(job: str) -> None:
    """Wait until a running cluster has ended all actors of a killed command. Ray must be connected.

    Raises:
        InputError: They do not end.
    """
    deadline = time.monotonic() + JOB_S
    while left := _left_of(job):
        if time.monotonic() > deadline:
            raise InputError(
                f"job {job} of a command that was killed {left} after {JOB_S:.0f} s; "
                "end it with `ray job stop`, or restart the cluster"
            )
        time.sleep(1.0)


def _left_of(job: str) -> str:
    """Say which actors of a job are on the cluster; empty when there are none."""
    from ray.util.state import list_actors
    from ray.util.state.exception import RayStateApiException

    mine = [("job_id", "=", job), ("state", "!=", "DEAD")]
    try:
        left = list_actors(filters=mine, raise_on_missing_output=False)
    except (RayStateApiException, ConnectionError) as error:  # the dashboard is busy, or not up yet
        return f"may still have actors on the cluster ({error})"
    return f"still has {len(left)} actors on the cluster" if left else ""


def _has_open(process: psutil.Process, inside: str) -> bool:
    folder = f"/proc/{process.pid}/fd"
    try:
        return any(_target(f"{folder}/{name}").startswith(inside) for name in os.listdir(folder))
    except OSError:
        return False  # gone meanwhile, or another user's


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # closed meanwhile


def _stays(process: psutil.Process) -> InputError:
    return InputError(
        f"process {process.pid} of a killed command cannot be ended; end it, or give another --storage"
    )
