import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.halving import Decision, Halving, rung_tokens
from spaces.experiment import HalvingConfig
from train_fn.paired import paired_difference
from train_fn.report import Evaluation

TOKENS = (3, 10, 1, 7, 20, 5, 2, 12)


def evaluation(nll: float, noise: float = 0.0, seed: int = 0) -> Evaluation:
    """Return an evaluation whose examples differ in difficulty, and from other trials' by `noise`."""
    hard, own = random.Random(1), random.Random(seed)
    examples = [hard.uniform(0, 4) + own.gauss(0, noise) for _ in TOKENS]
    mean = sum(w * x for w, x in zip(TOKENS, examples, strict=True)) / sum(TOKENS)
    examples = [x - mean + nll for x in examples]
    return Evaluation(nll, 0.1, tuple(examples), TOKENS, 0.1)


def halving(**changes: float) -> Halving:
    """Return rungs at 100 and 300 of 900 tokens that let 1 in 3 pass."""
    return Halving(HalvingConfig(**{"eta": 3, "spacing": 3.0, "first_rung_tokens": 100, **changes}), 900)


def run(rungs: Halving, values: list[float], noise: float = 0.0, tokens: int = 100) -> list[Decision]:
    decisions = [rungs.decide(k, tokens, evaluation(v, noise, k)) for k, v in enumerate(values)]
    assert None not in decisions
    return [d for d in decisions if d]


@pytest.mark.parametrize(
    ("first", "spacing", "most", "rungs"),
    [
        (10_000, 1.7, 90_000, (10_000, 17_000, 28_900, 49_130)),
        (10_000, 3, 90_000, (10_000, 30_000)),
        (1_000_000, 3, 20_000_000, (1_000_000, 3_000_000, 9_000_000)),
        (100, 3, 301, (100,)),  # 300 would stop trials that are all but done
        (100, 2, 1000, (100, 200, 400)),
        (100, 3, 100, ()),
    ],
)
def test_rungs(first: int, spacing: float, most: int, rungs: tuple[int, ...]) -> None:
    assert rung_tokens(HalvingConfig(spacing=spacing, first_rung_tokens=first), most) == rungs


def test_plain_halving_keeps_the_best_third_of_the_arrivals_so_far_rounded_up() -> None:
    decisions = run(halving(noise_band=0), [3.0, 2.0, 2.5, 1.9, 1.8, 1.85, 2.2])
    assert [d.keep for d in decisions] == [True, True, False, True, True, True, False]
    assert [d.cutoff for d in decisions] == [None, 3.0, 2.0, 2.5, 2.0, 1.9, 1.9]
    assert [d.peers for d in decisions] == [1, 2, 3, 4, 5, 6, 7]


def test_a_decision_carries_its_numbers_and_a_sentence() -> None:
    decision = run(halving(noise_band=0), [2.0, 2.5])[1]
    assert decision.paired_difference == pytest.approx(0.5)
    assert decision.standard_error == pytest.approx(0.0, abs=1e-12)
    assert (decision.rung, decision.rung_tokens, decision.tokens_seen) == (0, 100, 100)
    assert decision.reason.startswith("stopped at rung 0 (100 tokens), arrival 2: eval NLL 2.5000 misses")


def test_a_trial_is_judged_once_at_each_rung() -> None:
    rungs = halving()
    assert rungs.decide(0, 99, evaluation(2.0)) is None
    first = rungs.decide(0, 120, evaluation(2.0))
    assert first is not None
    assert (first.rung, first.rung_tokens, first.tokens_seen) == (0, 100, 120)
    assert rungs.decide(0, 250, evaluation(1.9)) is None
    second = rungs.decide(0, 310, evaluation(1.8))
    assert second is not None
    assert second.rung == 1
    assert rungs.decide(0, 900, evaluation(1.7)) is None


def test_an_evaluation_past_two_rungs_counts_at_the_higher_one() -> None:
    decision = halving().decide(0, 300, evaluation(2.0))
    assert decision is not None
    assert decision.rung == 1


def test_the_noise_band_keeps_what_is_worse_by_no_more() -> None:
    plain, kind = halving(noise_band=0), halving(noise_band=1.0, extra_survivors=1.0)
    values = [2.0, 2.02, 3.5]
    assert [d.keep for d in run(plain, values, noise=0.3)] == [True, False, False]
    decisions = run(kind, values, noise=0.3)
    assert [d.keep for d in decisions] == [True, True, False]
    assert decisions[1].standard_error is not None
    assert decisions[1].paired_difference is not None
    assert decisions[1].paired_difference <= decisions[1].standard_error
    assert decisions[1].reason.count("within 1 standard error (") == 1, (
        "of two arrivals the cutoff is the best"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1.9, 2.1), min_size=1, max_size=60),
    st.sampled_from([0.0, 0.1, 0.25, 1.0]),
)
def test_extra_survivors_stay_within_their_budget(values: list[float], budget: float) -> None:
    decisions = run(halving(extra_survivors=budget, noise_band=3.0), values, noise=1.0)
    extra = [d.keep and d.cutoff is not None and d.value > d.cutoff for d in decisions]
    assert sum(extra) <= math.ceil(budget * len(values))


