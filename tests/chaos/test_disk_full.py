"""A disk that fills up under a search: it waits, or it ends with a word, and nothing is corrupted."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search.events import Paused, Resumed
from search.ledger import read_events
from tests.chaos.test_driver_killed import check_single, lines, result, start, wait_for
from tests.integration.commands import REPOSITORY, command, run

MIB = 2**20
OWN = ("data.clean.near_duplicates=false", "resources.slots=1", "halving.noise_band=0", "halving.eta=2")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many MiB."""
    mounted: list[Path] = []

    def mount(size_mib: int) -> Path:
        folder = tmp_path / f"disk-{size_mib}"
        folder.mkdir()
        line = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(line, check=False).returncode:
            pytest.skip("needs the right to mount a small file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(
            ["umount", "--lazy", str(folder)], check=True
        )  # MLflow's client keeps its database open


def fill(folder: Path, left_mib: int) -> Path:
    """Leave so much room on a disk; return the file that takes the rest."""
    filling = folder / "filling"
    with filling.open("wb") as file:
        while (room := shutil.disk_usage(folder).free - left_mib * MIB) > 0:
            try:
                file.write(bytes(min(room, MIB)))
                file.flush()
            except OSError:
                break  # the search took the last of it
    return filling


@pytest.mark.slow
@pytest.mark.chaos
def test_a_plan_that_does_not_fit_on_the_disk_is_refused(
    own_dialogues: Path, disk: Callable[[int], Path]
) -> None:
    storage = disk(64) / "runs"
    line = command(storage, f"data.sources={own_dialogues}", *OWN, "budget.trials=3")
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stdout
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert f"--storage = '{storage}' has 6" in error
    assert "MiB free, checkpoints and weights take about" in error
    assert "make room, or name a folder on a larger disk" in error
    assert lines(storage, "SearchStarted") == 0


@pytest.mark.slow
@pytest.mark.chaos
def test_a_nearly_full_disk_pauses_a_search_which_goes_on_by_itself_when_there_is_room(
    own_dialogues: Path, disk: Callable[[int], Path]
) -> None:
    folder = disk(300)
    storage, settings = folder / "runs", (f"data.sources={own_dialogues}", *OWN, "budget.trials=2")
    process = start(storage, *settings)
    wait_for(process, lambda: lines(storage, "Reported") >= 1)
    filling = fill(folder, 60)
    wait_for(process, lambda: lines(storage, "Paused") >= 1)
    assert lines(storage, "Ended") == lines(storage, "TrialStarted") == 1, "the trial that ran has ended"
    filling.unlink()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    told = [line.partition(": ")[2] for line in output.splitlines() if line.startswith("paused: ")]
    assert len(told) == 1
    assert told[0].startswith("the disk is nearly full (")
    assert output.count("there is room again") == 1
    past = list(read_events(storage / "exp4" / "events.jsonl"))
    assert [type(e) for e in past if isinstance(e, Paused | Resumed)] == [Paused, Resumed]
    check_single(storage)


@pytest.mark.slow
def test_a_disk_that_is_full_to_the_last_byte_ends_the_command_and_spoils_nothing(
    own_dialogues: Path, tmp_path: Path, disk: Callable[[int], Path]
) -> None:
    settings = (f"data.sources={own_dialogues}", *OWN, "budget.trials=2", "run.max_tokens=20000")
    folder = disk(300)
    storage = folder / "runs"
    process = start(storage, *settings)
    wait_for(process, lambda: lines(storage, "Reported") >= 2)
    filling = fill(folder, 0)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2, output
    (error,) = (line for line in output.splitlines() if line.startswith("error: "))
    assert str(storage) in error
    assert "make room" in error
    assert "Traceback" not in output
    filling.unlink()
    found = run(storage, *settings)
    assert result(found) == result(run(tmp_path / "calm", *settings))
    check_single(storage)
