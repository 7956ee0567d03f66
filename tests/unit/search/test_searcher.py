import threading
from pathlib import Path

from ray import cloudpickle
from ray.tune.search import Searcher

from search.searcher import StudySearcher
from search.study import Repeat, Study
from tests.unit.search.test_study import EXPERIMENT, finish, outcome


def test_it_hands_out_the_budget_and_then_finishes(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    searcher = StudySearcher(study, trials=3, repeats=list)
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
    searcher = StudySearcher(Study.open(EXPERIMENT, tmp_path), trials=3, repeats=list)
    suggested = [searcher.suggest(name) for name in "abcd"]
    assert suggested[:2] == [
        {"trial": number, "params": params, "confirms": None, "seed": None, "finishes": None}
        for number, params in asked
    ]
    assert suggested[2]["trial"] == 2
    assert suggested[3] is None, "trials are live and may fail"


def test_a_trial_that_fails_last_is_tried_again(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    searcher = StudySearcher(study, trials=1, repeats=list)
    first = searcher.suggest("a")
    assert searcher.suggest("b") is None
    study.tell(outcome(first["trial"], "failed"), {})
    searcher.on_trial_complete("a", error=True)
    again = searcher.suggest("c")
    assert again["trial"] != first["trial"]


def test_trials_are_handed_out_to_as_many_slots_as_there_are_and_it_says_how_many_it_could_use(
    tmp_path: Path,
) -> None:
    slots, wanted = [1], list[int]()

    def capacity(wants: int) -> int:
        wanted.append(wants)
        return slots[0]

    searcher = StudySearcher(Study.open(EXPERIMENT, tmp_path), 3, list, capacity=capacity)
    assert isinstance(searcher.suggest("a"), dict)
    assert searcher.suggest("b") is None, "one slot, one trial"
    slots[0] = 2
    assert isinstance(searcher.suggest("b"), dict), "a machine came"
    slots[0] = 1
    assert searcher.suggest("c") is None, "a machine went"
    searcher.on_trial_complete("a")
    assert searcher.suggest("c") is None, "the trial that lost its machine needs the slot"
    searcher.on_trial_complete("b")
    assert isinstance(searcher.suggest("c"), dict)
    assert searcher.suggest("d") is None
    assert wanted == [3, 3, 3, 3, 2, 1, 1]


REPEATS = [Repeat(confirms, seed) for seed in (1, 2) for confirms in (1, 0)]


def begun(folder: Path) -> tuple[Study, StudySearcher]:
    """A search whose two trials are over."""
    study = Study.open(EXPERIMENT, folder)
    searcher = StudySearcher(study, 2, lambda: REPEATS)
    first, second = (searcher.suggest(name) for name in "ab")
    assert searcher.suggest("c") is None, "nobody knows the best yet"
    finish(study, first["trial"], first["params"])
    searcher.on_trial_complete("a")
    assert searcher.suggest("c") is None, "one of them still runs"
    finish(study, second["trial"], second["params"])
    searcher.on_trial_complete("b")
    return study, searcher


def test_once_all_trials_are_over_the_best_run_again_with_other_seeds_in_all_slots(tmp_path: Path) -> None:
    study, searcher = begun(tmp_path)
    suggested = [searcher.suggest(name) for name in "cdef"]
    assert [(s["confirms"], s["seed"]) for s in suggested] == [(r.of, r.seed) for r in REPEATS]
    assert [s["trial"] for s in suggested] == [2, 3, 4, 5]
    params = dict(study.running())
    assert suggested[0]["params"] == suggested[2]["params"] == params[2] != suggested[1]["params"]
    assert searcher.suggest("g") is None, "they may fail"
    for name, one in zip("cdef", suggested, strict=True):
        finish(study, one["trial"], one["params"])
        searcher.on_trial_complete(name)
    assert searcher.suggest("g") == Searcher.FINISHED
    assert study.count() == 2


def test_a_halved_trial_is_handed_out_again_to_its_end(tmp_path: Path) -> None:
    study = Study.open(EXPERIMENT, tmp_path)
    searcher = StudySearcher(study, 1, lambda: [Repeat(0, None)])
    first = searcher.suggest("a")
    assert searcher.suggest("b") is None, "it may yet finish"
    study.tell(outcome(first["trial"], "halved"), {100: 3.0})
    searcher.on_trial_complete("a")
    suggested = searcher.suggest("b")
    assert (suggested["confirms"], suggested["seed"], suggested["finishes"]) == (None, None, 0)
    assert suggested["params"] == first["params"]
    again = StudySearcher(Study.open(EXPERIMENT, tmp_path), 1, lambda: [Repeat(0, None)])
    assert again.suggest("c") == suggested, "after a crash it is taken up again"
    assert again.suggest("d") is None


def test_a_repeat_that_fails_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    study, searcher = begun(tmp_path)
    seen = []
    while isinstance(suggested := searcher.suggest("c"), dict):
        seen.append((suggested["confirms"], suggested["seed"]))
        failed = seen[-1] == (1, 1)
        study.tell(outcome(suggested["trial"], "failed" if failed else "finished", 2.0), {900: 2.0})
        searcher.on_trial_complete("c", error=failed)
    assert suggested == Searcher.FINISHED
    assert seen == [(1, 1), (1, 1), (0, 1), (1, 2), (0, 2)]


def test_a_command_goes_on_with_exactly_the_missing_repeats(tmp_path: Path) -> None:
    study, searcher = begun(tmp_path)
    done, left = searcher.suggest("c"), searcher.suggest("d")
    finish(study, done["trial"], done["params"])
    again = StudySearcher(Study.open(EXPERIMENT, tmp_path), 2, lambda: REPEATS)
    suggested = [again.suggest(name) for name in "cdef"]
    assert suggested[0] == left
    assert [(s["confirms"], s["seed"]) for s in suggested[:3]] == [(0, 1), (1, 2), (0, 2)]
    assert suggested[3] is None


def test_a_raised_budget_is_used_before_the_best_are_confirmed(tmp_path: Path) -> None:
    study, searcher = begun(tmp_path)
    first = searcher.suggest("c")
    finish(study, first["trial"], first["params"])
    more = StudySearcher(Study.open(EXPERIMENT, tmp_path), 3, lambda: REPEATS)
    tried = more.suggest("c")
    assert (tried["trial"], tried["confirms"]) == (3, None)
    assert more.suggest("d") is None
    finish(study, tried["trial"], tried["params"])
    more.on_trial_complete("c")
    assert more.suggest("d")["confirms"] == 0, "trial 1 had its seed 1 already"


def test_saving_and_restoring_are_harmless(tmp_path: Path) -> None:
    searcher = StudySearcher(Study.open(EXPERIMENT, tmp_path), trials=1, repeats=list)
    searcher.save_to_dir(str(tmp_path / "ray"))
    searcher.restore(str(tmp_path / "nothing"))
    assert not (tmp_path / "ray").exists()


def test_tune_can_put_it_away_whatever_it_asks_for_repeats(tmp_path: Path) -> None:
    lock = threading.RLock()

    def repeats() -> list[Repeat]:
        with lock:
            return []

    searcher = StudySearcher(Study.open(EXPERIMENT, tmp_path), 1, repeats)
    assert isinstance(cloudpickle.loads(cloudpickle.dumps(searcher)), StudySearcher)
