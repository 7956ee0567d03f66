"""Hosts made of namespaces on this machine: own network, processes, name, home, temporary folder and sshd.

Everything a host is hangs on one process, its init: when that is killed, the kernel ends all processes of the
host and takes back its mounts, its name and its network. The bridge between the hosts lies in a namespace of
its own as well, so nothing is made on the machine itself and nothing can be left behind, even where the test
process is killed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HOME = Path("/home/sft")
STORAGE = Path("/srv/storage")
"""Where each host sees the folder they share, as NFS would show it."""
USER = "sft"
NEEDED = ("ip", "ss", "nsenter", "unshare", "setpriv", "sshd", "ssh", "ssh-keygen", "rsync", "curl", "pkill")
REPOSITORY = Path(__file__).parents[2]
_BOOT = Path(__file__).with_name("boot.sh")
_KEPT = tuple(dict.fromkeys((sys.prefix, sys.base_prefix, str(REPOSITORY))))
_NAMESPACES = (
    "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--net", "--uts", "--ipc",
)  # fmt: skip
_BOOT_S = 30.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Host:
    """One machine of the test."""

    name: str
    address: str
    folder: Path
    """Its home, tmp and etc, as this process sees them."""

    @property
    def home(self) -> Path:
        return self.folder / "home"


@dataclass
class Lan:
    """Hosts on one bridge. `init` holds the first process of each that runs."""

    hosts: Mapping[str, Host]
    storage: Path
    switch: "subprocess.Popen[bytes]"
    init: dict[str, "psutil.Process"] = field(default_factory=dict)


def missing() -> str:
    """Say what keeps this machine from building hosts; empty when nothing does."""
    absent = [tool for tool in NEEDED if shutil.which(tool, path=f"{os.environ['PATH']}:{_PATH}") is None]
    if absent:
        return (
            f"test hosts need {', '.join(absent)} (apt-get install iproute2 openssh-server rsync curl procps)"
        )
    if os.geteuid() != 0:
        return "test hosts need root: they are made of namespaces"
    probe = ["unshare", *_NAMESPACES, "ip", "link", "add", "probe", "type", "bridge"]
    made = subprocess.run(probe, capture_output=True, text=True)
    return "" if made.returncode == 0 else f"test hosts cannot be made here: {made.stderr.strip()}"


@contextmanager
def lan(folder: Path, addresses: Mapping[str, str]) -> Iterator[Lan]:
    """Keep hosts running within the block, then leave nothing of them but their files in `folder`.

    Args:
        folder: For the files of the hosts.
        addresses: IPv4 address of each host by its name, all in one /24.
    """
    storage = folder / "storage"
    storage.mkdir()
    hosts = {name: Host(name, address, folder / name) for name, address in addresses.items()}
    _write_files(list(hosts.values()))
    switch = subprocess.Popen([*_own_network(), "sleep", "infinity"])
    net = Lan(hosts, storage, switch)
    try:
        _wait(lambda: Path(f"/proc/{switch.pid}/comm").read_text() == "sleep\n", "the bridge's namespace")
        _in_switch(net, "ip", "link", "add", "bridge", "type", "bridge")
        _in_switch(net, "ip", "link", "set", "bridge", "up")
        for name in hosts:
            boot(net, name)
        yield net
    finally:
        for name in list(net.init):
            kill(net, name)
        switch.kill()
        switch.wait()


def boot(net: Lan, name: str) -> None:
    """Start a host and plug it in; its home is as it was when it died."""
    host = net.hosts[name]
    (host.folder / "booted").unlink(missing_ok=True)
    # A shell of our own between the test and the host would outlive a killed test: the kernel ends both.
    command = [
        *("setpriv", "--pdeathsig", "KILL", "unshare", *_NAMESPACES),
        *(str(_BOOT), name, str(host.folder), str(net.storage), *_KEPT),
    ]
    with (host.folder / "boot.log").open("ab") as log:
        outside = psutil.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    _wait(lambda: bool(outside.children()), f"the first process of {name}")
    (init,) = outside.children()
    net.init[name] = init
    _wait((host.folder / "booted").exists, f"{name}: {host.folder / 'boot.log'}")
    # The card stays the same when the machine comes back: the others remember its hardware address.
    card = "02:00:" + ":".join(f"{int(part):02x}" for part in host.address.split("."))
    end = ("peer", "eth0", "address", card, "netns", str(init.pid))
    _in_switch(net, "ip", "link", "add", name, "type", "veth", *end)
    _in_switch(net, "ip", "link", "set", name, "master", "bridge", "up")
    for words in (("addr", "add", f"{host.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
        subprocess.run(["nsenter", "--target", str(init.pid), "--net", "ip", *words], check=True)


def kill(net: Lan, name: str) -> None:
    """Cut a host's power: all its processes are gone at once, and so is its link."""
    init = net.init.pop(name)
    outside = init.parent()
    init.send_signal(signal.SIGKILL)
    if outside is not None:
        outside.wait(_BOOT_S)


