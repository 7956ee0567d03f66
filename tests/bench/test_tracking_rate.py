"""How fast figures get from a ledger into an sqlite file of MLflow."""

import time
from pathlib import Path

import pytest

from search.ledger import FILE_NAME, Ledger
from search.state import SearchState
from search.tracking import Tracker, updates_of
from search.tracking_uri import ENVIRONMENT, resolve
from tests.unit.search.recorded import MAX_TOKENS, experiment, long_trial, search_started


@pytest.mark.bench
def test_figures_per_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    events = [search_started(), *(event for trial in range(8) for event in long_trial(trial, 50, 32))]
    folder = tmp_path / "exp9"
    ledger = Ledger(folder / FILE_NAME)
    tracker = Tracker(resolve("", None, tmp_path), experiment(), folder)
    began = time.perf_counter()
    tracker.start()
    ledger.append(events[0])
    assert tracker.flush(120)
    ready_s = time.perf_counter() - began
    for event in events[1:]:
        ledger.append(event)
    began = time.perf_counter()
    assert tracker.flush(120)
    sent_s = time.perf_counter() - began
    tracker.close(10)
    ledger.close()
    figures = sum(len(update.figures) for update in updates_of(SearchState(), events, MAX_TOKENS)[0])
    with capsys.disabled():
        rate = f"{figures} figures in {sent_s:.1f}s: {figures / sent_s:.0f}/s"
        print(f"\nmlflow ready after {ready_s:.1f}s; {rate}")
