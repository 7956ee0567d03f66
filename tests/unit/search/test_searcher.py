from pathlib import Path

from ray.tune.search import Searcher

from search.searcher import StudySearcher
from search.study import Study
from tests.unit.search.test_study import EXPERIMENT, finish, outcome


def test_it_hands_out_the_budget_and_then_finishes(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    searcher = StudySearcher(study, trials=3)
    for name in "abc":
        suggested = searcher.suggest(name)
        assert isinstance(suggested, dict)
        finish(study, suggested["trial"], suggested["params"])
        searcher.on_trial_complete(name)
    assert suggested["trial"] == 2
    assert suggested["params"].keys() == EXPERIMENT.space.keys()
    assert searcher.suggest("d") == Searcher.FINISHED


def test_what_an_earlier_command_left_running_comes_first(tmp_path: Path) -> None:
    asked = [Study.open(EXPERIMENT, tmp_path).ask() for _ in range(2)]
    searcher = StudySearcher(Study.open(EXPERIMENT, tmp_path), trials=3)
    suggested = [searcher.suggest(name) for name in "abcd"]
    assert suggested[:2] == [{"trial": number, "params": params} for number, params in asked]
    assert suggested[2]["trial"] == 2
    assert suggested[3] is None, "trials are live and may fail"


def test_a_trial_that_fails_last_is_tried_again(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    searcher = StudySearcher(study, trials=1)
    first = searcher.suggest("a")
    assert searcher.suggest("b") is None
    study.tell(outcome(first["trial"], "failed"), {})
    searcher.on_trial_complete("a", error=True)
    again = searcher.suggest("c")
    assert again["trial"] != first["trial"]


def test_saving_and_restoring_are_harmless(tmp_path: Path) -> None:
    searcher = StudySearcher(Study.open(EXPERIMENT, tmp_path), trials=1)
    searcher.save_to_dir(str(tmp_path / "ray"))
    searcher.restore(str(tmp_path / "nothing"))
    assert not (tmp_path / "ray").exists()
