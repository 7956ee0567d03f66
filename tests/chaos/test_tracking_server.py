"""An MLflow server that is killed while a search runs."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.ledger import FILE_NAME, Ledger
from search.tracking import Tracker
from search.tracking_uri import ENVIRONMENT
from tests.unit.search.recorded import experiment, small_search
from tests.unit.search.sent import Sent, expected_figures, sent_figures


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """Serve `folder/mlflow.db`; on leaving, kill the server and its workers without a word."""
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # ten processes less
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=quiet)
    try:
        wait_until_up(process, port, folder / "server.log")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_up(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text()[-2000:])


@pytest.mark.slow  # a server takes ten seconds to start, twice
@pytest.mark.chaos
def test_a_server_killed_in_the_middle_gets_every_figure_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    port, events = free_port(), small_search()
    folder = tmp_path / "exp9"
    ledger = Ledger(folder / FILE_NAME)
    tracker = Tracker(f"http://127.0.0.1:{port}", experiment(), folder)
    tracker.start()

    def record(first: int, last: int) -> None:
        for event in events[first:last]:
            ledger.append(event)
            tracker.listen(None, event)  # type: ignore[arg-type]

    with server(tmp_path, port):
        record(0, 6)
        assert tracker.flush(60)
        record(6, 9)  # perhaps under way when the server dies
    with caplog.at_level(logging.WARNING):
        record(9, 14)
        assert not tracker.flush(3)
    assert "the search goes on, its figures wait on disk" in caplog.text
    with server(tmp_path, port):
        record(14, len(events))
        (folder / "summary.json").write_text("{}")
        tracker.artifact(folder / "summary.json")
        assert tracker.flush(90)
        tracker.close(10)
        sent = Sent(f"http://127.0.0.1:{port}")
        assert sent.names() == ["exp9", "exp9-0000", "exp9-0001", "exp9-0002", "exp9-0003"]
        assert sent_figures(sent) == expected_figures(events)
        assert sent.artifacts("exp9") == ["summary.json"]
        assert sent.run("exp9").info.status == "FINISHED"
    ledger.close()
