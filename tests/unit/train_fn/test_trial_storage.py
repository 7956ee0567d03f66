from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from tests.object_store import S3Server, s3_server
from train_fn import object_store
from train_fn.assignment import Assignment
from train_fn.checkpoint_files import complete_folders, digest_on_disk, partial_folder, publish, remove_all
from train_fn.config import TrainConfig
from train_fn.errors import InputError
from train_fn.report import Outcome
from train_fn.trial_storage import arrive, keep_checkpoint, keep_notes, keep_weights
from train_fn.working_copy import Place, send_folder, whole_folders, working_copy


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """This process as the only rank of a group; DeepSpeed leaves one behind for whole test processes."""
    made = not dist.is_initialized()
    if made:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if made:
        dist.destroy_process_group()


@pytest.fixture
def assignment(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assignment:
    """Trial 7 as a driver hands it out whose data is on the store."""
    return driven(server.address(tmp_path.name), tmp_path, monkeypatch)


def driven(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assignment:
    monkeypatch.setenv("HOME", str(tmp_path / "driver"))
    root = working_copy(address)
    prepared = root / "data" / "abc"
    prepared.mkdir(parents=True)
    (prepared / "report.json").write_text("{}")
    send_folder(prepared)
    return Assignment(
        ticket=1,
        trial=7,
        config=TrainConfig(),
        prepared=str(prepared),
        workspace=str(root / "exp4" / "trials" / "0007"),
        cache=str(root / "cache"),
        assigned_at=0.0,
        store=address,
    )


def on_node(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / name))


def save(workspace: Path, tokens_seen: int, content: str, files: int = 0) -> None:
    folder = partial_folder(workspace, tokens_seen)
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(content)
    for number in range(files):
        (folder / f"state-{number}").write_text(content)
    publish(workspace, tokens_seen, {file.name: digest_on_disk(file) for file in folder.iterdir()})
    keep_checkpoint(workspace, tokens_seen)


def checkpoints(workspace: str) -> dict[str, str]:
    return {one.name: (one / "progress.json").read_text() for one in complete_folders(Path(workspace))}


def test_a_shared_folder_is_used_as_it_is(assignment: Assignment) -> None:
    assert arrive(replace(assignment, store="")) == replace(assignment, store="")


def test_data_and_the_newest_checkpoint_come_to_the_node(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_node("a", tmp_path, monkeypatch)
    first = arrive(assignment)
    assert Path(first.prepared).is_relative_to(tmp_path / "a")
    assert (Path(first.prepared) / "report.json").read_text() == "{}"
    for tokens in (10, 20, 30):
        save(Path(first.workspace), tokens, f"at {tokens}")
    place = Place(assignment.store, "exp4/trials/0007/checkpoints")
    assert whole_folders(place) == ["tokens-000000000020", "tokens-000000000030"]
    on_node("b", tmp_path, monkeypatch)
    second = arrive(assignment)
    assert checkpoints(second.workspace) == {"tokens-000000000030": "at 30"}
    save(Path(second.workspace), 40, "at 40")
    on_node("a", tmp_path, monkeypatch)
    assert checkpoints(arrive(assignment).workspace) == {"tokens-000000000040": "at 40"}


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = arrive(assignment)
    for tokens in (10, 20):
        save(Path(first.workspace), tokens, f"at {tokens}")
    name = "exp4/trials/0007/checkpoints/tokens-000000000020/progress.json"
    object_store.put(assignment.store, name, b"at 99")  # as long, but not what the manifest says
    on_node("b", tmp_path, monkeypatch)
    assert checkpoints(arrive(assignment).workspace) == {"tokens-000000000010": "at 10"}


def test_a_checkpoint_of_another_configuration_is_not_taken_up(assignment: Assignment) -> None:
    save(Path(arrive(assignment).workspace), 10, "at 10")
    other = replace(assignment.config, optim=replace(assignment.config.optim, lr=0.123))
    arrived = arrive(replace(assignment, config=other))
    assert checkpoints(arrived.workspace) == {}
    assert whole_folders(Place(assignment.store, "exp4/trials/0007")) == []


def test_a_checkpoint_that_never_reached_the_store_does_not_count(assignment: Assignment) -> None:
    workspace = Path(arrive(assignment).workspace)
    save(workspace, 10, "at 10")
    folder = partial_folder(workspace, 20)
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text("at 20")
    publish(workspace, 20, {"progress.json": digest_on_disk(folder / "progress.json")})
    assert checkpoints(arrive(assignment).workspace) == {"tokens-000000000010": "at 10"}


def test_ranks_of_one_node_agree_on_what_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = driven(f"file://{tmp_path}/store", tmp_path, monkeypatch)
    for trial in range(5):
        workspace = Path(arrive(of_trial(given, trial)).workspace)
        for tokens in (10, 20):
            save(workspace, tokens, f"at {tokens}", files=200)
    spawn(arrive_often, args=(given, str(tmp_path / "group")), nprocs=2)
    for trial in range(5):
        assert checkpoints(arrive(of_trial(given, trial)).workspace) == {"tokens-000000000020": "at 20"}


def of_trial(assignment: Assignment, trial: int) -> Assignment:
    return replace(assignment, trial=trial, workspace=f"{assignment.workspace}-{trial}")


def arrive_often(rank: int, given: Assignment, group: str) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(group, 2), rank=rank, world_size=2)
    for trial in range(5):
        arrive(of_trial(given, trial))
        dist.barrier()
    dist.destroy_process_group()


def test_a_checkpoint_that_is_removed_while_it_is_sent_is_no_trouble(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Path(arrive(assignment).workspace)
    send = object_store.send

    def removed_meanwhile(file: Path, address: str, name: str) -> None:
        remove_all(workspace)
        send(file, address, name)

    monkeypatch.setattr(object_store, "send", removed_meanwhile)
    save(workspace, 10, "at 10")
    assert whole_folders(Place(assignment.store, "exp4/trials/0007")) == []


def test_weights_are_on_the_store_and_no_longer_here(assignment: Assignment) -> None:
    workspace = Path(arrive(assignment).workspace)
    save(workspace, 10, "at 10")
    (workspace / "weights").mkdir()
    (workspace / "weights" / "config.json").write_text("{}")
    (workspace / "error.log").write_text("once")
    keep_notes(workspace)
    outcome = keep_weights(workspace, finished(str(workspace / "weights")))
    assert outcome.checkpoint == str(Place(assignment.store, "exp4/trials/0007/weights"))
    assert not (workspace / "weights").exists()
    assert not (workspace / "checkpoints").exists()
    there = object_store.listed(assignment.store, "exp4/trials/0007").keys()
    assert {"weights/config.json", "whole-weights.json", "error.log"} <= there


def test_in_a_shared_folder_weights_stay(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    outcome = finished(str(tmp_path / "weights"))
    assert keep_weights(tmp_path, outcome) == outcome
    assert (tmp_path / "weights").is_dir()


def test_data_that_is_not_on_the_store_is_one_line(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.remove(assignment.store, "data/whole-abc.json")
    on_node("b", tmp_path, monkeypatch)
    with pytest.raises(InputError, match=r"the prepared data is not on the store: s3://.*/data/abc"):
        arrive(assignment)


def finished(checkpoint: str) -> Outcome:
    return Outcome(
        trial=7, status="finished", reason="", tokens_seen=1, steps=1, overflow_steps=0, eval_nll=1.0,
        eval_nll_stderr=0.1, train_s=1.0, start_overhead_s=0.0, checkpoint=checkpoint,
    )  # fmt: skip
