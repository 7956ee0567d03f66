"""What a search keeps on the disk: weights of the best trials, checkpoints of what goes on."""

import shutil
import time
from collections.abc import Collection
from pathlib import Path

from search.events import WeightsRemoved
from search.recorder import Recorder
from search.slots import workspace_of
from search.standing import best
from search.state import SearchState, confirmed_trials
from search.trial_state import is_sound, rank
from spaces.experiment import Experiment
from train_fn.checkpoint_files import remove_all


def surplus(state: SearchState, keep: int, among: Collection[int]) -> list[int]:
    """List the trials whose weights nobody will ask for any more.

    A finished trial's eval NLL is final, so one that is not among the best `keep` never will be again. A run
    that confirms another trial has said what it was for. A trial that was confirmed is kept in any case:
    newcomers of an extended search may lead it by their own runs and fall behind it with other seeds.

    Args:
        state: Of the search.
        keep: Of how many trials the weights stay.
        among: All trials that have weights.
    """
    trials = [state.trials[number] for number in among]
    finished = sorted((t for t in trials if t.status == "finished" and is_sound(t)), key=rank)
    kept = {trial.trial for trial in finished[:keep]} | confirmed_trials(state)
    top = best(state)
    if top is not None:
        kept.add(top.trial)
    return sorted(set(among) - kept)


def kept_weights(experiment: Experiment) -> int:
    """Return of how many trials the weights stay: at least of those that are confirmed."""
    return max(experiment.budget.keep_weights, experiment.confirm.top)


class Keeper:
    """Removes what is not needed any more, at the start of a command and whenever a trial ends.

    Args:
        recorder: Of the search.
        trials_folder: Holds `<number>/weights` and `<number>/checkpoints`.
        keep: Of how many trials the weights stay.
    """

    def __init__(self, recorder: Recorder, trials_folder: Path, keep: int) -> None:
        self._recorder, self._folder, self._keep = recorder, trials_folder, keep
        self._weights: set[int] = set()

    def sweep(self) -> None:
        """Look at every trial: a crash may have come between a line of the ledger and what it says."""
        trials = self._recorder.state.trials
        self._weights = {number for number, trial in trials.items() if trial.checkpoint is not None}
        for number, trial in trials.items():
            self._remove_checkpoints(number)
            if trial.status != "running" and trial.checkpoint is None:
                self._remove_weights(number)
        self._remove_surplus()

    def ended(self, number: int) -> None:
        """Look at a trial that has ended, and at the weights it makes superfluous."""
        self._remove_checkpoints(number)
        if self._recorder.state.trials[number].checkpoint is None:
            self._remove_weights(number)
        else:
            self._weights.add(number)
            self._remove_surplus()

    def _remove_surplus(self) -> None:
        """Write it down before it is done: a crash between the two leaves a folder for the next sweep."""
        for number in surplus(self._recorder.state, self._keep, self._weights):
            self._recorder.record(WeightsRemoved(time.time(), number))
            self._weights.discard(number)
            self._remove_weights(number)

    def _remove_weights(self, number: int) -> None:
        weights = workspace_of(self._folder, number) / "weights"
        if weights.exists():
            shutil.rmtree(weights, ignore_errors=True)  # what stays is removed by the next command

    def _remove_checkpoints(self, number: int) -> None:
        """Remove the checkpoints of a trial that ended by itself: it is not taken up again.

        Only what is written down is over. Removed any earlier, a crash in between would train the trial from
        its beginning.
        """
        if self._recorder.state.trials[number].status not in ("running", "cancelled"):
            remove_all(workspace_of(self._folder, number))
