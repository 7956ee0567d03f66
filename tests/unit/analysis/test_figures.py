import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from analysis.figures import Box, Spot, doomed_region, kept_for_noise, ladder, lr_batch_map
from analysis.rank import answer
from analysis.records import Decision, SearchRecord, TrialRecord
from tests.unit.analysis.conftest import with_trials
from tests.unit.analysis.written import DOOMED_LR, FIRST_RUNG

UNIT = Box(0.0, 1.0, 0.0, 1.0)


def spot(x: float, y: float, trial: TrialRecord, doomed: bool) -> Spot:
    status = "diverged" if doomed else "finished"
    return Spot(replace(trial, status=status), "doomed" if doomed else "finished", x, y)  # type: ignore[arg-type]


def area(boxes: tuple[Box, ...]) -> float:
    return sum((box.right - box.left) * (box.top - box.bottom) for box in boxes)


def test_the_doomed_region_is_where_the_nearest_trial_was_doomed(search: SearchRecord) -> None:
    trial = search.trial(0)
    region = doomed_region([spot(0.25, 0.5, trial, False), spot(0.75, 0.5, trial, True)], UNIT)
    assert math.isclose(area(region), 0.5)
    assert min(box.left for box in region) == 0.5
    assert max(box.right for box in region) == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=8))
def test_a_region_never_overlaps_itself_and_fills_the_map_with_its_opposite(
    search: SearchRecord, places: list[tuple[float, float, bool]]
) -> None:
    trial = search.trial(0)
    spots = {(x, y): spot(x, y, trial, doomed) for x, y, doomed in places}
    opposite = [spot(x, y, trial, not one.trial.doomed) for (x, y), one in spots.items()]
    region = doomed_region(list(spots.values()), UNIT)
    assert math.isclose(area(region) + area(doomed_region(opposite, UNIT)), 1.0, abs_tol=1e-9)


def test_the_map_of_a_search_shades_its_high_learning_rates(search: SearchRecord) -> None:
    drawn = lr_batch_map(search, answer(search).best)
    assert drawn is not None
    assert {spot.trial.number for spot in drawn.spots} == {t.number for t in search.trials}
    assert drawn.batches == (4, 16, 64)
    assert drawn.doomed
    assert min(box.left for box in drawn.doomed) > math.log10(DOOMED_LR) - 1.5
    best = answer(search).best
    assert best is not None
    assert drawn.nll_low <= (best.eval_nll or 0.0) < drawn.nll_high
    assert [spot.trial for spot in drawn.spots if spot.group == "best"] == [best]


def test_there_is_no_map_of_one_learning_rate(search: SearchRecord) -> None:
    assert lr_batch_map(with_trials(search, 0), None) is None


def test_rungs_count_every_decision(search: SearchRecord) -> None:
    found = ladder(search, None)
    assert [rung.tokens for rung in found.rungs] == [FIRST_RUNG, 3 * FIRST_RUNG]
    for rung in found.rungs:
        here = [d for d in search.decisions if d.rung == rung.rung]
        assert rung.arrived == len(here) == rung.kept + rung.stopped
        assert rung.stopped == sum(not d.keep for d in here)
    assert sum(rung.stopped for rung in found.rungs) == dict(answer(search).counts)["halved"]
    assert found.decisions == search.decisions


def test_evaluations_lie_within_the_frame_but_for_a_few(search: SearchRecord) -> None:
    found = ladder(search, None)
    values = [nll for line in found.lines for nll in line.nll]
    assert len(values) == sum(len(trial.evals) for trial in search.trials)
    assert found.low < min(values)
    assert sum(value > found.high for value in values) <= 0.05 * len(values) + 1


def decision(value: float, cutoff: float | None, keep: bool) -> Decision:
    return Decision(0, 0, 0, 10, 10, value, cutoff, None, None, 2, keep, "")


def test_a_survivor_behind_the_cutoff_was_kept_for_noise() -> None:
    assert kept_for_noise(decision(3.1, 3.0, True))
    assert not kept_for_noise(decision(3.1, 3.0, False))
    assert not kept_for_noise(decision(2.9, 3.0, True))
    assert not kept_for_noise(decision(2.9, None, True))


def test_a_halved_trial_and_its_run_to_the_end_are_one_spot(search: SearchRecord) -> None:
    halved = next(trial for trial in search.trials if trial.status == "halved")
    again = replace(halved, number=99, status="diverged", finishes=halved.number)
    drawn = lr_batch_map(replace(search, trials=(*search.trials, again)), None)
    before = lr_batch_map(search, None)
    assert drawn is not None
    assert before is not None
    numbers = {spot.trial.number for spot in before.spots}
    assert {spot.trial.number for spot in drawn.spots} == (numbers - {halved.number}) | {99}


def test_a_run_that_confirms_a_trial_is_no_second_spot_but_a_line_of_its_own(seeded: SearchRecord) -> None:
    best = answer(seeded).best
    drawn = lr_batch_map(seeded, best)
    assert drawn is not None
    assert {spot.trial.number for spot in drawn.spots} == {trial.number for trial in seeded.tried}
    lines = ladder(seeded, best).lines
    assert {t.number for t in seeded.repeats} <= {line.trial.number for line in lines}
    assert [line.trial for line in lines if line.group == "best"] == [best]
