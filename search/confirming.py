"""Which runs a search needs beside its trials before it calls one of them the best."""

from collections import Counter

from search.standing import ranked
from search.state import SearchState, finishing, repeats
from search.study import MAX_ATTEMPTS, Repeat
from search.trial_state import TrialState
from spaces.experiment import ConfirmConfig
from train_fn.config import SEEDS
from train_fn.report import DOOMED

MOST_FINISHED = 5
"""So many halved trials are run to their end, one after the other, where no trial came to its own."""


def wanted(state: SearchState, confirm: ConfirmConfig) -> list[Repeat]:
    """List the runs that the answer waits for, as the trials stand.

    With other seeds they confirm the best finished trials, each trial's first seed before its second. Where
    one of these is doomed with another seed, or such a run is given up, the next best is asked too, as long
    as its weights are there: a search should not end with a best trial that is known to be unstable.

    Where no trial finished, the best halved one is run to its end first: those that stopped it at a rung were
    lost later, or the rungs stopped everybody.

    Args:
        state: A search whose trials are over: before that the best ones are not known.
        confirm: How many of the finished trials, and with how many seeds beside their own.
    """
    finished = [trial for trial in ranked(state) if trial.status == "finished"]
    if not finished:
        return _to_finish(state)
    out = {again.confirms for again in repeats(state) if again.status in DOOMED}
    out |= {again.of for again, times in _failures(state).items() if times >= MAX_ATTEMPTS}
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
    over = {_repeat(t) for t in _again(state) if t.status not in ("running", "cancelled", "failed")}
    return [one for one in wanted(state, confirm) if one not in over and failed[one] < MAX_ATTEMPTS]


def _to_finish(state: SearchState) -> list[Repeat]:
    """Return the run to the end of the best halved trial that was not lost there, none after `MOST_FINISHED`.

    One at a time: the first that comes to its end is the answer.
    """
    live = [_repeat(one) for one in finishing(state) if one.status in ("running", "cancelled")]
    if live:
        return live[:1]
    lost = {_repeat(one) for one in finishing(state) if one.status in DOOMED}
    lost |= {again for again, times in _failures(state).items() if times >= MAX_ATTEMPTS}
    if len(lost) >= MOST_FINISHED:
        return []
    halved = (Repeat(trial.trial, None) for trial in ranked(state) if trial.status == "halved")
    return [again for again in halved if again not in lost][:1]


def _failures(state: SearchState) -> Counter[Repeat]:
    return Counter(_repeat(trial) for trial in _again(state) if trial.status == "failed")


def _again(state: SearchState) -> list[TrialState]:
    return [*finishing(state), *repeats(state)]


def _repeat(trial: TrialState) -> Repeat:
    if trial.finishes is not None:
        return Repeat(trial.finishes, None)
    assert trial.confirms is not None
    return Repeat(trial.confirms, trial.seed)
