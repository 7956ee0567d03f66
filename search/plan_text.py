"""A plan as a page: a table on a terminal, plain lines elsewhere, Markdown and JSON for the record."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.draft import Model, Plan
from search.memory import MemoryEstimate
from spaces.paths import leaves
from spaces.words import count_text, gib_text, params_text, seconds_text
from train_fn.checkpoint_files import KEPT

LINE_WIDTH = 110


@dataclass(frozen=True)
class Section:
    """A titled table. The first column names what the others say."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    header: tuple[str, ...] = ()


def sections(plan: Plan) -> list[Section]:
    """Return what the page says, in reading order."""
    parts = [
        Section(f"Plan of {plan.experiment.name} ({plan.experiment.profile})", tuple(_what(plan))),
        Section("Trials", tuple(_trials(plan))),
        Section("Space", tuple((path, distribution_text(d)) for path, d in plan.experiment.space.items())),
        _steps(plan),
    ]
    if plan.model is not None:
        parts.append(Section(_memory_title(plan), tuple(_memory(plan.model))))
        parts.append(Section("Cost, roughly", tuple(_cost(plan, plan.model))))
    parts.append(Section("Base configuration (change it with --set optim.lr=1e-5)", tuple(_base(plan))))
    return parts


def print_plan(plan: Plan) -> None:
    """Print the plan to standard output: with colours on a terminal, as plain lines elsewhere."""
    if not sys.stdout.isatty():
        print("\n".join(plan_lines(plan)))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for section in sections(plan):
        table = Table(title=section.title, title_justify="left", title_style="bold", box=None)
        table.show_header = bool(section.header)
        align: Literal["left", "right"] = "right" if section.header else "left"
        for column, name in enumerate(section.header or section.rows[0]):
            table.add_column(name, style="" if column else "cyan", justify=align, no_wrap=not column)
        for row in section.rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table, "")
    for line in _remarks(plan):
        console.print(line, markup=False, style="yellow" if line.startswith("note") else "red")


def plan_lines(plan: Plan) -> list[str]:
    """Return the page as plain lines of at most `LINE_WIDTH` characters."""
    lines: list[str] = []
    for section in sections(plan):
        lines.append(section.title)
        lines += _columns(section) if section.header else _pairs(section)
        lines.append("")
    for line in _remarks(plan):
        lines += textwrap.wrap(line, LINE_WIDTH, subsequent_indent="  ")
    return lines if lines[-1] else lines[:-1]


def _columns(section: Section) -> Iterator[str]:
    rows = (section.header, *section.rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(section.header))]
    for row in rows:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _pairs(section: Section) -> Iterator[str]:
    width = max(len(name) for name, _ in section.rows)
    for name, text in section.rows:
        start = f"  {name:{width}}  "
        yield from textwrap.wrap(
            text, LINE_WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False
        )


def _remarks(plan: Plan) -> list[str]:
    return [f"note: {note}" for note in plan.notes] + [f"cannot work: {problem}" for problem in plan.problems]


def plan_markdown(plan: Plan) -> str:
    """Return the page as Markdown."""
    lines: list[str] = []
    for section in sections(plan):
        header = section.header or ("", "")
        lines += [f"## {section.title}", "", _markdown_row(header), _markdown_row(("---",) * len(header))]
        lines += [_markdown_row(row) for row in section.rows]
        lines.append("")
    lines += [f"- {line}" for line in _remarks(plan)]
    return "\n".join(lines).rstrip() + "\n"


def distribution_text(distribution: BaseDistribution) -> str:
    """Say which values a distribution holds: `1e-07 to 0.0001, log-uniform`."""
    match distribution:
        case CategoricalDistribution():
            return "one of " + ", ".join(str(choice) for choice in distribution.choices)
        case FloatDistribution() | IntDistribution():
            step = distribution.step
            grid = (
                f" in steps of {step:g}"
                if step and (isinstance(distribution, FloatDistribution) or step > 1)
                else ""
            )
            shape = "log-uniform" if distribution.log else "uniform"
            return f"{_number(distribution.low)} to {_number(distribution.high)}{grid}, {shape}"
    return str(distribution)


def _what(plan: Plan) -> Iterator[tuple[str, str]]:
    base, nodes = plan.experiment.base, plan.cluster.nodes
    yield "what", plan.experiment.description
    sizes = ""
    if plan.model is not None:
        sizes = f", {_size(plan.model.shape.parameters)} parameters"
        if base.model.lora.rank:
            sizes += f", {_size(plan.model.trainable)} trained (LoRA rank {base.model.lora.rank})"
        sizes += f", {plan.model.precision}"
    yield "model", f"{base.model.path}{sizes}"
    data = ", ".join(base.data.sources)
    if plan.data.train_examples is not None:
        data += f": {plan.data.train_examples:,} examples"
    yield "data", data
    length = plan.data.mean_example_tokens or float(base.data.max_example_tokens)
    yield "tokens per example", f"{length:,.0f}: {plan.data.words}"
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    memory = sum(node.memory_gib for node in nodes)
    named = next((f" ({node.gpu_name})" for node in nodes if node.gpu_name), "")
    has = f"{_count(cpus, 'CPU')}, {_count(gpus, 'GPU')}{named}, {memory:,.1f} GiB of memory"
    yield "on", f"{plan.cluster.told}: {has}"
    yield "storage", plan.storage


