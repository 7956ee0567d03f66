"""One trial on two machines: the same losses, gradients and weights as on one rank (ZeRO 1, 2 and 3)."""

import json
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tests.cluster.hosts import REPOSITORY, STORAGE, Lan, inside
from tests.invariance.runs import kept_trials, run_here
from tests.invariance.test_split import STEPS, assert_same

pytestmark = pytest.mark.cluster
HOSTS = ("worker-1", "worker-2")
PORT = 29_500
JOBS: list[dict[str, Any]] = [STEPS | {"engine__zero_stage": stage} for stage in (1, 2, 3)]


def rank(net: Lan, number: int) -> "subprocess.Popen[bytes]":
    """Start one rank; each machine has one."""
    arguments = (
        number,
        len(HOSTS),
        net.hosts[HOSTS[0]].address,
        PORT,
        str(STORAGE / "two"),
        json.dumps(JOBS),
    )
    called = shlex.quote(json.dumps(arguments))
    script = f"cd {REPOSITORY} && exec {sys.executable} -m tests.cluster.one_rank {called}"
    known = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}
    return subprocess.Popen(inside(net, HOSTS[number], script, 300, **known))


def test_two_machines_take_the_steps_that_one_rank_takes(net: Lan) -> None:
    (net.storage / "two").mkdir()
    ranks = [rank(net, number) for number in range(len(HOSTS))]
    assert [process.wait(320) for process in ranks] == [0, 0]
    for job, kept in zip(JOBS, kept_trials(net.storage / "two", len(JOBS)), strict=True):
        assert_same(kept, run_here(**job))
