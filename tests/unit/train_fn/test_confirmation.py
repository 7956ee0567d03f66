import math
import statistics
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from train_fn.confirmation import T_975, Candidate, SeedRun, confirmation, pooled_spread
from train_fn.report import Evaluation

TOKENS = (10, 30, 20, 40)


def evaluation(nll: float, spread: float = 0.0) -> Evaluation:
    """Examples whose mean per token is `nll`; with a spread, hard for this run alone."""
    own = (spread, -spread, spread, 0.0)
    return Evaluation(nll, 0.1, tuple(nll + x for x in own), TOKENS, 0.1)


def run(seed: int, nll: float | None, status: str = "finished", **changes: float) -> SeedRun:
    made = SeedRun(seed, status, None if nll is None else evaluation(nll), 0, 100, 10.0)
    return replace(made, **changes)  # type: ignore[arg-type]


def candidate(trial: int, *nlls: float, **changes: float) -> Candidate:
    own, *others = [run(seed, nll, **changes) for seed, nll in enumerate(nlls)]
    return Candidate(trial, own, tuple(others))


def test_the_points_of_students_t_are_the_tables() -> None:
    assert pytest.approx([stats.t.ppf(0.975, d) for d in range(1, len(T_975) + 1)], abs=6e-4) == T_975


