"""Where a search's figures went in MLflow, found from its folder; trouble there is one line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from train_fn.address import bare, without_secrets
from train_fn.typed import from_plain, load_json

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CURSOR_NAME = "mlflow.json"
# For the entry point to put into the environment before mlflow is imported, where the user set nothing.
ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class TrackingError(Exception):
    """MLflow cannot be used now; the message is one line without secrets."""


@dataclass(frozen=True)
class Link:
    """The runs of a search in MLflow."""

    uri: str = field(repr=False)
    """With its password."""
    address: str
    """Without."""
    runs: Mapping[str, str]
    """Run by trial number; `parent` is the search's own."""

    @property
    def parent(self) -> str:
        """The search's own run."""
        return self.runs["parent"]


def find_link(folder: Path, addresses: Sequence[str]) -> Link:
    """Find out where the figures of a search went.

    Args:
        folder: The search's folder.
        addresses: Tracking addresses with their passwords that the search may have used.

    Raises:
        TrackingError: The folder names no run, or the database is gone.
    """
    cursor = folder / CURSOR_NAME
    try:
        values = load_json(cursor.read_bytes())
        address, runs = from_plain(str, values["uri"]), from_plain(dict[str, str], values["runs"])
        runs["parent"]
    except (OSError, ValueError, KeyError, TypeError):
        raise TrackingError(f"{cursor} names no run of this search") from None
    # The file holds the address without its secrets; one that is the same without them has them.
    uri = next((one for one in addresses if bare(one) == address), address)
    database = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:") and not database.is_file():
        raise TrackingError(f"there is no {database}")
    return Link(uri, address, runs)


@contextmanager
def client(link: Link) -> "Iterator[MlflowClient]":
    """Give a client, and turn what goes wrong with it into one line.

    Raises:
        TrackingError: In place of any error of MLflow, its database or the connection.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError as error:
        raise TrackingError(f"the package {error.name} is not installed") from error
    try:
        yield MlflowClient(tracking_uri=link.uri, registry_uri=link.uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        told = without_secrets(str(error), link.uri)
        raise TrackingError(f"{link.address} says: {told[:200]}") from error
