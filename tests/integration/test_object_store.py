"""A search that lives on an object store: killed, its machine lost, and gone on with from another one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.events import Ended, Event, Reported
from search.ledger import decode
from tests.integration.commands import REPOSITORY, command
from tests.object_store import s3_server
from train_fn import object_store
from train_fn.carried import LEDGER

SETTINGS = (
    "data.clean.near_duplicates=false", "resources.slots=1", "budget.trials=2", "run.max_tokens=20000",
    "budget.keep_weights=1",
)  # fmt: skip


def on_machine(home: Path) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    return os.environ | {"HOME": str(home), "PYTHONPATH": str(REPOSITORY)}


def search_on(address: str) -> list[str]:
    line = command(Path("storage"), *SETTINGS)
    line[line.index("--storage") + 1] = address
    return line


def wait_for_checkpoint(process: "subprocess.Popen[str]", address: str) -> str:
    """Wait until a checkpoint is whole on the store, the ledger there goes as far, and its trial still runs.

    Returns:
        The trial. The command is stopped, so that it ends no trial any more.
    """
    while True:
        for path in object_store.listed(address, "exp4/trials"):
            trial, _, name = path.partition("/checkpoints/whole-tokens-")
            if name and (int(trial), int(name.removesuffix(".json"))) in reports(address):
                process.send_signal(signal.SIGSTOP)
                if int(trial) not in {e.outcome.trial for e in events(address) if isinstance(e, Ended)}:
                    return trial
                process.send_signal(signal.SIGCONT)
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.2)


def events(address: str) -> list[Event]:
    text = object_store.get(address, f"exp4/{LEDGER}") or b""
    return [decode(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]


def reports(address: str) -> list[tuple[int, int]]:
    return [(e.report.trial, e.report.tokens_seen) for e in events(address) if isinstance(e, Reported)]


@pytest.mark.slow
def test_a_search_whose_machine_is_lost_goes_on_from_the_store(tmp_path: Path) -> None:
    first, second, laptop = (tmp_path / name for name in ("first", "second", "laptop"))
    with s3_server() as server:
        address = server.address("team")
        process = subprocess.Popen(
            search_on(address), cwd=REPOSITORY, env=on_machine(first), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        trial = wait_for_checkpoint(process, address)
        process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(first)
        server.fetched.clear()
        done = subprocess.run(
            search_on(address),
            cwd=REPOSITORY,
            env=on_machine(second),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "waiting up to 60 s for a sign of life" in done.stdout
        assert "the search is taken up from s3://bucket/team/exp4" in done.stdout
        assert any(f"/exp4/trials/{trial}/checkpoints/tokens-" in path for path in server.fetched)
        assert len(reports(address)) == len(set(reports(address)))
        outcomes = {e.outcome.trial: e.outcome.status for e in events(address) if isinstance(e, Ended)}
        assert set(outcomes) == {0, 1}
        assert "finished" in outcomes.values()
        left = {tuple(path.split("/")[1:2]) for path in object_store.listed(address, "exp4/trials")}
        assert left == {("weights",), ("whole-weights.json",)}
        assert object_store.get(address, "exp4.lock") is None
        small = ["--set", "data.clean.near_duplicates=false", "--set", "run.max_tokens=6000"]
        gate_closed = 3  # as it should be for two short trials
        commands = (
            (0, ["analysis.report"]), (0, ["analysis.behaviour"]),
            (gate_closed, ["analysis.promote", "--to", (tmp_path / "exported").as_uri()]),
            (0, ["search.data", *small]), (0, ["search.trial", *small]), (0, ["search.doctor", *small]),
        )  # fmt: skip
        for code, (module, *options) in commands:
            read = subprocess.run(
                [sys.executable, "-m", module, "exp4", "--storage", address, *options],
                cwd=REPOSITORY, env=on_machine(laptop), capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert read.returncode == code, f"{module}: {read.stdout}{read.stderr}"
        assert {"report.html", "behaviour.json"} <= object_store.listed(
            address, "exp4", recursive=False
        ).keys()
