"""Ray Tune's default pair, OptunaSearch and ASHAScheduler, driven as its controller drives them."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from tests.bench.search_quality.race import Params, Task


class RayDefaults:
    """Both with their defaults; the scheduler is told how long a trial is."""

    def __init__(self, task: Task, seed: int) -> None:
        np.random.seed(seed)  # the scheduler draws its brackets from the global generator
        self._search = OptunaSearch(space=dict(task.space), metric="nll", mode="min", seed=seed)
        self._scheduler = ASHAScheduler(metric="nll", mode="min", max_t=task.units)
        self._units = task.units
        self._trials: dict[int, Any] = {}

    def ask(self) -> tuple[int, Params]:
        number = len(self._trials)
        params = self._search.suggest(str(number))
        assert isinstance(params, dict)
        self._trials[number] = SimpleNamespace(trial_id=str(number))
        self._scheduler.on_trial_add(None, self._trials[number])
        return number, params

    def report(self, trial: int, unit: int, nll: float, loss: Sequence[float]) -> bool:
        result = {"training_iteration": unit, "nll": nll}
        action = self._scheduler.on_trial_result(None, self._trials[trial], result)
        if action == TrialScheduler.CONTINUE and unit < self._units:
            self._search.on_trial_result(str(trial), result)
            return True
        if action == TrialScheduler.STOP:  # as in TuneController._process_trial_result
            self._scheduler.on_trial_complete(None, self._trials[trial], result)
        self._search.on_trial_complete(str(trial), result=result)
        return False
