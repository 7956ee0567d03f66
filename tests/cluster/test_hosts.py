"""The hosts themselves: what the other tests of this folder stand on."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster.hosts import REPOSITORY, Lan, boot, cut, kill, lan, mend, missing, processes, run
from tests.cluster.launched import wait_until
from tests.skips import skip

pytestmark = pytest.mark.cluster
KNOCK = "timeout 2 bash -c 'exec 3<> /dev/tcp/{}/22 && head -c 4 <&3'"


def answers(net: Lan, name: str) -> bool:
    return run(net, "desk", KNOCK.format(name)).stdout == "SSH-"


def test_a_host_has_its_own_name_home_temporary_folder_and_processes(net: Lan) -> None:
    script = "hostname; touch /tmp/mine ~/mine; sleep 60 > /dev/null 2>&1 & echo /proc/[0-9]* | wc -w"
    told = run(net, "desk", script).stdout
    assert told.splitlines()[0] == "desk"
    assert int(told.splitlines()[1]) < 20
    assert run(net, "head", "hostname; ls /tmp/mine ~/mine").stdout.count("No such file") == 2
    assert [told for told in processes(net, "desk").values() if not told.startswith("ssh ")] == ["sleep 60"]
    assert processes(net, "head") == {}


def test_hosts_share_their_storage_and_log_in_to_each_other(net: Lan) -> None:
    option = "-o StrictHostKeyChecking=no -o LogLevel=ERROR"
    asked = f"ssh {option} worker-1 'hostname > /srv/storage/note'; ssh {option} head cat /srv/storage/note"
    assert run(net, "desk", asked).stdout == "worker-1\n"


def test_a_link_that_is_cut_answers_again_when_it_is_mended(net: Lan) -> None:
    assert answers(net, "worker-1")
    cut(net, "worker-1")
    assert not answers(net, "worker-1")
    mend(net, "worker-1")
    wait_until(lambda: answers(net, "worker-1"), 20)


def test_a_host_that_is_killed_loses_its_processes_and_comes_back_with_its_home(net: Lan) -> None:
    run(net, "worker-2", "echo kept > ~/note; setsid sleep 60 > /dev/null 2>&1 &")
    (left,) = processes(net, "worker-2")
    kill(net, "worker-2")
    assert not psutil.pid_exists(left)
    assert not answers(net, "worker-2")
    boot(net, "worker-2")
    wait_until(lambda: answers(net, "worker-2"), 20)
    assert run(net, "worker-2", "cat ~/note").stdout == "kept\n"


def test_hosts_go_with_the_process_that_made_them_however_it_ends(tmp_path: Path) -> None:
    if reason := missing():
        skip("cluster", reason)
    script = f"""
import os, pathlib, signal
from tests.cluster.hosts import lan, run, processes
with lan(pathlib.Path({str(tmp_path)!r}), {{"one": "10.77.1.1"}}) as net:
    run(net, "one", "setsid sleep 61.5 > /dev/null 2>&1 &")
    print(net.switch.pid, net.init["one"].pid, *processes(net, "one"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    made = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    pids = [int(word) for word in made.stdout.split()]
    assert len(pids) == 3
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_a_failure_within_the_block_leaves_no_host(tmp_path: Path) -> None:
    if reason := missing():
        skip("cluster", reason)
    made = []
    with pytest.raises(RuntimeError), lan(tmp_path, {"one": "10.77.1.1"}) as net:  # noqa: PT012
        made += [net.switch.pid, net.init["one"].pid]
        raise RuntimeError
    assert not [pid for pid in made if psutil.pid_exists(pid)]
