"""What one event means in MLflow: figures, parameters and tags of runs. Pure; no MLflow here.

Every figure carries the time of its event and counts tokens seen as its step, so sending it twice leaves one.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
from search.standing import best, new_best
from search.state import SearchState, is_news, tokens_saved, tokens_spent
from search.trial_state import TrialState
from spaces.words import markdown_text, params_text, short
from train_fn.report import Outcome, Report
from train_fn.times import Times

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

# How MLflow's own four states show ours; the exact one is the tag `status`.
TRIAL_STATUS: Mapping[str, RunStatus] = {
    "finished": "FINISHED",
    "halved": "KILLED",
    "cancelled": "KILLED",
    "diverged": "FAILED",
    "overflowing": "FAILED",
    "failed": "FAILED",
}
SEARCH_STATUS: Mapping[str, RunStatus] = {
    "finished": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
MAX_PARAM_CHARS = 6000
DESCRIPTION = "mlflow.note.content"
"""The tag that MLflow shows as the description of a run, in Markdown."""
SORTED_BY = ("optim.lr", "optim.effective_batch_size")


@dataclass(frozen=True)
class Figure:
    """One value of a metric."""

    key: str
    value: float
    step: int
    time_ms: int


@dataclass(frozen=True)
class RunUpdate:
    """What is added to one run."""

    trial: int | None
    """None is the parent run of the search."""
    time_ms: int
    """When the first of it happened: the run's start, should this be what makes it."""
    figures: tuple[Figure, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    status: RunStatus | None = None
    status_ms: int | None = None
    """When the run came to have this status."""


def run_updates(before: SearchState, after: SearchState, event: Event, max_tokens: int) -> list[RunUpdate]:
    """Translate one event.

    Args:
        before: What was known before the event.
        after: What is known with it.
        event: The event.
        max_tokens: What a trial spends that is not stopped, for the tokens saved.

    Returns:
        Updates of the parent run and of the trial's, none for a report that a restarted worker repeated.
    """
    time_ms = round(event.time * 1000)
    match event:
        case SearchStarted():
            return [_search_started(before, after, event, time_ms)]
        case BaselineMeasured():
            return [
                RunUpdate(None, time_ms, (Figure("search/base_eval_nll", event.evaluation.nll, 0, time_ms),))
            ]
        case TrialStarted():
            return [_trial_started(before, after, event, time_ms)]
        case Retried():
            return [RunUpdate(event.trial, time_ms, tags=_retry_tags(after.trials[event.trial]))]
        case Reported():
            if not is_news(before, event.report):
                return []
            trial, seen = after.trials[event.report.trial], event.report.tokens_seen
            figures = tuple(report_figures(event.report, time_ms))
            if event.report.eval is not None:  # in every window they would be a tenth of all figures
                figures += tuple(time_figures(trial.times, seen, time_ms))
            tags = _skipped_tags(trial) if event.report.nonfinite_examples else {}
            updates = [RunUpdate(event.report.trial, time_ms, figures, tags=tags)]
            return updates + _parent(before, after, time_ms, max_tokens, ended=False)
        case Decided():
            return [RunUpdate(event.decision.trial, time_ms, tags={"rung": str(event.decision.rung)})]
        case Ended():
            ended = _trial_ended(event.outcome, after.trials[event.outcome.trial].times, time_ms)
            return [ended, *_parent(before, after, time_ms, max_tokens, ended=True)]
        case WeightsRemoved() | Paused() | Resumed():
            return []
        case SearchEnded():
            status, tags = SEARCH_STATUS[event.status], {"status": event.status}
            return [RunUpdate(None, time_ms, tags=tags, status=status, status_ms=time_ms)]


def report_figures(report: Report, time_ms: int) -> Iterator[Figure]:
    """List the figures of a window: losses at each of its points, everything else at its end."""
    for point in report.points:
        yield Figure("loss/raw", point.loss, point.tokens_seen, time_ms)
        yield Figure("loss/ema_90", point.ema_90, point.tokens_seen, time_ms)
        yield Figure("loss/ema_98", point.ema_98, point.tokens_seen, time_ms)
    values = {
        "loss/window": report.loss,
        "optim/lr": report.lr,
        "optim/grad_norm": report.grad_norm,
        "optim/loss_scale": report.loss_scale,
        "optim/steps": report.steps,
        "overflow/rate": report.window_overflow_rate,
        "overflow/steps": report.overflow_steps,
        "curve/spikes": report.spikes,
        "speed/tokens_per_s": report.tokens_per_s,
        "speed/train_s": report.train_s,
        "speed/start_overhead_s": report.start_overhead_s,
    }
    if report.eval is not None:
        values |= {"eval/nll": report.eval.nll, "eval/nll_stderr": report.eval.stderr}
        values |= {"eval/seconds": report.eval.seconds}
    for key, value in values.items():
        yield Figure(key, float(value), report.tokens_seen, time_ms)


def time_figures(times: Times | None, tokens_seen: int, time_ms: int) -> Iterator[Figure]:
    """List what a trial has spent its time on, `time/forward_s` and so on; nothing where it is not known."""
    if times is not None:
        for name, seconds in asdict(times).items():
            yield Figure(f"time/{name}", seconds, tokens_seen, time_ms)


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Write nested values as MLflow parameters with dotted names; one too long for MLflow ends in `...`."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            joined = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            text = joined if len(joined) <= MAX_PARAM_CHARS else joined[: MAX_PARAM_CHARS - 3] + "..."
            flat[f"{prefix}{key}"] = text
    return flat


def _search_started(before: SearchState, after: SearchState, event: SearchStarted, time_ms: int) -> RunUpdate:
    tags = {"status": "running", **_origin(after)}
    # MLflow refuses a parameter that changes, and a later command may come with another budget.
    params = flatten(event.experiment) if before.started is None else {}
    params = {key: value for key, value in params.items() if not key.startswith("tracking.")}
    return RunUpdate(None, time_ms, (), params, tags, "RUNNING", time_ms)


def _trial_started(before: SearchState, after: SearchState, event: TrialStarted, time_ms: int) -> RunUpdate:
    tags = {"status": "running", "reason": "", "attempt": str(event.attempt), **_origin(after)}
    if event.confirms is not None:
        tags["confirms"] = str(event.confirms)
    if event.finishes is not None:
        tags["finishes"] = str(event.finishes)
    params: dict[str, str] = {}
    figures: tuple[Figure, ...] = ()
    if event.trial not in before.trials:
        params = flatten(event.config) | {f"sampled.{k}": str(v) for k, v in event.params.items()}
        # MLflow sorts parameters as text, 1e-05 behind 0.001; what is a number is a metric as well.
        figures = tuple(Figure(f"trial/{short(k)}", float(params[k]), 0, time_ms) for k in SORTED_BY)
    return RunUpdate(event.trial, time_ms, figures, params, tags, "RUNNING", time_ms)


def _trial_ended(outcome: Outcome, times: Times | None, time_ms: int) -> RunUpdate:
    tags = {
        "status": outcome.status,
        "reason": outcome.reason,
        DESCRIPTION: f"**{outcome.status}**: {markdown_text(outcome.reason)}",
    }
    if outcome.checkpoint is not None:
        tags["checkpoint"] = outcome.checkpoint
    seen = Figure("trial/tokens_seen", float(outcome.tokens_seen), outcome.tokens_seen, time_ms)
    figures = (seen, *time_figures(times, outcome.tokens_seen, time_ms))
    status = TRIAL_STATUS[outcome.status]
    return RunUpdate(outcome.trial, time_ms, figures, {}, tags, status, time_ms)


def _retry_tags(trial: TrialState) -> dict[str, str]:
    causes = Counter(again.cause for again in trial.retries)
    told = ", ".join(f"{number} {cause}" for cause, number in sorted(causes.items()))
    tags = {"retries": told, "last_fault": trial.retries[-1].told[:MAX_PARAM_CHARS]}
    return tags | _skipped_tags(trial)


def _skipped_tags(trial: TrialState) -> dict[str, str]:
    return {"skipped_examples": str(trial.skipped_examples)} if trial.skipped_examples else {}


def _origin(state: SearchState) -> dict[str, str]:
    return {"profile": state.profile, "data_key": state.data_key, "git_commit": state.git_commit}


def _parent(
    before: SearchState, after: SearchState, time_ms: int, max_tokens: int, *, ended: bool
) -> list[RunUpdate]:
    """Follow the best trial, and the tokens once a trial ended."""
    spent = tokens_spent(after)
    new = best(after)
    figures: list[Figure] = []
    tags: dict[str, str] = {}
    if new is not None and new.eval_nll is not None and new_best(before, after):
        figures.append(Figure("search/best_eval_nll", new.eval_nll, spent, time_ms))
        tags = {"best_trial": str(new.trial), "best_params": params_text(new.params)}
    if ended:
        figures.append(Figure("search/tokens_spent", float(spent), spent, time_ms))
        figures.append(Figure("search/tokens_saved", float(tokens_saved(after, max_tokens)), spent, time_ms))
    return [RunUpdate(None, time_ms, tuple(figures), {}, tags)] if figures or tags else []


def merge(updates: Sequence[RunUpdate]) -> RunUpdate:
    """Join updates of one run: all figures in order, and of tags, parameters and status the latest."""
    first = updates[0]
    assert all(update.trial == first.trial for update in updates)
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for update in updates:
        params |= update.params
        tags |= update.tags
    ends = [update for update in updates if update.status is not None]
    return RunUpdate(
        trial=first.trial,
        time_ms=first.time_ms,
        figures=tuple(figure for update in updates for figure in update.figures),
        params=params,
        tags=tags,
        status=ends[-1].status if ends else None,
        status_ms=ends[-1].status_ms if ends else None,
    )
