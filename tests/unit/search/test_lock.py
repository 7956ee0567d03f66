import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from search import lock as lock_module
from search.local_ray import RayInstance
from search.lock import DEAD_AFTER_S, Owner, locked, read_owner
from train_fn.errors import InputError

CLUSTER_JOB = RayInstance("", "10.0.0.1:6379", "07000000", "session_1")
ELSEWHERE = Owner(1, "another-host", "somebody", 0.0, "/tmp/ray/session_1", "")


def test_a_held_lock_names_its_owner_and_a_released_one_nobody(tmp_path: Path) -> None:
    path = tmp_path / "exp4.lock"
    with locked(path) as lock:
        assert lock.previous is None
        told = (
            rf"the search {tmp_path}/exp4 is being run by process {os.getpid()} on .* \(user .*, since .*s\)"
        )
        with pytest.raises(InputError, match=told), locked(path):
            pass
        lock.note_ray(CLUSTER_JOB)
        owner = read_owner(path.read_text())
        assert owner is not None
        assert (owner.pid, owner.ray_session, owner.ray_job) == (os.getpid(), "", "07000000")
    assert path.read_text() == ""
    with locked(path) as lock:
        assert lock.previous is None


def test_a_command_that_was_killed_keeps_nobody_out_and_is_known_by_its_record(tmp_path: Path) -> None:
    path = tmp_path / "exp4.lock"
    code = (
        "import os, signal; from pathlib import Path; from search.lock import locked\n"
        f"with locked(Path({str(path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    dead = subprocess.run([sys.executable, "-c", code], check=False)
    assert dead.returncode == -9
    with locked(path) as lock:
        assert lock.previous is not None
        assert lock.previous.pid != os.getpid()


def test_a_lock_of_another_host_counts_as_long_as_it_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "exp4.lock"
    path.write_text(json.dumps(asdict(ELSEWHERE)))
    with pytest.raises(InputError, match=r"process 1 on another-host .* silent for 60 s"), locked(path):
        pass
    assert read_owner(path.read_text()) == ELSEWHERE, "a refusal changes nothing"
    silent = time.time() - DEAD_AFTER_S - 1
    os.utime(path, (silent, silent))
    with locked(path) as lock:
        assert lock.previous == ELSEWHERE


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": null}', "7"])
def test_a_record_torn_by_a_crash_names_nobody(text: str) -> None:
    assert read_owner(text) is None
    assert read_owner(json.dumps(asdict(replace(ELSEWHERE, pid=2)))) == replace(ELSEWHERE, pid=2)


def test_the_job_of_a_killed_command_is_waited_for_on_its_own_cluster_alone() -> None:
    owner = Owner(1, "h", "u", 0.0).served_by(CLUSTER_JOB)
    assert owner.job_left_on(CLUSTER_JOB) == "07000000"
    assert owner.job_left_on(replace(CLUSTER_JOB, cluster="session_2")) == "", "jobs are counted anew there"
    assert owner.job_left_on(replace(CLUSTER_JOB, session="/tmp/ray/session_3")) == "", "a Ray of its own"
    before = replace(owner, ray_cluster="")
    assert before.job_left_on(CLUSTER_JOB) == "07000000", "an earlier version did not say on which"


def test_a_folder_that_is_away_for_a_moment_does_not_end_the_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touches: list[int] = []

    def touch(file: int) -> None:
        touches.append(file)
        if len(touches) == 1:
            raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(lock_module, "TOUCH_S", 0.01)
    monkeypatch.setattr(lock_module.os, "utime", touch)
    with locked(tmp_path / "exp9.lock"):
        deadline = time.monotonic() + 10
        while len(touches) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
