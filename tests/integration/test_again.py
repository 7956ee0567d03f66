"""The same command, or nearly the same, over a search that is there: refused, extended, or begun anew."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

from analysis.promote import EXIT_GATE
from search.events import Reported, SearchStarted, TrialStarted
from search.ledger import read_events
from tests.chaos.test_driver_killed import check_single, lines, result, start, wait_for
from tests.dialogues import write_dialogues
from tests.integration.commands import REPOSITORY, command, run

PACKAGES = ("search", "train_fn", "spaces", "analysis")
BROKEN = """
whole_config = deepspeed_config


def deepspeed_config(config, *rest):
    if not config.optim.{works}:
        raise ValueError("it cannot work")
    return whole_config(config, *rest)
"""
"""What makes of most trials one whose values always fail."""

pytestmark = pytest.mark.slow  # each test starts Ray, or the command several times


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's own file."""
    return write_dialogues(tmp_path_factory.mktemp("data") / "mine.jsonl")


@pytest.fixture(scope="module")
def settings(data: Path) -> tuple[str, ...]:
    own = (f"data.sources={data}", "data.clean.near_duplicates=false")
    return (*own, "resources.slots=1", "halving.noise_band=0", "halving.eta=2")


@pytest.fixture(scope="module")
def finished(settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage folder of a finished search of two trials."""
    storage = tmp_path_factory.mktemp("finished") / "runs"
    run(storage, *settings, "budget.trials=2")
    return storage


@pytest.fixture
def storage(finished: Path, settings: tuple[str, ...], tmp_path: Path) -> Path:
    """A storage folder that was copied here, where the command was given again: it says that all is done."""
    copied = Path(shutil.copytree(finished, tmp_path / "runs"))
    for database in ("mlflow.db", "mlartifacts"):
        assert (copied / database).exists()
    said = again(copied, *settings, "budget.trials=2")
    assert "is finished; a larger budget.trials" in said
    return copied


def again(storage: Path, *arguments: str, code: int = 0, cwd: Path = REPOSITORY, options: Any = ()) -> str:
    """Give the command and return what it said; one that is refused says it in one line."""
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run(
        [*command(storage, *arguments), *options],
        cwd=cwd, capture_output=True, text=True, timeout=500, env=environment,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    if code != 2:
        return done.stdout
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "Traceback" not in done.stderr
    return error


def copied_code(folder: Path) -> Path:
    """Copy the code, for a test to change it."""
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, folder / "code" / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder / "code"


def report(storage: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "analysis.report", "exp4", "--storage", str(storage)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def summary_of(storage: Path) -> dict[str, Any]:
    return json.loads((storage / "exp4" / "summary.json").read_text())  # type: ignore[no-any-return]


def parents(storage: Path) -> dict[str, Any]:
    """The runs of MLflow that are searches, by their id."""
    client = mlflow.tracking.MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("exp4").experiment_id])
    return {run.info.run_id: run for run in runs if "mlflow.parentRunId" not in run.data.tags}


def test_the_last_lines_name_the_next_commands_as_they_can_be_given(
    storage: Path, settings: tuple[str, ...]
) -> None:
    said = again(storage, *settings, "budget.trials=2").splitlines()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for what, codes in (("Report: ", (0,)), ("Promote: ", (0, EXIT_GATE))):
        (line,) = (line.removeprefix(what) for line in said if line.startswith(what))
        done = subprocess.run(
            ["bash", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, timeout=400, env=environment
        )
        assert done.returncode in codes, done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_changed_experiment_is_refused_with_what_differs(finished: Path, settings: tuple[str, ...]) -> None:
    ledger = (finished / "exp4" / "events.jsonl").read_bytes()
    said = again(finished, *settings, "budget.trials=3", "optim.weight_decay=0.5", code=2)
    assert "base.optim.weight_decay: 0.0 then, 0.5 now" in said
    assert "--fresh" in said
    assert (finished / "exp4" / "events.jsonl").read_bytes() == ledger


def test_a_changed_data_file_is_refused(finished: Path, data: Path, settings: tuple[str, ...]) -> None:
    ledger, content = (finished / "exp4" / "events.jsonl").read_bytes(), data.read_text()
    line = json.dumps({"prompt": "Is it still there?", "generation": "No, somebody took it away at noon."})
    data.write_text(content + line + "\n")
    try:
        said = again(finished, *settings, "budget.trials=3", code=2)
    finally:
        data.write_text(content)
    assert "the content of data.sources" in said
    assert "--fresh" in said
    assert (finished / "exp4" / "events.jsonl").read_bytes() == ledger


def test_changed_code_is_refused_until_it_is_allowed_and_the_ledger_tells(
    storage: Path, settings: tuple[str, ...], tmp_path: Path
) -> None:
    copy = copied_code(tmp_path)
    loss = copy / "train_fn" / "loss.py"
    loss.write_text(loss.read_text() + "\nANOTHER = 1\n")
    more = (*settings, "budget.trials=3")
    said = again(storage, *more, code=2, cwd=copy)
    assert "has changed" in said
    assert "train_fn/loss.py" in said
    assert "--allow-code-change" in said
    assert "--fresh" in said
    again(storage, *more, cwd=copy, options=["--allow-code-change"])
    commands = [e for e in read_events(storage / "exp4" / "events.jsonl") if isinstance(e, SearchStarted)]
    assert [event.code_change_allowed for event in commands] == [False, True]
    changed = {k for k, v in commands[1].sources.items() if commands[0].sources[k] != v}
    assert changed == {"train_fn/loss.py"}
    assert [trial["status"] for trial in summary_of(storage)["trials"]][2:] != ["cancelled"]
    check_single(storage)


def test_a_larger_budget_extends_a_finished_search(storage: Path, settings: tuple[str, ...]) -> None:
    before, old = summary_of(storage), (storage / "exp4" / "events.jsonl").read_bytes()
    after = run(storage, *settings, "budget.trials=4")
    assert (storage / "exp4" / "events.jsonl").read_bytes().startswith(old)
    assert "lie there already" in (storage / "exp4" / "plan.md").read_text()
    assert result(after)[:2] == result(before)
    assert [t["mlflow_run_id"] for t in after["trials"][:2]] == [t["mlflow_run_id"] for t in before["trials"]]
    assert [trial["number"] for trial in after["trials"]] == [0, 1, 2, 3]
    assert after["status"] == "finished"
    assert after["tokens_spent"] == sum(trial["tokens_seen"] for trial in after["trials"])
    past = list(read_events(storage / "exp4" / "events.jsonl"))
    started = [event.trial for event in past if isinstance(event, TrialStarted)]
    assert started == [0, 1, 2, 3]
    whole = run(storage.parent / "at-once", *settings, "budget.trials=4")
    assert result(after) == result(whole), "rungs and study know the first two trials"
    check_single(storage)


@pytest.mark.parametrize(
    ("works", "status", "code"), [("lr == 1e-3", "finished", 0), ("lr < 0", "failed", 1)]
)
def test_a_search_that_ended_with_failed_trials_is_over(
    works: str, status: str, code: int, settings: tuple[str, ...], tmp_path: Path
) -> None:
    copy, storage = copied_code(tmp_path), tmp_path / "runs"
    with (copy / "train_fn" / "engine.py").open("a") as engine:
        engine.write(BROKEN.format(works=works))
    first = again(storage, *settings, "budget.trials=2", cwd=copy, code=code)
    ledger = (storage / "exp4" / "events.jsonl").read_bytes()
    assert summary_of(storage)["status"] == status
    assert "failed" in [trial["status"] for trial in summary_of(storage)["trials"]]
    said = again(storage, *settings, "budget.trials=2", cwd=copy, code=code)
    assert said.splitlines()[1].startswith("the search exp4 ")
    assert said[said.index("Search exp4 ") :] == first[first.index("Search exp4 ") :]
    assert (storage / "exp4" / "events.jsonl").read_bytes() == ledger


def test_a_fresh_search_that_cannot_begin_moves_nothing(finished: Path, settings: tuple[str, ...]) -> None:
    ledger = (finished / "exp4" / "events.jsonl").read_bytes()
    for bad in ("data.sources=/nowhere/mistyped.jsonl", "resources.ranks_per_slot=1000"):
        said = again(finished, *settings, bad, code=2, options=["--fresh"])
        assert "is kept" not in said
        assert (finished / "exp4" / "events.jsonl").read_bytes() == ledger
        assert not (finished / "exp4.1").exists()


def test_fresh_keeps_a_finished_and_an_interrupted_search_whole(
    storage: Path, settings: tuple[str, ...]
) -> None:
    first, first_parents = (storage / "exp4" / "events.jsonl").read_bytes(), parents(storage)
    process = start(storage, *settings, "budget.trials=2", "run.max_tokens=30000", options=("--fresh",))
    wait_for(process, lambda: (storage / "exp4.1").exists() and lines(storage, "Reported") >= 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    second, second_parents = (storage / "exp4" / "events.jsonl").read_bytes(), parents(storage)
    again(storage, *settings, "budget.trials=1", options=["--fresh"])
    assert summary_of(storage)["status"] == "finished"
    assert len(summary_of(storage)["trials"]) == 1
    check_whole(storage / "exp4.1", first, "finished")
    check_whole(storage / "exp4.2", second, "interrupted")
    runs = parents(storage)
    assert len(first_parents) == 1
    assert len(second_parents) == 2
    assert len(runs) == 3
    assert len({run.data.tags["search.id"] for run in runs.values()}) == 3
    for before in (first_parents, second_parents):
        for run_id, old in before.items():
            assert runs[run_id].data.metrics == old.data.metrics
    for place in ("exp4.1", "exp4.2"):
        assert "is an artifact of run" in report(storage / place)
    said = again(storage / "exp4.1", *settings, "budget.trials=2")
    assert f"weights: {(storage / 'exp4.1' / 'exp4' / 'trials').resolve()}" in said
    check_whole(storage / "exp4.1", first, "finished")


def check_whole(place: Path, ledger: bytes, status: str) -> None:
    assert (place / "exp4" / "events.jsonl").read_bytes() == ledger
    summary = summary_of(place)
    assert summary["status"] == status
    seen = [e.report.trial for e in read_events(place / "exp4" / "events.jsonl") if isinstance(e, Reported)]
    assert set(seen) == {trial["number"] for trial in summary["trials"]}
    if status == "finished":
        weights = Path(summary["best"]["checkpoint"])
        assert weights.is_relative_to(place.resolve())
        assert (weights / "config.json").is_file()
