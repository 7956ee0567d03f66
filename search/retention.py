"""Which weights a search keeps: those of the best trials, and the rest of the disk for what is to come."""

import shutil
import time
from pathlib import Path

from search.events import WeightsRemoved
from search.recorder import Recorder
from search.standing import best, ranked
from search.state import SearchState
from spaces.experiment import Experiment


def surplus(state: SearchState, keep: int) -> list[int]:
    """List the trials whose weights nobody will ask for any more.

    A finished trial's eval NLL is final, so one that is not among the best `keep` never will be again. A run
    that confirms another trial has said what it was for. The best trial, which other seeds may have decided
    for, is kept in any case.
    """
    top = best(state)
    kept = [trial.trial for trial in ranked(state) if trial.status == "finished"][:keep]
    if top is not None:
        kept.append(top.trial)
    return [n for n, trial in sorted(state.trials.items()) if trial.checkpoint is not None and n not in kept]


def kept_weights(experiment: Experiment) -> int:
    """Return of how many trials the weights stay: at least of those that are confirmed."""
    return max(experiment.budget.keep_weights, experiment.confirm.top)


def remove_surplus(recorder: Recorder, trials_folder: Path, keep: int) -> None:
    """Remove the weights of trials that are no longer among the best.

    It is written down before it is done: a crash between the two leaves a folder that the next call removes.

    Args:
        recorder: Of the search.
        trials_folder: Holds `<number>/weights`.
        keep: Of how many trials the weights stay.
    """
    for number in surplus(recorder.state, keep):
        recorder.record(WeightsRemoved(time.time(), number))
    for number, trial in recorder.state.trials.items():
        weights = trials_folder / f"{number:04d}" / "weights"
        if trial.status != "running" and trial.checkpoint is None and weights.exists():
            shutil.rmtree(weights, ignore_errors=True)  # what stays is removed with the next end