@given(st.lists(st.lists(st.floats(0, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_pooled_spread_is_that_of_an_analysis_of_variance(groups: list[list[float]]) -> None:
    if all(len(group) == 1 for group in groups):
        return
    spread = pooled_spread(groups)
    weighted = [(len(g) - 1) * statistics.variance(g) for g in groups if len(g) > 1]
    assert spread.degrees == sum(map(len, groups)) - len(groups)
    assert spread.sd**2 == pytest.approx(sum(weighted) / spread.degrees, abs=1e-9)


def test_means_have_the_pooled_error_and_the_lowest_leads() -> None:
    found = confirmation([candidate(4, 3.00, 3.02, 3.01), candidate(7, 3.5, 3.5, 3.5)])
    assert found is not None
    first, second = found.confirmed
    assert (first.trial, first.seeds, first.nlls) == (4, (0, 1, 2), (3.00, 3.02, 3.01))
    assert first.mean == pytest.approx(3.01)
    sd = math.sqrt(2 * 0.01**2 / 4)
    assert first.stderr == second.stderr == pytest.approx(sd / math.sqrt(3))
    assert found.lead is not None
    assert found.lead.nll == pytest.approx(0.49)
    assert found.lead.noise == pytest.approx(2.776 * sd * math.sqrt(2 / 3))
    assert (found.best, found.tied, found.preferred_for) == (4, (4,), "")


def test_the_noise_of_a_lead_counts_conversations() -> None:
    def lead(conversations: tuple[int, ...]) -> float:
        spreads = (2.0, 2.0, -2.0, -2.0)
        odd = Evaluation(3.5, 0.1, tuple(3.5 + x for x in spreads), (10,) * 4, 0.1, conversations)
        even = Evaluation(3.0, 0.1, (3.0,) * 4, (10,) * 4, 0.1, conversations)
        runs = [[replace(run(seed, 3.0), evaluation=one) for seed in (0, 1)] for one in (even, odd)]
        found = confirmation([Candidate(k, own, (other,)) for k, (own, other) in enumerate(runs)])
        assert found is not None
        assert found.lead is not None
        return found.lead.noise

    assert lead((0, 0, 1, 1)) > 1.5 * lead(())


def test_the_noise_of_examples_is_in_the_noise_of_a_lead() -> None:
    quiet = [candidate(0, 3.0, 3.02), candidate(1, 3.5, 3.52)]
    odd = tuple(
        replace(r, evaluation=evaluation(r.evaluation.nll, 2.0)) for r in (quiet[1].own, *quiet[1].repeats)
    )  # type: ignore[union-attr]
    loud = [quiet[0], Candidate(1, odd[0], odd[1:])]
    leads = [found.lead for found in map(confirmation, (quiet, loud)) if found is not None]
    assert leads[0] is not None
    assert leads[1] is not None
    assert leads[0].nll == pytest.approx(leads[1].nll)
    assert leads[0].clear
    assert not leads[1].clear


def test_a_lucky_first_run_does_not_win() -> None:
    found = confirmation([candidate(0, 3.0, 3.5, 3.6), candidate(1, 3.1, 3.11, 3.1)])
    assert found is not None
    assert [one.trial for one in found.confirmed] == [1, 0]
    assert found.best == 1


@given(st.permutations([(0, 3.0, 3.2), (1, 3.1, 3.0), (2, 3.05, 3.1), (3, 3.3, 3.4)]))
def test_the_order_of_the_candidates_changes_nothing_but_whose_seeds_must_have_ended(
    order: list[tuple[int, float, float]],
) -> None:
    def decide(rows: list[tuple[int, float, float]]) -> object:
        return confirmation([candidate(trial, *nlls) for trial, *nlls in rows])

    assert decide(order) == decide(sorted(order))


@pytest.mark.parametrize(
    ("calm", "quick", "even", "best", "why"),
    [
        ((5, 0), (1.0, 9.0), (0.1, 0.3), 1, "clearly fewer spikes and overflows per step"),
        ((11, 5), (1.0, 9.0), (0.1, 0.3), 1, "clearly fewer spikes and overflows per step"),
        ((4, 0), (1.0, 9.0), (0.3, 0.1), 0, "shorter training"),
        ((10, 5), (1.0, 9.0), (0.3, 0.1), 0, "shorter training"),
        ((2, 2), (1.0, 9.0), (0.3, 0.1), 0, "shorter training"),
        ((2, 2), (9.0, 8.5), (0.1, 0.3), 0, "the smaller spread over seeds"),
        ((2, 2), (8.5, 9.0), (0.3, 0.1), 1, "the smaller spread over seeds"),
    ],
)
def test_of_a_tie_the_calm_then_the_quick_then_the_even_one_is_preferred(
    calm: tuple[int, int], quick: tuple[float, float], even: tuple[float, float], best: int, why: str
) -> None:
    pair = [
        candidate(i, 3.0 - even[i], 3.0, 3.0 + even[i], troubles=calm[i], train_s=quick[i]) for i in (0, 1)
    ]
    found = confirmation(pair)
    assert found is not None
    assert (found.tied, found.best, found.preferred_for) == ((0, 1), best, why)


def test_troubles_count_by_the_steps_they_are_of() -> None:
    # A batch of 4 takes 64 times as many steps as one of 256: one step in 500 spikes, and one in eight.
    small = candidate(0, 3.0, 3.1, 3.2, troubles=33, steps=16_600)
    large = candidate(1, 3.01, 3.1, 3.2, troubles=32, steps=260)
    found = confirmation([small, large])
    assert found is not None
    assert (found.best, found.preferred_for) == (0, "clearly fewer spikes and overflows per step")


def test_a_tie_ends_at_the_first_trial_that_is_clearly_behind() -> None:
    # The third makes other mistakes than the first two: it is further behind, but less surely so.
    trials = []
    for i, (nll, spread) in enumerate(((3.0, 0.0), (3.1, 0.0), (3.2, 2.0))):
        runs = [
            replace(run(seed, nll, troubles=10 * (2 - i)), evaluation=evaluation(nll, spread))
            for seed in (0, 1)
        ]
        trials.append(Candidate(i, runs[0], (runs[1],)))
    found = confirmation(trials)
    assert found is not None
    assert found.lead is not None
    assert found.lead.clear
    assert (found.best, found.tied, found.preferred_for) == (0, (0,), "")
    without_second = confirmation([trials[0], trials[2]])
    assert without_second is not None
    assert (without_second.best, without_second.tied) == (2, (0, 2))


@pytest.mark.parametrize("status", ["diverged", "overflowing"])
def test_a_trial_that_is_doomed_with_another_seed_is_not_confirmed(status: str) -> None:
    shaky = Candidate(0, run(0, 2.0), (run(1, 2.0), run(2, None, status)))
    found = confirmation([shaky, candidate(1, 3.0, 3.1)])
    assert found is not None
    assert (found.best, [one.trial for one in found.confirmed]) == (1, [1])
    assert [(one.trial, one.ends) for one in found.unstable] == [(0, ((2, status),))]
    assert found.lead is None
    alone = confirmation([shaky])
    assert alone is not None
    assert (alone.best, alone.confirmed, alone.of(0)) == (0, (), None)


@pytest.mark.parametrize("status", ["running", "cancelled", "failed"])
def test_runs_that_did_not_end_by_themselves_say_nothing(status: str) -> None:
    waiting = Candidate(0, run(0, 3.0), (run(1, 9.0, status),))
    assert confirmation([waiting, candidate(1, 3.1, 3.1)]) is None
    half = Candidate(0, run(0, 3.0), (run(1, 9.0, status), run(2, 3.2)))
    found = confirmation([half])
    assert found is not None
    assert found.confirmed[0].nlls == (3.0, 3.2)


def test_without_other_seeds_nothing_is_decided() -> None:
    assert confirmation([]) is None
    assert confirmation([candidate(0, 3.0), candidate(1, 3.1, 3.2)]) is None
    found = confirmation([candidate(1, 3.1, 3.2), candidate(0, 3.15)])
    assert found is not None
    assert [one.trial for one in found.confirmed] == [1]


def test_more_seeds_make_a_lead_surer() -> None:
    noises = []
    for n in (2, 3, 5):
        found = confirmation([candidate(i, *(3 + i + 0.1 * (-1) ** k for k in range(n))) for i in (0, 1)])
        assert found is not None
        assert found.lead is not None
        noises.append(found.lead.noise)
    assert all(fewer > more for fewer, more in pairwise(noises))
