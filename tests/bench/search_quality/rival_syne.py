"""Syne Tune's ASHA and MOBSTER (Klein et al. 2020, arXiv:2003.10865), driven as its tuner drives them.

The last release with MOBSTER is 0.14.2 and its requirements exclude numpy 2, with which 0.13.0 works all the
same: `pip install --no-deps syne-tune==0.13.0` beside the `bench` extra.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.baselines import ASHA, MOBSTER
from syne_tune.optimizer.scheduler import SchedulerDecision

from tests.bench.search_quality.race import Params, Task

MOBSTER_TRIALS = 60
"""Its Gaussian process costs the cube of the reports: after so many trials a race is over for it."""
MOBSTER_SKIP = {"opt_skip_init_length": 20, "opt_skip_period": 10, "opt_nstarts": 1, "opt_maxiter": 20}
"""How often the process is fitted anew; by default at every proposal, which takes hours here."""


def asha(task: Task, seed: int) -> "_Syne":
    """Return ASHA with its defaults: a third goes on, random proposals."""
    return _Syne(task, ASHA(**_common(task, seed)), task.most_trials)


def mobster(task: Task, seed: int) -> "_Syne":
    """Return MOBSTER with its defaults, but for how often its model is fitted."""
    return _Syne(task, MOBSTER(**_common(task, seed), search_options=MOBSTER_SKIP), MOBSTER_TRIALS)


def _common(task: Task, seed: int) -> dict[str, Any]:
    space = {name: _domain(one) for name, one in task.space.items()}
    return {
        "config_space": space,
        "metric": "nll",
        "mode": "min",
        "resource_attr": "unit",
        "max_t": task.units,
        "random_seed": seed,
    }


def _domain(distribution: BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution(low=low, high=high, log=log):
            return config_space.loguniform(low, high) if log else config_space.uniform(low, high)
        case IntDistribution(low=low, high=high):
            return config_space.randint(low, high)
        case CategoricalDistribution(choices=choices):
            return config_space.choice(list(choices))
    raise AssertionError(distribution)


class _Syne:
    def __init__(self, task: Task, scheduler: Any, most: int) -> None:
        self._scheduler, self._units, self._most = scheduler, task.units, most
        self._trials: dict[int, Trial] = {}

    def ask(self) -> tuple[int, Params] | None:
        number = len(self._trials)
        suggestion = self._scheduler.suggest(number) if number < self._most else None
        if suggestion is None:
            return None
        assert suggestion.spawn_new_trial_id, "the stopping variant resumes nothing"
        trial = Trial(number, suggestion.config, datetime.now())
        self._scheduler.on_trial_add(trial)
        self._trials[number] = trial
        return number, dict(suggestion.config)

    def report(self, trial: int, unit: int, nll: float, loss: Sequence[float]) -> bool:
        one, result = self._trials[trial], {"unit": unit, "nll": nll}
        decision = self._scheduler.on_trial_result(one, result)
        if unit == self._units:
            self._scheduler.on_trial_complete(one, result)
            return False
        if decision != SchedulerDecision.CONTINUE:
            self._scheduler.on_trial_remove(one)
            return False
        return True
