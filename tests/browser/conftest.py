import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from playwright.sync_api import Browser

from analysis import report
from analysis.records import SearchRecord
from analysis.runs import read_search
from search.tracking import Tracker
from search.tracking_uri import ENVIRONMENT
from tests.browser.chromium import chromium, find
from tests.unit.analysis.written import experiment, write_search


@dataclass(frozen=True)
class Tracked:
    """A search that stands in an MLflow database, with its report."""

    uri: str
    page: Path
    search: SearchRecord
    address: str
    """Of the search's run, as the command prints it."""
    runs: dict[int, str]


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pictures: SCREENSHOTS, or a temporary one."""
    chosen = os.environ.get("SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# Not for the session: Playwright's event loop must be over before other files' tests need one of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """A search of twelve trials, its figures sent and its report published as the commands do it."""
    find()  # nothing to prepare where nobody looks at it
    storage = tmp_path_factory.mktemp("runs")
    about = experiment("exp9", 12)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder = write_search(storage, about, points=25)
        uri = f"sqlite:///{storage / 'mlflow.db'}"
        tracker = Tracker(uri, about, folder)
        tracker.start()
        assert tracker.flush(120)
        tracker.close(10)
        assert report.main(["exp9", "--storage", str(storage)]) == 0
    address = tracker.address()
    assert address is not None
    return Tracked(uri, folder / "report.html", read_search(storage, "exp9"), address, tracker.run_ids())
