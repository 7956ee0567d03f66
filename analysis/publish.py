"""Add the page to the search's run in MLflow. The page is on the disk already: trouble here is one line."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

CURSOR_NAME = "mlflow.json"
ARTIFACT = "report.html"
# For the entry point to put into the environment before mlflow is imported, where the user set nothing.
ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def publish(folder: Path, page: str, addresses: list[str]) -> str:
    """Log the page as an artifact of the parent run; return what became of it, in one line.

    Args:
        folder: The search's folder, which says where its figures went.
        page: The HTML.
        addresses: Tracking addresses with their passwords that the search may have used.
    """
    cursor = folder / CURSOR_NAME
    try:
        values = json.loads(cursor.read_text())
        address, run = str(values["uri"]), str(values["runs"]["parent"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"MLflow: not logged, {cursor} names no run of this search"
    # The file holds the address without its secrets; one that is the same without them has them.
    uri = next((one for one in addresses if redact(one) == address), address)
    database = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:") and not database.is_file():
        return f"MLflow: not logged, there is no {database}"
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError as error:
        return f"MLflow: not logged, the package {error.name} is not installed"
    try:
        MlflowClient(tracking_uri=uri).log_text(run, page, ARTIFACT)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        told = " ".join(redact(str(error).replace(uri, address)).split())
        return f"MLflow: not logged, {address} says: {told[:200]}"
    return f"MLflow: {ARTIFACT} is an artifact of run {run}"


def redact(uri: str) -> str:
    """Return an address without user, password and query."""
    return re.sub(r"(?<=://)[^/\s]*@", "", uri).partition("?")[0]
