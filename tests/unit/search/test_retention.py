from dataclasses import replace
from pathlib import Path

from immutables import Map

from search.events import Ended, Reported, WeightsRemoved
from search.ledger import FILE_NAME, Ledger, read_events
from search.recorder import Recorder
from search.retention import Keeper, kept_weights, surplus
from search.standing import best
from search.state import SearchState, replay
from search.summary import summarise
from search.trial_state import TrialState
from spaces.experiment import BudgetConfig, ConfirmConfig
from tests.unit.search.recorded import (
    MAX_TOKENS,
    a_repeat,
    confirmed_search,
    experiment,
    outcome,
    report,
    small_search,
    trial_started,
)


def test_weights_of_the_best_stay_and_those_of_the_others_are_surplus() -> None:
    state = replay(small_search())
    assert surplus(state, 2, [0, 1]) == []
    assert surplus(state, 1, [0, 1]) == [0], "trial 1 is the better one"


def test_the_trial_that_other_seeds_decided_for_stays_and_its_repeats_do_not() -> None:
    state = replay(confirmed_search(3.5, 2.7, 3.6, 2.8))  # trial 0 is the better one after all
    weights = [n for n, trial in state.trials.items() if trial.checkpoint is not None]
    assert surplus(state, 1, weights) == [4, 5, 6, 7]


def test_a_confirmed_trial_keeps_its_weights_whatever_newcomers_of_an_extended_search_say() -> None:
    events = confirmed_search(2.7, 2.9, 2.6, 2.8)
    for newcomer, nll in ((8, 2.4), (9, 2.3)):
        events += [
            trial_started(1300.0 + newcomer, newcomer),
            Reported(1310.0 + newcomer, report(newcomer, MAX_TOKENS, nll)),
            Ended(1320.0 + newcomer, outcome(newcomer, "finished", MAX_TOKENS, nll)),
        ]
    state = replay(events)
    assert best(state).trial == 9, "not confirmed yet"  # type: ignore[union-attr]
    assert surplus(state, 2, [0, 1, 8, 9]) == []
    for i, (confirms, seed) in enumerate(((9, 1), (8, 1), (9, 2), (8, 2))):
        events += a_repeat(10 + i, confirms, seed, 3.5, start=1400.0 + 10 * i)
    state = replay(events)
    assert best(state).trial in (0, 1), "the newcomers were lucky"  # type: ignore[union-attr]
    assert surplus(state, 2, [0, 1, 8, 9]) == []


def test_never_fewer_are_kept_than_are_confirmed() -> None:
    one = replace(experiment(), budget=BudgetConfig(keep_weights=1), confirm=ConfirmConfig(top=3))
    assert kept_weights(one) == 3
    assert kept_weights(replace(one, budget=BudgetConfig(keep_weights=7))) == 7


def test_removed_weights_are_gone_from_disk_ledger_and_summary(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME)
    for event in small_search():
        ledger.append(event)
    trials = tmp_path / "trials"
    for number in (0, 1, 2):
        (trials / f"{number:04d}" / "weights").mkdir(parents=True)
    recorder = Recorder(ledger, replay(small_search()), ())
    for _ in range(2):
        Keeper(recorder, trials, 1).sweep()
    assert [path.parent.name for path in trials.glob("*/weights")] == ["0001"]
    events = list(read_events(tmp_path / FILE_NAME))
    assert [event.trial for event in events if isinstance(event, WeightsRemoved)] == [0]
    assert replay(events).trials[0].checkpoint is None
    best = summarise(replay(events), experiment(), tmp_path, {})["best"]
    assert best is not None
    assert best["checkpoint"] == str(tmp_path / "trials" / "0001")
    ledger.close()


def test_a_removal_that_a_crash_interrupted_is_finished(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME)
    recorder = Recorder(ledger, replay([*small_search(), WeightsRemoved(1.0, 0)]), ())
    left = tmp_path / "trials" / "0000" / "weights"
    left.mkdir(parents=True)
    Keeper(recorder, tmp_path / "trials", 1).sweep()
    assert not left.exists()
    assert not list(read_events(tmp_path / FILE_NAME)), "it was written down before"
    ledger.close()


def test_an_end_removes_what_it_makes_superfluous(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME)
    recorder = Recorder(ledger, replay(small_search()), ())
    for number in (0, 1):
        (tmp_path / f"{number:04d}" / "weights").mkdir(parents=True)
        (tmp_path / f"{number:04d}" / "checkpoints" / "tokens-1").mkdir(parents=True)
    keeper = Keeper(recorder, tmp_path, 1)
    keeper.ended(0)
    assert (tmp_path / "0000" / "weights").exists(), "nobody has better ones yet"
    keeper.ended(1)
    assert not (tmp_path / "0000" / "weights").exists()
    assert not list(tmp_path.glob("*/checkpoints"))
    ledger.close()


def test_only_trials_that_go_on_keep_their_checkpoints(tmp_path: Path) -> None:
    statuses = ("finished", "halved", "diverged", "overflowing", "failed", "cancelled", "running")
    ledger = Ledger(tmp_path / FILE_NAME)
    trials = Map({i: TrialState(i, {}, {}, 0.0, status=s) for i, s in enumerate(statuses)})  # type: ignore[arg-type]
    for number in trials:
        (tmp_path / f"{number:04d}" / "checkpoints" / "tokens-1").mkdir(parents=True)
    Keeper(Recorder(ledger, SearchState(trials=trials), ()), tmp_path, 1).sweep()
    kept = {statuses[int(folder.parent.name)] for folder in tmp_path.glob("*/checkpoints")}
    assert kept == {"cancelled", "running"}
    ledger.close()
