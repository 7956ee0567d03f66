import shutil
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from analysis.importance import JOURNAL_NAME, _at_first_rung, _study_trials, importances
from analysis.records import SearchRecord
from analysis.runs import read_search
from tests.unit.analysis.written import experiment, write_search


def test_the_learning_rate_matters_most_where_it_decides(search: SearchRecord) -> None:
    found = importances(search)
    first_rung = found.found[-1]
    assert first_rung.basis.startswith("trials that reached the first rung")
    assert first_rung.trials == len({d.trial for d in search.decisions if d.rung == 0})
    assert first_rung.shares[0].path == "optim.lr"
    assert first_rung.shares[0].share > 0.5
    assert sum(share.share for share in first_rung.shares) == pytest.approx(1.0)
    for share in first_rung.shares:
        assert 0 <= share.low <= share.share <= share.high <= 1


def test_stopped_trials_are_cautioned_of(search: SearchRecord) -> None:
    halved = sum(trial.status == "halved" for trial in search.trials)
    assert any(f"{halved} halved trials" in caution for caution in importances(search).cautions)


def test_too_few_trials_are_said_and_not_looked_at(tmp_path: Path) -> None:
    write_search(tmp_path, experiment("exp7", 3))
    found = importances(read_search(tmp_path, "exp7"))
    assert found.found == ()
    assert any(caution.startswith("Too few finished trials: ") for caution in found.cautions)


def write_study(folder: Path, nlls: Sequence[float]) -> None:
    """A study of finished trials, spread over its space, with these NLLs."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    study = optuna.create_study(storage=optuna.storages.JournalStorage(backend))
    rates = optuna.distributions.FloatDistribution(1e-6, 1e-1, log=True)
    for number, nll in enumerate(nlls):
        made = optuna.trial.create_trial(
            params={"optim.lr": 10.0 ** -(1 + 5 * number / len(nlls))},
            distributions={"optim.lr": rates},
            value=nll,
            user_attrs={"status": "finished"},
        )
        study.add_trial(made)


def test_equal_nlls_are_said_to_tell_nothing(search: SearchRecord, tmp_path: Path) -> None:
    write_study(tmp_path, [2.5] * 6)
    found = importances(replace(search, folder=tmp_path))
    assert found.found == ()
    assert found.cautions[0] == (
        "All finished trials have the same eval NLL or the same parameters, so nothing can be told from them."
    )


def test_drawing_equal_nlls_again_tells_nothing_and_is_left_out(search: SearchRecord, tmp_path: Path) -> None:
    write_study(tmp_path, [2.5] * 6 + [2.6])  # among eight draws of seven, some miss the last one
    (found,) = importances(replace(search, folder=tmp_path)).found
    assert [share.path for share in found.shares] == ["optim.lr"]
    assert found.shares[0].share == pytest.approx(1.0)


def test_without_a_study_there_are_none(search: SearchRecord, tmp_path: Path) -> None:
    found = importances(replace(search, folder=tmp_path))
    assert found.found == ()
    assert "no study.journal" in found.cautions[0]


def test_a_study_that_was_only_just_made_has_no_trials(search: SearchRecord, tmp_path: Path) -> None:
    (tmp_path / "study.journal").touch()
    found = importances(replace(search, folder=tmp_path))
    assert found.found == ()
    assert found.cautions[0].startswith("Too few finished trials: 0")


def test_the_study_is_only_read(search: SearchRecord, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(search.folder, tmp_path / "exp9"))
    before = (folder / "study.journal").read_bytes()
    importances(replace(search, folder=folder))
    assert (folder / "study.journal").read_bytes() == before


def test_runs_that_confirm_a_trial_are_left_out(seeded: SearchRecord, search: SearchRecord) -> None:
    assert seeded.repeats
    assert importances(seeded) == importances(search)


def test_a_run_to_the_end_does_not_count_its_values_twice_at_the_first_rung(search: SearchRecord) -> None:
    trials = [t for t in _study_trials(search.folder / JOURNAL_NAME) if t.intermediate_values]
    again = copy(next(trial for trial in trials if trial.state.name == "PRUNED"))
    again.user_attrs = {**again.user_attrs, "finishes": again.number}
    assert _at_first_rung([*trials, again]) == _at_first_rung(trials)
