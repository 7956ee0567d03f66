"""Synthetic fine-tuning as tasks, with the laws that were measured on real sweeps.

An optimum in log learning rate that rises with log batch at a slope of 0.31; a larger batch that needs more
examples (27% from 8 to 16, 49% from 16 to 32, as measured for LoRA of a 70B model); a cliff above the best
rate; a step noise of 0.19 / sqrt(batch). Where the optimum lies differs from seed to seed.
"""

import math
import random
from collections.abc import Callable, Iterator

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tests.bench.search_quality.race import Configuration, Params, Task
from tests.simulation.world import CLIFF, DIVERGED, FLOOR, START

UNITS = 30
UNIT_EXAMPLES = 75
"""Examples seen in a unit: the 3,000 tokens of a window of the laptop's search."""
SLOPE = 0.31
TOO_LOW, TOO_HIGH = 0.13, 0.4
"""Relative rise of the final NLL a decade below and above the best rate: the recorded sweep from scratch ends
at 2.24, 1.84, 1.65, 1.62, 1.80 and 2.13, half a decade apart."""
SLOWDOWN = {4: 1.0, 8: 1.0, 16: 1.27, 32: 1.89, 64: 3.3}
"""By batch size, how many more examples it needs."""
SCHEDULES = {"cosine": 0.0, "linear": 0.01, "constant": 0.03}
"""By schedule, what it ends above the best, in nats."""
PLAIN: dict[str, BaseDistribution] = {
    "optim.lr": FloatDistribution(1e-5, 1.0, log=True),
    "optim.effective_batch_size": CategoricalDistribution(tuple(SLOWDOWN)),
}
WIDE: dict[str, BaseDistribution] = {
    **PLAIN,
    "optim.warmup_tokens": IntDistribution(0, 12_000),
    "optim.schedule": CategoricalDistribution(tuple(SCHEDULES)),
}
QUIET, SPIKY = 0.002, 0.02
"""Relative noise of an evaluation: 64 paired examples that scatter by 0.05 nats, and ten times that."""


def synthetic() -> Iterator[Callable[[int], Task]]:
    """Yield the synthetic tasks."""
    yield lambda seed: fine_tuning("SFT, LR and batch", PLAIN, QUIET, seed)
    yield lambda seed: fine_tuning("SFT, exp4's space", WIDE, QUIET, seed)
    yield lambda seed: fine_tuning("SFT, exp4's space, spiky", WIDE, SPIKY, seed)


def fine_tuning(name: str, space: dict[str, BaseDistribution], noise: float, seed: int) -> Task:
    """Return a task whose optimum is drawn by the seed."""
    centre = random.Random(seed).uniform(-3.5, -2.0)

    def draw(dice: random.Random, taken: set[int]) -> Params:
        values: Params = {
            "optim.lr": 10 ** dice.uniform(-5, 0),
            "optim.effective_batch_size": dice.choice(tuple(SLOWDOWN)),
            "optim.warmup_tokens": dice.randint(0, 12_000),
            "optim.schedule": dice.choice(tuple(SCHEDULES)),
        }
        return {path: values[path] for path in space}

    def place(params: Params, taken: set[int]) -> Configuration:
        batch = int(params["optim.effective_batch_size"])
        curve = [nll(params, centre, unit) for unit in range(1, UNITS + 1)]
        steps = max(1, UNIT_EXAMPLES // batch)
        return Configuration(len(taken), curve, steps, 0.19 / batch**0.5)

    optimum = 10 ** (centre + SLOPE * math.log10(4 / 16))
    best = nll({"optim.lr": optimum, "optim.effective_batch_size": 4, **_rest(space)}, centre, UNITS)
    return Task(name, "synthetic", space, UNITS, draw, place, best, noise, 10**9, 10 * UNITS, 100 * UNITS)


def _rest(space: dict[str, BaseDistribution]) -> Params:
    best: Params = {"optim.warmup_tokens": 4_000, "optim.schedule": "cosine"}
    return {path: value for path, value in best.items() if path in space}


def nll(params: Params, centre: float, unit: int) -> float:
    """Return the expected NLL of a trial after so many units."""
    batch = int(params["optim.effective_batch_size"])
    distance = math.log10(float(params["optim.lr"])) - (centre + SLOPE * math.log10(batch / 16))
    if distance > CLIFF:
        return DIVERGED - (DIVERGED - START) * math.exp(-10.0 * unit)
    floor = FLOOR * (1 + min(0.3, (TOO_LOW if distance < 0 else TOO_HIGH) * distance**2))
    if "optim.schedule" in params:
        warmup = float(params["optim.warmup_tokens"]) / 12_000
        floor += SCHEDULES[str(params["optim.schedule"])] + 0.03 * (warmup - 1 / 3) ** 2
    pace = 0.25 * UNITS * SLOWDOWN[batch] * 10 ** (0.3 * max(0.0, -distance))
    return floor + (START - floor) * math.exp(-unit / pace)
