"""The search while it runs: a live table on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.confirming import missing
from search.events import Ended, Event, Paused, Reported, Resumed, Retried, TrialStarted
from search.standing import best, new_best
from search.state import (
    SearchState,
    counts,
    finishing,
    repeats,
    tokens_saved,
    tokens_spent,
    tried,
    wall_s,
)
from search.trial_state import TrialState
from spaces.experiment import ConfirmConfig, Experiment
from spaces.words import count_text, gib_text, params_text, seconds_text, tokens_text, trial_id

HEARTBEAT_S = 30.0
REFRESH_PER_S = 2.0


class Progress:
    """Show a search; call `update` after every event.

    Args:
        experiment: What is searched.
        console: Where to write, standard output when None; a table when it is a terminal, else a line per
            trial that ends, per new best trial and every 30 s.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        experiment: Experiment,
        console: Console | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = experiment.name
        self._goal = goal_of(experiment)
        self._console = console or Console()
        self._clock = clock
        self._state = SearchState()
        self._live: Live | None = None
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="progress", daemon=True)

    def start(self) -> None:
        """Show the table, or begin the lines."""
        if self._console.is_terminal:
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=REFRESH_PER_S
            )
            self._live.start()
        else:
            self._heart.start()

    def update(self, state: SearchState, event: Event) -> None:
        """Show what is known after an event."""
        before, self._state = self._state, state
        for line in event_lines(self._name, before, state, event):
            # Lines stay above the live table, as a record of what happened.
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Leave the last table standing, and write no more."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._stop.set()
        if self._heart.is_alive():
            self._heart.join()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            line = status_line(self._state, self._goal, self._clock())
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        return render(self._name, self._state, self._goal, self._clock())


@dataclass(frozen=True)
class Goal:
    """What a search is on its way to."""

    trials: int
    confirm: ConfirmConfig
    max_tokens: int


def goal_of(experiment: Experiment) -> Goal:
    """Return what an experiment asks of its search."""
    return Goal(experiment.budget.trials, experiment.confirm, experiment.base.run.max_tokens)


def event_lines(name: str, before: SearchState, after: SearchState, event: Event) -> Iterator[str]:
    """Say what an event changed that a reader wants to keep: an end, a restart, a new best trial."""
    if isinstance(event, TrialStarted) and after.trials[event.trial].attempts > 1:
        attempts = after.trials[event.trial].attempts
        yield f"{_who(name, after.trials[event.trial])} starts again (attempt {attempts})"
    elif isinstance(event, TrialStarted) and event.confirms is not None:
        yield f"confirming: {_who(name, after.trials[event.trial])}"
    elif isinstance(event, TrialStarted) and event.finishes is not None:
        who = _who(name, after.trials[event.trial])
        yield f"no trial came to its end, so the best halved one that is left is run there: {who}"
    if isinstance(event, Retried):
        yield f"{_who(name, after.trials[event.trial])} goes on after a fault ({event.cause}): {event.told}"
    if isinstance(event, Ended):
        trial = after.trials[event.outcome.trial]
        seen = tokens_text(trial.tokens_seen)
        yield f"{_who(name, trial)} {trial.status} at {seen} tokens: {trial.reason}"
    if isinstance(event, Paused):
        yield f"paused: {after.paused}"
    if isinstance(event, Resumed):
        yield f"there is room again ({gib_text(event.free_gib)} free): trials start"
    top = best(after)
    if isinstance(event, Ended | Reported) and top is not None and new_best(before, after):
        yield f"best so far: {_best_text(name, top)}"


def status_line(state: SearchState, goal: Goal, now: float) -> str:
    """Sum up the search in one line."""
    known = tried(state)  # the second attempt at a failed one is a trial too
    started = f"{len(known)} of {max(goal.trials, len(known))} trials started{_counts_text(known)}"
    if ends := finishing(state):
        started += f"; {count_text(len(ends), 'run')} of halved trials to their end{_counts_text(ends)}"
    again = repeats(state)
    if again:
        runs = len(again) + _repeats_to_come(state, goal)
        started += f"; confirming: {len(again)} of {runs} runs started{_counts_text(again)}"
    left = seconds_left(state, goal, now)
    time_left = f"about {seconds_text(left)} left" if left is not None else "time left unknown yet"
    spent, saved = tokens_text(tokens_spent(state)), tokens_text(tokens_saved(state, goal.max_tokens))
    paused = f"; paused: {state.paused}" if state.paused else ""
    return f"{_elapsed_text(state, now)}: {started}; {spent} tokens spent, {saved} saved; {time_left}{paused}"


