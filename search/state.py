"""What is known about a search: a pure fold over its events."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from immutables import Map

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
from search.trial_state import TrialState, TrialStatus, begun, ended, is_sound, rank, reported, retried
from spaces.words import gib_text
from train_fn.errors import InputError
from train_fn.report import DOOMED, Evaluation, Report


@dataclass(frozen=True)
class SearchState:
    """A search so far."""

    trials: Map[int, TrialState] = field(default_factory=Map)
    """By number, in no order."""
    confirming: tuple[int, ...] = ()
    """The trials that run another one again, in the order of their first start."""
    leader: int | None = None
    """The best of the others by their own last eval NLL (`search.trial_state.rank`)."""
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
            return _with(now, retried(now.trials[event.trial], event))
        case Reported():
            return _with(now, reported(now.trials[event.report.trial], event))
        case Decided():
            return _with(now, replace(now.trials[event.decision.trial], decision=event.decision))
        case Ended():
            return _ended(now, event)
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
    """Return the tokens that stopped trials did not spend, unless they ran again to their end.

    Args:
        state: The search.
        max_tokens: What a trial spends that is not stopped.
    """
    stopped = [t for t in state.trials.values() if t.status in ("halved", "diverged", "overflowing")]
    again = {trial.finishes for trial in finishing(state)}
    stopped = [trial for trial in stopped if trial.trial not in again]
    return sum(max(0, max_tokens - trial.tokens_seen) for trial in stopped)


def tried(state: SearchState) -> list[TrialState]:
    """List the trials that the search chose, without the runs of one of them again."""
    own = [trial for trial in state.trials.values() if trial.confirms is None and trial.finishes is None]
    return sorted(own, key=lambda trial: trial.trial)


def repeats(state: SearchState) -> list[TrialState]:
    """List the runs that confirm another trial."""
    return [state.trials[number] for number in state.confirming]


def finishing(state: SearchState) -> list[TrialState]:
    """List the runs of halved trials to their end."""
    return [trial for _, trial in sorted(state.trials.items()) if trial.finishes is not None]


def confirmed_trials(state: SearchState) -> set[int]:
    """Return the trials that others run again. Their weights stay (`search.retention`)."""
    return {again.confirms for again in repeats(state) if again.confirms is not None}


def counts(trials: Iterable[TrialState]) -> dict[TrialStatus, int]:
    """Count trials by status; a status without trials is left out."""
    return dict(Counter(trial.status for trial in trials))


def _with(state: SearchState, trial: TrialState) -> SearchState:
    trials = state.trials.set(trial.trial, trial)
    return replace(state, trials=trials, leader=_leader(state, trials, trial))


def _ended(state: SearchState, event: Ended) -> SearchState:
    trial = ended(state.trials[event.outcome.trial], event)
    state = _with(state, trial)
    if trial.finishes is None or trial.status not in DOOMED:
        return state
    return _with(state, replace(state.trials[trial.finishes], refuted=True))


def _leader(before: SearchState, trials: Map[int, TrialState], changed: TrialState) -> int | None:
    """Return the best trial after one has changed, at a cost that does not grow with their number.

    Only a leader that falls back makes it necessary to look at all of them.
    """
    if before.leader is None:
        return changed.trial if is_sound(changed) else None
    leader = before.trials[before.leader]
    if changed.trial != leader.trial:
        return changed.trial if is_sound(changed) and rank(changed) < rank(leader) else leader.trial
    if is_sound(changed) and rank(changed) <= rank(leader):
        return changed.trial
    best = min(filter(is_sound, trials.values()), key=rank, default=None)
    return best.trial if best is not None else None


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
        new = TrialState(
            event.trial,
            event.params,
            event.config,
            event.time,
            event.confirms,
            event.finishes,
            attempt_began=event.time,
            last_time=event.time,
        )
        if event.confirms is not None:
            state = replace(state, confirming=(*state.confirming, event.trial))
        return _with(state, new)
    return _with(state, begun(old, event.time))
