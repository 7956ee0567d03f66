from dataclasses import replace
from pathlib import Path

import pytest

from analysis.compare import compare, objectives
from analysis.rank import ranked, trial_lead
from analysis.records import SearchRecord
from analysis.runs import read_search
from tests.unit.analysis.conftest import with_trials
from tests.unit.analysis.written import experiment, write_search


def test_objectives_are_compared_by_their_best_trials(tmp_path: Path) -> None:
    write_search(tmp_path, experiment("exp7", 14, objectives=True))
    search = read_search(tmp_path, "exp7")
    rows = objectives(search)
    assert {row.name for row in rows} == {"response", "clm"}
    assert sum(row.trials for row in rows) == 14
    first, second = rows
    assert first.best == ranked(search.trials)[0]
    assert first.behind is None
    assert second.best is not None
    assert first.best is not None
    assert second.behind == trial_lead(first.best, second.best)
    assert first.tokens + second.tokens == sum(trial.tokens_seen for trial in search.trials)
    assert second.best.config["optim"]["objective"] == second.name


def test_a_search_with_one_objective_has_nothing_to_compare(search: SearchRecord) -> None:
    assert objectives(search) == ()


def weaker(search: SearchRecord) -> SearchRecord:
    """A second search, without the trials of the first that finished best."""
    left = [trial.number for trial in search.trials if trial != ranked(search.trials)[0]]
    return replace(with_trials(search, *left), name="exp8")


def test_searches_on_the_same_examples_are_compared_in_pairs(search: SearchRecord) -> None:
    found = compare([weaker(search), search])
    assert [row.name for row in found.rows] == ["exp9", "exp8"]
    assert found.warnings == ()
    best, other = found.rows[0].best, found.rows[1].best
    assert best is not None
    assert other is not None
    assert found.rows[1].behind == trial_lead(best, other)
    assert found.rows[0].tokens > found.rows[1].tokens


def test_other_held_out_examples_are_warned_of_and_not_compared(search: SearchRecord) -> None:
    found = compare([search, replace(weaker(search), data_key="data-2")])
    assert "exp8 was judged on other held-out examples than exp9" in found.warnings[0]
    assert found.rows[1].behind is None


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("run", "max_tokens"), 99_000, "A trial of exp8 sees 99,000 tokens, one of exp9 9,000"),
        (("model", "path"), "other/model", "exp8 starts from other/model, exp9 from bundled"),
    ],
)
def test_what_else_differs_is_said(
    search: SearchRecord, path: tuple[str, str], value: object, words: str
) -> None:
    base = search.experiment["base"]
    changed = {**base, path[0]: {**base[path[0]], path[1]: value}}
    other = replace(weaker(search), experiment={**search.experiment, "base": changed})
    assert compare([search, other]).warnings[0].startswith(words)


def test_a_search_without_a_sound_trial_comes_last(search: SearchRecord) -> None:
    doomed = [trial.number for trial in search.trials if trial.doomed]
    hopeless = replace(with_trials(search, *doomed), name="exp1", status="running")
    found = compare([hopeless, search])
    assert [row.name for row in found.rows] == ["exp9", "exp1"]
    assert found.rows[1].best is None
    assert found.rows[1].behind is None
    assert compare([search, hopeless]).warnings == ("exp1 has not ended.",)
