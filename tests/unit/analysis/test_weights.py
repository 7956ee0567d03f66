import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import page
from analysis.rank import answer, ranked
from analysis.runs import read_search
from analysis.weights import trial_weights, weights_place
from search.events import WeightsRemoved
from tests.unit.analysis.test_table import printed
from tests.unit.analysis.written import START, append
from train_fn.errors import InputError


def test_a_finished_trial_beyond_those_that_are_kept_says_which_are(storage: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(storage / "exp9", tmp_path / "exp9"))
    last = [trial for trial in ranked(read_search(tmp_path, "exp9").trials) if trial.status == "finished"][-1]
    append(folder, WeightsRemoved(START + 1e6, last.number))
    search = read_search(tmp_path, "exp9")
    told = (
        rf"{last.id} \(finished\) kept no weights: those of the best stay \(budget\.keep_weights = 5\); name"
    )
    with pytest.raises(InputError, match=told):
        trial_weights(search, search.trial(last.number))


def test_a_trial_that_did_not_finish_kept_none(storage: Path) -> None:
    search = read_search(storage, "exp9")
    halved = next(trial for trial in search.trials if trial.status == "halved")
    with pytest.raises(InputError, match=rf"{halved.id} \(halved\) kept no weights; only finished trials do"):
        trial_weights(search, halved)


def test_a_search_that_was_moved_names_its_own_weights_not_those_of_who_lies_there_now(
    storage: Path, tmp_path: Path
) -> None:
    new, aside = (
        Path(shutil.copytree(storage / "exp9", tmp_path / name / "exp9")) for name in ("", "exp9.1")
    )
    found = answer(search := read_search(aside.parent, "exp9"))
    assert found.best is not None
    theirs, mine = (folder / "trials" / f"{found.best.number:04d}" / "weights" for folder in (new, aside))
    best = replace(found.best, checkpoint=str(theirs))
    trials = tuple(best if trial.number == best.number else trial for trial in search.trials)
    search, found = replace(search, trials=trials), replace(found, best=best)
    assert weights_place(search, best) == str(theirs)
    mine.mkdir(parents=True)
    assert weights_place(search, best) == str(mine)
    assert f"  weights: {mine}\n" in printed(search)
    assert f"Weights: <code>{mine}</code>" in page.render(page.compute(search, found, None, 0.0), 0.0)
