"""Rivals that need no library: random search, and the constant few epochs of i-Epoch."""

import random
from collections.abc import Sequence

from tests.bench.search_quality.race import Params, Task


class RandomSearch:
    """Trains every trial to its end."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._dice = task, random.Random(seed)
        self._taken: set[int] = set()
        self._asked = 0

    def ask(self) -> tuple[int, Params]:
        params = self._task.draw(self._dice, self._taken)
        self._taken.add(self._task.place(params, self._taken).key)
        self._asked += 1
        return self._asked - 1, params

    def report(self, trial: int, unit: int, nll: float, loss: Sequence[float]) -> bool:
        return True


class IEpoch:
    """Trains every trial for a few units and then the best ones on to their end.

    Egele et al. 2023 (arXiv:2307.15422, "1-Epoch") train all trials for one epoch and then the three best;
    the number of trials is given. Here it is not, so they are drawn in rounds, each as large as all before,
    and after each round the best that are not finished go on.
    """

    FIRST_ROUND = 8
    FINISHED = 3

    def __init__(self, task: Task, seed: int) -> None:
        self._random = RandomSearch(task, seed)
        self._units = task.units
        self._first = max(1, round(0.06 * task.units))
        self._params: dict[int, Params] = {}
        self._paused: dict[int, float] = {}
        self._left = self.FIRST_ROUND
        self._running = 0
        self._chosen: list[int] = []

    def ask(self) -> tuple[int, Params] | None:
        if self._chosen:
            self._running += 1
            trial = self._chosen.pop(0)
            del self._paused[trial]
            return trial, self._params[trial]
        if self._left == 0:
            return None
        trial, params = self._random.ask()
        self._params[trial] = params
        self._left -= 1
        self._running += 1
        return trial, params

    def report(self, trial: int, unit: int, nll: float, loss: Sequence[float]) -> bool:
        if unit == self._first:
            self._paused[trial] = nll
        if unit in (self._first, self._units):
            self._running -= 1
            if self._left == 0 and self._running == 0:
                self._chosen = sorted(self._paused, key=self._paused.__getitem__)[: self.FINISHED]
                self._left = len(self._params)
            return False
        return True
