"""How every benchmark ends: a line of JSON."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

ROUNDS = 5


@dataclass(frozen=True)
class Result:
    """Ours against theirs."""

    name: str
    ratio: float
    """Median of `runs`."""
    goal: float
    better: Literal["lower", "higher"]
    runs: tuple[float, ...]
    """The ratio of every round, in which both sides ran one after the other."""

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.ratio <= self.goal if self.better == "lower" else self.ratio >= self.goal


def result(name: str, runs: Sequence[float], goal: float, better: Literal["lower", "higher"]) -> Result:
    """Sum up the ratios of all rounds."""
    return Result(name, statistics.median(runs), goal, better, tuple(round(run, 4) for run in runs))


def in_turn(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int = ROUNDS
) -> list[tuple[float, float]]:
    """Run both sides in turn and return what each gave, so that a change of the machine meets both."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            other = theirs()
            pairs.append((ours(), other))
        else:
            mine = ours()
            pairs.append((mine, theirs()))
    return pairs


def print_result(found: Result) -> None:
    """Print the line, in full digits for `ratio` as far as they mean anything."""
    print(json.dumps({**asdict(found), "ratio": round(found.ratio, 4)}))
