"""What a benchmark says: medians over seeds, ratios over tasks, and the tables of them."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.search_quality.race import Raced, Task


@dataclass(frozen=True)
class Entry:
    """One method on one task, over all seeds."""

    tokens: float
    """Median units until within 1% of the best known; a race that never got there counts as infinite."""
    reached: float
    """Share of the races that got there."""
    regret: float
    """Median regret at the task's budget."""
    cap: int
    """Units after which a race was given up."""

    @property
    def at_least(self) -> float:
        """Return `tokens`, or what was spent in vain: no rival looks worse than it was seen to be."""
        return min(self.tokens, self.cap)


Entries = Mapping[tuple[str, str], Entry]
"""By name of the task and of the method."""


def entry(task: Task, races: Sequence[Raced], cap: int) -> Entry:
    """Summarise the races of a method on a task."""
    reached = [one.reached for one in races]
    return Entry(
        tokens=statistics.median(reached),
        reached=sum(map(math.isfinite, reached)) / len(reached),
        regret=statistics.median(one.regret for one in races),
        cap=cap,
    )


def add_entry(file: Path, seeds: range, key: tuple[str, str], one: Entry) -> None:
    """Append an entry to a file of JSON lines."""
    line = {"key": key, "seeds": [seeds.start, seeds.stop], **asdict(one)}
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def read_entries(file: Path, seeds: range) -> dict[tuple[str, str], Entry]:
    """Return the entries of a file that were measured with these seeds."""
    found = {}
    for text in file.read_text().splitlines() if file.exists() else []:
        line = json.loads(text)
        (task, method), measured = line.pop("key"), line.pop("seeds")
        if measured == [seeds.start, seeds.stop]:
            found[task, method] = Entry(**line)
    return found


def ratios(entries: Entries, ours: str, rival: str) -> dict[str, float]:
    """Return our tokens over a rival's by task: below 1 we are ahead.

    A race that did not get there counts with its cap for the rival and as infinite for us; where neither got
    there the ratio is 1.
    """
    found = {}
    for task in {task for task, method in entries if method == rival}:
        mine, theirs = entries[task, ours], entries[task, rival]
        neither = math.isinf(mine.tokens) and math.isinf(theirs.tokens)
        found[task] = 1.0 if neither else mine.tokens / theirs.at_least
    return found


def median_ratio(entries: Entries, ours: str, rival: str) -> float:
    """Return the median of `ratios` over the tasks."""
    return statistics.median(ratios(entries, ours, rival).values())


def median_apart(entries: Entries, ours: str, rival: str) -> float | None:
    """Return the median of `ratios` over the tasks that tell the two apart; None without any.

    A task tells nothing where neither got there, or where both did with what the first trials cost.
    """
    known = [ratio for ratio in ratios(entries, ours, rival).values() if ratio != 1.0]
    return statistics.median(known) if known else None


def speedup(entries: Entries, ours: str, baseline: str, tasks: Iterable[str]) -> float | None:
    """Return how many times fewer tokens than the baseline we need, median over tasks; None without any."""
    known = [entries[task, baseline].at_least / entries[task, ours].tokens for task in tasks]
    return statistics.median(known) if known else None


def table(entries: Entries) -> str:
    """Write one line per task and method."""
    lines = [f"{'task':<32} {'method':<22} {'units to 1%':>12} {'reached':>8} {'regret':>8}"]
    for (task, method), one in entries.items():
        tokens = f"{one.tokens:,.0f}" if math.isfinite(one.tokens) else f"> {one.cap:,}"
        lines.append(f"{task:<32} {method:<22} {tokens:>12} {one.reached:>8.0%} {one.regret:>8.2%}")
    return "\n".join(lines)


def comparison(entries: Entries, ours: str, others: Iterable[str]) -> str:
    """Write by how much each other method is behind, and where it is ahead."""
    lines = [f"{'against':<22} {'median ratio':>12}  ahead of us on"]
    for other in others:
        by_task = ratios(entries, ours, other)
        ahead = ", ".join(sorted(task for task, ratio in by_task.items() if ratio > 1)) or "none"
        lines.append(f"{other:<22} {median_ratio(entries, ours, other):>12.2f}  {ahead}")
    return "\n".join(lines)