def _trials(plan: Plan) -> Iterator[tuple[str, str]]:
    experiment, resources, sampler = plan.experiment, plan.experiment.resources, plan.experiment.sampler
    by = {"tpe": "TPE", "gp": "a Gaussian process", "random": "chance"}[sampler.kind]
    yield "trials", f"{experiment.budget.trials:,}, proposed by {by} with seed {sampler.seed}"
    if experiment.known_good:
        yield "known good, first", "; ".join(params_text(point) for point in experiment.known_good)
    per_rank = _count(resources.cpus_per_rank, "CPU")
    if resources.gpus_per_rank:
        per_rank += f" and {_count(resources.gpus_per_rank, f'{resources.accelerator} GPU'.lstrip())}"
    slot = f"{_count(resources.ranks_per_slot, 'rank')} each, {per_rank} per rank"
    yield "at the same time", f"{plan.slots or 'none fits'} ({slot})"
    yield "tokens per trial", f"{experiment.base.run.max_tokens:,}"
    if plan.rungs:
        yield "rungs", " → ".join(f"{tokens:,}" for tokens in plan.rungs) + " tokens"
        yield "halving", _halving(plan)
    else:
        yield "rungs", "none"
    yield "confirming", _confirming(plan)
    yield "tokens at most", f"{plan.tokens.at_most:,}, every trial to its end"
    yield "tokens expected", f"{plan.tokens.expected:,}, with halving"


def _halving(plan: Plan) -> str:
    halving = plan.experiment.halving
    best = "better half" if halving.eta == 2 else f"best 1 in {halving.eta}"
    on = ", ".join(str(n) for n in plan.tokens.survivors)
    noise = ", and some more within noise (halving.extra_survivors)"
    return (
        f"at each rung the {best} of those that have come so far, rounded up, goes on: about {on} of "
        f"{plan.experiment.budget.trials}{noise if halving.noise_band and halving.extra_survivors else ''}"
    )


def _confirming(plan: Plan) -> str:
    confirm, runs = plan.experiment.confirm, plan.tokens.confirming
    if not runs:
        return "none: the best trial is called that after one run (confirm.top = 0)"
    best = "the best trial" if confirm.top == 1 else f"the best {confirm.top} trials"
    seeds = count_text(confirm.seeds, "other seed")
    more = f"{count_text(runs, 'run')} more, and of the next best where one diverges or overflows"
    return f"{best} again with {seeds} each, to the end: {more}"


def _steps(plan: Plan) -> Section:
    header: tuple[str, ...] = ("effective batch size", "tokens per step", "steps to the end")
    if plan.rungs:
        header = (*header[:2], "steps to the first rung", header[2])
    rows = []
    for step in plan.steps:
        first = () if step.to_first_rung is None else (f"{step.to_first_rung:,}",)
        rows.append(
            (f"{step.effective_batch_size:,}", f"{step.tokens_per_step:,.0f}", *first, f"{step.to_the_end:,}")
        )
    return Section("Optimizer steps per trial", tuple(rows), header)


def _base(plan: Plan) -> Iterator[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for path, value in leaves(plan.experiment.base):
        group, _, name = path.rpartition(".")
        groups.setdefault(group, []).append(f"{name}={_value(value)}")
    for group, fields in groups.items():
        yield group, " ".join(fields)


def _memory_title(plan: Plan) -> str:
    assert plan.model is not None
    ranks = _count(plan.experiment.resources.ranks_per_slot, "rank")
    return f"Memory of one rank, estimated (ZeRO stage {plan.model.zero_stage}, {ranks})"


def _memory(model: Model) -> Iterator[tuple[str, str]]:
    memory: MemoryEstimate = model.memory
    yield "weights", gib_text(memory.weights_gib)
    yield "gradients", gib_text(memory.gradients_gib)
    yield "optimizer states", gib_text(memory.optimizer_gib)
    if memory.working_gib == memory.step_gib:
        yield "optimizer step", gib_text(memory.step_gib)
    else:
        yield "activations", gib_text(memory.activations_gib)
        yield "logits", gib_text(memory.logits_gib)
        yield "communication", gib_text(memory.communication_gib)
    yield "libraries", gib_text(memory.runtime_gib)
    has = f" of {gib_text(model.memory_limit_gib)}" if model.memory_limit_gib else ""
    yield "together", f"{gib_text(memory.total_gib)}{has}"
    if memory.offloaded_gib:
        yield "offloaded to the host", gib_text(memory.offloaded_gib)
    yield "checkpoint copy", f"{gib_text(memory.copied_gib)} of the host's memory while it is written"


def _cost(plan: Plan, model: Model) -> Iterator[tuple[str, str]]:
    hours, disk = model.hours, model.disk
    yield f"{hours.device}-hours", f"{hours.expected:,.3g} with halving, {hours.at_most:,.3g} at most"
    busy = _count(max(plan.slots, 1), "slot")
    yield "on the clock", f"{seconds_text(3600 * hours.wall_expected)} with {busy} busy and start-up left out"
    yield "assuming", hours.assumption
    there = f", of which {gib_text(disk.there_gib)} lie there already" if disk.there_gib else ""
    yield (
        "disk",
        f"{gib_text(disk.expected_gib)}, at most {gib_text(disk.at_most_gib)}{there}; "
        f"{gib_text(disk.free_gib)} are free",
    )
    yield (
        "of that",
        f"{gib_text(disk.checkpoint_gib)} per checkpoint, {KEPT + 1} for each slot; "
        f"{gib_text(disk.weights_gib)} per finished trial",
    )


def _size(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 1e9 else f"{parameters / 1e6:.1f}M"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}"  # as --set reads it
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |"
