"""Ctrl-C, and the same command again: the same search as one that nobody disturbed."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from tests.integration.commands import REPOSITORY, command, run


def found(summary: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(t["number"], t["status"], t["config"]["optim"], t["eval_nll"]) for t in summary["trials"]]


def stopped_by(number: signal.Signals, storage: Path, *settings: str) -> dict[str, Any]:
    """Return the summary of a search that is sent a signal in its first trial."""
    process = subprocess.Popen(
        command(storage, *settings),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    events = storage / "exp4" / "events.jsonl"
    deadline = time.time() + 240
    while not (events.exists() and events.read_text().count('"Reported"') >= 3):
        assert time.time() < deadline
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    started = set(psutil.Process(process.pid).children(recursive=True))
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive, f"left behind: {[p.cmdline()[:3] for p in alive]}"
    interrupted: dict[str, Any] = json.loads((storage / "exp4" / "summary.json").read_text())
    assert interrupted["status"] == "interrupted"
    assert interrupted["trials"][0]["status"] == "cancelled"
    return interrupted


def test_a_supervisor_that_ends_the_command_finds_it_as_clean_as_ctrl_c(
    own_dialogues: Path, tmp_path: Path
) -> None:
    own = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false")
    stopped_by(signal.SIGTERM, tmp_path, *own, "budget.trials=2", "resources.slots=1", "run.max_tokens=15000")


def test_ctrl_c_keeps_everything_and_the_same_command_goes_on(own_dialogues: Path, tmp_path: Path) -> None:
    own = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false")
    settings = (*own, "budget.trials=3", "resources.slots=1", "run.max_tokens=15000")
    undisturbed = run(tmp_path / "undisturbed", *settings)
    storage = tmp_path / "interrupted"
    interrupted = stopped_by(signal.SIGINT, storage, *settings)
    summary = run(storage, *settings)
    assert summary["status"] == "finished"
    assert [trial["number"] for trial in summary["trials"]] == [0, 1, 2]
    assert summary["trials"][0]["mlflow_run_id"] == interrupted["trials"][0]["mlflow_run_id"]
    assert summary["trials"][0]["tokens_seen"] >= interrupted["trials"][0]["tokens_seen"]
    assert found(summary) == found(undisturbed)
