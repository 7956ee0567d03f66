"""The runs of one search in MLflow: found again or made once, then added to.

Imports mlflow, which takes seconds: only the tracker's thread imports this module.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from search.description import Links, describe_search
from search.figures import DESCRIPTION, RunUpdate
from search.runs_table import run_address, saved_view, table_address
from search.state import SearchState
from spaces.experiment import Experiment
from spaces.words import trial_id

T = TypeVar("T")
# A server or database that is away for now; `requests` raises subclasses of OSError.
TROUBLE = (MlflowException, SQLAlchemyError, OSError)
METRICS_PER_BATCH = 1000
NAMES_PER_BATCH = 100
REPORT = "report.html"
"""What `analysis.publish` calls the page that it adds to the parent run."""


class MlflowRuns:
    """The parent run of a search and the child runs of its trials.

    Runs are known by two tags, `search.id` and `search.trial`, so a run made just before a crash is found
    again and never doubled.

    Args:
        uri: Tracking address.
        experiment: What is searched; its name is that of MLflow's experiment, of the parent run and, with a
            number, of each child.
        search_id: What tells this search from others of the same name on the same server.
        artifacts: Folder of the artifacts; None leaves it to the server.
        known: Run ids by trial (None is the parent) from an earlier command; checked before they are used.
    """

    def __init__(
        self,
        uri: str,
        experiment: Experiment,
        search_id: str,
        artifacts: Path | None,
        known: Mapping[int | None, str],
    ) -> None:
        self._client = MlflowClient(tracking_uri=uri)
        self._about = experiment
        self._search_id = search_id
        self._experiment = self._experiment_id(artifacts)
        self._ids: dict[int | None, str] = {}
        alive = self._search(f"tags.`search.id` = '{search_id}'") if known else set()
        self._ids = {trial: run for trial, run in known.items() if run in alive}

    def ids(self) -> dict[int | None, str]:
        """Return the run ids known so far by trial; None is the parent."""
        return dict(self._ids)

    def send(self, update: RunUpdate) -> None:
        """Add one update to its run; sending it again changes nothing."""
        run = self._ensure(update.trial, update.time_ms)
        figures = [Metric(f.key, f.value, f.time_ms, f.step) for f in update.figures]
        params = [Param(key, value) for key, value in update.params.items()]
        tags = [RunTag(key, value) for key, value in update.tags.items()]
        for some_params in _chunks(params, NAMES_PER_BATCH):
            self._client.log_batch(run, params=some_params)
        for some_figures in _chunks(figures, METRICS_PER_BATCH):
            self._client.log_batch(run, metrics=some_figures)
        for some_tags in _chunks(tags, NAMES_PER_BATCH):
            self._client.log_batch(run, tags=some_tags)
        if update.status == "RUNNING":
            self._client.update_run(run, status="RUNNING")
        elif update.status is not None:
            self._client.set_terminated(run, update.status, update.status_ms)

    def address(self) -> str:
        """Return where the search's run is shown, relative to MLflow's start page."""
        return run_address(self._experiment, self._ids[None])

    def describe(self, state: SearchState) -> None:
        """Describe the search, as far as it came, where its run opens."""
        parent, at = self._ids[None], self._experiment
        links = Links(
            trials=table_address(at, self._search_id),
            report=run_address(at, parent, f"/artifacts/{REPORT}"),
            runs={trial: run_address(at, run) for trial, run in self._ids.items() if trial is not None},
        )
        self._client.set_tag(parent, DESCRIPTION, describe_search(self._about, state, links))

    def add_artifact(self, path: Path) -> None:
        """Upload a file to the parent run, in place of one with the same name."""
        self._client.log_artifact(self._ids[None], str(path))

    def _experiment_id(self, artifacts: Path | None) -> str:
        found = self._client.get_experiment_by_name(self._about.name)
        if found is None:
            location = artifacts.resolve().as_uri() if artifacts is not None else None
            tags = {
                "mlflow.experimentKind": "custom_model_development",  # pages for training, not for chat
                DESCRIPTION: self._about.description,
            }
            return str(self._client.create_experiment(self._about.name, location, tags))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _search(self, where: str) -> set[str]:
        found: set[str] = set()
        token = None
        while True:
            page = self._client.search_runs([self._experiment], where, max_results=1000, page_token=token)
            found |= {run.info.run_id for run in page}
            token = page.token
            if not token:
                return found

    def _ensure(self, trial: int | None, time_ms: int) -> str:
        """Return the run of a trial or of the search, looked up or made on first use."""
        if trial in self._ids:
            return self._ids[trial]
        number = "parent" if trial is None else str(trial)
        found = self._search(f"tags.`search.id` = '{self._search_id}' AND tags.`search.trial` = '{number}'")
        if found:
            run = min(found)
        else:
            tags = {"search.id": self._search_id, "search.trial": number}
            if trial is None:
                name = self._about.name
                self._client.set_experiment_tag(
                    self._experiment, *saved_view(self._about.name, self._search_id, time_ms)
                )
            else:
                tags["mlflow.parentRunId"] = self._ensure(None, time_ms)
                name = trial_id(self._about.name, trial)
            made = self._client.create_run(self._experiment, time_ms, tags, run_name=name)
            run = str(made.info.run_id)
        self._ids[trial] = run
        return run


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
