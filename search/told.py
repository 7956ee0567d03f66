"""What a sampler is told of the trials, which it would otherwise misread.

Optuna's samplers are made for trials that run to their end. With halving few do, and those that were stopped
early say less, but not nothing.
"""

from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from statistics import median

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from train_fn.report import DOOMED

RETRIED, CONFIRMS, FINISHES = "retried", "confirms", "finishes"
"""What the study notes of a failed trial that is tried again, and of one that runs another one again: with
another seed, or to its end."""
MOST_TOLD_TPE, MOST_TOLD_GP = 1_000, 200
"""So many trials a sampler is told of at most: TPE's time grows with them, that of a Gaussian process with
their cube."""
MIN_PAIRS, MOST_PAIRS = 8, 200
"""Trials at two rungs before a line is laid through them, and how many of the latest it is laid through."""
STEEPEST = 3.0
"""The slope of that line at most: a few trials that lie close together give any."""


def tellable(trial: FrozenTrial) -> bool:
    """Return whether a trial says something of its values: it has begun, and did not fail by chance.

    Who fails is tried again, and by its second failure its values are to blame. Left out, they would be
    proposed for ever where the loss gets better towards what cannot run.
    """
    if trial.state == TrialState.FAIL:
        return uses_budget(trial)
    return trial.state != TrialState.WAITING


def told_once(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Leave out the halved trials that ran again to their end: those runs say more of the same values."""
    over = (TrialState.COMPLETE, TrialState.PRUNED)
    again = {one.user_attrs.get(FINISHES) for one in trials if one.state in over}
    return [one for one in trials if one.number not in again]


def uses_budget(trial: FrozenTrial) -> bool:
    """Return whether a trial counts: neither is it tried again, nor does it run another one again."""
    return not trial.user_attrs.get(RETRIED, False) and not runs_again(trial)


def runs_again(trial: FrozenTrial) -> bool:
    """Return whether a trial runs another one again."""
    return CONFIRMS in trial.user_attrs or FINISHES in trial.user_attrs


def tell_tpe(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials as TPE is to see them: those that run by what they have reached, the doomed worst.

    Optuna takes a running trial for a bad one. With halving the promising ones run for the longest, so it
    would learn of them last. As a stopped one it is compared by its rung and its NLL there. TPE
    (`optuna.samplers._tpe.sampler._split_trials`) puts every finished trial before every stopped one, however
    bad its value; of the stopped ones the further they came, then by their value, and those without a value
    come last. So the worst there is has stopped without one.

    Returns:
        Of many trials the best, as many others from all the rest, and those that run and have said nothing;
        in their order.
    """
    told: list[FrozenTrial] = []
    silent: list[FrozenTrial] = []
    for one in trials:
        if _is_doomed(one):
            told.append(_changed(one, TrialState.PRUNED, intermediate_values={}))
        elif one.state == TrialState.RUNNING and one.intermediate_values:
            told.append(_changed(one, TrialState.PRUNED))
        else:
            (silent if one.state == TrialState.RUNNING else told).append(one)
    return sorted(_few(told, MOST_TOLD_TPE) + silent, key=lambda one: one.number)


def tell_gp(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials as a Gaussian process is to see them: each with what it would end with.

    Optuna's reads finished trials alone, few of a search with halving, and would go back to the cliff again
    and again. A loss far above the others would hide their differences, so the worst half is told as at most
    three times as far from the best as the median, and the doomed as just there. Of a trial that runs and has
    said nothing the process knows where it is.

    Returns:
        Of many trials the best, as many others from all the rest, and those that run.
    """
    ends = forecasts([one for one in trials if not _is_doomed(one)])
    worst = _limit(list(ends.values()))
    told, silent = [], []
    for one in trials:
        if _is_doomed(one):
            told.append(_changed(one, TrialState.COMPLETE, value=worst))
        elif one.number in ends:
            told.append(_changed(one, TrialState.COMPLETE, value=min(ends[one.number], worst)))
        elif one.state == TrialState.RUNNING:
            silent.append(one)
    return _few(told, MOST_TOLD_GP) + silent


def _few(told: list[FrozenTrial], most: int) -> list[FrozenTrial]:
    """Return the best half of so many trials, and as many spread evenly over the others."""
    if len(told) <= most:
        return told
    half = most // 2
    told = sorted(told, key=_place)
    others = told[half:]
    return told[:half] + [others[k * len(others) // half] for k in range(half)]


def _place(one: FrozenTrial) -> tuple[float, ...]:
    """Return what trials are sorted by, the best first, as TPE sorts them."""
    if one.state == TrialState.COMPLETE and one.value is not None:
        return 0, one.value, one.number
    if not one.intermediate_values:
        return 2, one.number
    last = max(one.intermediate_values)
    return 1, -last, one.intermediate_values[last], one.number


def forecasts(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """Return the NLL that each trial ended with, or would: its last, carried on from rung to rung.

    Those that went on show what becomes of a loss. Curves fan out, since what trains badly hardly falls, and
    where evaluations are noisy the best of a rung owe it to luck: the line has a slope above 1 or below it.

    Returns:
        By number; none of trials without an evaluation.
    """
    known = {one.number: one.intermediate_values for one in trials if one.intermediate_values}
    steps = sorted({step for values in known.values() for step in values})
    lines = []
    for here, there in pairwise(steps):
        both = [v for v in known.values() if here in v and there in v][-MOST_PAIRS:]
        lines.append(_line([v[here] for v in both], [v[there] for v in both]))
    ends: dict[int, float] = {}
    for number, values in known.items():
        last = max(values)
        end = values[last]
        for slope, x, y in lines[steps.index(last) :]:
            end = y + slope * (end - x)
        ends[number] = end
    for one in trials:
        if one.state == TrialState.COMPLETE and one.value is not None:
            ends[one.number] = one.value
    return ends


def _line(here: Sequence[float], there: Sequence[float]) -> tuple[float, float, float]:
    """Return the slope and a point of the line through losses at a rung and at the next.

    The slope is that of Theil and Sen (Sen 1968, J. Am. Stat. Assoc. 63:1379); of a few trials it is taken
    to be 1, so all change by the same.
    """
    if not here:
        return 1.0, 0.0, 0.0
    x, y = np.array(here), np.array(there)
    middle = float(np.median(x))
    slope = 1.0
    if len(here) >= MIN_PAIRS:
        right, left = np.nonzero(x[:, None] > x[None, :])
        slopes = (y[right] - y[left]) / (x[right] - x[left])
        slope = min(max(float(np.median(slopes)), 0.0), STEEPEST) if len(slopes) else 1.0
    return slope, middle, middle + float(np.median(y - x))


def _limit(ends: Sequence[float]) -> float:
    if not ends:
        return 1.0  # all are doomed: told as equal
    best, middle = min(ends), median(ends)
    return middle + 2 * (middle - best) + 1e-3


def _is_doomed(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get("status") in DOOMED or trial.state == TrialState.FAIL


def _changed(trial: FrozenTrial, state: TrialState, **fields: object) -> FrozenTrial:
    changed = copy(trial)
    changed.state = state
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
