from dataclasses import replace
from pathlib import Path

from immutables import Map

from search.events import Decided, Ended, Reported, TrialStarted
from search.halving import Decision
from search.state import SearchState, replay
from search.study import Study
from search.trial_state import TrialState
from search.tuner import _decisions, _reconcile, is_complete, with_rungs
from spaces.experiment import BudgetConfig
from spaces.load import load_experiment
from spaces.override import override
from tests.unit.search.recorded import confirmed_search, experiment, small_search
from train_fn.report import Evaluation, Outcome, Report

EVALUATION = Evaluation(2.0, 0.1, (2.0, 2.0), (3, 3), 0.1)


def test_trials_are_evaluated_at_the_rungs_and_where_the_user_asked() -> None:
    laptop = override(load_experiment("exp4", "laptop"), ["run.eval_at_tokens=30000"])
    assert with_rungs(laptop).base.run.eval_at_tokens == (13_000, 22_100, 30_000, 37_570, 63_869)
    assert with_rungs(with_rungs(laptop)) == with_rungs(laptop)


def test_a_search_is_complete_when_enough_trials_ended_by_themselves() -> None:
    def state(*statuses: str, search: str = "finished") -> SearchState:
        return SearchState(
            trials=Map({i: TrialState(i, {}, {}, 0.0, status=s) for i, s in enumerate(statuses)}),  # type: ignore[arg-type]
            status=search,
        )

    two = override(load_experiment("exp4", "laptop"), ["budget.trials=2", "confirm.top=0"])
    assert is_complete(state("finished", "halved"), two)
    assert not is_complete(state("finished", "halved", search="running"), two), (
        "it crashed at the last moment"
    )
    assert not is_complete(state("finished", "cancelled"), two)
    assert not is_complete(state("finished", "failed"), two)
    assert not is_complete(state("finished"), two)


def test_a_search_is_complete_when_its_best_trials_are_confirmed() -> None:
    small = replace(experiment(), budget=BudgetConfig(trials=4))
    whole = replay(confirmed_search(2.5, 2.9, 2.6, 2.8))
    assert is_complete(whole, small)
    assert not is_complete(replay(small_search()), small)
    assert is_complete(replay(small_search()), override(small, ["confirm.top=0"]))
    assert not is_complete(whole, override(small, ["confirm.seeds=3"]))
    assert not is_complete(whole, override(small, ["budget.trials=5"]))


def reported(trial: int, tokens: int) -> Reported:
    report = Report(
        trial, tokens, 1, 1, 2.0, (), 0.1, 0.5, 0.0, 0, 0.0, 0, "flat", 9.0, 1.0, 0.2, EVALUATION
    )  # fmt: skip
    return Reported(0.0, report)


def test_decisions_are_paired_with_what_they_judged() -> None:
    decision = Decision(3, 0, 0, 20, 21, 2.0, None, None, None, 1, True, "first")
    past = [reported(3, 21), reported(4, 21), Decided(0.0, decision), reported(3, 63)]
    assert list(_decisions(past)) == [(decision, EVALUATION)]


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
    _reconcile(study, replay(past), list(past))
    assert [running for running, _ in study.running()] == [other]
    _reconcile(study, replay(past), list(past))
    assert study.count() == 2
