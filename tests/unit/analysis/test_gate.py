from dataclasses import replace

import pytest

from analysis.behaviour_records import Estimate
from analysis.gate import (
    Check,
    behaviour_checks,
    branch_check,
    data_checks,
    nll_checks,
    passed,
    seeds_check,
)
from analysis.rank import answer
from analysis.records import SearchRecord, TrialRecord
from spaces.promotion import PromotionConfig
from train_fn.report import Evaluation

RULES = PromotionConfig()
GOOD = {
    "length_ratio": Estimate(1.0, 0.9, 1.1, 9),
    "attentiveness": Estimate(0.4, 0.3, 0.5, 9),
    "persona_adherence_plain": None,
    "persona_adherence_wpp": None,
    "repetition": Estimate(0.02, 0.0, 0.05, 9),
    "leaked": Estimate(0.0, 0.0, 0.05, 9),
    "unbalanced": Estimate(0.0, 0.0, 0.05, 9),
    "language_drift": None,
    "ended": Estimate(0.9, 0.8, 1.0, 9),
    "train_minus_eval": Estimate(-0.1, -0.2, 0.0, 9),
}


def best(search: SearchRecord) -> TrialRecord:
    found = answer(search).best
    assert found is not None
    return found


def shifted(evaluation: Evaluation, by: float) -> Evaluation:
    values = tuple(x + by for x in evaluation.example_nll)
    return replace(evaluation, nll=evaluation.nll + by, example_nll=values)


def last(search: SearchRecord) -> Evaluation:
    scored = best(search).last_eval
    assert scored is not None
    return scored.evaluation


def failed(checks: list[Check]) -> list[str]:
    return [check.what for check in checks if check.passed is False]


def test_files_that_do_what_the_trial_did_and_beat_the_base_model_pass(search: SearchRecord) -> None:
    checks = nll_checks(search, best(search), shifted(last(search), 0.001), RULES)
    assert [check.passed for check in checks] == [True, True]
    assert checks[0].bound == "within 0.02"


def test_files_that_do_something_else_fail_whichever_way_they_differ(search: SearchRecord) -> None:
    for by in (0.03, -0.03):
        checks = nll_checks(search, best(search), shifted(last(search), by), RULES)
        assert failed(checks) == ["files give the trial's eval NLL"]


def test_no_better_than_the_base_model_fails(search: SearchRecord) -> None:
    assert search.base is not None
    checks = nll_checks(search, best(search), search.base, PromotionConfig(nll_tolerance=100.0))
    assert failed(checks) == ["eval NLL below the base model"]
    unmeasured = nll_checks(replace(search, base=None), best(search), last(search), RULES)
    assert failed(unmeasured) == ["eval NLL below the base model"]


def test_the_branch_has_to_be_beaten_by_more_than_noise(search: SearchRecord) -> None:
    mine = last(search)
    assert branch_check(mine, shifted(mine, 0.5), "o/n@dev", RULES).passed is True
    assert branch_check(mine, shifted(mine, -0.01), "o/n@dev", RULES).passed is False
    assert branch_check(mine, mine, "o/n@dev", RULES).passed is False
    nothing = branch_check(mine, "it holds no model yet", "o/n@dev", RULES)
    assert (nothing.passed, nothing.measured) == (None, "it holds no model yet")


def test_other_seeds_must_have_finished_below_the_base_model(search: SearchRecord) -> None:
    good, bad = best(search), replace(best(search), status="diverged")
    assert seeds_check(search, [good, good], RULES).passed is True
    one_lost = seeds_check(search, [good, bad], RULES)
    assert one_lost.passed is False
    assert "1 of 2 below" in one_lost.measured
    assert "1 not finished" in one_lost.measured
    assert seeds_check(search, [], RULES).passed is False
    assert seeds_check(search, [], PromotionConfig(confirming_seeds=0)).passed is None


def test_good_behaviour_passes_and_what_cannot_be_shown_is_not_asked() -> None:
    checks = behaviour_checks(GOOD, RULES)
    assert passed(checks)
    assert [c.what for c in checks if c.passed is None] == [
        "keeps to its persona",
        "keeps to a W++ persona",
        "drifts into another language",
    ]


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("length_ratio", Estimate(0.3, 0.2, 0.4, 9)),
        ("length_ratio", Estimate(3.0, 2.0, 4.0, 9)),
        ("attentiveness", Estimate(0.1, -0.1, 0.3, 9)),
        ("persona_adherence_plain", Estimate(-0.1, -0.3, -0.01, 9)),
        ("persona_adherence_wpp", Estimate(-0.1, -0.3, -0.01, 9)),
        ("repetition", Estimate(0.5, 0.4, 0.6, 9)),
        ("leaked", Estimate(0.2, 0.1, 0.3, 9)),
        ("unbalanced", Estimate(0.2, 0.1, 0.3, 9)),
        ("language_drift", Estimate(0.2, 0.1, 0.3, 9)),
        ("ended", Estimate(0.3, 0.2, 0.4, 9)),
        ("train_minus_eval", Estimate(-0.9, -1.0, -0.8, 9)),
    ],
)
def test_each_bound_closes_the_gate_alone(figure: str, value: Estimate) -> None:
    (check,) = (one for one in behaviour_checks({**GOOD, figure: value}, RULES) if one.passed is False)
    group, _, bound = check.setting.partition("=")[0].partition(".")
    assert group == "promotion"
    (word,) = {"min", "max"} & set(bound.split("_"))
    shift = 10.0 if word == "max" else -10.0
    assert passed(behaviour_checks({**GOOD, figure: value}, replace(RULES, **{bound: shift})))


def test_a_persona_is_judged_by_its_interval_not_by_noise_about_the_bound() -> None:
    for value in (-0.0001, 0.0001):
        figures = {**GOOD, "persona_adherence_wpp": Estimate(value, -0.001, 0.001, 9)}
        check = next(one for one in behaviour_checks(figures, RULES) if "W++" in one.what)
        assert (check.bound, check.passed) == ("interval not below 0", True)


def test_clean_data_passes_and_each_fault_is_named(search: SearchRecord) -> None:
    rules = replace(RULES, min_eval_examples=1)
    assert passed(data_checks(search, rules))
    assert failed(data_checks(replace(search, data_report=None), rules)) == ["data report is clean"]
    assert search.data_report is not None
    broken = replace(search.data_report, read=101, dropped={**search.data_report.dropped, "broken line": 1})
    dirty = replace(search, data_report=broken)
    assert failed(data_checks(dirty, rules)) == ["lines that could not be read"]
    assert passed(data_checks(dirty, replace(rules, max_broken_lines=1)))
    assert failed(data_checks(search, replace(rules, min_eval_examples=10_000))) == ["held-out examples"]
    assert failed(data_checks(search, replace(rules, min_kept_share=1.0))) == [
        "replies kept by the cleaning rules"
    ]


def test_cleaning_rules_that_were_switched_off_are_named(search: SearchRecord) -> None:
    base = search.experiment["base"]
    clean = {**base["data"]["clean"], "languages": [], "near_duplicates": False}
    dirty = {**search.experiment, "base": {**base, "data": {**base["data"], "clean": clean}}}
    (check, *_) = data_checks(replace(search, experiment=dirty), replace(RULES, min_eval_examples=1))
    assert check.passed is False
    assert check.measured == "off: languages, near_duplicates"
