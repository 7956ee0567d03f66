"""A controller that dies while its ranks start has told nobody what it reserved: the search gets it back."""

import json
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.chaos.faults import below, title
from tests.integration.commands import REPOSITORY, command


@pytest.mark.slow
@pytest.mark.chaos
def test_a_controller_that_dies_while_ranks_start_takes_no_cpu_with_it(
    own_dialogues: Path, tmp_path: Path
) -> None:
    # A second group has room only in place of the first.
    whole_machine = ("resources.ranks_per_slot=2", f"resources.cpus_per_rank={(os.cpu_count() or 2) // 2}")
    settings = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false", "budget.trials=1")
    process = subprocess.Popen(
        command(tmp_path, *settings, "resources.slots=1", *whole_machine),
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    kill_controller_when_ranks_start(psutil.Process(process.pid))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "what it had reserved is given back" in output
    summary = json.loads((tmp_path / "exp4" / "summary.json").read_text())
    assert [trial["status"] for trial in summary["trials"]] == ["finished"]


def kill_controller_when_ranks_start(command: psutil.Process) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        processes = {title(process): process for process in below(command)}
        controllers = [process for name, process in processes.items() if "TrainController" in name]
        if controllers and any("SynchronizationActor" in name for name in processes):
            controllers[0].kill()
            return
        time.sleep(0.02)
    raise AssertionError("no ranks were started")
