"""The report in the terminal: the answer first, then the trials."""

import shutil
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.answer import Told
from analysis.behaviour_records import Listened
from analysis.behaviour_view import command, headline
from analysis.compare import Comparison, Row
from analysis.curves import again_text
from analysis.figures import Rung
from analysis.gate import Check
from analysis.rank import Answer, confirmed, standing
from analysis.records import SearchRecord, TrialRecord
from analysis.weights import weights_place
from spaces.words import (
    count_text,
    list_text,
    params_text,
    seconds_text,
    short,
    times_text,
    tokens_text,
    value_text,
)
from train_fn.times import PARTS

MAX_ROWS = 20
PIPED_WIDTH = 140
WIDTH, WIDTH_OF_VALUE = 85, 11
"""Of a table of trials with its reasons: without their names and sampled values, and of each of these."""
_STYLES = {"finished": "green", "diverged": "red", "overflowing": "red", "failed": "red", "running": "cyan"}


def make_console() -> Console:
    """Return a console that takes text as it is; wide where nobody says how wide (`COLUMNS`, a terminal)."""
    width = shutil.get_terminal_size((PIPED_WIDTH, 0)).columns
    return Console(highlight=False, markup=False, emoji=False, width=width)


def print_report(
    console: Console,
    search: SearchRecord,
    found: Answer,
    told: Told,
    rungs: Sequence[Rung],
    comparison: Comparison | None,
    listened: Listened | None = None,
) -> None:
    """Print the answer, the trials, the rungs and the comparison."""
    counts = ", ".join(f"{number} {status}" for status, number in found.counts)
    trials = f"{count_text(len(search.tried), 'trial')} ({counts})"
    if ends := len(search.own) - len(search.tried):
        trials += f", {count_text(ends, 'run')} of halved ones to their end"
    if search.repeats:
        trials += f", {count_text(len(search.repeats), 'run')} to confirm the best"
    console.print(f"{search.name} ({search.profile}) {search.status}: {trials}")
    console.print()
    console.print(Text(told.headline, style="bold"))
    if found.best is not None:
        _print(console, "  ", params_text(found.best.params))
        _print(console, "  lead:  ", told.verdict)
        _print(console, "  seeds: ", told.seeds)
    _print(console, "  base:  ", told.over_base)
    _print(console, "  cost:  ", told.cost)
    _print(console, "  saved: ", told.saved)
    if found.best is not None:
        console.print(f"  weights: {weights_place(search, found.best) or 'none kept'}", soft_wrap=True)
        _print(console, "  behaviour: ", behaviour_line(search, found.best, listened))
    for caution in told.cautions:
        _print(console, "  note: ", caution, "yellow")
    console.print()
    _print_trials(console, search, found)
    for rung in rungs:
        bracket = f", bracket {rung.bracket}" if rung.bracket else ""
        noise = f" ({rung.by_noise} within the band)" if rung.by_noise else ""
        console.print(
            f"rung {rung.rung}{bracket} ({tokens_text(rung.tokens)} tokens): {rung.arrived} arrived, "
            f"{rung.kept} went on{noise}, {rung.stopped} stopped"
        )
    if comparison is not None:
        console.print()
        console.print(comparison_table(comparison.rows, "search"))
        for warning in comparison.warnings:
            _print(console, "  note: ", warning, "yellow")


