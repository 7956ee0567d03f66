import re
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.behaviour_records import FIGURES, Behaviour, Estimate, Exchange, Listened
from analysis.compare import compare
from analysis.page import Content, compute, flatten, render, write_page
from analysis.rank import answer
from analysis.records import SearchRecord
from analysis.runs import read_search
from spaces.promotion import BehaviourConfig
from tests.unit.analysis.conftest import ahead_midway, with_trials
from tests.unit.analysis.written import experiment, write_search
from train_fn.times import PARTS

NOW = 1_700_000_000.0
EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture(scope="module")
def content(search: SearchRecord) -> Content:
    return compute(search, answer(search), None, NOW)


@pytest.fixture(scope="module")
def html(content: Content) -> str:
    return render(content, NOW)


def shown(text: str) -> str:
    """The page without its library and its figures."""
    return re.sub(r"<script.*?</script>", "", text, flags=re.S)


def test_the_answer_comes_first(html: str, content: Content) -> None:
    best = content.found.best
    assert best is not None
    order = [html.index(f'<section id="{id}"') for id in ("answer", "curves", "map", "importance", "rungs")]
    assert order == sorted(order)
    assert html.index(content.told.headline) < order[1]
    assert best.checkpoint is not None
    assert best.checkpoint in html


def test_every_decision_and_every_trial_is_there_with_its_reason(html: str, search: SearchRecord) -> None:
    for decision in search.decisions:
        assert decision.reason in html
    for trial in search.trials:
        assert trial.id in html
        assert trial.reason in html


def test_a_search_that_is_ahead_where_both_are_compared_is_not_called_behind(search: SearchRecord) -> None:
    one, other = ahead_midway(search)
    text = render(compute(one, answer(one), compare([one, other]), NOW), NOW)
    assert re.search(
        r"<td>0\.5000 ± \S+ ahead at 3\.0k tokens <span class=\"tag warn\">more than noise<", text
    )


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    assert "default-src 'none'" in html
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", shown(html))
    assert not re.search(r"@import|url\(", shown(html))


def test_texts_of_data_and_trials_cannot_become_markup(search: SearchRecord) -> None:
    trials = tuple(replace(trial, reason=EVIL) for trial in search.trials)
    decisions = tuple(replace(decision, reason=EVIL) for decision in search.decisions)
    described = {**search.experiment, "description": EVIL}
    evil = replace(search, trials=trials, decisions=decisions, experiment=described, name=EVIL)
    text = render(compute(evil, answer(evil), None, NOW), NOW)
    assert "<script>alert" not in text
    assert "<img" not in shown(text)
    assert "&lt;script&gt;alert(&#39;data&#39;)" in text


def test_the_data_report_is_there(html: str) -> None:
    assert "data: 100 replies read, 10 dropped" in html
    assert "dropped: over-length" in html


def test_what_the_time_of_each_trial_went_into_is_there(html: str, search: SearchRecord) -> None:
    table = html[html.index("<h3>By trial</h3>") : html.index('<section id="data"')]
    for part in PARTS:
        assert f"</span>{part}</th>" in table
    assert table.count('<div class="bar">') == len(search.trials) + 1
    assert "all trials" in table
    old = replace(search, trials=tuple(replace(trial, times=None) for trial in search.trials))
    assert "By trial" not in shown(render(compute(old, answer(old), None, NOW), NOW))


def test_the_page_of_a_small_search_is_mostly_the_plotting_library(html: str) -> None:
    assert 1e6 < len(html) < 2.5e6


def test_a_comparison_and_its_warning_come_after_the_answer(search: SearchRecord) -> None:
    other = replace(search, name="exp8", data_key="data-2")
    text = render(compute(search, answer(search), compare([search, other]), NOW), NOW)
    assert text.index('id="answer"') < text.index('id="compared"') < text.index('id="curves"')
    assert "exp8 was judged on other held-out examples" in text
    assert "not comparable" in text


def test_objectives_have_a_section_of_their_own(tmp_path: Path, html: str) -> None:
    write_search(tmp_path, experiment("exp7", 8, objectives=True))
    search = read_search(tmp_path, "exp7")
    assert 'id="objectives"' in render(compute(search, answer(search), None, NOW), NOW)
    assert 'id="objectives"' not in html


def test_behaviour_is_shown_side_by_side_and_escaped(search: SearchRecord, html: str) -> None:
    assert "has not been measured: <code>python -m analysis.behaviour exp9" in html
    talk = (Exchange(EVIL, EVIL, EVIL, EVIL, EVIL),)
    figures = dict.fromkeys(FIGURES) | {"leaked": Estimate(0.5, 0.25, 0.75, 1)}
    models = tuple(Behaviour(name, EVIL, "key", figures, talk) for name in ("base", "exp9-0001", EVIL))
    listened = Listened(BehaviourConfig(), "data-1", models)
    text = render(compute(search, answer(search), None, NOW, listened), NOW)
    assert "has not been measured" not in text
    assert "<b>50%</b>" in text
    assert "25% to 75%" in text
    assert "exp9-0001</b>" in text
    assert "<script>alert" not in text
    assert "<img" not in shown(text)


def test_a_search_of_which_little_is_known_has_a_page(search: SearchRecord, tmp_path: Path) -> None:
    doomed = [trial.number for trial in search.trials if trial.doomed][:1]
    poor = replace(
        with_trials(search, *doomed),
        status="running",
        data_report=None,
        base=None,
        decisions=(),
        folder=tmp_path,
    )
    text = render(compute(poor, answer(poor), None, NOW), NOW)
    assert "No trial can be called the best" in text
    assert "there is none yet" in text
    assert "No trial has been judged at a rung" in text
    failed = replace(poor.trials[0], status="failed", windows=(), evals=(), eval_nll=None)
    text = render(compute(replace(poor, trials=(failed,)), answer(poor), None, NOW), NOW)
    assert 'id="figure-curves"' not in text
    assert "there is no map to draw" in text


def test_the_page_replaces_the_one_before_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, "old")
    write_page(path, "new\ud800")  # half a character, as broken data has them
    assert path.read_text() == "new?"
    assert list(tmp_path.iterdir()) == [path]


def test_nested_values_are_listed_by_path() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": []}}, "e": "f"}) == [("a.b", 1), ("a.c.d", []), ("e", "f")]


def test_the_answer_shows_every_seed_and_the_table_marks_what_confirms(seeded: SearchRecord) -> None:
    found = answer(seeded)
    text = shown(render(compute(seeded, found, None, NOW), NOW))
    assert found.confirmation is not None
    for one in found.confirmation.confirmed:
        for seed, nll in zip(one.seeds, one.nlls, strict=True):
            assert f'{nll:.4f} <span class="soft">(seed {seed})</span>' in text
    assert "<b>24 of 24</b>" in text
    assert text.count('<span class="tag">confirms</span>') == 4
    for trial in seeded.repeats:
        assert f"exp9-{trial.confirms:04d} with seed {trial.seed}: trained its budget" in text
