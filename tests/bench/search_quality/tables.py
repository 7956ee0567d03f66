"""Tables of finished runs as tasks: a trial trains the row that lies nearest to its values."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tests.bench.search_quality.race import WORST, Configuration, Params, Task

Array = NDArray[np.float64]


def scaled(distribution: BaseDistribution, value: Any) -> float:
    """Return where a value lies in its range, from 0 to 1; of a choice, its number."""
    match distribution:
        case FloatDistribution(low=low, high=high, log=log) | IntDistribution(low=low, high=high, log=log):
            to = np.log if log else float
            return float((to(value) - to(low)) / (to(high) - to(low)))
        case CategoricalDistribution(choices=choices):
            return float(choices.index(value))
    raise AssertionError(distribution)


def table(
    name: str,
    family: str,
    space: Mapping[str, BaseDistribution],
    rows: list[Params],
    curves: Array,
    noise: float,
    budget: int,
    cap: int,
) -> Task:
    """Return a task whose trials are the rows of a table, each at most once.

    Args:
        name: Of the task.
        family: Which tasks it is counted with.
        space: Of the values.
        rows: Values of each row.
        curves: Eval NLL of each row after each unit, shape (rows, units); NaN where it was not finite.
        noise: Relative standard deviation of every report.
        budget: Units after which the regret is read.
        cap: Units after which a race is given up.
    """
    known = np.where(np.isfinite(curves), np.minimum(curves, WORST), WORST)
    names = list(space)
    places = np.array([[scaled(space[n], row[n]) for n in names] for row in rows])
    choices = np.array([isinstance(space[n], CategoricalDistribution) for n in names])

    def draw(dice: random.Random, taken: set[int]) -> Params:
        return rows[dice.choice([row for row in range(len(rows)) if row not in taken])]

    def place(params: Params, taken: set[int]) -> Configuration:
        here = np.array([scaled(space[n], params[n]) for n in names])
        apart = np.where(choices, places != here, np.abs(places - here))
        distance = (apart**2).sum(axis=1)
        distance[list(taken)] = np.inf
        row = int(distance.argmin())
        return Configuration(row, known[row].tolist())

    best, units = float(known[:, -1].min()), known.shape[1]
    return Task(name, family, space, units, draw, place, best, noise, len(rows), budget, cap)
