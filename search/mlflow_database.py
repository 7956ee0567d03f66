"""See that MLflow finds a whole sqlite database, or none.

MLflow 3.17 makes its tables in some four hundred statements, outside of a transaction and without a lock. A
process that is killed in between, or two that make the same file at once, leave one that MLflow can never
open again.
"""

import fcntl
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from search.tracking_uri import sqlite_file

QUIET_S = 10.0
"""A database that is not whole, and that nobody has written to for so long, is not being made any more."""
HALF_MADE = ".half-made"
_LOOK_S = 0.2
logger = logging.getLogger(__name__)


@contextmanager
def whole_or_none(uri: str) -> Iterator[None]:
    """Let nobody else make the database of an address within the block, and set a half-made one aside before.

    Args:
        uri: Tracking address; anything but an sqlite file is left to its server.

    Raises:
        OSError: The folder of the file cannot be written.
    """
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    with file.with_name(file.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however it ends
        if _stays_half_made(file):
            aside = file.with_name(file.name + HALF_MADE)
            file.replace(aside)
            logger.warning("%s was cut off while it was made and holds no run; %s keeps it", file, aside)
        yield


def is_half_made(file: Path) -> bool:
    """Tell whether a database lacks some of its tables and holds nothing of value.

    One that holds something and lacks tables is an older MLflow's, which MLflow says how to bring up to date.
    """
    if not file.exists() or file.stat().st_size == 0:
        return False
    try:
        with closing(sqlite3.connect(file)) as database:
            return not _rows(database) and _revision(database) != _last_revision()
    except sqlite3.DatabaseError:
        return False  # MLflow meets the same error and tells it


def _stays_half_made(file: Path) -> bool:
    """Wait for a database that somebody else may be making."""
    while is_half_made(file):
        if time.time() - file.stat().st_mtime > QUIET_S:
            return True
        time.sleep(_LOOK_S)
    return False


def _rows(database: sqlite3.Connection) -> int:
    """Count the rows that somebody put there: all but the default experiment and its workspace."""
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    content = [name for name in names if "alembic" not in name and name not in ("experiments", "workspaces")]
    rows = sum(database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in content)
    if "experiments" in names:
        (made,) = database.execute("SELECT count(*) FROM experiments WHERE experiment_id != 0").fetchone()
        rows += made
    return int(rows)


def _revision(database: sqlite3.Connection) -> str | None:
    """Return the last migration that the database has been through; None before the first."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if found is None else str(found[0])


def _last_revision() -> str | None:
    """Return the migration that a whole database has been through."""
    from alembic.script import ScriptDirectory
    from mlflow.store import db_migrations

    (folder,) = db_migrations.__path__
    return ScriptDirectory(folder).get_current_head()
