"""What MLflow holds of a search, to compare with what the ledger says."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from search.events import Event
from search.state import SearchState
from search.tracking import updates_of
from tests.unit.search.recorded import MAX_TOKENS

Figures = dict[str, dict[str, list[tuple[int, int, float]]]]
"""(step, time, value) by run name and metric, in the order of steps and times."""


class Sent:
    """Read an MLflow experiment back."""

    def __init__(self, uri: str, experiment: str = "exp9") -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        self.runs = list(self.client.search_runs([found.experiment_id], max_results=10_000))

    def names(self) -> list[str]:
        return sorted(run.info.run_name for run in self.runs)

    def run(self, name: str) -> Any:
        (found,) = (run for run in self.runs if run.info.run_name == name)
        return found

    def steps(self, name: str, key: str) -> list[int]:
        """The steps at which a run has a figure, as often as it has it."""
        return [m.step for m in self.client.get_metric_history(self.run(name).info.run_id, key)]

    def artifacts(self, name: str) -> list[str]:
        return [entry.path for entry in self.client.list_artifacts(self.run(name).info.run_id)]


def sent_figures(sent: Sent) -> Figures:
    found: Figures = {}
    for run in sent.runs:
        found[run.info.run_name] = {
            key: sorted(
                (m.step, m.timestamp, m.value) for m in sent.client.get_metric_history(run.info.run_id, key)
            )
            for key in run.data.metrics
        }
    return found


def expected_figures(events: Sequence[Event]) -> Figures:
    found: Figures = {}
    for update in updates_of(SearchState(), events, MAX_TOKENS)[0]:
        name = "exp9" if update.trial is None else f"exp9-{update.trial:04d}"
        metrics = found.setdefault(name, defaultdict(list))
        for figure in update.figures:
            metrics[figure.key].append((figure.step, figure.time_ms, figure.value))
    return {name: {key: sorted(values) for key, values in metrics.items()} for name, metrics in found.items()}
