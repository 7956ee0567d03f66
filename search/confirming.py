"""Which runs with other seeds a search needs before it calls a trial the best."""

from collections import Counter
from dataclasses import dataclass

from search.standing import ranked
from search.state import SearchState, repeats
from search.study import MAX_ATTEMPTS
from search.trial_state import TrialState
from spaces.experiment import ConfirmConfig
from train_fn.config import SEEDS
from train_fn.report import DOOMED


@dataclass(frozen=True)
class Repeat:
    """A run of a trial's values with another seed."""

    confirms: int
    seed: int


def wanted(state: SearchState, confirm: ConfirmConfig) -> list[Repeat]:
    """List the runs that confirm the best trials as they stand, each trial's first seed before its second.

    Where one of them is doomed with another seed, or such a run is given up, the next best is asked too, as
    long as its weights are there: a search should not end with a best trial that is known to be unstable.

    Args:
        state: A search whose trials are over: before that the best ones are not known.
        confirm: How many of the finished trials, and with how many seeds beside their own.
    """
    out = {again.confirms for again in repeats(state) if again.status in DOOMED}
    out |= {again.confirms for again, times in _failures(state).items() if times >= MAX_ATTEMPTS}
    finished = [trial for trial in ranked(state) if trial.status == "finished"]
    top = finished[: confirm.top]
    for trial in finished[confirm.top :]:
        if sum(one.trial not in out for one in top) == confirm.top:
            break
        if trial.checkpoint is not None:
            top.append(trial)
    return [Repeat(t.trial, (t.seed + more) % SEEDS) for more in range(1, confirm.seeds + 1) for t in top]


def missing(state: SearchState, confirm: ConfirmConfig) -> list[Repeat]:
    """List the wanted runs that have not ended by themselves; one that failed too often is given up."""
    failed = _failures(state)
    over = {_repeat(t) for t in repeats(state) if t.status not in ("running", "cancelled", "failed")}
    return [one for one in wanted(state, confirm) if one not in over and failed[one] < MAX_ATTEMPTS]


def _failures(state: SearchState) -> Counter[Repeat]:
    return Counter(_repeat(trial) for trial in repeats(state) if trial.status == "failed")


def _repeat(trial: TrialState) -> Repeat:
    assert trial.confirms is not None
    return Repeat(trial.confirms, trial.seed)
