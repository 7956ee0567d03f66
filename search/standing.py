"""Which trial of a search is the best so far."""

from search.state import SearchState, repeats
from search.trial_state import TrialState, is_sound, rank
from train_fn.confirmation import Candidate, Confirmation, SeedRun, confirmation


def ranked(state: SearchState) -> list[TrialState]:
    """List the trials that may be the best one by their own last eval NLL, best first.

    Who may be among them, and who comes first, is said in `search.trial_state`.
    """
    return sorted(filter(is_sound, state.trials.values()), key=rank)


def best(state: SearchState) -> TrialState | None:
    """Return the best trial, None when none qualifies.

    That is the first of `ranked`, which the state keeps at hand, or the one that other seeds decided for
    (`train_fn.confirmation`).
    """
    found = confirmed(state)
    if found is not None:
        return state.trials[found.best]
    return None if state.leader is None else state.trials[state.leader]


def new_best(before: SearchState, after: SearchState) -> bool:
    """Tell whether the best trial is another one, or the same with another eval NLL."""
    old, new = best(before), best(after)
    if new is None:
        return False
    return old is None or (old.trial, old.eval_nll) != (new.trial, new.eval_nll)


def confirmed(state: SearchState) -> Confirmation | None:
    """Return what other seeds said of the best trials, None as long as they have not said anything."""
    again: dict[int, list[TrialState]] = {}
    for trial in repeats(state):
        assert trial.confirms is not None
        again.setdefault(trial.confirms, []).append(trial)
    if not again:
        return None
    finished = [
        trial for trial in ranked(state) if trial.status == "finished" and trial.last_eval is not None
    ]
    return confirmation(
        [
            Candidate(trial.trial, _run(trial), tuple(map(_run, again.get(trial.trial, ()))))
            for trial in finished
        ]
    )


def _run(trial: TrialState) -> SeedRun:
    troubles = trial.spikes + trial.overflow_steps
    return SeedRun(trial.seed, trial.status, trial.last_eval, troubles, trial.steps, trial.train_s)
