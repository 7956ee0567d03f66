import json
from pathlib import Path

import pytest

from analysis.hub import Target
from analysis.promotion import RECORD_NAME
from analysis.registry import alias_of, point_back, register

TARGET = Target("org/name", "dev")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of a search with a real MLflow database; its address, and the run of its trial 3."""
    from mlflow.tracking import MlflowClient

    storage = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{storage / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    made = client.create_experiment("exp9", artifact_location=(storage / "mlartifacts").as_uri())
    runs = {"parent": client.create_run(made).info.run_id, "3": client.create_run(made).info.run_id}
    folder = storage / "exp9"
    folder.mkdir()
    values = {"uri": uri, "search_id": "x", "offset": 0, "runs": runs}
    (folder / "mlflow.json").write_text(json.dumps(values))
    return folder, uri, runs["3"]


def test_promotions_are_versions_and_the_alias_follows_the_branch(
    tracked: tuple[Path, str, str], tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    folder, uri, run = tracked
    (tmp_path / RECORD_NAME).write_text("{}")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def promote(commit: str) -> str:
        return register(folder, [], 3, TARGET, commit, f"https://hub/org/name/tree/{commit}", tmp_path)

    assert promote("aaa") == "MLflow: org--name version 1 has the alias dev"
    assert promote("bbb") == "MLflow: org--name version 2 has the alias dev"
    assert promote("bbb") == "MLflow: org--name version 2 has the alias dev", "again changes nothing"
    version = client.get_model_version_by_alias("org--name", "dev")
    assert version.run_id == run
    assert version.source == "https://hub/org/name/tree/bbb"
    assert client.get_run(run).data.tags["promoted.to"] == "org/name@dev"
    assert [one.path for one in client.list_artifacts(run, "promotion")] == [f"promotion/{RECORD_NAME}"]

    assert (
        point_back(folder, [], TARGET, "aaa", "bbb") == "MLflow: org--name version 1 has the alias dev again"
    )
    assert str(client.get_model_version_by_alias("org--name", "dev").version) == "1"
    told = point_back(folder, [], TARGET, "0" * 40, "aaa")
    assert told == "MLflow: org--name knows no version of 000000000000; the alias dev was removed"


def test_a_trial_without_a_run_and_a_search_without_mlflow_are_one_line(
    tracked: tuple[Path, str, str], tmp_path: Path
) -> None:
    folder, _, _ = tracked
    assert register(folder, [], 9, TARGET, "a", "u", tmp_path) == (
        "MLflow: not registered, trial 9 has no run there"
    )
    assert register(tmp_path, [], 9, TARGET, "a", "u", tmp_path).startswith("MLflow: not registered, ")
    assert point_back(tmp_path, [], TARGET, "a", "b").startswith("MLflow: the alias dev was not moved, ")


@pytest.mark.parametrize(
    ("branch", "alias"),
    [
        ("dev", "dev"),
        ("team/dev", "team-dev"),
        ("v2", "branch-v2"),
        ("latest", "branch-latest"),
        ("a.b", "a-b"),
    ],
)
def test_any_branch_has_an_alias(branch: str, alias: str) -> None:
    assert alias_of(branch) == alias
