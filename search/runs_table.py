"""Where MLflow shows a search, and its table of trials: columns and order as a saved view.

MLflow itself shows none of what matters until a reader has picked columns. A saved view is a tag of the
experiment (`mlflow.sharedViewState.<key>`, a JSON envelope whose `state` is JSON again, read in the sources
of MLflow 3.17's pages); it stands in the list "Views" above the runs, and its key can be part of an address.
"""

import json

TAG = "mlflow.sharedViewState."
TRAINING = "workflowType=machine_learning"
"""Part of every address: without it MLflow opens its pages for chat traces, which stay empty."""
COLUMN_WIDTHS_PX = {
    "tags.`status`": 100,
    "metrics.`eval/nll`": 100,
    "metrics.`trial/lr`": 100,
    "metrics.`trial/effective_batch_size`": 170,
    "metrics.`trial/tokens_seen`": 140,
    "tags.`reason`": 700,
}


def saved_view(name: str, search_id: str, time_ms: int) -> tuple[str, str]:
    """Return the experiment tag, key and value, that holds the table of a search's trials by eval NLL.

    Args:
        name: Name of the search.
        search_id: What tells it from others of the same name.
        time_ms: When the search began, in milliseconds since the epoch; the newest view is listed first.
    """
    state = {
        "searchFilter": f"tags.`search.id` = '{search_id}' AND tags.`search.trial` != 'parent'",
        "orderByKey": "metrics.`eval/nll`",
        "orderByAsc": True,
        "selectedColumns": list(COLUMN_WIDTHS_PX),
        "columnOrder": [*COLUMN_WIDTHS_PX],
        "columnWidths": COLUMN_WIDTHS_PX,
    }
    view = {
        "name": f"{name}: trials by eval NLL ({search_id[:4]})",
        "createdAt": time_ms,
        "updatedAt": time_ms,
        "state": json.dumps(state),
    }
    return TAG + view_key(search_id), json.dumps(view)


def table_address(experiment_id: str, search_id: str) -> str:
    """Return where MLflow shows the table, relative to its start page."""
    return f"#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey={view_key(search_id)}"


def run_address(experiment_id: str, run: str, tab: str = "") -> str:
    """Return where MLflow shows a run, or one of its tabs, relative to its start page."""
    return f"#/experiments/{experiment_id}/runs/{run}{tab}?{TRAINING}"


def view_key(search_id: str) -> str:
    """Name the saved view of a search."""
    return f"trials-{search_id}"
