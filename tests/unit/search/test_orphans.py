import subprocess
import sys
from pathlib import Path

import pytest
import ray.util.state
from ray.util.state.exception import RayStateApiException

from search import orphans
from search.orphans import end_processes, processes_of, wait_for_job
from train_fn.errors import InputError


def test_processes_with_a_log_in_the_sessions_folder_are_ended_and_its_readers_are_not(
    tmp_path: Path,
) -> None:
    log = tmp_path / "session" / "worker.out"
    log.parent.mkdir()
    log.touch()
    code = f"import sys, time; file = open({str(log)!r}, 'a'); print('open', flush=True); time.sleep(60)"
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    reader = subprocess.Popen(["tail", "-f", str(log)], stdout=subprocess.DEVNULL)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "open\n"
        assert [process.pid for process in processes_of(str(log.parent))] == [worker.pid]
        assert list(processes_of(str(tmp_path / "sess"))) == []
        assert end_processes(str(log.parent)) == 1
        assert worker.poll() is not None
        assert reader.poll() is None
        assert end_processes(str(log.parent)) == 0
    finally:
        for process in (worker, reader):
            process.kill()
            process.wait()
        assert worker.stdout is not None
        worker.stdout.close()


def test_a_dashboard_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception | list[str]] = [RayStateApiException("busy"), ConnectionError("away"), ["a"], []]

    def list_actors(**_: object) -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ray.util.state, "list_actors", list_actors)
    monkeypatch.setattr(orphans.time, "sleep", lambda s: None)
    wait_for_job("01000000")
    assert not answers
    monkeypatch.setattr(orphans, "JOB_S", -1.0)
    answers.append(RayStateApiException("busy"))
    with pytest.raises(InputError, match=r"job 01 of .* may still have actors on the cluster \(busy\) after"):
        wait_for_job("01")
