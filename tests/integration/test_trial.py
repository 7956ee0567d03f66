"""One trial alone, as a user runs it."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.commands import REPOSITORY, command

pytestmark = pytest.mark.slow


def test_a_trial_says_where_its_time_went_and_where_its_trace_is(tmp_path: Path) -> None:
    words = [*command(tmp_path, module="search.trial"), "--trace", "2"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert "forward " in said["time"]
    trace = Path(said["trace"])
    assert trace.parent == Path(said["weights"]).parent
    names = {event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"ProfilerStep#3", "ProfilerStep#4"} <= names
    assert any(name.startswith("Optimizer.step#") for name in names)


def test_a_trial_too_short_for_its_trace_ends_in_one_line(tmp_path: Path) -> None:
    words = [*command(tmp_path, "run.max_tokens=1000", module="search.trial"), "--trace", "20"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "error: --trace 20 needs a trial of 22 optimizer steps, and this one took " in done.stderr
    assert "Traceback" not in done.stderr