def test_the_noise_band_is_for_those_that_may_be_the_best() -> None:
    """Where the cutoff is middling, many that nothing tells from it are far behind the best."""
    rungs = halving(noise_band=1.0, extra_survivors=1.0)
    run(rungs, [1.0, 2.0, 2.02, 3.0], noise=0.3)
    decision = rungs.decide(4, 100, evaluation(2.05, 0.3, 4))
    assert decision is not None
    assert (decision.keep, decision.peers) == (False, 5)
    assert decision.paired_difference is not None
    assert decision.standard_error is not None
    assert decision.paired_difference <= decision.standard_error
    assert "within 1 standard error (" in decision.reason
    assert "but the best 1.0000 by 1.0500, more than 1 standard error (" in decision.reason


def test_the_reason_names_the_band_that_decided() -> None:
    error = run(halving(noise_band=1.5), [1.0, 3.0], noise=0.1)[1]
    assert error.standard_error is not None
    assert error.reason.endswith(f", more than 1.5 standard errors ({1.5 * error.standard_error:.4f})")


def test_one_may_stay_for_the_noise_where_few_have_arrived() -> None:
    decisions = run(halving(noise_band=3.0, extra_survivors=0.25), [2.0, 2.01, 2.02, 2.03], noise=1.0)
    assert [d.keep for d in decisions] == [True, True, False, False]
    assert "of 3 arrivals at most 25% may stay for that and 1 did" in decisions[2].reason


def test_who_is_lost_later_measures_nobody() -> None:
    rungs = halving(noise_band=0)
    assert [one.keep for one in run(rungs, [1.0, 2.0])] == [True, False]
    rungs.ended(0, "diverged")
    decision = rungs.decide(2, 100, evaluation(1.5))
    assert decision is not None
    assert (decision.keep, decision.peers, decision.cutoff) == (True, 2, 2.0)
    assert rungs.stopped(1), "who was stopped is over"
    assert rungs.decide(2, 300, evaluation(1.4)) is not None, "alone at rung 1"


def test_who_is_lost_later_gives_back_its_place_among_those_who_stay_for_the_noise() -> None:
    rungs = halving(noise_band=3.0, extra_survivors=0.25)
    assert [one.keep for one in run(rungs, [2.0, 2.01, 2.02], noise=1.0)] == [True, True, False]
    rungs.ended(1, "overflowing")
    decision = rungs.decide(3, 100, evaluation(2.02, 1.0, 3))
    assert decision is not None
    assert decision.keep


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([1.0, 1.5, 2.0]) | st.floats(0, 10), min_size=1, max_size=40),
    st.integers(0, 40),
    st.integers(1, 3),
    st.sets(st.integers(0, 39)),
)
def test_restored_rungs_decide_as_live_ones(
    values: list[float], cut: int, brackets: int, doomed: set[int]
) -> None:
    """Some trials are lost three trials after they began, or with the command that was killed in between."""
    live, restored = halving(brackets=brackets), halving(brackets=brackets)
    made, lost_before = [], []
    for number, value in enumerate(values):
        if number - 3 in doomed:
            live.ended(number - 3, "failed")
        for tokens in (100, 300):
            seen = evaluation(value, 0.5, number)
            decision = live.decide(number, tokens, seen)
            if decision is not None:
                made.append((decision, seen))
    first_after = made[cut][0].trial if cut < len(made) else len(values)
    lost_before = [one for one in doomed if one + 3 <= first_after]
    statuses = {one: "failed" if one in lost_before else "halved" for one in range(len(values))}
    restored.restore(made[:cut], statuses)
    known = set(lost_before)
    for decision, seen in made[cut:]:
        for one in sorted(doomed - known):
            if one + 3 <= decision.trial:
                restored.ended(one, "failed")
                known.add(one)
        assert restored.decide(decision.trial, decision.tokens_seen, seen) == decision
    assert [restored.stopped(k) for k in range(len(values))] == [live.stopped(k) for k in range(len(values))]


@given(st.lists(st.floats(0, 10), min_size=2, max_size=30, unique=True), st.randoms())
def test_the_best_of_a_rung_is_never_stopped_whenever_it_arrives(
    values: list[float], order: random.Random
) -> None:
    order.shuffle(values)
    decisions = run(halving(), values)
    assert decisions[values.index(min(values))].keep


