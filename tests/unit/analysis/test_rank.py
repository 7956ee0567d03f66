from dataclasses import replace

import pytest

from analysis.curves import again_text
from analysis.rank import answer, confirmed, ranked, saved, standing, trial_lead
from analysis.records import Scored, SearchRecord
from tests.unit.analysis.conftest import with_trials
from tests.unit.analysis.written import BASE_NLL, MAX_TOKENS, evaluation
from train_fn.confirmation import pooled_spread
from train_fn.lead import paired_lead


def stages(*pairs: tuple[int, float]) -> tuple[Scored, ...]:
    return tuple(Scored(tokens, evaluation(nll, tokens)) for tokens, nll in pairs)


def test_trials_that_came_less_far_are_compared_where_both_have_been(search: SearchRecord) -> None:
    far = replace(search.trial(0), evals=stages((1_000, 5.0), (3_100, 4.0), (9_000, 3.0)))
    short = replace(search.trial(1), evals=stages((1_000, 4.9), (3_000, 4.5)))
    lead = trial_lead(far, short)
    assert lead is not None
    assert (lead.nll, lead.at_tokens) == (pytest.approx(0.5), 3_000)
    back = trial_lead(short, far)
    assert back is not None
    assert (back.nll, back.at_tokens) == (pytest.approx(-0.5), 3_000)


def test_trials_that_came_as_far_are_compared_at_their_ends(search: SearchRecord) -> None:
    one = replace(search.trial(0), evals=stages((1_000, 5.0), (9_000, 3.0)))
    other = replace(search.trial(1), evals=stages((1_000, 4.0), (9_200, 3.1)))
    lead = trial_lead(one, other)
    assert lead is not None
    assert (lead.nll, lead.at_tokens) == (pytest.approx(0.1), None)


def test_trials_that_were_never_evaluated_at_the_same_stage_are_not_compared(search: SearchRecord) -> None:
    far = replace(search.trial(0), evals=stages((9_000, 3.0)))
    assert trial_lead(far, replace(search.trial(1), evals=stages((1_000, 4.0)))) is None
    assert trial_lead(far, replace(search.trial(1), evals=())) is None


def test_finished_trials_come_first_and_doomed_ones_never(search: SearchRecord) -> None:
    order = ranked(search.trials)
    finished = [trial for trial in order if trial.status == "finished"]
    assert finished
    assert order[: len(finished)] == finished
    values = [trial.eval_nll or 0.0 for trial in finished]
    assert values == sorted(values)
    assert any(trial.doomed for trial in search.trials)
    assert not any(trial.doomed for trial in order)


def test_the_answer_compares_the_best_with_the_second(search: SearchRecord) -> None:
    found = answer(search)
    best, second = ranked(search.trials)[:2]
    assert (found.best, found.second) == (best, second)
    assert found.over_second is not None
    assert best.eval_nll is not None
    assert second.eval_nll is not None
    assert found.over_second.nll == pytest.approx(second.eval_nll - best.eval_nll)


def test_level_are_those_as_far_as_the_best_within_noise(search: SearchRecord) -> None:
    best = ranked(search.trials)[0]
    assert best.last_eval is not None
    mine = best.last_eval
    near = replace(mine, evaluation=evaluation(mine.evaluation.nll + 0.001, 77))
    far = replace(mine, evaluation=evaluation(mine.evaluation.nll + 0.5, 78))
    twins = [
        replace(best, number=100 + i, evals=(one,), eval_nll=one.evaluation.nll)
        for i, one in enumerate((near, far))
    ]
    halved = replace(twins[0], number=102, status="halved")
    found = answer(replace(search, trials=(best, *twins, halved)))
    assert [trial.number for trial in found.level] == [100]


def test_the_base_model_is_compared_in_pairs(search: SearchRecord) -> None:
    best = ranked(search.trials)[0].evals[-1].evaluation
    assert answer(search).over_base == paired_lead(best, evaluation(BASE_NLL, 9))


def test_nothing_to_call_the_best(search: SearchRecord) -> None:
    doomed = [trial.number for trial in search.trials if trial.doomed]
    found = answer(with_trials(search, *doomed))
    assert (found.best, found.second, found.over_second, found.over_base) == (None, None, None, None)
    assert found.saved.by_doom > 0


def test_cost_and_savings_add_up(search: SearchRecord) -> None:
    found = answer(search)
    halved = [trial for trial in search.trials if trial.status == "halved"]
    assert halved
    assert found.saved.by_halving == sum(MAX_TOKENS - trial.tokens_seen for trial in halved)
    everything = found.saved.tokens + found.cost.tokens
    assert everything == len(search.trials) * MAX_TOKENS
    per_token = sum(t.train_s for t in search.trials) / found.cost.tokens
    assert found.saved.slot_s == pytest.approx(found.saved.tokens * per_token)
    assert found.cost.gpu_h == 0.0


