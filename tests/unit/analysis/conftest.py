import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from analysis.records import Scored, SearchRecord
from analysis.runs import read_search
from spaces.experiment import ConfirmConfig
from tests.unit.analysis.written import evaluation, experiment, write_search

Change = Callable[..., SearchRecord]


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder with one search of 24 trials; nobody writes into it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = tmp_path_factory.mktemp("runs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_search(folder, experiment("exp9", 24))
    return folder


@pytest.fixture(scope="session")
def search(storage: Path) -> SearchRecord:
    return read_search(storage, "exp9")


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> SearchRecord:
    """A search of 24 trials of which the best two ran again with two other seeds; nobody writes into it."""
    folder = tmp_path_factory.mktemp("seeded")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_search(folder, experiment("exp9", 24, confirm=ConfirmConfig()))
    return read_search(folder, "exp9")


def with_trials(search: SearchRecord, *numbers: int) -> SearchRecord:
    """The search as if it had only these trials."""
    return replace(search, trials=tuple(search.trial(number) for number in numbers))


def ahead_midway(search: SearchRecord) -> tuple[SearchRecord, SearchRecord]:
    """Two searches of one trial each: the second ends early, above the first's end and below its middle."""
    long, short = (
        tuple(Scored(tokens, evaluation(nll, tokens)) for tokens, nll in pairs)
        for pairs in (((3_000, 4.0), (9_000, 3.0)), ((3_000, 3.5),))
    )
    trial = next(trial for trial in search.trials if trial.status == "finished")
    one = replace(trial, evals=long, eval_nll=3.0)
    other = replace(trial, search="exp8", evals=short, eval_nll=3.5)
    alone = replace(search, trials=(one,), decisions=())
    return alone, replace(alone, name="exp8", trials=(other,))
