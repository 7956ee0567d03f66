"""What a search keeps on the disk: weights of the best trials, checkpoints of what goes on."""

import shutil
import time
from pathlib import Path

from search.events import WeightsRemoved
from search.recorder import Recorder
from search.slots import workspace_of
from search.standing import best, ranked
from search.state import SearchState
from spaces.experiment import Experiment
from train_fn.checkpoint_files import remove_all


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
        weights = workspace_of(trials_folder, number) / "weights"
        if trial.status != "running" and trial.checkpoint is None and weights.exists():
            shutil.rmtree(weights, ignore_errors=True)  # what stays is removed with the next end


def remove_checkpoints(state: SearchState, trials_folder: Path) -> None:
    """Remove the checkpoints of trials that ended by themselves: none of them is taken up again.

    Only what is written down is over. Removed any earlier, a crash in between would train the trial from its
    beginning.

    Args:
        state: Of the search.
        trials_folder: Holds `<number>/checkpoints`.
    """
    for number, trial in state.trials.items():
        if trial.status not in ("running", "cancelled"):
            remove_all(workspace_of(trials_folder, number))
