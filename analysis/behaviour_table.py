"""Behaviour in the terminal: figures of the models side by side, and a few exchanges."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.behaviour_records import FILE_NAME, Listened
from analysis.behaviour_view import Answers, BehaviourView, Cell, command, view
from analysis.records import SearchRecord

MAX_PROMPT_CHARS = 400
_STYLES = {"better": "green", "worse": "red", "short": "yellow", "long": "yellow", "": "default"}


def print_behaviour(console: Console, search: SearchRecord, listened: Listened, exchanges: int) -> None:
    """Print the figures, some exchanges, and what to do next."""
    shown = view(search, listened)
    console.print()
    console.print(shown.setting)
    console.print()
    console.print(_figures(shown))
    console.print("in brackets: 95% intervals; better and worse: than base, where intervals do not overlap")
    for answers in shown.answers[:exchanges]:
        console.print()
        console.print(Text(f"{answers.id}", style="dim"))
        console.print(Text(_ending(answers.prompt), style="dim"))
        console.print(_replies(answers))
    console.print()
    console.print(f"kept in {search.folder / FILE_NAME}", soft_wrap=True)
    console.print(f"`{command(search, 'report')}` shows all of it", soft_wrap=True)


def _figures(shown: BehaviourView) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("figure", no_wrap=True)
    for name in shown.models:
        table.add_column(name, no_wrap=True)
    table.add_column("true replies", justify="right")
    for row in shown.rows:
        if any(row.cells):
            table.add_row(row.label, *(_cell(cell) for cell in row.cells), row.reference)
    return table


def _cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text("–")
    verdict = f" {cell.verdict}" if cell.verdict else ""
    return Text(f"{cell.value} ({cell.interval}){verdict}", style=_STYLES[cell.verdict])


def _replies(answers: Answers) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("true reply", Text(answers.reference))
    for name, sampled, greedy in answers.replies:
        table.add_row(name, Text(sampled or "(nothing)"))
        table.add_row(f"{name}, greedy", Text(greedy or "(nothing)", style="dim"))
    return table


def _ending(prompt: str) -> str:
    return prompt if len(prompt) <= MAX_PROMPT_CHARS else f"… {prompt[-MAX_PROMPT_CHARS:]}"
