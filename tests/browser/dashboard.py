"""MLflow's own server, started by the command that a search prints."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.tracking_uri import ENVIRONMENT, dashboard_command

START_S = 180


@dataclass(frozen=True)
class Dashboard:
    """A server that answers."""

    address: str
    pid: int


@contextmanager
def dashboard(uri: str, log: Path) -> Iterator[Dashboard]:
    """Serve a database at a free port; one worker and no job runner, which are not what is looked at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    words = shlex.split(dashboard_command(uri))
    assert words[0] == "mlflow"
    command = [sys.executable, "-m", *words, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=log.parent, stdout=out, stderr=out, start_new_session=True, env=environment
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_up(process, address, log)
        yield Dashboard(address, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_up(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text()[-2000:])
