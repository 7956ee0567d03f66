import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from analysis.records import SearchRecord
from analysis.runs import read_search
from spaces.experiment import ConfirmConfig
from tests.unit.analysis.written import experiment, write_search

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
