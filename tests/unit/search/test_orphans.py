import subprocess
import sys
from pathlib import Path

from search.orphans import end_processes, processes_of


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
