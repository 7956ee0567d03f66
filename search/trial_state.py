"""What is known about one trial: folded from its reports and its end, and how it ranks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from search.events import Ended, Reported, Retried
from search.halving import Decision
from spaces.experiment import ParamValue
from train_fn.report import Evaluation, Outcome, Status
from train_fn.times import Times, closed

TrialStatus = Status | Literal["running"]
CURVE_WINDOWS = 24


@dataclass(frozen=True)
class EvalPoint:
    """One evaluation of a trial."""

    tokens_seen: int
    nll: float
    stderr: float


@dataclass(frozen=True)
class TrialState:
    """One trial so far."""

    trial: int
    params: Mapping[str, ParamValue]
    config: Mapping[str, object]
    started: float
    """Seconds since the epoch, of the first attempt."""
    confirms: int | None = None
    """The trial that this one repeats with another seed, None for a trial of its own."""
    finishes: int | None = None
    """The halved trial that this one runs again to its end, None for others."""
    refuted: bool = False
    """It was halved, and lost when it ran again to its end."""
    attempts: int = 1
    retries: tuple[Retried, ...] = ()
    """When its worker group ended with a fault and it went on."""
    skipped_in_steps: int = 0
    """Examples of the steps it left out because training failed in them twice."""
    nonfinite_examples: int = 0
    """Examples it left out one by one because they alone make a gradient non-finite."""
    status: TrialStatus = "running"
    reason: str = ""
    tokens_seen: int = 0
    steps: int = 0
    overflow_steps: int = 0
    spikes: int = 0
    eval_nll: float | None = None
    eval_nll_stderr: float | None = None
    last_eval: Evaluation | None = None
    evals: tuple[EvalPoint, ...] = ()
    curve: tuple[float, ...] = ()
    """Smoothed loss (EMA 0.9) at the end of the last `CURVE_WINDOWS` windows."""
    decision: Decision | None = None
    """The newest at a rung."""
    trend: str = ""
    tokens_per_s: float = 0.0
    train_s: float = 0.0
    start_overhead_s: float = 0.0
    times: Times | None = None
    """What its attempts spent their time on up to its last event; None where an old ledger does not say."""
    checkpoint: str | None = None
    ended: float | None = None
    attempt_began: float = 0.0
    """Seconds since the epoch."""
    last_time: float = 0.0
    """Of its start, report or end that came last, in seconds since the epoch: an attempt ended there if a
    crash kept it from saying so."""
    past_s: float = 0.0
    """Wall time of the attempts before this one."""

    @property
    def seed(self) -> int:
        """The seed of its training."""
        run = self.config["run"]
        assert isinstance(run, Mapping)
        return int(run["seed"])

    @property
    def eval_tokens(self) -> int:
        """After how many tokens `eval_nll` was measured; it may have trained further since."""
        return self.evals[-1].tokens_seen if self.evals else self.tokens_seen

    @property
    def skipped_examples(self) -> int:
        """Examples it left out, for whatever reason."""
        return self.skipped_in_steps + self.nonfinite_examples


def is_sound(trial: TrialState) -> bool:
    """Tell whether a trial may be the best one by its own last eval NLL.

    Diverged, overflowing and failed trials never are, and neither are runs that confirm a trial, nor halved
    ones that were lost when they ran again to their end.
    """
    fit = trial.status in ("finished", "running", "halved", "cancelled") and not trial.refuted
    return fit and trial.confirms is None and trial.eval_nll is not None


def rank(trial: TrialState) -> tuple[bool, float, int, int]:
    """Return what sound trials are sorted by, best first.

    Finished trials come before all others: an NLL taken after fewer tokens is no fair comparison. Of equals
    the one with fewer tokens at its evaluation, then the one with the lower number, comes first.
    """
    assert trial.eval_nll is not None
    return trial.status != "finished", trial.eval_nll, trial.eval_tokens, trial.trial


def begun(trial: TrialState, time: float) -> TrialState:
    """Return what is known when a slot takes the trial up again."""
    return replace(
        trial,
        status="running",
        reason="",
        ended=None,
        attempts=trial.attempts + 1,
        past_s=trial.past_s + trial.last_time - trial.attempt_began,
        attempt_began=time,
        last_time=time,
    )


def retried(trial: TrialState, event: Retried) -> TrialState:
    """Return what is known after a fault that the trial survived; a step found again is counted once."""
    place = event.skipped_place
    known = place is not None and any(again.skipped_place == place for again in trial.retries)
    skipped = trial.skipped_in_steps + (0 if known else event.skipped_examples)
    return replace(trial, retries=(*trial.retries, event), skipped_in_steps=skipped)


def reported(trial: TrialState, event: Reported) -> TrialState:
    """Return what is known after one more report."""
    report = event.report
    trial = replace(
        trial,
        tokens_seen=report.tokens_seen,
        steps=report.steps,
        overflow_steps=report.overflow_steps,
        nonfinite_examples=report.nonfinite_examples,
        spikes=report.spikes,
        trend=report.trend,
        tokens_per_s=report.tokens_per_s,
        train_s=report.train_s,
        start_overhead_s=report.start_overhead_s,
        times=_times(trial, report.times, event.time),
        last_time=event.time,
    )
    if report.points:
        trial = replace(trial, curve=(*trial.curve, report.points[-1].ema_90)[-CURVE_WINDOWS:])
    if report.eval is None:
        return trial
    point = EvalPoint(report.tokens_seen, report.eval.nll, report.eval.stderr)
    return replace(
        trial,
        eval_nll=point.nll,
        eval_nll_stderr=point.stderr,
        last_eval=report.eval,
        evals=(*trial.evals, point),
    )


def ended(trial: TrialState, event: Ended) -> TrialState:
    """Return what is known after the end of an attempt."""
    outcome: Outcome = event.outcome
    evaluated = outcome.eval_nll is not None
    return replace(
        trial,
        status=outcome.status,
        reason=outcome.reason,
        tokens_seen=outcome.tokens_seen,
        steps=outcome.steps,
        overflow_steps=outcome.overflow_steps,
        eval_nll=outcome.eval_nll if evaluated else trial.eval_nll,
        eval_nll_stderr=outcome.eval_nll_stderr if evaluated else trial.eval_nll_stderr,
        train_s=outcome.train_s,
        start_overhead_s=outcome.start_overhead_s,
        times=_times(trial, outcome.times, event.time),
        checkpoint=outcome.checkpoint,
        ended=event.time,
        last_time=event.time,
    )


def _times(trial: TrialState, told: Times | None, now: float) -> Times | None:
    """Return the trial's own account, with what it lacks of the wall time of all attempts as `other`."""
    return None if told is None else closed(told, trial.past_s + now - trial.attempt_began)