def test_gpu_hours_count_every_gpu_of_a_slot(search: SearchRecord) -> None:
    trials = [replace(t, attempts=tuple(replace(a, gpus=4.0) for a in t.attempts)) for t in search.trials]
    found = answer(replace(search, trials=tuple(trials)))
    assert found.cost.gpu_h == pytest.approx(4 * found.cost.slot_s / 3600)


def test_what_confirms_a_trial_is_no_candidate_but_evidence(seeded: SearchRecord) -> None:
    found = answer(seeded)
    assert len(seeded.repeats) == 4
    assert not {trial.number for trial in ranked(seeded.trials)} & {t.number for t in seeded.repeats}
    assert sum(number for _, number in found.counts) == len(seeded.tried) == 24
    assert found.confirmation is not None
    assert [len(one.nlls) for one in found.confirmation.confirmed] == [3, 3]
    own = seeded.trial(found.confirmation.confirmed[0].trial)
    assert found.confirmation.confirmed[0].nlls[0] == own.eval_nll
    assert found.cost.tokens == sum(trial.tokens_seen for trial in seeded.trials)


def test_a_halved_trial_that_runs_again_to_its_end_stands_there_once_and_saved_nothing(
    search: SearchRecord,
) -> None:
    halved = [trial for trial in search.trials if trial.status == "halved"]
    first, second = ranked(halved)[:2]
    again = replace(first, number=99, status="finished", finishes=first.number)
    alone, after = replace(search, trials=tuple(halved)), replace(search, trials=(*halved, again))
    assert saved(alone).by_halving - saved(after).by_halving == search.max_tokens - first.tokens_seen
    found = answer(after)
    assert (found.best, found.second) == (again, second)
    assert again_text(again) == f"{first.id} to its end"
    lost = replace(again, status="diverged")
    assert ranked((*halved, lost)) == ranked(halved)[1:], "it is known to be lost"
    stopped = replace(again, status="cancelled", eval_nll=9.0)
    assert ranked((*halved, stopped)) == [*ranked(halved), stopped], "in the order of the search"
    assert [trial.number for trial in after.tried] == [trial.number for trial in halved]
    assert after.own == (*after.tried, again)


def test_other_seeds_turn_the_answer_around(seeded: SearchRecord) -> None:
    first, second = ranked(seeded.trials)[:2]
    worse = [
        replace(t, evals=stages((MAX_TOKENS, 9.0 + t.seed / 1e3))) if t.confirms == first.number else t
        for t in seeded.trials
    ]
    trials = tuple(worse)
    found = confirmed(trials)
    assert found is not None
    assert [one.trial for one in found.confirmed] == [second.number, first.number]
    turned = replace(seeded, trials=trials)
    assert standing(trials, found)[0].number == found.best
    assert len(standing(trials, found)) == len(ranked(trials))
    best = answer(turned).best
    assert best is not None
    assert best.number == found.best


def test_a_trial_that_diverged_with_another_seed_comes_after_the_confirmed_one(seeded: SearchRecord) -> None:
    first, second, third = (trial.number for trial in ranked(seeded.trials)[:3])
    trials = [replace(t, status="diverged") if t.confirms == first else t for t in seeded.trials]
    found = answer(replace(seeded, trials=tuple(trials)))
    assert found.best is not None
    assert found.best.number == second
    order = standing(trials, found.confirmation)
    assert [trial.number for trial in order[:3]] == [second, first, third]
    assert first not in [trial.number for trial in found.level]


def test_the_noise_of_seeds_counts_for_trials_that_no_other_seed_was_tried_of(seeded: SearchRecord) -> None:
    found = answer(seeded)
    assert found.best is not None
    assert found.best.eval_nll is not None
    assert found.confirmation is not None
    seeds = pooled_spread([one.nlls for one in found.confirmation.confirmed]).sd

    def judged(search: SearchRecord, behind: float) -> bool:
        """Whether a trial that is behind by so much for every example cannot be told from the best."""
        assert found.best is not None
        scored = found.best.evals[-1]
        nll = scored.evaluation.nll + behind
        examples = tuple(value + behind for value in scored.evaluation.example_nll)
        end = replace(scored, evaluation=replace(scored.evaluation, nll=nll, example_nll=examples))
        other = replace(found.best, number=200, evals=(*found.best.evals[:-1], end), eval_nll=nll)
        return 200 in [
            trial.number for trial in answer(replace(search, trials=(*search.trials, other))).level
        ]

    assert judged(seeded, 2 * seeds)
    assert not judged(seeded, 6 * seeds)
    assert not judged(replace(seeded, trials=seeded.tried), 2 * seeds)
