"""Where the figures go: the tracking address, checked at the start and shown without its secrets."""

import importlib.util
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from train_fn.address import bare
from train_fn.errors import InputError

# For the entry point to put into the environment before mlflow is imported, where the user set nothing.
ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # no call to anybody but the tracking server
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the tracker retries itself; seven would take minutes to fail
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # one line per trial would break the live table
}

UI_ADDRESS = "http://127.0.0.1:5000"
# Python driver that SQLAlchemy takes for a scheme that names none.
_DRIVERS = {"postgresql": "psycopg2", "mysql": "MySQLdb", "mssql": "pyodbc", "sqlite": "sqlite3"}
_MODULES = {"pysqlite": "sqlite3", "mysqldb": "MySQLdb"}
"""Where the driver in a scheme has another name than its package."""
_RULE = "must be sqlite:///FILE, an http(s) server, or a postgresql, mysql or mssql database"
_UNREAD = "is no address: its host or port cannot be read; in a password write / as %2F and @ as %40, or"
_FIX = (
    "set tracking.uri (or MLFLOW_TRACKING_URI), or leave both empty for an sqlite file in the storage folder"
)


def resolve(configured: str, from_environment: str | None, storage: Path) -> str:
    """Choose the tracking address: the experiment's, else the environment's, else an sqlite file.

    Args:
        configured: `tracking.uri` of the experiment; empty when not set.
        from_environment: MLFLOW_TRACKING_URI, as the entry point read it.
        storage: The storage folder, which holds the default `mlflow.db`; need not exist yet.

    Raises:
        InputError: The address can never work.
    """
    uri = configured or from_environment or f"sqlite:///{storage.resolve() / 'mlflow.db'}"
    check_uri(uri, storage)
    return uri


def check_uri(uri: str, storage: Path) -> None:
    """Refuse an address that can never work; whether anybody answers there is not asked.

    Args:
        uri: The address.
        storage: The storage folder, which is made, with those above it, before anything is written.

    Raises:
        InputError: Unknown scheme, no host, a driver that is not installed, or no folder for the file.
    """
    shown = bare(uri)
    try:
        parts = urlsplit(uri)
        host = parts.hostname
        _ = parts.port  # raises for a port that is no number
    except ValueError as error:
        raise InputError(f"tracking.uri = {shown!r} {_UNREAD} {_FIX}") from error
    scheme = parts.scheme.lower()
    if scheme in ("http", "https"):
        if not host:
            raise InputError(f"tracking.uri = {shown!r} names no host; {_FIX}")
        return
    database, _, driver = scheme.partition("+")
    if database not in _DRIVERS or "://" not in uri:
        raise InputError(f"tracking.uri = {shown!r} {_RULE}; {_FIX}")
    module = _MODULES.get(driver, driver) or _DRIVERS[database]
    if importlib.util.find_spec(module) is None:
        raise InputError(f"tracking.uri = {shown!r} needs the package {module}; install it, or {_FIX}")
    if database == "sqlite":
        _check_sqlite(uri, shown, storage)


def dashboard_command(uri: str) -> str:
    """Say how to open the dashboard: the server's address, or the command that serves a database."""
    if uri.startswith("http"):
        return bare(uri)
    # A database with a password needs it to be opened: the user puts it back.
    return f"mlflow ui --backend-store-uri {shlex.quote(bare(uri))} --host 127.0.0.1"


def page_at(uri: str, address: str) -> str:
    """Write an address below the dashboard's start page in full; `mlflow ui` is taken to serve a database."""
    server = bare(uri).rstrip("/") if uri.startswith("http") else UI_ADDRESS
    return f"{server}/{address}"


def sqlite_file(uri: str) -> Path | None:
    """Return the file of an sqlite address; None for any other."""
    scheme = uri.partition("://")[0].partition("+")[0].lower()
    return Path(bare(uri).partition("://")[2].removeprefix("/")) if scheme == "sqlite" else None


def _check_sqlite(uri: str, shown: str, storage: Path) -> None:
    file = sqlite_file(uri)
    if file is None or not file.name:
        raise InputError(f"tracking.uri = {shown!r} names no file; {_FIX}")
    is_made = storage.resolve().is_relative_to(file.parent.resolve())
    if file.is_dir() or not (is_made or file.parent.is_dir()):
        raise InputError(f"tracking.uri = {shown!r} cannot be a file: no folder {file.parent} for it; {_FIX}")
