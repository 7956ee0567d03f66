"""The doctor on this machine: Ray of its own, and two ranks that add up tensors over gloo."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def doctor(storage: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "search.doctor", "exp4", "--storage", str(storage), *more]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_this_machine_is_examined(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--set", "resources.ranks_per_slot=2")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {line.split()[0]: line.split()[1] for line in lines[1:-1]}
    assert lines[-1] == "ready"
    for name in ("machines", "versions", "code", "clocks", "storage", "disk", "all-reduce", "tracking"):
        assert verdicts[name] == "ok", done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_repository_without_an_owner_is_refused_at_once(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--repo", "name")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --repo 'name' is no name of a repository; write --repo owner/name\n"
