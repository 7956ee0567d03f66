"""An experiment as plain JSON-able values: for the ledger, MLflow and the plan."""

import dataclasses
import json

from optuna.distributions import distribution_to_json

from spaces.experiment import Experiment
from train_fn.config import TrainConfig


def describe(experiment: Experiment) -> dict[str, object]:
    """Return the experiment as nested dictionaries of JSON values, distributions in Optuna's own form."""
    plain: dict[str, object] = {}
    for field in dataclasses.fields(experiment):
        value = getattr(experiment, field.name)
        if field.name == "space":
            plain["space"] = {path: json.loads(distribution_to_json(d)) for path, d in value.items()}
        elif field.name == "known_good":
            plain["known_good"] = [dict(point) for point in value]
        elif dataclasses.is_dataclass(value):
            plain[field.name] = dataclasses.asdict(value)  # type: ignore[arg-type]
        else:
            plain[field.name] = value
    return _through_json(plain)


def plain_config(config: TrainConfig) -> dict[str, object]:
    """Return a trial's configuration as nested dictionaries of JSON values."""
    return _through_json(dataclasses.asdict(config))


def _through_json(plain: dict[str, object]) -> dict[str, object]:
    """Turn tuples into lists, so that what is compared with a file compares equal."""
    result: dict[str, object] = json.loads(json.dumps(plain))
    return result
