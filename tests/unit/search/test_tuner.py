from dataclasses import replace
from pathlib import Path

import pytest

from search.events import Ended, Event, SearchEnded, TrialStarted
from search.halving import with_rungs
from search.state import SearchState, replay
from search.study import Repeat, Study
from search.tuner import is_complete
from spaces.experiment import BudgetConfig, ConfirmConfig, Experiment
from spaces.load import load_experiment
from spaces.override import override
from tests.unit.search.recorded import (
    confirmed_search,
    experiment,
    nobody_finished,
    outcome,
    small_search,
    to_its_end,
)
from train_fn.errors import InputError
from train_fn.report import Outcome, Status

TWO = override(load_experiment("exp4", "laptop"), ["budget.trials=2", "confirm.top=0"])
ONE = override(TWO, ["budget.trials=1"])


def test_trials_are_evaluated_at_the_rungs_and_where_the_user_asked() -> None:
    laptop = override(load_experiment("exp4", "laptop"), ["run.eval_at_tokens=30000"])
    assert with_rungs(laptop).base.run.eval_at_tokens == (13_000, 22_100, 30_000, 37_570, 63_869)
    assert with_rungs(with_rungs(laptop)) == with_rungs(laptop)


def recorded(
    folder: Path, *ends: Status, search: str = "finished", final: bool = False
) -> tuple[SearchState, list[Event]]:
    """A search whose trials ended so, one after the other; where `final`, failures are for good."""
    study, past = Study.open(TWO, folder), list[Event]()
    for status in ends:
        number, params = study.ask()
        nll = 2.0 if status in ("finished", "halved") else None
        end = Outcome(number, status, "", 180, 9, 0, nll, nll, 1.0, 0.1, None, final)
        past += [TrialStarted(0.0, number, 0, params, {}), Ended(0.0, end)]
        study.tell(end, {})
    past.append(SearchEnded(0.0, search, 1.0))
    return replay(past), past


@pytest.mark.parametrize(
    ("ends", "search"),
    [
        (("finished", "halved"), "finished"),
        (("finished", "diverged"), "finished"),
        (("finished", "failed", "failed"), "finished"),
        (("failed", "failed", "finished"), "finished"),
        (("failed", "failed", "failed", "failed"), "failed"),
    ],
)
def test_a_search_is_complete_when_enough_trials_ended_for_good(
    ends: tuple[Status, ...], search: str, tmp_path: Path
) -> None:
    past = recorded(tmp_path, *ends, search=search)
    assert is_complete(TWO, tmp_path, *past)
    assert is_complete(override(TWO, ["budget.trials=1"]), tmp_path, *past)
    assert not is_complete(override(TWO, ["budget.trials=3"]), tmp_path, *past), "it may be extended"


@pytest.mark.parametrize(
    ("ends", "search", "why"),
    [
        (("finished", "halved"), "running", "it crashed at the last moment"),
        (("finished", "cancelled"), "interrupted", "the trial goes on"),
        (("finished", "cancelled"), "failed", "its workers refused it, and may not again"),
        (("finished", "halved"), "failed", "its end could not be written down, and may be now"),
        (("finished",), "finished", "the budget is larger now"),
        (("finished", "failed"), "finished", "the trial is tried again"),
        (("failed", "failed", "failed"), "failed", "the second trial is tried again"),
    ],
)
def test_a_search_is_not_complete_while_a_trial_may_go_on(
    ends: tuple[Status, ...], search: str, why: str, tmp_path: Path
) -> None:
    assert not is_complete(TWO, tmp_path, *recorded(tmp_path, *ends, search=search)), why


def test_a_trial_whose_values_always_fail_is_not_waited_for(tmp_path: Path) -> None:
    assert is_complete(TWO, tmp_path, *recorded(tmp_path, "finished", "failed", final=True))
    both = tmp_path / "both"
    assert is_complete(TWO, both, *recorded(both, "failed", "failed", search="failed", final=True))


def test_a_trial_that_was_asked_for_and_never_began_is_left_to_do(tmp_path: Path) -> None:
    past = recorded(tmp_path, "failed", search="failed", final=True)
    Study.open(TWO, tmp_path).ask()
    assert not is_complete(TWO, tmp_path, *past)


def test_a_failure_that_a_crash_kept_from_the_study_is_tried_again(tmp_path: Path) -> None:
    number, params = Study.open(ONE, tmp_path).ask()
    outcome = Outcome(number, "failed", "it broke", 0, 0, 0, None, None, 0.0, 0.0, None)
    past = [TrialStarted(0.0, number, 0, params, {}), Ended(0.0, outcome), SearchEnded(0.0, "failed", 1.0)]
    assert not is_complete(ONE, tmp_path, replay(past), list(past))


def test_a_search_is_complete_when_its_best_trials_are_confirmed(tmp_path: Path) -> None:
    small = replace(experiment(), budget=BudgetConfig(trials=4))
    study = Study.open(small, tmp_path)
    numbers = [study.ask()[0] for _ in range(4)]
    for number in numbers:
        study.tell(outcome(number, "finished", 4000, 2.0), {})
    for repeat in (Repeat(1, 1), Repeat(0, 1), Repeat(1, 2), Repeat(0, 2)):
        number, _ = study.repeat(repeat)
        study.tell(outcome(number, "finished", 4000, 2.0), {})

    def complete(about: Experiment, past: list[Event]) -> bool:
        return is_complete(about, tmp_path, replay(past), past)

    whole = confirmed_search(2.5, 2.9, 2.6, 2.8)
    assert complete(small, whole)
    assert not complete(small, small_search())
    assert complete(override(small, ["confirm.top=0"]), small_search())
    assert not complete(override(small, ["confirm.seeds=3"]), whole)
    assert not complete(override(small, ["budget.trials=5"]), whole)


def test_a_search_in_which_nobody_finished_is_complete_once_a_halved_trial_was_run_to_its_end(
    tmp_path: Path,
) -> None:
    small = replace(experiment(), budget=BudgetConfig(trials=3), confirm=ConfirmConfig(top=0))
    study = Study.open(small, tmp_path)
    statuses: tuple[Status, ...] = ("halved", "halved", "diverged")
    for status in statuses:
        study.tell(outcome(study.ask()[0], status, 2000, 2.0), {})
    past = [*nobody_finished(2.6, 2.4), SearchEnded(1100.0, "finished", 100.0)]
    assert not is_complete(small, tmp_path, replay(past), past)
    number, _ = study.repeat(Repeat(1, None))
    study.tell(outcome(number, "finished", 4000, 2.0), {})
    past += [*to_its_end(number, 1, 2.0), SearchEnded(1200.0, "finished", 100.0)]
    assert is_complete(small, tmp_path, replay(past), past)


def test_a_study_that_lacks_a_trial_of_the_ledger_is_refused(tmp_path: Path) -> None:
    past = recorded(tmp_path / "whole", "finished", "halved")
    with pytest.raises(InputError, match=r"study\.journal lacks trial 0, which the ledger knows"):
        is_complete(TWO, tmp_path / "lost", *past)
