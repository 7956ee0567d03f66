"""What is known about a search: a pure fold over its events."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from search.events import (
    BaselineMeasured,
    Decided,
    Ended,
    Event,
    Paused,
    Reported,
    Resumed,
    Retried,
    SearchEnded,
    SearchStarted,
    TrialStarted,
    WeightsRemoved,
)
from search.halving import Decision
from spaces.experiment import ParamValue
from spaces.words import gib_text
from train_fn.errors import InputError
from train_fn.report import Evaluation, Outcome, Report, Status

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
    attempts: int = 1
    retries: tuple[Retried, ...] = ()
    """When its worker group ended with a fault and it went on."""
    skipped_examples: int = 0
    """Examples it left out because training failed on them twice."""
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
    rung: int | None = None
    """The last rung the trial was judged at."""
    trend: str = ""
    tokens_per_s: float = 0.0
    train_s: float = 0.0
    start_overhead_s: float = 0.0
    checkpoint: str | None = None
    ended: float | None = None

    @property
    def seed(self) -> int:
        """The seed of its training."""
        run = self.config["run"]
        assert isinstance(run, Mapping)
        return int(run["seed"])


@dataclass(frozen=True)
class SearchState:
    """A search so far."""

    trials: Mapping[int, TrialState] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    status: str = ""
    """Empty before the first command, then `running`, `finished`, `interrupted` or `failed`."""
    profile: str = ""
    data_key: str = ""
    git_commit: str = ""
    started: float | None = None
    """Seconds since the epoch, of the first command."""
    command_started: float = 0.0
    work_started: float | None = None
    """When the current command's first trial started."""
    work_tokens: int = 0
    """Tokens seen of all trials before the current command."""
    last_time: float = 0.0
    past_wall_s: float = 0.0
    """Wall time of the commands that are over; of one that crashed up to its last event."""
    paused: str = ""
    """Why no trial is handed out; empty while they are."""
    base_eval: Evaluation | None = None
    """Of the untrained base model."""


def replay(events: Iterable[Event]) -> SearchState:
    """Fold the events of a ledger into what is known after the last one.

    Raises:
        InputError: An event is about a trial that never started.
    """
    state = SearchState()
    for event in events:
        about = _trial_of(event)
        if about is not None and about not in state.trials:
            raise InputError(
                f"the ledger tells of trial {about} ({type(event).__name__}), which it never started; "
                "restore the file, or begin anew with --fresh"
            )
        state = apply(state, event)
    return state


def _trial_of(event: Event) -> int | None:
    """Return the trial that must have started before this event."""
    match event:
        case Reported():
            return event.report.trial
        case Decided():
            return event.decision.trial
        case Ended():
            return event.outcome.trial
        case WeightsRemoved():
            return event.trial
    return None


def apply(state: SearchState, event: Event) -> SearchState:
    """Return what is known after one more event; `state` stays as it is.

    A report that does not go beyond the tokens already seen is a repeated one, from a worker that was
    restarted from its checkpoint: it changes nothing.
    """
    if isinstance(event, Reported) and not is_news(state, event.report):
        return state
    now = replace(state, last_time=max(state.last_time, event.time))
    match event:
        case SearchStarted():
            return _command_started(state, event)
        case BaselineMeasured():
            return replace(now, base_eval=event.evaluation)
        case TrialStarted():
            return _trial_started(now, event)
        case Retried():
            trial = now.trials[event.trial]
            skipped = trial.skipped_examples + event.skipped_examples
            return _with(now, replace(trial, retries=(*trial.retries, event), skipped_examples=skipped))
        case Reported():
            return _with(now, _reported(now.trials[event.report.trial], event.report))
        case Decided():
            trial = replace(now.trials[event.decision.trial], rung=event.decision.rung)
            return _with(replace(now, decisions=(*now.decisions, event.decision)), trial)
        case Ended():
            return _with(now, _ended(now.trials[event.outcome.trial], event))
        case WeightsRemoved():
            return _with(now, replace(now.trials[event.trial], checkpoint=None))
        case Paused():
            told = f"{gib_text(event.free_gib)} free, {gib_text(event.needed_gib)} needed"
            return replace(now, paused=f"the disk is nearly full ({told}); trials wait until there is room")
        case Resumed():
            return replace(now, paused="")
        case SearchEnded():
            past = now.past_wall_s + event.wall_s
            return replace(now, status=event.status, past_wall_s=past)


def is_news(state: SearchState, report: Report) -> bool:
    """Tell whether a report goes beyond what is known of a trial that runs."""
    trial = state.trials[report.trial]
    return trial.status == "running" and report.tokens_seen > trial.tokens_seen


def wall_s(state: SearchState) -> float:
    """Return the wall time of all commands of the search, in seconds."""
    running = state.last_time - state.command_started if state.status == "running" else 0.0
    return state.past_wall_s + running


def tokens_spent(state: SearchState) -> int:
    """Return the tokens seen by all trials together."""
    return sum(trial.tokens_seen for trial in state.trials.values())


def tokens_saved(state: SearchState, max_tokens: int) -> int:
    """Return the tokens that stopped trials did not spend.

    Args:
        state: The search.
        max_tokens: What a trial spends that is not stopped.
    """
    stopped = [t for t in state.trials.values() if t.status in ("halved", "diverged", "overflowing")]
    return sum(max(0, max_tokens - trial.tokens_seen) for trial in stopped)


def tried(state: SearchState) -> list[TrialState]:
    """List the trials that the search chose, without the runs that confirm one of them."""
    return [trial for trial in state.trials.values() if trial.confirms is None]


def repeats(state: SearchState) -> list[TrialState]:
    """List the runs that confirm another trial."""
    return [trial for trial in state.trials.values() if trial.confirms is not None]


def counts(trials: Iterable[TrialState]) -> dict[TrialStatus, int]:
    """Count trials by status; a status without trials is left out."""
    return dict(Counter(trial.status for trial in trials))


def _with(state: SearchState, trial: TrialState) -> SearchState:
    return replace(state, trials={**state.trials, trial.trial: trial})


def _command_started(state: SearchState, event: SearchStarted) -> SearchState:
    return replace(
        state,
        status="running",
        profile=event.profile,
        data_key=event.data_key,
        git_commit=event.git_commit,
        past_wall_s=wall_s(state),
        started=event.time if state.started is None else state.started,
        command_started=event.time,
        last_time=event.time,
        work_started=None,
        paused="",
        work_tokens=tokens_spent(state),
    )


def _trial_started(state: SearchState, event: TrialStarted) -> SearchState:
    if state.work_started is None:
        state = replace(state, work_started=event.time)
    old = state.trials.get(event.trial)
    if old is None:
        new = TrialState(event.trial, event.params, event.config, event.time, event.confirms)
        return _with(state, new)
    return _with(state, replace(old, status="running", reason="", ended=None, attempts=old.attempts + 1))


def _reported(trial: TrialState, report: Report) -> TrialState:
    trial = replace(
        trial,
        tokens_seen=report.tokens_seen,
        steps=report.steps,
        overflow_steps=report.overflow_steps,
        spikes=report.spikes,
        trend=report.trend,
        tokens_per_s=report.tokens_per_s,
        train_s=report.train_s,
        start_overhead_s=report.start_overhead_s,
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


def _ended(trial: TrialState, event: Ended) -> TrialState:
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
        checkpoint=outcome.checkpoint,
        ended=event.time,
    )
