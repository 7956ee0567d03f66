"""The page that shows what all benchmarks gave: BENCHMARKS.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.bench.result import Result


@dataclass(frozen=True)
class Machine:
    """Where the figures were measured."""

    date: str
    processor: str
    cores: int
    memory_gib: float
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Ran:
    """A benchmark that was run."""

    module: str
    about: str
    """First sentence of its description."""
    results: tuple[Result, ...]
    others: tuple[Mapping[str, object], ...]
    """Lines of JSON that compare no ratio with a goal."""
    seconds: float
    exit_code: int


def page(machine: Machine, ran: Sequence[Ran], settings: str, note: str) -> str:
    """Write the page.

    Args:
        machine: Where it was measured.
        ran: All benchmarks, in the order in which they ran.
        settings: Arguments that were given to all.
        note: What else a reader must know about these figures; empty when nothing.
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    command = " ".join(["python -m tests.bench.all", *([settings] if settings else [])])
    parts = [
        "# Benchmarks",
        f"Written by `{command}` on {machine.date}: {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_gib:.1f} GiB of memory. {versions}.",
        "Every figure compares two sides that ran in turn on this machine, or one side with a limit. A ratio "
        "is ours over theirs, the median of its runs.",
        *([note] if note else []),
        _table([result for one in ran for result in one.results]),
        "\n".join(f"* `{one.module}` ({one.seconds:,.0f} s): {one.about}" for one in ran),
        *(_apart(one) for one in ran if one.others),
        _missed(ran),
    ]
    return "\n\n".join(parts) + "\n"


def _table(results: Sequence[Result]) -> str:
    rows = [
        f"| {one.name} | {one.ratio:.3g} | {one.goal:g} | {one.better} | {'yes' if one.reached else 'no'} "
        f"| {', '.join(f'{run:.3g}' for run in one.runs)} |"
        for one in results
    ]
    head = ["| name | ratio | goal | better | reached | runs |", "|---|---:|---:|---|---|---|"]
    return "\n".join(head + rows)


def _apart(one: Ran) -> str:
    figures = "; ".join(f"{key} {_shown(value)}" for line in one.others for key, value in line.items())
    return f"## {one.module}\n\n{figures}."


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "not measured" if value is None else str(value)


def _missed(ran: Sequence[Ran]) -> str:
    lines = [
        f"* `{result.name}`: {result.ratio:.3g}, and the goal is {result.goal:g}."
        for one in ran
        for result in one.results
        if not result.reached
    ]
    lines += [f"* `{one.module}` ended with exit code {one.exit_code}." for one in ran if one.exit_code]
    return "## Missed\n\n" + ("\n".join(lines) or "Nothing.")
