from dataclasses import replace

import pytest

from analysis.candidate import choose_candidate, settings_of
from analysis.rank import answer
from analysis.records import SearchRecord
from spaces.promotion import BehaviourConfig, PromotionConfig
from train_fn.errors import InputError


def test_the_best_finished_trial_is_the_candidate_unless_another_finished_one_is_named(
    search: SearchRecord,
) -> None:
    best = answer(search).best
    assert best is not None
    assert choose_candidate(search, None) == best
    other = next(t for t in search.trials if t.status == "finished" and t.number != best.number)
    assert choose_candidate(search, other.number) == other


def test_a_search_that_has_not_ended_or_finished_nothing_is_refused(search: SearchRecord) -> None:
    with pytest.raises(InputError, match="still running"):
        choose_candidate(replace(search, status="running"), None)
    halved = tuple(replace(t, status="halved") if t.status == "finished" else t for t in search.trials)
    with pytest.raises(InputError, match="no trial of 'exp9' has finished"):
        choose_candidate(replace(search, trials=halved), None)


def test_a_trial_that_did_not_finish_cannot_be_named(search: SearchRecord) -> None:
    halved = next(t for t in search.trials if t.status == "halved")
    with pytest.raises(InputError, match=rf"--trial {halved.number} is halved; finished are \d"):
        choose_candidate(search, halved.number)
    with pytest.raises(InputError, match=r"--trial 999 is not there; finished are \d"):
        choose_candidate(search, 999)


def test_a_run_that_confirms_a_trial_cannot_be_named(seeded: SearchRecord) -> None:
    run = seeded.repeats[0]
    with pytest.raises(
        InputError, match=rf"--trial {run.number} is trial {run.confirms} once more, with another"
    ):
        choose_candidate(seeded, run.number)


def test_bounds_are_the_experiments_with_the_changes_of_the_command(search: SearchRecord) -> None:
    rules, sampling = settings_of(search, ["promotion.min_ended=0.9", "behaviour.top_k=5"])
    assert rules == PromotionConfig(min_ended=0.9)
    assert sampling == BehaviourConfig(top_k=5)
    old = {k: v for k, v in search.experiment.items() if k not in ("promotion", "behaviour")}
    assert settings_of(replace(search, experiment=old), []) == (PromotionConfig(), BehaviourConfig())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("promotion.min_endet=1", "did you mean 'promotion.min_ended'"),
        ("optim.lr=1", "changes nothing of a promotion"),
        ("promotion.min_ended", "'promotion.min_ended' has no '='; write --set promotion.min_ended=VALUE"),
        ("promotion.min_ended=x", rf"is not a number; write one, for example {PromotionConfig().min_ended}$"),
        ("promotion.dtype=fp61", "did you mean 'fp16'"),
        ("promotion.nll_tolerance=0", "must be above 0"),
    ],
)
def test_other_changes_are_one_line(search: SearchRecord, change: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        settings_of(search, [change])
