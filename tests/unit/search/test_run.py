"""The command `python -m search.run`, as far as it starts nothing."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from search.events import SearchStarted
from search.halving import with_rungs
from search.ledger import FILE_NAME, Ledger
from search.run import main
from spaces.describe import describe
from spaces.load import load_experiment
from tests.unit.search.recorded import confirmed_search
from train_fn.errors import InputError


def past_search(storage: Path) -> None:
    """Leave a finished `exp4` of the laptop in a storage folder."""
    asked = describe(with_rungs(load_experiment("exp4", "laptop")))
    ledger = Ledger(storage / "exp4" / FILE_NAME)
    for event in confirmed_search(2.7, 2.9, 2.6, 2.8):
        ledger.append(replace(event, experiment=asked) if isinstance(event, SearchStarted) else event)
    ledger.close()


def planned(monkeypatch: pytest.MonkeyPatch, storage: Path, *options: str) -> int:
    line = ["run", "exp4", "--plan", "--profile", "laptop", "--storage", str(storage), *options]
    monkeypatch.setattr(sys, "argv", line)
    return main()


def test_the_plan_counts_the_weights_of_the_search_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past_search(tmp_path)
    for options, counted in (([], True), (["--fresh"], False)):
        assert planned(monkeypatch, tmp_path, *options) == 0
        assert ("lie there already; " in capsys.readouterr().out) is counted


def test_a_plan_refuses_at_once_what_the_run_refuses_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"^tracking\.uri = 'foo' must be sqlite"):
        planned(monkeypatch, tmp_path / "runs", "--set", "tracking.uri=foo")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^--storage '.*/file' cannot be made \(File exists\); name"):
        planned(monkeypatch, tmp_path / "file")
    own = f"tracking.uri=sqlite:///{tmp_path / 'runs' / 'own.db'}"
    assert planned(monkeypatch, tmp_path / "runs", "--set", own) == 0, "the run makes its folder first"
    assert not (tmp_path / "runs").exists()


def test_a_plan_refuses_to_go_on_with_another_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past_search(tmp_path)
    other = ("--set", "run.max_tokens=70000")
    with pytest.raises(InputError, match=r"was started differently .*max_tokens: 120000 then, 70000 now"):
        planned(monkeypatch, tmp_path, *other)
    assert "Plan of" not in capsys.readouterr().out
    assert planned(monkeypatch, tmp_path, *other, "--fresh") == 0
    assert planned(monkeypatch, tmp_path, "--set", "budget.trials=20") == 0
