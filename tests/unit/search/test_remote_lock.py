import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from search import remote_lock
from search.local_ray import RayInstance
from search.lock import Lock, Owner, locked, read_owner
from search.remote_lock import remotely_locked
from tests.object_store import S3Server, s3_server
from train_fn import object_store
from train_fn.errors import InputError
from train_fn.working_copy import Place

ELSEWHERE = Owner(1, "another-host", "somebody", 0.0, "/tmp/ray/session_1", "")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_lock, "BEAT_S", 0.05)
    monkeypatch.setattr(remote_lock, "SETTLE_S", 0.0)
    monkeypatch.setattr(remote_lock, "DEAD_AFTER_S", 0.3)


@pytest.fixture
def folder(server: S3Server, tmp_path: Path) -> Place:
    return Place(server.address(tmp_path.name), "exp4")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Lock]:
    with locked(tmp_path / "exp4.lock") as lock:
        yield lock


def content(folder: Place) -> bytes | None:
    return object_store.get(folder.address, "exp4.lock")


def left_by(folder: Place, owner: Owner, beat: int = 0) -> None:
    record = asdict(owner) | {"token": "theirs", "beat": beat}
    object_store.put(folder.address, "exp4.lock", json.dumps(record).encode())


def nobody(why: str) -> None:
    raise AssertionError(why)


def test_a_lock_names_its_owner_and_leaves_nothing(folder: Place, local: Lock) -> None:
    with remotely_locked(folder, local, nobody) as lock:
        assert (lock.previous, lock.held) == (None, True)
        lock.note_ray(RayInstance("", "10.0.0.1:6379", "07000000"))
        owner = read_owner((content(folder) or b"").decode())
        assert owner is not None
        assert (owner.pid, owner.host, owner.ray_job) == (local.owner.pid, local.owner.host, "07000000")
    assert content(folder) is None


def test_a_command_that_shows_signs_of_life_keeps_others_out(folder: Place, local: Lock) -> None:
    left_by(folder, ELSEWHERE)
    over = threading.Event()

    def beat() -> None:
        for number in range(1, 1000):
            if over.wait(0.02):
                return
            left_by(folder, ELSEWHERE, number)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with (
            pytest.raises(
                InputError, match=r"search s3://.*/exp4(\?\S*)? is being run by process 1 on another-host"
            ),
            remotely_locked(folder, local, nobody),
        ):
            pass
    finally:
        over.set()
        heart.join()


def test_a_silent_command_is_dead(folder: Place, local: Lock) -> None:
    left_by(folder, ELSEWHERE)
    with remotely_locked(folder, local, nobody) as lock:
        assert lock.previous == ELSEWHERE
    assert content(folder) is None


def test_a_command_that_this_machine_knows_to_be_dead_is_not_waited_for(
    folder: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lock, "DEAD_AFTER_S", 1e9)
    with locked(tmp_path / "exp4.lock") as first:
        dead, left = first.owner, (tmp_path / "exp4.lock").read_text()
    (tmp_path / "exp4.lock").write_text(left)  # as SIGKILL would have left it
    left_by(folder, dead)
    with locked(tmp_path / "exp4.lock") as local, remotely_locked(folder, local, nobody) as lock:
        assert lock.previous == dead


def test_a_command_whose_search_was_taken_over_is_told_and_leaves_the_lock(
    folder: Place, local: Lock
) -> None:
    told: list[str] = []
    lost = threading.Event()

    def tell(why: str) -> None:
        told.append(why)
        lost.set()

    with remotely_locked(folder, local, tell) as lock:
        while not lost.is_set():  # a beat that was under way may write over it once
            left_by(folder, ELSEWHERE)
            lost.wait(0.1)
        assert not lock.held
    assert "process 1 on another-host" in told[0]
    assert read_owner((content(folder) or b"").decode()) == ELSEWHERE


def test_of_two_that_begin_at_once_one_runs(
    folder: Place, local: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(seconds: float) -> None:
        left_by(folder, ELSEWHERE)

    monkeypatch.setattr(remote_lock.time, "sleep", meanwhile)
    with (
        pytest.raises(InputError, match="process 1 on another-host"),
        remotely_locked(folder, local, nobody),
    ):
        pass
