"""The doctor's questions to MLflow and to the Hub; the Hub is a server on loopback."""

import sqlite3
from pathlib import Path

import pytest

from search.services import hub_check, tracking_check
from spaces.repository import check_repo
from tests.hub.fixture import READ_TOKEN, REPO_ID, WRITE_TOKEN
from tests.hub.server import HubServer
from train_fn.errors import InputError


def test_a_database_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    check = tracking_check(f"sqlite:///{tmp_path}/mlflow.db")
    assert (check.verdict, list(tmp_path.iterdir())) == ("ok", [])
    assert "will be made by the first search" in check.told


def test_a_database_that_is_there_is_opened(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "mlflow.db").close()
    (tmp_path / "mlflow.db").touch()
    assert tracking_check(f"sqlite:///{tmp_path}/mlflow.db").told.endswith("opens")


def test_a_server_that_does_not_answer_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    check = tracking_check("http://user:hunter2@127.0.0.1:9")
    assert check.verdict == "failed"
    assert check.told.startswith("http://127.0.0.1:9 does not answer")
    assert "hunter2" not in check.told


def test_without_a_token_the_hub_is_not_asked(hub: HubServer) -> None:
    assert hub_check("").verdict == "skipped"


@pytest.mark.parametrize(
    ("token", "repo", "verdict", "told"),
    [
        (WRITE_TOKEN, REPO_ID, "ok", "may write to lab/model"),
        (WRITE_TOKEN, "", "ok", "has the role 'write'"),
        (READ_TOKEN, "", "failed", "cannot push"),
        (READ_TOKEN, REPO_ID, "failed", "may not write to lab/model"),
        (WRITE_TOKEN, "lab/absent", "ok", "lab/absent is not there or hidden"),
        ("hf_unknown", REPO_ID, "failed", "the token is not valid"),
    ],
)
def test_what_a_token_may_do(
    hub_repo: str, monkeypatch: pytest.MonkeyPatch, token: str, repo: str, verdict: str, told: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    check = hub_check(repo)
    assert (check.name, check.verdict) == ("hub", verdict)
    assert told in check.told
    assert token not in check.told


def test_a_hub_that_is_away_is_a_warning(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    assert hub_check("").verdict == "warning"


@pytest.mark.parametrize("repo", ["lab", "a/b/c", "lab/na me"])
def test_what_is_no_repository_is_refused(repo: str) -> None:
    with pytest.raises(InputError, match="is no name of a repository; write --repo owner/name"):
        check_repo(repo)
