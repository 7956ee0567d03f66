import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from search.mlflow_database import HALF_MADE, QUIET_S, _last_revision, is_half_made, whole_or_none

FIRST_REVISION = "451aebb31d03"


def make(file: Path, revision: str, *statements: str) -> str:
    """Make a database that has been through this migration; return its address."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        database.execute("CREATE TABLE experiments (experiment_id INTEGER, name TEXT)")
        database.execute("INSERT INTO experiments VALUES (0, 'Default')")
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        for statement in statements:
            database.execute(statement)
        database.commit()
    return f"sqlite:///{file}"


def leave(file: Path) -> None:
    """Nobody has written to it for a while."""
    then = time.time() - QUIET_S - 1
    os.utime(file, (then, then))


def test_a_database_that_was_cut_off_is_set_aside_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "mlflow.db"
    uri = make(file, FIRST_REVISION)
    content = file.read_bytes()
    leave(file)
    with whole_or_none(uri):
        assert not file.exists()
    assert (tmp_path / f"mlflow.db{HALF_MADE}").read_bytes() == content
    (line,) = caplog.messages
    assert line.startswith(f"{file} was cut off")


@pytest.mark.parametrize(
    "content", ["INSERT INTO runs VALUES ('one')", "INSERT INTO experiments VALUES (1, 'exp4')"]
)
def test_an_older_database_that_holds_something_stays(content: str, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    uri = make(file, FIRST_REVISION, content)
    leave(file)
    with whole_or_none(uri):
        assert file.exists()


def test_a_whole_database_and_what_is_none_stay(tmp_path: Path) -> None:
    revision, file = _last_revision(), tmp_path / "whole.db"
    assert revision is not None
    make(file, revision)
    assert not is_half_made(file)
    assert not is_half_made(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database at all")
    assert not is_half_made(tmp_path / "text.db")


def test_a_database_that_somebody_else_is_making_is_waited_for(tmp_path: Path) -> None:
    file, revision = tmp_path / "mlflow.db", _last_revision()
    uri = make(file, FIRST_REVISION)

    def finish() -> None:
        with closing(sqlite3.connect(file)) as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            database.commit()

    other = threading.Timer(0.3, finish)
    other.start()
    with whole_or_none(uri):
        assert file.exists()
        assert not is_half_made(file)
    other.join()


def test_a_server_makes_its_database_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_or_none("http://127.0.0.1:5000"):
        pass
    assert not list(tmp_path.iterdir())