def _counts_text(trials: list[TrialState]) -> str:
    parts = ", ".join(f"{number} {status}" for status, number in sorted(counts(trials).items()))
    return f" ({parts})" if parts else ""


def seconds_left(state: SearchState, goal: Goal, now: float) -> float | None:
    """Estimate the time until the last trial ends, None before one has: what trials spend is not known then.

    The tokens still to come: a trial that has not started spends what the ended ones did on average, a
    running one too, or all of `max_tokens` once it is beyond that. A run that confirms one spends all of
    them. They are divided by the tokens per second of this command so far, start-up and evaluations included.
    """
    if state.work_started is None:
        return None
    tokens = tokens_spent(state) - state.work_tokens
    elapsed_s = now - state.work_started
    ended = [t.tokens_seen for t in tried(state) if t.status != "running"]
    if tokens <= 0 or elapsed_s <= 0 or not ended:
        return None
    usual = sum(ended) / len(ended)
    running = [t.tokens_seen for t in tried(state) if t.status == "running"]
    coming = sum((usual if seen < usual else max(goal.max_tokens, seen)) - seen for seen in running)
    coming += usual * max(0, goal.trials - len(tried(state)))
    again = [*finishing(state), *repeats(state)]
    coming += sum(max(0, goal.max_tokens - t.tokens_seen) for t in again if t.status == "running")
    coming += goal.max_tokens * _repeats_to_come(state, goal)
    return coming / (tokens / elapsed_s)


def _repeats_to_come(state: SearchState, goal: Goal) -> int:
    """Count the runs of a trial again that have not started; before the best are known, what may confirm."""
    own, again = tried(state), repeats(state)
    if len(own) < goal.trials or any(trial.status == "running" for trial in own):
        return max(0, goal.confirm.top * goal.confirm.seeds - len(again))
    running = sum(trial.status == "running" for trial in (*finishing(state), *again))
    return max(0, len(missing(state, goal.confirm)) - running)


def sparkline(values: tuple[float, ...]) -> str:
    """Draw values as a row of eight heights, the lowest value lowest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * (value - low) / span))] for value in values)


def render(name: str, state: SearchState, goal: Goal, now: float) -> RenderableType:
    """Draw the status line, the best trial and the running ones.

    What matters most comes first: a terminal with few lines cuts the end. The sampled values stand below the
    table, because in a column of a narrow terminal nobody can read them.
    """
    top = best(state)
    best_line = f"best so far: {_best_text(name, top)}" if top is not None else "best so far: none evaluated"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("running", "tokens", "rung", "eval NLL", "tokens/s", "loss (EMA 0.9)"):
        table.add_column(column, no_wrap=True)
    running = [trial for trial in state.trials.values() if trial.status == "running"]
    for trial in running:
        table.add_row(*_row(name, trial, goal.max_tokens))
    sampled = [Text(f"{_who(name, t)}: {params_text(t.params)}", style="dim") for t in running]
    head = Text(f"Search {name}, {status_line(state, goal, now)}", style="bold")
    parts: list[RenderableType] = [head, Text(best_line, style="green")]
    return Group(*parts, table, *sampled) if running else Group(*parts)


def _row(name: str, trial: TrialState, max_tokens: int) -> tuple[str, ...]:
    return (
        trial_id(name, trial.trial),
        f"{tokens_text(trial.tokens_seen)}/{tokens_text(max_tokens)}",
        "" if trial.decision is None else str(trial.decision.rung),
        "" if trial.eval_nll is None else f"{trial.eval_nll:.4f}",
        f"{trial.tokens_per_s:.0f}" if trial.tokens_per_s else "",
        f"{sparkline(trial.curve)} {trial.curve[-1]:.3f}" if trial.curve else "starting",
    )


def _who(name: str, trial: TrialState) -> str:
    again = ""
    if trial.confirms is not None:
        again = f" ({trial_id(name, trial.confirms)} with seed {trial.seed})"
    elif trial.finishes is not None:
        again = f" ({trial_id(name, trial.finishes)} to its end)"
    return f"{trial_id(name, trial.trial)}{again}"


def _best_text(name: str, trial: TrialState) -> str:
    seen = tokens_text(trial.eval_tokens)
    what = f"{trial_id(name, trial.trial)} ({trial.status}), eval NLL {trial.eval_nll:.4f} at {seen} tokens"
    return f"{what}: {params_text(trial.params)}"


def _elapsed_text(state: SearchState, now: float) -> str:
    running_s = max(0.0, now - state.last_time) if state.status == "running" else 0.0
    return seconds_text(wall_s(state) + running_s)
