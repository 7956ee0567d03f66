from dataclasses import replace

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from search.halving import Decision, Halving
from search.scheduler import TokenHalving
from search.stalled import Peers, StallRule
from spaces.experiment import HalvingConfig
from tests.unit.search.test_halving import evaluation
from train_fn.doom import Verdict
from train_fn.report import Point, Report

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


def trial(number: int, confirms: int | None = None, finishes: int | None = None) -> Trial:
    config = {"trial": number, "params": {}, "confirms": confirms, "finishes": finishes}
    return Trial("slot", config=config, stub=True)


def report(number: int, tokens: int, nll: float | None = None) -> Report:
    return Report(
        trial=number,
        tokens_seen=tokens,
        steps=1,
        window_steps=1,
        loss=3.0,
        points=(),
        lr=1e-3,
        grad_norm=1.0,
        loss_scale=0.0,
        overflow_steps=0,
        window_overflow_rate=0.0,
        spikes=0,
        trend="flat",
        tokens_per_s=1.0,
        train_s=1.0,
        start_overhead_s=1.0,
        eval=None if nll is None else evaluation(nll),
    )


@pytest.fixture
def made() -> list[Decision]:
    return []


@pytest.fixture
def stalled() -> list[Verdict]:
    return []


@pytest.fixture
def scheduler(made: list[Decision], stalled: list[Verdict]) -> TokenHalving:
    config = HalvingConfig(first_rung_tokens=100, noise_band=0)
    peers = Peers(StallRule(), max_tokens=900, window_tokens=100)
    return TokenHalving(Halving(config, max_tokens=900), made.append, peers, stalled.append)


def test_a_trial_that_loses_its_rung_is_stopped_and_stays_stopped(
    scheduler: TokenHalving, made: list[Decision]
) -> None:
    first, second = trial(0), trial(1)
    assert scheduler.on_trial_result(None, first, {"report": report(0, 100, 2.0)}) == CONTINUE
    assert scheduler.on_trial_result(None, second, {"report": report(1, 50)}) == CONTINUE
    assert scheduler.on_trial_result(None, second, {"report": report(1, 100, 3.0)}) == STOP
    assert scheduler.on_trial_result(None, second, {"report": report(1, 150)}) == STOP
    assert [(d.trial, d.keep) for d in made] == [(0, True), (1, False)]


@pytest.mark.parametrize("again", [trial(3, confirms=0), trial(3, finishes=0)])
def test_a_run_of_a_trial_again_is_neither_stopped_nor_counted(
    again: Trial, scheduler: TokenHalving, made: list[Decision]
) -> None:
    for number in range(3):
        scheduler.on_trial_result(None, trial(number), {"report": report(number, 100, 2.0)})
    for tokens in (100, 300, 900):
        assert scheduler.on_trial_result(None, again, {"report": report(3, tokens, 9.0)}) == CONTINUE
    scheduler.on_trial_result(None, trial(4), {"report": report(4, 100, 2.0)})
    assert [(d.trial, d.peers) for d in made] == [(0, 1), (1, 2), (2, 3), (4, 4)]


def test_other_messages_go_on(scheduler: TokenHalving, made: list[Decision]) -> None:
    assert scheduler.on_trial_result(None, trial(0), {"outcome": object(), "done": True}) == CONTINUE
    assert made == []
    assert not scheduler.supports_buffered_results


def test_the_rungs_are_named_and_saving_is_harmless(scheduler: TokenHalving) -> None:
    assert scheduler.debug_string() == "Halving on tokens seen, rungs at 100, 170, 289, 491"
    scheduler.save("/nowhere/scheduler.pkl")
    scheduler.restore("/nowhere/scheduler.pkl")


def test_a_trial_that_stalls_far_above_its_peers_is_stopped_between_rungs(
    scheduler: TokenHalving, made: list[Decision], stalled: list[Verdict]
) -> None:
    def say(number: int, tokens: int, level: float) -> str:
        points = (Point(tokens, level, level, level),)
        told = replace(report(number, tokens), loss=level, points=points, steps=tokens)
        return scheduler.on_trial_result(None, trial(number), {"report": told})

    for number in range(6):
        assert [say(number, tokens, 2.0 + 0.1 * number) for tokens in (110, 210, 310)] == [CONTINUE] * 3
    assert [say(6, tokens, 3.5) for tokens in (110, 210)] == [CONTINUE, STOP]
    assert made == []
    assert stalled[0].status == "diverged"
    assert stalled[0].reason == (
        "stopped at 210 tokens: loss 3.50 is stalled above 3.45, where 6 other trials have a median "
        "of 2.30 at equal tokens"
    )
