"""What holds for every search, whatever its curves look like and in whichever order they come."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from search.halving import Halving
from search.standing import best
from spaces.experiment import HalvingConfig, ParamValue
from tests.simulation.simulator import RandomProposer, Simulated, known, simulate
from tests.simulation.world import EVAL_EXAMPLES, MAX_TOKENS, WINDOW_TOKENS, World, experiment
from train_fn.report import Evaluation

WINDOWS = MAX_TOKENS // WINDOW_TOKENS
STEPS_PER_WINDOW = 6
FIRST_LOSS, LOST = 4.0, 9.0


@dataclass(frozen=True)
class Shape:
    """One curve: an exponential approach to a floor, up to the window where it is lost, if it ever is."""

    floor: float
    pace: float
    """Windows for the first 63% of the way."""
    lost_at: int | None = None
    finite: bool = True
    """Whether a lost curve stays finite."""

    def at(self, windows: float) -> float:
        if self.lost_at is not None and windows > self.lost_at:
            return LOST if self.finite else math.nan
        return self.floor + (FIRST_LOSS - self.floor) * math.exp(-windows / self.pace)


@dataclass(frozen=True)
class Drawn(World):
    """A world whose trials have the given curves, without noise."""

    shapes: tuple[Shape, ...] = ()

    def steps(
        self, trial: int, params: dict[str, ParamValue], window: int, seed: int = 0
    ) -> list[tuple[int, float]]:
        parts = [window + (k + 1) / STEPS_PER_WINDOW for k in range(STEPS_PER_WINDOW)]
        return [(round(part * WINDOW_TOKENS), self.shapes[trial].at(part)) for part in parts]

    def evaluate(self, trial: int, params: dict[str, ParamValue], tokens_seen: int) -> Evaluation:
        nll = self.shapes[trial].at(tokens_seen / WINDOW_TOKENS)
        return Evaluation(nll, 0.01, (nll,) * EVAL_EXAMPLES, (1,) * EVAL_EXAMPLES, 0.1)


def search(shapes: list[Shape], slots: int, **changes: float) -> Simulated:
    plan = experiment(len(shapes))
    plan = replace(plan, halving=replace(plan.halving, **changes))
    halving = Halving(plan.halving, MAX_TOKENS)
    return simulate(plan, Drawn(shapes=tuple(shapes)), RandomProposer(plan, 0), halving, slots)


floors, paces = st.floats(2.0, 3.5), st.floats(2.0, 20.0)
sound = st.builds(Shape, floors, paces)
lost = st.builds(Shape, floors, paces, st.integers(1, int(0.85 * WINDOWS)), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(sound, min_size=1, max_size=8), st.lists(lost, min_size=1, max_size=8), st.data())
def test_a_curve_that_diverges_never_wins_whenever_it_turns(
    good: list[Shape], bad: list[Shape], data: st.DataObject
) -> None:
    shapes = data.draw(st.permutations([*good, *bad]))
    done = search(shapes, data.draw(st.integers(1, 4)), brackets=data.draw(st.integers(1, 3)))
    for outcome in done.outcomes:
        turned = shapes[outcome.trial].lost_at
        reached = outcome.tokens_seen / WINDOW_TOKENS
        assert outcome.status != "finished" or turned is None
        if turned is not None:
            assert reached <= turned + 0.1 * WINDOWS, "found soon after its turn"
    winner = best(known(done, done.outcomes))
    if winner is not None:
        turned = shapes[winner.trial].lost_at
        assert turned is None or winner.tokens_seen <= turned * WINDOW_TOKENS


@settings(max_examples=40, deadline=None)
@given(st.lists(floors, min_size=2, max_size=24, unique=True), paces, st.data())
def test_curves_that_never_cross_have_the_same_winner_in_every_order(
    ends: list[float], pace: float, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(ends))
    slots = data.draw(st.integers(1, 4))
    for arrivals in (ends, order):
        done = search([Shape(floor, pace) for floor in arrivals], slots)
        assert arrivals[done.best.trial] == min(ends), "the best is never lost"
        assert sorted(outcome.trial for outcome in done.outcomes) == list(range(len(ends)))


@settings(max_examples=40, deadline=None)
@given(st.lists(sound, min_size=1, max_size=16), st.integers(1, 4))
def test_a_trial_climbs_its_rungs_in_order_and_pays_for_no_window_after_its_end(
    shapes: list[Shape], slots: int
) -> None:
    done = search(shapes, slots)
    rungs = Halving(HalvingConfig(first_rung_tokens=10_000), MAX_TOKENS).rungs
    for outcome in done.outcomes:
        mine = [decision for decision, _ in done.decisions if decision.trial == outcome.trial]
        assert all(a.rung < b.rung and a.keep for a, b in pairwise(mine))
        assert outcome.status == ("finished" if all(d.keep for d in mine) else "halved")
        paid = MAX_TOKENS if outcome.status == "finished" else rungs[mine[-1].rung]
        assert paid <= outcome.tokens_seen < paid + WINDOW_TOKENS


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_twice_as_many_trials_cost_twice_as_many_tokens(seed: int, slots: int) -> None:
    def spent(trials: int) -> int:
        plan = experiment(trials)
        halving = Halving(plan.halving, MAX_TOKENS)
        return simulate(plan, World(seed), RandomProposer(plan, seed), halving, slots).tokens_spent

    assert 1.5 <= spent(240) / spent(120) <= 2.5
