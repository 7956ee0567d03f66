"""A search that runs as a job of a cluster, followed from any machine that reaches the cluster's dashboard.

The command that is typed here is the job's command, and that is how it is found again: while a job with the
same command runs, it is followed; otherwise it is submitted. So a command that lost its connection, or was
stopped with Ctrl-C, is simply given again. The job runs on the head, with the project installed there.
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from train_fn.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

LOOK_S = 1.0
PATIENCE_S = 60.0
"""How long the dashboard may be out of reach while a job is followed."""
TOKEN = Path("~/.ray/auth_token")
"""Where `ray get-auth-token --generate` leaves the token that opens a cluster."""
_FAILED = 1


def is_dashboard(address: str) -> bool:
    """Tell whether an address is that of a cluster's dashboard, which takes jobs."""
    return address.startswith(("http://", "https://"))


def job_command(arguments: list[str]) -> str:
    """Return the command of the job: the one that was typed, without the address it was given.

    Args:
        arguments: Of `python -m search.run`.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--address")
    _, kept = parser.parse_known_args(arguments)
    return shlex.join(["python", "-m", "search.run", *kept])


def run_remotely(address: str, arguments: list[str], storage: str) -> int:
    """Run a command as a job of a cluster, or follow the job that runs it, until it is over.

    Args:
        address: Of the cluster's dashboard, for example `http://127.0.0.1:8265`.
        arguments: Of `python -m search.run`.
        storage: The storage folder that they name.

    Returns:
        The exit code of the job's command.

    Raises:
        InputError: The folder has no full path, or the dashboard does not answer, or not without a token.
    """
    if not storage.startswith("/") and ":/" not in storage:
        raise InputError(
            f"--storage {storage!r} must be a full path where the command runs on a cluster; give a folder "
            "that all its machines see, for example /srv/storage/runs"
        )
    from ray.job_submission import JobSubmissionClient

    command = job_command(arguments)
    # Ray, its own commands too, would take the cluster that is named there instead.
    named = [name for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if os.environ.pop(name, None)]
    try:
        client = JobSubmissionClient(address)
        running = [
            job.submission_id
            for job in client.list_jobs()
            if job.entrypoint == command and not job.status.is_terminal() and job.submission_id
        ]
        job = running[0] if running else client.submit_job(entrypoint=command)
    except _trouble() as error:
        raise _no_answer(address, error) from None
    unset = f"env {' '.join(f'-u {name}' for name in named)} " if named else ""
    stop = f"{unset}ray job stop --address {address} {job}"
    print(f"{'following' if running else 'started'} job {job} at {address}; `{stop}` stops it")
    try:
        info = _follow(client, address, job)
    except KeyboardInterrupt:
        print("no longer followed; the search goes on, and the same command follows it again")
        raise
    if info.driver_exit_code is None:  # it never ran, or was stopped
        print(f"error: job {job} is {info.status.value}: {info.message}", file=sys.stderr)
        return _FAILED
    return int(info.driver_exit_code)


def _follow(client: "JobSubmissionClient", address: str, job: str) -> "JobDetails":
    """Print what the job prints until it is over; a connection that comes back is no matter."""
    shown = 0
    heard = time.monotonic()
    while True:
        try:
            info = client.get_job_info(job)
            text = client.get_job_logs(job)
        except _trouble() as error:
            if time.monotonic() - heard > PATIENCE_S:
                raise _no_answer(address, error) from None
        else:
            heard = time.monotonic()
            print(text[shown:], end="", flush=True)
            shown = len(text)
            if info.status.is_terminal():
                return info
        time.sleep(LOOK_S)


def _trouble() -> tuple[type[Exception], ...]:
    """Return what Ray's client raises for a dashboard that is away, refuses, or answers with an error."""
    from ray.exceptions import AuthenticationError

    return AuthenticationError, RuntimeError, OSError


def _no_answer(address: str, error: Exception) -> InputError:
    told = " ".join(str(error).split())[:200]
    return InputError(
        f"--address {address!r}: no Ray dashboard answers ({told}); bring it here with "
        f"`ray dashboard cluster.yaml`, and the cluster's token into {TOKEN}"
    )
