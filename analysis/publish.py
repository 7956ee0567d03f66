"""Add the page to the search's run in MLflow. The page is on the disk already: trouble here is one line."""

from collections.abc import Sequence
from pathlib import Path

from analysis.mlflow_link import TrackingError, client, find_link

ARTIFACT = "report.html"


def publish(folder: Path, page: str, addresses: Sequence[str]) -> str:
    """Log the page as an artifact of the parent run; return what became of it, in one line.

    Args:
        folder: The search's folder, which says where its figures went.
        page: The HTML.
        addresses: Tracking addresses with their passwords that the search may have used.
    """
    try:
        link = find_link(folder, addresses)
        with client(link) as mlflow:
            mlflow.log_text(link.parent, page, ARTIFACT)
    except TrackingError as error:
        return f"MLflow: not logged, {error}"
    return f"MLflow: {ARTIFACT} is an artifact of run {link.parent}"
