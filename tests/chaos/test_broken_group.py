"""A worker group that cannot even start ends its trial with the reason, instead of being started for ever."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from search.slots import MAX_GROUPS
from tests.integration.commands import REPOSITORY, command


@pytest.mark.slow  # ten groups are started, and not only for one trial
def test_a_library_that_cannot_be_imported_is_named(own_dialogues: Path, tmp_path: Path) -> None:
    library = tmp_path / "broken" / "deepspeed"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("raise ImportError('libaio.so.1 is not there')\n")
    done = subprocess.run(
        command(tmp_path, f"data.sources={own_dialogues}", "budget.trials=1"),
        cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(library.parent)}, timeout=400,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    trials = json.loads((tmp_path / "exp4" / "summary.json").read_text())["trials"]
    told = f"the worker group of the slot ended: libaio.so.1 is not there, for the {MAX_GROUPS}th time"
    assert {(trial["status"], trial["reason"]) for trial in trials} == {("failed", told)}
