import shutil
from pathlib import Path

import pytest

from analysis.rank import ranked
from analysis.runs import read_search
from analysis.weights import trial_weights
from search.events import WeightsRemoved
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
