"""Run a search: hand trials to slots through Ray Tune until the budget is used and the best are confirmed."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import ray
from ray import tune

from search.capacity import Capacity
from search.code_version import CodeVersion
from search.confirming import missing, wanted
from search.events import Event, SearchEnded, SearchStarted
from search.groups import GroupSettings
from search.ledger import FILE_NAME, Ledger, read_events
from search.recorder import Listener, Recorder, TuneRecorder
from search.restored import open_study, peers_of, rungs_of
from search.retention import Keeper, kept_weights
from search.room import room_watch
from search.scheduler import TokenHalving
from search.searcher import StudySearcher
from search.slots import Slot, SlotSettings
from search.state import SearchState, replay
from search.study import Study
from spaces.describe import describe
from spaces.experiment import Experiment
from spaces.paths import replace_all
from train_fn.address import bare
from train_fn.errors import InputError

TRIALS = "trials"
"""Folder of all trials' workspaces, in the search's folder."""

MAX_SLOT_DEATHS = 10
"""Deaths of a slot's actor that one trial survives: it goes on from its checkpoint in a new slot."""


@dataclass(frozen=True)
class SearchInputs:
    """What a search needs beside its experiment."""

    folder: Path
    """`<storage>/<experiment>`."""
    prepared: Path
    """Folder of the prepared data."""
    data_key: str
    cache: Path
    code: CodeVersion
    code_change_allowed: bool
    slots: int
    """At most, at the same time."""
    capacity: Capacity
    """How many of them there are now."""
    needed_gib: float
    """Room on the disk before a trial starts."""
    local: bool
    """Whether the search has a Ray of its own, on this machine alone."""
    store: str = ""
    """Address that the storage folder is a working copy of; empty for a folder that all nodes share."""


def search(
    experiment: Experiment, inputs: SearchInputs, ledger: Ledger, listeners: Iterable[Listener]
) -> SearchState:
    """Run the search, or go on with the one the ledger holds. Ray must be connected.

    Args:
        experiment: What to search.
        inputs: Where everything lies.
        ledger: Open for writing; its earlier events are the search so far.
        listeners: Told of every event.

    Returns:
        The state at the end; its status is `finished`, `interrupted` or `failed` (no trial could run).
    """
    began = time.time()
    past = list(read_events(inputs.folder / FILE_NAME))
    recorder = Recorder(ledger, replay(past), tuple(listeners))
    study = open_study(experiment, inputs.folder, recorder.state, past)
    recorder.record(
        SearchStarted(
            time=began,
            experiment=_described(experiment),
            profile=experiment.profile,
            data_key=inputs.data_key,
            git_commit=inputs.code.git_commit,
            sources=inputs.code.sources,
            code_change_allowed=inputs.code_change_allowed,
        )
    )
    halving = rungs_of(experiment, past, recorder.state)
    keeper = Keeper(recorder, inputs.folder / TRIALS, kept_weights(experiment))

    def over(number: int) -> None:
        keeper.ended(number)
        trial = recorder.state.trials[number]
        for one in (number, trial.finishes):
            if one is not None:
                halving.ended(one, trial.status)

    callback = TuneRecorder(recorder, study, experiment.base, over)
    callback.end_halved()
    keeper.sweep()
    searcher = StudySearcher(
        study,
        experiment.budget.trials,
        lambda: wanted(recorder.state, experiment.confirm),
        room_watch(inputs.folder, inputs.needed_gib, recorder),
        inputs.capacity,
    )
    scheduler = TokenHalving(
        halving, callback.decided, peers_of(experiment, past, recorder.state), callback.stalled
    )
    try:
        _fit(experiment, inputs, searcher, scheduler, callback)
    finally:
        inputs.capacity(0)
    callback.cancel_running()
    if callback.refusal:
        recorder.record(SearchEnded(time.time(), "failed", time.time() - began))
        raise InputError(callback.refusal)
    status = _status(recorder.state, study, experiment)
    recorder.record(SearchEnded(time.time(), status, time.time() - began))
    return recorder.state


def is_complete(experiment: Experiment, folder: Path, state: SearchState, past: list[Event]) -> bool:
    """Tell whether a search ended by itself and nothing is left to do: no trial to try, none to run again.

    The rule is the one by which a command calls its search over. It asks the study too, for that alone knows
    which failed trials are tried again.

    Args:
        experiment: What is asked for now; its budget may have grown.
        folder: Of the search.
        state: What the ledger says.
        past: The ledger.
    """
    if state.status not in ("finished", "failed"):
        return False
    study = open_study(experiment, folder, state, past)
    return not study.running() and _status(state, study, experiment) == state.status


def _fit(
    experiment: Experiment,
    inputs: SearchInputs,
    searcher: StudySearcher,
    scheduler: TokenHalving,
    callback: TuneRecorder,
) -> None:
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(inputs.slots)
    settings = SlotSettings(
        base=experiment.base,
        group=GroupSettings(experiment.resources, str(inputs.folder / "ray"), inputs.local),
        prepared=str(inputs.prepared),
        trials_folder=str(inputs.folder / TRIALS),
        cache=str(inputs.cache),
        store=inputs.store,
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Slot, settings=settings), _beside_us()),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # the searcher ends the search when its budget is used
            max_concurrent_trials=inputs.slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(inputs.folder / "ray"),
            stop=_StopOnRefusal(callback),
            failure_config=tune.FailureConfig(max_failures=MAX_SLOT_DEATHS),
            callbacks=[callback],
            verbose=0,
        ),
    )
    tuner.fit()


def _beside_us() -> tune.PlacementGroupFactory:
    """Ask for a place on the machine of this process, where slots outlive the machines of their ranks.

    A head may have no CPUs for anybody; a placement group wants something, so it gets a byte of memory.
    """
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    return tune.PlacementGroupFactory([{"memory": 1}], bundle_label_selector=[here])


class _StopOnRefusal(tune.Stopper):  # type: ignore[misc]
    """End the search when its workers say that no trial of it can run."""

    def __init__(self, callback: TuneRecorder) -> None:
        self._callback = callback

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Tell whether all must stop."""
        return bool(self._callback.refusal)

    def __getstate__(self) -> dict[str, object]:
        """Leave everything behind, as the callback does."""
        return {}


def _described(experiment: Experiment) -> dict[str, object]:
    """Describe the experiment for the ledger, which anybody may read: no password in an address."""
    address = bare(experiment.tracking.uri) if experiment.tracking.uri else ""
    return describe(replace_all(experiment, {"tracking.uri": address}))


def _status(state: SearchState, study: Study, experiment: Experiment) -> str:
    cancelled = any(trial.status == "cancelled" for trial in state.trials.values())
    if cancelled or study.count() < experiment.budget.trials:
        return "interrupted"
    if all(trial.status == "failed" for trial in state.trials.values()):
        return "failed"
    if missing(state, experiment.confirm):
        return "interrupted"
    return "finished"
