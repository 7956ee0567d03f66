import math
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.stalled import Peers, StallRule, far_above
from tests.bench.doom_rules import window_report
from tests.curves import TASKSET, fine_tuning_losses, language_model_losses, taskset_losses
from train_fn.curve import Curve
from train_fn.doom import Verdict
from train_fn.report import Point, Report

UNITS = 50
RULE = StallRule()


def report(trial: int, tokens: int, level: float, trend: str = "flat", steps: int = 100) -> Report:
    points = (Point(tokens, level, level, level),)
    return Report(trial, tokens, steps, 1, level, points, 0, 1, 0, 0, 0.0, 0, trend, 1.0, 1.0, 0.0, None)


def peers() -> Peers:
    """Return seven trials that have passed 9 windows of 100 tokens, between 2.0 and 2.6."""
    those = Peers(RULE, max_tokens=1_000, window_tokens=100)
    those.restore((report(k, t, 2 + 0.1 * k), {}) for k in range(7) for t in range(100, 1_000, 100))
    return those


def test_far_is_far_from_the_better_half_and_needs_enough_peers() -> None:
    levels = [2.0, 2.1, 2.2, 2.3, 2.4, 9.0, 9.0]
    assert far_above(3.4, levels, RULE) is None
    assert far_above(3.5, levels, RULE) == pytest.approx(1.5 * 2.3)
    assert far_above(99.0, levels[:5], RULE) is None
    wide = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert far_above(9.4, wide, RULE) is None
    assert far_above(9.5, wide, RULE) == pytest.approx(5 + 1.5 * 2 / 0.6745)


def test_a_stalled_trial_is_ended_when_it_has_lasted() -> None:
    those = peers()
    assert those.judge(report(8, 100, 4.0), {}) is None
    verdict = those.judge(report(8, 200, 4.0), {})
    assert verdict is not None
    assert verdict.status == "diverged"
    told = "loss 4.00 is stalled above 3.45, where 7 other trials have a median of 2.30"
    assert verdict.reason == f"stopped at 200 tokens: {told} at equal tokens"


def test_the_median_named_is_that_of_the_others() -> None:
    those = Peers(StallRule(patience=0.0), max_tokens=1_000, window_tokens=100)
    those.restore((report(k, 100, level), {}) for k, level in enumerate((1.0, 1.1, 1.2, 1.3, 2.9, 3.0, 3.1)))
    verdict = those.judge(report(8, 100, 9.0), {})
    assert verdict is not None
    assert "stalled above 1.95, where 7 other trials have a median of 1.30" in verdict.reason


def test_a_trial_that_falls_or_has_hardly_begun_or_repeats_itself_is_left_alone() -> None:
    those = peers()
    for tokens in range(100, 1_000, 100):
        assert those.judge(report(8, tokens, 4.0, trend="falling, p < 0.01"), {}) is None
        assert those.judge(report(9, tokens, 4.0, steps=15), {}) is None
        assert those.judge(report(10, 100, 4.0), {}) is None


def test_losses_of_another_objective_or_mixture_of_data_are_no_peers() -> None:
    those = peers()
    for other in ({"optim.objective": "clm"}, {"data.weights": (1.0, 2.0)}):
        for tokens in range(100, 1_000, 100):
            assert those.judge(report(8, tokens, 4.0), other) is None
    again = {"optim.objective": "clm", "optim.lr": 1e-3}
    those.restore((report(10 + k, 900, 2 + 0.1 * k), again) for k in range(7))
    assert those.judge(report(20, 900, 9.0), {"optim.objective": "clm", "optim.lr": 1e-2}) is None
    assert those.judge(report(20, 1_000, 9.0), {"optim.objective": "clm"}) is None, "nobody came as far"


@pytest.mark.parametrize("last", [0.7, 0.1])
def test_a_large_batch_is_not_stalled_for_what_its_average_remembers(last: float) -> None:
    """After 31 steps an average over 50 remembers the first; that of its peers, of 500 steps, does not."""
    those = Peers(RULE, max_tokens=60_000, window_tokens=2_000)

    def verdicts(trial: int, batch: int) -> list[Verdict | None]:
        curve, noise = Curve.fresh(batch), random.Random(trial)
        part: list[float] = []
        found = []
        for tokens in range(batch * 30, 60_000, batch * 30):
            level = last + (3.0 - last) * math.exp(-tokens / 2_500)
            part.append(level * (1 + noise.gauss(0, 0.19 / math.sqrt(batch))))
            before = curve.tokens_seen
            curve.add(tokens, part[-1], 1.0, 0.0, False)
            if tokens // 2_000 > before // 2_000:
                found.append(those.judge(window_report(trial, tokens, curve, part), {}))
                part = []
        return found

    for trial in range(8):
        assert not any(verdicts(trial, 4))
    assert not any(verdicts(8, 64))


def test_switched_off_it_ends_nothing() -> None:
    off = Peers(StallRule(enabled=False), max_tokens=1_000, window_tokens=100)
    assert all(
        off.judge(report(k, t, 1.0 + 9 * (k == 7)), {}) is None
        for t in range(100, 900, 100)
        for k in range(8)
    )


@given(st.permutations(range(7)))
def test_the_order_of_the_peers_changes_nothing(order: list[int]) -> None:
    those = Peers(RULE, max_tokens=1_000, window_tokens=100)
    those.restore((report(k, t, 2 + 0.1 * k), {}) for k in order for t in (100, 200))
    other = peers()
    for tokens in (100, 200):
        assert those.judge(report(8, tokens, 4.0), {}) == other.judge(report(8, tokens, 4.0), {})


def ended(curves: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Let all curves run at the same pace; return which are ended, and at which share of the run."""
    those = Peers(RULE, UNITS * 100, 100)
    live = {name: Curve.fresh() for name in curves}
    found = {}
    for unit in range(1, UNITS + 1):
        for number, (name, losses) in enumerate(curves.items()):
            if name not in live:
                continue
            part = losses[(unit - 1) * len(losses) // UNITS : unit * len(losses) // UNITS]
            for k, loss in enumerate(part):
                live[name].add((unit - 1) * 100 + (k + 1) * 100 // len(part), loss, 1.0, 0.0, False)
            if part and those.judge(window_report(number, unit * 100, live[name], part), {}):
                found[name] = unit / UNITS
                del live[name]
    return found


def test_the_recorded_run_that_stalls_is_ended_with_those_that_diverge_and_no_sound_one() -> None:
    sweep = {name: losses for name, losses in language_model_losses().items() if name.startswith("lr")}
    found = ended(sweep)
    assert set(found) == {"lr_sweep_1e-1", "lr_sweep_3e-1", "lr_sweep_1"}
    assert found["lr_sweep_1e-1"] == 0.24, "after 24% of its tokens, as the documentation has it"


@pytest.mark.parametrize("task", TASKSET)
def test_no_taskset_run_that_ends_better_than_chance_is_ended(task: str) -> None:
    runs = {str(k): losses[1:] for k, losses in enumerate(taskset_losses(task)[:250])}
    sound = {name for name, losses in runs.items() if losses[-1] < math.log(2) - 0.01}
    assert len(sound) >= 10
    assert not set(ended(runs)) & sound


def test_of_the_fine_tuning_runs_only_those_far_above_the_others_are_ended() -> None:
    runs = fine_tuning_losses()
    middle = sorted(losses[-1] for losses in runs.values())[len(runs) // 2]
    found = ended(runs)
    assert all(runs[name][-1] > 1.5 * middle for name in found), found
