"""Synthetic fine-tuning: what a trial would say, without training anything.

The shapes are those of real sweeps: an optimum in log learning rate that rises with the log of the batch size
at a slope of 0.31, an exponential approach to a floor that rises with the distance from the optimum, step
noise of 0.19 / sqrt(batch) relative to the loss, held-out examples that differ more among themselves than
trials do, and a learning rate above which the loss jumps up within a few steps and stays there.
"""

import math
import random
from dataclasses import dataclass
from functools import cache

from optuna.distributions import CategoricalDistribution, FloatDistribution

from spaces.experiment import (
    BudgetConfig,
    ConfirmConfig,
    Experiment,
    HalvingConfig,
    ParamValue,
    SamplerConfig,
)
from train_fn.config import RunConfig, TrainConfig
from train_fn.report import Evaluation

MAX_TOKENS = 90_000
WINDOW_TOKENS = 3_000
TOKENS_PER_EXAMPLE = 40
EVAL_EXAMPLES = 64
START, FLOOR, DIVERGED = 4.0, 3.0, 8.0
CLIFF = 1.2
"""Decades above the best learning rate at which training diverges."""
EDGE = 0.3
"""Decades above it at which training diverges late, in a tempting world."""


@dataclass(frozen=True)
class World:
    """One drawing of the noise; trials differ by their number."""

    seed: int = 0
    paired_noise: float = 0.05
    """Standard deviation of an example's NLL from trial to trial, in nats."""
    fragile: bool = False
    """Whether every training seed but the first makes the loss jump up."""

    def distance(self, params: dict[str, ParamValue]) -> float:
        """Return the decades between a trial's learning rate and the best one for its batch size."""
        batch = float(params["optim.effective_batch_size"])
        return math.log10(float(params["optim.lr"])) - (-3 + 0.31 * math.log10(batch / 16))

    def diverges(self, params: dict[str, ParamValue]) -> bool:
        """Return whether a trial ends up above its start."""
        return self.distance(params) > CLIFF

    def nll(self, params: dict[str, ParamValue], tokens_seen: int) -> float:
        """Return the expected NLL of a trial."""
        distance = self.distance(params)
        if distance > CLIFF:
            return DIVERGED - (DIVERGED - START) * math.exp(-tokens_seen / 300)
        floor = FLOOR + min(0.9, 0.12 * distance**2)
        pace = 0.25 * MAX_TOKENS * 10 ** (0.3 * max(0.0, -distance))
        return floor + (START - floor) * math.exp(-tokens_seen / pace)

    def steps(
        self, trial: int, params: dict[str, ParamValue], window: int, seed: int = 0
    ) -> list[tuple[int, float]]:
        """Return `(tokens seen, loss)` of each optimizer step that ends in a window.

        The loss is that of the weights before the step.
        """
        if self.fragile and seed > 0:
            params = {**params, "optim.lr": 1.0}
        batch = int(params["optim.effective_batch_size"])
        noise = random.Random(f"{self.seed} {trial} {window}")
        per_step = batch * TOKENS_PER_EXAMPLE
        first = window * WINDOW_TOKENS // per_step + 1
        last = (window + 1) * WINDOW_TOKENS // per_step
        relative = 0.19 / batch**0.5
        return [
            (k * per_step, self.nll(params, (k - 1) * per_step) * (1 + noise.gauss(0, relative)))
            for k in range(first, last + 1)
        ]

    def evaluate(self, trial: int, params: dict[str, ParamValue], tokens_seen: int) -> Evaluation:
        """Return the evaluation of a trial on the held-out examples of this world."""
        hard, tokens = _examples(self.seed)
        noise = random.Random(f"{self.seed} {trial} eval {tokens_seen}")
        scale = self.nll(params, tokens_seen) / START
        nlls = tuple(scale * h + noise.gauss(0, self.paired_noise) for h in hard)
        total = sum(tokens)
        mean = sum(w * x for w, x in zip(tokens, nlls, strict=True)) / total
        spread = math.sqrt(sum((w * (x - mean)) ** 2 for w, x in zip(tokens, nlls, strict=True))) / total
        return Evaluation(mean, spread, nlls, tokens, 0.1)


class TemptingWorld(World):
    """Rates between `EDGE` and `CLIFF` learn the faster the higher they are, until they diverge."""

    def diverges(self, params: dict[str, ParamValue]) -> bool:
        """Return whether a trial ends up above its start."""
        return self.distance(params) > EDGE

    def nll(self, params: dict[str, ParamValue], tokens_seen: int) -> float:
        """Return the expected NLL of a trial."""
        distance = self.distance(params)
        if distance > CLIFF:
            return super().nll(params, tokens_seen)
        floor = FLOOR + min(0.9, 0.12 * min(distance, 0.0) ** 2)
        calm = floor + (START - floor) * math.exp(
            -tokens_seen / (0.25 * MAX_TOKENS * 10 ** (-0.3 * distance))
        )
        turn = MAX_TOKENS * (0.65 - 0.45 * (distance - EDGE) / (CLIFF - EDGE))
        if distance <= EDGE or tokens_seen <= turn:
            return calm
        return DIVERGED - (DIVERGED - calm) * math.exp(-(tokens_seen - turn) / 1_500)


@cache
def _examples(seed: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    draw = random.Random(f"examples {seed}")
    return (
        tuple(draw.uniform(START - 2, START + 2) for _ in range(EVAL_EXAMPLES)),
        tuple(draw.randint(2, 30) for _ in range(EVAL_EXAMPLES)),
    )


def experiment(trials: int, seed: int = 0, kind: str = "tpe") -> Experiment:
    """Return a search of the synthetic space with the laptop's budget and rungs."""
    return Experiment(
        name="synthetic",
        profile="laptop",
        description="synthetic fine-tuning",
        base=TrainConfig(run=RunConfig(max_tokens=MAX_TOKENS, window_tokens=WINDOW_TOKENS)),
        space={
            "optim.lr": FloatDistribution(1e-5, 1.0, log=True),
            "optim.effective_batch_size": CategoricalDistribution((4, 8, 16, 32, 64)),
        },
        known_good=({"optim.lr": 1e-4, "optim.effective_batch_size": 16},),
        budget=BudgetConfig(trials=trials),
        halving=HalvingConfig(first_rung_tokens=10_000),
        confirm=ConfirmConfig(top=0),
        sampler=SamplerConfig(kind=kind, startup_trials=6, seed=seed),  # type: ignore[arg-type]
    )