def _print(console: Console, label: str, text: str, style: str = "") -> None:
    """Print a text beside its label."""
    lines = textwrap.fill(
        text, console.width, initial_indent=label, subsequent_indent=" " * len(label),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    console.print(Text(lines, style=style), soft_wrap=True)


def _print_trials(console: Console, search: SearchRecord, found: Answer) -> None:
    """Print the first `MAX_ROWS` trials; what does not fit beside them in words below."""
    shown = table_order(search.trials)[:MAX_ROWS]
    longest = max((len(trial.id) for trial in shown), default=0)
    is_wide = console.width >= WIDTH + longest + WIDTH_OF_VALUE * len(search.experiment["space"])
    console.print(trial_table(search, found, is_wide))
    left = len(search.trials) - MAX_ROWS
    if left > 0:
        console.print(f"and {count_text(left, 'more trial')}; the page has them all")
    if not is_wide:
        console.print(Text("Why these trials ended:", style="dim"))
        for trial in shown:
            _print(console, f"{trial.id}  ", _why(trial) or trial.status)
    timed = [(trial, trial.times) for trial in shown if trial.times is not None]
    if timed:
        console.print(Text("Where the time of these trials went:", style="dim"))
    if timed and is_wide:
        console.print(times_table(search))
        return
    for trial, times in timed:
        _print(console, f"{trial.id}  ", times_text(times))


def trial_table(search: SearchRecord, found: Answer, is_wide: bool) -> Table:
    """Lay out the first `MAX_ROWS` trials, best first; where it is not wide without errors and reasons."""
    paths = sorted(search.experiment["space"])
    table = Table(box=None, pad_edge=False, header_style="dim", expand=is_wide)
    table.add_column("trial", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for path in paths:
        table.add_column(short(path).replace("_", " "), justify="right")
    for name in ("eval NLL", "tokens", *(["overflows"] if is_wide else [])):
        table.add_column(name, justify="right", no_wrap=name == "eval NLL")
    if is_wide:
        table.add_column("why it ended", ratio=1, min_width=24)
    for trial in table_order(search.trials)[:MAX_ROWS]:
        bold = "bold " if found.best is not None and trial.number == found.best.number else ""
        table.add_row(
            Text(trial.id, style=f"{bold}default" if trial.confirms is None else "dim"),
            Text(trial.status, style=_STYLES.get(trial.status, "default")),
            *(value_text(trial.params[path]) for path in paths),
            nll_text(trial) if is_wide else nll_text(trial).partition(" ")[0],
            tokens_text(trial.tokens_seen),
            *((str(trial.overflow_steps), Text(_why(trial))) if is_wide else ()),
        )
    return table


def _why(trial: TrialRecord) -> str:
    return f"{again}: {trial.reason}" if (again := again_text(trial)) else trial.reason


def times_table(search: SearchRecord) -> Table:
    """Lay out what the first `MAX_ROWS` trials spent their time on, in the order of `trial_table`."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("trial", no_wrap=True)
    for name in ("all", *PARTS):
        table.add_column(name, justify="right")
    for trial in table_order(search.trials)[:MAX_ROWS]:
        times = trial.times
        if times is not None:
            spent = (times.total_s, *(times.of(part) for part in PARTS))
            table.add_row(trial.id, *(seconds_text(seconds) for seconds in spent))
    return table


def behaviour_line(search: SearchRecord, best: TrialRecord, listened: Listened | None) -> str:
    """Say in one line how the best trial speaks, or which command finds out."""
    one = None if listened is None else listened.model(best.id)
    return f"not measured; `{command(search, 'behaviour')}`" if one is None else headline(one)


def comparison_table(rows: Sequence[Row], what: str) -> Table:
    """Lay out variants by their best trials."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (what, "trials", "tokens", "best trial", "eval NLL", "behind the first", "parameters"):
        table.add_column(name)
    for place, row in enumerate(rows):
        behind = "" if place == 0 else "not comparable"
        if row.behind is not None:
            behind = f"{row.behind_text}, {row.behind.noise_text}"
        best = row.best
        name = "none" if best is None else f"{best.id} ({best.status})"
        params = "" if best is None else params_text(best.params)
        nll = "" if best is None else nll_text(best)
        table.add_row(row.name, str(row.trials), tokens_text(row.tokens), name, nll, behind, params)
    return table


def print_checks(console: Console, checks: Sequence[Check]) -> None:
    """Print what the gate asked, what it measured, and whether it is open."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("asked", "measured", "bound", ""):
        table.add_column(name)
    verdicts = {True: ("passed", "green"), False: ("FAILED", "bold red"), None: ("not asked", "dim")}
    for check in checks:
        word, style = verdicts[check.passed]
        table.add_row(check.what, check.measured, check.bound, Text(word, style=style))
    console.print(table)
    failed = [check.what for check in checks if check.passed is False]
    asked = sum(check.passed is not None for check in checks)
    if failed:
        told = f"The gate is closed: {len(failed)} of {asked} failed ({list_text(failed)})"
        console.print(Text(told, style="bold red"))
        bounds = list(dict.fromkeys(one.setting for one in checks if one.passed is False and one.setting))
        if bounds:
            _print(console, "  bounds that --set changes: ", ", ".join(bounds))
    else:
        console.print(Text(f"The gate is open: all {asked} passed", style="bold green"))


def table_order(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """List all trials: the ones that may be the best in their order, then the others by number.

    Behind each come the runs that confirm it.
    """
    order = standing(trials, confirmed(trials))
    numbers = {trial.number for trial in order}
    order += [trial for trial in trials if trial.number not in numbers and trial.confirms is None]
    return [one for trial in order for one in (trial, *(t for t in trials if t.confirms == trial.number))]


def nll_text(trial: TrialRecord) -> str:
    """Write the last eval NLL with its standard error."""
    if trial.eval_nll is None:
        return "–"
    error = "" if trial.eval_nll_stderr is None else f" ± {trial.eval_nll_stderr:.4f}"
    return f"{trial.eval_nll:.4f}{error}"
