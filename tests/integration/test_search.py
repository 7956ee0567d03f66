"""A whole search on real Ray, DeepSpeed, Optuna and MLflow: what it leaves behind."""

import json
from pathlib import Path

import jsonschema
import mlflow
import pytest

from tests.integration.commands import REPOSITORY, run


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
    for child in children:
        assert {"status", "reason", "profile"} <= set(child.data.tags)
        assert "optim.lr" in child.data.params
        assert {"loss/raw", "loss/ema_90", "optim/lr"} <= set(child.data.metrics)
