import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.analysis.written import evaluation
from train_fn.lead import Lead, paired_lead
from train_fn.report import Evaluation

nlls = st.lists(st.floats(0, 12), min_size=6, max_size=6)


def judged(values: list[float]) -> Evaluation:
    tokens = (1, 20, 3, 4, 5, 6)
    mean = sum(v * t for v, t in zip(values, tokens, strict=True)) / sum(tokens)
    return Evaluation(mean, 0.1, tuple(values), tokens, 0.1)


@given(nlls, nlls)
def test_a_lead_is_the_difference_of_the_nlls_and_turns_its_sign(a: list[float], b: list[float]) -> None:
    lead, back = paired_lead(judged(a), judged(b)), paired_lead(judged(b), judged(a))
    assert lead.nll == pytest.approx(judged(b).nll - judged(a).nll, abs=1e-9)
    assert (lead.nll, lead.stderr) == pytest.approx((-back.nll, back.stderr))


def test_what_is_hard_for_both_cancels() -> None:
    a, b = evaluation(3.0, 1), evaluation(3.1, 2)
    lead = paired_lead(a, b)
    assert lead.nll == pytest.approx(0.1)
    assert lead.stderr < math.hypot(a.stderr, b.stderr) / 5


@pytest.mark.parametrize(("nll", "clear"), [(0.21, True), (0.19, False), (-0.5, False), (0.0, False)])
def test_a_lead_is_clear_from_two_standard_errors_on(nll: float, clear: bool) -> None:
    assert Lead(nll, 0.1).clear == clear


@pytest.mark.parametrize(
    ("nll", "words"),
    [
        (0.21, "more than noise"),
        (0.19, "within noise"),
        (0.0, "no lead"),
        (-0.19, "no lead"),
        (-0.21, "behind by more than noise"),
    ],
)
def test_no_difference_reads_as_a_lead_that_is_none(nll: float, words: str) -> None:
    lead = Lead(nll, 0.1)
    assert lead.verdict == words
    assert lead.beyond_noise == Lead(-nll, 0.1).beyond_noise == ("more than" in words)


def test_equal_trials_have_no_clear_lead() -> None:
    assert not paired_lead(evaluation(3.0, 1), evaluation(3.0, 1)).clear
