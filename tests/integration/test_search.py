"""A whole search on real Ray, DeepSpeed, Optuna and MLflow: what it leaves behind."""

import json
from pathlib import Path

import jsonschema
import mlflow
import pytest

from search.events import Reported, TrialStarted
from search.ledger import read_events
from tests.integration.commands import REPOSITORY, run
from train_fn.times import PARTS


@pytest.fixture(scope="module")
def finished(own_dialogues: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of six trials and a confirmation, on two slots, over a user's own file."""
    storage = tmp_path_factory.mktemp("two-slots")
    # The near-duplicate rule would take these sentences, made from one mould, for one and the same.
    own = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false")
    run(storage, *own, "budget.trials=6", "confirm.top=1", "confirm.seeds=1")
    return storage


def test_summary_tells_how_every_trial_ended(finished: Path) -> None:
    summary = json.loads((finished / "exp4" / "summary.json").read_text())
    jsonschema.validate(summary, json.loads((REPOSITORY / "docs" / "summary.schema.json").read_text()))
    assert summary["status"] == "finished"
    assert [trial["confirms"] is None for trial in summary["trials"]] == [True] * 6 + [False]
    assert all(trial["reason"] for trial in summary["trials"])
    assert {t["status"] for t in summary["trials"]} <= {"finished", "halved", "diverged", "overflowing"}
    assert summary["best"]["eval_nll"] < summary["base_eval_nll"]
    assert summary["tokens_spent"] == sum(t["tokens_seen"] for t in summary["trials"])
    assert Path(summary["best"]["checkpoint"]).is_dir()


def test_the_best_trial_ran_again_in_another_order_of_the_same_data(finished: Path) -> None:
    summary = json.loads((finished / "exp4" / "summary.json").read_text())
    *tried, again = summary["trials"]
    own = tried[again["confirms"]]
    assert own["eval_nll"] == min(trial["eval_nll"] for trial in tried if trial["status"] == "finished")
    assert (own["config"]["run"]["seed"], again["config"]["run"]["seed"]) == (0, 1)
    assert {**again["config"], "run": None} == {**own["config"], "run": None}
    past = list(read_events(finished / "exp4" / "events.jsonl"))
    params = {event.trial: event.params for event in past if isinstance(event, TrialStarted)}
    assert params[again["number"]] == params[own["number"]]
    reports = [event.report for event in past if isinstance(event, Reported)]
    first, other = (
        next(r for r in reports if r.trial == trial["number"] and r.tokens_seen > 0) for trial in (own, again)
    )
    assert first.points[0].loss != other.points[0].loss, "the same weights, but other examples"
    assert again["status"] == "finished"
    assert again["eval_nll"] != own["eval_nll"]
    assert summary["confirmation"]["trials"][0]["eval_nlls"] == [own["eval_nll"], again["eval_nll"]]
    assert summary["best"]["id"] == own["id"]


def test_a_slots_later_trials_start_at_once(finished: Path) -> None:
    summary = json.loads((finished / "exp4" / "summary.json").read_text())
    overheads = sorted(trial["start_overhead_s"] for trial in summary["trials"])
    assert overheads[-3] < overheads[-2] / 2, f"two slots have two slow starts, not more: {overheads}"


def test_every_trial_says_what_its_time_went_into(finished: Path) -> None:
    summary = json.loads((finished / "exp4" / "summary.json").read_text())
    for trial in summary["trials"]:
        assert trial["times"]["forward_s"] > 0
        assert trial["times"]["backward_s"] > 0
        assert trial["times"]["weights_s"] > 0
    starts = sorted(trial["times"]["start_s"] for trial in summary["trials"])
    assert starts[-3] < starts[-2] / 2, f"each slot starts once: {starts}"


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
    assert len(runs) == 8
    confirms = [run.data.tags["confirms"] for run in children if "confirms" in run.data.tags]
    assert confirms == [str(trial["confirms"]) for trial in summary["trials"][6:]]
    assert {run.info.run_id for run in children} == {t["mlflow_run_id"] for t in summary["trials"]}
    (parent,) = {run.info.run_id for run in runs} - {run.info.run_id for run in children}
    names = {artifact.path for artifact in client.list_artifacts(parent)}
    assert {"plan.md", "data_report.json", "summary.json"} <= names
    for child in children:
        assert {"status", "reason", "profile"} <= set(child.data.tags)
        assert "optim.lr" in child.data.params
        assert {"loss/raw", "loss/ema_90", "optim/lr"} <= set(child.data.metrics)
        assert {f"time/{part}_s" for part in PARTS} <= set(child.data.metrics)