def cut(net: Lan, name: str) -> None:
    """Unplug a host's link; its processes go on."""
    _in_switch(net, "ip", "link", "set", name, "down")


def mend(net: Lan, name: str) -> None:
    """Plug a host's link in again."""
    _in_switch(net, "ip", "link", "set", name, "up")


def run(
    net: Lan, name: str, script: str, timeout_s: float = 120, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a bash script on a host as somebody at its keyboard; never raises for its exit code."""
    return subprocess.run(
        inside(net, name, script, timeout_s, **variables),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def inside(net: Lan, name: str, script: str, timeout_s: float, **variables: str) -> list[str]:
    """Return the command that runs a bash script on a host; it is ended there after `timeout_s`."""
    known = {"HOME": str(HOME), "USER": USER, "PATH": _PATH, "LANG": "C.UTF-8", "TERM": "dumb", **variables}
    return [
        *("nsenter", "--target", str(net.init[name].pid), "--all", f"--wdns={HOME}", "env", "-i"),
        *(f"{key}={value}" for key, value in known.items()),
        *("timeout", "--kill-after", "5", str(timeout_s), "bash", "-c", script),
    ]


def processes(net: Lan, name: str) -> dict[int, str]:
    """Return what runs on a host beside its init, its sshd and what came with them: command line by pid."""
    own = _namespace(net.init[name].pid)
    found = {}
    for process in psutil.process_iter():
        try:
            if _namespace(process.pid) != own or process.status() == psutil.STATUS_ZOMBIE:
                continue
            told = " ".join(process.cmdline())
        except (OSError, psutil.Error):
            continue  # gone meanwhile
        if not told.startswith(("/bin/bash " + str(_BOOT), "sshd: ", "sleep infinity")):
            found[process.pid] = told
    return found


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def _write_files(hosts: Sequence[Host]) -> None:
    """Write what each host has of its own; one key opens them all."""
    first = hosts[0].folder
    names = "".join(f"{host.address} {host.name}\n" for host in hosts)
    for host in hosts:
        etc, ssh = host.folder / "etc", host.home / ".ssh"
        for made in (etc, ssh, host.folder / "tmp"):
            made.mkdir(parents=True)
        (host.folder / "tmp").chmod(0o1777)
        ssh.chmod(0o700)
        host.home.chmod(0o755)
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        # The same user id under a name whose home is not this machine's.
        machine = Path("/etc/passwd").read_text()
        (etc / "passwd").write_text(f"{USER}:x:0:0::{HOME}:/bin/bash\n{machine}")
        _keygen(etc / "host_key")
        (etc / "sshd_config").write_text(
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\nPidFile none\n"
            "UseDNS no\nMaxStartups 100\nStrictModes no\n"
        )
        if host.folder == first:
            _keygen(ssh / "id_ed25519")
        (ssh / "authorized_keys").write_text((first / "home/.ssh/id_ed25519.pub").read_text())


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def _own_network() -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL", "unshare", "--net"]


def _in_switch(net: Lan, *command: str) -> None:
    subprocess.run(["nsenter", "--target", str(net.switch.pid), "--net", *command], check=True)


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _BOOT_S
    while not done():
        assert time.monotonic() < deadline, f"{what} did not come up within {_BOOT_S:.0f} s"
        time.sleep(0.05)
