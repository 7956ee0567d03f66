"""The halving as a Ray Tune scheduler. All judgement is in `search.halving`."""

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.halving import Decision, Halving
from search.stalled import Peers
from train_fn.doom import Verdict
from train_fn.report import Report


class TokenHalving(FIFOScheduler):  # type: ignore[misc]
    """Starts trials in the order they were suggested and stops those that lose a rung."""

    _supports_buffered_results = False  # a trial must not train on while its report waits in a buffer

    def __init__(
        self,
        halving: Halving,
        on_decision: Callable[[Decision], None],
        peers: Peers,
        on_stalled: Callable[[Verdict], None],
    ) -> None:
        """Judge by `halving` and, between rungs, by `peers`.

        Every decision is passed on to `on_decision`, and why a trial cannot be saved to `on_stalled`, before
        the trial goes on or stops.
        """
        super().__init__()
        self._halving, self._peers = halving, peers
        self._on_decision, self._on_stalled = on_decision, on_stalled

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Judge a report, but not of a run of another trial again.

        Such a run goes to its end: stopped at a rung it would say nothing, and counted there it would crowd
        out the trials that the rung is for.

        Args:
            tune_controller: Not needed.
            trial: Its config is what the searcher suggested.
            result: With a `Report` under `report` when a window ended.
        """
        report = result.get("report")
        again = trial.config["confirms"] is not None or trial.config["finishes"] is not None
        if not isinstance(report, Report) or again:
            return str(TrialScheduler.CONTINUE)
        number = int(trial.config["trial"])
        verdict = self._peers.judge(report, trial.config["params"])
        if verdict is not None:
            self._on_stalled(verdict)
            return str(TrialScheduler.STOP)
        if report.eval is not None:
            decision = self._halving.decide(number, report.tokens_seen, report.eval)
            if decision is not None:
                self._on_decision(decision)
        return str(TrialScheduler.STOP if self._halving.stopped(number) else TrialScheduler.CONTINUE)

    def debug_string(self) -> str:
        """Name the scheduler for Tune's tables."""
        rungs = ", ".join(f"{tokens:,}" for tokens in self._halving.rungs)
        return f"Halving on tokens seen, rungs at {rungs or 'none'}"

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the decisions themselves are kept, and `Halving.restore` takes them up."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""
