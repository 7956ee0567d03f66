"""The command a user types, on real Ray, DeepSpeed, Optuna and MLflow, with a small budget."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import mlflow
import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
SMALL = (
    "data.max_example_tokens=128",
    "data.max_eval_examples=32",
    "run.max_tokens=6000",
    "run.window_tokens=1000",
    "halving.first_rung_tokens=2000",
    "optim.effective_batch_size=8",
    "optim.warmup_tokens=0",
    "optim.schedule=constant",
)


def command(storage: Path, *settings: str, module: str = "search.run") -> list[str]:
    sets = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
    return [sys.executable, "-m", module, "exp4", "--profile", "laptop", "--storage", str(storage), *sets]


def run(storage: Path, *settings: str) -> dict:
    done = subprocess.run(
        command(storage, *settings), cwd=REPOSITORY, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((storage / "exp4" / "summary.json").read_text())


@pytest.fixture(scope="module")
def own_dialogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own JSONL, in one of the accepted formats."""
    file = tmp_path_factory.mktemp("own") / "mine.jsonl"
    animals = ("cat", "dog", "fox", "owl", "bear", "goat", "hare", "crow", "toad", "newt")
    places = ("garden", "kitchen", "forest", "harbour", "attic", "stable", "meadow", "tower")
    lines = []
    for animal in animals:
        for place in places:
            for hour in range(4):
                asked = f"Did you see the {animal} in the {place} at {hour + 1} o'clock yesterday?"
                told = (
                    f"Yes, the {animal} sat quietly in the {place} for {hour + 3} long hours and watched us."
                )
                lines.append(
                    {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]}
                )
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def finished(own_dialogues: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage folder of a search of six trials on two slots, over a user's own file."""
    storage = tmp_path_factory.mktemp("two-slots")
    # The near-duplicate rule would take these sentences, made from one mould, for one and the same.
    run(storage, f"data.sources={own_dialogues}", "data.clean.near_duplicates=false", "budget.trials=6")
    return storage


def test_summary_tells_how_every_trial_ended(finished: Path) -> None:
    summary = json.loads((finished / "exp4" / "summary.json").read_text())
    jsonschema.validate(summary, json.loads((REPOSITORY / "docs" / "summary.schema.json").read_text()))
    assert summary["status"] == "finished"
    assert len(summary["trials"]) == 6
    assert all(trial["reason"] for trial in summary["trials"])
    assert {t["status"] for t in summary["trials"]} <= {"finished", "halved", "diverged", "overflowing"}
    assert summary["best"]["eval_nll"] < summary["base_eval_nll"]
    assert summary["tokens_spent"] == sum(t["tokens_seen"] for t in summary["trials"])
    assert Path(summary["best"]["checkpoint"]).is_dir()


def test_a_slots_later_trials_start_at_once(finished: Path) -> None:
    summary = json.loads((finished / "exp4" / "summary.json").read_text())
    overheads = sorted(trial["start_overhead_s"] for trial in summary["trials"])
    assert overheads[:4][-1] < 3, f"two slots have two slow starts, not more: {overheads}"


def test_weights_of_the_best_trial_load_with_plain_transformers(finished: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    summary = json.loads((finished / "exp4" / "summary.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(summary["best"]["checkpoint"])
    assert model.num_parameters() > 1_000_000
    assert AutoTokenizer.from_pretrained(summary["best"]["checkpoint"]).eos_token_id is not None


def test_mlflow_has_one_parent_and_one_run_per_trial(finished: Path) -> None:
    client = mlflow.tracking.MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("exp4")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    summary = json.loads((finished / "exp4" / "summary.json").read_text())
    assert len(runs) == 7
    assert {run.info.run_id for run in children} == {t["mlflow_run_id"] for t in summary["trials"]}
    (parent,) = {run.info.run_id for run in runs} - {run.info.run_id for run in children}
    names = {artifact.path for artifact in client.list_artifacts(parent)}
    assert {"plan.md", "data_report.json", "summary.json"} <= names
    for run in children:
        assert {"status", "reason", "profile"} <= set(run.data.tags)
        assert "optim.lr" in run.data.params
        assert {"loss/raw", "loss/ema_90", "optim/lr"} <= set(run.data.metrics)


def test_one_slot_and_one_seed_give_the_same_search_twice(
    own_dialogues: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = (
        f"data.sources={own_dialogues}",
        "data.clean.near_duplicates=false",
        "budget.trials=4",
        "resources.slots=1",
    )
    seen = []
    for name in ("first", "second"):
        summary = run(tmp_path_factory.mktemp(name), *settings)
        seen.append(
            [(t["number"], t["status"], t["config"]["optim"]["lr"], t["eval_nll"]) for t in summary["trials"]]
        )
    assert seen[0] == seen[1]


def test_ctrl_c_keeps_everything_and_the_same_command_goes_on(own_dialogues: Path, tmp_path: Path) -> None:
    own = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false")
    settings = (*own, "budget.trials=3", "resources.slots=1", "run.max_tokens=30000")
    process = subprocess.Popen(
        command(tmp_path, *settings),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    events = tmp_path / "exp4" / "events.jsonl"
    deadline = time.time() + 240
    while not (events.exists() and events.read_text().count('"Reported"') >= 3):
        assert time.time() < deadline
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    started = set(psutil.Process(process.pid).children(recursive=True))
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive, f"left behind: {[p.cmdline()[:3] for p in alive]}"
    interrupted = json.loads((tmp_path / "exp4" / "summary.json").read_text())
    assert interrupted["status"] == "interrupted"
    assert interrupted["trials"][0]["status"] == "cancelled"

    summary = run(tmp_path, *settings)
    assert summary["status"] == "finished"
    assert [trial["number"] for trial in summary["trials"]] == [0, 1, 2]
    assert summary["trials"][0]["mlflow_run_id"] == interrupted["trials"][0]["mlflow_run_id"]
    assert summary["trials"][0]["tokens_seen"] >= interrupted["trials"][0]["tokens_seen"]
