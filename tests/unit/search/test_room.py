import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.cluster import GIB
from search.costs import Disk
from search.events import Event, Paused, Reported, Resumed
from search.ledger import FILE_NAME, Ledger, read_events
from search.progress import event_lines, goal_of, status_line
from search.recorder import Recorder, TuneRecorder
from search.room import MARGIN_GIB, UNKNOWN_GIB, needed_gib, room_watch
from search.searcher import StudySearcher
from search.state import SearchState, replay
from search.study import Study
from tests.unit.search.recorded import experiment, report, search_started
from train_fn.errors import InputError


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("this sandbox allows no mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_what_must_be_free_is_a_checkpoint_for_each_slot_and_a_whole_trial() -> None:
    disk = Disk(checkpoint_gib=2.0, weights_gib=1.0, expected_gib=9.0, at_most_gib=9.0, free_gib=99.0)
    assert needed_gib(disk, 3) == pytest.approx(4 * 2.0 + 1.0 + MARGIN_GIB)
    assert needed_gib(None, 3) == pytest.approx(UNKNOWN_GIB + MARGIN_GIB)


def test_a_full_disk_ends_the_search_with_a_word_and_leaves_a_ledger_without_gaps(small_disk: Path) -> None:
    ledger, study = Ledger(small_disk / FILE_NAME), Study.open(experiment(), small_disk)
    recorder = Recorder(ledger, SearchState(), ())
    callback = TuneRecorder(recorder, study, experiment().base)
    number, params = study.ask()
    trial = SimpleNamespace(
        config={"trial": number, "params": params, "confirms": None, "seed": None, "finishes": None}
    )
    callback.on_trial_start(0, [], trial)
    filling = small_disk / "filling"
    filling.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    tokens = 0
    while not callback.refusal:  # there may be room in the ledger's last page
        tokens += 100
        callback.on_trial_result(0, [], trial, {"report": report(number, tokens, None)})
    assert callback.refusal.startswith(f"cannot write {small_disk / FILE_NAME}: No space left on device")
    written = (small_disk / FILE_NAME).read_bytes()
    filling.unlink()
    callback.on_trial_result(0, [], trial, {"report": report(number, tokens + 100, None)})
    with pytest.raises(InputError, match="No space left"):
        callback.cancel_running()
    assert (small_disk / FILE_NAME).read_bytes() == written
    seen = [e.report.tokens_seen for e in read_events(small_disk / FILE_NAME) if isinstance(e, Reported)]
    assert seen == list(range(100, tokens, 100))
    ledger.close()


def test_a_nearly_full_disk_pauses_the_search_until_there_is_room(small_disk: Path) -> None:
    heard: list[str] = []

    def listen(state: SearchState, event: Event) -> None:
        heard.extend(event_lines("exp9", SearchState(), state, event))

    ledger = Ledger(small_disk / FILE_NAME)
    recorder = Recorder(ledger, SearchState(), (listen,))
    recorder.record(search_started())
    study = Study.open(experiment(), small_disk)
    searcher = StudySearcher(study, 3, list, room_watch(small_disk, 2 * 2**20 / GIB, recorder))
    assert searcher.suggest("a") is not None
    (small_disk / "filling").write_bytes(bytes(3 * 2**20))
    asked = study.count()
    assert searcher.suggest("b") is None
    assert searcher.suggest("b") is None
    assert study.count() == asked, "a trial that is not handed out is not asked for"
    assert "the disk is nearly full" in status_line(recorder.state, goal_of(experiment()), 0.0)
    (small_disk / "filling").unlink()
    assert searcher.suggest("b") is not None
    assert recorder.state.paused == ""
    assert [line.split(":")[0] for line in heard] == ["paused", "there is room again (4 MiB free)"]
    past = list(read_events(small_disk / FILE_NAME))
    assert [type(event) for event in past[1:]] == [Paused, Resumed]
    assert replay(past) == recorder.state
    ledger.close()
