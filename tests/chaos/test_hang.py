"""A rank that hangs costs its slot some seconds and no figure."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from search.events import Reported, Retried
from search.ledger import read_events
from tests.chaos.faults import ranks
from tests.integration.commands import REPOSITORY, command


@pytest.mark.slow  # two groups of two ranks on two cores
@pytest.mark.chaos
def test_a_stopped_rank_is_noticed_written_down_and_replaced(own_dialogues: Path, tmp_path: Path) -> None:
    settings = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false", "budget.trials=1")
    group = ("resources.slots=1", "resources.ranks_per_slot=2", "run.hang_timeout_s=10")
    process = subprocess.Popen(
        command(tmp_path, *settings, *group, "run.max_tokens=40000"),
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    events, trial = tmp_path / "exp4" / "events.jsonl", tmp_path / "exp4" / "trials" / "0000"
    deadline = time.time() + 400
    while not (events.exists() and events.read_text().count('"Reported"') >= 3):
        assert time.time() < deadline
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.1)
    victim, other = ranks(psutil.Process(process.pid))
    os.kill(victim.pid, signal.SIGSTOP)
    psutil.wait_procs([victim, other], timeout=100)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    dumps = {path.name: path.read_text() for path in trial.glob("hang-rank*.txt")}
    assert dumps.keys() == {"hang-rank0.txt", "hang-rank1.txt"}, output
    (of_victim,) = (text for text in dumps.values() if f"process {victim.pid} (stopped)" in text)
    assert "It wrote no stacks" in of_victim
    (of_other,) = (text for text in dumps.values() if f"process {other.pid} " in text)
    assert "train_fn/loop.py" in of_other
    past = list(read_events(events))
    (retry,) = (event for event in past if isinstance(event, Retried))
    assert retry.cause == "hang"
    seen = [event.report.tokens_seen for event in past if isinstance(event, Reported)]
    assert seen == sorted(seen)
    assert set(Counter(seen).values()) == {1}
    summary = json.loads((tmp_path / "exp4" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert [trial["status"] for trial in summary["trials"]] == ["finished"]
    assert summary["trials"][0]["retries"] == [{"cause": "hang", "told": retry.told}]
