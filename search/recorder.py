"""Write down what Tune sees, as events; everybody else learns of the search from here."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ray import tune

from search.events import BaselineMeasured, Decided, Ended, Event, Reported, Retried, TrialStarted
from search.faults import Retry
from search.halving import Decision
from search.ledger import Ledger
from search.state import SearchState, apply, is_news
from search.study import Study
from spaces import space
from spaces.describe import plain_config
from spaces.words import tokens_text
from train_fn.config import TrainConfig
from train_fn.doom import Verdict
from train_fn.errors import InputError
from train_fn.report import Evaluation, Outcome, Report, Status

Listener = Callable[[SearchState, Event], None]


class Recorder:
    """Append events to the ledger, fold them into the state, and tell the listeners.

    Args:
        ledger: Where events go.
        state: What the ledger's events so far amount to.
        listeners: Called after each event with the new state.
    """

    def __init__(self, ledger: Ledger, state: SearchState, listeners: Sequence[Listener]) -> None:
        self.state = state
        self._ledger = ledger
        self._listeners = listeners
        self._failed: InputError | None = None

    def record(self, event: Event) -> None:
        """Write one event down; only then is it true.

        Raises:
            InputError: It cannot be written, or one before it could not: a ledger has no gaps.
        """
        if self._failed is not None:
            raise self._failed
        try:
            self._ledger.append(event)
        except InputError as error:
            self._failed = error
            raise
        self.state = apply(self.state, event)
        for listen in self._listeners:
            listen(self.state, event)


class TuneRecorder(tune.Callback):  # type: ignore[misc]
    """Turn Tune's callbacks into events, in the order: report, decision, end.

    Args:
        recorder: Where events go.
        study: Told how each trial ended.
        base: What sampled values are applied to.
        after_end: Called with the number of a trial that has ended, when the study was told.
    """

    def __init__(
        self,
        recorder: Recorder,
        study: Study,
        base: TrainConfig,
        after_end: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._recorder = recorder
        self._after_end = after_end
        self._study = study
        self._base = base
        self._decision: Decision | None = None
        self._verdict: Verdict | None = None
        self.refusal = ""
        """Why the search cannot go on; empty while nothing speaks against it."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything behind: Tune saves its callbacks for a restore of its own, which we never use."""
        return {}

    def decided(self, decision: Decision) -> None:
        """Keep the halving's decision until its report has been written."""
        self._decision = decision

    def stalled(self, verdict: Verdict) -> None:
        """Keep why a trial cannot be saved until its report has been written."""
        self._verdict = verdict

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """End the search when something cannot be written down; raised, Tune would make a trace of it."""
        try:
            yield
        except InputError as error:
            self.refusal = self.refusal or str(error)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that a slot took up a trial."""
        with self._stopping():
            self._start(trial)

    def _start(self, trial: Any) -> None:
        number, params = int(trial.config["trial"]), dict(trial.config["params"])
        config = plain_config(space.apply(self._base, params, trial.config["seed"]))
        known = self._recorder.state.trials.get(number)
        attempt = known.attempts if known else 0
        again = trial.config["confirms"], trial.config["finishes"]
        self._recorder.record(TrialStarted(time.time(), number, attempt, params, config, *again))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record what a trial said; Tune has already asked the scheduler about it."""
        with self._stopping():
            self._take(int(trial.config["trial"]), result)

    def _take(self, number: int, result: dict[str, Any]) -> None:
        now = time.time()
        match result:
            case {"baseline": Evaluation() as baseline}:
                if self._recorder.state.base_eval is None:
                    self._recorder.record(BaselineMeasured(now, baseline))
            case {"report": Report() as report}:
                # A worker that was restarted repeats the windows since its checkpoint. With a step left out
                # one may end at a rung that was passed over before: it was judged, so it is kept.
                news = is_news(self._recorder.state, report)
                if news or self._decision is not None:
                    self._recorder.record(Reported(now, report))
                if news and report.eval is not None:
                    hear(self._study, self._recorder.state, number)
            case {"retry": Retry() as retry}:
                examples, place = retry.skipped_examples, retry.skipped_place
                self._recorder.record(Retried(now, retry.trial, retry.cause, retry.told, examples, place))
            case {"outcome": Outcome(status="failed") as outcome}:
                # Whoever gave the trial up does not know how far it came.
                known = self._outcome(outcome.trial, "failed", outcome.reason)
                self._end(replace(known, final=outcome.final))
            case {"outcome": Outcome() as outcome}:
                self._end(outcome)
            case {"refusal": str() as reason}:
                self.refusal = reason
        decision, self._decision = self._decision, None
        if decision is not None:
            self._recorder.record(Decided(now, decision))
            if not decision.keep:
                self._end(self._outcome(decision.trial, "halved", decision.reason))
        verdict, self._verdict = self._verdict, None
        if verdict is not None:
            self._end(self._outcome(number, verdict.status, verdict.reason))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the failure of a slot's actor."""
        with self._stopping():
            self._fail(trial)

    def _fail(self, trial: Any) -> None:
        number = int(trial.config["trial"])
        lines = str(trial.get_error() or "the slot's process ended").strip().splitlines()
        if number in self._recorder.state.trials:
            self._end(self._outcome(number, "failed", f"the slot failed: {lines[-1]}"))

    def end_halved(self) -> None:
        """End the trials whose last decision stopped them and that a crash kept from being told."""
        for number, trial in sorted(self._recorder.state.trials.items()):
            last = trial.decision
            if last is not None and not last.keep and trial.status in ("running", "cancelled"):
                self._end(self._outcome(number, "halved", last.reason))

    def cancel_running(self) -> None:
        """End what still runs as cancelled; the next command takes these trials up again."""
        for number, trial in sorted(self._recorder.state.trials.items()):
            if trial.status == "running":
                reason = (
                    f"stopped at {tokens_text(trial.tokens_seen)} tokens with the command; it goes on with it"
                )
                self._end(self._outcome(number, "cancelled", reason))

    def _outcome(self, number: int, status: Status, reason: str) -> Outcome:
        """Compose the outcome of a trial that its worker did not end itself, from what it last reported."""
        trial = self._recorder.state.trials[number]
        return Outcome(
            trial=number,
            status=status,
            reason=reason,
            tokens_seen=trial.tokens_seen,
            steps=trial.steps,
            overflow_steps=trial.overflow_steps,
            eval_nll=trial.eval_nll,
            eval_nll_stderr=trial.eval_nll_stderr,
            train_s=trial.train_s,
            start_overhead_s=trial.start_overhead_s,
            checkpoint=None,
            times=trial.times,
        )

    def _end(self, outcome: Outcome) -> None:
        self._recorder.record(Ended(time.time(), outcome))
        tell(self._study, self._recorder.state, outcome)
        self._after_end(outcome.trial)


def hear(study: Study, state: SearchState, number: int) -> None:
    """Tell the study what is known of a trial that runs.

    Raises:
        InputError: The study cannot be written (a full disk).
    """
    study.hear(number, _nll_by_tokens(state, number))


def tell(study: Study, state: SearchState, outcome: Outcome) -> None:
    """Tell the study how a trial ended, with its evaluations by tokens seen.

    Raises:
        InputError: The study cannot be written (a full disk).
    """
    study.tell(outcome, _nll_by_tokens(state, outcome.trial))


def _nll_by_tokens(state: SearchState, number: int) -> dict[int, float]:
    return {point.tokens_seen: point.nll for point in state.trials[number].evals}
