"""A worker group that cannot even start ends its trial with the reason, instead of being started for ever."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from search.faults import MAX_GROUPS
from tests.integration.commands import REPOSITORY, command


@pytest.mark.slow  # ten groups are started, and not only for one trial
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_library_that_cannot_be_imported_is_named(ranks: int, own_dialogues: Path, tmp_path: Path) -> None:
    library = tmp_path / "broken" / "deepspeed"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("raise ImportError('libaio.so.1 is not there')\n")
    settings = (f"data.sources={own_dialogues}", "budget.trials=1", f"resources.ranks_per_slot={ranks}")
    done = subprocess.run(
        command(tmp_path, *settings),
        cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(library.parent)}, timeout=800,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    trials = json.loads((tmp_path / "exp4" / "summary.json").read_text())["trials"]
    for trial in trials:
        assert trial["status"] == "failed"
        assert trial["reason"].startswith("the worker group of the slot ended: ")
        assert trial["reason"].endswith(f"libaio.so.1 is not there, for the {MAX_GROUPS}th time")
