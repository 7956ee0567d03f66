"""The command of a search is killed without a word, and the same command goes on as if nothing had been."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest

from search.events import Decided, Ended, Reported
from search.ledger import read_events
from search.lock import read_owner
from search.orphans import processes_of
from search.ray_watch import NEEDED
from tests.chaos.killed_at import POINTS
from tests.integration.commands import REPOSITORY, command, run

OWN = ("data.clean.near_duplicates=false", "resources.slots=1", "halving.noise_band=0", "halving.eta=2")
SHORT = ("budget.trials=2", "run.max_tokens=20000")


def start(
    storage: Path, *settings: str, killed_at: tuple[str, int] | None = None, options: tuple[str, ...] = ()
) -> "subprocess.Popen[str]":
    line = [*command(storage, *settings), *options]
    if killed_at is not None:
        at, count = killed_at
        line = [sys.executable, "-m", "tests.chaos.killed_at", at, str(count), *line[2:]]
    return subprocess.Popen(line, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(process: "subprocess.Popen[str]", happened: Callable[[], bool], timeout_s: float = 240) -> None:
    deadline = time.time() + timeout_s
    while not happened():
        assert time.time() < deadline
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.1)


def lines(storage: Path, kind: str) -> int:
    ledger = storage / "exp4" / "events.jsonl"
    return ledger.read_text().count(f'"kind":"{kind}"') if ledger.exists() else 0


def session(storage: Path) -> str:
    owner = read_owner((storage / "exp4.lock").read_text())
    assert owner is not None
    return owner.ray_session


def result(summary: dict[str, Any]) -> list[dict[str, Any]]:
    keep = ("id", "confirms", "status", "eval_nll", "tokens_seen", "optimizer_steps", "config")
    return [{key: trial[key] for key in keep} for trial in summary["trials"]]


def check_single(storage: Path) -> None:
    """No figure, decision or end twice, and one MLflow run for each trial."""
    past = list(read_events(storage / "exp4" / "events.jsonl"))
    reports = [(e.report.trial, e.report.tokens_seen) for e in past if isinstance(e, Reported)]
    decided = [(e.decision.trial, e.decision.rung) for e in past if isinstance(e, Decided)]
    ended = [e.outcome.trial for e in past if isinstance(e, Ended) and e.outcome.status != "cancelled"]
    for some in (reports, decided, ended):
        assert len(some) == len(set(some))
    client = mlflow.tracking.MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("exp4").experiment_id])
    summary = json.loads((storage / "exp4" / "summary.json").read_text())
    children = {trial["mlflow_run_id"] for trial in summary["trials"]}
    assert len(runs) == 1 + len(children) == 1 + len(summary["trials"])
    assert {run.info.run_id for run in runs} > children


def test_a_killed_command_leaves_nobody_at_work_and_its_trial_goes_on_from_its_checkpoint(
    own_dialogues: Path, tmp_path: Path
) -> None:
    settings = (f"data.sources={own_dialogues}", *OWN, *SHORT)
    process = start(tmp_path, *settings)
    wait_for(process, lambda: lines(tmp_path, "Decided") >= 1 and lines(tmp_path, "Reported") >= 4)
    left = session(tmp_path)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert list(processes_of(left)), "Ray leaves something running, so there is something to end"
    checkpoints = [path.name for path in (tmp_path / "exp4" / "trials").glob("*/checkpoints/tokens-*")]
    assert checkpoints
    again = start(tmp_path, *settings)
    wait_for(again, lambda: lines(tmp_path, "SearchStarted") >= 2)
    assert not list(processes_of(left)), "before a trial is taken up, nobody else is at it"
    before = lines(tmp_path, "Reported")
    output, _ = again.communicate(timeout=240)
    assert again.returncode == 0, output
    assert "was killed" in output
    summary = json.loads((tmp_path / "exp4" / "summary.json").read_text())
    assert [trial["number"] for trial in summary["trials"]] == [0, 1]
    assert summary["status"] == "finished"
    assert summary["trials"][0]["status"] == "finished"
    assert lines(tmp_path, "Reported") > before
    assert (tmp_path / "exp4.lock").read_text() == "", "it ended in good order"
    check_single(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_command_killed_again_and_again_finds_what_an_undisturbed_one_finds(
    own_dialogues: Path, tmp_path: Path, seed: int
) -> None:
    settings = (f"data.sources={own_dialogues}", *OWN, "budget.trials=5", "run.max_tokens=20000")
    settings = (*settings, "confirm.top=1", "confirm.seeds=1")
    undisturbed = run(tmp_path / "calm", *settings)
    dice, storage = random.Random(seed), tmp_path / "wild"
    for point in POINTS:
        process = start(storage, *settings, killed_at=(point, dice.randint(1, 2)))
        output, _ = process.communicate(timeout=400)
        assert process.returncode == -signal.SIGKILL, f"{point}: {output}"
    assert result(run(storage, *settings)) == result(undisturbed)
    check_single(storage)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDED)
def test_a_command_whose_ray_is_killed_says_so_and_ends(
    own_dialogues: Path, tmp_path: Path, name: str
) -> None:
    settings = (f"data.sources={own_dialogues}", *OWN, *SHORT)
    process = start(tmp_path, *settings)
    wait_for(process, lambda: lines(tmp_path, "Reported") >= 3)
    left = session(tmp_path)
    (victim,) = (p for p in psutil.Process(process.pid).children() if p.name() == name)
    victim.kill()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 3, output
    (error,) = (line for line in output.splitlines() if line.startswith("error: "))
    assert name in error
    assert "the same command goes on" in error
    assert not list(processes_of(left))
    assert run(tmp_path, *settings)["status"] == "finished"
    check_single(tmp_path)


def test_a_second_command_is_told_who_runs_the_search(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from search.lock import locked\n"
        f"with locked(Path({str(tmp_path / 'exp4.lock')!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        second = subprocess.run(command(tmp_path), cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert second.returncode == 2
        (error,) = (line for line in second.stderr.splitlines() if line.startswith("error: "))
        assert f"process {holder.pid} on {os.uname().nodename}" in error
        assert not (tmp_path / "exp4").exists()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
