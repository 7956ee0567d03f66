"""The shipped cluster.yaml on the test hosts: only the lines that are there to be edited are."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cluster.hosts import REPOSITORY, STORAGE, USER, Host, Lan, run

NODES = ("head", "worker-1", "worker-2")
EDITED = {
    "head_ip: 192.168.1.10 ": "head_ip: {head} ",
    "worker_ips: [192.168.1.11, 192.168.1.12] ": "worker_ips: [{worker_1}, {worker_2}] ",
    "ssh_user: ubuntu ": f"ssh_user: {USER} ",
    "export STORAGE=/srv/storage\n": f"export STORAGE={STORAGE}\n",
}
FILE = "cluster.yaml"
_UP_S = 300.0


@dataclass(frozen=True)
class Cluster:
    """The cluster as the user at the desk has it."""

    net: Lan

    def at_desk(self, script: str, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run a command of the user, who works in the repository with the environment that runs this test."""
        here = f"export PATH={sys.prefix}/bin:$PATH RAY_USAGE_STATS_ENABLED=0; cd {REPOSITORY}"
        return run(self.net, "desk", f"{here}; {script}", timeout_s)

    def at_head(self, script: str, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run a command of somebody who is logged in on the head."""
        return run(self.net, "head", f". ~/.bashrc; {script}", timeout_s)

    def alive(self) -> list[str]:
        """Return the names of the machines that Ray counts as alive."""
        asked = self.at_head("ray list nodes --filter state=ALIVE --format json | grep '\"node_ip\"'")
        return sorted(name for name in NODES if f'"{self.net.hosts[name].address}"' in asked.stdout)


@contextmanager
def launched(net: Lan) -> Iterator[Cluster]:
    """Bring the cluster up, with all its machines. What is left of it afterwards goes with the hosts."""
    for name in NODES:
        _install(net.hosts[name])
    desk = net.hosts["desk"]
    (desk.home / FILE).write_text(filled_in(net))
    cluster = Cluster(net)
    succeed(cluster.at_desk("ray get-auth-token --generate"))
    succeed(cluster.at_desk(f"ray up --yes ~/{FILE}", 300))
    wait_until(lambda: cluster.alive() == sorted(NODES), _UP_S)
    yield cluster


def filled_in(net: Lan) -> str:
    """Return cluster.yaml with its top lines filled in, and nothing else changed."""
    text = (REPOSITORY / FILE).read_text()
    addresses = {name.replace("-", "_"): host.address for name, host in net.hosts.items()}
    for shipped, mine in EDITED.items():
        assert text.count(shipped) == 1, f"{FILE} has not one line {shipped!r}"
        text = text.replace(shipped, mine.format(**addresses))
    return text


def wait_until(true: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():  # a machine that is busy with other things takes its time
        assert time.monotonic() < deadline, f"still not so after {timeout_s:.0f} s"
        time.sleep(1)


def succeed(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def _install(host: Host) -> None:
    """Leave a host as an earlier `ray up` left it, when pip had a network: with every package but ours."""
    project = host.home / "sft-search"
    project.mkdir()
    (project / "venv").symlink_to(sys.prefix)
    (host.home / ".bashrc").write_text("# somebody's own shell\n")
    with (host.home / ".sft-search.installed").open("wb") as installed:
        for name in ("pyproject.toml", ".cluster/constraints.txt"):
            with (REPOSITORY / name).open("rb") as file:
                shutil.copyfileobj(file, installed)
