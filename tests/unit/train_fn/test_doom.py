import math
import random
from collections.abc import Iterable

import pytest

from tests import curves
from tests.bench.doom_rules import TASKSET_BATCH, turn
from train_fn.curve import Curve
from train_fn.doom import DoomConfig, Verdict, judge, say_tokens
from train_fn.errors import InputError

DIVERGING = ("lr_sweep_3e-1", "lr_sweep_1")
CHANCE = 0.68
"""TaskSet's imdb task has two classes: a run that ends at ln 2 = 0.693 has learned nothing."""


def end_of(
    losses: Iterable[float], windows: int = 100, config: DoomConfig | None = None, batch: int = 1
) -> tuple[int, Verdict] | None:
    """Return after how many steps a run is ended, and why."""
    losses = list(losses)
    curve, every = Curve.fresh(batch), max(1, len(losses) // windows)
    for step, loss in enumerate(losses, start=1):
        curve.add(step, loss, 1.0, 0.0, False)
        verdict = judge(curve, config or DoomConfig(), len(losses)) if step % every == 0 else None
        if verdict is not None:
            return step, verdict
    return None


def fp16(steps: Iterable[tuple[float, bool]], loss: float = 3.0, max_tokens: int = 2000) -> Verdict | None:
    curve = Curve.fresh()
    for step, (scale, overflowed) in enumerate(steps, start=1):
        curve.add(step, loss, math.inf if overflowed else 1.0, scale, overflowed)
        verdict = judge(curve, DoomConfig(), max_tokens)
        if verdict is not None:
            return verdict
    return None


def searched(scale: float = 1024.0) -> list[tuple[float, bool]]:
    """Return the first steps of an fp16 run that starts at 2**16 and settles at `scale`."""
    tries = int(16 - math.log2(scale))
    return [(2.0 ** (16 - k), True) for k in range(tries)] + [(scale, False)] * 50


def test_sound_language_model_runs_are_left_alone_and_diverging_ones_are_found() -> None:
    runs = curves.language_model_losses()
    ended = {name: end_of(losses) for name, losses in runs.items()}
    assert {name for name, end in ended.items() if end} == set(DIVERGING)
    for name in DIVERGING:
        step, verdict = ended[name]
        turn = next(k for k, loss in enumerate(runs[name]) if loss > 2 * min(runs[name][: k + 1]))
        assert step - turn <= 0.05 * len(runs[name]), name
        assert verdict.status == "diverged"


def test_fine_tuning_runs_are_left_alone() -> None:
    runs = curves.fine_tuning_losses()
    assert len(runs) == 63
    assert [name for name, losses in runs.items() if end_of(losses)] == []


@pytest.mark.parametrize("task", curves.TASKSET)
def test_taskset_runs_that_learn_are_left_alone_and_exploding_ones_are_found(task: str) -> None:
    runs = curves.taskset_losses(task)
    learned = [run for run in runs if all(map(math.isfinite, run)) and run[-1] < CHANCE]
    exploded = [run for run in runs if not all(map(math.isfinite, run)) or run[-1] > 1.3 * run[0]]
    assert len(learned) > 50
    assert len(exploded) > 100
    assert not any(end_of(run, batch=TASKSET_BATCH) for run in learned)
    for run in exploded:
        end = end_of(run, batch=TASKSET_BATCH)
        assert end is not None
        lost = turn(run, lambda loss, top=1.3 * run[0]: not loss <= top)
        assert end[0] / len(run) - lost <= 0.05


def test_a_loss_that_rises_and_then_is_not_finite_is_one_trouble() -> None:
    lost = [1.8, 2400.0, math.nan, *[math.nan] * 47]
    end = end_of(lost, batch=TASKSET_BATCH)
    assert end is not None
    assert (end[0], end[1].status) == (3, "diverged")
    assert "losses above 2." in end[1].reason
    sound = [1.8] * 20 + [math.nan] + [1.8] * 20 + [2.4, 1.8] * 5
    assert end_of(sound, batch=TASKSET_BATCH) is None


def test_a_loss_that_is_not_finite_in_fp16_is_left_to_the_scaler() -> None:
    curve = Curve.fresh(64)
    for step, loss in enumerate([3.0] * 60 + [9.0, math.nan], start=1):
        curve.add(step, loss, 1.0 if math.isfinite(loss) else math.inf, 1024.0, not math.isfinite(loss))
    assert judge(curve, DoomConfig(), 62) is None


def test_a_sound_fp16_run_is_left_alone() -> None:
    steps = curves.fp16_steps()
    assert len(steps) == 1840
    assert sum(s.overflowed for s in steps) == 20
    assert fp16(((s.scale, s.overflowed) for s in steps), max_tokens=1840) is None


@pytest.mark.parametrize("batch", [4, 16, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_learning_rate_too_high_shows_within_a_few_windows(batch: int, seed: int) -> None:
    noise, steps = random.Random(seed), 2000 // batch
    losses = [4.0] + [8.0 + 3 * math.exp(-k) for k in range(steps)]
    end = end_of([x * (1 + noise.gauss(0, 0.19 / batch**0.5)) for x in losses], windows=30, batch=batch)
    assert end is not None
    assert end[0] <= max(8, 0.1 * steps)
    assert end[1].status == "diverged"
    assert "loss" in end[1].reason


@pytest.mark.parametrize("batch", [2, 4, 64])
def test_noise_around_a_flat_or_falling_curve_ends_nothing(batch: int) -> None:
    noise, ended = random.Random(batch), 0
    for run in range(200):
        fall = 0.3 * (run % 2)
        losses = [(4 - fall * k / 300) * (1 + noise.gauss(0, 0.19 / batch**0.5)) for k in range(300)]
        ended += end_of(losses, windows=30, batch=batch) is not None
    assert ended <= 2, "at most 1%"


@pytest.mark.parametrize("seed", range(5))
def test_a_rise_that_is_noisy_itself_is_found_within_a_twentieth_of_the_run(seed: int) -> None:
    noise = random.Random(seed)
    levels = [8.3 - 0.01 * k for k in range(80)] + [7.5 + k for k in range(80)]
    end = end_of([x * (1 + noise.gauss(0, 0.1)) for x in levels], batch=4)
    assert end is not None
    assert 80 < end[0] <= 81 + 8, "above the first loss from step 81 on"
    assert "losses above" in end[1].reason


def test_a_spike_that_comes_back_is_forgiven_and_one_that_stays_is_not() -> None:
    noise = random.Random(7)
    sound = [3.0 * (1 + noise.gauss(0, 0.03)) for _ in range(1000)]
    for steps in (200, 400, 1000):
        at = 2 * steps // 5
        assert end_of([*sound[:at], 60.0, 20.0, 9.0, *sound[at + 3 : steps]]) is None, steps
    end = end_of([*sound[:400], *(7.0 * x / 3 for x in sound[400:])])
    assert end is not None
    assert 400 < end[0] <= 450


def test_losses_that_are_not_finite_end_a_trial_only_when_they_persist() -> None:
    assert end_of([3.0] * 98 + [math.nan] * 2 + [3.0] * 98, windows=198) is None
    end = end_of([3.0] * 98 + [math.nan] * 98, windows=196)
    assert end is not None
    assert end[1] == Verdict(
        "diverged", "stopped at 101 tokens: loss or gradient not finite for 3 steps in a row"
    )


def test_of_a_run_of_few_steps_two_that_leave_no_doubt_are_enough() -> None:
    falling = [3.0 - 0.01 * k for k in range(40)]
    for worse in (math.nan, 4.5):
        end = end_of([*falling, worse, worse, *falling[:9]])
        assert end is not None
        assert end[0] == 42, worse
        assert end_of([*falling, worse, *falling[-10:]]) is None, "one bad batch"
    assert end_of([*falling, 3.3, 3.3, *falling[-9:]]) is None, "not above the limit"


def test_an_fp16_loss_that_is_not_finite_is_left_to_the_scaler_for_longer() -> None:
    curve = Curve.fresh()
    for step in range(1, 43):
        curve.add(step, 3.0 if step <= 40 else math.inf, 1.0, 1024.0, step > 40)
    assert judge(curve, DoomConfig(), 51) is None


def test_of_a_run_of_many_steps_two_are_not_enough_however_far() -> None:
    assert end_of([3.0] * 400 + [9.0] * 2 + [3.0] * 400, windows=802) is None


def test_a_gradient_norm_that_runs_away_ends_a_trial_before_its_loss_does() -> None:
    def verdict(late_norm: float, late_loss: float) -> Verdict | None:
        curve = Curve.fresh()
        for step in range(1, 101):
            late = step > 90
            curve.add(step, late_loss if late else 3.0, late_norm if late else 1.0, 0.0, False)
        return judge(curve, DoomConfig(), 1000)

    found = verdict(30.0, 3.2)
    assert found is not None
    assert "gradient norm at 30 times its median" in found.reason
    assert verdict(30.0, 2.8) is None, "the loss falls"
    assert verdict(10.0, 3.2) is None


def test_the_search_for_a_scale_is_no_trouble_unless_it_finds_none() -> None:
    assert fp16([(2.0 ** (32 - k), True) for k in range(31)] + [(2.0, False)] * 300) is None
    found = fp16([(2.0 ** max(0, 16 - k), True) for k in range(100)])
    assert found is not None
    assert found.status == "overflowing"
    assert "no loss scale was found" in found.reason


def test_overflows_in_a_row_after_the_search() -> None:
    doomed = [(64.0, True), (32.0, True), (16.0, True), (8.0, True), (4.0, True)]
    found = fp16([*searched(64.0), *doomed])
    assert found is not None
    assert "the last 5 steps overflowed, loss scale down to 4" in found.reason
    assert fp16([*searched(64.0), *doomed[:3], *[(8.0, False)] * 200]) is None


@pytest.mark.parametrize(("window", "hysteresis"), [(100, 2), (20, 2), (10, 1)])
def test_the_rate_the_scaler_itself_causes_is_sound(window: int, hysteresis: int) -> None:
    cycle = [(1024.0, False)] * window + [(2048.0, True)] * hysteresis
    assert fp16([*searched(), *cycle * 30]) is None


def test_a_rate_of_several_times_that_is_overflowing() -> None:
    noise = random.Random(1)
    found = fp16([*searched(), *((1024.0, noise.random() < 0.2) for _ in range(400))])
    assert found is not None
    assert found.status == "overflowing"
    assert "where the loss scaler itself causes 2.0%" in found.reason


def test_a_scale_at_its_floor_and_a_falling_one() -> None:
    at_floor = fp16([*searched(1.0), *[(1.0, True), (1.0, False)] * 20])
    assert at_floor is not None
    assert at_floor.reason.endswith("steps overflowed, loss scale at its floor")
    falling = [(2.0 ** (20 - k), j < 1) for k in range(14) for j in range(20)]
    found = fp16([*searched(2.0**16), *falling])
    assert found is not None
    assert found.status == "overflowing"
    assert "fell 1,024-fold" in found.reason


def test_switched_off_it_judges_nothing() -> None:
    assert end_of([3.0] * 20 + [math.nan] * 50, config=DoomConfig(enabled=False)) is None
    assert judge(Curve.fresh(), DoomConfig(), 100) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("min_steps", 0), ("rise", 0.0), ("patience", 1.5), ("floor", math.inf), ("give_back", -1)],
)
def test_senseless_parameters_are_refused_in_one_line(field: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^doom\.{field} = .* must be .*; its default is") as error:
        DoomConfig(**{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tokens", "words"), [(640, "640"), (12_345, "12.3k"), (812_000, "0.8M"), (4_000_000, "4.0M")]
)
def test_tokens_in_words(tokens: int, words: str) -> None:
    assert say_tokens(tokens) == words
