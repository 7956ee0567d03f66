"""The study as a Ray Tune searcher. All proposing is in `search.study`."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from search.capacity import Capacity
from search.study import Repeat, Study
from spaces.experiment import ParamValue


class StudySearcher(Searcher):  # type: ignore[misc]
    """Hands out trials until the budget is used, then the runs that the answer waits for. Who tells the
    study is the driver, which knows the outcomes."""

    def __init__(
        self,
        study: Study,
        trials: int,
        repeats: Callable[[], Sequence[Repeat]],
        has_room: Callable[[], bool] = lambda: True,
        capacity: Capacity = lambda wanted: wanted,
    ) -> None:
        """Take up what an earlier command left running, then ask for new trials up to `trials` in all.

        Args:
            study: Proposes trials.
            trials: The budget.
            repeats: Asked when all trials of the budget are over: which of them are run again.
            has_room: Asked before a trial is handed out; none is while it says no.
            capacity: No trial is handed out while so many are live.
        """
        super().__init__()
        self._study = study
        self._trials = trials
        self._repeats = repeats
        self._has_room = has_room
        self._capacity = capacity
        self._left_over = study.running()
        self._live: dict[str, bool] = {}
        """By Tune's name of a trial, whether it uses the budget."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything behind: Tune saves its searcher for a restore of its own, which we never use."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial: `trial` is its number, `params` its values, `confirms` and `seed` which one
        it runs again with what seed, `finishes` which one it runs to its end; None where it does not.

        The answer is None while the trials of the budget are live, for they may fail and be tried again, and
        nobody knows the best yet; again while the last repeats are; and while the machines or the disk have
        no room for another. `FINISHED` comes after the last.
        """
        live, due = len(self._live), self._due()
        is_full = live >= self._capacity(live + due)
        if due and (is_full or not self._has_room()):
            return None
        if self._left_over:
            number, params = self._left_over.pop(0)
        elif self._study.count() < self._trials:
            number, params = self._study.ask()
        elif any(self._live.values()):
            return None
        elif (repeated := self._next_repeat()) is not None:
            number, params = repeated
        else:
            return None if self._live else str(Searcher.FINISHED)
        again = self._study.repeat_of(number)
        self._live[trial_id] = again is None
        return {"trial": number, "params": params, **_kind(again)}

    def _due(self) -> int:
        """Count the trials that would be handed out now if there was room for all."""
        left = len(self._left_over) + max(0, self._trials - self._study.count())
        if left or any(self._live.values()):
            return left
        return sum(not self._study.is_repeated(one) for one in self._repeats())

    def _next_repeat(self) -> tuple[int, dict[str, ParamValue]] | None:
        for one in self._repeats():
            if not self._study.is_repeated(one):
                return self._study.repeat(one)
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note that a trial is over, for whatever reason."""
        self._live.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study is its own record."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


def _kind(again: Repeat | None) -> dict[str, int | None]:
    """Return whether a trial confirms another one or runs it to its end, as `suggest` says it."""
    if again is None:
        return {"confirms": None, "seed": None, "finishes": None}
    if again.seed is None:
        return {"confirms": None, "seed": None, "finishes": again.of}
    return {"confirms": again.of, "seed": again.seed, "finishes": None}