def test_the_first_to_arrive_is_judged_again_when_others_have_come() -> None:
    rungs = halving(noise_band=0)
    run(rungs, [3.0, 2.0, 2.5, 1.9])
    decision = rungs.decide(0, 300, evaluation(2.9))
    assert decision is not None
    assert (decision.keep, decision.rung, decision.judged_rung, decision.peers) == (False, 1, 0, 4)
    assert (decision.value, decision.cutoff) == (2.9, 2.0)
    assert decision.paired_difference == pytest.approx(1.0), "that of rung 0"
    assert "of 4 arrivals at rung 0 by now, its eval NLL 3.0000 there misses the cutoff" in decision.reason
    assert rungs.stopped(0)
    best = rungs.decide(3, 300, evaluation(1.8))
    assert best is not None
    assert best.keep
    assert best.judged_rung is None
    assert (best.cutoff, best.peers) == (None, 1), "who should not have come so far measures nobody"


def test_the_best_of_the_rung_it_comes_from_is_spared_whatever_came_before() -> None:
    config = HalvingConfig(eta=3, spacing=3.0, first_rung_tokens=100, noise_band=0)
    rungs = Halving(config, 2700)
    ahead_later = [rungs.decide(0, 100, evaluation(3.0)), rungs.decide(0, 300, evaluation(1.5))]
    ahead_early = [rungs.decide(1, 100, evaluation(2.0)), rungs.decide(1, 300, evaluation(1.6))]
    assert [d.keep for d in (*ahead_later, *ahead_early) if d] == [True, True, True, False]
    last = rungs.decide(0, 900, evaluation(1.2))
    assert last is not None
    assert last.keep, "behind at rung 0, where the other one came since, but one of the two must go on"


def test_hindsight_spares_what_the_noise_might_have_hidden() -> None:
    rungs = halving(noise_band=2.0, extra_survivors=0.0)
    run(rungs, [2.02, 2.0, 3.0], noise=0.3)
    assert rungs.decide(0, 300, evaluation(1.9)).keep  # type: ignore[union-attr]


TOLD_APART = st.integers(0, 10_000).map(lambda n: n / 1_000)
"""NLLs whose difference does not vanish beside those of the examples."""


@given(st.lists(TOLD_APART, min_size=2, max_size=30, unique=True), st.randoms(), TOLD_APART)
def test_the_order_of_arrival_changes_nothing_for_the_next(
    values: list[float], order: random.Random, value: float
) -> None:
    """With a noise band it may: the budget of extra survivors goes to who comes first."""

    def next_one(arrivals: list[float]) -> Decision | None:
        rungs = halving(noise_band=0)
        run(rungs, arrivals)
        return rungs.decide(99, 100, evaluation(value))

    shuffled = order.sample(values, len(values))
    mine, other = next_one(values), next_one(shuffled)
    assert mine is not None
    assert mine == other


def test_equal_trials_all_stay() -> None:
    assert all(d.keep for d in run(halving(noise_band=0), [2.0] * 9))


@pytest.mark.parametrize(("brackets", "shares"), [(1, [13]), (2, [10, 3]), (3, [10, 3])])
def test_brackets_share_the_trials_by_number(brackets: int, shares: list[int]) -> None:
    rungs = halving(brackets=brackets)
    counts = [0] * len(shares)
    for trial in range(13):
        counts[rungs.bracket_of(trial)] += 1
    expected = [
        sum(1 for t in range(13) if len(shares) == 1 or (t % 4 < 3) == (b == 0)) for b in range(len(shares))
    ]
    assert counts == expected, "there are two rungs, so at most two brackets; 3 of 4 trials in the first"


def test_a_later_bracket_is_not_judged_at_the_first_rung() -> None:
    rungs = halving(brackets=2)
    late = next(t for t in range(4) if rungs.bracket_of(t) == 1)
    assert rungs.decide(late, 100, evaluation(9.0)) is None
    decision = rungs.decide(late, 300, evaluation(9.0))
    assert decision is not None
    assert (decision.bracket, decision.rung) == (1, 1)


def test_paired_difference_is_that_of_the_nlls_and_its_error_holds() -> None:
    a, b = evaluation(2.3, 0.5, 1), evaluation(2.0, 0.5, 2)
    difference, _ = paired_difference(a, b)
    assert difference == pytest.approx(0.3)
    assert paired_difference(a, a) == (0.0, 0.0)
    # Over many draws of examples the difference scatters by what the standard error says.
    noise, found, errors = random.Random(3), [], []
    for _ in range(400):
        tokens = tuple(noise.randint(1, 30) for _ in range(100))
        hard = [noise.uniform(0, 4) for _ in tokens]
        pair = [Evaluation(0, 0, tuple(h + noise.gauss(m, 0.4) for h in hard), tokens, 0) for m in (0.1, 0)]
        d, e = paired_difference(*pair)
        found.append(d)
        errors.append(e)
    mean = sum(found) / len(found)
    scatter = math.sqrt(sum((d - mean) ** 2 for d in found) / (len(found) - 1))
    assert mean == pytest.approx(0.1, abs=0.02)
    assert scatter == pytest.approx(sum(errors) / len(errors), rel=0.15)
