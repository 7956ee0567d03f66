"""The study as a Ray Tune searcher. All proposing is in `search.study`."""

from typing import Any

from ray.tune.search import Searcher

from search.study import Study


class StudySearcher(Searcher):  # type: ignore[misc]
    """Hands out trials until the budget is used. Who tells the study is the driver, which knows the
    outcomes."""

    def __init__(self, study: Study, trials: int) -> None:
        """Take up what an earlier command left running, then ask for new trials up to `trials` in all."""
        super().__init__()
        self._study = study
        self._trials = trials
        self._left_over = study.running()
        self._live: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial as `{"trial": number, "params": values}`.

        After the budget is used the answer is None while a trial is live, for it may fail and be tried again,
        and `FINISHED` once none is.
        """
        if self._left_over:
            number, params = self._left_over.pop(0)
        elif self._study.count() < self._trials:
            number, params = self._study.ask()
        else:
            return None if self._live else str(Searcher.FINISHED)
        self._live.add(trial_id)
        return {"trial": number, "params": params}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note that a trial is over, for whatever reason."""
        self._live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study is its own record."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""
