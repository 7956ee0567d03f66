"""A training process that dies takes nothing with it: the slot starts another one, and the trial goes on."""

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from search.events import Ended, Reported, Retried, TrialStarted
from search.ledger import read_events
from tests.chaos.faults import ranks
from tests.integration.commands import REPOSITORY, command


@pytest.mark.slow
@pytest.mark.chaos
def test_a_killed_rank_is_replaced_and_no_figure_doubled(own_dialogues: Path, tmp_path: Path) -> None:
    settings = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false", "budget.trials=2")
    process = subprocess.Popen(
        command(tmp_path, *settings, "resources.slots=1", "run.max_tokens=40000"),
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    events = tmp_path / "exp4" / "events.jsonl"
    deadline = time.time() + 200
    while not (events.exists() and events.read_text().count('"Reported"') >= 4):
        assert time.time() < deadline
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.1)
    (victim,) = ranks(psutil.Process(process.pid))
    victim.kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    summary = json.loads((tmp_path / "exp4" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert [trial["number"] for trial in summary["trials"]] == [0, 1]
    assert "failed" not in {trial["status"] for trial in summary["trials"]}
    past = list(read_events(events))
    reports = Counter((e.report.trial, e.report.tokens_seen) for e in past if isinstance(e, Reported))
    assert set(reports.values()) == {1}
    for trial in (0, 1):
        seen = [e.report.tokens_seen for e in past if isinstance(e, Reported) and e.report.trial == trial]
        assert seen == sorted(seen)
        assert sum(isinstance(e, Ended) and e.outcome.trial == trial for e in past) == 1
    assert sum(isinstance(e, TrialStarted) for e in past) == 2
    assert [e.cause for e in past if isinstance(e, Retried)] == ["died"]
