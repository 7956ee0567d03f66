from dataclasses import replace
from pathlib import Path

import pytest

from search.events import Decided, Ended, Event, Reported, TrialStarted
from search.halving import Decision, rung_tokens
from search.restored import decisions_of, peers_of, reconcile, rungs_of
from search.state import replay
from search.study import Study
from spaces.load import load_experiment
from train_fn.report import Evaluation, Outcome, Point, Report, Status

EVALUATION = Evaluation(2.0, 0.1, (2.0, 2.0), (3, 3), 0.1)
EXP4 = load_experiment("exp4", "laptop")


def reported(trial: int, tokens: int) -> Reported:
    report = Report(
        trial, tokens, 1, 1, 2.0, (), 0.1, 0.5, 0.0, 0, 0.0, 0, "flat", 9.0, 1.0, 0.2, EVALUATION
    )  # fmt: skip
    return Reported(0.0, report)


def windowed(trial: int, tokens: int) -> Reported:
    report = reported(trial, tokens).report
    return Reported(0.0, replace(report, points=(Point(tokens, 2.0, 2.0, 2.0),)))


def test_decisions_are_paired_with_what_they_judged() -> None:
    decision = Decision(3, 0, 0, 20, 21, 2.0, None, None, None, 1, True, "first")
    past = [reported(3, 21), reported(4, 21), Decided(0.0, decision), reported(3, 63)]
    assert list(decisions_of(past)) == [(decision, EVALUATION)]


@pytest.mark.parametrize(("end", "lost"), [("halved", False), ("diverged", True), ("failed", True)])
def test_the_next_command_measures_nobody_against_a_lost_trial(end: Status, lost: bool) -> None:
    first, *_ = rung_tokens(EXP4.halving, EXP4.base.run.max_tokens)
    leading = Decision(0, 0, 0, first, first, 2.0, None, None, None, 1, True, "the first")
    past: list[Event] = [TrialStarted(0.0, 0, 0, {}, {}), reported(0, first), Decided(0.0, leading)]
    past.append(Ended(0.0, Outcome(0, end, "", first, 9, 0, 2.0, 0.1, 1.0, 0.1, None)))
    second = replace(EVALUATION, nll=2.5, example_nll=(2.5, 2.5))
    decision = rungs_of(EXP4, past, replay(past)).decide(1, first, second)
    assert decision is not None
    assert decision.cutoff == (None if lost else 2.0)


@pytest.mark.parametrize(("end", "lost"), [("finished", False), ("diverged", True)])
def test_a_halved_trial_that_is_lost_on_its_way_to_the_end_measures_nobody(end: Status, lost: bool) -> None:
    first, *_ = rung_tokens(EXP4.halving, EXP4.base.run.max_tokens)
    stopping = Decision(0, 0, 0, first, first, 2.0, 1.9, None, None, 2, False, "behind")
    past: list[Event] = [TrialStarted(0.0, 0, 0, {}, {}), reported(0, first), Decided(0.0, stopping)]
    past.append(Ended(0.0, Outcome(0, "halved", "", first, 9, 0, 2.0, 0.1, 1.0, 0.1, None)))
    past += [TrialStarted(0.0, 1, 0, {}, {}, None, 0), reported(1, first)]
    past.append(Ended(0.0, Outcome(1, end, "", first, 9, 0, 2.0, 0.1, 1.0, 0.1, None)))
    second = replace(EVALUATION, nll=2.5, example_nll=(2.5, 2.5))
    decision = rungs_of(EXP4, past, replay(past)).decide(2, first, second)
    assert decision is not None
    assert decision.cutoff == (None if lost else 2.0)


def test_runs_of_a_trial_again_are_nobodys_peers() -> None:
    again: tuple[tuple[int | None, int | None], ...] = ((None, None), (0, None), (None, 0))
    known = []
    for confirms, finishes in again:
        past: list[Event] = [TrialStarted(0.0, 3, 0, {}, {}, confirms, finishes), windowed(3, 6_000)]
        known.append(len(peers_of(EXP4, past, replay(past))._seen))
    assert known == [1, 0, 0]


def test_a_crash_between_ledger_and_study_is_mended(tmp_path: Path) -> None:
    study = Study.open(load_experiment("exp4", "laptop"), tmp_path)
    number, params = study.ask()
    other, other_params = study.ask()
    past = [
        TrialStarted(0.0, number, 0, params, {}),
        TrialStarted(0.0, other, 0, other_params, {}),
        reported(number, 180),
        Ended(0.0, Outcome(number, "finished", "done", 180, 9, 0, 2.0, 0.1, 1.0, 0.1, "weights")),
        Ended(0.0, Outcome(other, "cancelled", "stopped", 0, 0, 0, None, None, 0.0, 0.0, None)),
    ]
    reconcile(study, replay(past), list(past))
    assert [running for running, _ in study.running()] == [other]
    reconcile(study, replay(past), list(past))
    assert study.count() == 2
