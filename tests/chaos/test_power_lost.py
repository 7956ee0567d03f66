"""Everything dies at one moment, as when a machine loses its power, and the same command goes on."""

import os
import signal
import subprocess
from pathlib import Path

import optuna
import psutil
import pytest

from search.journal import open_journal
from search.mlflow_database import HALF_MADE, is_half_made
from search.orphans import processes_of
from search.study import JOURNAL
from tests.chaos.test_driver_killed import OWN, check_single, lines, result, session, start, wait_for
from tests.integration.commands import run

WITHIN_THE_MIGRATIONS = 150
"""Statements of the some four hundred that make MLflow's tables."""


def cut_power(command: "subprocess.Popen[str]", storage: Path) -> None:
    """Kill a command and every process of its Ray, none of which hears of the others' end."""
    every = {*psutil.Process(command.pid).children(recursive=True), *processes_of(session(storage))}
    for process in (psutil.Process(command.pid), *every):
        process.suspend()
    for pid in (command.pid, *(process.pid for process in every)):
        os.kill(pid, signal.SIGKILL)
    command.communicate()
    psutil.wait_procs(every, timeout=20)
    assert not list(processes_of(session(storage)))


@pytest.mark.slow
@pytest.mark.chaos
def test_a_search_that_lost_its_power_finds_what_an_undisturbed_one_finds(
    own_dialogues: Path, tmp_path: Path
) -> None:
    settings = (f"data.sources={own_dialogues}", *OWN, "budget.trials=3", "run.max_tokens=20000")
    undisturbed = run(tmp_path / "calm", *settings)
    storage = tmp_path / "wild"
    process = start(storage, *settings)
    wait_for(process, lambda: lines(storage, "Ended") >= 1 and lines(storage, "TrialStarted") >= 2)
    before = lines(storage, "Reported")
    wait_for(process, lambda: lines(storage, "Reported") >= before + 2)
    ledger = (storage / "exp4" / "events.jsonl").read_bytes()
    cut_power(process, storage)
    found = run(storage, *settings)
    assert result(found) == result(undisturbed)
    assert (storage / "exp4" / "events.jsonl").read_bytes().startswith(ledger[: ledger.rindex(b"\n") + 1])
    journal = open_journal(storage / "exp4" / JOURNAL)
    assert optuna.get_all_study_names(journal) == ["exp4"]
    study = optuna.load_study(study_name="exp4", storage=journal)
    assert [trial.number for trial in study.trials] == [trial["number"] for trial in found["trials"]]
    check_single(storage)


@pytest.mark.slow
@pytest.mark.chaos
def test_a_command_killed_while_mlflows_tables_are_made_is_followed_by_one_that_makes_them(
    own_dialogues: Path, tmp_path: Path
) -> None:
    settings = (f"data.sources={own_dialogues}", *OWN, "budget.trials=1")
    process = start(tmp_path, *settings, killed_at=("migrating", WITHIN_THE_MIGRATIONS))
    output, _ = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL, output
    database = tmp_path / "mlflow.db"
    assert is_half_made(database)
    again = start(tmp_path, *settings)
    output, _ = again.communicate(timeout=240)
    assert again.returncode == 0, output
    assert output.count(f"{database} was cut off while it was made") == 1
    assert "fails" not in output
    assert database.with_name(f"mlflow.db{HALF_MADE}").exists()
    assert not is_half_made(database)
    check_single(tmp_path)
