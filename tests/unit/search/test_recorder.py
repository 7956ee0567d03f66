from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.events import BaselineMeasured, Decided, Ended, Event, Reported, Retried, TrialStarted
from search.faults import Retry
from search.halving import Decision
from search.ledger import FILE_NAME, Ledger, read_events
from search.recorder import Recorder, TuneRecorder
from search.restored import decisions_of
from search.state import SearchState, replay
from search.study import Repeat, Study
from spaces.load import load_experiment
from train_fn.report import Evaluation, Outcome, Report
from train_fn.times import Times

EVALUATION = Evaluation(2.0, 0.1, (2.0, 2.0), (3, 3), 0.1)


def report(tokens: int, evaluation: Evaluation | None = None) -> dict[str, Any]:
    figures = (tokens // 10, 1, 2.0, (), 0.1, 0.5, 0.0, 0, 0.0, 0, "flat", 9.0, 1.0, 0.2)
    return {"report": Report(0, tokens, *figures, evaluation)}


class Desk:
    """A recorder on a real ledger and a real study, driven as Tune drives it."""

    def __init__(self, folder: Path) -> None:
        experiment = load_experiment("exp4", "laptop")
        self.path = folder / FILE_NAME
        self.heard: list[Event] = []
        self.study = Study.open(experiment, folder)
        number, params = self.study.ask()
        config = {"trial": number, "params": params, "confirms": None, "seed": None, "finishes": None}
        self.trial = SimpleNamespace(config=config, get_error=lambda: "Boom")
        ledger = Ledger(self.path)
        self.recorder = Recorder(ledger, SearchState(), (lambda state, event: self.heard.append(event),))
        self.callback = TuneRecorder(self.recorder, self.study, experiment.base)
        self.callback.on_trial_start(0, [], self.trial)

    def result(self, **result: Any) -> None:
        self.callback.on_trial_result(0, [], self.trial, result)

    def kinds(self) -> list[type]:
        return [type(event) for event in read_events(self.path)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def decision(keep: bool) -> Decision:
    return Decision(0, 0, 0, 20, 20, 2.0, 1.0, 1.0, 0.1, 3, keep, "it lost its rung")


def test_what_happened_is_written_in_order_and_heard(desk: Desk) -> None:
    desk.result(baseline=EVALUATION)
    desk.result(**report(10))
    desk.callback.decided(decision(keep=True))
    desk.result(**report(20, EVALUATION))
    desk.result(outcome=Outcome(0, "finished", "done", 30, 3, 0, 2.0, 0.1, 1.0, 0.2, "w"), done=True)
    assert desk.kinds() == [TrialStarted, BaselineMeasured, Reported, Reported, Decided, Ended]
    assert list(read_events(desk.path)) == desk.heard
    assert replay(read_events(desk.path)) == desk.recorder.state
    assert desk.study.running() == []


def test_a_lost_rung_becomes_an_outcome_with_the_reason_and_the_last_figures(desk: Desk) -> None:
    desk.callback.decided(decision(keep=False))
    desk.result(**report(20, EVALUATION))
    ended = desk.heard[-1]
    assert isinstance(ended, Ended)
    assert (ended.outcome.status, ended.outcome.reason) == ("halved", "it lost its rung")
    assert (ended.outcome.tokens_seen, ended.outcome.eval_nll) == (20, 2.0)
    assert desk.study.running() == []


def test_a_restarted_worker_repeats_itself_without_effect(desk: Desk) -> None:
    for tokens in (10, 20, 10, 20, 30):
        desk.result(**report(tokens))
    seen = [event.report.tokens_seen for event in read_events(desk.path) if isinstance(event, Reported)]
    assert seen == [10, 20, 30]


@pytest.mark.parametrize("keep", [True, False])
def test_a_repeated_report_that_is_judged_is_kept_for_the_next_command(desk: Desk, keep: bool) -> None:
    # The step that passed over a rung was left out, and the one in its place is shorter.
    desk.result(**report(1750, EVALUATION))
    desk.callback.decided(replace(decision(keep), tokens_seen=1690))
    desk.result(**report(1690, EVALUATION))
    known = desk.recorder.state.trials[0]
    assert (known.tokens_seen, len(known.evals)) == (1750, 1)
    assert known.status == ("running" if keep else "halved")
    past = list(read_events(desk.path))
    assert [made.tokens_seen for made, _ in decisions_of(past)] == [1690]
    assert replay(past) == desk.recorder.state


def test_the_base_model_is_measured_once(desk: Desk) -> None:
    for _ in range(3):
        desk.result(baseline=EVALUATION)
    assert desk.kinds().count(BaselineMeasured) == 1


def test_what_still_runs_is_cancelled_and_taken_up_by_the_next_command(desk: Desk) -> None:
    desk.result(**report(10))
    desk.callback.cancel_running()
    ended = desk.heard[-1]
    assert isinstance(ended, Ended)
    assert ended.outcome.status == "cancelled"
    assert [number for number, _ in desk.study.running()] == [0]


def test_a_trial_that_is_cancelled_keeps_what_its_time_went_into(desk: Desk) -> None:
    told = report(10)["report"]
    desk.result(report=replace(told, times=Times(forward_s=3)))
    desk.callback.cancel_running()
    ended = desk.heard[-1]
    assert isinstance(ended, Ended)
    assert ended.outcome.times is not None
    assert ended.outcome.times.forward_s == 3
    assert replay(read_events(desk.path)).trials[0].times is not None


def test_a_retry_is_written_down_and_a_failed_trial_keeps_its_figures(desk: Desk) -> None:
    desk.result(**report(10))
    desk.result(retry=Retry(0, "hang", "rank 1 gave no sign of life; tried again", 0))
    desk.result(retry=Retry(0, "unknown", "IndexError; its 8 examples are left out", 8, 24))
    desk.result(**report(20))
    reason = "given up after 3 attempts (hang, unknown, hang): no rank advanced"
    desk.result(outcome=Outcome(0, "failed", reason, 0, 0, 0, None, None, 0.0, 0.0, None, True), done=True)
    assert desk.kinds() == [TrialStarted, Reported, Retried, Retried, Reported, Ended]
    trial = desk.recorder.state.trials[0]
    assert [again.cause for again in trial.retries] == ["hang", "unknown"]
    assert trial.skipped_examples == 8
    assert [again.skipped_place for again in trial.retries] == [None, 24]
    assert (trial.status, trial.reason, trial.tokens_seen) == ("failed", reason, 20)
    ended = desk.heard[-1]
    assert isinstance(ended, Ended)
    assert ended.outcome.final


def test_a_dead_slot_fails_its_trial(desk: Desk) -> None:
    desk.callback.on_trial_error(0, [], desk.trial)
    ended = desk.heard[-1]
    assert isinstance(ended, Ended)
    assert ended.outcome.status == "failed"
    assert "Boom" in ended.outcome.reason


def test_a_refusal_is_kept_for_the_command(desk: Desk) -> None:
    desk.result(refusal="model.path = 'x' cannot be read; check it", done=True)
    assert desk.callback.refusal.startswith("model.path")


def test_a_repeat_says_what_it_confirms_and_trains_with_its_own_seed(desk: Desk) -> None:
    number, params = desk.study.repeat(Repeat(0, 7))
    config = {"trial": number, "params": params, "confirms": 0, "seed": 7, "finishes": None}
    desk.callback.on_trial_start(0, [], SimpleNamespace(config=config))
    first, again = (event for event in read_events(desk.path) if isinstance(event, TrialStarted))
    assert (first.confirms, again.confirms) == (None, 0)
    assert again.params == first.params
    assert {**again.config, "run": None} == {**first.config, "run": None}
    assert again.config["run"] == {**first.config["run"], "seed": 7}  # type: ignore[dict-item]


def test_a_run_to_the_end_says_whose_it_is_and_trains_as_that_one_did(desk: Desk) -> None:
    number, params = desk.study.repeat(Repeat(0, None))
    config = {"trial": number, "params": params, "confirms": None, "seed": None, "finishes": 0}
    desk.callback.on_trial_start(0, [], SimpleNamespace(config=config))
    first, again = (event for event in read_events(desk.path) if isinstance(event, TrialStarted))
    assert (again.confirms, again.finishes, again.config) == (None, 0, first.config)
