from pathlib import Path

import pytest

from analysis.publish import ARTIFACT, publish
from tests.unit.analysis.tracked import name_runs, tracked_runs


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A storage folder with a real MLflow database; its address, and a run in it."""
    storage = tmp_path_factory.mktemp("mlflow")
    uri, (run,) = tracked_runs(storage, 1)
    return storage, uri, run


def folder_with(storage: Path, uri: str, run: str) -> Path:
    return name_runs(storage / "exp9", uri, {"parent": run, "0": "other"})


def test_the_page_becomes_an_artifact_of_the_parent_run(
    tracked: tuple[Path, str, str], tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    storage, uri, run = tracked
    assert publish(folder_with(storage, uri, run), "<p>page</p>", []) == (
        f"MLflow: {ARTIFACT} is an artifact of run {run}"
    )
    publish(folder_with(storage, uri, run), "<p>newer</p>", [])
    client = MlflowClient(tracking_uri=uri)
    assert [one.path for one in client.list_artifacts(run)] == [ARTIFACT]
    assert Path(client.download_artifacts(run, ARTIFACT, str(tmp_path))).read_text() == "<p>newer</p>"


def test_a_run_that_is_gone_is_one_line(tracked: tuple[Path, str, str]) -> None:
    storage, uri, _ = tracked
    told = publish(folder_with(storage, uri, "0" * 32), "page", [])
    assert told.startswith(f"MLflow: not logged, {uri} says: ")
    assert "\n" not in told


def test_a_database_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    missing = tmp_path / "moved" / "mlflow.db"
    told = publish(folder_with(tmp_path, f"sqlite:///{missing}", "run"), "page", [])
    assert told == f"MLflow: not logged, there is no {missing}"
    assert not missing.exists()


@pytest.mark.parametrize("content", [None, "no json", "{}", '{"uri": "x", "runs": {}}', "[]"])
def test_a_search_without_runs_says_so(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "mlflow.json").write_text(content)
    assert "names no run of this search" in publish(tmp_path, "page", [])


def test_a_server_that_does_not_answer_is_one_line_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    secret = "http://user:secret@127.0.0.1:9"
    told = publish(folder_with(tmp_path, "http://127.0.0.1:9", "run"), "page", ["", secret])
    assert told.startswith("MLflow: not logged, http://127.0.0.1:9 says: ")
    assert "secret" not in told
