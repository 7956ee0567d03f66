"""Optuna's own pair: TPE and the Hyperband pruner, with their defaults."""

from collections.abc import Sequence

import optuna

from tests.bench.search_quality.race import Params, Task


class TpeHyperband:
    """A study whose trials report every unit and ask whether to stop."""

    def __init__(self, task: Task, seed: int) -> None:
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=task.units)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(
            study_name=f"{task.name} {seed}", direction="minimize", sampler=sampler, pruner=pruner
        )  # the name chooses the bracket of a trial
        self._task = task
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, Params]:
        trial = self._study.ask(dict(self._task.space))
        self._trials[trial.number] = trial
        return trial.number, dict(trial.params)

    def report(self, trial: int, unit: int, nll: float, loss: Sequence[float]) -> bool:
        mine = self._trials[trial]
        mine.report(nll, unit)
        if unit == self._task.units:
            self._study.tell(mine, nll)
            return False
        if mine.should_prune():
            self._study.tell(mine, state=optuna.trial.TrialState.PRUNED)
            return False
        return True
