"""Decide between the best trials by several runs of each: does a lead outlive another training seed?

One run has two kinds of chance in it: which examples are held out, and the seed of training (order of the
data, adapters, dropout). The first is known from pairs of examples (`train_fn.paired`); the second only from
runs with other seeds, and from few of them, so all trials together say how large it is.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from train_fn.paired import paired_difference
from train_fn.report import DOOMED, Evaluation

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5% points of Student's t for 1, 2, ... degrees of freedom; more are taken for the last, which is on the
safe side."""
Z_975 = 1.96
AS_FAST = 1.1
"""Trials within this factor of the shortest training time count as equally fast."""
AS_CALM, SOUND = 2.0, 0.02
"""Trials within this factor of the smallest share of troubled steps count as equally calm, and below `SOUND`
no share is smaller than another: a sound fp16 loss scaler alone overflows in 2 of 102 steps
(`train_fn.scaler`)."""


@dataclass(frozen=True)
class SeedRun:
    """One run of a trial's configuration, from its start to its end."""

    seed: int
    status: str
    evaluation: Evaluation | None
    """At its end; None if it was never evaluated."""
    troubles: int
    """Spikes and overflowed steps."""
    steps: int
    train_s: float


@dataclass(frozen=True)
class Candidate:
    """A finished trial and the runs of its configuration with other seeds, as far as there are any."""

    trial: int
    own: SeedRun
    repeats: tuple[SeedRun, ...]


@dataclass(frozen=True)
class Confirmed:
    """A trial of which every other seed that ended finished as well."""

    trial: int
    seeds: tuple[int, ...]
    """The trial's own seed first."""
    nlls: tuple[float, ...]
    """Eval NLL by seed."""
    mean: float
    stderr: float
    """Of the mean, from the noise of seeds alone."""


@dataclass(frozen=True)
class Unstable:
    """A trial that did not finish with another seed."""

    trial: int
    ends: tuple[tuple[int, str], ...]
    """Seed and status of the runs that were doomed."""


@dataclass(frozen=True)
class SeedLead:
    """By how much the lowest mean lies below the next one."""

    first: int
    second: int
    nll: float
    noise: float
    """Half the width of its 95% interval, over seeds and over examples."""

    @property
    def clear(self) -> bool:
        """Whether the lead exceeds its noise."""
        return self.nll > self.noise


@dataclass(frozen=True)
class Confirmation:
    """What the other seeds say of the best trials."""

    best: int
    confirmed: tuple[Confirmed, ...]
    """The lowest mean first."""
    unstable: tuple[Unstable, ...]
    lead: SeedLead | None
    """None with fewer than two confirmed trials."""
    tied: tuple[int, ...]
    """The lowest mean and those that follow up to the first that is clearly behind it; alone it is no tie."""
    preferred_for: str
    """Why `best` is the best of a tie, in words; empty without one."""

    def of(self, trial: int) -> Confirmed | None:
        """Return what is known of a trial, None if it is not confirmed."""
        return next((one for one in self.confirmed if one.trial == trial), None)


def confirmation(candidates: Sequence[Candidate]) -> Confirmation | None:
    """Decide which of several trials is the best once other seeds were tried.

    A trial is confirmed when at least one repeat finished and none was doomed. With y_ij the eval NLL of
    trial i with seed j, n_i runs of it (its own among them) and m_i their mean, the variance over seeds is
    pooled over the confirmed trials: s^2 = sum_ij (y_ij - m_i)^2 / d, with d = sum_i (n_i - 1) degrees of
    freedom; a mean has the standard error s / sqrt(n_i), a difference of means s sqrt(1 / n_1 + 1 / n_2)
    (NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.5.3). The noise of examples is that of the
    paired difference of NLLs averaged over seeds. The half widths of the two 95% intervals add up as squares
    (Zou and Donner 2008, Statistics in Medicine 27:1693).

    If the lowest mean leads the next by more than that noise, it is the best. If not, it is tied with those
    that follow up to the first that is clearly behind, and the best of the tied is the one with clearly fewer
    spikes and overflows per step (`AS_CALM`); of equals the faster, by training time per run, if it is so by
    more than a tenth; then the one with the smaller spread over seeds.

    Args:
        candidates: Finished trials, the best by its own run first.

    Returns:
        None while no other seed of the first candidate has ended by itself: then its own run decides.
    """
    judged = [one for one in candidates if any(_ended(run) for run in one.repeats)]
    if not judged or judged[0] is not candidates[0]:
        return None
    unstable = tuple(
        Unstable(one.trial, tuple((run.seed, run.status) for run in _by_seed(one) if _doomed(run)))
        for one in judged
        if any(_doomed(run) for run in one.repeats)
    )
    stable = [one for one in judged if not any(_doomed(run) for run in one.repeats)]
    if not stable:
        return Confirmation(candidates[0].trial, (), unstable, None, (), "")
    spread = pooled_spread([_nlls(one) for one in stable])
    stable.sort(key=lambda one: statistics.fmean(_nlls(one)))
    first, *others = stable
    leads = [_lead(first, other, spread) for other in others]
    # In the order of means, so that no trial is tied whose mean is worse than one that is clearly behind.
    unclear = takewhile(lambda pair: not pair[1].clear, zip(others, leads, strict=True))
    tied = [first, *(other for other, _ in unclear)]
    best, why = _preferred(tied)
    return Confirmation(
        best=best.trial,
        confirmed=tuple(_confirmed(one, spread.sd) for one in stable),
        unstable=unstable,
        lead=leads[0] if leads else None,
        tied=tuple(one.trial for one in tied),
        preferred_for=why,
    )


