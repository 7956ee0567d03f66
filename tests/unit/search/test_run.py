"""The command `python -m search.run`, as far as it starts nothing."""

import sys
from pathlib import Path

import pytest

from search.ledger import FILE_NAME, Ledger
from search.run import main
from tests.unit.search.recorded import confirmed_search


def test_the_plan_counts_the_weights_of_the_search_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(tmp_path / "exp4" / FILE_NAME)
    for event in confirmed_search(2.7, 2.9, 2.6, 2.8):
        ledger.append(event)
    ledger.close()
    line = ["run", "exp4", "--plan", "--profile", "laptop", "--storage", str(tmp_path)]
    for options, counted in (([], True), (["--fresh"], False)):
        monkeypatch.setattr(sys, "argv", [*line, *options])
        assert main() == 0
        assert ("lie there already; " in capsys.readouterr().out) is counted
