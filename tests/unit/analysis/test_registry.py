from pathlib import Path

import pytest

from analysis.hub import Target
from analysis.promotion import RECORD_NAME, Commit, PromotionRecord
from analysis.registry import alias_of, point_back, register
from tests.unit.analysis.tracked import name_runs, tracked_runs

TARGET = Target("org/name", "dev")


def back(folder: Path, previous: str, taken_back: str) -> str:
    return point_back(folder, [], TARGET, Commit(previous, None), Commit(taken_back, None))


def record(run: str | None) -> PromotionRecord:
    return PromotionRecord("exp9-0003", 1.0, 2.0, "key", "abc", run, {}, None)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of a search with a real MLflow database; its address, and the run of its trial 3."""
    storage = tmp_path_factory.mktemp("mlflow")
    uri, (parent, run) = tracked_runs(storage, 2)
    return name_runs(storage / "exp9", uri, {"parent": parent, "3": run}), uri, run


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

    assert back(folder, "aaa", "bbb") == "MLflow: org--name version 1 has the alias dev again"
    assert str(client.get_model_version_by_alias("org--name", "dev").version) == "1"
    told = back(folder, "0" * 40, "aaa")
    assert told == "MLflow: org--name knows no version of 000000000000; the alias dev was removed"


def test_a_commit_that_no_version_names_is_found_by_its_record(
    tracked: tuple[Path, str, str], tmp_path: Path
) -> None:
    """`c3` holds the files of `c1` again, after `c2` was rolled back."""
    from mlflow.tracking import MlflowClient

    folder, uri, run = tracked
    (tmp_path / RECORD_NAME).write_text("{}")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    other, third = client.get_run(run).info.experiment_id, Target("org/third", "dev")
    runs = {"3": run, **{str(number): client.create_run(other).info.run_id for number in (4, 5)}}
    name_runs(folder, uri, {"parent": run, **runs})

    def promote(trial: int, commit: str, target: Target = third) -> None:
        register(folder, [], trial, target, commit, "u", tmp_path)

    promote(3, "c0", Target("org/third", "other"))
    promote(3, "c1")
    promote(3, "elsewhere", Target("org/third", "main"))
    promote(4, "c2")
    point_back(folder, [], third, Commit("c1", record(run)), Commit("c2", record(runs["4"])))
    promote(5, "c4")
    told = point_back(folder, [], third, Commit("c3", record(run)), Commit("c4", record(runs["5"])))
    assert told == "MLflow: org--third version 2 has the alias dev again"
    told = point_back(folder, [], third, Commit("c6", record(None)), Commit("c5", record(run)))
    assert told == "MLflow: org--third knows no version of c6; the alias dev was removed"
    assert client.get_model_version("org--third", "2").tags["rolled_back"] == "true"


def test_a_trial_without_a_run_and_a_search_without_mlflow_are_one_line(
    tracked: tuple[Path, str, str], tmp_path: Path
) -> None:
    folder, _, _ = tracked
    assert register(folder, [], 9, TARGET, "a", "u", tmp_path) == (
        "MLflow: not registered, trial 9 has no run there"
    )
    assert register(tmp_path, [], 9, TARGET, "a", "u", tmp_path).startswith("MLflow: not registered, ")
    assert back(tmp_path, "a", "b").startswith("MLflow: the alias dev was not moved, ")


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