@dataclass(frozen=True)
class Spread:
    """The noise of seeds, in nats per token."""

    sd: float
    degrees: int


def pooled_spread(groups: Sequence[Sequence[float]]) -> Spread:
    """Return the standard deviation within groups, pooled over them; at least one holds two values."""
    degrees = sum(len(group) - 1 for group in groups)
    assert degrees >= 1, groups
    squares = math.fsum((y - statistics.fmean(group)) ** 2 for group in groups for y in group)
    return Spread(math.sqrt(squares / degrees), degrees)


def _lead(first: Candidate, second: Candidate, spread: Spread) -> SeedLead:
    a, b = _evaluations(first), _evaluations(second)
    nll, by_examples = paired_difference(_mean_evaluation(b), _mean_evaluation(a))
    return SeedLead(first.trial, second.trial, nll, lead_noise(spread, len(a), len(b), by_examples))


def lead_noise(spread: Spread, runs: int, other_runs: int, by_examples: float) -> float:
    """Return half the width of the 95% interval of a difference of means, as `confirmation` explains it.

    Args:
        spread: Of single runs.
        runs: Behind the first mean.
        other_runs: Behind the second.
        by_examples: Standard error of the paired difference, from examples alone.
    """
    by_seeds = spread.sd * math.sqrt(1 / runs + 1 / other_runs)
    t = T_975[min(spread.degrees, len(T_975)) - 1]
    return math.hypot(t * by_seeds, Z_975 * by_examples)


def _preferred(tied: Sequence[Candidate]) -> tuple[Candidate, str]:
    if len(tied) == 1:
        return tied[0], ""
    calmest = max(SOUND, min(_troubled(one) for one in tied))
    left = [one for one in tied if _troubled(one) <= AS_CALM * calmest]
    if len(left) == 1:
        return left[0], "clearly fewer spikes and overflows per step"
    shortest = min(_train_s(one) for one in left)
    left = [one for one in left if _train_s(one) <= AS_FAST * shortest]
    if len(left) == 1:
        return left[0], "shorter training"
    return min(left, key=lambda one: pooled_spread([_nlls(one)]).sd), "the smaller spread over seeds"


def _confirmed(one: Candidate, sd: float) -> Confirmed:
    nlls = _nlls(one)
    seeds = tuple(run.seed for run in _runs(one))
    return Confirmed(one.trial, seeds, nlls, statistics.fmean(nlls), sd / math.sqrt(len(nlls)))


def _ended(run: SeedRun) -> bool:
    return run.status == "finished" or _doomed(run)


def _doomed(run: SeedRun) -> bool:
    return run.status in DOOMED


def _runs(one: Candidate) -> list[SeedRun]:
    return [one.own, *(run for run in _by_seed(one) if run.status == "finished")]


def _by_seed(one: Candidate) -> list[SeedRun]:
    return sorted(one.repeats, key=lambda run: run.seed)


def _evaluations(one: Candidate) -> list[Evaluation]:
    evaluations = [run.evaluation for run in _runs(one) if run.evaluation is not None]
    assert len(evaluations) == len(_runs(one)), "a finished run was evaluated at its end"
    return evaluations


def _nlls(one: Candidate) -> tuple[float, ...]:
    return tuple(evaluation.nll for evaluation in _evaluations(one))


def _troubled(one: Candidate) -> float:
    """Return the share of steps that spiked or overflowed."""
    runs = _runs(one)
    return sum(run.troubles for run in runs) / max(1, sum(run.steps for run in runs))


def _train_s(one: Candidate) -> float:
    return statistics.fmean(run.train_s for run in _runs(one))


def _mean_evaluation(runs: Sequence[Evaluation]) -> Evaluation:
    """Average the NLL of each example over seeds."""
    return Evaluation(
        nll=statistics.fmean(run.nll for run in runs),
        stderr=statistics.fmean(run.stderr for run in runs),
        example_nll=tuple(map(statistics.fmean, zip(*(run.example_nll for run in runs), strict=True))),
        example_tokens=runs[0].example_tokens,
        seconds=sum(run.seconds for run in runs),
        example_conversations=runs[0].example_conversations,
    )
