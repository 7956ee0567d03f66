from pathlib import Path

import pytest

from search.tracking_uri import check_uri, dashboard_command, page_at, resolve
from train_fn.errors import InputError


def test_the_experiment_goes_before_the_environment_before_a_file(tmp_path: Path) -> None:
    assert resolve("http://a:5000", "http://b:5000", tmp_path) == "http://a:5000"
    assert resolve("", "http://b:5000", tmp_path) == "http://b:5000"
    for unset in ("", None):
        assert resolve("", unset, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_default_file_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    assert resolve("", None, Path("runs")) == f"sqlite:///{tmp_path}/runs/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("mlruns", "must be sqlite"),
        ("file:///tmp/mlruns", "must be sqlite"),
        ("ftp://host/x", "must be sqlite"),
        ("sqlite:relative.db", "must be sqlite"),
        ("http://", "names no host"),
        ("http://host:port", "is no address"),
        ("postgresql://me:aB3/x@db/mlflow", "'postgresql://db/mlflow' is no address: its host or port"),
        ("sqlite://", "names no file"),
        ("sqlite:////no/such/folder/mlflow.db", "no folder /no/such/folder"),
        ("mysql+nosuchdriver://host/db", "needs the package nosuchdriver"),
        ("postgresql+nosuchdriver://me:secret@host/db", "postgresql+nosuchdriver://host/db"),
    ],
)
def test_an_address_that_can_never_work_is_refused_at_once(uri: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        check_uri(uri, tmp_path)
    assert told in str(error.value)
    assert "set tracking.uri" in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_driver_may_have_another_name_than_its_package(tmp_path: Path) -> None:
    check_uri(f"sqlite+pysqlite:///{tmp_path / 'mlflow.db'}", tmp_path)


def test_nobody_needs_to_answer_yet(tmp_path: Path) -> None:
    check_uri("https://me:secret@mlflow.example:8443/path", tmp_path)


def test_the_dashboard_is_a_server_or_a_command_for_a_database() -> None:
    assert dashboard_command("https://me:secret@host:5000/?x=1") == "https://host:5000/"
    assert (
        dashboard_command("sqlite:////data/my runs/mlflow.db")
        == "mlflow ui --backend-store-uri 'sqlite:////data/my runs/mlflow.db' --host 127.0.0.1"
    )


def test_a_page_is_shown_by_its_server_or_where_mlflow_ui_serves_a_database() -> None:
    assert page_at("https://me:secret@host:5000/?x=1", "#/a") == "https://host:5000/#/a"
    assert page_at("sqlite:////data/mlflow.db", "#/a") == "http://127.0.0.1:5000/#/a"
