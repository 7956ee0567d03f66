import re
from dataclasses import replace
from pathlib import Path

from analysis.answer import tell, tell_other
from analysis.curves import about
from analysis.rank import answer, ranked, trial_lead
from analysis.records import SearchRecord
from search.ledger import FILE_NAME, read_events
from search.standing import best
from search.state import replay
from search.summary import why_best
from spaces.words import confirmation_lines, lead_text
from tests.unit.analysis.conftest import with_trials


def told(search: SearchRecord, age: float = 0.0) -> str:
    words = tell(search, answer(search), search.last_time + age)
    parts = (
        words.headline,
        words.verdict,
        words.seeds,
        words.over_base,
        words.cost,
        words.saved,
        *words.cautions,
    )
    return "\n".join(parts)


def test_leads_are_worded_as_the_search_words_them(search: SearchRecord, storage: Path) -> None:
    state = replay(read_events(storage / "exp9" / FILE_NAME))
    top, words = best(state), tell(search, answer(search), search.last_time)
    assert top is not None
    assert [f"{line}." for line in why_best(state, top, "exp9")] == [words.verdict, words.over_base]


def test_a_second_that_was_halved_is_compared_where_it_ended(search: SearchRecord) -> None:
    order = [trial.number for trial in search.trials if trial.status in ("finished", "halved")]
    best = answer(search).best
    assert best is not None
    halved = [n for n in order if search.trial(n).status == "halved"]
    words = told(with_trials(search, best.number, *halved))
    assert re.search(r"\(halved after \S+ tokens\)( at \S+ tokens)?: ", words.splitlines()[1])


def test_the_best_trial_comes_first_with_its_figures(search: SearchRecord) -> None:
    best = answer(search).best
    assert best is not None
    first = told(search).splitlines()[0]
    assert first.startswith(f"{best.id} is the best: eval NLL {best.eval_nll:.4f} ± 0.1500 after 9.0k tokens")


def test_an_eval_nll_is_told_with_the_tokens_it_was_measured_after(search: SearchRecord) -> None:
    best = answer(search).best
    assert best is not None
    once = replace(best, status="cancelled", evals=best.evals[:1])
    words = told(replace(search, trials=(once,)))
    assert words.splitlines()[0].endswith(" after 1.0k tokens")
    assert "is cancelled after 9.0k of 9.0k tokens and was judged after 1.0k, others after" in words
    assert about(once).endswith(" after 1.0k tokens")


def test_a_search_that_has_not_ended_says_so(search: SearchRecord) -> None:
    running = replace(search, status="running")
    assert "has not ended: its last event is 2m 00s old" in told(running, age=120)
    assert "has not ended" not in told(search)
    assert "was interrupted after 24 of 24 trials" in told(replace(search, status="interrupted"))


def test_a_second_attempt_at_a_failed_trial_is_no_trial_too_many(search: SearchRecord) -> None:
    again = replace(search.trial(0), number=24, status="failed")
    more = replace(search, status="interrupted", trials=(*search.trials, again))
    assert "was interrupted after 25 of 25 trials" in told(more)


def test_without_a_finished_trial_the_best_one_is_called_what_it_is(search: SearchRecord) -> None:
    halved = [trial.number for trial in search.trials if trial.status == "halved"]
    assert "No trial has finished. The best one is halved after" in told(with_trials(search, *halved))


def test_without_a_sound_trial_there_is_no_best_one(search: SearchRecord) -> None:
    doomed = [trial.number for trial in search.trials if trial.doomed]
    words = told(with_trials(search, *doomed))
    assert words.startswith("No trial can be called the best")
    assert "Nothing to compare with the base model" in words


def test_one_trial_alone_is_compared_with_nothing(search: SearchRecord) -> None:
    best = answer(search).best
    assert best is not None
    words = told(with_trials(search, best.number))
    assert "No other trial qualifies" in words
    assert "nothing was saved" in words


def test_savings_name_both_kinds(search: SearchRecord) -> None:
    words = told(search)
    counts = dict(answer(search).counts)
    assert f"by halving {counts['halved']} trials" in words
    assert f"by ending {counts['diverged']} doomed trial" in words


def test_what_other_seeds_said_is_told_as_the_search_tells_it(seeded: SearchRecord) -> None:
    found = answer(seeded)
    assert found.confirmation is not None
    words = tell(seeded, found, seeded.last_time)
    first, *_ = confirmation_lines(found.confirmation, "exp9")
    assert words.seeds.startswith(f"Confirmed with 2 other seeds: {first.partition(': ')[2]}. ")
    assert "noise of seeds and examples" in words.seeds
    assert "and of 3 training seeds" in words.cautions[-1]
    assert "was interrupted after 24 of 24 trials" in told(replace(seeded, status="interrupted"))


def test_without_other_seeds_the_answer_says_so(search: SearchRecord, seeded: SearchRecord) -> None:
    assert "Not confirmed: no other training seed was tried." in told(search)
    assert "Another training seed, and picking the best of" in told(search)
    running = [replace(t, status="running") if t.confirms is not None else t for t in seeded.trials]
    words = told(replace(seeded, trials=tuple(running)))
    assert "No other seed of" in words
    assert "has ended yet." in words
    failed = [replace(t, status="failed") if t.confirms is not None else t for t in seeded.trials]
    assert "\nNot confirmed: its runs with other seeds failed.\n" in told(
        replace(seeded, trials=tuple(failed))
    )
    stopped = replace(seeded, trials=tuple(failed), status="interrupted")
    assert "other seeds failed" not in told(stopped), "another attempt comes"


def test_a_trial_that_diverged_with_another_seed_is_not_called_confirmed(seeded: SearchRecord) -> None:
    doomed = [replace(t, status="diverged") if t.confirms is not None else t for t in seeded.trials]
    words = told(replace(seeded, trials=tuple(doomed)))
    assert "is not confirmed: diverged with seed 1 and diverged with seed 2." in words
    assert "onfirmed with" not in words


def test_another_trial_than_the_best_is_held_against_it(search: SearchRecord, seeded: SearchRecord) -> None:
    found, other = answer(search), ranked(search.trials)[-1]
    assert found.best is not None
    running = replace(search, status="running")
    against, cautions = tell_other(running, found, other, search.last_time + 60)
    lead = trial_lead(other, found.best)
    assert lead is not None
    assert against == f"{lead_text(lead, f'the best, {found.best.id}')}."
    assert "The search has not ended" in cautions[0]
    assert cautions[1:] == (f"It is not the trial that the search found the best: that is {found.best.id}.",)

    never = replace(other, evals=())
    assert tell_other(search, found, never, search.last_time) == (
        f"Not known: the best, {found.best.id} was never evaluated after as many tokens.",
        cautions[1:],
    )
    by_seeds = answer(seeded)
    assert by_seeds.second is not None
    assert "other seeds decide" in tell_other(seeded, by_seeds, by_seeds.second, 0.0)[0]
