"""The search while it runs: a live table on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.events import Ended, Event, Reported, TrialStarted
from search.state import SearchState, TrialState, best, counts, new_best, tokens_saved, tokens_spent, wall_s
from spaces.experiment import Experiment
from spaces.words import params_text, seconds_text, tokens_text, trial_id

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
        self._trials = experiment.budget.trials
        self._max_tokens = experiment.base.run.max_tokens
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
            line = status_line(self._state, self._trials, self._max_tokens, self._clock())
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        return render(self._name, self._state, self._trials, self._max_tokens, self._clock())


def event_lines(name: str, before: SearchState, after: SearchState, event: Event) -> Iterator[str]:
    """Say what an event changed that a reader wants to keep: an end, a restart, a new best trial."""
    if isinstance(event, TrialStarted) and after.trials[event.trial].attempts > 1:
        attempts = after.trials[event.trial].attempts
        yield f"{trial_id(name, event.trial)} starts again (attempt {attempts})"
    if isinstance(event, Ended):
        trial = after.trials[event.outcome.trial]
        seen = tokens_text(trial.tokens_seen)
        yield f"{trial_id(name, trial.trial)} {trial.status} at {seen} tokens: {trial.reason}"
    top = best(after)
    if isinstance(event, Ended | Reported) and top is not None and new_best(before, after):
        yield f"best so far: {_best_text(name, top)}"


def status_line(state: SearchState, trials: int, max_tokens: int, now: float) -> str:
    """Sum up the search in one line."""
    number = counts(state)
    parts = ", ".join(f"{number[status]} {status}" for status in sorted(number))
    left = seconds_left(state, trials, max_tokens, now)
    time_left = f"about {seconds_text(left)} left" if left is not None else "time left unknown yet"
    spent, saved = tokens_text(tokens_spent(state)), tokens_text(tokens_saved(state, max_tokens))
    started = f"{len(state.trials)} of {trials} trials started" + (f" ({parts})" if parts else "")
    return f"{_elapsed_text(state, now)}: {started}; {spent} tokens spent, {saved} saved; {time_left}"


def seconds_left(state: SearchState, trials: int, max_tokens: int, now: float) -> float | None:
    """Estimate the time until the last trial ends, None before there is anything to go by.

    The tokens still to come: a trial that has not started spends what the ended ones did on average, a
    running one too, or all of `max_tokens` once it is beyond that. They are divided by the tokens per second
    of this command so far, start-up and evaluations included.
    """
    if state.work_started is None:
        return None
    tokens = tokens_spent(state) - state.work_tokens
    elapsed_s = now - state.work_started
    if tokens <= 0 or elapsed_s <= 0:
        return None
    ended = [t.tokens_seen for t in state.trials.values() if t.status != "running"]
    usual = sum(ended) / len(ended) if ended else float(max_tokens)
    running = [t.tokens_seen for t in state.trials.values() if t.status == "running"]
    coming = sum((usual if seen < usual else max(max_tokens, seen)) - seen for seen in running)
    coming += usual * max(0, trials - len(state.trials))
    return coming / (tokens / elapsed_s)


def sparkline(values: tuple[float, ...]) -> str:
    """Draw values as a row of eight heights, the lowest value lowest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * (value - low) / span))] for value in values)


def render(name: str, state: SearchState, trials: int, max_tokens: int, now: float) -> RenderableType:
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
        table.add_row(*_row(name, trial, max_tokens))
    sampled = [Text(f"{trial_id(name, t.trial)}: {params_text(t.params)}", style="dim") for t in running]
    head = Text(f"Search {name}, {status_line(state, trials, max_tokens, now)}", style="bold")
    parts: list[RenderableType] = [head, Text(best_line, style="green")]
    return Group(*parts, table, *sampled) if running else Group(*parts)


def _row(name: str, trial: TrialState, max_tokens: int) -> tuple[str, ...]:
    return (
        trial_id(name, trial.trial),
        f"{tokens_text(trial.tokens_seen)}/{tokens_text(max_tokens)}",
        "" if trial.rung is None else str(trial.rung),
        "" if trial.eval_nll is None else f"{trial.eval_nll:.4f}",
        f"{trial.tokens_per_s:.0f}" if trial.tokens_per_s else "",
        f"{sparkline(trial.curve)} {trial.curve[-1]:.3f}" if trial.curve else "starting",
    )


def _best_text(name: str, trial: TrialState) -> str:
    seen = tokens_text(trial.tokens_seen)
    what = f"{trial_id(name, trial.trial)} ({trial.status}), eval NLL {trial.eval_nll:.4f} at {seen} tokens"
    return f"{what}: {params_text(trial.params)}"


def _elapsed_text(state: SearchState, now: float) -> str:
    running_s = max(0.0, now - state.last_time) if state.status == "running" else 0.0
    return seconds_text(wall_s(state) + running_s)
