"""Files written on threads: complete or not there, and what a full disk looks like."""

import threading
import time
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.full_disk import files_of_at_most
from train_fn.checkpoint_files import complete_folders, find_problem, partial_folder
from train_fn.checkpoint_writer import CheckpointWriter, Copy, Write


def text(content: str) -> Copy:
    return copied(lambda path: path.write_text(content))


def copied(write: Write) -> Copy:
    return lambda: write


def wait_for(writer: CheckpointWriter) -> None:
    deadline = time.monotonic() + 30
    while writer.busy:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_checkpoint_is_complete_only_with_the_files_of_all_ranks(tmp_path: Path) -> None:
    first, second = (CheckpointWriter(tmp_path, rank, 2) for rank in (0, 1))
    first.start(7, {"progress.json": text("{}")})
    partial_file = partial_folder(tmp_path, 7) / "progress.json"
    while not partial_file.exists():
        time.sleep(0.01)
    assert first.busy
    assert not complete_folders(tmp_path)
    second.start(7, {"state/rank-1.pt": text("weights")})
    for writer in (first, second):
        wait_for(writer)
        assert writer.problem is None
    (folder,) = complete_folders(tmp_path)
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {
        "progress.json",
        "state/rank-1.pt",
        "manifest.json",
    }
    assert find_problem(folder, 0, 1) is None


def test_the_memory_behind_a_file_is_free_once_it_is_written(tmp_path: Path) -> None:
    go_on, state = threading.Event(), torch.zeros(10)
    alive = weakref.ref(state)
    first = copied(partial(torch.save, state))
    files = {"first": first, "second": copied(lambda path: (go_on.wait(30), path.touch()))}
    del first, state
    writer = CheckpointWriter(tmp_path, 0, 1)
    writer.start(7, files)
    assert writer.copied.wait(30)
    files.clear()
    deadline = time.monotonic() + 30
    while alive() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive() is None
    assert not complete_folders(tmp_path), "the second is still being written"
    go_on.set()
    wait_for(writer)
    assert complete_folders(tmp_path)


def test_the_state_may_change_once_all_of_it_is_copied_and_not_before(tmp_path: Path) -> None:
    go_on, weights = threading.Event(), torch.zeros(10)

    def slow() -> Write:
        go_on.wait(30)
        return partial(torch.save, weights.clone())

    writer = CheckpointWriter(tmp_path, 0, 1)
    assert writer.copied.is_set(), "nothing is being copied"
    writer.start(7, {"progress.json": text("{}"), "weights.pt": slow})
    assert not writer.copied.wait(0.1)
    go_on.set()
    assert writer.copied.wait(30)
    weights += 1
    wait_for(writer)
    (folder,) = complete_folders(tmp_path)
    assert torch.equal(torch.load(folder / "weights.pt"), torch.zeros(10))


def test_training_goes_on_after_a_copy_that_failed(tmp_path: Path) -> None:
    def fails() -> Write:
        raise MemoryError("no room for a copy")

    writer = CheckpointWriter(tmp_path, 0, 1)
    writer.start(7, {"weights.pt": fails})
    assert writer.copied.wait(30)
    wait_for(writer)
    with pytest.raises(MemoryError, match="no room"):
        _ = writer.problem
    assert not complete_folders(tmp_path)


def test_what_is_given_up_is_never_complete_and_the_next_one_is(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 0, 2)  # the other rank never signs
    writer.start(7, {"progress.json": text("{}")})
    writer.discard()
    assert not writer.busy
    assert writer.problem is None
    assert not complete_folders(tmp_path)
    alone = CheckpointWriter(tmp_path, 0, 1)
    alone.start(8, {"progress.json": text("{}")})
    wait_for(alone)
    assert len(complete_folders(tmp_path)) == 1


@pytest.mark.parametrize("writes", ["torch", "safetensors", "text"])
def test_a_full_disk_is_one_line_and_leaves_nothing_that_counts(tmp_path: Path, writes: str) -> None:
    tensor = torch.zeros(100_000)
    files: dict[str, dict[str, Copy]] = {
        "torch": {"state/weights.pt": copied(partial(torch.save, {"weights": tensor}))},
        "safetensors": {"rng-0.safetensors": copied(partial(save_file, {"cpu": tensor}))},
        "text": {"progress.json": text("x" * 400_000)},
    }
    writer = CheckpointWriter(tmp_path, 0, 1)
    with files_of_at_most(50_000):
        writer.start(7, files[writes])
        wait_for(writer)
    assert writer.problem is not None
    assert "\n" not in writer.problem
    assert writer.problem.startswith(f"the checkpoint at 7 tokens cannot be written below {tmp_path}: ")
    assert "MiB are free there); make room" in writer.problem
    assert not complete_folders(tmp_path)


def test_a_mistake_of_ours_keeps_its_traceback(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1)
    writer.start(7, {"progress.json": copied(lambda path: {}["missing"])})
    wait_for(writer)
    with pytest.raises(KeyError, match="missing"):
        _ = writer.problem
    assert not complete_folders(tmp_path)


def test_nobody_waits_for_a_thread_that_could_not_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("train_fn.checkpoint_writer.start_new_thread", refuse)
    writer = CheckpointWriter(tmp_path, 0, 1)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        writer.start(7, {"progress.json": text("{}")})
    assert writer.copied.is_set()
    writer.discard()
    assert not writer.busy
