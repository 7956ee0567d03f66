"""A real MLflow database, and what the folder of a search says of its runs there."""

import json
from collections.abc import Mapping
from pathlib import Path


def tracked_runs(storage: Path, count: int) -> tuple[str, list[str]]:
    """Make a database in a storage folder; return its address, and so many runs of one experiment."""
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{storage / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    made = client.create_experiment("exp9", artifact_location=(storage / "mlartifacts").as_uri())
    return uri, [str(client.create_run(made).info.run_id) for _ in range(count)]


def name_runs(folder: Path, uri: str, runs: Mapping[str, str]) -> Path:
    """Say in the folder of a search which run is whose."""
    folder.mkdir(exist_ok=True)
    values = {"uri": uri, "search_id": "x", "offset": 0, "runs": runs}
    (folder / "mlflow.json").write_text(json.dumps(values))
    return folder
