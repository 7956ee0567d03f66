"""Decide what a search found: the best trial, by how much, at what cost.

All NLLs are in nats per answer token on the same held-out examples. The order of the trials is the one of
`summary.json` (docs/summary.md).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.records import Scored, SearchRecord, TrialRecord
from train_fn.confirmation import (
    Candidate,
    Confirmation,
    SeedRun,
    confirmation,
    lead_noise,
    pooled_spread,
)
from train_fn.lead import Lead, paired_lead

SAME_STAGE = 1.5
"""Evaluations whose tokens differ by less than this factor are held against each other."""


@dataclass(frozen=True)
class Cost:
    """What a search took."""

    tokens: int
    wall_s: float
    slot_s: float
    """Time that slots spent on trials, added up over slots."""
    gpu_h: float
    """The same times the GPUs that the slot had, in hours; 0 without GPUs."""


@dataclass(frozen=True)
class Saved:
    """What stopped trials did not spend of `run.max_tokens` each."""

    by_halving: int
    """Tokens of trials that lost at a rung."""
    by_doom: int
    """Tokens of diverged and overflowing trials."""
    slot_s: float
    """What these tokens would have taken to train, at the mean speed of all trials."""

    @property
    def tokens(self) -> int:
        """All tokens saved."""
        return self.by_halving + self.by_doom


@dataclass(frozen=True)
class Answer:
    """What a search found."""

    best: TrialRecord | None
    """None when no trial was evaluated without diverging, overflowing or failing."""
    second: TrialRecord | None
    over_second: Lead | None
    level: tuple[TrialRecord, ...]
    """Trials that came as far as the best and cannot be told from it within noise."""
    confirmation: Confirmation | None
    """What other seeds said of the best trials; None when they were not asked, or have not answered yet."""
    over_base: Lead | None
    cost: Cost
    saved: Saved
    counts: tuple[tuple[str, int], ...]
    """Status -> trials, the most frequent first; without runs that confirm one."""


def trial_lead(better: TrialRecord, other: TrialRecord) -> Lead | None:
    """Return by how much one trial lies below another after as many tokens as both have seen.

    An NLL after fewer tokens is higher for that alone. The last evaluation of the trial that came less far is
    held against the one of the other trial nearest to it (steps overshoot a rung by up to a batch).

    Returns:
        None when no two evaluations lie within a factor of `SAME_STAGE` of each other.
    """
    if better.last_eval is None or other.last_eval is None:
        return None
    mine, theirs = better.last_eval, other.last_eval
    if mine.tokens_seen > theirs.tokens_seen:
        mine = _nearest(better, theirs.tokens_seen)
    else:
        theirs = _nearest(other, mine.tokens_seen)
    seen = sorted((mine.tokens_seen, theirs.tokens_seen))
    if seen[1] > SAME_STAGE * seen[0]:
        return None
    at_end = mine is better.last_eval and theirs is other.last_eval
    return paired_lead(mine.evaluation, theirs.evaluation, None if at_end else seen[0])


def _nearest(trial: TrialRecord, tokens: int) -> Scored:
    return min(trial.evals, key=lambda one: abs(math.log(one.tokens_seen / tokens)))


def ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """List the trials that may be called the best one by their own last eval NLL, best first.

    Finished trials come before all others: an NLL after fewer tokens is no fair comparison. Diverged,
    overflowing and failed ones are never among them, and neither are runs that confirm a trial. Of equals the
    one with fewer tokens at its evaluation comes first. A halved trial that ran again to its end is there
    once, as that run, and not at all if it was lost.
    """
    statuses = ("finished", "running", "halved", "cancelled")
    sound = [t for t in trials if t.confirms is None and t.status in statuses and t.eval_nll is not None]
    again = {t.finishes for t in trials if t.status == "finished" or t.doomed}
    sound = [t for t in sound if t.number not in again]
    return sorted(sound, key=lambda t: (t.status != "finished", t.eval_nll, t.eval_tokens, t.number))


def confirmed(trials: Sequence[TrialRecord]) -> Confirmation | None:
    """Return what other seeds said of the best trials, None as long as they have not said anything."""
    finished = [t for t in ranked(trials) if t.status == "finished" and t.last_eval is not None]
    return confirmation(
        [
            Candidate(trial.number, _run(trial), tuple(_run(t) for t in trials if t.confirms == trial.number))
            for trial in finished
        ]
    )


def standing(trials: Sequence[TrialRecord], found: Confirmation | None) -> list[TrialRecord]:
    """List the trials that may be called the best one in the order of the answer.

    Where other seeds were tried: the one they decided for, the other confirmed ones by their means, those
    that a seed spoke against, then all others in the order of `ranked`.
    """
    order = ranked(trials)
    if found is None:
        return order
    judged = [found.best, *(one.trial for one in found.confirmed), *(one.trial for one in found.unstable)]
    place = {number: rank for rank, number in enumerate(dict.fromkeys(judged))}
    return sorted(order, key=lambda trial: place.get(trial.number, len(place)))


def _run(trial: TrialRecord) -> SeedRun:
    evaluation = None if trial.last_eval is None else trial.last_eval.evaluation
    troubles = trial.spikes + trial.overflow_steps
    return SeedRun(trial.seed, trial.status, evaluation, troubles, trial.steps, trial.train_s)


def answer(search: SearchRecord) -> Answer:
    """Decide what a search found."""
    found = confirmed(search.trials)
    order = standing(search.trials, found)
    best = order[0] if order else None
    second = order[1] if len(order) > 1 else None
    lead = base = None
    level: list[TrialRecord] = []
    if best is not None and best.last_eval is not None:
        mine = best.last_eval.evaluation
        lead = trial_lead(best, second) if second is not None else None
        level = [other for other in order[1:] if _as_far(other, best) and not _clear(best, other, found)]
        if search.base is not None:
            base = paired_lead(mine, search.base)
    return Answer(
        best=best,
        second=second,
        over_second=lead,
        level=tuple(level),
        over_base=base,
        cost=cost(search),
        saved=saved(search),
        confirmation=found,
        counts=tuple(Counter(trial.status for trial in search.tried).most_common()),
    )


def _as_far(a: TrialRecord, b: TrialRecord) -> bool:
    return (a.status == "finished") == (b.status == "finished")


def _clear(best: TrialRecord, other: TrialRecord, found: Confirmation | None) -> bool:
    """Tell whether a trial is behind for certain: by all its seeds where they were tried, else by its run."""
    if found is not None and best.number in found.tied:
        if found.of(other.number) is not None:
            return other.number not in found.tied
        if any(one.trial == other.number for one in found.unstable):
            return True
    lead = trial_lead(best, other)
    return lead is None or (lead.clear and lead.nll > _noise(lead, found))


def _noise(lead: Lead, found: Confirmation | None) -> float:
    """Return half the width of the 95% interval of a lead between single runs, over seeds and over examples.

    Where other seeds were tried, their pooled spread is that of any trial (`train_fn.confirmation`); where
    not, seeds count for nothing.
    """
    if found is None or not found.confirmed:
        return 0.0
    return lead_noise(pooled_spread([one.nlls for one in found.confirmed]), 1, 1, lead.stderr)


def cost(search: SearchRecord) -> Cost:
    """Add up what the search took."""
    attempts = [attempt for trial in search.trials for attempt in trial.attempts]
    slot_s = sum(attempt.seconds for attempt in attempts)
    gpu_s = sum(attempt.seconds * attempt.gpus for attempt in attempts)
    tokens = sum(trial.tokens_seen for trial in search.trials)
    return Cost(tokens, search.wall_s, slot_s, gpu_s / 3600)


def saved(search: SearchRecord) -> Saved:
    """Add up what stopped trials did not spend."""

    def left(trials: Sequence[TrialRecord]) -> int:
        return sum(max(0, search.max_tokens - trial.tokens_seen) for trial in trials)

    halved = left(search.halved)
    doomed = left([trial for trial in search.trials if trial.doomed])
    tokens = sum(trial.tokens_seen for trial in search.trials)
    train_s = sum(trial.train_s for trial in search.trials)
    return Saved(halved, doomed, (halved + doomed) * train_s / tokens if tokens else 0.0)
