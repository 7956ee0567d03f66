"""A search in which nobody comes to the end, on real Ray and DeepSpeed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.commands import REPOSITORY


@pytest.mark.slow
def test_where_the_leader_is_lost_late_the_trial_it_had_stopped_is_run_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.tempting", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "exp4" / "summary.json").read_text())
    lost, stopped, finished, again = summary["trials"]
    assert [lost["status"], stopped["status"]] == ["diverged", "halved"], "or it does not say what it is for"
    assert (finished["status"], finished["finishes"], finished["confirms"]) == (
        "finished",
        stopped["number"],
        None,
    )
    assert finished["config"] == stopped["config"]
    assert summary["best"]["id"] == finished["id"]
    assert (again["confirms"], again["status"]) == (finished["number"], "finished")
    assert (
        "no trial came to its end, so the best halved one that is left is run there: exp4-0002" in done.stdout
    )
    assert Path(summary["best"]["checkpoint"]).is_dir()
    first = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=400)
    assert "the search exp4 is finished" in first.stdout, first.stdout + first.stderr
